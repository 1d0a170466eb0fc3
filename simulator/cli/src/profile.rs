//! Which devices a profile and a choice of level stand for.

use biosim_scanner::{Kind, Spec};
use biotrust_model::{Level, Purpose};

use crate::args::{LevelChoice, Profile};

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
}
