//! Where the ridges run: class, singular points, orientation and period at every place of a finger.
//!
//! Orientation after Sherlock and Monro ("A model for interpreting fingerprint topology", 1993): half the sum of the
//! angles to the cores less those to the deltas. Classes have their natural frequencies.

use core::f32::consts::PI;

use crate::noise::Field;
use crate::random::Random;

/// Henry class of a finger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    LeftLoop,
    RightLoop,
    Whorl,
    Arch,
    TentedArch,
}

impl Class {
    /// Frequencies in per cent after Wilson, Candela and Watson (1994).
    fn draw(random: &mut Random) -> Self {
        match random.below(100) {
            0..34 => Self::LeftLoop,
            34..65 => Self::RightLoop,
            65..93 => Self::Whorl,
            93..97 => Self::Arch,
            _ => Self::TentedArch,
        }
    }
}

/// Side of the squares for which orientation and period are held, in pixels.
pub(crate) const STEP: usize = 4;

/// Mean ridge period at 500 dpi in pixels.
const PERIOD: f32 = 9.0;

/// Ridge flow of one finger on a grid of [`STEP`] pixels.
pub(crate) struct Pattern {
    /// Direction along the ridges in radians, `0.0..PI`, counted from the x axis towards the y axis (downwards).
    pub(crate) orientation: Field,
    /// Pixels from ridge to ridge.
    pub(crate) period: Field,
}

impl Pattern {
    pub(crate) fn new(width: usize, height: usize, random: &mut Random) -> Self {
        let class = Class::draw(random);
        let (w, h) = (width as f32, height as f32);
        let flow = Flow::draw(class, w, h, random);
        let (columns, rows) = (width.div_ceil(STEP), height.div_ceil(STEP));
        // A few degrees of individual character, far coarser than a ridge.
        let wobble = Field::noise(columns, rows, 60.0 / STEP as f32, random);
        let mut wobbles = wobble.cells.iter();
        let centre = STEP as f32 / 2.0;
        let orientation = Field::from_fn(columns, rows, |x, y| {
            let bend = wobbles.next().copied().unwrap_or(0.0) * 0.06;
            let angle = flow.angle(x * STEP as f32 + centre, y * STEP as f32 + centre) + bend;
            angle - PI * libm::floorf(angle / PI)
        });
        let individual = random.between(-0.04, 0.06);
        let mut period = Field::noise(columns, rows, 48.0 / STEP as f32, random);
        for cell in &mut period.cells {
            *cell = (PERIOD * (1.0 + individual + 0.06 * *cell)).clamp(6.5, 12.0);
        }
        Self { orientation, period }
    }
}

/// Singular points and what they add up to.
struct Flow {
    cores: Vec<(f32, f32)>,
    deltas: Vec<(f32, f32)>,
    /// Height of the bow of a plain arch, 0 for the other classes.
    bow: f32,
    width: f32,
    height: f32,
}

impl Flow {
    fn draw(class: Class, w: f32, h: f32, random: &mut Random) -> Self {
        let mut near =
            |x: f32, y: f32| ((x + random.between(-0.035, 0.035)) * w, (y + random.between(-0.03, 0.03)) * h);
        let (cores, deltas) = match class {
            Class::LeftLoop => (vec![near(0.50, 0.42)], vec![near(0.84, 0.80)]),
            Class::RightLoop => (vec![near(0.50, 0.42)], vec![near(0.16, 0.80)]),
            Class::Whorl => {
                let (x, y) = near(0.50, 0.40);
                let (lean, gap) = (random.between(-0.04, 0.04) * w, random.between(0.07, 0.16) * h);
                let mut near = |x: f32, y: f32| {
                    ((x + random.between(-0.03, 0.03)) * w, (y + random.between(-0.03, 0.03)) * h)
                };
                (vec![(x, y), (x + lean, y + gap)], vec![near(0.12, 0.80), near(0.88, 0.80)])
            }
            Class::Arch => (vec![], vec![]),
            Class::TentedArch => {
                let (x, y) = near(0.50, 0.50);
                (vec![(x, y)], vec![(x + 0.01 * w, y + 0.22 * h)])
            }
        };
        let bow = if class == Class::Arch { random.between(1.6, 2.4) } else { 0.0 };
        Self { cores, deltas, bow, width: w, height: h }
    }

