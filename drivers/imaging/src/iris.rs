//! Finds the iris in the frame of a near-infrared camera: two circles, after Daugman's integro-differential operator.
//!
//! The pupil is the circle across which it becomes lighter outwards everywhere, around something that is among the darkest
//! of the frame. The limbus is the circle around it across which it becomes lighter to both sides, where lids seldom are.
//! Both are looked for in a small copy first and then placed in the frame itself. What does not look like an eye has no
//! iris: `None` costs another frame, a wrong circle would cost a record. Lids are not looked for.
//! Computation only, some tens of milliseconds; what it finds, and how exactly, is measured in `tests/iris.rs`.

use core::f32::consts::PI;

use crate::quality::grey_at;
use crate::{Circle, Gray, IrisGeometry};

/// Rows, or columns where there are fewer, of the copy that circles are first looked for in.
const ROUGH: u32 = 120;
/// Radii of pupils in the copy in pixels.
const PUPIL: (i32, i32) = (4, 34);
/// Radius of the limbus over that of the pupil.
const RATIO: (f32, f32) = (1.35, 5.5);
/// Grey step that counts as "the boundary is visible here".
const VISIBLE: f32 = 8.0;
/// Larger steps are reflections or lashes, and count as this.
const LARGEST: f32 = 70.0;
/// Pixels that are tried as the middle of a pupil, or little more.
const MIDDLES: f32 = 2_000.0;
/// Share of a boundary that must be visible where no lid is expected.
const SHARE: f32 = 0.75;

/// The boundaries of the one iris in the frame; `None` where there is none.
#[must_use]
pub fn locate(image: &Gray) -> Option<IrisGeometry> {
    let factor = (image.width().min(image.height()) / ROUGH).max(1);
    let small = shrunk(image, factor)?;
    let (around, sides) = (around(), sides());
    let rough_pupil = find_pupil(&small, &around)?;
    let rough_limbus = find_limbus(&small, rough_pupil, &sides)?;
    let placed = |rough: Circle, arcs| {
        let grown = |at: f32| (at + 0.5) * factor as f32 - 0.5;
        let circle = Circle { x: grown(rough.x), y: grown(rough.y), radius: rough.radius * factor as f32 };
        let step = factor as f32 / 3.0;
        place(image, place(image, circle, step, arcs), 0.5, arcs)
    };
    let pupil = placed(rough_pupil, &around);
    let limbus = placed(rough_limbus, &sides);
    is_eye(image, (pupil, &around), (limbus, &sides)).then_some(IrisGeometry { pupil, limbus })
}

/// Places of a part of a circle at which steps are read.
const PLACES: usize = 20;

/// A part of a circle: the directions of its places.
type Arc = [(f32, f32); PLACES];

/// From one angle to another, in turns; clockwise from the right, because rows go down.
fn arc(from: f32, to: f32) -> Arc {
    core::array::from_fn(|place| {
        let turn = from + (to - from) * (place as f32 + 0.5) / PLACES as f32;
        (libm::cosf(2.0 * PI * turn), libm::sinf(2.0 * PI * turn))
    })
}

/// All of a circle, in two parts.
fn around() -> [Arc; 2] {
    [arc(-0.25, 0.25), arc(0.25, 0.75)]
}

/// Right and left, a little lower than the middle: the upper lid hangs lower than the lower one rises.
fn sides() -> [Arc; 2] {
    [arc(-0.06, 0.12), arc(0.38, 0.56)]
}

/// Greys outside less greys inside of a circle at the places of an arc.
fn steps<'a>(image: &'a Gray, circle: Circle, reach: f32, arc: &'a Arc) -> impl Iterator<Item = f32> + 'a {
    arc.iter().map(move |(cos, sin)| {
        let grey = |radius: f32| grey_at(image, circle.x + radius * cos, circle.y + radius * sin);
        grey(circle.radius + reach) - grey(circle.radius - reach)
    })
}

/// How well a circle is a boundary: the mean step of the worse of its arcs.
fn boundary(image: &Gray, circle: Circle, reach: f32, arcs: &[Arc; 2]) -> f32 {
    let mean = |arc: &Arc| {
        let (sum, count) = steps(image, circle, reach, arc)
            .fold((0.0, 0.0), |(sum, count), step| (sum + step.clamp(-LARGEST, LARGEST), count + 1.0f32));
        sum / count.max(1.0)
    };
    let [first, second] = arcs.each_ref().map(mean);
    first.min(second)
}

