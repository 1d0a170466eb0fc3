//! Certificate requests (PKCS#10): who asks, for which key, and proof that they hold it.

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::certificate::{reason, rsa_bits};
use crate::{Certificate, MAX_CERTIFICATE_BYTES, MIN_RSA_BITS, Name};

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Not the DER of exactly one request.
    #[error("not a DER-encoded PKCS#10 request ({0})")]
    NotARequest(String),
    /// The key in it did not sign it.
    #[error("the request is not signed by the key that it asks a certificate for")]
    BadSignature,
    /// Not RSA, or too short.
    #[error("the request is for {0}; an RSA key of {MIN_RSA_BITS} bits or more is required")]
    Key(String),
}

/// A certificate request whose signature has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Csr {
    subject: Name,
    spki: Vec<u8>,
    rsa_bits: u32,
}

impl Csr {
    /// Reads a request and verifies that the key in it signed it.
    ///
    /// # Errors
    /// When `der` is not exactly one request, its signature is wrong, or its key is not RSA of at least
    /// [`MIN_RSA_BITS`].
    pub fn verify(der: &[u8]) -> Result<Self, CsrError> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(CsrError::NotARequest(format!("{} bytes", der.len())));
        }
        let (rest, request) =
            X509CertificationRequest::from_der(der).map_err(|e| CsrError::NotARequest(reason(&e)))?;
        if !rest.is_empty() {
            return Err(CsrError::NotARequest(format!("{} bytes follow its end", rest.len())));
        }
        let info = &request.certification_request_info;
        let bits = match rsa_bits(&info.subject_pki) {
            Some(bits) if bits >= MIN_RSA_BITS => bits,
            Some(bits) => return Err(CsrError::Key(format!("an RSA key of {bits} bits"))),
            None => return Err(CsrError::Key("a key that is not RSA".to_owned())),
        };
        request.verify_signature().map_err(|_| CsrError::BadSignature)?;
        Ok(Self { subject: Name::read(&info.subject), spki: info.subject_pki.raw.to_vec(), rsa_bits: bits })
    }

    /// Who asks.
    #[must_use]
    pub const fn subject(&self) -> &Name {
        &self.subject
    }

    /// SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// Length of the modulus in bits.
    #[must_use]
    pub const fn rsa_bits(&self) -> u32 {
        self.rsa_bits
    }
}

/// Whether `certificate` is for the key of `csr`.
#[must_use]
pub fn same_key(csr: &Csr, certificate: &Certificate) -> bool {
    csr.spki == certificate.spki_der()
}
