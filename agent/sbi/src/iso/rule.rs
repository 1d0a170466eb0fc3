//! The rules of a record by name, so that a refusal can be acted on.

/// What a record must keep to. Named by field; the ranges stand where the field is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// The record ends within a field.
    Complete,
    /// `FIR`, `IIR` or `FAC`.
    FormatIdentifier,
    /// `020`, for a face `030`.
    Version,
    /// Length in the header, length of the record, and sum of its blocks are the same.
    RecordLength,
    /// One representation.
    Representations,
    /// 0; for a finger also 1.
    CertificationFlag,
    /// One finger or eye.
    PartsPresent,
    /// A face on its own, not one of a sequence.
    TemporalSemantics,
    /// Length of the representation is that of the record without its header.
    RepresentationLength,
    /// A date and time that exist, or all ones for not given.
    CaptureTime,
    /// Known technology of the sensor.
    DeviceTechnology,
    /// Vendor and type are both zero, or neither.
    DeviceType,
    /// 255 blocks at most, each with a score of 0 to 100, or 255 for failed.
    Quality,
    /// Known certification scheme.
    CertificationScheme,
    /// Finger position 0 to 10; named for a registration.
    FingerPosition,
    /// Number of the representation.
    RepresentationNumber,
    /// Per inch or per centimetre.
    ScaleUnits,
    /// 490 to 1010.
    CaptureResolution,
    /// 490 to 1010, and not above that of the capture.
    ImageResolution,
    /// 8 bits, and the image has them.
    BitDepth,
    /// Compression that the purpose demands, and that the image has.
    Compression,
    /// Known kind of impression.
    Impression,
    /// Width and height are those of the image.
    Dimensions,
    /// Extended data blocks are whole.
    ExtendedData,
    /// Eye 0 to 2; named for a registration.
    EyeLabel,
    /// Cropped for a registration, cropped and masked for an authentication; a face frontal or token.
    ImageType,
    /// JPEG 2000.
    ImageFormat,
    /// Known orientation of an iris image.
    Orientation,
    /// Known code.
    Gender,
    /// Known code.
    EyeColour,
    /// Known code.
    HairColour,
    /// No bit above the fifth, which back ends do not read.
    FeatureMask,
    /// Level 0 to 7.
    SamplingLevel,
    /// Grey for finger and iris, RGB for a face.
    ColourSpace,
    /// The image is a JPEG 2000 file (or WSQ for a finger) whose headers can be read.
    Image,
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

/// A broken rule. Tells header values only, nothing of the image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ISO record breaks the rule {rule}: {detail}")]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// Where, and what was found.
    pub detail: String,
}

impl Violation {
    pub(super) fn new(rule: Rule, detail: impl Into<String>) -> Self {
        Self { rule, detail: detail.into() }
    }
}

/// What the compliance kit reports without refusing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advice {
    /// More than 15 : 1 in an authentication.
    CompressionRatio(u64),
    /// The `res ` box of a finger image is absent or outside 490 to 1010 dpi.
    Density(Option<(u16, u16)>),
}
