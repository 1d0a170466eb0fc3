//! Which devices a profile, a choice of level and a choice of chip stand for.

use biosim_scanner::{ChipKind, Kind, Options, Spec};
use biotrust_model::{Level, Purpose};

use crate::args::{ChipChoice, LevelChoice, Profile};
use crate::lab::Order;

/// Each device with its level where levels are mixed: each purpose has both levels in it.
const DEVICES: [(Purpose, Kind, Level); 6] = [
    (Purpose::Registration, Kind::SlapFinger, Level::L0),
    (Purpose::Registration, Kind::DoubleIris, Level::L1),
    (Purpose::Registration, Kind::Face, Level::L0),
    (Purpose::Auth, Kind::SingleFinger, Level::L1),
    (Purpose::Auth, Kind::SingleIris, Level::L0),
    (Purpose::Auth, Kind::Face, Level::L1),
];

/// The devices to build, in the order in which they are shown.
pub(crate) fn devices(profile: Profile, level: LevelChoice) -> Vec<Spec> {
    let wanted = |purpose: &Purpose| match profile {
        Profile::Registration => *purpose == Purpose::Registration,
        Profile::Auth => *purpose == Purpose::Auth,
        Profile::All => true,
    };
    DEVICES
        .iter()
        .filter(|(purpose, ..)| wanted(purpose))
        .map(|&(purpose, kind, mixed)| {
            let level = match level {
                LevelChoice::L0 => Level::L0,
                LevelChoice::L1 => Level::L1,
                LevelChoice::Mixed => mixed,
            };
            Spec { kind, level, purpose }
        })
        .collect()
}

/// How to build them; `registered` says whether those of level L1 leave the factory with a certificate.
pub(crate) fn orders(specs: &[Spec], chip: ChipChoice, registered: bool) -> Vec<Order> {
    let first = specs.iter().position(|spec| spec.level == Level::L1);
    let chip = |place| match chip {
        ChipChoice::Swtpm => ChipKind::Swtpm,
        ChipChoice::Mixed if Some(place) == first => ChipKind::Swtpm,
        ChipChoice::Mixed | ChipChoice::Software => ChipKind::Software,
    };
    let options = |place| Options { chip: chip(place), registered, ..Options::default() };
    specs.iter().enumerate().map(|(place, spec)| Order { spec: *spec, options: options(place) }).collect()
}

/// `[sbi] purpose` of the daemon's configuration.
pub(crate) const fn sbi_purpose(profile: Profile) -> &'static str {
    match profile {
        Profile::Registration => "registration",
        Profile::Auth => "auth",
        Profile::All => "all",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_means_both_levels_for_each_purpose() {
        for profile in [Profile::Registration, Profile::Auth] {
            let levels: std::collections::BTreeSet<_> =
                devices(profile, LevelChoice::Mixed).iter().map(|spec| spec.level).collect();
            assert_eq!(levels.len(), 2, "{profile:?}");
        }
        assert_eq!(devices(Profile::All, LevelChoice::L1).len(), 6);
        assert!(devices(Profile::All, LevelChoice::L1).iter().all(|spec| spec.level == Level::L1));
    }

    #[test]
    fn mixed_chips_mean_one_tpm_at_an_l1_device() {
        let specs = devices(Profile::All, LevelChoice::Mixed);
        let tpms = |chip| -> Vec<Level> {
            let made = orders(&specs, chip, false);
            made.iter().filter(|o| o.options.chip == ChipKind::Swtpm).map(|o| o.spec.level).collect()
        };
        assert_eq!(tpms(ChipChoice::Mixed), [Level::L1]);
        assert_eq!(tpms(ChipChoice::Software), []);
        assert_eq!(tpms(ChipChoice::Swtpm).len(), specs.len());
        assert!(orders(&specs, ChipChoice::Software, false).iter().all(|order| !order.options.registered));
    }
}
