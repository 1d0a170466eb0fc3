//! Fingerprints: are there ridges everywhere, do they run one way at a time, and do they stand out?
//!
//! The image is looked at in overlapping square windows of about three and a half ridges. Each window gives a direction
//! (structure tensor), and its pixels, projected across that direction, a profile of ridges and valleys. In the spirit of
//! ISO/IEC 29794-4: certainty of the direction, clarity of the profile, strength at ridge frequencies, contrast, area.

use biotrust_model::Score;

use super::grade;
use crate::{Dpi, Gray};

/// What the score is made of. Each from 0 (bad) to 1 (good), means over the pressed area.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FingerAspects {
    /// Pressed area, against that of a well-placed finger tip (2 square centimetres).
    pub area: f32,
    /// Agreement of the gradients on one direction.
    pub certainty: f32,
    /// Share of the grey variation that ridges and valleys explain.
    pub clarity: f32,
    /// Share of the profile that lies at ridge frequencies.
    pub regularity: f32,
    /// Grey distance between ridges and valleys.
    pub contrast: f32,
    /// Share of the area where the other aspects are good enough to find minutiae.
    pub usable: f32,
}

impl FingerAspects {
    /// The score: a weighted sum, fitted to the ranks of an independent quality measure on synthetic prints.
    #[must_use]
    pub fn score(&self) -> Score {
        let ridges =
            0.30 * self.certainty + 0.30 * self.clarity + 0.15 * self.regularity + 0.25 * self.usable;
        // The worst and the best of real prints lie at these two values.
        Score::clamped(100.0 * grade(0.03, 0.54, ridges * self.contrast) * self.area)
    }
}

/// Quality of a fingerprint. Ridges are dark.
#[must_use]
pub fn finger(image: &Gray, density: Dpi) -> Score {
    finger_aspects(image, density).score()
}

/// The aspects behind [`finger`].
#[must_use]
pub fn finger_aspects(image: &Gray, density: Dpi) -> FingerAspects {
    let cell = (16 * usize::from(density.get()) + 250) / 500;
    let cell = cell.clamp(6, 64);
    let paper = paper_level(image);
    let cells = Cells::measure(image, cell);
    let probe = Probe::new(cell);

    let mut sum = FingerAspects::default();
    let mut pressed = 0.0;
    for (column, row, tensor) in cells.windows() {
        let Some(window) = tensor.window() else { continue };
        if window.deviation < 6.0 && window.mean > paper - 14.0 {
            continue; // bare platen
        }
        pressed += 1.0;
        if window.deviation < 2.0 {
            continue; // pressed to a blot: counts, and has nothing to show
        }
        let profile = probe.look(image, column * cell, row * cell, window.across);
        let certainty = window.coherence;
        sum.certainty += certainty;
        sum.clarity += profile.clarity;
        sum.regularity += profile.regularity;
        sum.contrast += grade(0.0, 45.0, profile.height);
        let good =
            grade(0.25, 0.6, certainty) * grade(0.2, 0.6, profile.clarity) * grade(4.0, 16.0, profile.height);
        sum.usable += good;
    }
    if pressed < 1.0 {
        return FingerAspects::default();
    }
    let dots = f32::from(density.get()) / 2.54; // per centimetre
    let square_centimetres = pressed * (cell * cell) as f32 / (dots * dots);
    FingerAspects {
        area: (square_centimetres / 2.0).min(1.0),
        certainty: sum.certainty / pressed,
        clarity: sum.clarity / pressed,
        regularity: sum.regularity / pressed,
        contrast: sum.contrast / pressed,
        usable: sum.usable / pressed,
    }
}

/// Grey of what is not touched: nearly the brightest of the image.
fn paper_level(image: &Gray) -> f32 {
    let mut histogram = [0usize; 256];
    for pixel in image.pixels() {
        if let Some(count) = histogram.get_mut(usize::from(*pixel)) {
            *count += 1;
        }
    }
    let mut left = image.pixels().len() / 50;
    for (level, count) in histogram.iter().enumerate().rev() {
        if *count > left {
            return level as f32;
        }
        left -= count;
    }
    0.0
}

/// Sums over a square of pixels.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    count: f32,
    grey: f32,
    grey_squared: f32,
    xx: f32,
    yy: f32,
    xy: f32,
}

impl Sums {
    fn plus(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            grey: self.grey + other.grey,
            grey_squared: self.grey_squared + other.grey_squared,
            xx: self.xx + other.xx,
            yy: self.yy + other.yy,
            xy: self.xy + other.xy,
        }
    }

    fn window(&self) -> Option<Window> {
        if self.count < 1.0 {
            return None;
        }
        let mean = self.grey / self.count;
        let variance = (self.grey_squared / self.count - mean * mean).max(0.0);
        let (difference, twice) = (self.xx - self.yy, 2.0 * self.xy);
        let length = libm::sqrtf(difference * difference + twice * twice);
        let energy = self.xx + self.yy;
        // The direction of the gradient, which is across the ridges.
        let angle = 0.5 * libm::atan2f(twice, difference);
        Some(Window {
            mean,
            deviation: libm::sqrtf(variance),
            coherence: if energy > 0.0 { length / energy } else { 0.0 },
            across: (libm::cosf(angle), libm::sinf(angle)),
        })
    }
}

