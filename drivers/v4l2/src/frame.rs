//! The bytes of a frame as pixels.
//!
//! Frames are untrusted: a frame is of the size that was agreed on with the camera, or none. No more memory is taken than
//! that size asks for. Decoding 1920 x 1080 pixels takes some 10 ms.
//! Bytes that are missing in the middle of a JPEG with an end of its own are not noticed here: the kernel marks such frames,
//! and the port leaves those out.

use biotrust_driver_api::{FourCc, VideoFormat};
use biotrust_imaging::{Gray, ImageError, Rgb};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::jpeg::{Header, JpegError};

/// Longest side of a frame in pixels.
pub const LONGEST: u32 = 4096;

/// Why a frame has no pixels.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// It is no JPEG.
    #[error("a frame is no JPEG: {0}")]
    NoJpeg(#[from] JpegError),
    /// It is a JPEG that cannot be decoded.
    #[error("a frame is damaged: {0}")]
    Damaged(String),
    /// It has another size than was agreed on.
    #[error("a frame of {got:?} pixels came where {agreed:?} were agreed on")]
    Size {
        /// Width and height that it has.
        got: (u32, u32),
        /// Width and height that it should have.
        agreed: (u32, u32),
    },
    /// It has too few bytes.
    #[error("a frame of {got} bytes came where {expected} were expected")]
    Short {
        /// Bytes that came.
        got: usize,
        /// Bytes of a frame.
        expected: usize,
    },
    /// Pixels that are not understood, or sides that cannot be.
    #[error("frames of {0}, {1} x {2} pixels, are not understood")]
    Format(FourCc, u32, u32),
    /// The pixels make no image.
    #[error("a frame makes no image")]
    Image(#[from] ImageError),
}

/// A frame in colour.
///
/// # Errors
/// [`FrameError`].
pub fn colour(bytes: &[u8], format: &VideoFormat) -> Result<Rgb, FrameError> {
    let VideoFormat { pixels, width, height, .. } = *format;
    match pixels {
        FourCc::MJPG => Ok(Rgb::new(width, height, decode(bytes, format, ColorSpace::RGB)?)?),
        FourCc::YUYV => {
            let mut image = Rgb::filled(width, height, 0)?;
            let rows = rows(bytes, format, 2)?;
            for (row, target) in rows.zip(image.rows_mut()) {
                for ([y1, u, y2, v], six) in row.as_chunks::<4>().0.iter().zip(target.as_chunks_mut::<6>().0)
                {
                    let ([a, b, c], [d, e, f]) = (rgb(*y1, *u, *v), rgb(*y2, *u, *v));
                    *six = [a, b, c, d, e, f];
                }
            }
            Ok(image)
        }
        _ => Err(FrameError::Format(pixels, width, height)),
    }
}

/// The brightness of a frame.
///
/// # Errors
/// [`FrameError`].
pub fn grey(bytes: &[u8], format: &VideoFormat) -> Result<Gray, FrameError> {
    let VideoFormat { pixels, width, height, .. } = *format;
    let greys = match pixels {
        FourCc::MJPG => decode(bytes, format, ColorSpace::Luma)?,
        FourCc::GREY => rows(bytes, format, 1)?.flatten().copied().collect(),
        FourCc::YUYV => rows(bytes, format, 2)?.flat_map(|row| row.iter().step_by(2)).copied().collect(),
        _ => return Err(FrameError::Format(pixels, width, height)),
    };
    Ok(Gray::new(width, height, greys)?)
}

/// The part of a frame that is its JPEG.
///
/// # Errors
/// [`FrameError::NoJpeg`].
pub fn jpeg(bytes: &[u8]) -> Result<&[u8], FrameError> {
    let header = Header::read(bytes)?;
    Ok(bytes.get(..header.length).unwrap_or(bytes))
}

fn decode(bytes: &[u8], format: &VideoFormat, space: ColorSpace) -> Result<Vec<u8>, FrameError> {
    let header = Header::read(bytes)?;
    let (got, agreed) = ((header.width.into(), header.height.into()), (format.width, format.height));
    if got != agreed {
        return Err(FrameError::Size { got, agreed });
    }
    check(format)?;
    // What is damaged is no picture of anybody: no grey areas in its place.
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(LONGEST as usize)
        .set_max_height(LONGEST as usize)
        .jpeg_set_out_colorspace(space);
    let whole = header.decodable(bytes);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&whole), options);
    let pixels = decoder.decode().map_err(|error| FrameError::Damaged(error.to_string()))?;
    let expected = agreed.0 as usize * agreed.1 as usize * space.num_components();
    if pixels.len() == expected { Ok(pixels) } else { Err(FrameError::Short { got: pixels.len(), expected }) }
}

fn check(format: &VideoFormat) -> Result<(), FrameError> {
    let VideoFormat { pixels, width, height, .. } = *format;
    let side = 16..=LONGEST;
    if side.contains(&width) && side.contains(&height) && width % 2 == 0 {
        Ok(())
    } else {
        Err(FrameError::Format(pixels, width, height))
    }
}

