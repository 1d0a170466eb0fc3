//! VERSION, CAPABILITIES and ALGORITHMS: how a connection begins.

use super::{Response, begin, code, no_parameters};
use crate::MAX_MESSAGE;
use crate::error::{SpdmError, Why};
use crate::wire::Reader;

/// Versions in a VERSION message at most.
const MAX_VERSIONS: usize = 16;
/// Smallest transfer that the standard lets an endpoint offer.
const MIN_TRANSFER: u32 = 42;
/// Longest signing time that is believed: 2^24 microseconds, 17 s.
const MAX_CT_EXPONENT: u8 = 24;

/// Capability bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags(pub u32);

impl Flags {
    /// Hands out certificates.
    pub const CERT: Self = Self(0x0000_0002);
    /// Answers challenges.
    pub const CHAL: Self = Self(0x0000_0004);
    /// Measures, and signs it.
    pub const MEAS_SIG: Self = Self(0x0000_0010);
    /// Leaf certificates are made at each start from an alias key: the key of slot 0 would not be permanent.
    pub const ALIAS_CERT: Self = Self(0x0004_0000);
    /// Makes certificate requests.
    pub const CSR: Self = Self(0x0010_0000);
    /// What the profile asks of a responder.
    pub const REQUIRED: Self = Self(Self::CERT.0 | Self::CHAL.0 | Self::MEAS_SIG.0 | Self::CSR.0);

    /// Whether all of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Body of GET_CAPABILITIES and CAPABILITIES.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Time for a signature: two to this power in microseconds.
    pub ct_exponent: u8,
    /// Capabilities.
    pub flags: Flags,
    /// Longest message in bytes. Without chunks the standard's `DataTransferSize` and `MaxSPDMmsgSize` are one.
    pub longest: u32,
}

impl Capabilities {
    /// Of a requester of this profile.
    pub const REQUESTER: Self = Self { ct_exponent: 0, flags: Flags(0), longest: MAX_MESSAGE as u32 };
    /// Of a responder of this profile that signs within a second.
    pub const RESPONDER: Self = Self { ct_exponent: 20, flags: Flags::REQUIRED, longest: MAX_MESSAGE as u32 };

    /// Whether a responder with these keeps to the profile.
    ///
    /// # Errors
    /// [`SpdmError::Downgrade`].
    pub fn check(&self) -> Result<(), SpdmError> {
        if !self.flags.contains(Flags::REQUIRED) {
            return Err(SpdmError::Downgrade(
                "a capability is missing (certificates, challenge, signed measurements, CSR)",
            ));
        }
        if self.flags.contains(Flags::ALIAS_CERT) {
            return Err(SpdmError::Downgrade("its certificate is of an alias key"));
        }
        if self.longest < MAX_MESSAGE as u32 {
            return Err(SpdmError::Downgrade("its messages are too short for the commands"));
        }
        Ok(())
    }

    pub(super) fn write(&self, mut message: Vec<u8>) -> Vec<u8> {
        message.extend_from_slice(&[0, self.ct_exponent, 0, 0]);
        for field in [self.flags.0, self.longest, self.longest] {
            message.extend_from_slice(&field.to_le_bytes());
        }
        message
    }

    pub(super) fn read(parameters: [u8; 2], mut body: Reader<'_>) -> Result<Self, SpdmError> {
        no_parameters(parameters, &body)?;
        body.reserved(1)?;
        let ct_exponent = body.u8()?;
        body.reserved(2)?;
        let (flags, transfer, longest) = (Flags(body.u32()?), body.u32()?, body.u32()?);
        if ct_exponent > MAX_CT_EXPONENT {
            return Err(body.bad(Why::Value("CTExponent")));
        }
        if transfer < MIN_TRANSFER || transfer != longest {
            return Err(body.bad(Why::Value("DataTransferSize")));
        }
        body.end()?;
        Ok(Self { ct_exponent, flags, longest })
    }
}

/// Body of NEGOTIATE_ALGORITHMS: sets of bits to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// `MeasurementSpecification`.
    pub measurement_specification: u8,
    /// `BaseAsymAlgo`.
    pub asymmetric: u32,
    /// `BaseHashAlgo`.
    pub hash: u32,
}

/// Body of ALGORITHMS: one bit of each set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// `MeasurementSpecificationSel`; bit 0: DMTF.
    pub measurement_specification: u8,
    /// `MeasurementHashAlgo`; bit 1: SHA-256.
    pub measurement_hash: u32,
    /// `BaseAsymSel`; bit 0: RSASSA-2048.
    pub asymmetric: u32,
    /// `BaseHashSel`; bit 0: SHA-256.
    pub hash: u32,
}

/// The one suite of the profile.
pub const SUITE: Selection =
    Selection { measurement_specification: 1, measurement_hash: 2, asymmetric: 1, hash: 1 };

