//! Vocabulary of biotrust: the words that every other crate speaks.
//!
//! Nothing in here does I/O, spawns, blocks or knows the time; the clock is a trait (see [`time`]).
//! Spellings are those of the MOSIP Secure Biometric Interface 0.9.5, "Shared vocabularies".

mod biometric;
pub mod evidence;
mod identity;
mod problem;
mod score;
mod secret;
mod status;
pub mod time;

pub use biometric::{BioSubType, DeviceSubType, Modality, SubId};
pub use identity::{DeviceId, DeviceIdentity, Env, Level, Purpose, SPEC_VERSION};
pub use problem::{Actor, Language, Problem, ProblemKind};
pub use score::Score;
pub use secret::Secret;
pub use status::DeviceStatus;

/// A word that is not in the vocabulary it was read as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a {what}")]
pub struct UnknownWord {
    /// Name of the vocabulary, for the message.
    pub what: &'static str,
    /// What was found instead.
    pub value: String,
}

/// Declares a closed vocabulary: an enum whose variants have exactly one spelling on the wire.
macro_rules! vocabulary {
    ($(#[$meta:meta])* $name:ident, $what:literal, { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vmeta])* #[doc = concat!("`", $text, "`")] $variant),+ }

        impl $name {
            /// Every word, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The spelling on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.as_str()) }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::UnknownWord;
            /// Exact, case-sensitive.
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                match s {
                    $($text => Ok(Self::$variant),)+
                    other => Err($crate::UnknownWord { what: $what, value: other.chars().take(64).collect() }),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> { s.serialize_str(self.as_str()) }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let s = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(d)?;
                s.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use vocabulary;
