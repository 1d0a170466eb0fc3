//! A head from the front: a height field with features on it, lit, and coloured.
//!
//! Coordinates are in half head widths from between the eyes, x to the right of the picture and y downwards: crown near
//! -1.45, chin near 1.3.

use super::paint::{Colour, bump, cover, light, segment};
use crate::noise::{Field, length, mix, ramp, smoothstep};
use crate::random::Random;

/// Looks of one subject.
pub(super) struct Head {
    pub(super) skin: Colour,
    hair: Colour,
    iris: Colour,
    cloth: Colour,
    /// Half distance between the eyes, half width of an eye, its openness.
    eyes: (f32, f32, f32),
    brow: (f32, f32),
    nose: (f32, f32),
    mouth: (f32, f32),
    /// Larger is squarer.
    jaw: f32,
    chin: f32,
    hairline: f32,
    long_hair: bool,
    parting: f32,
    beard: f32,
    strands: Field,
    blotches: Field,
    pores: Field,
}

/// Which eyes are shut.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shut {
    pub(super) left: bool,
    pub(super) right: bool,
}

const SKINS: [Colour; 6] = [
    Colour::new(240.0, 208.0, 186.0),
    Colour::new(228.0, 186.0, 158.0),
    Colour::new(205.0, 158.0, 122.0),
    Colour::new(168.0, 118.0, 86.0),
    Colour::new(130.0, 88.0, 63.0),
    Colour::new(98.0, 65.0, 48.0),
];
const HAIRS: [Colour; 5] = [
    Colour::new(28.0, 24.0, 23.0),
    Colour::new(48.0, 35.0, 28.0),
    Colour::new(84.0, 58.0, 38.0),
    Colour::new(140.0, 104.0, 66.0),
    Colour::new(120.0, 118.0, 116.0),
];
const IRISES: [Colour; 4] = [
    Colour::new(62.0, 40.0, 26.0),
    Colour::new(92.0, 62.0, 36.0),
    Colour::new(96.0, 108.0, 74.0),
    Colour::new(98.0, 128.0, 150.0),
];
const CLOTHS: [Colour; 5] = [
    Colour::new(52.0, 66.0, 98.0),
    Colour::new(86.0, 36.0, 42.0),
    Colour::new(60.0, 86.0, 70.0),
    Colour::new(66.0, 66.0, 72.0),
    Colour::new(110.0, 92.0, 72.0),
];

impl Head {
    pub(super) fn new(random: &mut Random) -> Self {
        let tone = random.between(0.0, 4.99);
        let (from, share) = (tone as usize, tone - libm::floorf(tone));
        let pick = |colours: &[Colour], index: usize| {
            colours.get(index).copied().unwrap_or(Colour::new(0.0, 0.0, 0.0))
        };
        let skin = pick(&SKINS, from).mixed(pick(&SKINS, from + 1), share);
        // Dark hair and eyes go with dark skin, the rest varies more.
        let hairs = if tone < 2.0 { HAIRS.len() } else { 2 };
        let hair = pick(&HAIRS, random.below(hairs as u32) as usize);
        let irises = if tone < 1.6 { IRISES.len() } else { 2 };
        let iris = pick(&IRISES, random.below(irises as u32) as usize);
        let cloth = pick(&CLOTHS, random.below(CLOTHS.len() as u32) as usize);
        let long_hair = random.next() & 1 == 0;
        Self {
            skin,
            hair,
            iris,
            cloth,
            eyes: (random.between(0.39, 0.43), random.between(0.185, 0.21), random.between(0.85, 1.1)),
            brow: (random.between(-0.29, -0.25), random.between(0.028, if long_hair { 0.036 } else { 0.05 })),
            nose: (random.between(0.85, 1.15), random.between(0.40, 0.47)),
            mouth: (random.between(0.78, 0.84), random.between(0.29, 0.35)),
            jaw: random.between(2.3, 3.1),
            chin: random.between(1.26, 1.36),
            hairline: random.between(-1.02, -0.90),
            long_hair,
            parting: random.between(-0.45, 0.45),
            beard: if long_hair { 0.0 } else { random.between(0.0, 0.5) },
            strands: Field::noise(900, 16, 1.6, random),
            blotches: Field::noise(96, 128, 9.0, random),
            pores: Field::noise(480, 640, 2.0, random),
        }
    }

