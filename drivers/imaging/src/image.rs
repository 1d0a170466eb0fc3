//! Eight-bit images in memory, rectangles and circles in them.
//!
//! Pixels are biometric data: `Debug` shows the dimensions only, an image is not `Clone` (see [`Gray::crop`]), and its
//! memory is wiped when it is dropped. Nothing here does I/O.

use zeroize::Zeroizing;

/// Why no image could be made of the arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// One side is zero or more than [`MAX_SIDE`].
    #[error("an image of {width}x{height} pixels is not possible: each side has 1 to {MAX_SIDE} pixels")]
    Dimensions {
        /// Width asked for, in pixels.
        width: u32,
        /// Height asked for, in pixels.
        height: u32,
    },
    /// The buffer does not hold width x height x channels bytes.
    #[error("{got} bytes of pixels where {expected} were expected")]
    Length {
        /// Bytes that the dimensions ask for.
        expected: usize,
        /// Bytes that were passed.
        got: usize,
    },
    /// A rectangle reaches outside of the image.
    #[error("{rect:?} is not inside an image of {width}x{height} pixels")]
    Outside {
        /// The rectangle.
        rect: Rect,
        /// Width of the image in pixels.
        width: u32,
        /// Height of the image in pixels.
        height: u32,
    },
}

/// Longest side of an image in pixels: ISO/IEC 19794 records hold 16 bits, no sensor comes near this.
pub const MAX_SIDE: u32 = 16_384;

macro_rules! image_type {
    ($(#[$meta:meta])* $name:ident, $channels:literal) => {
        $(#[$meta])*
        pub struct $name {
            width: u32,
            height: u32,
            pixels: Zeroizing<Vec<u8>>,
        }

        impl $name {
            /// Bytes per pixel.
            pub const CHANNELS: usize = $channels;

            /// Takes row-major pixels over, top left first.
            ///
            /// # Errors
            /// [`ImageError::Dimensions`] and [`ImageError::Length`].
            pub fn new(width: u32, height: u32, pixels: Vec<u8>) -> Result<Self, ImageError> {
                let expected = byte_length(width, height, $channels)?;
                let pixels = Zeroizing::new(pixels);
                if pixels.len() != expected {
                    return Err(ImageError::Length { expected, got: pixels.len() });
                }
                Ok(Self { width, height, pixels })
            }

            /// An image of one value.
            ///
            /// # Errors
            /// [`ImageError::Dimensions`].
            pub fn filled(width: u32, height: u32, value: u8) -> Result<Self, ImageError> {
                let pixels = vec![value; byte_length(width, height, $channels)?];
                Ok(Self { width, height, pixels: Zeroizing::new(pixels) })
            }

            /// Width in pixels.
            #[must_use]
            pub fn width(&self) -> u32 {
                self.width
            }

            /// Height in pixels.
            #[must_use]
            pub fn height(&self) -> u32 {
                self.height
            }

            /// The pixels, row by row from the top, without padding.
            #[must_use]
            pub fn pixels(&self) -> &[u8] {
                &self.pixels
            }

            /// The pixels, to be changed in place.
            #[must_use]
            pub fn pixels_mut(&mut self) -> &mut [u8] {
                &mut self.pixels
            }

            /// The rows from the top.
            pub fn rows(&self) -> std::slice::ChunksExact<'_, u8> {
                self.pixels.chunks_exact(self.width as usize * $channels)
            }

            /// The rows from the top, to be changed in place.
            pub fn rows_mut(&mut self) -> std::slice::ChunksExactMut<'_, u8> {
                let stride = self.width as usize * $channels;
                self.pixels.chunks_exact_mut(stride)
            }

            /// The whole image as a rectangle.
            #[must_use]
            pub fn bounds(&self) -> Rect {
                Rect { x: 0, y: 0, width: self.width, height: self.height }
            }

            /// A copy of a part.
            ///
            /// # Errors
            /// [`ImageError::Outside`] and, for an empty rectangle, [`ImageError::Dimensions`].
            pub fn crop(&self, rect: Rect) -> Result<Self, ImageError> {
                if !self.bounds().contains(rect) {
                    return Err(ImageError::Outside { rect, width: self.width, height: self.height });
                }
                let columns = rect.x as usize * $channels..(rect.x + rect.width) as usize * $channels;
                let mut pixels = Vec::with_capacity(byte_length(rect.width, rect.height, $channels)?);
                for row in self.rows().skip(rect.y as usize).take(rect.height as usize) {
                    pixels.extend_from_slice(row.get(columns.clone()).unwrap_or_default());
                }
                Self::new(rect.width, rect.height, pixels)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({}x{})"), self.width, self.height)
            }
        }
    };
}

