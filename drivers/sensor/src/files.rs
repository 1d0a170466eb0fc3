//! The files that a capture delivers: JP2, lossless for a registration, 15:1 at most for an authentication.
//!
//! Computation only; made on the caller's thread, so that the sensor goes on with its preview.

use biotrust_driver_api::{CapturedImage, DeviceError, DeviceErrorKind, ImageCodec};
use biotrust_imaging::{Dpi, Gray, Rgb, jp2};
use biotrust_model::time::UtcMillis;
use biotrust_model::{Purpose, Score, Secret};

use crate::capture::Part;

/// An image that was captured, as pixels.
pub(crate) struct Shot {
    pub(crate) pixels: Pixels,
    pub(crate) captured_at: UtcMillis,
}

/// Its pixels, by what is known of them.
pub(crate) enum Pixels {
    Finger(Gray, Dpi),
    Face(Rgb),
    /// With centre and diameter of the iris.
    Iris(Gray, [u16; 3]),
}

/// The file of one part.
pub(crate) fn captured(
    part: Part,
    score: Score,
    shot: &Shot,
    purpose: Purpose,
) -> Result<CapturedImage, DeviceError> {
    let (codec, compression) = match purpose {
        Purpose::Registration => (ImageCodec::Jpeg2000Lossless, jp2::Codec::Lossless),
        Purpose::Auth => (ImageCodec::Jpeg2000Lossy, jp2::Codec::Lossy { ratio: jp2::MAX_RATIO }),
    };
    let (file, width, height) = match &shot.pixels {
        Pixels::Finger(image, dpi) => {
            (jp2::encode_gray(image, compression, Some(*dpi)), image.width(), image.height())
        }
        Pixels::Iris(image, _) => (jp2::encode_gray(image, compression, None), image.width(), image.height()),
        Pixels::Face(image) => (jp2::encode_rgb(image, compression, None), image.width(), image.height()),
    };
    let failed = |error| DeviceError::caused(DeviceErrorKind::Internal, "no file of the capture", error);
    // sides of an image fit (biotrust_imaging::MAX_SIDE)
    let side = |pixels| u16::try_from(pixels).unwrap_or(u16::MAX);
    Ok(CapturedImage {
        part,
        image: Secret::new(file.map_err(failed)?),
        codec,
        width: side(width),
        height: side(height),
        dpi: if let Pixels::Finger(_, dpi) = &shot.pixels { dpi.get() } else { 0 },
        score,
        captured_at: shot.captured_at,
        iris_geometry: if let Pixels::Iris(_, geometry) = &shot.pixels { Some(*geometry) } else { None },
    })
}
