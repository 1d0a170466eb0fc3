//! Face image record, ISO/IEC 19794-5:2011. An exception photo is the same record.

use biotrust_model::Purpose;

use super::details::{self, Details};
use super::fields::Fields;
use super::image::ImageInfo;
use super::rule::{Rule, Violation};

const FORMAT: [u8; 4] = *b"FAC\0";
const VERSION: [u8; 4] = *b"030\0";
/// Length of the general header.
const HEADER: usize = 17;
const UNKNOWN: u8 = 0xff;
const FULL_FRONTAL: u8 = 1;
const RGB_24: u8 = 1;

/// Image data types of table 16.
mod data_type {
    pub(super) const JP2_LOSSY: u8 = 1;
    pub(super) const JP2_LOSSLESS: u8 = 2;
}

/// A face to be written, as a full frontal image.
#[derive(Clone)]
pub struct FaceImage<'a> {
    /// Use, which decides what the image must be.
    pub purpose: Purpose,
    /// Time, device (technology 0 not specified, 2 still camera, 6 video frame) and quality.
    pub details: Details,
    /// JPEG 2000 file, 24-bit RGB.
    pub image: &'a [u8],
}

/// A face that was read.
#[derive(Clone, PartialEq, Eq)]
pub struct FaceRecord<'a> {
    /// Time, device and quality.
    pub details: Details,
    /// Image data type code.
    pub data_type: u8,
    /// Headers of the image.
    pub info: ImageInfo,
    /// The image as a file.
    pub image: &'a [u8],
}

impl FaceImage<'_> {
    /// Writes the record. Nothing is said about the person: gender unknown, colours and height not specified.
    ///
    /// # Errors
    /// A rule that the parts cannot keep together, for instance a lossy image in a registration.
    pub fn encode(&self) -> Result<Vec<u8>, Violation> {
        let info = ImageInfo::inspect(self.image)?;
        let (width, height) = info.header_size()?;
        let data_type = if info.is_lossless() { data_type::JP2_LOSSLESS } else { data_type::JP2_LOSSY };
        let mut out = Vec::with_capacity(self.image.len() + 128);
        details::write_start(&mut out, &FORMAT, &VERSION);
        out.extend_from_slice(&[0, 0, 0]); // no certification, no sequence
        details::write(&mut out, &self.details)?;
        out.extend_from_slice(&[0, 0]); // landmarks
        out.extend_from_slice(&[UNKNOWN, 0, 0, 0]); // gender, eye colour, hair colour, height
        out.extend_from_slice(&[0; 3 + 2 + 3 + 3]); // features, expression, pose and its uncertainty
        out.extend_from_slice(&[FULL_FRONTAL, data_type]);
        out.extend_from_slice(&width.to_be_bytes());
        out.extend_from_slice(&height.to_be_bytes());
        out.extend_from_slice(&[0, 0, 0, 0, RGB_24]); // sampling level, post-processing, cross reference, colours
        let record = details::finish(out, HEADER, self.image)?;
        parse(&record)?.require(self.purpose)?;
        Ok(record)
    }
}

pub(super) fn parse(bytes: &[u8]) -> Result<FaceRecord<'_>, Violation> {
    let mut fields = Fields::new(bytes);
    details::read_start(&mut fields, &FORMAT, &VERSION, bytes.len())?;
    fields.u8(Rule::CertificationFlag, |flag| flag == 0)?;
    fields.u16(Rule::TemporalSemantics, |semantics| semantics == 0)?;
    let known = |technology| technology <= 6 || technology >= 0x80;
    let details = details::read(&mut fields, bytes.len().saturating_sub(HEADER), known)?;
    let landmarks = fields.u16(Rule::Complete, |_| true)?;
    fields.u8(Rule::Gender, |code| code <= 2 || code == UNKNOWN)?;
    fields.u8(Rule::EyeColour, |code| code <= 7 || code == UNKNOWN)?;
    fields.u8(Rule::HairColour, |code| code <= 7 || code == UNKNOWN)?;
    fields.bytes(1)?; // height
    fields.u24(Rule::FeatureMask, |mask| mask <= 0x11)?;
    fields.bytes(2 + 3 + 3)?; // expression, pose and its uncertainty
    fields.bytes(usize::from(landmarks) * 8)?;
    fields.u8(Rule::ImageType, |code| code <= 3 || (0x80..=0x82).contains(&code))?;
    let data_type = fields
        .u8(Rule::Compression, |code| matches!(code, data_type::JP2_LOSSY | data_type::JP2_LOSSLESS))?;
    let (width, height) = (fields.u16(Rule::Dimensions, |_| true)?, fields.u16(Rule::Dimensions, |_| true)?);
    fields.u8(Rule::SamplingLevel, |level| level <= 7)?;
    fields.bytes(2 + 1)?; // post-processing, cross reference
    fields.u8(Rule::ColourSpace, |code| code <= RGB_24)?;
    let image = fields.image()?;
    fields.end()?;
    let info = ImageInfo::inspect(image)?;
    info.require_size(width, height)?;
    info.require_rgb()?;
    Ok(FaceRecord { details, data_type, info, image })
}

impl FaceRecord<'_> {
    /// Goes by the stated data type, as back ends do: they do not compare it with the wavelet of a face.
    pub(super) fn require(&self, purpose: Purpose) -> Result<(), Violation> {
        let expected = match purpose {
            Purpose::Registration => data_type::JP2_LOSSLESS,
            Purpose::Auth => data_type::JP2_LOSSY,
        };
        if self.data_type == expected {
            return Ok(());
        }
        Err(Violation::new(
            Rule::Compression,
            format!("data type {} for {purpose}, not {expected}", self.data_type),
        ))
    }
}
