//! Image records of ISO/IEC 19794-4 (finger), -5 (face) and -6 (iris), edition 2011: one representation each.
//!
//! The writers take what was captured and read size and compression off the image itself, so that header and image
//! cannot disagree. [`parse`] and [`Record::require`] apply the rules by which the compliance kit and the decoders of
//! the back ends judge a record, and name the rule that is broken; whatever a writer makes has passed them. Only
//! headers are looked at: pixels are never decoded. Input is untrusted; work is bounded by its length.

mod details;
mod face;
mod fields;
mod finger;
mod image;
mod iris;
pub mod jp2;
mod rule;
mod wsq;

pub use details::{CaptureDevice, Details, Quality};
pub use face::{FaceImage, FaceRecord};
pub use finger::{FingerImage, FingerRecord, Impression};
pub use image::ImageInfo;
pub use iris::{IrisImage, IrisRecord};
pub use rule::{Advice, Rule, Violation};

use biotrust_model::{BioSubType, Modality, Purpose};

/// A record that keeps the rules which hold for both purposes.
#[derive(Clone, PartialEq, Eq)]
pub enum Record<'a> {
    /// Finger.
    Finger(FingerRecord<'a>),
    /// Iris.
    Iris(IrisRecord<'a>),
    /// Face.
    Face(FaceRecord<'a>),
}

/// Reads a record and applies every rule that does not depend on its purpose.
///
/// # Errors
/// The first rule that is broken, with the place and the value.
pub fn parse(bytes: &[u8], modality: Modality) -> Result<Record<'_>, Violation> {
    Ok(match modality {
        Modality::Finger => Record::Finger(finger::parse(bytes)?),
        Modality::Iris => Record::Iris(iris::parse(bytes)?),
        Modality::Face => Record::Face(face::parse(bytes)?),
    })
}

/// [`parse`] and [`Record::require`] in one: the ISO validator of the compliance kit.
///
/// # Errors
/// The first rule that is broken.
pub fn validate(bytes: &[u8], modality: Modality, purpose: Purpose) -> Result<Record<'_>, Violation> {
    let record = parse(bytes, modality)?;
    record.require(purpose)?;
    Ok(record)
}

impl<'a> Record<'a> {
    /// Applies the rules of a purpose: named position and lossless image for a registration, lossy for authentication.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn require(&self, purpose: Purpose) -> Result<(), Violation> {
        match self {
            Self::Finger(record) => record.require(purpose),
            Self::Iris(record) => record.require(purpose),
            Self::Face(record) => record.require(purpose),
        }
    }

    /// What the compliance kit only warns of.
    #[must_use]
    pub fn advice(&self, purpose: Purpose) -> Vec<Advice> {
        let info = self.image_info();
        let mut advice = Vec::new();
        let ratio = info.compression_ratio(self.image().len());
        if purpose == Purpose::Auth && ratio > 15 {
            advice.push(Advice::CompressionRatio(ratio));
        }
        if let (Self::Finger(_), ImageInfo::Jp2(jp2)) = (self, info)
            && !jp2.dpi.is_some_and(|(x, y)| [x, y].iter().all(|dpi| finger::RESOLUTIONS.contains(dpi)))
        {
            advice.push(Advice::Density(jp2.dpi));
        }
        advice
    }

    /// Modality.
    #[must_use]
    pub const fn modality(&self) -> Modality {
        match self {
            Self::Finger(_) => Modality::Finger,
            Self::Iris(_) => Modality::Iris,
            Self::Face(_) => Modality::Face,
        }
    }

    /// Finger or eye; `None` for a face.
    #[must_use]
    pub const fn part(&self) -> Option<BioSubType> {
        match self {
            Self::Finger(record) => Some(record.position),
            Self::Iris(record) => Some(record.eye),
            Self::Face(_) => None,
        }
    }

    /// Time, device and quality.
    #[must_use]
    pub const fn details(&self) -> &Details {
        match self {
            Self::Finger(record) => &record.details,
            Self::Iris(record) => &record.details,
            Self::Face(record) => &record.details,
        }
    }

    /// The image as a file of its own: JPEG 2000, or WSQ for a finger.
    #[must_use]
    pub const fn image(&self) -> &'a [u8] {
        match self {
            Self::Finger(record) => record.image,
            Self::Iris(record) => record.image,
            Self::Face(record) => record.image,
        }
    }

    /// What the headers of the image say.
    #[must_use]
    pub const fn image_info(&self) -> &ImageInfo {
        match self {
            Self::Finger(record) => &record.info,
            Self::Iris(record) => &record.info,
            Self::Face(record) => &record.info,
        }
    }
}

impl std::fmt::Debug for Record<'_> {
    /// Without the image.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Record({} {:?}, {:?})", self.modality(), self.part(), self.image_info())
    }
}

#[cfg(test)]
mod tests;
