//! Finger image record, ISO/IEC 19794-4:2011.

use std::ops::RangeInclusive;

use biotrust_model::{BioSubType, Purpose};

use super::details::{self, Details};
use super::fields::Fields;
use super::image::ImageInfo;
use super::rule::{Rule, Violation};

const FORMAT: [u8; 4] = *b"FIR\0";
const VERSION: [u8; 4] = *b"020\0";
/// Length of the general header.
const HEADER: usize = 16;
const PER_INCH: u8 = 1;
const PER_CENTIMETRE: u8 = 2;

/// What back ends accept for any resolution, whatever the unit.
pub(super) const RESOLUTIONS: RangeInclusive<u16> = 490..=1010;

/// Compression codes of table 8 that a purpose can have.
mod compression {
    pub(super) const WSQ: u8 = 2;
    pub(super) const JP2_LOSSY: u8 = 4;
    pub(super) const JP2_LOSSLESS: u8 = 5;
}

/// How the finger met the sensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Impression {
    /// Laid flat.
    Plain = 0,
    /// Held above.
    Contactless = 0x18,
}

/// A finger to be written.
#[derive(Clone)]
pub struct FingerImage<'a> {
    /// Use, which decides what the image must be.
    pub purpose: Purpose,
    /// Which finger.
    pub position: BioSubType,
    /// Kind of impression.
    pub impression: Impression,
    /// Resolution of sensor and image, dots per inch.
    pub dpi: u16,
    /// Time, device (technology of table 4: 1 optical, 9 touchless, 14 capacitive ...) and quality.
    pub details: Details,
    /// JPEG 2000 file, or WSQ for an authentication.
    pub image: &'a [u8],
}

/// A finger that was read.
#[derive(Clone, PartialEq, Eq)]
pub struct FingerRecord<'a> {
    /// Time, device and quality.
    pub details: Details,
    /// Which finger.
    pub position: BioSubType,
    /// Resolution of the image as stated, horizontal and vertical, in dots per inch or per centimetre.
    pub resolution: (u16, u16),
    /// Impression code.
    pub impression: u8,
    /// Headers of the image.
    pub info: ImageInfo,
    /// The image as a file.
    pub image: &'a [u8],
}

impl FingerImage<'_> {
    /// Writes the record.
    ///
    /// # Errors
    /// A rule that the parts cannot keep together, for instance a lossy image in a registration.
    pub fn encode(&self) -> Result<Vec<u8>, Violation> {
        let info = ImageInfo::inspect(self.image)?;
        let (width, height) = info.header_size()?;
        let position = self.position.finger_position().ok_or_else(|| not_a_finger(self.position))?;
        let mut out = Vec::with_capacity(self.image.len() + 128);
        details::write_start(&mut out, &FORMAT, &VERSION);
        out.extend_from_slice(&[0, 1]); // no certification, one finger
        details::write(&mut out, &self.details)?;
        out.extend_from_slice(&[position, 0, PER_INCH]);
        for resolution in [self.dpi; 4] {
            out.extend_from_slice(&resolution.to_be_bytes());
        }
        out.extend_from_slice(&[8, compression_of(&info), self.impression as u8]);
        out.extend_from_slice(&width.to_be_bytes());
        out.extend_from_slice(&height.to_be_bytes());
        let record = details::finish(out, HEADER, self.image)?;
        parse(&record)?.require(self.purpose)?;
        Ok(record)
    }
}

fn not_a_finger(part: BioSubType) -> Violation {
    Violation::new(Rule::FingerPosition, format!("{part} is not a finger"))
}

const fn compression_of(info: &ImageInfo) -> u8 {
    match info {
        ImageInfo::Wsq { .. } => compression::WSQ,
        ImageInfo::Jp2(_) if info.is_lossless() => compression::JP2_LOSSLESS,
        ImageInfo::Jp2(_) => compression::JP2_LOSSY,
    }
}

pub(super) fn parse(bytes: &[u8]) -> Result<FingerRecord<'_>, Violation> {
    let mut fields = Fields::new(bytes);
    details::read_start(&mut fields, &FORMAT, &VERSION, bytes.len())?;
    let certified = fields.u8(Rule::CertificationFlag, |flag| flag <= 1)? == 1;
    fields.u8(Rule::PartsPresent, |fingers| fingers == 1)?;
    let details =
        details::read(&mut fields, bytes.len().saturating_sub(HEADER), |technology| technology <= 0x14)?;
    if certified {
        for _ in 0..fields.u8(Rule::CertificationScheme, |_| true)? {
            fields.u16(Rule::CertificationScheme, |_| true)?;
            fields.u8(Rule::CertificationScheme, |scheme| scheme <= 3)?;
        }
    }
    let position = fields.u8(Rule::FingerPosition, |_| true)?;
    let position = BioSubType::ALL
        .iter()
        .find(|part| part.finger_position() == Some(position))
        .ok_or_else(|| Violation::new(Rule::FingerPosition, format!("{position} is not 0 to 10")))?;
    fields.u8(Rule::RepresentationNumber, |number| number <= 15)?;
    fields.u8(Rule::ScaleUnits, |units| matches!(units, PER_INCH | PER_CENTIMETRE))?;
    let horizontal = fields.u16(Rule::CaptureResolution, |value| RESOLUTIONS.contains(&value))?;
    let vertical = fields.u16(Rule::CaptureResolution, |value| RESOLUTIONS.contains(&value))?;
    let resolution = (
        fields.u16(Rule::ImageResolution, |value| RESOLUTIONS.contains(&value) && value <= horizontal)?,
        fields.u16(Rule::ImageResolution, |value| RESOLUTIONS.contains(&value) && value <= vertical)?,
    );
    fields.u8(Rule::BitDepth, |bits| bits == 8)?;
    let compression = fields.u8(Rule::Compression, |_| true)?;
    let impression = fields.u8(Rule::Impression, |code| code <= 15 || matches!(code, 0x18 | 0x1c | 0x1d))?;
    let (width, height) = (fields.u16(Rule::Dimensions, |_| true)?, fields.u16(Rule::Dimensions, |_| true)?);
    let image = fields.image()?;
    let info = ImageInfo::inspect(image)?;
    info.require_size(width, height)?;
    info.require_grey()?;
    if compression != compression_of(&info) {
        let found = format!("code {compression} around an image of code {}", compression_of(&info));
        return Err(Violation::new(Rule::Compression, found));
    }
    skip_extended_data(&mut fields)?;
    Ok(FingerRecord { details, position: *position, resolution, impression, info, image })
}

/// Segmentation, annotations, comments: a type that is not zero, and a length that counts both fields.
fn skip_extended_data(fields: &mut Fields<'_>) -> Result<(), Violation> {
    while !fields.is_empty() {
        fields.u16(Rule::ExtendedData, |kind| kind != 0)?;
        let length = fields.u16(Rule::ExtendedData, |length| length >= 4)?;
        fields.bytes(usize::from(length).saturating_sub(4))?;
    }
    Ok(())
}

impl FingerRecord<'_> {
    pub(super) fn require(&self, purpose: Purpose) -> Result<(), Violation> {
        if purpose == Purpose::Registration && self.position == BioSubType::Unknown {
            return Err(Violation::new(Rule::FingerPosition, "a registration needs a named finger"));
        }
        super::image::require_loss(&self.info, purpose)
    }
}
