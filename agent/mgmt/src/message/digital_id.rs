//! The digital ID that every message carries.

use biotrust_attest::signed::{self, ParsedSigner};
use biotrust_certs::Certificate;
use biotrust_model::DeviceIdentity;
use biotrust_sbi::digital_id::{DigitalId, DigitalIdError};
use biotrust_sbi::jws;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A digital ID as presented: signed, or for a device without any certificate, as plain JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Presented {
    /// Compact JWS: by the chip key at L1, by the device key at L0.
    Signed(String),
    /// The JSON object itself.
    Plain(Value),
}

/// Why a digital ID does not belong to its message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PresentedError {
    /// Not a JWS, or its signature is wrong.
    #[error("the digital ID is not signed as it must be: {0}")]
    Signature(String),
    /// Not a digital ID.
    #[error(transparent)]
    Members(#[from] DigitalIdError),
    /// Signed by another key than the message.
    #[error("the digital ID is signed by another key than the message that carries it")]
    OtherSigner,
    /// A signer with a certificate must sign its digital ID too.
    #[error("the digital ID is not signed, although its device has a certificate")]
    NotSigned,
    /// Of another device.
    #[error("the digital ID is of device {found}, the message of {expected}")]
    OtherSerial {
        /// Of the digital ID.
        found: String,
        /// Of the message.
        expected: String,
    },
}

impl Presented {
    /// The plain form of `digital_id`.
    #[must_use]
    pub fn plain(digital_id: &DigitalId) -> Self {
        Self::Plain(serde_json::from_str(&digital_id.to_json()).unwrap_or_default())
    }

    /// Reads it without believing it.
    ///
    /// # Errors
    /// When it is no digital ID.
    pub fn read(&self) -> Result<DigitalId, PresentedError> {
        match self {
            Self::Plain(value) => Ok(DigitalId::parse(value.to_string().as_bytes())?),
            Self::Signed(compact) => {
                let parsed =
                    jws::parse(compact).map_err(|error| PresentedError::Signature(error.to_string()))?;
                Ok(DigitalId::parse(&parsed.payload)?)
            }
        }
    }

    /// Verifies that it is of device `serial` and signed by whoever signed the message. A key without a certificate
    /// signs no digital ID: that of its message is plain.
    ///
    /// # Errors
    /// When it is not.
    pub fn verify(&self, serial: &str, message: &signed::Parsed) -> Result<DeviceIdentity, PresentedError> {
        match (self, &message.signer) {
            (Self::Signed(compact), ParsedSigner::Chain(_)) => {
                let wrong = |error: jws::JwsError| PresentedError::Signature(error.to_string());
                let parsed = jws::parse(compact).map_err(wrong)?;
                parsed.verify().map_err(wrong)?;
                let same = parsed
                    .x5c
                    .first()
                    .and_then(|der| Certificate::parse(der).ok())
                    .is_some_and(|certificate| certificate.spki_der() == message.spki());
                if !same {
                    return Err(PresentedError::OtherSigner);
                }
            }
            (Self::Plain(_), ParsedSigner::Key(_)) => {}
            (Self::Signed(_), ParsedSigner::Key(_)) => return Err(PresentedError::OtherSigner),
            (Self::Plain(_), ParsedSigner::Chain(_)) => return Err(PresentedError::NotSigned),
        }
        let identity = self.read()?.identity;
        if identity.serial_no == serial {
            Ok(identity)
        } else {
            let short = |text: &str| text.chars().filter(|c| !c.is_control()).take(64).collect();
            Err(PresentedError::OtherSerial { found: short(&identity.serial_no), expected: short(serial) })
        }
    }
}
