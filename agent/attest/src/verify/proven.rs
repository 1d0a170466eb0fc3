//! What a proof says, whatever kind of module made it.

use std::collections::BTreeMap;

use biotrust_model::time::UtcMillis;
use biotrust_spdm::measurement::DeviceMode;

use super::Finding;
use crate::key_statement::KeyStatement;
use crate::signed::Parsed;
use crate::tpm::Clock;

/// What was found in a proof.
pub(super) struct Proven {
    /// Whether every part of it carries the binding.
    pub(super) binding: Finding,
    /// Whether the module proves that it holds the chip key; `None` where there is no chip.
    pub(super) chip_model: Option<Finding>,
    /// What it says about a device key.
    pub(super) device_key: Result<KeyProof, String>,
    /// What it measured; `None` where it measured nothing.
    pub(super) state: Result<Option<State>, String>,
    /// The module's clock; `None` where it has none or was not asked.
    pub(super) clock: Result<Option<Clock>, String>,
    /// When a certificate inside the proof ends.
    pub(super) valid_until: Option<UtcMillis>,
}

/// A proven device key.
pub(super) enum KeyProof {
    /// Nothing is said about any.
    Absent,
    /// This one.
    Key {
        /// SubjectPublicKeyInfo, DER.
        spki: Vec<u8>,
        /// What is known of it, for the report.
        text: String,
    },
    /// The one with a hash that the chip states.
    Statement(Box<KeyStatement>),
}

/// Measured state.
pub(super) struct State {
    /// Digests by index: SPDM measurements or PCRs.
    pub(super) digests: BTreeMap<u8, Vec<u8>>,
    /// Security version number.
    pub(super) svn: Option<u64>,
    /// Version text.
    pub(super) version: Option<String>,
    /// Device mode.
    pub(super) mode: Option<DeviceMode>,
}

impl Proven {
    /// Of keys in files: nothing is proven but that whoever wrote the evidence holds the device key.
    pub(super) fn software(parsed: &Parsed) -> Self {
        Self {
            binding: Ok("nothing but the evidence itself, which carries the nonce".to_owned()),
            chip_model: None,
            device_key: Ok(KeyProof::Key {
                spki: parsed.spki().to_vec(),
                text: "the key that signs the evidence; where it lives is not proven".to_owned(),
            }),
            state: Ok(None),
            clock: Ok(None),
            valid_until: None,
        }
    }
}
