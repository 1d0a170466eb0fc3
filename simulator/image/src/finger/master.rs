//! The ridges of a finger, grown once: what every impression of it shows.
//!
//! Method: iterated Gabor filtering of a few random specks, each pixel with the filter for its orientation and period
//! (after Cappelli, Maio, Maltoni: "Synthetic fingerprint-image generation", 2000). Ridges spread from the specks, and minutiae arise where the
//! fronts meet. To be cheap it grows at half resolution, where a filter has a quarter of the taps and the image a quarter
//! of the pixels, and only the last few passes run at full resolution.

use crate::finger::pattern::{Pattern, STEP};
use crate::noise::{Field, squash};
use crate::random::Random;

/// Ridges at full resolution: -127 in the middle of a valley, 127 on top of a ridge.
pub(crate) struct Master {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) ridges: Vec<i8>,
}

/// Half-resolution passes: enough for the fronts to meet and the seams to heal.
const COARSE_PASSES: usize = 36;
/// Full-resolution passes: they sharpen the upsampled ridges.
const FINE_PASSES: usize = 3;
/// One speck per this many full-resolution pixels.
const PIXELS_PER_SPECK: usize = 1800;

/// Pixels per run that share one filter: a vector register or two.
const LANES: usize = 4;
/// Periods in the bank of filters.
const PERIODS: usize = 6;
/// Orientations in the bank of filters.
const ORIENTATIONS: usize = 32;
/// Range of periods in full-resolution pixels.
const PERIOD_RANGE: (f32, f32) = (7.0, 11.5);

impl Master {
    /// Grows the ridges of a pattern; sides are rounded up to a multiple of eight.
    pub(crate) fn grow(width: usize, height: usize, random: &mut Random) -> Self {
        let (width, height) = (width.next_multiple_of(8), height.next_multiple_of(8));
        let pattern = Pattern::new(width, height, random);

        let coarse = Bank::new(0.5);
        let mut plane = Plane::new(width / 2, height / 2, coarse.radius);
        for _ in 0..(width * height / PIXELS_PER_SPECK).max(1) {
            let (x, y) = (random.below(width as u32 / 2) as usize, random.below(height as u32 / 2) as usize);
            plane.put(x, y, if random.next() & 1 == 0 { 1.0 } else { -1.0 });
        }
        let choice = coarse.choose(&pattern, &plane, 2.0);
        for _ in 0..COARSE_PASSES {
            plane.filter(&coarse, &choice);
        }

        let fine = Bank::new(1.0);
        let mut plane = plane.doubled(fine.radius);
        let choice = fine.choose(&pattern, &plane, 1.0);
        for _ in 0..FINE_PASSES {
            plane.filter(&fine, &choice);
        }
        let ridges = plane.interior().map(|v| (v * 127.0).clamp(-127.0, 127.0) as i8).collect();
        Self { width, height, ridges }
    }
}

/// Gabor filters for every period and orientation, zero mean, absolute sum 1.
struct Bank {
    radius: usize,
    /// `PERIODS * ORIENTATIONS` kernels of `(2 * radius + 1)^2` taps each.
    taps: Vec<f32>,
}

impl Bank {
    /// Filters for a resolution relative to the full one.
    fn new(scale: f32) -> Self {
        let longest = PERIOD_RANGE.1 * scale;
        let radius = libm::ceilf(longest * 0.8) as usize;
        let mut taps = Vec::new();
        for p in 0..PERIODS {
            let share = p as f32 / (PERIODS - 1) as f32;
            let period = (PERIOD_RANGE.0 + (PERIOD_RANGE.1 - PERIOD_RANGE.0) * share) * scale;
            for o in 0..ORIENTATIONS {
                let angle = core::f32::consts::PI * o as f32 / ORIENTATIONS as f32;
                taps.extend(gabor(radius, period, angle));
            }
        }
        Self { radius, taps }
    }