/// Share of the places at which the boundary is visible.
fn visible(image: &Gray, circle: Circle, arcs: &[Arc; 2]) -> f32 {
    let reach = (0.06 * circle.radius).max(2.0);
    let all: Vec<f32> = arcs.iter().flat_map(|arc| steps(image, circle, reach, arc)).collect();
    all.iter().filter(|step| **step >= VISIBLE).count() as f32 / all.len().max(1) as f32
}

fn find_pupil(small: &Gray, around: &[Arc; 2]) -> Option<Circle> {
    let mut greys = small.pixels().to_vec();
    greys.sort_unstable();
    let share = |of: usize| greys.get(greys.len() / of).copied().map(f32::from);
    let (darkest, middle) = (share(400)?, share(2)?);
    if middle - darkest < VISIBLE {
        return None;
    }
    let dark = darkest + 0.35 * (middle - darkest);
    // Where much is dark not every pixel is tried: the middle of a pupil is wider than a few.
    let dark_ones = greys.partition_point(|grey| f32::from(*grey) <= dark);
    let stride = libm::sqrtf(dark_ones as f32 / MIDDLES).max(1.0) as usize;

    let mut best: Option<(f32, Circle)> = None;
    for (row, line) in small.rows().enumerate().step_by(stride) {
        let middles = line.iter().enumerate().step_by(stride).filter(|(_, grey)| f32::from(**grey) <= dark);
        for (column, _) in middles {
            for radius in PUPIL.0..PUPIL.1 {
                let circle = Circle { x: column as f32, y: row as f32, radius: radius as f32 };
                if !fits(small, circle) {
                    break;
                }
                let step = boundary(small, circle, 1.5, around);
                if best.is_none_or(|(most, _)| step > most) && grey_inside(small, circle) <= dark {
                    best = Some((step, circle));
                }
            }
        }
    }
    best.filter(|(step, _)| *step >= VISIBLE).map(|(_, circle)| circle)
}

fn find_limbus(small: &Gray, pupil: Circle, sides: &[Arc; 2]) -> Option<Circle> {
    let mut best: Option<(f32, Circle)> = None;
    let wander = (0.25 * pupil.radius).max(2.0) as i32;
    let (least, most) = ((pupil.radius * RATIO.0) as i32, (pupil.radius * RATIO.1) as i32);
    for radius in least..=most {
        for (dx, dy) in (-wander..=wander).flat_map(|dx| (-wander..=wander).map(move |dy| (dx, dy))) {
            let circle = Circle { x: pupil.x + dx as f32, y: pupil.y + dy as f32, radius: radius as f32 };
            let inside =
                circle.x - circle.radius >= 2.0 && circle.x + circle.radius + 2.0 < small.width() as f32;
            let step = if inside { boundary(small, circle, 1.5, sides) } else { 0.0 };
            if best.is_none_or(|(most, _)| step > most) {
                best = Some((step, circle));
            }
        }
    }
    best.filter(|(step, _)| *step >= VISIBLE).map(|(_, circle)| circle)
}

/// The best boundary near a circle.
fn place(image: &Gray, circle: Circle, step: f32, arcs: &[Arc; 2]) -> Circle {
    const TRIES: [f32; 7] = [0.0, -1.0, 1.0, -2.0, 2.0, -3.0, 3.0];
    let reach = (0.03 * circle.radius).max(1.5);
    let mut best = (boundary(image, circle, reach, arcs), circle);
    for dx in TRIES {
        for dy in TRIES {
            for dr in TRIES {
                let tried = Circle {
                    x: circle.x + dx * step,
                    y: circle.y + dy * step,
                    radius: circle.radius + dr * step,
                };
                let found = boundary(image, tried, reach, arcs);
                if found > best.0 {
                    best = (found, tried);
                }
            }
        }
    }
    best.1
}

fn is_eye(image: &Gray, (pupil, around): (Circle, &[Arc; 2]), (limbus, sides): (Circle, &[Arc; 2])) -> bool {
    let ratio = limbus.radius / pupil.radius;
    let (dx, dy) = (limbus.x - pupil.x, limbus.y - pupil.y);
    let off = libm::sqrtf(dx * dx + dy * dy) / limbus.radius;
    fits(image, pupil)
        && (RATIO.0..=RATIO.1).contains(&ratio)
        && off <= 0.12
        && visible(image, pupil, around) >= SHARE
        && visible(image, limbus, sides) >= SHARE
}

