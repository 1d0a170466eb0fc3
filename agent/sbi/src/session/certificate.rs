//! The authentication server's encryption certificate.

use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use biotrust_model::time::UtcMillis;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;

use super::SessionError;
use crate::hash_chain;

/// Length of an RSA-2048 ciphertext: the key manager looks a key up by its thumbprint only if this many bytes follow.
const WRAPPED_LENGTH: usize = 256;

/// A certificate to encrypt for: RSA-2048, because the key manager at the other end knows no other length.
#[derive(Debug)]
pub struct EncryptionCertificate {
    key: OaepPublicEncryptingKey,
    thumbprint: String,
    not_before: UtcMillis,
    not_after: UtcMillis,
}

impl EncryptionCertificate {
    /// Reads a certificate. Its issuer and its dates are the caller's to check: it comes from configuration.
    ///
    /// # Errors
    /// Not a certificate, or its key is not RSA-2048.
    pub fn from_der(der: &[u8]) -> Result<Self, SessionError> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| SessionError::Certificate)?;
        if !rest.is_empty() {
            return Err(SessionError::Certificate);
        }
        let spki = certificate.public_key();
        match spki.parsed() {
            Ok(PublicKey::RSA(rsa)) if rsa.key_size() == WRAPPED_LENGTH * 8 => {}
            Ok(PublicKey::RSA(rsa)) => {
                return Err(SessionError::Key(format!("RSA of {} bits", rsa.key_size())));
            }
            _ => return Err(SessionError::Key("another algorithm".to_owned())),
        }
        let key = PublicEncryptingKey::from_der(spki.raw)
            .map_err(|_| SessionError::Key("an unusable one".to_owned()))
            .and_then(|key| OaepPublicEncryptingKey::new(key).map_err(|_| SessionError::Wrap))?;
        let validity = certificate.validity();
        Ok(Self {
            key,
            thumbprint: hex::encode_upper(hash_chain::sha256(der)),
            not_before: UtcMillis(validity.not_before.timestamp().saturating_mul(1000)),
            not_after: UtcMillis(validity.not_after.timestamp().saturating_mul(1000)),
        })
    }

    /// Reads the first certificate of a PEM file.
    ///
    /// # Errors
    /// As [`Self::from_der`], or there is no certificate in it.
    pub fn from_pem(pem: &[u8]) -> Result<Self, SessionError> {
        x509_parser::pem::Pem::iter_from_buffer(pem)
            .filter_map(Result::ok)
            .find(|block| block.label == "CERTIFICATE")
            .ok_or(SessionError::Certificate)
            .and_then(|block| Self::from_der(&block.contents))
    }

    /// SHA-256 of the DER, 64 upper-case hex digits.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Start of its validity.
    #[must_use]
    pub const fn not_before(&self) -> UtcMillis {
        self.not_before
    }

    /// End of its validity, inclusive.
    #[must_use]
    pub const fn not_after(&self) -> UtcMillis {
        self.not_after
    }

    /// Whether `now` is within its dates.
    #[must_use]
    pub fn is_valid_at(&self, now: UtcMillis) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    pub(super) fn wrap(&self, session_key: &[u8]) -> Result<Vec<u8>, SessionError> {
        let mut wrapped = vec![0; WRAPPED_LENGTH];
        let length = self
            .key
            .encrypt(&OAEP_SHA256_MGF1SHA256, session_key, &mut wrapped, None)
            .map_err(|_| SessionError::Wrap)?
            .len();
        wrapped.truncate(length);
        Ok(wrapped)
    }
}
