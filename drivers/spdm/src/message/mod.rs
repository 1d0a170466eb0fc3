//! The messages of the profile, each as a type: to bytes and back.
//!
//! ```text
//! version 12 (10 in GET_VERSION and VERSION) | code | param1 | param2 | body, little endian
//! ```
//! Fields that the profile fixes (slot 0, all measurements, signed, no opaque data) are not in the types: they are
//! written, and checked when read. Pure.

mod connection;
mod failure;
mod identity;
mod measurements;
mod vendor;

pub use connection::{Capabilities, Flags, Offer, SUITE, Selection};
pub(crate) use connection::{ENTRY_1_2, has_1_2};
pub use failure::{ErrorCode, Failure};
pub use identity::ChallengeAuth;
pub use measurements::Measured;
pub use vendor::MAX_PAYLOAD;

use crate::error::{SpdmError, Why};
use crate::wire::Reader;

/// `SPDMVersion` of everything but GET_VERSION and VERSION.
pub const VERSION: u8 = 0x12;
/// `SPDMVersion` of GET_VERSION and VERSION.
const VERSION_OF_VERSION: u8 = 0x10;
/// Length of a signature in bytes: RSASSA-2048.
pub const SIGNATURE: usize = 256;

/// What a requester asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Which versions? Begins a connection and ends the one before.
    GetVersion,
    /// Which capabilities? With the requester's own.
    GetCapabilities(Capabilities),
    /// Which of these algorithms?
    NegotiateAlgorithms(Offer),
    /// Digests of the certificate blobs.
    GetDigests,
    /// A portion of the certificate blob of slot 0.
    GetCertificate {
        /// First byte.
        offset: u16,
        /// Bytes at most.
        length: u16,
    },
    /// Prove that the chip key of slot 0 is there, with a hash of all measurements.
    Challenge {
        /// To be signed.
        nonce: [u8; 32],
    },
    /// All measurements, signed by the chip key of slot 0.
    GetMeasurements {
        /// To be signed.
        nonce: [u8; 32],
    },
    /// A certificate request for the device key of an unfinished rotation.
    GetCsr,
    /// A payload of [`crate::command`].
    Vendor(Vec<u8>),
    /// The answer that was not ready.
    RespondIfReady {
        /// Code of the request that it belongs to.
        request: u8,
        /// From the ERROR.
        token: u8,
    },
}

/// What a responder answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// Version numbers: major, minor, update, alpha in four bits each.
    Version(Vec<u16>),
    /// Capabilities.
    Capabilities(Capabilities),
    /// The selected algorithms.
    Algorithms(Selection),
    /// SHA-256 of the certificate blob of slot 0, the only slot.
    Digests([u8; 32]),
    /// A portion of the certificate blob.
    Certificate {
        /// The portion.
        portion: Vec<u8>,
        /// Bytes that follow it.
        remainder: u16,
    },
    /// Proof of the chip key.
    ChallengeAuth(Box<ChallengeAuth>),
    /// Measurements.
    Measurements(Box<Measured>),
    /// PKCS#10 in DER.
    Csr(Vec<u8>),
    /// A payload of [`crate::command`].
    Vendor(Vec<u8>),
    /// No.
    Error(Failure),
}

macro_rules! codes {
    ($($name:ident = $code:literal, $text:literal;)+) => {
        /// Codes and names of messages.
        pub(crate) mod code {
            $(pub(crate) const $name: u8 = $code;)+
            /// Name of the message with this code.
            pub(crate) const fn name(code: u8) -> &'static str {
                match code { $($code => $text,)+ _ => "unknown message" }
            }
        }
    };
}

codes! {
    GET_DIGESTS = 0x81, "GET_DIGESTS";
    GET_CERTIFICATE = 0x82, "GET_CERTIFICATE";
    CHALLENGE = 0x83, "CHALLENGE";
    GET_VERSION = 0x84, "GET_VERSION";
    GET_MEASUREMENTS = 0xE0, "GET_MEASUREMENTS";
    GET_CAPABILITIES = 0xE1, "GET_CAPABILITIES";
    NEGOTIATE_ALGORITHMS = 0xE3, "NEGOTIATE_ALGORITHMS";
    GET_CSR = 0xED, "GET_CSR";
    VENDOR_DEFINED_REQUEST = 0xFE, "VENDOR_DEFINED_REQUEST";
    RESPOND_IF_READY = 0xFF, "RESPOND_IF_READY";
    DIGESTS = 0x01, "DIGESTS";
    CERTIFICATE = 0x02, "CERTIFICATE";
    CHALLENGE_AUTH = 0x03, "CHALLENGE_AUTH";
    VERSION = 0x04, "VERSION";
    MEASUREMENTS = 0x60, "MEASUREMENTS";
    CAPABILITIES = 0x61, "CAPABILITIES";
    ALGORITHMS = 0x63, "ALGORITHMS";
    CSR = 0x6D, "CSR";
    VENDOR_DEFINED_RESPONSE = 0x7E, "VENDOR_DEFINED_RESPONSE";
    ERROR = 0x7F, "ERROR";
}

