//! Irises: is the eye in focus, open, well lit, large enough, and not at the edge?
//!
//! The boundaries are given (a camera's localiser, or a simulator, knows them); across them the grey is read sector by
//! sector. A step that is there means a visible part of the eye, its steepness means focus. In the spirit of
//! ISO/IEC 29794-6: sharpness, contrast of pupil and sclera, usable area, size, margins.

use biotrust_model::Score;

use super::grade;
use crate::{Circle, Gray, IrisGeometry};

/// What the score is made of. Each from 0 (bad) to 1 (good).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct IrisAspects {
    /// Steepness of the boundaries.
    pub sharpness: f32,
    /// Grey distance between pupil, iris and sclera.
    pub contrast: f32,
    /// Share of the iris' circumference that no lid covers.
    pub usable: f32,
    /// Diameter, against the 150 pixels that MOSIP asks for at least.
    pub size: f32,
    /// Whether the iris is wholly in the image, and its pupil of a natural width.
    pub geometry: f32,
}

impl IrisAspects {
    /// The score: the mean of focus, contrast and openness, spoilt by whichever of them, of size and of geometry is worst.
    #[must_use]
    pub fn score(&self) -> Score {
        let mean = 0.45 * self.sharpness + 0.25 * self.contrast + 0.30 * self.usable;
        let worst = self.sharpness.min(self.contrast).min(self.usable).min(self.size).min(self.geometry);
        Score::clamped(100.0 * mean * (0.25 + 0.75 * worst).min(worst * 8.0))
    }
}

/// Quality of an iris image in infrared light.
#[must_use]
pub fn iris(image: &Gray, geometry: &IrisGeometry) -> Score {
    iris_aspects(image, geometry).score()
}

/// The aspects behind [`iris`].
#[must_use]
pub fn iris_aspects(image: &Gray, geometry: &IrisGeometry) -> IrisAspects {
    let IrisGeometry { pupil, limbus } = *geometry;
    let plausible = limbus.radius >= 8.0 && pupil.radius >= 2.0 && pupil.radius < limbus.radius;
    if !plausible {
        return IrisAspects::default();
    }
    let inner = Boundary::look(image, pupil, limbus.radius);
    let outer = Boundary::look(image, limbus, limbus.radius);
    let ratio = pupil.radius / limbus.radius;
    let natural = grade(0.15, 0.22, ratio) * grade(0.75, 0.68, ratio);
    IrisAspects {
        sharpness: grade(0.10, 0.24, inner.steepness),
        contrast: grade(8.0, 75.0, inner.step) * 0.6 + grade(5.0, 60.0, outer.step) * 0.4,
        usable: grade(0.25, 0.92, 0.6 * outer.visible + 0.4 * inner.visible),
        size: grade(60.0, 150.0, 2.0 * limbus.radius),
        geometry: natural * margin(image, limbus),
    }
}

/// 1 when the circle has room on all sides, 0 when a fifth of its radius is cut off.
fn margin(image: &Gray, circle: Circle) -> f32 {
    let (width, height) = (image.width() as f32, image.height() as f32);
    let rooms =
        [circle.x, circle.y, width - circle.x, height - circle.y].map(|side| side / circle.radius - 1.0);
    grade(-0.2, 0.05, rooms.into_iter().fold(f32::MAX, f32::min))
}

/// Sectors that a boundary is looked at in.
const SECTORS: usize = 32;
/// Places along the radius on each side of a boundary, a hundredth of the iris' radius apart: so that the same eye has the
/// same numbers in a larger image.
const REACH: i32 = 15;
/// Grey step that counts as "the boundary is visible here".
const VISIBLE_STEP: f32 = 9.0;

/// One circle, across which it becomes lighter outwards.
struct Boundary {
    /// Share of sectors where the step is there.
    visible: f32,
    /// Median step of those, in grey levels.
    step: f32,
    /// Median of steepest slope over step, per place; 0.25 is a step within the four places that it is read over.
    steepness: f32,
}

impl Boundary {
    fn look(image: &Gray, circle: Circle, iris_radius: f32) -> Self {
        let pitch = iris_radius / 100.0;
        let mut steps = Vec::with_capacity(SECTORS);
        let mut slopes = Vec::with_capacity(SECTORS);
        for sector in 0..SECTORS {
            let profile = radial_profile(image, circle, sector, pitch);
            let side = profile.len() / 3;
            let mean = |part: &[f32]| part.iter().sum::<f32>() / part.len().max(1) as f32;
            let inside = mean(profile.get(..side).unwrap_or_default());
            let outside = mean(profile.get(profile.len() - side..).unwrap_or_default());
            let step = outside - inside;
            if step >= VISIBLE_STEP {
                let steepest =
                    profile.array_windows().map(|[a, _, _, _, b]| (b - a) / 4.0).fold(0.0, f32::max);
                steps.push(step);
                slopes.push(steepest / step);
            }
        }
        Self {
            visible: steps.len() as f32 / SECTORS as f32,
            step: median(&mut steps),
            steepness: median(&mut slopes),
        }
    }
}