    /// Half width of the head at a height, negative above the crown and below the chin.
    fn width(&self, y: f32) -> f32 {
        let middle = -0.18;
        if y < middle {
            let t = (y - middle) / 1.24;
            if t < -1.0 { -1.0 } else { libm::sqrtf(1.0 - t * t) }
        } else if y > self.chin {
            -1.0
        } else {
            let t = ((y - middle) / (self.chin - middle)).min(1.0);
            let fall = 1.0 - libm::powf(t, self.jaw);
            libm::powf(fall.max(0.0), 0.58) * (1.0 - 0.04 * t)
        }
    }

    /// Height of the face towards the viewer.
    fn height(&self, x: f32, y: f32) -> f32 {
        if libm::fabsf(x) > 1.1 || !(-1.6..1.5).contains(&y) {
            return 0.0; // nothing of a face is there
        }
        let w = length(self.width(y).max(0.0), 0.45);
        let round = libm::sqrtf((1.0 - 0.97 * (x / w) * (x / w)).max(0.03));
        let side = libm::fabsf(x);
        let (eye_x, ..) = self.eyes;
        let (nose_wide, nose_end) = self.nose;
        let mouth = self.mouth.0;
        let (across, along) = segment((x, y), (0.0, -0.18), (0.0, nose_end - 0.05));
        let ridge = smoothstep(1.0 - across / (0.17 * nose_wide)) * (0.035 + 0.10 * along);
        let forehead = 1.0 - 0.12 * ramp(-0.5, -1.3, y) - 0.22 * ramp(self.chin - 0.42, self.chin + 0.06, y);
        0.58 * round * forehead + 0.045 * bump(side - 0.36, y + 0.27, 0.40, 0.17)
            - 0.085 * bump(side - eye_x, y + 0.04, 0.34, 0.24)
            + 0.055 * bump(side - eye_x, y, 0.23, 0.16)
            + ridge
            + 0.11 * bump(x, y - nose_end, 0.17 * nose_wide, 0.15)
            + 0.055 * bump(side - 0.135 * nose_wide, y - nose_end - 0.035, 0.11 * nose_wide, 0.11)
            + 0.050 * bump(side - 0.56, y - 0.22, 0.40, 0.36)
            + 0.055 * bump(x, y - mouth, 0.42, 0.34)
            + 0.022 * bump(x, y - mouth + 0.055, 0.30, 0.085)
            + 0.034 * bump(x, y - mouth - 0.075, 0.25, 0.095)
            - 0.020 * bump(x, y - mouth - 0.20, 0.24, 0.09)
            - 0.012 * bump(x, y - mouth + 0.17, 0.06, 0.11)
            + 0.050 * bump(x, y - self.chin + 0.16, 0.28, 0.20)
            - 0.030 * bump(side - 0.95, y + 0.35, 0.25, 0.35)
    }