/// Starts a message of version 1.2.
fn begin(code: u8, param1: u8, param2: u8) -> Vec<u8> {
    let version =
        if matches!(code, code::GET_VERSION | code::VERSION) { VERSION_OF_VERSION } else { VERSION };
    vec![version, code, param1, param2]
}

/// Reads the header: code, both parameters, and what follows.
fn header(message: &[u8]) -> Result<(u8, [u8; 2], Reader<'_>), SpdmError> {
    let Some((&[version, code, param1, param2], body)) = message.split_first_chunk() else {
        return Err(Reader::new("message", message).bad(Why::Short));
    };
    let body = Reader::new(code::name(code), body);
    // GET_VERSION is read whatever version it is in; all others belong to the connection.
    let expected = if code == code::VERSION { VERSION_OF_VERSION } else { VERSION };
    // A responder that knows no version yet answers ERROR as 1.0.
    let early = version == VERSION_OF_VERSION && code == code::ERROR;
    if version != expected && code != code::GET_VERSION && !early {
        return Err(body.bad(Why::Version));
    }
    Ok((code, [param1, param2], body))
}

/// Both parameters must be zero.
fn no_parameters(parameters: [u8; 2], body: &Reader<'_>) -> Result<(), SpdmError> {
    if parameters == [0, 0] { Ok(()) } else { Err(body.bad(Why::Reserved)) }
}

impl Request {
    /// Its code.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::GetVersion => code::GET_VERSION,
            Self::GetCapabilities(_) => code::GET_CAPABILITIES,
            Self::NegotiateAlgorithms(_) => code::NEGOTIATE_ALGORITHMS,
            Self::GetDigests => code::GET_DIGESTS,
            Self::GetCertificate { .. } => code::GET_CERTIFICATE,
            Self::Challenge { .. } => code::CHALLENGE,
            Self::GetMeasurements { .. } => code::GET_MEASUREMENTS,
            Self::GetCsr => code::GET_CSR,
            Self::Vendor(_) => code::VENDOR_DEFINED_REQUEST,
            Self::RespondIfReady { .. } => code::RESPOND_IF_READY,
        }
    }

    /// Its name in the standard.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        code::name(self.code())
    }

    /// Its bytes.
    ///
    /// # Errors
    /// [`SpdmError::TooLong`] for a payload over [`MAX_PAYLOAD`].
    pub fn encode(&self) -> Result<Vec<u8>, SpdmError> {
        let code = self.code();
        Ok(match self {
            Self::GetVersion | Self::GetDigests => begin(code, 0, 0),
            Self::GetCapabilities(capabilities) => capabilities.write(begin(code, 0, 0)),
            Self::NegotiateAlgorithms(offer) => offer.write(begin(code, 0, 0)),
            Self::GetCertificate { offset, length } => identity::write_get_certificate(*offset, *length),
            Self::Challenge { nonce } => identity::write_challenge(nonce),
            Self::GetMeasurements { nonce } => measurements::write_request(nonce),
            Self::GetCsr => vendor::write_get_csr(),
            Self::Vendor(payload) => vendor::write(begin(code, 0, 0), payload)?,
            Self::RespondIfReady { request, token } => begin(code, *request, *token),
        })
    }

    /// Reads a request.
    ///
    /// # Errors
    /// [`SpdmError::Malformed`], [`SpdmError::TooLong`].
    pub fn decode(message: &[u8]) -> Result<Self, SpdmError> {
        let (code, parameters, body) = header(message)?;
        let simple = |request, body: Reader<'_>| {
            no_parameters(parameters, &body)?;
            body.end().map(|()| request)
        };
        match code {
            code::GET_VERSION => simple(Self::GetVersion, body),
            code::GET_DIGESTS => simple(Self::GetDigests, body),
            code::GET_CAPABILITIES => Capabilities::read(parameters, body).map(Self::GetCapabilities),
            code::NEGOTIATE_ALGORITHMS => Offer::read(parameters, body).map(Self::NegotiateAlgorithms),
            code::GET_CERTIFICATE => identity::read_get_certificate(parameters, body),
            code::CHALLENGE => identity::read_challenge(parameters, body),
            code::GET_MEASUREMENTS => measurements::read_request(parameters, body),
            code::GET_CSR => vendor::read_get_csr(parameters, body),
            code::VENDOR_DEFINED_REQUEST => vendor::read(parameters, body).map(Self::Vendor),
            code::RESPOND_IF_READY => {
                let [request, token] = parameters;
                body.end().map(|()| Self::RespondIfReady { request, token })
            }
            _ => Err(body.bad(Why::Code)),
        }
    }
}