/// Greys from inside to outside, each the mean of a short arc.
fn radial_profile(image: &Gray, circle: Circle, sector: usize, pitch: f32) -> Vec<f32> {
    const ARC: usize = 9;
    let rays: Vec<(f32, f32)> = (0..ARC)
        .map(|ray| {
            let turn = (sector * ARC + ray) as f32 / (SECTORS * ARC) as f32;
            let angle = 2.0 * core::f32::consts::PI * turn;
            (libm::cosf(angle), libm::sinf(angle))
        })
        .collect();
    (-REACH..=REACH)
        .map(|place| {
            let radius = circle.radius + place as f32 * pitch;
            let greys = rays
                .iter()
                .map(|(cos, sin)| grey_at(image, circle.x + radius * cos, circle.y + radius * sin));
            greys.sum::<f32>() / ARC as f32
        })
        .collect()
}

/// The grey between four pixels; the edge of the image goes on for ever.
pub(crate) fn grey_at(image: &Gray, x: f32, y: f32) -> f32 {
    let x = x.min(image.width() as f32 - 1.001).max(0.0);
    let y = y.min(image.height() as f32 - 1.001).max(0.0);
    let (column, row, stride) = (x as usize, y as usize, image.width() as usize);
    let (across, down) = (x - column as f32, y - row as f32);
    let grey =
        |column: usize, row: usize| image.pixels().get(row * stride + column).map_or(0.0, |p| f32::from(*p));
    let upper = grey(column, row) * (1.0 - across) + grey(column + 1, row) * across;
    let lower = grey(column, row + 1) * (1.0 - across) + grey(column + 1, row + 1) * across;
    upper * (1.0 - down) + lower * down
}

fn median(values: &mut [f32]) -> f32 {
    values.sort_unstable_by(f32::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GEOMETRY: IrisGeometry = IrisGeometry {
        pupil: Circle { x: 180.0, y: 140.0, radius: 45.0 },
        limbus: Circle { x: 180.0, y: 140.0, radius: 110.0 },
    };

    /// Three flat rings with edges `soft` pixels wide, and lids down to `lid` radii above the centre.
    fn eye(soft: f32, lid: f32) -> Gray {
        let pixels = (0..360 * 280).map(|i| {
            let (x, y) = ((i % 360) as f32 - 180.0, (i / 360) as f32 - 140.0);
            let r = libm::sqrtf(x * x + y * y);
            let edge = |at: f32| ((r - at) / soft + 0.5).clamp(0.0, 1.0);
            let grey = 20.0 + 90.0 * edge(45.0) + 80.0 * edge(110.0);
            if y < -110.0 * lid { 160 } else { grey as u8 }
        });
        Gray::new(360, 280, pixels.collect()).unwrap()
    }

    #[test]
    fn sharp_and_open_is_good() {
        assert!(
            iris(&eye(1.5, 1.2), &GEOMETRY).value() > 90.0,
            "{:?}",
            iris_aspects(&eye(1.5, 1.2), &GEOMETRY)
        );
    }

    #[test]
    fn soft_edges_are_bad() {
        let scores = [2.0, 6.0, 10.0, 14.0].map(|soft| iris(&eye(soft, 1.2), &GEOMETRY).value());
        assert!(scores.windows(2).all(|pair| pair[1] < pair[0]), "{scores:?}");
        assert!(scores[3] < 20.0, "{scores:?}");
    }

    #[test]
    fn closed_lids_are_bad() {
        let usable = [1.1, 0.7, 0.2, -0.3].map(|lid| iris_aspects(&eye(1.5, lid), &GEOMETRY).usable);
        assert!(usable.windows(2).all(|pair| pair[1] < pair[0]), "{usable:?}");
    }

    #[test]
    fn any_image_and_any_place_will_do() {
        for (width, height) in [(1, 1), (1, 300), (400, 2)] {
            let image = Gray::filled(width, height, 90).unwrap();
            assert_eq!(iris(&image, &GEOMETRY), Score::MIN);
        }
        for far in [f32::NAN, f32::INFINITY, -1e30] {
            let limbus = Circle { x: far, ..GEOMETRY.limbus };
            assert!(iris(&eye(1.5, 1.2), &IrisGeometry { limbus, ..GEOMETRY }).value() < 50.0);
        }
    }

    #[test]
    fn small_or_cut_off_is_bad() {
        let image = eye(1.5, 1.2);
        let cut = image.crop(crate::Rect { x: 110, y: 0, width: 250, height: 280 }).unwrap();
        let moved = |circle: Circle| Circle { x: circle.x - 110.0, ..circle };
        let geometry = IrisGeometry { pupil: moved(GEOMETRY.pupil), limbus: moved(GEOMETRY.limbus) };
        assert!(iris_aspects(&cut, &geometry).geometry < 0.1);
        let small = IrisGeometry {
            pupil: Circle { radius: 12.0, ..GEOMETRY.pupil },
            limbus: Circle { radius: 30.0, ..GEOMETRY.limbus },
        };
        assert_eq!(iris_aspects(&image, &small).size, 0.0);
    }
}
