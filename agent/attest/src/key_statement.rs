//! The statement of a chip about a device key that was born in it (SPDM modules; a TPM certifies keys itself).
//!
//! A compact JWS of type [`TYP`] by the chip key. SPDM signs nothing but its own transcripts, so a module that speaks it
//! says in a document of its own what TPM2_Certify says for a TPM.

use biotrust_model::evidence::Binding;
use serde::{Deserialize, Serialize};

use crate::shown;
use crate::wire::{bytes32, hex32, sha256};

/// `typ` of the JWS.
pub const TYP: &str = "key-statement+jwt";

/// Longest statement, in characters: eight certificates, twice in base64.
pub const MAX_LENGTH: usize = 64 << 10;

/// What the chip says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyStatement {
    /// Version of this form: 1.
    pub v: u8,
    /// The [`Binding`] that it was asked for.
    #[serde(with = "bytes32")]
    pub binding: [u8; 32],
    /// SHA-256 of the key's SubjectPublicKeyInfo.
    #[serde(with = "hex32")]
    pub spki_sha256: [u8; 32],
    /// `generated`: made inside. Nothing else is accepted.
    pub origin: String,
    /// Whether the private half can leave. Only `false` is accepted.
    pub exportable: bool,
    /// `sign`. Nothing else is accepted.
    pub usage: String,
    /// Rotations of the device key so far.
    pub rotation: u64,
    /// Serial number of the trust module.
    pub ftm_serial: String,
    /// Security version number of the running firmware.
    pub svn: u64,
    /// SHA-256 of the running firmware.
    #[serde(with = "hex32")]
    pub firmware_sha256: [u8; 32],
    /// Starts of the device so far.
    pub boot_count: u64,
    /// `normal`. Nothing else is accepted.
    pub device_mode: String,
}

/// The state of the chip that goes into every statement.
#[derive(Debug, Clone, Copy)]
pub struct ChipState<'a> {
    /// Serial number of the trust module.
    pub ftm_serial: &'a str,
    /// Security version number of the running firmware.
    pub svn: u64,
    /// SHA-256 of the running firmware.
    pub firmware_sha256: [u8; 32],
    /// Starts of the device so far.
    pub boot_count: u64,
    /// Rotations of the device key so far.
    pub rotation: u64,
    /// `normal`, or what else it is.
    pub device_mode: &'a str,
}

impl KeyStatement {
    /// What a chip in `state` says about a key that it has generated and never lets out.
    #[must_use]
    pub fn generated(binding: &Binding, spki: &[u8], state: &ChipState<'_>) -> Self {
        Self {
            v: 1,
            binding: binding.0,
            spki_sha256: sha256(spki),
            origin: "generated".to_owned(),
            exportable: false,
            usage: "sign".to_owned(),
            rotation: state.rotation,
            ftm_serial: state.ftm_serial.to_owned(),
            svn: state.svn,
            firmware_sha256: state.firmware_sha256,
            boot_count: state.boot_count,
            device_mode: state.device_mode.to_owned(),
        }
    }

    /// The payload of the JWS.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Numbers, strings and booleans always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// A sentence: what is not as it must be.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        let read: Self = serde_json::from_slice(json).map_err(|error| {
            format!("the key statement cannot be read: {}", shown::value(&error.to_string()))
        })?;
        if read.v != 1 {
            return Err(format!("the key statement has version {}; only 1 is known", read.v));
        }
        Ok(read)
    }

    /// Whether it says of the key of `spki` that it was born in the chip, cannot leave it, and only signs.
    ///
    /// # Errors
    /// A sentence: what it says instead.
    pub fn vouches_for(&self, spki: &[u8]) -> Result<(), String> {
        if self.spki_sha256 != sha256(spki) {
            return Err("the chip's statement is about another key".to_owned());
        }
        if self.origin != "generated" {
            return Err(format!(
                "the chip says that the key is \"{}\", not generated in it",
                shown::value(&self.origin)
            ));
        }
        if self.exportable {
            return Err("the chip says that the key can be exported".to_owned());
        }
        if self.usage != "sign" {
            return Err(format!(
                "the chip says that the key is for \"{}\", not to sign",
                shown::value(&self.usage)
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement() -> KeyStatement {
        let state = ChipState {
            ftm_serial: "FTM0001",
            svn: 3,
            firmware_sha256: [9; 32],
            boot_count: 12,
            rotation: 2,
            device_mode: "normal",
        };
        KeyStatement::generated(&Binding([1; 32]), b"key", &state)
    }

    #[test]
    fn it_vouches_for_one_key_only() {
        assert_eq!(statement().vouches_for(b"key"), Ok(()));
        assert!(statement().vouches_for(b"other").unwrap_err().contains("another key"));
        let imported = KeyStatement { origin: "imported".to_owned(), ..statement() };
        assert!(imported.vouches_for(b"key").unwrap_err().contains("imported"));
        let exportable = KeyStatement { exportable: true, ..statement() };
        assert!(exportable.vouches_for(b"key").unwrap_err().contains("exported"));
        let decrypts = KeyStatement { usage: "decrypt".to_owned(), ..statement() };
        assert!(decrypts.vouches_for(b"key").unwrap_err().contains("decrypt"));
    }

    #[test]
    fn json_and_back() {
        let json = statement().to_json();
        assert_eq!(KeyStatement::from_json(json.as_bytes()), Ok(statement()));
        let second = json.replace(r#""v":1"#, r#""v":2"#);
        assert!(KeyStatement::from_json(second.as_bytes()).unwrap_err().contains("version 2"));
        let more = json.replace(r#""v":1"#, r#""v":1,"x":1"#);
        assert!(KeyStatement::from_json(more.as_bytes()).unwrap_err().contains("cannot be read"));
    }
}
