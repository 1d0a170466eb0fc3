//! Fingerprints: a pattern ([`pattern`]) grows into a master ([`master`]), once per finger and kept ([`cache`]); each
//! capture is an impression of it ([`impression`]), and a slap several of them on one platen ([`slap`]).

pub(crate) mod cache;
pub(crate) mod impression;
pub(crate) mod master;
pub(crate) mod pattern;
pub(crate) mod slap;

use biotrust_imaging::{Gray, ImageError};
use biotrust_model::BioSubType;
use impression::{Touch, impression};
use master::Master;

use crate::random::Random;

/// Width of one finger's image in pixels.
pub const FINGER_WIDTH: u32 = 320;
/// Height of one finger's image in pixels.
pub const FINGER_HEIGHT: u32 = 400;
/// Dots per inch of all fingerprints here.
pub const FINGER_DPI: u16 = 500;

/// Grows the ridges of one finger of a subject. `position` is that of ISO/IEC 19794-4, 1 to 10.
pub(crate) fn grow(seed: u64, position: u8) -> Master {
    let mut random = Random::new(*b"ridges  ", &[seed, u64::from(position)]);
    Master::grow(FINGER_WIDTH as usize, FINGER_HEIGHT as usize, &mut random)
}

/// How large the pad of a finger is: half axes as a share of half the image.
fn pad(finger: BioSubType) -> (f32, f32) {
    match finger {
        BioSubType::LeftLittleFinger | BioSubType::RightLittleFinger => (0.80, 0.88),
        BioSubType::LeftRingFinger | BioSubType::RightRingFinger => (0.86, 0.92),
        BioSubType::LeftThumb | BioSubType::RightThumb => (0.95, 0.95),
        _ => (0.90, 0.93),
    }
}

/// One capture of one finger. `lean` is the angle in radians at which the hand holds it.
pub(crate) fn capture(
    master: &Master,
    finger: BioSubType,
    lean: f32,
    quality: f32,
    random: &mut Random,
) -> Result<Gray, ImageError> {
    let (wide, high) = pad(finger);
    let mut pressure = || random.between(0.95, 1.02);
    let contact = (wide * pressure(), high * pressure());
    let touch = Touch {
        angle: lean + random.between(-0.08, 0.08),
        shift: (random.between(-6.0, 6.0), random.between(-6.0, 6.0)),
        contact,
        quality,
    };
    impression(master, &touch, random)
}
