//! Colours and soft shapes for the pictures of faces and hands.

use crate::noise::{length, mix, ramp};

/// Linear-ish red, green and blue, 0 to 255.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Colour(pub(super) [f32; 3]);

impl Colour {
    pub(super) const fn new(red: f32, green: f32, blue: f32) -> Self {
        Self([red, green, blue])
    }

    pub(super) fn mixed(self, other: Self, share: f32) -> Self {
        let ([a, b, c], [d, e, f]) = (self.0, other.0);
        Self([mix(a, d, share), mix(b, e, share), mix(c, f, share)])
    }

    pub(super) fn times(self, factor: f32) -> Self {
        Self(self.0.map(|c| c * factor))
    }

    /// Each channel by its own factor.
    pub(super) fn tinted(self, red: f32, green: f32, blue: f32) -> Self {
        let [r, g, b] = self.0;
        Self([r * red, g * green, b * blue])
    }

    pub(super) fn plus(self, grey: f32) -> Self {
        Self(self.0.map(|c| c + grey))
    }
}

/// A smooth hill of height 1 with elliptical foot; no exponentials, nothing outside.
pub(super) fn bump(x: f32, y: f32, rx: f32, ry: f32) -> f32 {
    let (a, b) = (x / rx, y / ry);
    let inside = (1.0 - a * a - b * b).max(0.0);
    inside * inside
}

/// Coverage of a shape whose edge is at distance 0 (inside positive), with an edge `soft` wide.
pub(super) fn cover(distance: f32, soft: f32) -> f32 {
    ramp(-soft, soft, distance)
}

/// Distance to a line segment, and the position on it from 0 to 1.
pub(super) fn segment(p: (f32, f32), a: (f32, f32), b: (f32, f32)) -> (f32, f32) {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let along = ((p.0 - a.0) * dx + (p.1 - a.1) * dy) / (dx * dx + dy * dy).max(1e-9);
    let along = along.clamp(0.0, 1.0);
    (length(p.0 - a.0 - along * dx, p.1 - a.1 - along * dy), along)
}

/// How much light a surface returns whose height has these slopes: one soft lamp from the upper left, one fill light, and a
/// weak gloss. 1 is the full light of a frontal surface.
pub(super) fn light(slope_x: f32, slope_y: f32) -> (f32, f32) {
    let length = libm::sqrtf(slope_x * slope_x + slope_y * slope_y + 1.0);
    let (nx, ny, nz) = (-slope_x / length, -slope_y / length, 1.0 / length);
    let facing = |x: f32, y: f32, z: f32| nx * x + ny * y + nz * z;
    let lamp = ((facing(-0.32, -0.42, 0.85) + 0.25) / 1.25).max(0.0);
    let fill = facing(0.55, 0.1, 0.83).max(0.0);
    let gloss = facing(-0.17, -0.24, 0.956).max(0.0);
    let gloss = gloss * gloss * gloss * gloss;
    let gloss = gloss * gloss * gloss * gloss;
    (0.16 + 0.62 * lamp + 0.26 * fill, gloss)
}
