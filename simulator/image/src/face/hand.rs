//! A raised hand with its palm to the camera, for the exception photo; fingers that are missing are stumps.
//!
//! Coordinates are in half widths of the palm from its middle, x towards the thumb and y downwards.

use super::paint::{Colour, cover, light, segment};
use crate::noise::{Field, length, mix, ramp};
use crate::random::Random;

/// One finger: from its root to its tip.
struct Digit {
    root: (f32, f32),
    tip: (f32, f32),
    /// Half widths at root and tip.
    thick: (f32, f32),
}

/// Thumb, index, middle, ring, little finger.
const DIGITS: [Digit; 5] = [
    Digit { root: (0.62, 0.62), tip: (1.62, -0.62), thick: (0.46, 0.25) },
    Digit { root: (0.70, -0.70), tip: (0.88, -2.32), thick: (0.27, 0.21) },
    Digit { root: (0.23, -0.80), tip: (0.28, -2.62), thick: (0.27, 0.21) },
    Digit { root: (-0.25, -0.78), tip: (-0.34, -2.38), thick: (0.26, 0.20) },
    Digit { root: (-0.70, -0.62), tip: (-0.95, -1.86), thick: (0.23, 0.17) },
];

/// What is left of a missing finger.
const STUMP: f32 = 0.12;

/// A hand and which of its fingers are there, thumb first.
pub(super) struct Hand {
    skin: Colour,
    present: [bool; 5],
    grain: Field,
}

impl Hand {
    pub(super) fn new(skin: Colour, present: [bool; 5], random: &mut Random) -> Self {
        // Palms are paler and redder than faces.
        let skin = skin.mixed(Colour::new(226.0, 174.0, 152.0), 0.35);
        Self { skin, present, grain: Field::noise(256, 620, 2.0, random) }
    }

