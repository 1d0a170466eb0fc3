//! Iris image record, ISO/IEC 19794-6:2011. Two eyes are two records.

use biotrust_model::{BioSubType, Purpose};

use super::details::{self, Details};
use super::fields::Fields;
use super::image::{ImageInfo, require_loss};
use super::rule::{Rule, Violation};

const FORMAT: [u8; 4] = *b"IIR\0";
const VERSION: [u8; 4] = *b"020\0";
/// Length of the general header.
const HEADER: usize = 16;
const MONO_JPEG2000: u8 = 0x0a;
const UNDEFINED_ANGLE: u16 = 0xffff;
/// Compression history, the top two bits of the properties.
const LOSSLESS: u8 = 1;
const LOSSY: u8 = 2;

/// Image types of table 4.
mod image_type {
    pub(super) const CROPPED: u8 = 3;
    pub(super) const CROPPED_AND_MASKED: u8 = 7;
}

/// An iris to be written.
#[derive(Clone)]
pub struct IrisImage<'a> {
    /// Use, which decides what the image must be: cropped and lossless, or cropped, masked and lossy.
    pub purpose: Purpose,
    /// Which eye.
    pub eye: BioSubType,
    /// Time, device (technology 0 not specified, 1 CMOS or CCD) and quality.
    pub details: Details,
    /// Distance to the eye in tenths of a millimetre; 0 not given.
    pub range: u16,
    /// JPEG 2000 file.
    pub image: &'a [u8],
}

/// An iris that was read.
#[derive(Clone, PartialEq, Eq)]
pub struct IrisRecord<'a> {
    /// Time, device and quality.
    pub details: Details,
    /// Which eye.
    pub eye: BioSubType,
    /// Image type code.
    pub image_type: u8,
    /// Distance to the eye in tenths of a millimetre.
    pub range: u16,
    /// Headers of the image.
    pub info: ImageInfo,
    /// The image as a file.
    pub image: &'a [u8],
}

const fn image_type_for(purpose: Purpose) -> u8 {
    match purpose {
        Purpose::Registration => image_type::CROPPED,
        Purpose::Auth => image_type::CROPPED_AND_MASKED,
    }
}

const fn history_of(info: &ImageInfo) -> u8 {
    if info.is_lossless() { LOSSLESS } else { LOSSY }
}

impl IrisImage<'_> {
    /// Writes the record.
    ///
    /// # Errors
    /// A rule that the parts cannot keep together, for instance a lossy image in a registration.
    pub fn encode(&self) -> Result<Vec<u8>, Violation> {
        let info = ImageInfo::inspect(self.image)?;
        let (width, height) = info.header_size()?;
        let label = self.eye.eye_label().ok_or_else(|| not_an_eye(self.eye))?;
        let mut out = Vec::with_capacity(self.image.len() + 128);
        details::write_start(&mut out, &FORMAT, &VERSION);
        out.extend_from_slice(&[0, 1]); // no certification, one eye
        details::write(&mut out, &self.details)?;
        out.extend_from_slice(&[0, 1]); // first representation
        out.extend_from_slice(&[label, image_type_for(self.purpose), MONO_JPEG2000, history_of(&info) << 6]);
        out.extend_from_slice(&width.to_be_bytes());
        out.extend_from_slice(&height.to_be_bytes());
        out.push(8);
        for value in [self.range, UNDEFINED_ANGLE, UNDEFINED_ANGLE] {
            out.extend_from_slice(&value.to_be_bytes());
        }
        out.extend_from_slice(&[0; 12]); // centre and diameter not given
        let record = details::finish(out, HEADER, self.image)?;
        parse(&record)?.require(self.purpose)?;
        Ok(record)
    }
}

fn not_an_eye(part: BioSubType) -> Violation {
    Violation::new(Rule::EyeLabel, format!("{part} is not an eye"))
}

pub(super) fn parse(bytes: &[u8]) -> Result<IrisRecord<'_>, Violation> {
    let mut fields = Fields::new(bytes);
    details::read_start(&mut fields, &FORMAT, &VERSION, bytes.len())?;
    fields.u8(Rule::CertificationFlag, |flag| flag == 0)?;
    fields.u8(Rule::PartsPresent, |eyes| eyes == 1)?;
    let details =
        details::read(&mut fields, bytes.len().saturating_sub(HEADER), |technology| technology <= 1)?;
    fields.u16(Rule::RepresentationNumber, |number| number == 1)?;
    let label = fields.u8(Rule::EyeLabel, |_| true)?;
    let eye = BioSubType::ALL
        .iter()
        .find(|part| part.eye_label() == Some(label))
        .ok_or_else(|| Violation::new(Rule::EyeLabel, format!("{label} is not 0 to 2")))?;
    let image_type = fields
        .u8(Rule::ImageType, |code| matches!(code, image_type::CROPPED | image_type::CROPPED_AND_MASKED))?;
    fields.u8(Rule::ImageFormat, |format| format == MONO_JPEG2000)?;
    let properties = fields.u8(Rule::Orientation, |bits| bits & 3 <= 2 && (bits >> 2) & 3 <= 2)?;
    let (width, height) = (fields.u16(Rule::Dimensions, |_| true)?, fields.u16(Rule::Dimensions, |_| true)?);
    fields.u8(Rule::BitDepth, |bits| bits == 8)?;
    let range = fields.u16(Rule::Complete, |_| true)?;
    fields.bytes(4 + 12)?; // roll, centre, diameter: any value
    let image = fields.image()?;
    fields.end()?;
    let info = match ImageInfo::inspect(image)? {
        ImageInfo::Wsq { .. } => return Err(Violation::new(Rule::Image, "WSQ is for fingers")),
        info => info,
    };
    info.require_size(width, height)?;
    info.require_grey()?;
    if properties >> 6 != history_of(&info) {
        let found = format!("history {} around an image of history {}", properties >> 6, history_of(&info));
        return Err(Violation::new(Rule::Compression, found));
    }
    Ok(IrisRecord { details, eye: *eye, image_type, range, info, image })
}

impl IrisRecord<'_> {
    pub(super) fn require(&self, purpose: Purpose) -> Result<(), Violation> {
        if purpose == Purpose::Registration && self.eye == BioSubType::Unknown {
            return Err(Violation::new(Rule::EyeLabel, "a registration needs a named eye"));
        }
        if self.image_type != image_type_for(purpose) {
            let found = format!("{} for {purpose}, not {}", self.image_type, image_type_for(purpose));
            return Err(Violation::new(Rule::ImageType, found));
        }
        require_loss(&self.info, purpose)
    }
}