struct Window {
    mean: f32,
    deviation: f32,
    /// 0 no direction, 1 one direction only.
    coherence: f32,
    /// Unit vector across the ridges.
    across: (f32, f32),
}

/// The image in cells; a window is two cells wide and two high.
struct Cells {
    columns: usize,
    sums: Vec<Sums>,
}

impl Cells {
    fn measure(image: &Gray, cell: usize) -> Self {
        let columns = image.width() as usize / cell;
        let rows = image.height() as usize / cell;
        let mut sums = vec![Sums::default(); columns * rows];
        let width = image.width() as usize;
        let lines = image.pixels().windows(2 * width + width).step_by(width);
        // Central differences; the outermost lines and columns have none and are left out.
        for (y, three) in (1..).zip(lines) {
            let (above, rest) = three.split_at(width);
            let (here, below) = rest.split_at(width);
            let Some(cells) = sums.get_mut(y / cell * columns..(y / cell + 1) * columns) else { break };
            let inner = above.iter().zip(below).skip(1).zip(here.array_windows::<3>());
            let mut x = 1;
            let mut inner = inner;
            for sum in cells {
                let end = (x / cell + 1) * cell;
                for ((up, down), [left, grey, right]) in inner.by_ref().take(end - x) {
                    let dx = f32::from(*right) - f32::from(*left);
                    let dy = f32::from(*down) - f32::from(*up);
                    let grey = f32::from(*grey);
                    sum.count += 1.0;
                    sum.grey += grey;
                    sum.grey_squared += grey * grey;
                    sum.xx += dx * dx;
                    sum.yy += dy * dy;
                    sum.xy += dx * dy;
                }
                x = end;
            }
        }
        Self { columns, sums }
    }

    /// All windows with their place in cells.
    fn windows(&self) -> impl Iterator<Item = (usize, usize, Sums)> {
        let rows = self.sums.chunks_exact(self.columns.max(1));
        let next = rows.clone().skip(1);
        rows.zip(next).enumerate().flat_map(|(row, (upper, lower))| {
            upper
                .array_windows()
                .zip(lower.array_windows())
                .enumerate()
                .map(move |(column, ([a, b], [c, d]))| (column, row, a.plus(*b).plus(c.plus(*d))))
        })
    }
}

/// What the pixels of a window look like across its ridges.
struct Profile {
    /// Share of the variance that is between the bins of the profile, as far as ridges make it.
    clarity: f32,
    /// Share of the profile's variance at one ridge frequency.
    regularity: f32,
    /// Grey distance from ridge to valley.
    height: f32,
}

/// Projects windows and compares the profiles with waves of possible ridge periods, and of longer ones.
struct Probe {
    side: usize,
    /// Ridge periods of people, 6 to 13 pixels at 500 dpi.
    ridges: Vec<Wave>,
    /// Periods that no ridge has: shadows, blots, stripes.
    drifts: Vec<Wave>,
}

/// Cosine and sine per bin.
type Wave = Vec<(f32, f32)>;

impl Probe {
    fn new(cell: usize) -> Self {
        let side = 2 * cell;
        let bins = side + side / 2; // the diagonal is 1.41 sides
        // `period` in pixels at 500 dpi, where a cell has 16.
        let wave = |period: f32| -> Wave {
            let phase = |bin: usize| 2.0 * core::f32::consts::PI * bin as f32 * 16.0 / (period * cell as f32);
            (0..bins).map(|bin| (libm::cosf(phase(bin)), libm::sinf(phase(bin)))).collect()
        };
        Self {
            side,
            ridges: (0..15).map(|i| wave(6.0 + 0.5 * i as f32)).collect(),
            drifts: [18.0, 24.0, 32.0, 44.0, 64.0].map(wave).into(),
        }
    }

    fn look(&self, image: &Gray, x: usize, y: usize, across: (f32, f32)) -> Profile {
        let bins = self.side + self.side / 2;
        let mut profile = vec![(0.0f32, 0.0f32); bins];
        let half = self.side as f32 / 2.0;
        let origin = bins as f32 / 2.0 - half * (across.0 + across.1);
        let (mut total, mut total_squared, mut count) = (0.0f32, 0.0f32, 0.0f32);
        for (line, row) in image.rows().skip(y).take(self.side).enumerate() {
            let pixels = row.get(x..x + self.side).unwrap_or_default();
            let mut place = origin + line as f32 * across.1 + 0.5;
            for grey in pixels {
                let grey = f32::from(*grey);
                if let Some((count, sum)) = profile.get_mut(place as usize) {
                    *count += 1.0;
                    *sum += grey;
                }
                total += grey;
                total_squared += grey * grey;
                count += 1.0;
                place += across.0;
            }
        }
        let mean = total / count.max(1.0);
        let variance = total_squared / count.max(1.0) - mean * mean;
        self.judge(&profile, mean, variance)
    }

