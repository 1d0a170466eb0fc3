//! Faces on a plain background: is the person in the middle, large enough, in focus, and lit without glare?
//!
//! Nothing here finds eyes or a mouth, and nothing grades the colour of skin: exposure is judged by the background and by
//! what is burnt out. In the spirit of ISO/IEC 29794-5: sharpness, exposure, contrast, background, position.

use biotrust_model::Score;

use super::grade;
use crate::Rgb;

/// What the score is made of. Each from 0 (bad) to 1 (good).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FaceAspects {
    /// Steepness of edges around the middle of the picture.
    pub sharpness: f32,
    /// Brightness of the background, and how little is burnt out.
    pub exposure: f32,
    /// Range of greys on the person.
    pub contrast: f32,
    /// Evenness of the background.
    pub background: f32,
    /// Share of the picture that is person, and how far from the middle.
    pub position: f32,
}

impl FaceAspects {
    /// The score: the mean, spoilt by whichever aspect is worst.
    #[must_use]
    pub fn score(&self) -> Score {
        let mean = 0.35 * self.sharpness
            + 0.20 * self.exposure
            + 0.15 * self.contrast
            + 0.10 * self.background
            + 0.20 * self.position;
        let worst = [self.exposure, self.contrast, self.background, self.position]
            .into_iter()
            .fold(self.sharpness, f32::min);
        Score::clamped(100.0 * mean * (0.2 + 0.8 * worst).min(worst * 8.0))
    }
}

/// Quality of a portrait on a light background.
#[must_use]
pub fn face(image: &Rgb) -> Score {
    face_aspects(image).score()
}

/// The aspects behind [`face`].
#[must_use]
pub fn face_aspects(image: &Rgb) -> FaceAspects {
    let luma = Luma::halved(image);
    let Some(background) = Background::of(&luma) else { return FaceAspects::default() };
    let Some(person) = Person::of(&luma, background.level) else { return FaceAspects::default() };
    FaceAspects {
        sharpness: grade(0.14, 0.30, person.steepness),
        exposure: grade(60.0, 200.0, background.level) * grade(0.35, 0.08, person.burnt),
        contrast: grade(15.0, 90.0, person.range),
        background: grade(22.0, 9.0, background.deviation),
        position: grade(0.10, 0.24, person.share)
            * grade(0.90, 0.70, person.share)
            * grade(0.17, 0.05, person.off),
    }
}

/// The picture in grey at half its size, which also takes most of the noise away.
struct Luma {
    width: usize,
    height: usize,
    greys: Vec<u8>,
}

impl Luma {
    fn halved(image: &Rgb) -> Self {
        let stride = image.width() as usize * 3;
        let (width, height) = (image.width() as usize / 2, image.height() as usize / 2);
        let mut greys = Vec::with_capacity(width * height);
        let weigh = |r: u8, g: u8, b: u8| 77 * u32::from(r) + 150 * u32::from(g) + 29 * u32::from(b);
        for pair in image.pixels().chunks_exact(stride * 2) {
            let (upper, lower) = pair.split_at(stride);
            let (upper, lower) = (upper.as_chunks::<6>().0, lower.as_chunks::<6>().0);
            greys.extend(upper.iter().zip(lower).map(|([a, b, c, d, e, f], [g, h, i, j, k, l])| {
                let sum = weigh(*a, *b, *c) + weigh(*d, *e, *f) + weigh(*g, *h, *i) + weigh(*j, *k, *l);
                (sum >> 10) as u8
            }));
        }
        Self { width, height, greys }
    }

    fn rows(&self) -> impl Iterator<Item = &[u8]> {
        self.greys.chunks_exact(self.width.max(1))
    }
}

/// What is behind the person: the top and the upper sides of the picture.
struct Background {
    level: f32,
    deviation: f32,
}

impl Background {
    fn of(luma: &Luma) -> Option<Self> {
        let (band, side) = ((luma.height / 24).max(1), (luma.width / 24).max(1));
        let mut histogram = [0u32; 256];
        let mut count = |grey: &u8| {
            if let Some(cell) = histogram.get_mut(usize::from(*grey)) {
                *cell += 1;
            }
        };
        for (y, row) in luma.rows().take(luma.height / 2).enumerate() {
            if y < band {
                row.iter().for_each(&mut count);
            } else {
                row.iter().take(side).for_each(&mut count);
                row.iter().rev().take(side).for_each(&mut count);
            }
        }
        let level = percentile(&histogram, 0.5)?;
        // Half the width of the middle two thirds: one standard deviation, whatever a stray hair does.
        let deviation = (percentile(&histogram, 0.84)? - percentile(&histogram, 0.16)?) / 2.0;
        Some(Self { level, deviation })
    }
}

