//! Eyes as an infrared camera sees them: a texture in polar coordinates, pupil and limbus at known places, lids, lashes.
//!
//! Registration images are cropped (kind K3 of ISO/IEC 19794-6: margins of 0.6 iris radii left and right, 0.2 above and
//! below), authentication images cropped and masked (K7: lids and sclera painted over).

use core::f32::consts::PI;

use biotrust_imaging::{Circle, Gray, ImageError, IrisGeometry};
use biotrust_model::Purpose;

use crate::noise::{Field, length, mix, ramp, smoothstep, to_byte};
use crate::random::Random;

/// An eye and where it is in its image.
#[derive(Debug)]
pub struct IrisImage {
    /// 8-bit infrared image.
    pub image: Gray,
    /// Boundaries in pixels of the image.
    pub geometry: IrisGeometry,
}

/// Radius of the iris in registration images in pixels; 210 pixels of diameter are asked for.
const REGISTRATION_RADIUS: f32 = 122.0;
/// The same for authentication, where 150 pixels of diameter are asked for.
const AUTH_RADIUS: f32 = 104.0;
/// Margins beside, and above and below, the iris in radii.
const MARGIN: (f32, f32) = (0.6, 0.2);

/// What ISO/IEC 19794-6 paints over the lids and the sclera of a masked image.
const MASKED_LID: f32 = 128.0;
const MASKED_SCLERA: f32 = 200.0;

/// What stays the same from capture to capture.
pub(crate) struct Eye {
    fibres: [Ring; 4],
    crypts: Ring,
    furrows: Ring,
    bend: Ring,
    collarette: Ring,
    /// Grey of the iris.
    base: f32,
    /// Pupil radius over iris radius.
    dilation: f32,
    /// Where the lids meet the iris when the eye is open, in radii above and below the centre.
    opening: (f32, f32),
    /// Lashes: place along the lid (-1 to 1), length in radii, lean.
    lashes: Vec<(f32, f32, f32)>,
}

impl Eye {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self {
            fibres: [(150, 3), (64, 4), (24, 5), (9, 3)]
                .map(|(around, along)| Ring::new(around, along, random)),
            crypts: Ring::new(26, 7, random),
            furrows: Ring::new(9, 16, random),
            bend: Ring::new(14, 3, random),
            collarette: Ring::new(22, 1, random),
            base: random.between(96.0, 138.0),
            dilation: random.between(0.34, 0.43),
            opening: (random.between(0.92, 1.06), random.between(1.0, 1.12)),
            lashes: (0..46)
                .map(|i| {
                    let place = (i as f32 + random.unit()) / 23.0 - 1.0;
                    (place, random.between(0.12, 0.30), random.between(-0.25, 0.25))
                })
                .collect(),
        }
    }

    /// Grey of the iris at an angle in turns and a depth from pupil (0) to limbus (1).
    fn texture(&self, turn: f32, depth: f32) -> f32 {
        let bent = turn + 0.012 * self.bend.at(turn, depth);
        let [finest, fine, middle, coarse] = self.fibres.each_ref().map(|ring| ring.at(bent, depth));
        let fibres = 7.0 * finest + 9.0 * fine + 8.0 * middle + 6.0 * coarse;
        // Zigzag between pupillary and ciliary zone.
        let rim = 0.28 + 0.035 * self.collarette.at(turn, 0.0);
        let bump = 1.0 - (libm::fabsf(depth - rim) / 0.075).min(1.0);
        let crypts =
            ramp(0.9, 1.9, self.crypts.at(bent, depth)) * ramp(0.2, 0.3, depth) * ramp(0.8, 0.6, depth);
        let furrows = ramp(0.5, 0.7, depth) * self.furrows.at(turn, depth);
        let limbal = ramp(0.80, 1.0, depth);
        let inner = ramp(0.06, 0.0, depth);
        self.base + fibres + 15.0 * smoothstep(bump)
            - 34.0 * crypts
            - 5.0 * furrows
            - 36.0 * limbal
            - 18.0 * inner
    }

    /// One capture.
    pub(crate) fn capture(
        &self,
        purpose: Purpose,
        quality: f32,
        random: &mut Random,
    ) -> Result<IrisImage, ImageError> {
        let radius = match purpose {
            Purpose::Registration => REGISTRATION_RADIUS,
            Purpose::Auth => AUTH_RADIUS,
        } * random.between(0.98, 1.03);
        let view = View::draw(self, radius, quality, random);
        let (width, height) = view.size();
        let mut field = view.paint(self, width, height, random);
        field.blur(view.blur);
        if purpose == Purpose::Auth {
            view.mask(&mut field);
        }
        let pixels = field.cells.iter().map(|cell| to_byte(cell + view.noise * random.normal())).collect();
        Ok(IrisImage { image: Gray::new(width as u32, height as u32, pixels)?, geometry: view.geometry })
    }
}