    fn kernel_len(&self) -> usize {
        (2 * self.radius + 1) * (2 * self.radius + 1)
    }

    fn kernel(&self, index: u16) -> &[f32] {
        let start = usize::from(index) * self.kernel_len();
        self.taps.get(start..start + self.kernel_len()).unwrap_or_default()
    }

    /// The best filter for each run of a plane; `pixel` is the size of its pixels in full-resolution ones.
    fn choose(&self, pattern: &Pattern, plane: &Plane, pixel: f32) -> Vec<u16> {
        let mut choice = Vec::with_capacity(plane.width / LANES * plane.height);
        for y in 0..plane.height {
            for run in 0..plane.width / LANES {
                let x = (run * LANES) as f32 + LANES as f32 / 2.0;
                let column = (x * pixel) as usize / STEP;
                let row = ((y as f32 + 0.5) * pixel) as usize / STEP;
                let at = row * pattern.orientation.width + column;
                let angle = pattern.orientation.cells.get(at).copied().unwrap_or(0.0);
                let period = pattern.period.cells.get(at).copied().unwrap_or(9.0);
                let o = (angle * (ORIENTATIONS as f32 / core::f32::consts::PI) + 0.5) as usize % ORIENTATIONS;
                let share = (period - PERIOD_RANGE.0) / (PERIOD_RANGE.1 - PERIOD_RANGE.0);
                let p = (share.clamp(0.0, 1.0) * (PERIODS - 1) as f32 + 0.5) as usize;
                choice.push((p * ORIENTATIONS + o) as u16);
            }
        }
        choice
    }
}

/// One even Gabor filter: a cosine across the ridges under a round Gaussian.
fn gabor(radius: usize, period: f32, along: f32) -> Vec<f32> {
    // Three ridges carry the weight: the Gaussian is down to a thousandth at 1.5 periods.
    let sigma = 0.4035 * period;
    let (sin, cos) = (libm::sinf(along), libm::cosf(along));
    let side = 2 * radius + 1;
    let offset = |i: usize| i as f32 - radius as f32;
    let envelope = |dx: f32, dy: f32| libm::expf(-(dx * dx + dy * dy) / (2.0 * sigma * sigma));
    let places = (0..side).flat_map(|y| (0..side).map(move |x| (offset(x), offset(y))));
    let (mut taps, weights): (Vec<f32>, Vec<f32>) = places
        .map(|(dx, dy)| {
            let across = dy * cos - dx * sin;
            let weight = envelope(dx, dy);
            (weight * libm::cosf(2.0 * core::f32::consts::PI * across / period), weight)
        })
        .unzip();
    // Zero mean without a step at the rim: the surplus is taken off under the envelope.
    let surplus = taps.iter().sum::<f32>() / weights.iter().sum::<f32>();
    taps.iter_mut().zip(&weights).for_each(|(tap, weight)| *tap -= surplus * weight);
    let total: f32 = taps.iter().map(|tap| libm::fabsf(*tap)).sum();
    taps.iter_mut().for_each(|tap| *tap /= total);
    taps
}

/// A field with a margin of zeros, so that filters need not look where it ends.
struct Plane {
    width: usize,
    height: usize,
    margin: usize,
    cells: Vec<f32>,
}

impl Plane {
    fn new(width: usize, height: usize, margin: usize) -> Self {
        Self { width, height, margin, cells: vec![0.0; (width + 2 * margin) * (height + 2 * margin)] }
    }

    fn stride(&self) -> usize {
        self.width + 2 * self.margin
    }

    fn put(&mut self, x: usize, y: usize, value: f32) {
        let at = (y + self.margin) * self.stride() + x + self.margin;
        if let Some(cell) = self.cells.get_mut(at) {
            *cell = value;
        }
    }

