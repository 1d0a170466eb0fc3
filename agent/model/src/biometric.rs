//! Modalities, kinds of device, and the parts of a body that they capture.

use crate::vocabulary;

vocabulary!(
    /// What a device senses. `digitalId.type`, `bio.type` and `bioType` on the wire.
    Modality, "modality", { Finger = "Finger", Iris = "Iris", Face = "Face" }
);

vocabulary!(
    /// Build of a device. `digitalId.deviceSubType` on the wire.
    DeviceSubType, "device sub-type", {
        /// Four fingers of a hand at once, or both thumbs.
        Slap = "Slap",
        /// One finger or one eye.
        Single = "Single",
        /// Fingers without contact.
        Touchless = "Touchless",
        /// Both eyes at once.
        Double = "Double",
        /// A camera.
        FullFace = "Full face",
    }
);

impl DeviceSubType {
    /// Whether a device of `modality` can be of this build.
    #[must_use]
    pub const fn fits(self, modality: Modality) -> bool {
        matches!(
            (modality, self),
            (Modality::Finger, Self::Slap | Self::Single | Self::Touchless)
                | (Modality::Iris, Self::Single | Self::Double)
                | (Modality::Face, Self::FullFace)
        )
    }
}

vocabulary!(
    /// One finger or eye. `bioSubType` on the wire; a face has none.
    BioSubType, "biometric sub-type", {
        /// Left index finger.
        LeftIndexFinger = "Left IndexFinger",
        /// Left middle finger.
        LeftMiddleFinger = "Left MiddleFinger",
        /// Left ring finger.
        LeftRingFinger = "Left RingFinger",
        /// Left little finger.
        LeftLittleFinger = "Left LittleFinger",
        /// Left thumb.
        LeftThumb = "Left Thumb",
        /// Right index finger.
        RightIndexFinger = "Right IndexFinger",
        /// Right middle finger.
        RightMiddleFinger = "Right MiddleFinger",
        /// Right ring finger.
        RightRingFinger = "Right RingFinger",
        /// Right little finger.
        RightLittleFinger = "Right LittleFinger",
        /// Right thumb.
        RightThumb = "Right Thumb",
        /// Left eye.
        Left = "Left",
        /// Right eye.
        Right = "Right",
        /// Whichever finger or eye is presented.
        Unknown = "UNKNOWN",
    }
);

impl BioSubType {
    /// The left four fingers, index first.
    pub const LEFT_SLAP: [Self; 4] =
        [Self::LeftIndexFinger, Self::LeftMiddleFinger, Self::LeftRingFinger, Self::LeftLittleFinger];
    /// The right four fingers, index first.
    pub const RIGHT_SLAP: [Self; 4] =
        [Self::RightIndexFinger, Self::RightMiddleFinger, Self::RightRingFinger, Self::RightLittleFinger];
    /// Both thumbs.
    pub const THUMBS: [Self; 2] = [Self::LeftThumb, Self::RightThumb];
    /// Both eyes.
    pub const EYES: [Self; 2] = [Self::Left, Self::Right];

    /// The modality that this part belongs to; `None` for [`Self::Unknown`], which fits finger and iris.
    #[must_use]
    pub const fn modality(self) -> Option<Modality> {
        match self {
            Self::Left | Self::Right => Some(Modality::Iris),
            Self::Unknown => None,
            _ => Some(Modality::Finger),
        }
    }

    /// Finger position of ISO/IEC 19794-4 table 6: 0 unknown, 1 right thumb .. 10 left little. `None` for an eye.
    #[must_use]
    pub const fn finger_position(self) -> Option<u8> {
        Some(match self {
            Self::Unknown => 0,
            Self::RightThumb => 1,
            Self::RightIndexFinger => 2,
            Self::RightMiddleFinger => 3,
            Self::RightRingFinger => 4,
            Self::RightLittleFinger => 5,
            Self::LeftThumb => 6,
            Self::LeftIndexFinger => 7,
            Self::LeftMiddleFinger => 8,
            Self::LeftRingFinger => 9,
            Self::LeftLittleFinger => 10,
            Self::Left | Self::Right => return None,
        })
    }

    /// Eye label of ISO/IEC 19794-6: 0 undefined, 1 right, 2 left. `None` for a finger.
    #[must_use]
    pub const fn eye_label(self) -> Option<u8> {
        match self {
            Self::Unknown => Some(0),
            Self::Right => Some(1),
            Self::Left => Some(2),
            _ => None,
        }
    }
}

/// `deviceSubId`: which part of a scanner. 0 none in particular; finger and iris: 1 left, 2 right, 3 thumbs or both eyes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct SubId(pub u8);

impl SubId {
    /// The parts that this sub-id can capture, in the order of capture; empty for a face or where any part will do.
    #[must_use]
    pub const fn parts(self, modality: Modality) -> &'static [BioSubType] {
        match (modality, self.0) {
            (Modality::Finger, 1) => &BioSubType::LEFT_SLAP,
            (Modality::Finger, 2) => &BioSubType::RIGHT_SLAP,
            (Modality::Finger, 3) => &BioSubType::THUMBS,
            (Modality::Iris, 1) => &[BioSubType::Left],
            (Modality::Iris, 2) => &[BioSubType::Right],
            (Modality::Iris, 3) => &BioSubType::EYES,
            _ => &[],
        }
    }
}

impl std::fmt::Display for SubId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_the_written_ones() {
        assert_eq!("Left IndexFinger".parse(), Ok(BioSubType::LeftIndexFinger));
        assert_eq!(DeviceSubType::FullFace.as_str(), "Full face");
        assert!("left IndexFinger".parse::<BioSubType>().is_err(), "case matters");
        for word in BioSubType::ALL {
            assert_eq!(word.as_str().parse(), Ok(*word));
        }
    }

    #[test]
    fn positions_follow_iso() {
        assert_eq!(BioSubType::RightThumb.finger_position(), Some(1));
        assert_eq!(BioSubType::LeftLittleFinger.finger_position(), Some(10));
        assert_eq!(BioSubType::Left.finger_position(), None);
        assert_eq!(BioSubType::Left.eye_label(), Some(2));
        assert_eq!(BioSubType::LeftThumb.eye_label(), None);
    }

    #[test]
    fn builds_fit_their_modality() {
        assert!(DeviceSubType::Slap.fits(Modality::Finger));
        assert!(!DeviceSubType::Slap.fits(Modality::Iris));
        assert!(DeviceSubType::FullFace.fits(Modality::Face));
    }
}