/// One look of an eye into the camera.
struct View {
    geometry: IrisGeometry,
    roll: f32,
    /// Lids at the iris' centre line, in radii above and below the centre.
    opening: (f32, f32),
    blur: f32,
    contrast: f32,
    noise: f32,
    /// Corneal reflections of two lamps.
    glints: [(f32, f32); 2],
}

impl View {
    fn draw(eye: &Eye, radius: f32, quality: f32, random: &mut Random) -> Self {
        let loss = 1.0 - quality;
        // Each capture fails in its own way.
        let mut share = || random.between(0.6, 1.0) * loss;
        let (blurred, closed, faint) = (share(), share(), share());
        let (x, y) = (
            radius * (1.0 + MARGIN.0) + random.between(-2.0, 2.0),
            radius * (1.0 + MARGIN.1) + random.between(-2.0, 2.0),
        );
        let limbus = Circle { x, y, radius };
        let pupil = Circle {
            x: x + random.between(-0.012, 0.012) * radius,
            y: y + random.between(-0.012, 0.012) * radius,
            radius: radius * eye.dilation * random.between(0.97, 1.03),
        };
        let squint = 0.95 * closed * closed;
        Self {
            geometry: IrisGeometry { pupil, limbus },
            roll: random.between(-0.01, 0.01),
            opening: (eye.opening.0 - squint, eye.opening.1 - 0.5 * squint),
            blur: (0.45 + 5.0 * blurred) * radius / REGISTRATION_RADIUS,
            contrast: 1.0 - 0.62 * faint,
            noise: 1.8 + 4.0 * loss,
            glints: [(-0.10, -0.08), (0.09, -0.07)].map(|(dx, dy): (f32, f32)| {
                (pupil.x + (dx + random.between(-0.01, 0.01)) * radius, pupil.y + dy * radius)
            }),
        }
    }

    fn size(&self) -> (usize, usize) {
        let radius = self.geometry.limbus.radius;
        (
            libm::roundf(2.0 * radius * (1.0 + MARGIN.0)) as usize,
            libm::roundf(2.0 * radius * (1.0 + MARGIN.1)) as usize,
        )
    }

    /// How far a pixel is inside of the opening between the lids, in pixels; negative on a lid.
    fn inside(&self, x: f32, y: f32) -> f32 {
        let Circle { x: cx, y: cy, radius } = self.geometry.limbus;
        let across = (x - cx) / radius;
        let upper = cy - radius * (self.opening.0 - 0.22 * across * across);
        let lower = cy + radius * (self.opening.1 - 0.16 * across * across);
        (y - upper).min(lower - y)
    }

    fn paint(&self, eye: &Eye, width: usize, height: usize, random: &mut Random) -> Field {
        let IrisGeometry { pupil, limbus } = self.geometry;
        let skin = Field::noise(width, height, 9.0, random);
        let pores = Field::noise(width, height, 2.5, random);
        let veins = Field::noise(width, height, 16.0, random);
        let mut noises = skin.cells.iter().zip(&pores.cells).zip(&veins.cells);
        let mut field = Field::from_fn(width, height, |x, y| {
            let ((skin, pores), veins) = noises.next().unwrap_or(((&0.0, &0.0), &0.0));
            let inside = self.inside(x, y);
            let open = ramp(-1.5, 1.5, inside);
            let lid = if open < 1.0 { self.lid(x, y, inside, *skin, *pores) } else { 0.0 };
            let eye = if open > 0.0 { self.eyeball(eye, x, y, *veins) } else { 0.0 };
            let grey = mix(lid, eye, open);
            // The upper lid and its lashes shade what is below them.
            let shade = 1.0 - 0.25 * ramp(0.30 * limbus.radius, 0.0, inside);
            if inside > 0.0 { grey * shade } else { grey }
        });
        self.draw_lashes(eye, &mut field);
        for cell in &mut field.cells {
            *cell = 120.0 + (*cell - 120.0) * self.contrast;
        }
        for (gx, gy) in self.glints {
            dot(&mut field, gx, gy, 0.045 * pupil.radius.max(1.0) + 2.0, 250.0, 1.0);
        }
        field
    }