    /// Draws the hand; `mirrored` puts the thumb to the left. See `Head::draw` for the other arguments.
    pub(super) fn draw(
        &self,
        (width, height): (usize, usize),
        centre: (f32, f32),
        scale: f32,
        mirrored: bool,
    ) -> Vec<(Colour, f32)> {
        let side = if mirrored { -1.0 } else { 1.0 };
        let place = |x: f32, y: f32| (side * (x - centre.0) / scale, (y - centre.1) / scale);
        let relief = Field::from_fn(width, height, |x, y| {
            let (u, v) = place(x, y);
            self.height(u, v)
        });
        let mut cells = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                let (u, v) = place(x as f32, y as f32);
                let (slope_x, slope_y) = relief.slope(x, y);
                cells.push(self.at(u, v, 1.0 / scale, (slope_x * scale, slope_y * scale)));
            }
        }
        cells
    }

    /// Distance into each finger (negative outside), and how far along it, 0 to 1.
    fn digits(&self, x: f32, y: f32) -> impl Iterator<Item = (f32, f32, &Digit)> {
        DIGITS.iter().zip(self.present).map(move |(digit, present)| {
            let reach = if present { 1.0 } else { STUMP };
            let tip = (mix(digit.root.0, digit.tip.0, reach), mix(digit.root.1, digit.tip.1, reach));
            let (distance, along) = segment((x, y), digit.root, tip);
            let along = along * reach;
            // A little waisted between the joints.
            let waist = 0.025 * libm::cosf(along * 2.0 * core::f32::consts::PI * 2.6);
            (mix(digit.thick.0, digit.thick.1, along) + waist * digit.thick.1 * 2.0 - distance, along, digit)
        })
    }

    /// Distance into palm and wrist.
    fn palm(x: f32, y: f32) -> f32 {
        let waist = 1.0 - 0.30 * ramp(0.1, 1.5, y) - 0.05 * ramp(-0.2, -0.9, y);
        let beside = waist - libm::fabsf(x + 0.06 * ramp(0.3, 1.4, y));
        let above = y + 1.02 - 0.10 * (x - 0.1) * (x - 0.1);
        // A rounded corner where the two meet.
        let (a, b) = ((0.35 - beside).max(0.0), (0.35 - above).max(0.0));
        if a > 0.0 && b > 0.0 { 0.35 - length(a, b) } else { beside.min(above) }
    }

    fn height(&self, x: f32, y: f32) -> f32 {
        if !(-1.5..2.2).contains(&x) || y < -3.2 {
            return 0.0;
        }
        let dome = |inside: f32, radius: f32| {
            let rest = (radius - inside).clamp(0.0, radius);
            libm::sqrtf(radius * radius - rest * rest)
        };
        let bulge = |cx: f32, cy: f32, rx: f32, ry: f32| super::paint::bump(x - cx, y - cy, rx, ry);
        let palm = 0.8 * dome(Self::palm(x, y), 0.42) - 0.10 * bulge(-0.05, 0.1, 0.55, 0.8)
            + 0.10 * bulge(0.55, 0.6, 0.6, 0.75)
            + 0.06 * bulge(-0.62, 0.55, 0.45, 0.8)
            + 0.05 * bulge(0.0, -0.75, 0.9, 0.35);
        // A soft maximum, so that fingers grow out of the palm.
        self.digits(x, y).fold(palm, |height, (inside, _, digit)| {
            let finger = dome(inside, digit.thick.1 * 1.15);
            let gap = height - finger;
            0.5 * (height + finger + libm::sqrtf(gap * gap + 0.004))
        })
    }

    fn at(&self, x: f32, y: f32, soft: f32, slope: (f32, f32)) -> (Colour, f32) {
        if !(-1.6..2.3).contains(&x) || y < -3.2 {
            return (self.skin, 0.0);
        }
        let palm = Self::palm(x, y);
        let mut inside = palm;
        let mut crease = 0.0f32;
        for (depth, along, digit) in self.digits(x, y) {
            inside = inside.max(depth);
            if depth > 0.0 {
                // Three joints, the one at the root where the finger leaves the palm.
                let length = length(digit.tip.0 - digit.root.0, digit.tip.1 - digit.root.1);
                for joint in [0.06, 0.42, 0.72] {
                    let off = libm::fabsf(along - joint) * length;
                    let strength = if digit.thick.0 > 0.4 && joint < 0.1 { 0.0 } else { 0.5 };
                    crease =
                        crease.max(strength * cover(0.018 - off, 1.6 * soft) * cover(depth - 0.02, 0.05));
                }
            }
        }
        if palm > 0.0 {
            crease = crease.max(Self::palm_lines(x, y, soft));
        }
        // The picture is seen mirrored for a left hand, the light is not: close enough for a palm.
        let (shine, gloss) = light(slope.0 * 0.8, slope.1 * 0.8);
        let grain = self.grain.sample((x + 1.6) * 64.0, (y + 3.2) * 64.0);
        let tips =
            self.digits(x, y).map(|(depth, along, _)| if depth > 0.0 { ramp(0.75, 1.0, along) } else { 0.0 });
        let red = tips.fold(0.0, f32::max);
        let skin = self.skin.tinted(1.0, 1.0 - 0.08 * red, 1.0 - 0.07 * red).times(1.0 + 0.02 * grain);
        let colour = skin.mixed(skin.tinted(0.62, 0.50, 0.46), crease).times(shine).plus(14.0 * gloss);
        (colour, cover(inside, 1.5 * soft))
    }

    /// Heart, head and life line.
    fn palm_lines(x: f32, y: f32, soft: f32) -> f32 {
        let line = |distance: f32| 0.55 * cover(0.016 - libm::fabsf(distance), 2.0 * soft);
        let heart =
            line(y + 0.42 + 0.22 * (x + 0.75) * (x - 0.1)) * cover(0.55 - x, 0.15) * cover(x + 0.95, 0.1);
        let head = line(y + 0.10 - 0.42 * (0.75 - x) * 0.55) * cover(0.85 - x, 0.1) * cover(x + 0.55, 0.15);
        let life = line(length(x - 0.92, (y - 0.72) * 0.80) - 0.72)
            * cover(0.55 - x, 0.1)
            * cover(y + 0.05, 0.1)
            * cover(1.3 - y, 0.1);
        heart.max(head).max(life)
    }
}
