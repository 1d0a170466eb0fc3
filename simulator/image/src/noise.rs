//! Fields of floats: smooth noise, blurs, sampling between pixels. The paint of all generators.

use crate::random::Random;

/// A rectangle of floats, row by row.
#[derive(Clone)]
pub(crate) struct Field {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) cells: Vec<f32>,
}

impl Field {
    /// A field from a function of column and row.
    pub(crate) fn from_fn(width: usize, height: usize, mut value: impl FnMut(f32, f32) -> f32) -> Self {
        let mut cells = Vec::with_capacity(width * height);
        for y in 0..height {
            cells.extend((0..width).map(|x| value(x as f32, y as f32)));
        }
        Self { width, height, cells }
    }

    /// Noise whose lattice has cells of `cell` pixels; mean 0, variance near 1.
    pub(crate) fn noise(width: usize, height: usize, cell: f32, random: &mut Random) -> Self {
        if cell <= 1.0 {
            return Self::from_fn(width, height, |_, _| random.normal());
        }
        let columns = (width as f32 / cell) as usize + 2;
        let rows = (height as f32 / cell) as usize + 2;
        let lattice: Vec<f32> = (0..columns * rows).map(|_| random.normal() * SMOOTH_GAIN).collect();
        // Where each column of pixels falls in the lattice, the same for every row.
        let places: Vec<(usize, f32)> = (0..width).map(|x| place(x as f32 / cell)).collect();
        let mut line = vec![0.0; columns];
        let mut cells = Vec::with_capacity(width * height);
        for y in 0..height {
            let (row, down) = place(y as f32 / cell);
            let pair = lattice.get(row * columns..(row + 2) * columns).unwrap_or_default();
            let (upper, lower) = pair.split_at(columns.min(pair.len()));
            for ((to, a), b) in line.iter_mut().zip(upper).zip(lower) {
                *to = a + (b - a) * down;
            }
            cells.extend(places.iter().map(|(column, across)| match line.get(*column..column + 2) {
                Some([a, b]) => a + (b - a) * across,
                _ => 0.0,
            }));
        }
        Self { width, height, cells }
    }

    /// The value between four cells; the edge goes on for ever.
    pub(crate) fn sample(&self, x: f32, y: f32) -> f32 {
        let x = x.min(self.width as f32 - 1.001).max(0.0);
        let y = y.min(self.height as f32 - 1.001).max(0.0);
        let (column, row) = (x as usize, y as usize);
        let (across, down) = (x - column as f32, y - row as f32);
        let at = row * self.width + column;
        match (self.cells.get(at..at + 2), self.cells.get(at + self.width..at + self.width + 2)) {
            (Some([a, b]), Some([c, d])) => {
                let upper = a + (b - a) * across;
                let lower = c + (d - c) * across;
                upper + (lower - upper) * down
            }
            _ => 0.0,
        }
    }

    /// Slopes at a cell, from its neighbours two cells apart; 0 at the edges.
    pub(crate) fn slope(&self, x: usize, y: usize) -> (f32, f32) {
        let inside = x > 0 && y > 0 && x + 1 < self.width && y + 1 < self.height;
        let at = y * self.width + x;
        let cell = |at: usize| self.cells.get(at).copied().unwrap_or(0.0);
        if inside {
            ((cell(at + 1) - cell(at - 1)) / 2.0, (cell(at + self.width) - cell(at - self.width)) / 2.0)
        } else {
            (0.0, 0.0)
        }
    }

    /// Three box blurs, near a Gaussian of this standard deviation in pixels.
    pub(crate) fn blur(&mut self, sigma: f32) {
        let Some(kernel) = BoxKernel::third_of(sigma) else { return };
        for _ in 0..3 {
            self.blur_rows(kernel);
            self.blur_columns(kernel);
        }
    }

    fn blur_rows(&mut self, kernel: BoxKernel) {
        let reach = kernel.radius + 1;
        let mut padded = vec![0.0; self.width + 2 * reach + 1];
        for row in self.cells.chunks_exact_mut(self.width) {
            let (Some(first), Some(last)) = (row.first().copied(), row.last().copied()) else { return };
            let line = std::iter::repeat_n(first, reach)
                .chain(row.iter().copied())
                .chain(std::iter::repeat_n(last, reach + 1));
            padded.iter_mut().zip(line).for_each(|(to, from)| *to = from);
            // Sum of the whole cells under the box, which moves by one; the two rim cells count in part.
            let mut sum: f32 = padded.iter().skip(1).take(2 * kernel.radius + 1).sum();
            let before = padded.iter().zip(padded.iter().skip(1));
            let behind = padded.iter().skip(2 * kernel.radius + 2);
            for (to, ((rim_before, leaving), entering)) in row.iter_mut().zip(before.zip(behind)) {
                *to = (sum + kernel.rim * (rim_before + entering)) * kernel.scale;
                sum += entering - leaving;
            }
        }
    }

    fn blur_columns(&mut self, kernel: BoxKernel) {
        let radius = kernel.radius;
        let source = self.cells.clone();
        let last = self.height.saturating_sub(1);
        let row = |y: usize| source.get(y * self.width..(y + 1) * self.width).unwrap_or_default();
        let mut sums = vec![0.0; self.width];
        for y in 0..=2 * radius {
            let from = row(y.saturating_sub(radius).min(last));
            sums.iter_mut().zip(from).for_each(|(sum, value)| *sum += value);
        }
        for (y, out) in self.cells.chunks_exact_mut(self.width).enumerate() {
            let rim_above = row(y.saturating_sub(radius + 1));
            let leaving = row(y.saturating_sub(radius));
            let entering = row((y + radius + 1).min(last));
            let lines = rim_above.iter().zip(leaving).zip(entering);
            for ((to, sum), ((above, old), new)) in out.iter_mut().zip(&mut sums).zip(lines) {
                *to = (*sum + kernel.rim * (above + new)) * kernel.scale;
                *sum += new - old;
            }
        }
    }
}

