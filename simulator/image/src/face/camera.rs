//! What a camera makes of a picture: where the subject stands, focus, exposure, noise.

use biotrust_imaging::{ImageError, Rgb};

use crate::noise::{Field, to_byte};
use crate::random::Random;

/// One photo of a picture. Useless at 0: out of focus, dark or hazy, off the middle, noisy.
pub(crate) fn shoot(picture: &Rgb, quality: f32, random: &mut Random) -> Result<Rgb, ImageError> {
    let loss = 1.0 - quality;
    // Each capture fails in its own way.
    let mut share = || random.between(0.55, 1.0) * loss;
    let (soft, lit, off, noisy) = (share(), share(), share(), share());
    let sign = |random: &mut Random| if random.next() & 1 == 0 { 1.0f32 } else { -1.0 };
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    let turn = random.between(-0.012, 0.012) + sign(random) * 0.20 * off;
    let zoom = random.between(0.99, 1.015) + 0.18 * off;
    let shift = (
        random.between(-3.0, 3.0) + sign(random) * 0.16 * off * width,
        random.between(-3.0, 3.0) + sign(random) * 0.06 * off * height,
    );
    // Too little light, or stray light in the lens.
    let gain = 1.0 - 0.74 * lit;
    let lift = if random.next() & 1 == 0 { 255.0 * (1.0 - gain) } else { 0.0 };
    let noise = 1.6 + 8.0 * noisy;

    let view = View { turn: (libm::sinf(turn) * zoom, libm::cosf(turn) * zoom), shift };
    let mut channels = view.sample(picture);
    for channel in &mut channels {
        channel.blur(5.0 * soft);
    }
    let [red, green, blue] = &channels;
    let mut pixels = Vec::with_capacity(red.cells.len() * 3);
    for ((r, g), b) in red.cells.iter().zip(&green.cells).zip(&blue.cells) {
        // Most of the noise of a sensor is the same in all channels after its colours were interpolated.
        let common = random.normal();
        for value in [r, g, b] {
            pixels.push(to_byte(value * gain + lift + noise * (0.7 * common + 0.7 * random.normal())));
        }
    }
    Rgb::new(picture.width(), picture.height(), pixels)
}

/// Where the camera looks.
struct View {
    /// Sine and cosine of the roll, both times the zoom.
    turn: (f32, f32),
    shift: (f32, f32),
}

impl View {
    /// The picture as it is seen, one field per channel; what is beyond its edge goes on like the edge.
    fn sample(&self, picture: &Rgb) -> [Field; 3] {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let centre = (width as f32 / 2.0, height as f32 / 2.0);
        let (sin, cos) = self.turn;
        let mut channels = [(); 3].map(|()| Vec::with_capacity(width * height));
        for y in 0..height {
            for x in 0..width {
                let (dx, dy) = (x as f32 - centre.0 - self.shift.0, y as f32 - centre.1 - self.shift.1);
                let colour = between(picture, centre.0 + cos * dx + sin * dy, centre.1 + cos * dy - sin * dx);
                for (channel, value) in channels.iter_mut().zip(colour) {
                    channel.push(value);
                }
            }
        }
        channels.map(|cells| Field { width, height, cells })
    }
}

/// The colour between four pixels.
fn between(picture: &Rgb, x: f32, y: f32) -> [f32; 3] {
    let x = x.min(picture.width() as f32 - 1.001).max(0.0);
    let y = y.min(picture.height() as f32 - 1.001).max(0.0);
    let (column, row) = (x as usize, y as usize);
    let (across, down) = (x - column as f32, y - row as f32);
    let stride = picture.width() as usize * 3;
    let at = row * stride + column * 3;
    let pixels = picture.pixels();
    match (pixels.get(at..at + 6), pixels.get(at + stride..at + stride + 6)) {
        (Some(&[a, b, c, d, e, f]), Some(&[g, h, i, j, k, l])) => [[a, d, g, j], [b, e, h, k], [c, f, i, l]]
            .map(|p| {
                let [p, q, r, s] = p.map(f32::from);
                let upper = p + (q - p) * across;
                let lower = r + (s - r) * across;
                upper + (lower - upper) * down
            }),
        _ => [0.0; 3],
    }
}
