//! How the other end, or a transcript, can be wrong.

use crate::message::ErrorCode;

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// A field is missing or cut.
    #[error("it ends too early")]
    Short,
    /// Bytes after the last field.
    #[error("something follows after its end")]
    Trailing,
    /// A reserved field is not zero.
    #[error("a reserved field is not zero")]
    Reserved,
    /// Another version of SPDM in the header.
    #[error("it is of another version than 1.2")]
    Version,
    /// No message of this profile has this code.
    #[error("its code is not known")]
    Code,
    /// A field has a value that it cannot have.
    #[error("`{0}` is not what it must be")]
    Value(&'static str),
    /// A body that is not the CBOR map that it should be.
    #[error("its body is not the map that it must be")]
    Body,
}

/// The other end broke the protocol, fell short of the profile, or refused; or a transcript does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpdmError {
    /// A message that does not have the shape that it must have.
    #[error("malformed {what}: {why}")]
    Malformed {
        /// Which message, or which part of it.
        what: &'static str,
        /// What is wrong.
        why: Why,
    },
    /// Something is longer than it may be.
    #[error("{what} is longer than {limit} bytes")]
    TooLong {
        /// What.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// An answer to something else.
    #[error("{asked} was answered with message {answered:#04x}")]
    WrongAnswer {
        /// What was asked.
        asked: &'static str,
        /// Code of the answer.
        answered: u8,
    },
    /// An answer while nothing was asked.
    #[error("an SPDM message came that nobody asked for")]
    Unasked,
    /// The responder answered ERROR.
    #[error("{asked} is refused: {code}")]
    Refused {
        /// What was asked.
        asked: &'static str,
        /// The error.
        code: ErrorCode,
    },
    /// It stays busy, or not ready, or out of step.
    #[error("{asked} is put off without end")]
    PutOff {
        /// What was asked.
        asked: &'static str,
    },
    /// Less than the profile asks for, other than it, or other than before.
    #[error("the device does not keep to the profile: {0}")]
    Downgrade(&'static str),
    /// A nonce, hash or slot that belongs to something else.
    #[error("{what}: `{field}` does not match what was asked or sent before")]
    Mismatch {
        /// Which message.
        what: &'static str,
        /// Which field.
        field: &'static str,
    },
    /// A signature that is not of this key over this transcript.
    #[error("the signature of {0} is not by this key over this exchange")]
    Signature(&'static str),
    /// A transcript with other messages, or in another order, than the profile has.
    #[error("message {at} of the exchange is not {expected}")]
    Sequence {
        /// Place, from 0.
        at: usize,
        /// What belongs there.
        expected: &'static str,
    },
    /// The trust module refused a command.
    #[error(transparent)]
    Command(#[from] crate::command::Refusal),
}