    /// One pass: every run through its filter, then squashed so that ridges grow to full height and stop there.
    fn filter(&mut self, bank: &Bank, choice: &[u16]) {
        let stride = self.stride();
        let side = 2 * bank.radius + 1;
        let mut out = vec![0.0; self.cells.len()];
        let rows = out.chunks_exact_mut(stride).skip(self.margin);
        for ((y, row), kernels) in rows.enumerate().zip(choice.chunks_exact(self.width / LANES)) {
            let inside = row.get_mut(self.margin..self.margin + self.width).unwrap_or_default();
            // A window of rows as high as the kernel; the run at column x starts at x in it, thanks to the margin.
            let window = self.cells.get(y * stride..(y + side) * stride).unwrap_or_default();
            for ((run, to), index) in inside.chunks_exact_mut(LANES).enumerate().zip(kernels) {
                let sums = correlate(window, stride, run * LANES, bank.kernel(*index), side);
                for (cell, sum) in to.iter_mut().zip(sums) {
                    *cell = squash(6.0 * sum);
                }
            }
        }
        self.cells = out;
    }

    /// The same at twice the resolution.
    fn doubled(&self, margin: usize) -> Self {
        let field = Field { width: self.width, height: self.height, cells: self.interior().collect() };
        let mut out = Self::new(self.width * 2, self.height * 2, margin);
        for y in 0..out.height {
            for x in 0..out.width {
                out.put(x, y, field.sample(x as f32 / 2.0 - 0.25, y as f32 / 2.0 - 0.25));
            }
        }
        out
    }

    /// The cells without the margin, row by row.
    fn interior(&self) -> impl Iterator<Item = f32> {
        let columns = self.margin..self.margin + self.width;
        self.cells
            .chunks_exact(self.stride())
            .skip(self.margin)
            .take(self.height)
            .flat_map(move |row| row.get(columns.clone()).unwrap_or_default().iter().copied())
    }
}

/// [`LANES`] neighbouring pixels under one kernel.
fn correlate(window: &[f32], stride: usize, x: usize, kernel: &[f32], side: usize) -> [f32; LANES] {
    let mut sums = [0.0; LANES];
    for (row, taps) in window.chunks_exact(stride).zip(kernel.chunks_exact(side)) {
        let cells = row.get(x..x + side + LANES - 1).unwrap_or_default();
        for (lanes, tap) in cells.array_windows::<LANES>().zip(taps) {
            for (sum, cell) in sums.iter_mut().zip(lanes) {
                *sum += cell * tap;
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_answer_to_their_own_ridges() {
        let taps = gabor(8, 9.0, 0.6);
        assert!(taps.iter().sum::<f32>().abs() < 1e-4, "blind to a flat ground");
        let answer = |angle: f32| -> f32 {
            let (sin, cos) = (libm::sinf(angle), libm::cosf(angle));
            (0..17 * 17)
                .map(|i| {
                    let (dx, dy) = ((i % 17) as f32 - 8.0, (i / 17) as f32 - 8.0);
                    taps[i] * libm::cosf(2.0 * core::f32::consts::PI * (dy * cos - dx * sin) / 9.0)
                })
                .sum()
        };
        assert!(answer(0.6) > 0.6 && answer(0.6 + 1.57).abs() < 0.05, "{} {}", answer(0.6), answer(2.17));
    }

    #[test]
    fn ridges_fill_the_finger_and_are_the_same_every_time() {
        let grow = |key| Master::grow(96, 120, &mut Random::new(*b"test    ", &[key]));
        let master = grow(1);
        assert_eq!((master.width, master.height, master.ridges.len()), (96, 120, 96 * 120));
        let strong = master.ridges.iter().filter(|r| r.unsigned_abs() > 60).count();
        assert!(strong * 10 > master.ridges.len() * 6, "{strong} of {}", master.ridges.len());
        let ridges = master.ridges.iter().filter(|r| **r > 0).count();
        assert!((4..=6).contains(&(ridges * 10 / master.ridges.len())), "as much ridge as valley");
        assert!(grow(1).ridges == master.ridges);
        assert!(grow(2).ridges != master.ridges);
    }
}
