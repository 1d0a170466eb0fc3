//! The image as it comes over the line: 256 x 288 pixels, row by row, two to a byte, sixteen levels of grey. Pure.

use biotrust_imaging::Gray;
use zeroize::Zeroizing;

/// Pixels in a row.
pub const WIDTH: u32 = 256;
/// Rows.
pub const HEIGHT: u32 = 288;
/// Bytes on the line.
pub const BYTES: usize = (WIDTH * HEIGHT / 2) as usize;
/// Dots per inch of the sensor.
pub const DPI: u16 = 500;

/// Why packets of data are no image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// More than an image came.
    #[error("more data than an image of {WIDTH}x{HEIGHT} pixels has ({BYTES} bytes)")]
    TooLong,
    /// The last packet came too early.
    #[error("{0} of the {BYTES} bytes of an image")]
    TooShort(usize),
}

/// Puts the packets of an image together.
pub struct Assembly(Zeroizing<Vec<u8>>);

impl Default for Assembly {
    fn default() -> Self {
        Self(Zeroizing::new(Vec::with_capacity(BYTES)))
    }
}

impl Assembly {
    /// Takes the content of the next data packet.
    ///
    /// # Errors
    /// [`ImageError::TooLong`].
    pub fn push(&mut self, content: &[u8]) -> Result<(), ImageError> {
        if self.0.len() + content.len() > BYTES {
            return Err(ImageError::TooLong);
        }
        self.0.extend_from_slice(content);
        Ok(())
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing has come yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The image, with its sixteen levels spread over 0 to 255.
    ///
    /// # Errors
    /// [`ImageError::TooShort`].
    pub fn finish(self) -> Result<Gray, ImageError> {
        let short = ImageError::TooShort(self.0.len());
        // the high nibble is the left pixel
        let pixels = self.0.iter().flat_map(|byte| [(byte >> 4) * 17, (byte & 0x0F) * 17]).collect();
        Gray::new(WIDTH, HEIGHT, pixels).map_err(|_| short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nibbles_become_pixels() {
        let mut assembly = Assembly::default();
        assembly.push(&[0x0F, 0x1E]).unwrap();
        assembly.push(&vec![0x88; BYTES - 2]).unwrap();
        assert_eq!(assembly.push(&[0]), Err(ImageError::TooLong));
        let image = assembly.finish().unwrap();
        assert_eq!(image.pixels()[..5], [0, 255, 17, 238, 136]);
        assert_eq!((image.width(), image.height()), (256, 288));
    }

    #[test]
    fn a_part_is_no_image() {
        let mut assembly = Assembly::default();
        assembly.push(&[0; 100]).unwrap();
        assert_eq!(assembly.finish().err(), Some(ImageError::TooShort(100)));
    }
}
