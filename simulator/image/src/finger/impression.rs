//! One touch of a finger: where it lies, how hard it presses, how wet it is, and what the sensor makes of it.
//!
//! The tone model was fitted so that a real NFIQ 2 climbs with the quality knob (docs/developers/imaging.md).

use biotrust_imaging::{Gray, ImageError};

use super::master::Master;
use crate::noise::{Field, mix, ramp, squash, to_byte};
use crate::random::Random;

/// Grey of a pressed ridge.
const INK: f32 = 58.0;
/// Grey of the bare platen.
pub(crate) const PAPER: f32 = 244.0;

/// How a finger touches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Touch {
    /// Turn in radians, clockwise for the eye.
    pub(crate) angle: f32,
    /// Shift of the finger in the image in pixels, rightwards and downwards.
    pub(crate) shift: (f32, f32),
    /// Half axes of the contact area as a share of half the image's sides.
    pub(crate) contact: (f32, f32),
    /// 0 useless to 1 as good as it gets.
    pub(crate) quality: f32,
}

/// What the touch does to ridges; all of it grows worse as quality falls.
struct Tone {
    /// Thickness of ridges: above the optimum wet, below it dry.
    thickness: f32,
    /// Local variation of that.
    patchiness: f32,
    /// Noise at the scale of a third of a ridge and of two thirds of one.
    noise: (f32, f32),
    /// Steepness of the step from valley to ridge.
    gain: f32,
    /// Share of contrast that is lost everywhere, and locally.
    fade: (f32, f32),
    /// Share of ridge pixels with a sweat pore.
    pores: f32,
}

impl Tone {
    fn draw(quality: f32, random: &mut Random) -> Self {
        let linear = 1.0 - quality;
        // So that the score falls about evenly with the knob.
        let loss = 0.52 * linear + 0.48 * linear * linear * linear * linear;
        // Each capture fails in its own way: mostly noisy, mostly wet or dry, mostly faint.
        let mut share = || random.between(0.45, 1.0);
        let (noisy, dirty, faint) = (share() * loss, share() * loss, share() * loss);
        let wet = if random.next() & 1 == 0 { 1.0 } else { -1.0 };
        Self {
            thickness: THICKNESS + wet * 1.1 * dirty,
            patchiness: 0.5 + 0.5 * dirty,
            noise: (0.44 + 1.5 * noisy, 0.24 + 1.6 * noisy),
            gain: 0.62,
            fade: (0.72 * faint, 0.29 + 0.2 * faint),
            pores: 0.015,
        }
    }
}

/// Thickness of well-pressed ridges, as an offset to their height.
const THICKNESS: f32 = 0.38;
/// Standard deviation in grey levels.
const SENSOR_NOISE: f32 = 0.6;

/// The image of one touch, as wide and as high as its master.
pub(crate) fn impression(master: &Master, touch: &Touch, random: &mut Random) -> Result<Gray, ImageError> {
    let (width, height) = (master.width, master.height);
    let tone = Tone::draw(touch.quality, random);
    let mut field = |cell: f32| Field::noise(width, height, cell, random).cells;
    let (bend_x, bend_y) = (field(70.0), field(70.0));
    let (patches, fading) = (field(40.0), field(30.0));
    let (coarse, fine, rim) = (field(6.0), field(3.0), field(18.0));

    let (sin, cos) = (libm::sinf(touch.angle), libm::cosf(touch.angle));
    let centre = (width as f32 / 2.0, height as f32 / 2.0);
    let mut out = Vec::with_capacity(width * height);
    let mut noises = bend_x.iter().zip(&bend_y).zip(&patches).zip(&fading).zip(&coarse).zip(&fine).zip(&rim);
    for y in 0..height {
        for x in 0..width {
            let Some(((((((bx, by), patch), fade), coarse), fine), rim)) = noises.next() else { continue };
            // From the image back into the finger.
            let (dx, dy) = (x as f32 - centre.0 - touch.shift.0, y as f32 - centre.1 - touch.shift.1);
            let (u, v) = (cos * dx + sin * dy, cos * dy - sin * dx);
            let pressed = contact(u / centre.0 / touch.contact.0, v / centre.1 / touch.contact.1, *rim);
            if pressed <= 0.0 {
                out.push(PAPER);
                continue;
            }
            let ridge = sample(master, u + centre.0 + 2.2 * bx, v + centre.1 + 2.2 * by);
            let mut level = ridge
                + tone.thickness
                + tone.patchiness * patch * 0.7
                + tone.noise.0 * fine
                + tone.noise.1 * coarse;
            level -= 1.6 * (1.0 - pressed);
            let mut ink = 0.5 + 0.5 * squash(level * 2.0 * tone.gain / 0.62);
            if ridge > 0.3 && random.unit() < tone.pores {
                ink *= 0.3;
            }
            let contrast = (1.0 - tone.fade.0) * (1.0 - tone.fade.1 * libm::fabsf(*fade)).clamp(0.1, 1.0);
            out.push(mix(PAPER, INK, ink * contrast * pressed));
        }
    }
    soften(width, height, &out, random)
}

/// How firmly a place is pressed, 0 outside of the contact area; `u` and `v` are 1 on its edge.
fn contact(u: f32, v: f32, rim: f32) -> f32 {
    let (uu, vv) = (u * u, v * v);
    let edge = uu * libm::fabsf(u) + vv * libm::fabsf(v); // a superellipse: fuller than an ellipse
    ramp(1.0, 0.80, edge + 0.05 * rim)
}

/// The ridge height between four cells, -1 to 1; a valley outside.
fn sample(master: &Master, x: f32, y: f32) -> f32 {
    if x < 0.0 || y < 0.0 {
        return -1.0;
    }
    let (column, row) = (x as usize, y as usize);
    if column + 1 >= master.width || row + 1 >= master.height {
        return -1.0;
    }
    let (across, down) = (x - column as f32, y - row as f32);
    let at = row * master.width + column;
    match (master.ridges.get(at..at + 2), master.ridges.get(at + master.width..at + master.width + 2)) {
        (Some(&[a, b]), Some(&[c, d])) => {
            let [a, b, c, d] = [a, b, c, d].map(f32::from);
            let upper = a + (b - a) * across;
            let lower = c + (d - c) * across;
            (upper + (lower - upper) * down) / 127.0
        }
        _ => -1.0,
    }
}

/// Optics and sensor: a 3 x 3 binomial blur, a little noise, then bytes.
fn soften(width: usize, height: usize, cells: &[f32], random: &mut Random) -> Result<Gray, ImageError> {
    let mut pixels = Vec::with_capacity(width * height);
    let row = |y: usize| cells.get(y * width..(y + 1) * width).unwrap_or_default();
    let mut column = vec![0.0; width + 2];
    for y in 0..height {
        let (above, here, below) = (row(y.saturating_sub(1)), row(y), row((y + 1).min(height - 1)));
        for (to, ((a, b), c)) in column.iter_mut().skip(1).zip(above.iter().zip(here).zip(below)) {
            *to = 0.25 * a + 0.5 * b + 0.25 * c;
        }
        let edges = (column.get(1).copied(), column.get(width).copied());
        if let (Some(first), Some(last)) = (column.first_mut(), edges.0) {
            *first = last;
        }
        if let (Some(last), Some(end)) = (column.last_mut(), edges.1) {
            *last = end;
        }
        pixels.extend(
            column
                .array_windows()
                .map(|[a, b, c]| to_byte(0.25 * a + 0.5 * b + 0.25 * c + SENSOR_NOISE * random.normal())),
        );
    }
    Gray::new(width as u32, height as u32, pixels)
}