impl Response {
    /// Its code.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Version(_) => code::VERSION,
            Self::Capabilities(_) => code::CAPABILITIES,
            Self::Algorithms(_) => code::ALGORITHMS,
            Self::Digests(_) => code::DIGESTS,
            Self::Certificate { .. } => code::CERTIFICATE,
            Self::ChallengeAuth(_) => code::CHALLENGE_AUTH,
            Self::Measurements(_) => code::MEASUREMENTS,
            Self::Csr(_) => code::CSR,
            Self::Vendor(_) => code::VENDOR_DEFINED_RESPONSE,
            Self::Error(_) => code::ERROR,
        }
    }

    /// Its bytes.
    ///
    /// # Errors
    /// [`SpdmError::TooLong`] for what its length field cannot hold.
    pub fn encode(&self) -> Result<Vec<u8>, SpdmError> {
        let code = self.code();
        match self {
            Self::Version(versions) => connection::write_version(versions),
            Self::Capabilities(capabilities) => Ok(capabilities.write(begin(code, 0, 0))),
            Self::Algorithms(selection) => Ok(selection.write(begin(code, 0, 0))),
            Self::Digests(digest) => Ok([&begin(code, 0, 1)[..], digest].concat()),
            Self::Certificate { portion, remainder } => identity::write_certificate(portion, *remainder),
            Self::ChallengeAuth(auth) => Ok(auth.write()),
            Self::Measurements(measured) => measured.write(),
            Self::Csr(csr) => vendor::write_csr(csr),
            Self::Vendor(payload) => vendor::write(begin(code, 0, 0), payload),
            Self::Error(failure) => Ok(failure.write()),
        }
    }

    /// Reads a response.
    ///
    /// # Errors
    /// [`SpdmError::Malformed`], [`SpdmError::TooLong`].
    pub fn decode(message: &[u8]) -> Result<Self, SpdmError> {
        let (code, parameters, body) = header(message)?;
        match code {
            code::VERSION => connection::read_version(parameters, body),
            code::CAPABILITIES => Capabilities::read(parameters, body).map(Self::Capabilities),
            code::ALGORITHMS => Selection::read(parameters, body).map(Self::Algorithms),
            code::DIGESTS => identity::read_digests(parameters, body),
            code::CERTIFICATE => identity::read_certificate(parameters, body),
            code::CHALLENGE_AUTH => {
                ChallengeAuth::read(parameters, body).map(|auth| Self::ChallengeAuth(Box::new(auth)))
            }
            code::MEASUREMENTS => {
                Measured::read(parameters, body).map(|measured| Self::Measurements(Box::new(measured)))
            }
            code::CSR => vendor::read_csr(parameters, body),
            code::VENDOR_DEFINED_RESPONSE => vendor::read(parameters, body).map(Self::Vendor),
            code::ERROR => Failure::read(parameters, body).map(Self::Error),
            _ => Err(body.bad(Why::Code)),
        }
    }
}

/// Bytes of a signature at the end of `message`, and what comes before them.
pub(crate) fn split_signature(message: &[u8]) -> Option<(&[u8], &[u8; SIGNATURE])> {
    message.split_last_chunk::<SIGNATURE>()
}

/// Appends a signature field that is still to be filled.
fn sealed(mut message: Vec<u8>, signature: &[u8; SIGNATURE]) -> Vec<u8> {
    message.extend_from_slice(signature);
    message
}

#[cfg(test)]
mod tests;
