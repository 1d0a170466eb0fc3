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
    pub(crate) fn filled(width: usize, height: usize, value: f32) -> Self {
        Self { width, height, cells: vec![value; width * height] }
    }

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
        let x = x.clamp(0.0, self.width as f32 - 1.001);
        let y = y.clamp(0.0, self.height as f32 - 1.001);
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

    /// Three box blurs, near a Gaussian of this standard deviation in pixels.
    pub(crate) fn blur(&mut self, sigma: f32) {
        let radius = box_radius(sigma);
        if radius == 0 {
            return;
        }
        for _ in 0..3 {
            self.box_rows(radius);
            self.box_columns(radius);
        }
    }

    fn box_rows(&mut self, radius: usize) {
        let scale = 1.0 / (2 * radius + 1) as f32;
        let mut padded = vec![0.0; self.width + 2 * radius + 1];
        for row in self.cells.chunks_exact_mut(self.width) {
            let (Some(first), Some(last)) = (row.first().copied(), row.last().copied()) else { return };
            for (to, from) in padded.iter_mut().zip(
                std::iter::repeat_n(first, radius)
                    .chain(row.iter().copied())
                    .chain(std::iter::repeat_n(last, radius + 1)),
            ) {
                *to = from;
            }
            let mut sum: f32 = padded.iter().take(2 * radius + 1).sum();
            let leaving = padded.iter();
            let entering = padded.iter().skip(2 * radius + 1);
            for (to, (old, new)) in row.iter_mut().zip(leaving.zip(entering)) {
                *to = sum * scale;
                sum += new - old;
            }
        }
    }

    fn box_columns(&mut self, radius: usize) {
        let scale = 1.0 / (2 * radius + 1) as f32;
        let source = self.cells.clone();
        let last = self.height.saturating_sub(1);
        let row = |y: usize| source.get(y * self.width..(y + 1) * self.width).unwrap_or_default();
        let mut sums = vec![0.0; self.width];
        for y in 0..=2 * radius {
            let from = row(y.saturating_sub(radius).min(last));
            sums.iter_mut().zip(from).for_each(|(sum, value)| *sum += value);
        }
        for (y, out) in self.cells.chunks_exact_mut(self.width).enumerate() {
            let leaving = row(y.saturating_sub(radius));
            let entering = row((y + radius + 1).min(last));
            for (((to, sum), old), new) in out.iter_mut().zip(&mut sums).zip(leaving).zip(entering) {
                *to = *sum * scale;
                *sum += new - old;
            }
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

/// Radius of each of three boxes that together have the variance of a Gaussian.
fn box_radius(sigma: f32) -> usize {
    // Three boxes of width w have variance (w^2 - 1) / 4.
    let width = libm::sqrtf(4.0 * sigma * sigma + 1.0);
    ((width - 1.0) / 2.0 + 0.5) as usize
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