    /// Direction along the ridge at a pixel, y downwards.
    fn angle(&self, x: f32, y: f32) -> f32 {
        if self.cores.is_empty() {
            // A hump that is steepest at half the height and fades upwards and downwards.
            let strength = self.bow * (1.0 - 1.6 * libm::fabsf(y / self.height - 0.55)).max(0.0);
            return -libm::atanf(strength * libm::cosf(PI * x / self.width));
        }
        let deltas: f32 = self.deltas.iter().map(|delta| bearing(*delta, (x, y))).sum();
        let cores: f32 = self.cores.iter().map(|core| bearing(*core, (x, y))).sum();
        let cores = match (self.cores.as_slice(), self.deltas.as_slice()) {
            ([core], [delta]) => hairpin(cores, -bearing(*delta, *core)),
            _ => cores,
        };
        -0.5 * (cores - deltas)
    }
}

/// Direction from one point to another, counter-clockwise from the x axis for the eye.
fn bearing(from: (f32, f32), to: (f32, f32)) -> f32 {
    libm::atan2f(from.1 - to.1, to.0 - from.0)
}

/// Around a lone core ridges run like hairpins: along its axis behind it, in a bow before it. The pure model has spokes
/// there; so the turn is taken out of a sector around the axis and spread over the rest.
fn hairpin(angle: f32, axis: f32) -> f32 {
    const SECTOR: f32 = 0.9;
    let turn = angle - axis;
    let off = turn - 2.0 * PI * libm::roundf(turn / (2.0 * PI));
    let spread = PI * ((libm::fabsf(off) - SECTOR) / (PI - SECTOR)).max(0.0);
    axis + libm::copysignf(spread, off)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns of the orientation along a circle, in half turns: +1 around a core, -1 around a delta.
    fn poincare(flow: &Flow, x: f32, y: f32, radius: f32) -> i32 {
        let at = |i: i32| {
            let a = 2.0 * PI * i as f32 / 64.0;
            flow.angle(x + radius * libm::cosf(a), y + radius * libm::sinf(a))
        };
        let turn: f32 = (0..64)
            .map(|i| {
                let d = at(i + 1) - at(i);
                d - PI * libm::roundf(d / PI)
            })
            .sum();
        libm::roundf(turn / PI) as i32
    }

    #[test]
    fn singular_points_are_where_they_should_be() {
        for class in [Class::LeftLoop, Class::RightLoop, Class::Whorl, Class::TentedArch] {
            let flow = Flow::draw(class, 320.0, 400.0, &mut Random::new(*b"test    ", &[1]));
            for (x, y) in &flow.cores {
                assert_eq!(poincare(&flow, *x, *y, 8.0), 1, "{class:?} core");
            }
            for (x, y) in &flow.deltas {
                assert_eq!(poincare(&flow, *x, *y, 8.0), -1, "{class:?} delta");
            }
            assert_eq!(poincare(&flow, 160.0, 30.0, 8.0), 0, "{class:?} tip");
        }
    }

    #[test]
    fn all_classes_occur_about_as_often_as_in_people() {
        let mut random = Random::new(*b"test    ", &[2]);
        let draws: Vec<Class> = (0..2000).map(|_| Class::draw(&mut random)).collect();
        let share = |class| draws.iter().filter(|c| **c == class).count() as f32 / 20.0;
        for (class, expected) in [
            (Class::LeftLoop, 34.0),
            (Class::RightLoop, 31.0),
            (Class::Whorl, 28.0),
            (Class::Arch, 4.0),
            (Class::TentedArch, 3.0),
        ] {
            assert!((share(class) - expected).abs() < 4.0, "{class:?} {}", share(class));
        }
    }

    #[test]
    fn a_pattern_covers_its_finger() {
        let pattern = Pattern::new(320, 400, &mut Random::new(*b"test    ", &[3]));
        assert_eq!((pattern.orientation.width, pattern.orientation.height), (80, 100));
        assert!(pattern.orientation.cells.iter().all(|a| (0.0..=PI).contains(a)));
        assert!(pattern.period.cells.iter().all(|p| (6.5..=12.0).contains(p)));
    }
}