    fn judge(&self, profile: &[(f32, f32)], mean: f32, variance: f32) -> Profile {
        // Deviation of each bin from the mean, weighted by its pixels.
        let mut explained = 0.0;
        let mut weight = 0.0;
        let deviations: Vec<(f32, f32)> = profile
            .iter()
            .map(|(count, sum)| {
                let deviation = if *count > 0.0 { sum / count - mean } else { 0.0 };
                explained += count * deviation * deviation;
                weight += count;
                (*count, deviation)
            })
            .collect();
        explained /= weight.max(1.0);
        let power = |wave: &Wave| {
            let (mut even, mut odd) = (0.0, 0.0);
            for ((count, deviation), (cos, sin)) in deviations.iter().zip(wave) {
                even += count * deviation * cos;
                odd += count * deviation * sin;
            }
            let (even, odd) = (2.0 * even / weight.max(1.0), 2.0 * odd / weight.max(1.0));
            (even * even + odd * odd) / 2.0
        };
        let strongest = |waves: &[Wave]| waves.iter().map(power).fold(0.0, f32::max);
        // What is stronger at a period that no ridge has is no ridge.
        let (ridge, drift) = (strongest(&self.ridges), strongest(&self.drifts));
        let own = if ridge > 0.0 { grade(0.25, 0.5, ridge / (ridge + drift)) } else { 0.0 };
        Profile {
            clarity: if variance > 0.0 { own * (explained / variance).clamp(0.0, 1.0) } else { 0.0 },
            regularity: if explained > 0.0 { (own * ridge / explained).clamp(0.0, 1.0) } else { 0.0 },
            height: 2.0 * own * libm::sqrtf(2.0 * ridge),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parallel ridges at an angle, with noise of a share of their height.
    fn ridges(angle: f32, period: f32, noise: f32) -> Gray {
        let (sin, cos) = (libm::sinf(angle), libm::cosf(angle));
        let mut state = 9u32;
        let pixels = (0..400 * 480).map(|i| {
            let (x, y) = ((i % 400) as f32, (i / 400) as f32);
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let stray = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
            let wave = libm::cosf(2.0 * core::f32::consts::PI * (x * cos + y * sin) / period);
            (140.0 + 70.0 * (wave * (1.0 - noise) + stray * noise)) as u8
        });
        Gray::new(400, 480, pixels.collect()).unwrap()
    }

    #[test]
    fn ridges_count_whichever_way_they_run() {
        for angle in [0.0, 0.4, 0.8, 1.57, 2.3] {
            let aspects = finger_aspects(&ridges(angle, 9.0, 0.1), Dpi::FINGER);
            assert!(aspects.certainty > 0.85 && aspects.regularity > 0.8, "{angle}: {aspects:?}");
            assert!(aspects.score().value() > 90.0, "{angle}: {aspects:?}");
        }
    }

    #[test]
    fn noise_is_bad() {
        let scores =
            [0.1, 0.5, 0.65, 0.8, 1.0].map(|noise| finger(&ridges(0.6, 9.0, noise), Dpi::FINGER).value());
        assert!(scores.windows(2).all(|pair| pair[1] < pair[0] || pair[1] == 0.0), "{scores:?}");
        assert!(scores[4] < 3.0, "{scores:?}");
    }

    #[test]
    fn only_ridge_periods_count() {
        for (period, good) in [(8.0, true), (11.0, true), (3.0, false), (28.0, false), (60.0, false)] {
            let score = finger(&ridges(0.6, period, 0.1), Dpi::FINGER).value();
            assert_eq!(score > 60.0, good, "{period}: {score}");
        }
    }

    #[test]
    fn a_fragment_is_less_than_a_finger() {
        let whole = ridges(0.6, 9.0, 0.2);
        let mut part = Gray::filled(400, 480, 245).unwrap();
        for (to, from) in part.rows_mut().zip(whole.rows()).take(160) {
            to[..160].copy_from_slice(&from[..160]);
        }
        let (whole, part) = (finger_aspects(&whole, Dpi::FINGER), finger_aspects(&part, Dpi::FINGER));
        assert!(whole.area == 1.0 && (0.2..0.5).contains(&part.area), "{part:?}");
        assert!(part.score().value() < whole.score().value() / 2.0);
    }
}
