//! The image inside a record.

use biotrust_model::Purpose;

use super::jp2::{self, Colour, Jp2Info};
use super::rule::{Rule, Violation};
use super::wsq;

/// What the headers of an image say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageInfo {
    /// JPEG 2000.
    Jp2(Jp2Info),
    /// WSQ: one 8-bit component, always lossy.
    Wsq {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
}

impl ImageInfo {
    /// Reads the headers of a JPEG 2000 or WSQ file.
    ///
    /// # Errors
    /// [`Rule::Image`] for anything else.
    pub fn inspect(image: &[u8]) -> Result<Self, Violation> {
        if image.starts_with(&wsq::SOI) {
            return wsq::inspect(image)
                .map(|(width, height)| Self::Wsq { width, height })
                .ok_or_else(|| Violation::new(Rule::Image, "the WSQ file has no readable frame header"));
        }
        jp2::inspect(image).map(Self::Jp2).map_err(|error| Violation::new(Rule::Image, error.to_string()))
    }

    /// Width and height in pixels.
    #[must_use]
    pub const fn size(&self) -> (u32, u32) {
        match self {
            Self::Jp2(info) => (info.width, info.height),
            Self::Wsq { width, height } => (*width, *height),
        }
    }

    /// Whether the codec keeps every bit: the reversible wavelet of JPEG 2000.
    #[must_use]
    pub const fn is_lossless(&self) -> bool {
        matches!(self, Self::Jp2(Jp2Info { reversible: true, .. }))
    }

    /// Samples per byte of the file, rounded down.
    pub(super) fn compression_ratio(&self, length: usize) -> u64 {
        let components = match self {
            Self::Jp2(info) => u64::from(info.components),
            Self::Wsq { .. } => 1,
        };
        let (width, height) = self.size();
        (u64::from(width) * u64::from(height)).saturating_mul(components) / (length as u64).max(1)
    }

    /// One 8-bit grey component.
    pub(super) fn require_grey(&self) -> Result<(), Violation> {
        let Self::Jp2(info) = self else { return Ok(()) };
        if info.components != 1 || info.bit_depth != 8 {
            let found = format!("the image has {} components of {} bits", info.components, info.bit_depth);
            return Err(Violation::new(Rule::BitDepth, found));
        }
        self.require_colour(Colour::Grey)
    }

    /// Three 8-bit components of sRGB.
    pub(super) fn require_rgb(&self) -> Result<(), Violation> {
        match self {
            Self::Jp2(info) if info.components == 3 && info.bit_depth == 8 => {
                self.require_colour(Colour::Srgb)
            }
            _ => Err(Violation::new(Rule::ColourSpace, "the image is not 24-bit RGB")),
        }
    }

    fn require_colour(&self, expected: Colour) -> Result<(), Violation> {
        match self {
            Self::Jp2(info) if info.colour != expected => Err(Violation::new(
                Rule::ColourSpace,
                format!("the image is {:?}, not {expected:?}", info.colour),
            )),
            _ => Ok(()),
        }
    }

    /// Width and height as a header states them.
    pub(super) fn require_size(&self, width: u16, height: u16) -> Result<(), Violation> {
        let (real_width, real_height) = self.size();
        if (real_width, real_height) == (u32::from(width), u32::from(height)) {
            return Ok(());
        }
        let found = format!("{width} x {height} around an image of {real_width} x {real_height}");
        Err(Violation::new(Rule::Dimensions, found))
    }

    /// Width and height as a header can hold them.
    pub(super) fn header_size(&self) -> Result<(u16, u16), Violation> {
        let (width, height) = self.size();
        match (u16::try_from(width), u16::try_from(height)) {
            (Ok(width), Ok(height)) => Ok((width, height)),
            _ => Err(Violation::new(Rule::Dimensions, format!("{width} x {height} does not fit 16 bits"))),
        }
    }
}

/// Lossless for a registration, lossy for an authentication.
pub(super) fn require_loss(info: &ImageInfo, purpose: Purpose) -> Result<(), Violation> {
    match (purpose, info.is_lossless()) {
        (Purpose::Registration, true) | (Purpose::Auth, false) => Ok(()),
        (Purpose::Registration, false) => {
            Err(Violation::new(Rule::Compression, "a registration must be lossless"))
        }
        (Purpose::Auth, true) => Err(Violation::new(Rule::Compression, "an authentication must be lossy")),
    }
}
