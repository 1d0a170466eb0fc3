//! Several fingers on one platen: four of a hand or the two thumbs, some of them perhaps missing.

use biotrust_imaging::{Gray, ImageError, Rect};
use biotrust_model::BioSubType;

use super::{FINGER_HEIGHT, FINGER_WIDTH};
use crate::finger::impression::PAPER;
use crate::random::Random;

/// Width of the platen in pixels: 3.2 inches at 500 dpi.
pub const PLATEN_WIDTH: u32 = 1600;
/// Height of the platen in pixels: 2 inches at 500 dpi.
pub const PLATEN_HEIGHT: u32 = 1000;

/// What a slap scanner sees.
#[derive(Debug)]
pub struct Slap {
    /// The platen, [`PLATEN_WIDTH`] x [`PLATEN_HEIGHT`], 500 dpi.
    pub image: Gray,
    /// The fingers from left to right, each with the box around its print.
    pub fingers: Vec<(BioSubType, Rect)>,
}

/// Where a finger lies: centre on the platen in pixels, and its lean in radians.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) finger: BioSubType,
    x: f32,
    y: f32,
    pub(crate) lean: f32,
}

/// The three ways to lay fingers on a platen, left to right for the eye.
pub(crate) fn slots(of: BioSubType) -> Option<&'static [Slot]> {
    [&LEFT, &RIGHT, &THUMBS[..]].into_iter().find(|hand| hand.iter().any(|slot| slot.finger == of))
}

const fn slot(finger: BioSubType, x: f32, y: f32, lean: f32) -> Slot {
    Slot { finger, x, y, lean }
}

/// A left hand, seen through the back of its palm: the little finger is on the left.
const LEFT: [Slot; 4] = [
    slot(BioSubType::LeftLittleFinger, 250.0, 640.0, -0.16),
    slot(BioSubType::LeftRingFinger, 610.0, 430.0, -0.06),
    slot(BioSubType::LeftMiddleFinger, 985.0, 350.0, 0.02),
    slot(BioSubType::LeftIndexFinger, 1360.0, 450.0, 0.10),
];
const RIGHT: [Slot; 4] = [
    slot(BioSubType::RightIndexFinger, 240.0, 450.0, -0.10),
    slot(BioSubType::RightMiddleFinger, 615.0, 350.0, -0.02),
    slot(BioSubType::RightRingFinger, 990.0, 430.0, 0.06),
    slot(BioSubType::RightLittleFinger, 1350.0, 640.0, 0.16),
];
const THUMBS: [Slot; 2] =
    [slot(BioSubType::LeftThumb, 540.0, 480.0, 0.08), slot(BioSubType::RightThumb, 1060.0, 480.0, -0.08)];

/// An empty platen with the faint noise of a sensor.
pub(crate) fn platen(random: &mut Random) -> Result<Gray, ImageError> {
    let mut image = Gray::filled(PLATEN_WIDTH, PLATEN_HEIGHT, PAPER as u8)?;
    for eight in image.pixels_mut().chunks_mut(8) {
        for (pixel, byte) in eight.iter_mut().zip(random.next().to_le_bytes()) {
            *pixel = pixel.saturating_sub(2).saturating_add(byte & 3);
        }
    }
    Ok(image)
}

/// Lays one print onto the platen; the darker pixel wins, so that prints may touch. Returns the box around it, `None` where
/// nothing of it is dark enough to see.
pub(crate) fn lay(platen: &mut Gray, print: &Gray, slot: Slot, random: &mut Random) -> Option<Rect> {
    let x = (slot.x + random.between(-12.0, 12.0)) as u32 - FINGER_WIDTH / 2;
    let y = (slot.y + random.between(-20.0, 20.0)) as u32 - FINGER_HEIGHT / 2;
    let mut seen: Option<(u32, u32, u32, u32)> = None;
    let rows = platen.rows_mut().skip(y as usize);
    for (line, (to, from)) in (y..).zip(rows.zip(print.rows())) {
        let part = to.get_mut(x as usize..(x + print.width()) as usize).unwrap_or_default();
        for (column, (to, from)) in (x..).zip(part.iter_mut().zip(from)) {
            *to = (*to).min(*from);
            if f32::from(*from) < PAPER - 24.0 {
                let (left, top, right, _) = seen.unwrap_or((column, line, column, line));
                seen = Some((left.min(column), top, right.max(column), line));
            }
        }
    }
    seen.map(|(left, top, right, bottom)| Rect {
        x: left,
        y: top,
        width: right - left + 1,
        height: bottom - top + 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_lie_on_the_platen_with_room_for_every_shift() {
        for slot in LEFT.iter().chain(&RIGHT).chain(&THUMBS) {
            assert!(slot.x - 12.0 >= 160.0 && slot.x + 12.0 + 160.0 <= 1600.0, "{slot:?}");
            assert!(slot.y - 20.0 >= 200.0 && slot.y + 20.0 + 200.0 <= 1000.0, "{slot:?}");
        }
        for hand in [&LEFT[..], &RIGHT, &THUMBS] {
            assert!(hand.windows(2).all(|pair| pair[0].x + 344.0 <= pair[1].x), "no two overlap");
        }
    }

    #[test]
    fn every_finger_has_a_slot_and_no_eye_does() {
        for part in BioSubType::ALL {
            let expected = part.finger_position().is_some_and(|position| position > 0);
            assert_eq!(slots(*part).is_some(), expected, "{part}");
        }
    }
}