/// The rows of an uncompressed frame without what is between them.
fn rows<'a>(
    bytes: &'a [u8],
    format: &VideoFormat,
    bytes_per_pixel: usize,
) -> Result<impl Iterator<Item = &'a [u8]>, FrameError> {
    check(format)?;
    let (row, height) = (format.width as usize * bytes_per_pixel, format.height as usize);
    let stride = if format.stride == 0 { row } else { format.stride as usize };
    let expected = stride.saturating_mul(height - 1).saturating_add(row);
    if stride < row || bytes.len() < expected {
        return Err(FrameError::Short { got: bytes.len(), expected });
    }
    Ok(bytes.chunks(stride).take(height).map(move |line| line.get(..row).unwrap_or(line)))
}

/// BT.601 with the range of video, 16 to 235, which is what webcams send.
fn rgb(y: u8, u: u8, v: u8) -> [u8; 3] {
    let y = 298 * (i32::from(y) - 16);
    let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
    [y + 409 * v, y - 100 * u - 208 * v, y + 516 * u].map(|part| ((part + 128) >> 8).clamp(0, 255) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn format(pixels: FourCc, stride: u32) -> VideoFormat {
        VideoFormat { pixels, width: 64, height: 48, stride }
    }

    #[test]
    fn a_jpeg_is_decoded_with_and_without_tables() {
        let format = format(FourCc::MJPG, 0);
        let bytes = testing::jpeg(64, 48);
        let image = colour(&bytes, &format).unwrap();
        let bare = colour(&testing::without_tables(&bytes), &format).unwrap();
        assert!(image.pixels() == bare.pixels());
        let worst = image.pixels().iter().zip(testing::picture(64, 48)).map(|(a, b)| a.abs_diff(b)).max();
        assert!(worst.unwrap() < 40, "{worst:?}");
        assert_eq!(grey(&bytes, &format).unwrap().width(), 64);
        assert_eq!(jpeg(&[&bytes[..], &[0; 9]].concat()).unwrap(), bytes);
    }

    #[test]
    fn a_jpeg_that_is_cut_giant_or_damaged_is_refused() {
        let format = format(FourCc::MJPG, 0);
        let bytes = testing::jpeg(64, 48);
        assert!(matches!(colour(&bytes[..300], &format), Err(FrameError::NoJpeg(JpegError::Cut))));
        let frame = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        let mut giant = bytes.clone();
        giant[frame + 5..frame + 9].fill(0xff);
        assert!(matches!(colour(&giant, &format), Err(FrameError::Size { got: (65535, 65535), .. })));
        // A header in the middle of the pixels, as when a frame is begun anew.
        let middle = bytes.len() - 300;
        let broken = [&bytes[..middle], &bytes[frame..frame + 19], &bytes[middle..]].concat();
        assert!(matches!(colour(&broken, &format), Err(FrameError::Damaged(_))));
    }

    #[test]
    fn yuyv_has_the_colours_of_video() {
        let mut bytes = Vec::new();
        for (y, u, v) in [(235, 128, 128), (16, 128, 128), (81, 90, 240), (145, 54, 34)] {
            bytes.extend([y, u, y, v].repeat(32 * 12));
        }
        let image = colour(&bytes, &format(FourCc::YUYV, 0)).unwrap();
        let at = |row: usize| &image.pixels()[row * 12 * 64 * 3..][..3];
        assert_eq!(at(0), [255, 255, 255]);
        assert_eq!(at(1), [0, 0, 0]);
        assert!(at(2)[0] > 250 && at(2)[1] < 5 && at(2)[2] < 5, "red: {:?}", at(2));
        assert!(at(3)[1] > 250 && at(3)[0] < 5 && at(3)[2] < 5, "green: {:?}", at(3));
        assert_eq!(grey(&bytes, &format(FourCc::YUYV, 0)).unwrap().pixels()[0], 235);
    }

    #[test]
    fn what_is_between_rows_is_left_out() {
        let bytes: Vec<u8> = (0..48).flat_map(|row| [[row; 64].to_vec(), vec![99; 16]].concat()).collect();
        // the last row may end without it
        for bytes in [&bytes[..], &bytes[..bytes.len() - 16]] {
            let image = grey(bytes, &format(FourCc::GREY, 80)).unwrap();
            assert!(image.pixels().iter().all(|pixel| *pixel < 48));
            assert_eq!(image.pixels()[47 * 64], 47);
        }
    }

    #[test]
    fn frames_that_do_not_fit_are_refused() {
        let bytes = vec![0; 64 * 48 * 2];
        assert!(matches!(colour(&bytes[1..], &format(FourCc::YUYV, 0)), Err(FrameError::Short { .. })));
        assert!(matches!(grey(&bytes, &format(FourCc::GREY, 63)), Err(FrameError::Short { .. })));
        assert!(matches!(grey(&bytes, &format(FourCc::GREY, u32::MAX)), Err(FrameError::Short { .. })));
        assert!(matches!(colour(&bytes, &format(FourCc::GREY, 0)), Err(FrameError::Format(..))));
        assert!(matches!(grey(&bytes, &format(FourCc(*b"NV12"), 0)), Err(FrameError::Format(..))));
        for (width, height) in [(0, 48), (64, 0), (5000, 48), (63, 48)] {
            let odd = VideoFormat { width, height, ..format(FourCc::YUYV, 0) };
            assert!(colour(&bytes, &odd).is_err(), "{width} x {height}");
        }
    }
}
