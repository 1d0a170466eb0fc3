//! Frames for the live preview: baseline JPEG with the marks that guide the person in front of the device.
//!
//! The marks are drawn into the pixels (segment boxes, a quality bar with its number, one short line), because the viewers
//! show a plain M-JPEG stream. Computation only, about 2 ms for 640 x 480.

mod canvas;
mod font;

use biotrust_model::Score;
use canvas::{Canvas, Colour};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use crate::{Gray, Rect, Rgb};

/// What the sensor sees.
#[derive(Debug, Clone, Copy)]
pub enum Frame<'a> {
    /// A grey frame; becomes a JPEG of one component.
    Gray(&'a Gray),
    /// A colour frame; becomes a JPEG with 4:2:0 sampling.
    Rgb(&'a Rgb),
}

impl<'a> From<&'a Gray> for Frame<'a> {
    fn from(image: &'a Gray) -> Self {
        Self::Gray(image)
    }
}

impl<'a> From<&'a Rgb> for Frame<'a> {
    fn from(image: &'a Rgb) -> Self {
        Self::Rgb(image)
    }
}

/// What to draw into a frame. Coordinates are those of the frame before it is shrunk.
#[derive(Debug, Clone, Copy, Default)]
pub struct Marks<'a> {
    /// Boxes, one per finger or eye.
    pub segments: &'a [Segment],
    /// Score so far: drawn as a bar with a number.
    pub quality: Option<Score>,
    /// Score that was asked for: a tick on the bar. Marks that reach it are green, others amber.
    pub wanted: Option<Score>,
    /// One short line; ASCII letters, digits and some signs. Empty for none.
    pub message: &'a str,
}

/// A box to draw.
#[derive(Debug, Clone, Copy)]
pub struct Segment {
    /// Where.
    pub rect: Rect,
    /// Its own score, written into its corner.
    pub quality: Option<Score>,
}

/// Size and quality of the JPEG.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The frame is shrunk by a whole number until no side is longer than this, in pixels, or the shorter one is 1.
    pub longest_side: u32,
    /// JPEG quality, 1 to 100.
    pub jpeg_quality: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self { longest_side: 640, jpeg_quality: 70 }
    }
}

/// Why there is no preview.
#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    /// The encoder gave up.
    #[error("the JPEG encoder failed")]
    Encoder(#[from] jpeg_encoder::EncodingError),
}

/// One frame as a JPEG file with its marks.
///
/// # Errors
/// [`PreviewError::Encoder`]; not for images that could be made.
pub fn jpeg<'a>(
    frame: impl Into<Frame<'a>>,
    marks: &Marks<'_>,
    settings: Settings,
) -> Result<Vec<u8>, PreviewError> {
    let frame = frame.into();
    let (width, height) = match frame {
        Frame::Gray(image) => (image.width(), image.height()),
        Frame::Rgb(image) => (image.width(), image.height()),
    };
    let factor = width.max(height).div_ceil(settings.longest_side.max(1)).min(width.min(height));
    let mut canvas = Canvas::shrunk(frame, factor);
    draw(&mut canvas, marks, factor);

    let mut file = Vec::with_capacity(canvas.pixels.len() / 4);
    let mut encoder = Encoder::new(&mut file, settings.jpeg_quality.clamp(1, 100));
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    let kind = if canvas.is_gray() { ColorType::Luma } else { ColorType::Rgb };
    // Sides are at most MAX_SIDE, which fits.
    let side = |pixels| u16::try_from(pixels).unwrap_or(u16::MAX);
    encoder.encode(&canvas.pixels, side(canvas.width), side(canvas.height), kind)?;
    Ok(file)
}

fn draw(canvas: &mut Canvas, marks: &Marks<'_>, factor: u32) {
    let scale = (canvas.height / 200).clamp(1, 4);
    for segment in marks.segments {
        let Rect { x, y, width, height } = segment.rect;
        let rect = Rect { x: x / factor, y: y / factor, width: width / factor, height: height / factor };
        let colour = colour_of(segment.quality, marks.wanted);
        canvas.outline(rect, scale, colour);
        if let Some(score) = segment.quality {
            canvas.text(rect.x, rect.y, scale, &score.as_u8().to_string(), Colour::BLACK, colour);
        }
    }
    if let Some(score) = marks.quality {
        draw_bar(canvas, scale, score, marks.wanted);
    }
    if !marks.message.is_empty() {
        canvas.text(scale, scale, scale, marks.message, Colour::WHITE, Colour::BLACK);
    }
}

/// The bar along the bottom: ground, filled part, tick at the wanted score, number on the left.
fn draw_bar(canvas: &mut Canvas, scale: u32, score: Score, wanted: Option<Score>) {
    let thickness = (font::HEIGHT + 2) * scale;
    let y = canvas.height.saturating_sub(thickness);
    let colour = colour_of(Some(score), wanted);
    canvas.fill(Rect { x: 0, y, width: canvas.width, height: thickness }, Colour::BLACK);
    let number = canvas.text(0, y, scale, &format!("{:>3}", score.as_u8()), colour, Colour::BLACK);
    let full = canvas.width.saturating_sub(number + 2 * scale);
    let reach = |score: Score| (full as f32 * score.value() / 100.0) as u32;
    let bar = Rect { x: number, y: y + 2 * scale, width: full, height: thickness.saturating_sub(4 * scale) };
    canvas.fill(bar, Colour::DARK);
    canvas.fill(Rect { width: reach(score), ..bar }, colour);
    if let Some(wanted) = wanted {
        let tick = Rect { x: number + reach(wanted), y, width: scale, height: thickness };
        canvas.fill(tick, Colour::WHITE);
    }
}

fn colour_of(score: Option<Score>, wanted: Option<Score>) -> Colour {
    match (score, wanted) {
        (Some(score), Some(wanted)) if score < wanted => Colour::AMBER,
        (None, Some(_)) => Colour::AMBER,
        _ => Colour::GREEN,
    }
}

#[cfg(test)]
mod tests;
