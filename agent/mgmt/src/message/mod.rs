//! What is said. Each kind is a variant here; what is not here is refused as unknown.
//!
//! No kind and no command can start a capture, and no body has a place for biometric or transaction data: bodies are
//! closed objects, an unknown member is an error.

/// Declares the kinds of an enum of bodies: a closed list with one spelling each.
macro_rules! kinds {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $(#[doc = concat!("`", $text, "`")] $variant),+ }

        impl $name {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The spelling on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The kind of this spelling; `None` where there is none.
            #[must_use]
            pub fn from_wire(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.as_str()) }
        }
    };
}

mod digital_id;
mod reply;
mod request;

pub use digital_id::{Presented, PresentedError};
pub use reply::{Command, CommandKind, Refusal, Reply, ReplyBody, ReplyKind, Retry};
pub use request::{MAX_TEXT, Report, Request, RequestBody, RequestKind, UpdateOutcome};

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Why some JSON is not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not an object with the members of a message.
    #[error("not a message of the management protocol: {0}")]
    Members(String),
    /// Another version of the protocol.
    #[error("version {0} of the management protocol is not known; version 1 is")]
    Version(u32),
    /// A kind that does not exist.
    #[error("there is no message of kind {0:?}")]
    Kind(String),
    /// The body does not fit the kind.
    #[error("the body of {kind:?} is not as it must be: {why}")]
    Body {
        /// The kind.
        kind: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A text is longer than it may be.
    #[error("{0} is longer than it may be")]
    TooLong(&'static str),
}

/// Reads a body strictly.
fn body<T: DeserializeOwned>(kind: &'static str, value: Value) -> Result<T, MessageError> {
    serde_json::from_value(value).map_err(|error| MessageError::Body { kind, why: short(&error) })
}

/// What the parser says, without an excerpt of what it read.
fn short(error: &serde_json::Error) -> String {
    error.to_string().chars().filter(|c| !c.is_control()).take(200).collect()
}

/// A kind as it is shown in an error: short and printable.
fn printable(kind: &str) -> String {
    kind.chars().filter(|c| c.is_ascii_graphic()).take(40).collect()
}

#[cfg(test)]
mod tests;
