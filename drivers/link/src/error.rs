//! How the other end can break the protocol.

use biotrust_driver_api::{DeviceError, DeviceErrorKind};
use biotrust_model::Level;

use crate::message::Op;

/// The other end broke the protocol, or cannot be spoken to. No variant holds bytes of a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// An answer grew over [`crate::MAX_MESSAGE`], or a request or event over [`crate::MAX_UNASKED`].
    #[error("a message is longer than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// A megabyte without one good frame.
    #[error("what comes over the line is not MCTP")]
    Noise,
    /// A message that does not have the shape that it must have.
    #[error("malformed {what}: {why}")]
    Malformed {
        /// Which message.
        what: &'static str,
        /// What is wrong with it; names members, shows no values of secrets.
        why: String,
    },
    /// An answer to another operation than was asked for.
    #[error("asked for {asked:?}, answered as operation {answered:#04x}")]
    WrongAnswer {
        /// What was asked.
        asked: Op,
        /// Operation in the answer.
        answered: u8,
    },
    /// A device that claims one level and answers as the other.
    #[error("it claims level {0} and answers a capture as the other level does")]
    WrongLevel(Level),
    /// A capture with more or fewer parts than were asked for.
    #[error("{asked} parts were asked for, {answered} came")]
    WrongCount {
        /// Parts in the job; one for a face.
        asked: usize,
        /// Parts in the answer.
        answered: usize,
    },
    /// It speaks another version of the protocol.
    #[error("it speaks version {found} of the link protocol, not {}", crate::message::VERSION)]
    Version {
        /// What it speaks.
        found: u8,
    },
    /// Too many requests are unanswered.
    #[error("too many requests are waiting for this device")]
    TooManyRequests,
}

impl LinkError {
    /// As the error of the device on the line `name`.
    pub(crate) fn on(self, name: &str) -> DeviceError {
        let kind = match self {
            Self::TooManyRequests => DeviceErrorKind::Busy,
            _ => DeviceErrorKind::Protocol,
        };
        DeviceError::caused(kind, format!("{name}: {self}"), self)
    }
}