/// Lengths of the whole messages, which they carry as a field.
const OFFER_LENGTH: u16 = 32;
const SELECTION_LENGTH: u16 = 36;

impl Offer {
    /// The suite and nothing else.
    pub const SUITE: Self = Self {
        measurement_specification: SUITE.measurement_specification,
        asymmetric: SUITE.asymmetric,
        hash: SUITE.hash,
    };

    /// Whether the suite is among what is offered.
    #[must_use]
    pub const fn has_suite(&self) -> bool {
        self.measurement_specification & SUITE.measurement_specification != 0
            && self.asymmetric & SUITE.asymmetric != 0
            && self.hash & SUITE.hash != 0
    }

    pub(super) fn write(&self, mut message: Vec<u8>) -> Vec<u8> {
        message.extend_from_slice(&OFFER_LENGTH.to_le_bytes());
        message.extend_from_slice(&[self.measurement_specification, 0]);
        message.extend_from_slice(&self.asymmetric.to_le_bytes());
        message.extend_from_slice(&self.hash.to_le_bytes());
        // Reserved, and counts of extended algorithms.
        message.extend_from_slice(&[0; 16]);
        message
    }

    pub(super) fn read(parameters: [u8; 2], mut body: Reader<'_>) -> Result<Self, SpdmError> {
        no_parameters(parameters, &body)?;
        if body.u16()? != OFFER_LENGTH {
            return Err(body.bad(Why::Value("Length")));
        }
        let measurement_specification = body.u8()?;
        body.constant("OtherParamsSupport", 0)?;
        let (asymmetric, hash) = (body.u32()?, body.u32()?);
        body.reserved(16)?;
        body.end()?;
        Ok(Self { measurement_specification, asymmetric, hash })
    }
}

impl Selection {
    /// Whether it is the one suite.
    ///
    /// # Errors
    /// [`SpdmError::Downgrade`].
    pub fn check(&self) -> Result<(), SpdmError> {
        if *self == SUITE {
            return Ok(());
        }
        Err(SpdmError::Downgrade("it selected other algorithms than RSASSA-2048 with SHA-256"))
    }

    pub(super) fn write(&self, mut message: Vec<u8>) -> Vec<u8> {
        message.extend_from_slice(&SELECTION_LENGTH.to_le_bytes());
        message.extend_from_slice(&[self.measurement_specification, 0]);
        for field in [self.measurement_hash, self.asymmetric, self.hash] {
            message.extend_from_slice(&field.to_le_bytes());
        }
        message.extend_from_slice(&[0; 16]);
        message
    }

    pub(super) fn read(parameters: [u8; 2], mut body: Reader<'_>) -> Result<Self, SpdmError> {
        no_parameters(parameters, &body)?;
        if body.u16()? != SELECTION_LENGTH {
            return Err(body.bad(Why::Value("Length")));
        }
        let measurement_specification = body.u8()?;
        body.constant("OtherParamsSelection", 0)?;
        let (measurement_hash, asymmetric, hash) = (body.u32()?, body.u32()?, body.u32()?);
        body.reserved(16)?;
        body.end()?;
        Ok(Self { measurement_specification, measurement_hash, asymmetric, hash })
    }
}

/// `VersionNumberEntry` of SPDM 1.2.
pub(crate) const ENTRY_1_2: u16 = 0x1200;

/// Whether 1.2 is among `versions`, whatever its update and alpha numbers.
pub(crate) fn has_1_2(versions: &[u16]) -> bool {
    versions.iter().any(|version| version & 0xFF00 == ENTRY_1_2)
}

pub(super) fn write_version(versions: &[u16]) -> Result<Vec<u8>, SpdmError> {
    let what = code::name(code::VERSION);
    let count = u8::try_from(versions.len()).ok().filter(|count| usize::from(*count) <= MAX_VERSIONS);
    let count = count.ok_or(SpdmError::TooLong { what, limit: MAX_VERSIONS * 2 })?;
    let mut message = begin(code::VERSION, 0, 0);
    message.extend_from_slice(&[0, count]);
    message.extend(versions.iter().flat_map(|version| version.to_le_bytes()));
    Ok(message)
}

pub(super) fn read_version(parameters: [u8; 2], mut body: Reader<'_>) -> Result<Response, SpdmError> {
    no_parameters(parameters, &body)?;
    body.reserved(1)?;
    let count = usize::from(body.u8()?);
    if count == 0 || count > MAX_VERSIONS {
        return Err(body.bad(Why::Value("VersionNumberEntryCount")));
    }
    let versions = (0..count).map(|_| body.u16()).collect::<Result<_, _>>()?;
    body.end()?;
    Ok(Response::Version(versions))
}