fn fits(image: &Gray, circle: Circle) -> bool {
    let Circle { x, y, radius } = circle;
    x >= radius && y >= radius && x + radius < image.width() as f32 && y + radius < image.height() as f32
}

/// The grey that three quarters of a circle do not exceed: reflections of lamps are less than the rest.
fn grey_inside(image: &Gray, circle: Circle) -> f32 {
    let mut greys: Vec<f32> = [0.3, 0.6, 0.8]
        .iter()
        .flat_map(|part| (0..8).map(move |place| (part * circle.radius, PI * place as f32 / 4.0)))
        .map(|(radius, angle)| {
            grey_at(image, circle.x + radius * libm::cosf(angle), circle.y + radius * libm::sinf(angle))
        })
        .collect();
    greys.sort_unstable_by(f32::total_cmp);
    greys.get(greys.len() * 3 / 4).copied().unwrap_or(f32::MAX)
}

/// A copy whose pixels are the means of `factor` by `factor` pixels.
fn shrunk(image: &Gray, factor: u32) -> Option<Gray> {
    let (width, height) = (image.width() / factor, image.height() / factor);
    let mut sums = vec![0u32; width as usize * height as usize];
    for (row, line) in image.rows().take((height * factor) as usize).enumerate() {
        let start = row / factor as usize * width as usize;
        let cells = sums.get_mut(start..start + width as usize)?;
        for (cell, greys) in cells.iter_mut().zip(line.chunks_exact(factor as usize)) {
            *cell += greys.iter().map(|grey| u32::from(*grey)).sum::<u32>();
        }
    }
    let pixels = sums.into_iter().map(|sum| (sum / (factor * factor)) as u8).collect();
    Gray::new(width, height, pixels).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dark disc, grey ring, light ground.
    fn rings(width: u32, height: u32, pupil: Circle, limbus: Circle) -> Gray {
        let inside =
            |circle: Circle, x: f32, y: f32| libm::hypotf(x - circle.x, y - circle.y) <= circle.radius;
        let grey = |at: u32| {
            let (x, y) = ((at % width) as f32, (at / width) as f32);
            if inside(pupil, x, y) {
                20
            } else if inside(limbus, x, y) {
                100
            } else {
                190
            }
        };
        Gray::new(width, height, (0..width * height).map(grey).collect()).unwrap()
    }

    #[test]
    fn circles_are_found_where_they_are() {
        let limbus = Circle { x: 300.0, y: 220.0, radius: 110.0 };
        let pupil = Circle { x: 303.0, y: 218.0, radius: 42.0 };
        let found = locate(&rings(640, 480, pupil, limbus)).unwrap();
        for (found, real) in [(found.pupil, pupil), (found.limbus, limbus)] {
            let off = [found.x - real.x, found.y - real.y, found.radius - real.radius];
            assert!(off.iter().all(|off| off.abs() <= 1.5), "{found:?} where {real:?} is");
        }
    }

    #[test]
    fn what_is_not_an_eye_has_no_iris() {
        let none = Circle { x: 0.0, y: 0.0, radius: 0.0 };
        let disc = Circle { x: 300.0, y: 220.0, radius: 60.0 };
        assert!(locate(&rings(640, 480, disc, none)).is_none(), "a dark spot without a ring");
        assert!(locate(&rings(640, 480, none, disc)).is_none(), "a grey spot without a middle");
        let cut = Circle { x: 60.0, y: 220.0, radius: 110.0 };
        assert!(locate(&rings(640, 480, Circle { radius: 40.0, ..cut }, cut)).is_none(), "half an eye");
        for (width, height) in [(1, 1), (3, 500), (640, 480)] {
            assert!(locate(&Gray::filled(width, height, 90).unwrap()).is_none());
        }
        let noise = (0..640u32 * 480).map(|at| at.wrapping_mul(0x9e37_79b9).to_be_bytes()[0]).collect();
        assert!(locate(&Gray::new(640, 480, noise).unwrap()).is_none());
    }
}