image_type!(
    /// An 8-bit grey image: 0 is black.
    Gray,
    1
);
image_type!(
    /// A 24-bit colour image: red, green, blue bytes of sRGB.
    Rgb,
    3
);

fn byte_length(width: u32, height: u32, channels: usize) -> Result<usize, ImageError> {
    let side = 1..=MAX_SIDE;
    if side.contains(&width) && side.contains(&height) {
        Ok(width as usize * height as usize * channels)
    } else {
        Err(ImageError::Dimensions { width, height })
    }
}

/// A rectangle of pixels; origin at the top left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    /// First column.
    pub x: u32,
    /// First row.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Rect {
    /// First column on the right that is outside.
    #[must_use]
    pub fn right(self) -> u32 {
        self.x.saturating_add(self.width)
    }

    /// First row below that is outside.
    #[must_use]
    pub fn bottom(self) -> u32 {
        self.y.saturating_add(self.height)
    }

    /// Whether `other` lies inside.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        other.x >= self.x
            && other.y >= self.y
            && other.right() <= self.right()
            && other.bottom() <= self.bottom()
    }

    /// Number of pixels that both cover.
    #[must_use]
    pub fn overlap(self, other: Self) -> u64 {
        let width = self.right().min(other.right()).saturating_sub(self.x.max(other.x));
        let height = self.bottom().min(other.bottom()).saturating_sub(self.y.max(other.y));
        u64::from(width) * u64::from(height)
    }

    /// This rectangle with `margin` pixels more on each side, cut at the edges of `bounds`.
    #[must_use]
    pub fn grown(self, margin: u32, bounds: Self) -> Self {
        let x = self.x.saturating_sub(margin).max(bounds.x);
        let y = self.y.saturating_sub(margin).max(bounds.y);
        Self {
            x,
            y,
            width: self.right().saturating_add(margin).min(bounds.right()).saturating_sub(x),
            height: self.bottom().saturating_add(margin).min(bounds.bottom()).saturating_sub(y),
        }
    }
}

/// A circle in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Circle {
    /// Column of the centre.
    pub x: f32,
    /// Row of the centre.
    pub y: f32,
    /// Radius.
    pub radius: f32,
}

/// The two boundaries of an iris.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IrisGeometry {
    /// Between pupil and iris.
    pub pupil: Circle,
    /// Between iris and sclera.
    pub limbus: Circle,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_arguments_are_refused() {
        assert_eq!(Gray::new(0, 4, vec![]).err(), Some(ImageError::Dimensions { width: 0, height: 4 }));
        assert!(Gray::filled(MAX_SIDE + 1, 1, 0).is_err());
        assert_eq!(Gray::new(2, 2, vec![0; 5]).err(), Some(ImageError::Length { expected: 4, got: 5 }));
        assert_eq!(Rgb::new(2, 2, vec![0; 4]).err(), Some(ImageError::Length { expected: 12, got: 4 }));
        assert!(Rgb::new(2, 2, vec![0; 12]).is_ok());
    }

    #[test]
    fn debug_hides_the_pixels() {
        let image = Gray::new(2, 1, vec![201, 202]).unwrap();
        assert_eq!(format!("{image:?}"), "Gray(2x1)");
    }

    #[test]
    fn a_crop_holds_its_part() {
        let image = Gray::new(3, 2, vec![1, 2, 3, 4, 5, 6]).unwrap();
        let part = image.crop(Rect { x: 1, y: 0, width: 2, height: 2 }).unwrap();
        assert_eq!(part.pixels(), [2, 3, 5, 6]);
        assert!(image.crop(Rect { x: 2, y: 0, width: 2, height: 2 }).is_err());
        assert!(image.crop(Rect { x: u32::MAX, y: 0, width: 2, height: 2 }).is_err());
        assert!(image.crop(Rect { x: 1, y: 1, width: 0, height: 1 }).is_err());
    }

    #[test]
    fn rectangles_know_their_overlap() {
        let a = Rect { x: 0, y: 0, width: 10, height: 10 };
        let b = Rect { x: 5, y: 8, width: 10, height: 10 };
        assert_eq!(a.overlap(b), 10);
        assert_eq!(a.overlap(Rect { x: 10, ..b }), 0);
        assert_eq!(
            b.grown(6, Rect { x: 0, y: 0, width: 18, height: 30 }),
            Rect { x: 0, y: 2, width: 18, height: 22 }
        );
    }
}