/// A box whose outermost cells count in part, so that its width is any number.
#[derive(Clone, Copy)]
struct BoxKernel {
    /// Whole cells on each side of the middle one.
    radius: usize,
    /// Weight of the next one, 0 to 1.
    rim: f32,
    scale: f32,
}

impl BoxKernel {
    /// A box with a third of the variance of a Gaussian; `None` where that is too narrow to matter.
    fn third_of(sigma: f32) -> Option<Self> {
        let variance = sigma * sigma / 3.0;
        if !(0.01..1e4).contains(&variance) {
            return None;
        }
        // Sum of squared offsets of whole cells, until their variance is too large.
        let (mut radius, mut squares) = (0usize, 0.0f32);
        loop {
            let next = (radius + 1) as f32;
            let more = squares + 2.0 * next * next;
            if more / (2.0 * next + 1.0) > variance {
                let whole = 2.0 * radius as f32 + 1.0;
                let rim = (variance * whole - squares) / (2.0 * (next * next - variance));
                return Some(Self { radius, rim, scale: 1.0 / (whole + 2.0 * rim) });
            }
            (radius, squares) = (radius + 1, more);
        }
    }
}

/// Interpolation between lattice points takes variance away; this gives it back (mean of the squared weights, inverted).
const SMOOTH_GAIN: f32 = 1.346;

/// Lattice cell and position in it, eased so that the noise has no creases.
fn place(at: f32) -> (usize, f32) {
    let cell = at as usize;
    (cell, smoothstep(at - cell as f32))
}

/// 0 at 0, 1 at 1, flat at both ends.
pub(crate) fn smoothstep(t: f32) -> f32 {
    let t = t.clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A step of finite width: 0 below `low`, 1 above `high`.
pub(crate) fn ramp(low: f32, high: f32, value: f32) -> f32 {
    smoothstep((value - low) / (high - low))
}

/// Length of a vector.
pub(crate) fn length(x: f32, y: f32) -> f32 {
    libm::sqrtf(x * x + y * y)
}

/// `a` at 0, `b` at 1.
pub(crate) fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// Hyperbolic tangent, by a rational function (error below 0.03): arithmetic only, and cheap.
pub(crate) fn squash(x: f32) -> f32 {
    let x = x.clamp(-3.0, 3.0);
    let square = x * x;
    x * (27.0 + square) / (27.0 + 9.0 * square)
}

/// A float as a pixel.
pub(crate) fn to_byte(value: f32) -> u8 {
    (value + 0.5).clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variance(field: &Field) -> f32 {
        let mean = field.cells.iter().sum::<f32>() / field.cells.len() as f32;
        field.cells.iter().map(|c| (c - mean) * (c - mean)).sum::<f32>() / field.cells.len() as f32
    }

    #[test]
    fn noise_has_unit_variance_at_every_scale() {
        for cell in [1.0, 3.0, 6.5] {
            let field = Field::noise(300, 200, cell, &mut Random::new(*b"test    ", &[7]));
            assert_eq!(field.cells.len(), 60_000);
            let v = variance(&field);
            assert!((0.85..1.15).contains(&v), "cell {cell}: {v}");
        }
    }

    #[test]
    fn blur_keeps_the_mean_and_takes_the_variance() {
        let mut field = Field::noise(64, 48, 1.0, &mut Random::new(*b"test    ", &[8]));
        let before = variance(&field);
        field.cells.iter_mut().for_each(|c| *c += 100.0);
        field.blur(2.0);
        assert_eq!((field.width, field.height), (64, 48));
        assert!(variance(&field) < before / 10.0);
        assert!(field.cells.iter().all(|c| (c - 100.0).abs() < 2.0));
    }

    #[test]
    fn blur_has_the_width_asked_for() {
        for sigma in [0.4f32, 0.7, 1.0, 1.6, 2.5, 5.0] {
            let mut field = Field::from_fn(61, 61, |x, y| if (x, y) == (30.0, 30.0) { 1.0 } else { 0.0 });
            field.blur(sigma);
            let total: f32 = field.cells.iter().sum();
            let spread = |along: fn(usize) -> usize| -> f32 {
                let squares = field.cells.iter().enumerate().map(|(i, c)| {
                    let d = along(i) as f32 - 30.0;
                    c * d * d
                });
                libm::sqrtf(squares.sum::<f32>() / total)
            };
            assert!((total - 1.0).abs() < 1e-3, "{sigma}: {total}");
            for measured in [spread(|i| i % 61), spread(|i| i / 61)] {
                assert!((measured - sigma).abs() < 0.02 * sigma + 0.01, "{sigma}: {measured}");
            }
        }
    }

    #[test]
    fn sampling_interpolates_and_stays_inside() {
        let field = Field::from_fn(3, 2, |x, y| x + 10.0 * y);
        assert!((field.sample(1.5, 0.5) - 6.5).abs() < 1e-4);
        assert!(field.sample(-5.0, -5.0).abs() < 1e-4);
        assert!((field.sample(9.0, 9.0) - 12.0).abs() < 0.02);
    }

    #[test]
    fn squash_is_near_tanh() {
        for x in [-4.0f32, -1.0, -0.2, 0.0, 0.5, 2.0, 10.0] {
            assert!((squash(x) - libm::tanhf(x)).abs() < 0.03, "{x}");
        }
    }
}
