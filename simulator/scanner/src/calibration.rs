//! The subject by score: images are asked for with the quality score that they shall have, about.
//!
//! How a drawn finger, eye or face scores at a setting of the generator differs from subject to subject and from part to
//! part. So each kind of image is measured once, at a few settings, and the setting for a score is read off in between.
//! Measuring takes some hundred milliseconds of CPU for a device; [`CalibratedSubject::prepare`] does it ahead of time.

use std::sync::OnceLock;

use biosim_image::{IrisImage, Slap, Subject, SubjectError};
use biotrust_imaging::jp2::Dpi;
use biotrust_imaging::{Gray, Rgb, quality, segment};
use biotrust_model::{BioSubType, Modality, Purpose};

use crate::kind::Spec;

/// Settings of the generator that are measured.
const SETTINGS: [f32; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];
/// Fingers score differently each time that they are laid down; the average of so many times is taken.
const FINGER_TAKES: u64 = 2;
/// Hands as they lie on a platen.
const HANDS: [&[BioSubType]; 3] = [&BioSubType::LEFT_SLAP, &BioSubType::RIGHT_SLAP, &BioSubType::THUMBS];

/// Scores at [`SETTINGS`], never falling.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Scale([f32; SETTINGS.len()]);

impl Scale {
    /// Measures; what cannot be drawn scores nothing, and the capture that needs it will say why.
    fn measure(score: impl Fn(f32) -> Result<f32, SubjectError>) -> Self {
        let mut highest = 0.0f32;
        Self(SETTINGS.map(|setting| {
            highest = highest.max(score(setting).unwrap_or_default());
            highest
        }))
    }

    /// The setting that gives about this score; the best one where that is not enough.
    fn setting(&self, wanted: u8) -> f32 {
        let wanted = f32::from(wanted);
        let points = || SETTINGS.iter().copied().zip(self.0);
        let Some((above, high)) = points().find(|(_, score)| *score >= wanted) else { return 1.0 };
        match points().take_while(|(_, score)| *score < wanted).last() {
            Some((below, low)) => below + (above - below) * (wanted - low) / (high - low),
            None => above,
        }
    }
}

/// A subject whose images can be asked for by score. Shared by all devices of a host.
pub struct CalibratedSubject {
    subject: Subject,
    hands: [OnceLock<Scale>; HANDS.len()],
    /// By position of ISO/IEC 19794-4, less one.
    fingers: [OnceLock<Scale>; 10],
    /// By eye label of ISO/IEC 19794-6, less one.
    eyes: [OnceLock<Scale>; 2],
    face: OnceLock<Scale>,
    exception_photo: OnceLock<Scale>,
}

impl CalibratedSubject {
    /// Nothing is measured yet.
    #[must_use]
    pub fn new(subject: Subject) -> Self {
        Self {
            subject,
            hands: Default::default(),
            fingers: Default::default(),
            eyes: Default::default(),
            face: OnceLock::new(),
            exception_photo: OnceLock::new(),
        }
    }

    /// Measures all that a device of this kind may be shown, so that its first capture is as fast as the next one.
    /// Returns early when `stop` says so.
    pub fn prepare(&self, spec: Spec, stop: &dyn Fn() -> bool) {
        let parts = match spec.kind.modality() {
            Modality::Finger => HANDS.concat(),
            Modality::Iris => BioSubType::EYES.to_vec(),
            Modality::Face => vec![BioSubType::Unknown],
        };
        if spec.kind.modality() == Modality::Face && spec.purpose == Purpose::Registration {
            let _measured = self.face_setting(&[BioSubType::LeftThumb], 0);
        }
        for part in parts.into_iter().take_while(|_| !stop()) {
            let _measured = match spec.kind.modality() {
                Modality::Finger if spec.kind.has_platen() => self.hand_setting(part, 0),
                Modality::Finger => self.finger_setting(part, 0),
                Modality::Iris => self.eye_setting(part, 0),
                Modality::Face => self.face_setting(&[], 0),
            };
        }
    }

    pub(crate) fn finger(&self, finger: BioSubType, take: u64, score: u8) -> Result<Gray, SubjectError> {
        self.subject.finger(finger, take, self.finger_setting(finger, score))
    }