    fn eyeball(&self, eye: &Eye, x: f32, y: f32, veins: f32) -> f32 {
        let IrisGeometry { pupil, limbus } = self.geometry;
        let from_pupil = length(x - pupil.x, y - pupil.y);
        let from_limbus = length(x - limbus.x, y - limbus.y);
        let pupil_edge = ramp(pupil.radius - 1.0, pupil.radius + 1.0, from_pupil);
        let limbus_edge = ramp(limbus.radius - 2.0, limbus.radius + 2.0, from_limbus);
        let sclera = 196.0 + 5.0 * veins - 30.0 * ramp(limbus.radius, 1.7 * limbus.radius, from_limbus);
        let iris = if pupil_edge > 0.0 && limbus_edge < 1.0 {
            let turn = libm::atan2f(y - pupil.y, x - pupil.x) / (2.0 * PI) + 0.5 + self.roll;
            // Depth along the ray, as if pupil and limbus were concentric.
            let depth = (from_pupil - pupil.radius)
                / (from_pupil - pupil.radius + limbus.radius - from_limbus).max(0.5);
            eye.texture(turn, depth.clamp(0.0, 1.0))
        } else {
            0.0
        };
        mix(mix(18.0, iris, pupil_edge), sclera, limbus_edge)
    }

    fn lid(&self, x: f32, y: f32, inside: f32, skin: f32, pores: f32) -> f32 {
        let radius = self.geometry.limbus.radius;
        let up = y < self.geometry.limbus.y;
        // The margin of a lid is pale; above it the skin folds.
        let margin = ramp(-0.07 * radius, 0.0, inside);
        let crease = if up {
            1.0 - (libm::fabsf(inside + 0.30 * radius + 0.02 * x / 3.0) / (0.05 * radius)).min(1.0)
        } else {
            0.0
        };
        158.0 + 5.0 * skin + 3.5 * pores + 14.0 * margin - 34.0 * smoothstep(crease)
    }

    fn draw_lashes(&self, eye: &Eye, field: &mut Field) {
        let Circle { x: cx, y: cy, radius } = self.geometry.limbus;
        for (place, length, lean) in &eye.lashes {
            let across = place * 1.55;
            let (x0, y0) = (cx + across * radius, cy - radius * (self.opening.0 - 0.22 * across * across));
            let steps = (length * radius) as usize;
            for step in 0..=steps {
                // Out and upwards in a bow, hanging a little before the eye first.
                let t = step as f32 / steps.max(1) as f32;
                let x = x0 + radius * length * (0.5 * across * t + lean * t);
                let y = y0 + radius * length * (0.35 * t - 1.15 * t * t);
                dot(field, x, y, 1.5 * (1.0 - 0.7 * t), 40.0, 0.55);
            }
        }
    }

    /// Paints over what is not iris or pupil.
    fn mask(&self, field: &mut Field) {
        let Circle { x: cx, y: cy, radius } = self.geometry.limbus;
        for (y, row) in field.cells.chunks_exact_mut(field.width).enumerate() {
            for (x, cell) in row.iter_mut().enumerate() {
                let (x, y) = (x as f32, y as f32);
                if self.inside(x, y) < 0.0 {
                    *cell = MASKED_LID;
                } else if length(x - cx, y - cy) > radius {
                    *cell = MASKED_SCLERA;
                }
            }
        }
    }
}

/// A round spot with a soft edge.
fn dot(field: &mut Field, x: f32, y: f32, radius: f32, grey: f32, strength: f32) {
    let reach = radius + 1.0;
    let (left, right) = ((x - reach).max(0.0) as usize, (x + reach + 1.0).max(0.0) as usize);
    let (top, bottom) = ((y - reach).max(0.0) as usize, (y + reach + 1.0).max(0.0) as usize);
    let right = right.min(field.width);
    if left >= right || bottom <= top {
        return;
    }
    for (row, line) in field.cells.chunks_exact_mut(field.width).enumerate().skip(top).take(bottom - top) {
        for (column, cell) in (left..).zip(line.get_mut(left..right).unwrap_or_default()) {
            let distance = length(column as f32 - x, row as f32 - y);
            *cell = mix(*cell, grey, strength * ramp(reach, radius - 1.0, distance));
        }
    }
}

