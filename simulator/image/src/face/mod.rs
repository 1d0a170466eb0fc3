//! Faces: a portrait on white, and the exception photo with both palms beside the face.
//!
//! Simple pictures of people who do not exist, for exercising cameras and back ends; no face matcher is meant to know them
//! apart. The picture of a subject is drawn once; a capture moves it a little and adds what a camera does.

mod camera;
mod hand;
mod head;
mod paint;

use biotrust_imaging::{ImageError, Rgb};
use biotrust_model::BioSubType;
pub(crate) use camera::shoot;
use hand::Hand;
use head::{Head, Shut};
use paint::Colour;

use crate::noise::to_byte;
use crate::random::Random;

/// Width of a portrait in pixels.
pub const FACE_WIDTH: u32 = 480;
/// Height of a portrait in pixels.
pub const FACE_HEIGHT: u32 = 640;
/// Width of an exception photo in pixels; it has the proportions of 60 x 40 mm.
pub const EXCEPTION_WIDTH: u32 = 960;
/// Height of an exception photo in pixels.
pub const EXCEPTION_HEIGHT: u32 = 640;

const BACKGROUND: Colour = Colour::new(246.0, 247.0, 249.0);

/// The picture of a subject: a portrait, or the exception photo where parts are missing. Eyes that are missing are shut.
pub(crate) fn picture(seed: u64, missing: &[BioSubType]) -> Result<Rgb, ImageError> {
    if missing.is_empty() {
        paint_portrait(seed, (FACE_WIDTH, FACE_HEIGHT), 150.0)
    } else {
        paint_exception(seed, (EXCEPTION_WIDTH, EXCEPTION_HEIGHT), 118.0, missing)
    }
}

fn head_of(seed: u64) -> Head {
    Head::new(&mut Random::new(*b"face    ", &[seed]))
}

/// `scale` is half the width of the head in pixels.
fn paint_portrait(seed: u64, (width, height): (u32, u32), scale: f32) -> Result<Rgb, ImageError> {
    let size = (width as usize, height as usize);
    let centre = (width as f32 * 0.5, height as f32 * 0.455);
    let mut canvas = vec![BACKGROUND; size.0 * size.1];
    lay(&mut canvas, &head_of(seed).draw(size, centre, scale, Shut::default()));
    finish(width, height, &canvas)
}

fn paint_exception(
    seed: u64,
    (width, height): (u32, u32),
    scale: f32,
    missing: &[BioSubType],
) -> Result<Rgb, ImageError> {
    let size = (width as usize, height as usize);
    let (w, h) = (width as f32, height as f32);
    let gone = |part: BioSubType| missing.contains(&part);
    let head = head_of(seed);
    let shut = Shut { left: gone(BioSubType::Left), right: gone(BioSubType::Right) };
    let mut canvas = vec![BACKGROUND; size.0 * size.1];
    lay(&mut canvas, &head.draw(size, (w * 0.5, h * 0.47), scale, shut));
    // The right hand is on the left of the picture. Thumbs point at the face.
    let hands = [
        (BioSubType::RightThumb, BioSubType::RIGHT_SLAP, w * 0.145, false),
        (BioSubType::LeftThumb, BioSubType::LEFT_SLAP, w * 0.855, true),
    ];
    for (thumb, [index, middle, ring, little], x, mirrored) in hands {
        let present = [thumb, index, middle, ring, little].map(|finger| !gone(finger));
        let hand =
            Hand::new(head.skin, present, &mut Random::new(*b"palm    ", &[seed, u64::from(mirrored)]));
        lay(&mut canvas, &hand.draw(size, (x, h * 0.60), scale * 0.58, mirrored));
    }
    finish(width, height, &canvas)
}

fn lay(canvas: &mut [Colour], layer: &[(Colour, f32)]) {
    for (to, (colour, share)) in canvas.iter_mut().zip(layer) {
        *to = to.mixed(*colour, *share);
    }
}

fn finish(width: u32, height: u32, canvas: &[Colour]) -> Result<Rgb, ImageError> {
    Rgb::new(width, height, canvas.iter().flat_map(|colour| colour.0.map(to_byte)).collect())
}

/// A portrait and an exception photo at a fifth of their size, for tests.
#[cfg(test)]
pub(crate) fn small_pictures(seed: u64) -> Result<(Rgb, Rgb), ImageError> {
    let missing = [BioSubType::LeftThumb, BioSubType::RightMiddleFinger, BioSubType::Right];
    Ok((paint_portrait(seed, (96, 128), 30.0)?, paint_exception(seed, (192, 128), 23.6, &missing)?))
}