    /// `fingers` are of one hand.
    pub(crate) fn slap(&self, fingers: &[BioSubType], take: u64, score: u8) -> Result<Slap, SubjectError> {
        let first = fingers.first().copied().unwrap_or(BioSubType::Unknown);
        self.subject.slap(fingers, take, self.hand_setting(first, score))
    }

    pub(crate) fn iris(
        &self,
        eye: BioSubType,
        purpose: Purpose,
        take: u64,
        score: u8,
    ) -> Result<IrisImage, SubjectError> {
        self.subject.iris(eye, purpose, take, self.eye_setting(eye, score))
    }

    pub(crate) fn face(&self, exceptions: &[BioSubType], take: u64, score: u8) -> Result<Rgb, SubjectError> {
        self.subject.face(take, self.face_setting(exceptions, score), exceptions)
    }

    /// The setting for a finger of a hand on a platen; the average of the hand is what counts.
    fn hand_setting(&self, finger: BioSubType, score: u8) -> f32 {
        let hand = HANDS.iter().zip(&self.hands).find(|(hand, _)| hand.contains(&finger));
        setting(hand.map(|(_, scale)| scale), score, |hand_setting| {
            let fingers = hand.map(|(fingers, _)| *fingers).unwrap_or_default();
            let (mut sum, mut count) = (0.0, 0);
            for take in 0..FINGER_TAKES {
                let slap = self.subject.slap(fingers, take, hand_setting)?;
                for rect in segment::fingers(&slap.image, Dpi::FINGER) {
                    sum += quality::finger(&slap.image.crop(rect)?, Dpi::FINGER).value();
                    count += 1;
                }
            }
            Ok(sum / count.max(1) as f32)
        })
    }

    fn finger_setting(&self, finger: BioSubType, score: u8) -> f32 {
        let place = finger.finger_position().and_then(|position| position.checked_sub(1));
        let scale = place.and_then(|place| self.fingers.get(usize::from(place)));
        setting(scale, score, |setting| {
            let mut sum = 0.0;
            for take in 0..FINGER_TAKES {
                sum += quality::finger(&self.subject.finger(finger, take, setting)?, Dpi::FINGER).value();
            }
            Ok(sum / FINGER_TAKES as f32)
        })
    }

    fn eye_setting(&self, eye: BioSubType, score: u8) -> f32 {
        let place = eye.eye_label().and_then(|label| label.checked_sub(1));
        let scale = place.and_then(|place| self.eyes.get(usize::from(place)));
        setting(scale, score, |setting| {
            let eye = self.subject.iris(eye, Purpose::Registration, 0, setting)?;
            Ok(quality::iris(&eye.image, &eye.geometry).value())
        })
    }

    fn face_setting(&self, exceptions: &[BioSubType], score: u8) -> f32 {
        let scale = if exceptions.is_empty() { &self.face } else { &self.exception_photo };
        setting(Some(scale), score, |setting| {
            Ok(quality::face(&self.subject.face(0, setting, exceptions)?).value())
        })
    }
}

/// Reads a setting off a scale that is measured when it is first needed. What has no scale cannot be drawn either.
fn setting(
    scale: Option<&OnceLock<Scale>>,
    score: u8,
    measure: impl Fn(f32) -> Result<f32, SubjectError>,
) -> f32 {
    scale.map_or(1.0, |scale| scale.get_or_init(|| Scale::measure(measure)).setting(score))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_off_between_the_measured_ones() {
        let scale = Scale([10.0, 20.0, 60.0, 60.0, 90.0]);
        for (score, setting) in
            [(0, 0.0), (10, 0.0), (15, 0.125), (40, 0.375), (60, 0.5), (75, 0.875), (100, 1.0)]
        {
            assert!((scale.setting(score) - setting).abs() < 1e-6, "{score}: {}", scale.setting(score));
        }
    }

    #[test]
    fn a_scale_never_falls() {
        let scores = [5.0, 30.0, 20.0, 70.0, 60.0];
        let at = |setting: f32| Ok(scores[(setting * 4.0) as usize]);
        assert_eq!(Scale::measure(at), Scale([5.0, 30.0, 30.0, 70.0, 70.0]));
    }
}
