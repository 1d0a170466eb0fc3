//! A frame that is drawn on: grey or colour, shrunk to the size of a preview first.

use zeroize::Zeroizing;

use super::{Frame, font};
use crate::Rect;

/// A colour as red, green, blue; on a grey canvas its luminance counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Colour(pub(super) [u8; 3]);

impl Colour {
    pub(super) const BLACK: Self = Self([0, 0, 0]);
    pub(super) const WHITE: Self = Self([255, 255, 255]);
    pub(super) const GREEN: Self = Self([40, 200, 80]);
    pub(super) const AMBER: Self = Self([245, 165, 0]);
    pub(super) const DARK: Self = Self([90, 90, 90]);

    fn luminance(self) -> u8 {
        let [r, g, b] = self.0.map(u32::from);
        ((r * 77 + g * 150 + b * 29) >> 8) as u8
    }
}

/// Pixels in memory, wiped when dropped.
pub(super) struct Canvas {
    pub(super) width: u32,
    pub(super) height: u32,
    channels: usize,
    pub(super) pixels: Zeroizing<Vec<u8>>,
}

impl Canvas {
    /// The frame, each `factor` x `factor` pixels averaged into one; what does not fill a pixel on the right and at the
    /// bottom is cut off. `factor` is no more than the shorter side.
    pub(super) fn shrunk(frame: Frame<'_>, factor: u32) -> Self {
        let (width, height, channels, pixels) = match frame {
            Frame::Gray(image) => (image.width(), image.height(), 1, image.pixels()),
            Frame::Rgb(image) => (image.width(), image.height(), 3, image.pixels()),
        };
        if factor <= 1 {
            return Self { width, height, channels, pixels: Zeroizing::new(pixels.to_vec()) };
        }
        let (out_width, out_height) = (width / factor, height / factor);
        let run = factor as usize * channels;
        let area = factor * factor;
        let mut out = Zeroizing::new(Vec::with_capacity(out_width as usize * out_height as usize * channels));
        let mut sums = vec![0u32; out_width as usize * channels];
        for band in pixels.chunks_exact(width as usize * channels * factor as usize).take(out_height as usize)
        {
            sums.fill(0);
            for row in band.chunks_exact(width as usize * channels) {
                for (sum, group) in sums.chunks_exact_mut(channels).zip(row.chunks_exact(run)) {
                    for pixel in group.chunks_exact(channels) {
                        for (s, value) in sum.iter_mut().zip(pixel) {
                            *s += u32::from(*value);
                        }
                    }
                }
            }
            out.extend(sums.iter().map(|sum| (sum / area) as u8));
        }
        Self { width: out_width, height: out_height, channels, pixels: out }
    }

    pub(super) fn is_gray(&self) -> bool {
        self.channels == 1
    }

    /// Fills a rectangle; what lies outside of the canvas is cut off.
    pub(super) fn fill(&mut self, rect: Rect, colour: Colour) {
        let (left, right) = (rect.x.min(self.width) as usize, rect.right().min(self.width) as usize);
        let rows = rect.bottom().min(self.height).saturating_sub(rect.y);
        let gray = colour.luminance();
        let stride = self.width as usize * self.channels;
        for row in self.pixels.chunks_exact_mut(stride).skip(rect.y as usize).take(rows as usize) {
            let Some(part) = row.get_mut(left * self.channels..right * self.channels) else { return };
            if self.channels == 1 {
                part.fill(gray);
            } else {
                part.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&colour.0));
            }
        }
    }

    /// The outline of a rectangle, `thickness` pixels inwards.
    pub(super) fn outline(&mut self, rect: Rect, thickness: u32, colour: Colour) {
        let thickness = thickness.min(rect.width / 2).min(rect.height / 2).max(1);
        let below = rect.bottom().saturating_sub(thickness);
        let beside = rect.right().saturating_sub(thickness);
        self.fill(Rect { height: thickness, ..rect }, colour);
        self.fill(Rect { y: below, height: thickness, ..rect }, colour);
        self.fill(Rect { width: thickness, ..rect }, colour);
        self.fill(Rect { x: beside, width: thickness, ..rect }, colour);
    }

    /// Writes one line on a ground of its own; each dot of the font is `scale` pixels. Returns the width of the ground.
    pub(super) fn text(
        &mut self,
        x: u32,
        y: u32,
        scale: u32,
        text: &str,
        ink: Colour,
        ground: Colour,
    ) -> u32 {
        let characters = u32::try_from(text.chars().count()).unwrap_or(u32::MAX).min(self.width);
        let width = (characters * font::ADVANCE + 1) * scale;
        self.fill(Rect { x, y, width, height: (font::HEIGHT + 2) * scale }, ground);
        for (column, character) in (0..characters).zip(text.chars()) {
            let left = x.saturating_add((column * font::ADVANCE + 1) * scale);
            for (line, row) in (1..).zip(font::glyph(character)) {
                for dot in (0..font::WIDTH).filter(|dot| row >> (font::WIDTH - 1 - dot) & 1 == 1) {
                    let (x, y) = (left.saturating_add(dot * scale), y.saturating_add(line * scale));
                    self.fill(Rect { x, y, width: scale, height: scale }, ink);
                }
            }
        }
        width
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Gray, Rgb};

    #[test]
    fn shrinking_averages() {
        let image = Gray::new(4, 2, vec![10, 20, 1, 1, 30, 40, 3, 3]).unwrap();
        let canvas = Canvas::shrunk(Frame::Gray(&image), 2);
        assert_eq!((canvas.width, canvas.height, canvas.pixels.as_slice()), (2, 1, &[25, 2][..]));
        let image = Rgb::new(2, 2, vec![0, 100, 200, 0, 100, 200, 2, 100, 0, 2, 100, 0]).unwrap();
        assert_eq!(Canvas::shrunk(Frame::Rgb(&image), 2).pixels.as_slice(), [1, 100, 100]);
    }

    #[test]
    fn drawing_stays_inside() {
        let image = Gray::filled(8, 8, 9).unwrap();
        let mut canvas = Canvas::shrunk(Frame::Gray(&image), 1);
        canvas.fill(Rect { x: 6, y: 7, width: 100, height: u32::MAX }, Colour::WHITE);
        assert_eq!(canvas.pixels.iter().filter(|p| **p == 255).count(), 2);
        canvas.outline(Rect { x: 0, y: 0, width: 3, height: 3 }, 1, Colour::BLACK);
        assert_eq!(canvas.pixels.iter().filter(|p| **p == 0).count(), 8);
        canvas.text(4, 4, 3, "A very long line", Colour::WHITE, Colour::BLACK);
        canvas.outline(Rect { x: 100, y: 100, width: 0, height: 0 }, 5, Colour::BLACK);
        let far = u32::MAX;
        canvas.outline(Rect { x: far, y: far, width: far, height: far }, 5, Colour::BLACK);
        canvas.text(far, far, 4, "99", Colour::WHITE, Colour::BLACK);
    }
}