/// What is not background.
struct Person {
    /// Share of the picture.
    share: f32,
    /// Distance of its middle from that of the picture, in widths.
    off: f32,
    /// From the dark to the light tones in grey levels.
    range: f32,
    /// Share of it at the very top of the range.
    burnt: f32,
    /// Slope of the steepest edges over the range with the background, per pixel of the half-size picture.
    steepness: f32,
}

impl Person {
    /// `None` where there is nobody.
    fn of(luma: &Luma, background: f32) -> Option<Self> {
        const DIFFERENT: f32 = 22.0;
        let mut histogram = [0u32; 256];
        let mut slopes = [0u32; 256];
        let (mut covered, mut moment) = (0.0f32, 0.0f32);
        for (row, below) in luma.rows().zip(luma.rows().skip(2)) {
            let mut on_row = (0.0f32, 0.0f32);
            for (x, ([left, grey, right], down)) in row.array_windows().zip(below.iter().skip(1)).enumerate()
            {
                if (f32::from(*grey) - background).abs() < DIFFERENT {
                    continue;
                }
                on_row = (on_row.0 + 1.0, on_row.1 + x as f32);
                if let Some(cell) = histogram.get_mut(usize::from(*grey)) {
                    *cell += 1;
                }
                // Twice the slope: two pixels apart.
                let slope = left.abs_diff(*right).max(grey.abs_diff(*down));
                if let Some(cell) = slopes.get_mut(usize::from(slope)) {
                    *cell += 1;
                }
            }
            covered += on_row.0;
            moment += on_row.1;
        }
        let share = covered / luma.greys.len().max(1) as f32;
        if share < 0.01 {
            return None;
        }
        let (dark, light) = (percentile(&histogram, 0.02)?, percentile(&histogram, 0.98)?);
        let steepest = percentile(&slopes, 0.985)? / 2.0;
        let whole = light.max(background) - dark.min(background);
        let middle = (moment / covered + 1.0) / luma.width as f32;
        let burnt: u32 = histogram.iter().skip(253).sum();
        Some(Self {
            share,
            off: (middle - 0.5).abs(),
            range: light - dark,
            burnt: burnt as f32 / covered,
            steepness: steepest / whole.max(DIFFERENT),
        })
    }
}

/// The value below which this share of a histogram lies; `None` for an empty one.
fn percentile(histogram: &[u32; 256], share: f32) -> Option<f32> {
    let total: u32 = histogram.iter().sum();
    let wanted = (total as f32 * share) as u32;
    let mut seen = 0;
    for (value, count) in histogram.iter().enumerate() {
        seen += count;
        if seen > wanted {
            return Some(value as f32);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A striped oval on a plain ground; `off` in widths, edges `soft` pixels wide.
    fn portrait(ground: u8, off: f32, soft: f32) -> Rgb {
        let pixels = (0..480 * 640).flat_map(|i| {
            let (x, y) = ((i % 480) as f32 - 240.0 - off * 480.0, (i / 480) as f32 - 340.0);
            let inside = (1.0 - libm::sqrtf(x * x / (150.0 * 150.0) + y * y / (220.0 * 220.0))) * 150.0;
            let share = (inside / soft + 0.5).clamp(0.0, 1.0);
            let stripe = (libm::sinf(x / 9.0) * 8.0 / soft).clamp(-0.5, 0.5) * 90.0;
            let tone = (0.4 * f32::from(ground) + stripe) * share + f32::from(ground) * (1.0 - share);
            [tone as u8; 3]
        });
        Rgb::new(480, 640, pixels.collect()).unwrap()
    }

    #[test]
    fn a_sharp_portrait_in_the_middle_is_good() {
        let aspects = face_aspects(&portrait(240, 0.0, 2.0));
        assert!(aspects.score().value() > 85.0, "{aspects:?}");
    }

    #[test]
    fn each_fault_shows_in_its_aspect() {
        let good = face_aspects(&portrait(240, 0.0, 2.0));
        let soft = face_aspects(&portrait(240, 0.0, 24.0));
        assert!(soft.sharpness < good.sharpness - 0.5, "{soft:?}");
        let dark = face_aspects(&portrait(80, 0.0, 2.0));
        assert!(dark.exposure < good.exposure - 0.5, "{dark:?}");
        let aside = face_aspects(&portrait(240, 0.14, 2.0));
        assert!(aside.position < good.position - 0.5, "{aside:?}");
        for bad in [soft, dark, aside] {
            assert!(bad.score() < good.score());
        }
    }
}
