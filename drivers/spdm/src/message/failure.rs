//! ERROR.

use super::{begin, code};
use crate::error::{SpdmError, Why};
use crate::wire::Reader;

/// Error codes of the standard that this profile uses; others are kept as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u8);

impl ErrorCode {
    /// A field of the request is wrong.
    pub const INVALID_REQUEST: Self = Self(0x01);
    /// Try again.
    pub const BUSY: Self = Self(0x03);
    /// Out of order.
    pub const UNEXPECTED_REQUEST: Self = Self(0x04);
    /// It failed inside.
    pub const UNSPECIFIED: Self = Self(0x05);
    /// Not of this profile.
    pub const UNSUPPORTED_REQUEST: Self = Self(0x07);
    /// The device must be started anew first.
    pub const RESET_REQUIRED: Self = Self(0x0C);
    /// The answer would be too long.
    pub const RESPONSE_TOO_LARGE: Self = Self(0x0D);
    /// The request is too long.
    pub const REQUEST_TOO_LARGE: Self = Self(0x0E);
    /// The version of the request is not that of the connection.
    pub const VERSION_MISMATCH: Self = Self(0x41);
    /// The answer takes longer: ask for it by RESPOND_IF_READY.
    pub const RESPONSE_NOT_READY: Self = Self(0x42);
    /// Begin again with GET_VERSION.
    pub const REQUEST_RESYNCH: Self = Self(0x43);
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match *self {
            Self::INVALID_REQUEST => "invalid request",
            Self::BUSY => "busy",
            Self::UNEXPECTED_REQUEST => "unexpected request",
            Self::UNSPECIFIED => "it failed inside",
            Self::UNSUPPORTED_REQUEST => "unsupported request",
            Self::RESET_REQUIRED => "it must be started anew first",
            Self::RESPONSE_TOO_LARGE => "the answer would be too long",
            Self::REQUEST_TOO_LARGE => "the request is too long",
            Self::VERSION_MISMATCH => "version mismatch",
            Self::RESPONSE_NOT_READY => "response not ready",
            Self::REQUEST_RESYNCH => "out of step",
            Self(code) => return write!(f, "SPDM error {code:#04x}"),
        };
        f.write_str(name)
    }
}

/// Body of ERROR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// With [`ErrorCode::RESPONSE_NOT_READY`].
    NotReady {
        /// Ready after two to this power microseconds.
        exponent: u8,
        /// Code of the request.
        request: u8,
        /// For RESPOND_IF_READY.
        token: u8,
        /// Forgotten after `exponent`'s time multiplied by this.
        multiplier: u8,
    },
    /// Any other.
    Plain {
        /// Which.
        code: ErrorCode,
        /// `ErrorData`.
        data: u8,
    },
}

impl Failure {
    /// An error without data.
    #[must_use]
    pub const fn new(code: ErrorCode) -> Self {
        Self::Plain { code, data: 0 }
    }

    /// Its code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NotReady { .. } => ErrorCode::RESPONSE_NOT_READY,
            Self::Plain { code, .. } => *code,
        }
    }

    pub(super) fn write(&self) -> Vec<u8> {
        match *self {
            Self::Plain { code: ErrorCode(number), data } => begin(code::ERROR, number, data),
            Self::NotReady { exponent, request, token, multiplier } => {
                let mut message = begin(code::ERROR, ErrorCode::RESPONSE_NOT_READY.0, 0);
                message.extend_from_slice(&[exponent, request, token, multiplier]);
                message
            }
        }
    }

    pub(super) fn read([number, data]: [u8; 2], mut body: Reader<'_>) -> Result<Self, SpdmError> {
        let code = ErrorCode(number);
        if code != ErrorCode::RESPONSE_NOT_READY {
            // Extended data of other errors (0x80 and up) is nothing to act on.
            return Ok(Self::Plain { code, data });
        }
        if data != 0 {
            return Err(body.bad(Why::Reserved));
        }
        let [exponent, request, token, multiplier] = body.array()?;
        body.end()?;
        Ok(Self::NotReady { exponent, request, token, multiplier })
    }
}
