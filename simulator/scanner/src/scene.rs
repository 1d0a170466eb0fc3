//! What is in front of the sensors: one subject, present or not, with a quality and with missing parts.

use std::collections::BTreeSet;

use biotrust_model::{BioSubType, Modality};

/// Quality that a subject settles at unless told otherwise: good, but never 100.
pub const DEFAULT_CEILING: u8 = 80;

/// Order in which fingers are offered where any finger will do.
const ANY_FINGER: [BioSubType; 10] = [
    BioSubType::RightIndexFinger,
    BioSubType::RightMiddleFinger,
    BioSubType::RightThumb,
    BioSubType::LeftIndexFinger,
    BioSubType::LeftMiddleFinger,
    BioSubType::LeftThumb,
    BioSubType::RightRingFinger,
    BioSubType::LeftRingFinger,
    BioSubType::RightLittleFinger,
    BioSubType::LeftLittleFinger,
];

/// Order in which eyes are offered where any eye will do.
const ANY_EYE: [BioSubType; 2] = [BioSubType::Right, BioSubType::Left];

/// State of the subject; the same for all devices of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scene {
    /// Whether anybody is there.
    pub present: bool,
    /// Quality that images settle at, 0..=100.
    pub ceiling: u8,
    /// Fingers and eyes that the subject does not have.
    pub missing: BTreeSet<BioSubType>,
}

impl Default for Scene {
    fn default() -> Self {
        Self { present: true, ceiling: DEFAULT_CEILING, missing: BTreeSet::new() }
    }
}

/// A part that was asked for and the real finger or eye that was presented for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Presented {
    /// As asked, perhaps `UNKNOWN`.
    pub asked: BioSubType,
    /// As it is.
    pub real: BioSubType,
}

impl Scene {
    /// What the subject presents when asked for `parts` and told to keep `exceptions` away. Shorter than `parts` where
    /// something is missing; empty when nobody is there.
    ///
    /// Named parts first claim their own finger; each `UNKNOWN` then takes the next one that is left.
    #[must_use]
    pub fn present(
        &self,
        modality: Modality,
        parts: &[BioSubType],
        exceptions: &[BioSubType],
    ) -> Vec<Presented> {
        if !self.present {
            return Vec::new();
        }
        let all: &[BioSubType] = match modality {
            Modality::Finger => &ANY_FINGER,
            Modality::Iris => &ANY_EYE,
            Modality::Face => return Vec::new(),
        };
        let usable = |part: &BioSubType| !self.missing.contains(part) && !exceptions.contains(part);
        let mut left = all
            .iter()
            .copied()
            .filter(|part| usable(part) && !parts.contains(part))
            .collect::<Vec<_>>()
            .into_iter();
        parts
            .iter()
            .filter_map(|&asked| {
                let real = match asked {
                    BioSubType::Unknown => left.next()?,
                    named => Some(named).filter(usable)?,
                };
                Some(Presented { asked, real })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn real(scene: &Scene, parts: &[BioSubType], exceptions: &[BioSubType]) -> Vec<BioSubType> {
        scene.present(Modality::Finger, parts, exceptions).iter().map(|p| p.real).collect()
    }

    #[test]
    fn unknown_takes_fingers_that_nobody_named() {
        let scene = Scene::default();
        let parts = [BioSubType::Unknown, BioSubType::RightIndexFinger, BioSubType::Unknown];
        assert_eq!(
            real(&scene, &parts, &[]),
            [BioSubType::RightMiddleFinger, BioSubType::RightIndexFinger, BioSubType::RightThumb]
        );
        assert_eq!(real(&scene, &[BioSubType::Unknown; 11], &[]).len(), 10, "nobody has eleven fingers");
    }

    #[test]
    fn missing_and_excepted_parts_stay_away() {
        let mut scene = Scene::default();
        scene.missing.insert(BioSubType::LeftRingFinger);
        assert_eq!(real(&scene, &BioSubType::LEFT_SLAP, &[BioSubType::LeftIndexFinger]).len(), 2);
        scene.present = false;
        assert!(real(&scene, &BioSubType::LEFT_SLAP, &[]).is_empty());
    }

    #[test]
    fn eyes_are_not_fingers() {
        let shown = Scene::default().present(Modality::Iris, &[BioSubType::Unknown], &[]);
        assert_eq!(shown, [Presented { asked: BioSubType::Unknown, real: BioSubType::Right }]);
    }
}
