//! JPEG 2000 files (JP2, ISO/IEC 15444-1 annex I) the way that MOSIP's back ends accept them.
//!
//! Registration takes [`Codec::Lossless`] (reversible 5/3 wavelet), authentication [`Codec::Lossy`] (irreversible 9/7,
//! 15:1 at most); the back ends tell the two apart by the wavelet alone. The colour space is the enumerated one, and the
//! density of the sensor goes into a `res ` box, which the encoder itself does not write.
//! Encoding is computation only: some 20 ms for a finger, some 200 ms for a full platen.

mod boxes;
mod encoder;

pub use crate::density::Dpi;
use crate::{Gray, Rgb};
use encoder::Planes;

/// How to compress.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Codec {
    /// Reversible 5/3 wavelet: the decoded image is bit-identical.
    Lossless,
    /// Irreversible 9/7 wavelet.
    Lossy {
        /// Upper limit for raw bytes : file bytes, 1 to [`MAX_RATIO`].
        ratio: u32,
    },
}

/// Strongest compression that authentication accepts (MOSIP image specification; Compliance Tool Kit).
pub const MAX_RATIO: u32 = 15;

/// Why there is no file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Jp2Error {
    /// The ratio is zero or above [`MAX_RATIO`].
    #[error("a compression ratio of {0}:1 is not allowed: ask for 1 to {MAX_RATIO}")]
    Ratio(u32),
    /// The image has so little in it that even its finest encoding is smaller than the ratio allows.
    #[error(
        "the image is almost uniform: its smallest possible ratio is {got}:1 where {limit}:1 is the limit"
    )]
    Uniform {
        /// Ratio of the finest encoding.
        got: usize,
        /// Ratio that was asked for.
        limit: u32,
    },
    /// The encoder gave up.
    #[error("the JPEG 2000 encoder failed while it should {0}")]
    Encoder(&'static str),
    /// The encoder's output is not a JP2 file as we know it.
    #[error("the JPEG 2000 encoder wrote no {0} box")]
    MissingBox(&'static str),
}

/// A grey image as a JP2 file: one component, enumerated colour space 17.
///
/// # Errors
/// See [`Jp2Error`].
pub fn encode_gray(image: &Gray, codec: Codec, density: Option<Dpi>) -> Result<Vec<u8>, Jp2Error> {
    encode(&Planes::gray(image), codec, density)
}

/// A colour image as a JP2 file: three components, enumerated colour space 16.
///
/// # Errors
/// See [`Jp2Error`].
pub fn encode_rgb(image: &Rgb, codec: Codec, density: Option<Dpi>) -> Result<Vec<u8>, Jp2Error> {
    encode(&Planes::rgb(image), codec, density)
}

fn encode(planes: &Planes<'_>, codec: Codec, density: Option<Dpi>) -> Result<Vec<u8>, Jp2Error> {
    let file = match codec {
        Codec::Lossless => encoder::encode(planes, encoder::Wavelet::Reversible)?,
        Codec::Lossy { ratio } => encode_lossy(planes, ratio)?,
    };
    match density {
        Some(dpi) => boxes::insert_resolution(file, dpi),
        None => Ok(file),
    }
}

/// The encoder hits a target size from below and may miss it by some per cent, so the result is measured and, where it
/// came out too small, encoded again against a nearer target; the last try is without any target.
fn encode_lossy(planes: &Planes<'_>, ratio: u32) -> Result<Vec<u8>, Jp2Error> {
    if !(1..=MAX_RATIO).contains(&ratio) {
        return Err(Jp2Error::Ratio(ratio));
    }
    let raw = planes.raw_len();
    let mut got = 0;
    for target in [ratio as f32 * 0.97, ratio as f32 * 0.8, encoder::NO_TARGET] {
        let file = encoder::encode(planes, encoder::Wavelet::Irreversible { target })?;
        // Raw bytes over file bytes, in whole numbers as the judges count; stricter than they by the remainder.
        if raw <= file.len().saturating_mul(ratio as usize) {
            return Ok(file);
        }
        got = raw / file.len().max(1);
    }
    Err(Jp2Error::Uniform { got, limit: ratio })
}

#[cfg(test)]
mod tests;
