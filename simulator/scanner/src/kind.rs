//! What virtual devices there are, and what each says of itself.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use biotrust_driver_api::Description;
use biotrust_model::{BioSubType, DeviceIdentity, DeviceSubType, Level, Modality, Purpose, SubId};

/// Firmware version that every virtual device reports.
pub(crate) const FIRMWARE: &str = concat!("biosim-", env!("CARGO_PKG_VERSION"));

/// Build of a virtual device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Four-finger slap scanner: left hand, right hand, thumbs.
    SlapFinger,
    /// Single-finger scanner.
    SingleFinger,
    /// Contactless finger camera.
    TouchlessFinger,
    /// Camera for both eyes: left, right, both.
    DoubleIris,
    /// Camera for one eye.
    SingleIris,
    /// Face camera.
    Face,
}

impl Kind {
    /// What it senses.
    #[must_use]
    pub const fn modality(self) -> Modality {
        match self {
            Self::SlapFinger | Self::SingleFinger | Self::TouchlessFinger => Modality::Finger,
            Self::DoubleIris | Self::SingleIris => Modality::Iris,
            Self::Face => Modality::Face,
        }
    }

    /// `deviceSubType` on the wire.
    #[must_use]
    pub const fn sub_type(self) -> DeviceSubType {
        match self {
            Self::SlapFinger => DeviceSubType::Slap,
            Self::SingleFinger | Self::SingleIris => DeviceSubType::Single,
            Self::TouchlessFinger => DeviceSubType::Touchless,
            Self::DoubleIris => DeviceSubType::Double,
            Self::Face => DeviceSubType::FullFace,
        }
    }

    /// Parts of the scanner that can be asked for, ascending.
    #[must_use]
    pub const fn sub_ids(self) -> &'static [SubId] {
        match self {
            Self::SlapFinger | Self::DoubleIris => &[SubId(1), SubId(2), SubId(3)],
            Self::SingleFinger | Self::TouchlessFinger | Self::SingleIris | Self::Face => &[SubId(0)],
        }
    }

    /// Whether several fingers lie on one platen and must be segmented.
    #[must_use]
    pub const fn has_platen(self) -> bool {
        matches!(self, Self::SlapFinger)
    }

    /// What somebody presents when `sub_id` is shown and nothing in particular is asked for; empty for a face.
    #[must_use]
    pub const fn shown_at(self, sub_id: SubId) -> &'static [BioSubType] {
        match (self, sub_id.parts(self.modality())) {
            (Self::Face, _) => &[],
            (_, []) => &[BioSubType::Unknown],
            (_, parts) => parts,
        }
    }

    /// Model name as printed.
    #[must_use]
    pub const fn model(self) -> &'static str {
        match self {
            Self::SlapFinger => "SLAP-442",
            Self::SingleFinger => "FINGER-1",
            Self::TouchlessFinger => "AIRFINGER-1",
            Self::DoubleIris => "IRIS-2",
            Self::SingleIris => "IRIS-1",
            Self::Face => "FACE-1080",
        }
    }

    /// Two letters for serial numbers.
    const fn code(self) -> &'static str {
        match self {
            Self::SlapFinger => "FS",
            Self::SingleFinger => "F1",
            Self::TouchlessFinger => "FT",
            Self::DoubleIris => "I2",
            Self::SingleIris => "I1",
            Self::Face => "FF",
        }
    }
}

/// Provider that made the virtual devices, as its certificates spell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maker {
    /// Legal name, the `O=` of its certificates. ASCII.
    pub provider: String,
    /// Id of the provider with MOSIP. ASCII.
    pub provider_id: String,
}

/// One virtual device to build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Spec {
    /// Build.
    pub kind: Kind,
    /// Where its keys live.
    pub level: Level,
    /// What it may be used for.
    pub purpose: Purpose,
}

impl Spec {
    /// Serial number: 16 characters `[A-Z0-9]`, always the same for a seed and a kind of device.
    #[must_use]
    pub fn serial(&self, seed: u64) -> String {
        let purpose = match self.purpose {
            Purpose::Registration => 'R',
            Purpose::Auth => 'A',
        };
        let label = format!("biosim serial {seed} {} {purpose}", self.kind.code());
        let hash = digest::digest(&digest::SHA256, label.as_bytes());
        let mut serial = format!("BSM{}{purpose}", self.kind.code());
        for byte in hash.as_ref().iter().take(5) {
            let _ = write!(serial, "{byte:02X}");
        }
        serial
    }

    /// What the device answers to HELLO.
    #[must_use]
    pub fn description(&self, seed: u64, maker: &Maker) -> Description {
        Description {
            identity: DeviceIdentity {
                serial_no: self.serial(seed),
                make: "Biosim".to_owned(),
                model: self.kind.model().to_owned(),
                modality: self.kind.modality(),
                device_sub_type: self.kind.sub_type(),
                device_provider: maker.provider.clone(),
                device_provider_id: maker.provider_id.clone(),
            },
            level: self.level,
            purpose: self.purpose,
            firmware: FIRMWARE.to_owned(),
            sub_ids: self.kind.sub_ids().to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 6] = [
        Kind::SlapFinger,
        Kind::SingleFinger,
        Kind::TouchlessFinger,
        Kind::DoubleIris,
        Kind::SingleIris,
        Kind::Face,
    ];

    #[test]
    fn serials_are_stable_and_differ() {
        let mut seen = std::collections::BTreeSet::new();
        for kind in KINDS {
            for purpose in [Purpose::Registration, Purpose::Auth] {
                for seed in [0, 1] {
                    let spec = Spec { kind, level: Level::L0, purpose };
                    let serial = spec.serial(seed);
                    assert!(serial.len() >= 12 && serial.bytes().all(|b| b.is_ascii_alphanumeric()));
                    assert_eq!(serial, spec.serial(seed));
                    assert!(seen.insert(serial), "{kind:?} {purpose} {seed}");
                }
            }
        }
    }

    #[test]
    fn builds_fit_their_modality() {
        for kind in KINDS {
            assert!(kind.sub_type().fits(kind.modality()), "{kind:?}");
            for sub_id in kind.sub_ids() {
                assert_eq!(kind.shown_at(*sub_id).is_empty(), kind == Kind::Face);
            }
        }
    }
}