/// Smooth noise around a circle: closed in the angle, open along the radius.
struct Ring {
    around: usize,
    along: usize,
    lattice: Vec<f32>,
}

impl Ring {
    fn new(around: usize, along: usize, random: &mut Random) -> Self {
        let lattice = (0..around * (along + 2)).map(|_| random.normal()).collect();
        Self { around, along, lattice }
    }

    fn at(&self, turn: f32, depth: f32) -> f32 {
        let turn = turn - libm::floorf(turn);
        let column = turn * self.around as f32;
        let row = depth * self.along as f32;
        let (c, r) = (column as usize % self.around, row as usize);
        let (across, down) = (smoothstep(column - libm::floorf(column)), smoothstep(row - r as f32));
        let next = (c + 1) % self.around;
        let cell =
            |row: usize, column: usize| self.lattice.get(row * self.around + column).copied().unwrap_or(0.0);
        let upper = mix(cell(r, c), cell(r, next), across);
        let lower = mix(cell(r + 1, c), cell(r + 1, next), across);
        mix(upper, lower, down)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(purpose: Purpose, quality: f32) -> IrisImage {
        let eye = Eye::new(&mut Random::new(*b"test    ", &[1]));
        eye.capture(purpose, quality, &mut Random::new(*b"test    ", &[2])).unwrap()
    }

    fn mean_on_circle(image: &Gray, circle: Circle, factor: f32) -> f32 {
        // The lower half: no lashes.
        let sum: f32 = (0..64)
            .map(|i| {
                let a = PI * (i as f32 + 0.5) / 64.0;
                let x = circle.x + factor * circle.radius * libm::cosf(a);
                let y = circle.y + factor * circle.radius * libm::sinf(a);
                let at = y as usize * image.width() as usize + x as usize;
                f32::from(image.pixels()[at])
            })
            .sum();
        sum / 64.0
    }

    #[test]
    fn sizes_and_margins_are_those_asked_for() {
        for (purpose, diameter) in [(Purpose::Registration, 210.0), (Purpose::Auth, 150.0)] {
            let IrisImage { image, geometry: IrisGeometry { pupil, limbus } } = image(purpose, 1.0);
            assert!(limbus.radius * 2.0 >= diameter);
            let (left, right) = (limbus.x - limbus.radius, image.width() as f32 - limbus.x - limbus.radius);
            let (above, below) = (limbus.y - limbus.radius, image.height() as f32 - limbus.y - limbus.radius);
            for side in [left, right] {
                assert!((side / limbus.radius - 0.6).abs() < 0.05, "{side}");
            }
            for side in [above, below] {
                assert!((side / limbus.radius - 0.2).abs() < 0.05, "{side}");
            }
            assert!((0.2..0.7).contains(&(pupil.radius / limbus.radius)));
        }
    }

    #[test]
    fn boundaries_are_where_the_geometry_says() {
        let IrisImage { image, geometry: IrisGeometry { pupil, limbus } } = image(Purpose::Registration, 1.0);
        let (inside, outside) = (mean_on_circle(&image, pupil, 0.9), mean_on_circle(&image, pupil, 1.1));
        assert!(outside > inside + 40.0, "pupil {inside} {outside}");
        let (inside, outside) = (mean_on_circle(&image, limbus, 0.96), mean_on_circle(&image, limbus, 1.04));
        assert!(outside > inside + 40.0, "limbus {inside} {outside}");
    }

    #[test]
    fn masked_images_show_iris_only() {
        let masked = image(Purpose::Auth, 1.0).image;
        let corner = masked.crop(biotrust_imaging::Rect { x: 0, y: 100, width: 20, height: 20 }).unwrap();
        let near = |p: &u8| p.abs_diff(MASKED_SCLERA as u8) < 12;
        assert!(corner.pixels().iter().all(near), "sclera is painted over");
        let open = image(Purpose::Registration, 1.0).image;
        let corner = open.crop(biotrust_imaging::Rect { x: 0, y: 120, width: 20, height: 20 }).unwrap();
        assert!(!corner.pixels().iter().all(near), "and only there");
    }
}