    /// Draws the head into a picture of `width` x `height` pixels: the colours and how much they cover the background.
    /// `centre` is the place between the eyes, `scale` half the width of the head, both in pixels.
    pub(super) fn draw(
        &self,
        (width, height): (usize, usize),
        centre: (f32, f32),
        scale: f32,
        shut: Shut,
    ) -> Vec<(Colour, f32)> {
        let place = |x: f32, y: f32| ((x - centre.0) / scale, (y - centre.1) / scale);
        let relief = Field::from_fn(width, height, |x, y| {
            let (u, v) = place(x, y);
            self.height(u, v)
        });
        let mut cells = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                let (u, v) = place(x as f32, y as f32);
                let slope = relief.slope(x, y);
                cells.push(self.at(u, v, 1.0 / scale, (slope.0 * scale, slope.1 * scale), shut));
            }
        }
        cells
    }

    /// The colour at a place, and how much of the background it covers.
    fn at(&self, x: f32, y: f32, soft: f32, slope: (f32, f32), shut: Shut) -> (Colour, f32) {
        let mut colour = Colour::new(0.0, 0.0, 0.0);
        let mut seen = 0.0;
        if libm::fabsf(x) > 1.4 && y < 1.6 {
            return (colour, seen); // beside the head
        }
        let mut over = |layer: Colour, share: f32| {
            colour = colour.mixed(layer, if seen <= 0.0 { 1.0 } else { share });
            seen = seen + (1.0 - seen) * share;
        };
        if self.long_hair {
            let (layer, share) = self.curtain(x, y, soft);
            over(layer, share);
        }
        let (layer, share) = self.body(x, y, soft);
        if share > 0.0 {
            over(layer, share);
        }
        if !self.long_hair {
            let (layer, share) = self.ear(x, y, soft);
            if share > 0.0 {
                over(layer, share);
            }
        }
        let face = cover(self.width(y) - libm::fabsf(x), 2.0 * soft) * cover(self.chin - y, 2.0 * soft);
        if face > 0.0 {
            over(self.face(x, y, soft, slope, shut), face);
        }
        let (layer, share) = self.hair(x, y, soft);
        if share > 0.0 {
            over(layer, share);
        }
        (colour, seen)
    }

    fn face(&self, x: f32, y: f32, soft: f32, slope: (f32, f32), shut: Shut) -> Colour {
        let (shine, gloss) = light(slope.0 * 0.85, slope.1 * 0.85);
        let side = libm::fabsf(x);
        let nose_end = self.nose.1;
        let mouth = self.mouth.0;

        let red = 0.8 * bump(side - 0.55, y - 0.35, 0.38, 0.34) + 0.7 * bump(x, y - nose_end, 0.2, 0.16);
        let blotch = self.blotches.sample((x + 1.3) * 36.0, (y + 1.6) * 40.0);
        let pore = self.pores.sample((x + 1.6) * 150.0, (y + 1.6) * 170.0);
        let mut skin = self.skin.tinted(1.0 + 0.02 * red, 1.0 - 0.07 * red, 1.0 - 0.07 * red);
        skin = skin.times(1.0 + 0.018 * blotch + 0.012 * pore);
        if self.beard > 0.0 {
            let area = ramp(0.48, 0.75, y + 0.30 * side * side)
                * ramp(0.06, 0.13, libm::fabsf(y - mouth) + 0.9 * side * side);
            skin = skin.mixed(self.hair, self.beard * area * (0.55 + 0.18 * pore).clamp(0.0, 1.0));
        }
        skin = self.with_lips(skin, x, y, soft);
        // Where little light comes: beside the nose, below it, between the lids and the brows, at the nostrils.
        let hollow = 0.12 * bump(side - 0.20, y + 0.03, 0.16, 0.22)
            + 0.20 * bump(x, y - nose_end - 0.14, 0.24, 0.08)
            + 0.75 * bump(side - 0.075, y - nose_end - 0.085, 0.055, 0.035)
            + 0.09 * bump(side - 0.33 - 0.25 * (y - nose_end - 0.1), y - nose_end - 0.15, 0.06, 0.22)
            + 0.14 * bump(x, y - mouth - 0.18, 0.22, 0.07)
            + 0.12 * bump(side - self.eyes.0, y - 0.16, 0.24, 0.08);
        let mut colour = skin.times(shine * (1.0 - hollow)).plus(26.0 * gloss * (0.6 + 0.4 * red));
        colour = self.with_brow(colour, x, y, soft);
        let closed = if x < 0.0 { shut.right } else { shut.left }; // the subject's own right is on the left
        self.with_eye(colour, side, y, soft, closed, x)
    }

    fn with_lips(&self, skin: Colour, x: f32, y: f32, soft: f32) -> Colour {
        let (middle, half) = self.mouth;
        let a = x / half;
        let taper = (1.0 - a * a).max(0.0);
        let full = libm::sqrtf(taper) * (0.55 + 0.45 * taper);
        let bow = 0.085 * full * (1.0 - 0.25 * bump(a, 0.0, 0.25, 1.0));
        let line = middle - 0.014 * a * a + 0.006 * bump(a, 0.0, 0.3, 1.0);
        let upper = cover(y - line + bow, 3.0 * soft) * cover(line - y, 2.0 * soft);
        let lower = cover(line + 0.105 * full - y, 4.0 * soft) * cover(y - line, 2.0 * soft);
        let inside = cover(taper - 0.02, 0.05);
        let lips = skin.tinted(0.97, 0.76, 0.77);
        let skin =
            skin.mixed(lips.times(0.90), 0.8 * upper * inside).mixed(lips.times(1.03), 0.75 * lower * inside);
        let gap = cover(0.012 * (0.4 + taper) - libm::fabsf(y - line), 1.5 * soft)
            * cover(1.06 - libm::fabsf(a), 0.08);
        skin.mixed(Colour::new(70.0, 34.0, 32.0), 0.75 * gap)
    }

    fn with_brow(&self, colour: Colour, x: f32, y: f32, soft: f32) -> Colour {
        let side = libm::fabsf(x);
        let t = (side - 0.17) / 0.50;
        if !(-0.2..=1.2).contains(&t) {
            return colour;
        }
        let (place, thick) = self.brow;
        let arch = place + 0.05 - 0.14 * t * (1.35 - t);
        let width = thick * (1.0 - 0.65 * t * t);
        let grain = self.strands.sample((side * 2.0 + y * 1.2) * 300.0, 3.0 + side * 6.0);
        let share = cover(width - libm::fabsf(y - arch) + 0.012 * grain, 4.0 * soft)
            * cover(t, 0.1)
            * cover(1.0 - t, 0.12);
        colour.mixed(self.hair.times(0.9), 0.82 * share * (0.85 + 0.15 * grain).clamp(0.0, 1.0))
    }

    fn with_eye(&self, skin: Colour, side: f32, y: f32, soft: f32, closed: bool, x: f32) -> Colour {
        let (middle, half, open) = self.eyes;
        let a = (side - middle) / half; // -1 at the nose, 1 outside
        let b = y / half + 0.05 * a; // the outer corner is a little higher
        if !(-1.5..=1.5).contains(&a) || !(-1.6..=1.2).contains(&b) {
            return skin;
        }
        let taper = (1.0 - a * a).max(0.0);
        let edge = soft / half;
        let upper =
            if closed { 0.26 * taper } else { -0.50 * open * libm::sqrtf(taper) * (0.75 + 0.25 * taper) };
        let lower = 0.34 * taper;
        let lash =
            cover(if closed { 0.06 } else { 0.075 } * (0.35 + taper) - libm::fabsf(b - upper), 1.5 * edge)
                * cover(1.08 - libm::fabsf(a), 0.06);
        let crease = cover(0.03 - libm::fabsf(b - upper.min(-0.2) + 0.22 - 0.06 * a), 2.5 * edge)
            * cover(0.95 - libm::fabsf(a), 0.2);
        let mut colour = skin.mixed(skin.times(0.62), 0.55 * crease);
        if !closed {
            let ball = cover(b - upper, 1.5 * edge)
                * cover(lower - b, 1.5 * edge)
                * cover(1.0 - libm::fabsf(a), 1.5 * edge);
            if ball > 0.0 {
                colour = colour.mixed(self.eyeball(a, b, upper, edge, x), ball);
            }
            let rim = cover(0.035 - libm::fabsf(b - lower), 2.0 * edge) * cover(1.0 - libm::fabsf(a), 0.1);
            colour = colour.mixed(skin.tinted(0.80, 0.62, 0.60), 0.6 * rim);
        }
        colour.mixed(Colour::new(32.0, 24.0, 22.0), 0.85 * lash)
    }

    fn eyeball(&self, a: f32, b: f32, upper: f32, edge: f32, x: f32) -> Colour {
        let white = Colour::new(232.0, 228.0, 224.0).tinted(1.0, 1.0 - 0.05 * a * a, 1.0 - 0.06 * a * a);
        let r = length(a, b + 0.06);
        let iris = cover(0.44 - r, 1.5 * edge);
        let spokes = self.strands.sample(libm::fabsf(libm::atan2f(b + 0.06, a)) * 120.0, 8.0);
        let depth = ramp(0.16, 0.40, r);
        let ring = ramp(0.34, 0.44, r);
        let iris_colour = self.iris.times((1.25 - 0.25 * depth + 0.10 * spokes) * (1.0 - 0.55 * ring));
        let mut colour = white.mixed(iris_colour, iris);
        colour = colour.mixed(Colour::new(12.0, 10.0, 10.0), cover(0.17 - r, 1.5 * edge));
        // The shadow of the upper lid, the round of the ball, and the lamp (on the same side in both eyes).
        let shade = 1.0 - 0.42 * ramp(0.30, 0.0, b - upper) - 0.22 * ramp(0.6, 1.05, libm::fabsf(a));
        let lamp = if x < 0.0 { 0.12 } else { -0.12 };
        let glint = cover(0.07 - length(a - lamp, b + 0.20), 1.5 * edge);
        colour.times(shade).mixed(Colour::new(250.0, 250.0, 250.0), 0.9 * glint)
    }

    fn ear(&self, x: f32, y: f32, soft: f32) -> (Colour, f32) {
        let side = libm::fabsf(x) - 1.0;
        let (a, b) = (side / 0.13, (y - 0.17) / 0.31);
        let inside = 1.0 - a * a - b * b;
        let share = cover(inside, 12.0 * soft);
        let shell = 1.0 - 0.32 * bump(a + 0.1, b + 0.12, 0.62, 0.62) - 0.10 * ramp(0.3, 0.0, inside);
        let shade = if x < 0.0 { 0.86 } else { 0.74 };
        (self.skin.tinted(1.0, 0.93, 0.92).times(shade * shell), share)
    }

    /// Neck, shoulders and clothes.
    fn body(&self, x: f32, y: f32, soft: f32) -> (Colour, f32) {
        let side = libm::fabsf(x);
        let neck_width = 0.54 + 0.22 * ramp(1.35, 1.85, y);
        let neck = cover(neck_width - side, 2.0 * soft) * cover(y - 0.8, soft);
        let (shine, _) = light(0.75 * x / 0.6, 0.15);
        let throat = 1.0 - 0.42 * ramp(self.chin + 0.42, self.chin + 0.02, y + 0.25 * side * side);
        let skin = self.skin.times(shine * throat * 0.97);
        let arm = (side - 1.75).max(0.0);
        let slope = 1.64 + 0.42 * ramp(0.55, 1.75, side) + 0.12 * side + 1.1 * arm * arm;
        let collar = 1.72 + 0.26 * ramp(0.62, 0.0, side);
        let cloth = cover(y - slope, 2.0 * soft) * cover(y - collar, 2.0 * soft);
        let weave = self.pores.sample((x + 1.7) * 130.0, (y * 140.0) - 100.0);
        let fold = 0.10 * bump(side - 0.95, y - 2.2, 0.14, 0.6);
        let hem = 0.25 * cover(0.035 - libm::fabsf(y - collar - 0.03), 3.0 * soft) * cover(0.66 - side, 0.05);
        let (shine, _) = light(0.42 * x, -0.25);
        let cloth_colour = self.cloth.times(shine * (1.0 + 0.03 * weave - fold - hem));
        (skin.mixed(cloth_colour, cloth), neck.max(cloth))
    }

    /// Long hair behind neck and shoulders.
    fn curtain(&self, x: f32, y: f32, soft: f32) -> (Colour, f32) {
        let side = libm::fabsf(x);
        let width = 1.13 + 0.10 * ramp(0.2, 1.5, y);
        let share = cover(width - side + 0.015 * self.strands.sample(side * 700.0, 2.0), 3.0 * soft)
            * cover(y + 0.5, 0.1)
            * cover(2.02 - y + 0.06 * self.strands.sample(side * 500.0, 5.0), 0.06);
        let grain = self.strands.sample(side * 420.0 + 8.0 * libm::sinf(2.0 * y), 4.0 + 1.5 * y);
        let shade = 0.62 + 0.12 * grain + 0.35 * bump(side - 1.08, y - 0.5, 0.14, 1.2);
        (self.hair.plus(8.0).times(shade), share)
    }

    /// The cap of hair in front of the forehead.
    fn hair(&self, x: f32, y: f32, soft: f32) -> (Colour, f32) {
        let side = libm::fabsf(x);
        let swell = if self.long_hair { 1.13 } else { 1.06 };
        let (a, b) = (x / swell, (y + 0.22) / (1.30 * (swell + 0.02)));
        let outer = 1.0 - libm::sqrtf(a * a + b * b);
        let from_parting = x - self.parting;
        // Strands run down from the parting, so they are fanned around a point above it.
        let angle = libm::atan2f(from_parting, y + 2.2 - 0.25 * libm::fabsf(from_parting));
        let grain = self.strands.sample((angle + 1.6) * 270.0, 1.0 + 5.0 * (y + 1.6).max(0.0));
        let edge = 0.02 * grain;
        // Below the hairline it is the face; at the temples the line falls to the ears.
        let temple = if self.long_hair { 2.3 } else { 0.98 };
        let line = self.hairline + 0.16 * libm::fabsf(from_parting) + temple * ramp(0.60, 1.04, side);
        let ends = if self.long_hair { 1.2 } else { 0.9 };
        let share = cover(outer + edge * 0.6, 4.0 * soft) * cover(line - y + ends * edge, 7.0 * soft);
        let part = if self.long_hair { 0.45 * bump(from_parting, y + 1.2, 0.03, 0.35) } else { 0.0 };
        let round = outer.clamp(0.0, 1.0);
        let band = bump(0.0, y + 1.12 - 0.16 * libm::fabsf(x), 1.0, 0.26);
        let light_side = if x < 0.2 { 1.0 } else { 1.0 - 0.25 * (x - 0.2) };
        let shade = mix(0.62, 1.0, ramp(0.0, 0.22, round)) * light_side * (1.0 + 0.20 * grain) + 0.45 * band;
        (self.hair.plus(10.0).times(shade).mixed(self.skin.times(0.8), part), share)
    }
}
