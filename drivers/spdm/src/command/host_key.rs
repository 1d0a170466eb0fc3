//! Orders about keys that a module beside a sensor keeps for its host, by name.
//!
//! Whoever is on the host can have anything signed by such a key: it cannot be copied, and that is all. A device with one
//! is a device of level L0.

use biotrust_model::evidence::{Binding, KeySlot};

use super::Opcode;

/// Longest name in bytes.
const MAX_NAME: usize = 64;

/// Name of a key: 1 to 64 letters, digits, `-` or `_`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyName(String);

/// Not a name of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to {MAX_NAME} letters, digits, `-` or `_`")]
pub struct KeyNameError;

impl KeyName {
    /// Checks a name.
    ///
    /// # Errors
    /// When it is none.
    pub fn new(name: impl Into<String>) -> Result<Self, KeyNameError> {
        let name = name.into();
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(good) {
            return Ok(Self(name));
        }
        Err(KeyNameError)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What to do with the keys of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyOrder {
    /// Make a key in slot `next`, replacing the one that is there; answered by [`Answer::Csr`](super::Answer::Csr).
    Generate {
        /// For the subject of the request.
        common_name: String,
        /// For the subject of the request.
        organisation: String,
    },
    /// Make the next key the current one and destroy that; answered by [`Answer::Done`](super::Answer::Done).
    Use,
    /// Sign a SHA-256 digest; answered by [`Answer::Signature`](super::Answer::Signature).
    Sign {
        /// Which key.
        slot: KeySlot,
        /// SHA-256.
        digest: [u8; 32],
    },
    /// State that the key was born in the module; answered by [`Answer::Jws`](super::Answer::Jws).
    Attest {
        /// Which key.
        slot: KeySlot,
        /// To be in the statement.
        binding: Binding,
    },
    /// Destroy both keys, where there are any; answered by [`Answer::Done`](super::Answer::Done).
    Destroy,
    /// Which keys are there? Answered by [`Answer::HostKeys`](super::Answer::HostKeys).
    Status,
}

impl KeyOrder {
    pub(super) const fn opcode(&self) -> Opcode {
        match self {
            Self::Generate { .. } => Opcode::HostKeyGenerate,
            Self::Use => Opcode::HostKeyUse,
            Self::Sign { .. } => Opcode::HostKeySign,
            Self::Attest { .. } => Opcode::HostKeyAttest,
            Self::Destroy => Opcode::HostKeyDestroy,
            Self::Status => Opcode::HostKeyStatus,
        }
    }
}

/// The keys of a name: SubjectPublicKeyInfo, DER.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostKeys {
    /// The one that signs.
    pub current: Option<Vec<u8>>,
    /// The one of a rotation that has begun.
    pub next: Option<Vec<u8>>,
}
