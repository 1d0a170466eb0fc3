//! Issuing certificates over any key that can sign: a file's, a token's, a test's.
//!
//! The back ends follow names, not key identifiers, and compare them byte by byte in all that matters. So the issuer of
//! what is made here is a copy of the bytes of the CA certificate's subject, never a name that was taken apart and put
//! together again. A certificate never outlives its issuer: from then on no back end would trust it, whatever it says.
//!
//! Blocking only as far as the key is ([`IssuerKey::sign_rs256`] may ask a token).

mod encode;
mod file;

pub use encode::AltName;
pub(crate) use encode::{SubjectError, key_id, subject};
pub use file::FileIssuer;
pub(crate) use file::{public_key_info, sign_rs256};

use std::time::Duration;

use biotrust_model::time::UtcMillis;

use crate::{Certificate, CertificateError, Csr, SignatureFault};

/// Bits of the RSA key of a device certificate: the compliance tests take nothing else.
pub const DEVICE_KEY_BITS: u32 = 2048;

/// A CA's key, wherever it lives, with its certificate.
pub trait IssuerKey: Send + Sync {
    /// The certificate whose subject becomes the issuer of what is made. For a device provider that is the certificate
    /// that MOSIP re-signed, not the one that was uploaded.
    fn certificate(&self) -> &Certificate;

    /// RSASSA-PKCS1-v1_5 with SHA-256 over `message`. May block.
    ///
    /// # Errors
    /// When the key cannot be used.
    fn sign_rs256(&self, message: &[u8]) -> Result<Vec<u8>, IssuerKeyError>;
}

/// Why a key did not sign, in the words of whoever keeps it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct IssuerKeyError(pub String);

/// Why a certificate was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The issuer may not issue.
    #[error("the issuing certificate \"{0}\" is not that of a CA that may sign certificates")]
    NotCa(String),
    /// The issuer's time is over, or has not come: nothing that it issues would be trusted.
    #[error("the issuing certificate is valid from {} to {}, not when the new one should begin", .from.to_wire(), .to.to_wire())]
    IssuerNotValid {
        /// First instant.
        from: UtcMillis,
        /// Last instant.
        to: UtcMillis,
    },
    /// The validity that was asked for ends before it begins.
    #[error("the validity ends before it begins")]
    EmptyValidity,
    /// The request names nobody.
    #[error("the certificate request has no common name")]
    NoCommonName,
    /// The issuer has no organisation, which every device certificate must repeat.
    #[error("the issuing certificate has no organisation (O)")]
    NoOrganisation,
    /// A device key must be RSA-2048.
    #[error("the key has {0} bits; a device key is RSA-{DEVICE_KEY_BITS}")]
    KeySize(u32),
    /// An object identifier or a name that cannot be encoded.
    #[error("{0:?} cannot be encoded")]
    NotEncodable(String),
    /// No random serial number.
    #[error("no randomness for a serial number")]
    NoRandomness,
    /// The key did not sign.
    #[error("the issuing key did not sign: {0}")]
    Key(#[from] IssuerKeyError),
    /// What it signed is not by the key of the issuing certificate.
    #[error("the issuing key does not belong to the issuing certificate ({0})")]
    WrongKey(SignatureFault),
    /// What was made cannot be read back.
    #[error("the made certificate: {0}")]
    Unreadable(#[from] CertificateError),
}

/// First and last second of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Not before.
    pub from: UtcMillis,
    /// Not after.
    pub to: UtcMillis,
}

impl Validity {
    /// From `now` for `lifetime`.
    #[must_use]
    pub fn starting(now: UtcMillis, lifetime: Duration) -> Self {
        Self { from: now, to: now.plus(lifetime) }
    }

    /// A validity of a day that ended a second before `now`.
    #[must_use]
    pub const fn expired(now: UtcMillis) -> Self {
        Self { from: UtcMillis(now.0 - 86_400_000), to: UtcMillis(now.0 - 1000) }
    }

    /// A validity of a day that begins a minute after `now`.
    #[must_use]
    pub const fn not_yet(now: UtcMillis) -> Self {
        Self { from: UtcMillis(now.0 + 60_000), to: UtcMillis(now.0 + 86_460_000) }
    }
}

/// What a certificate says, but for its issuer and serial number. Encoded as it is, sensible or not.
#[derive(Debug, Clone)]
pub(crate) struct Template<'a> {
    /// DER of the subject.
    pub(crate) subject: Vec<u8>,
    /// SubjectPublicKeyInfo.
    pub(crate) spki_der: &'a [u8],
    pub(crate) validity: Validity,
    pub(crate) is_ca: bool,
    pub(crate) path_len: Option<u8>,
    /// First byte of the key usage: `0x80` digitalSignature, `0x20` keyEncipherment, `0x04` keyCertSign.
    pub(crate) key_usage: u8,
    pub(crate) extended_key_usages: &'a [String],
    pub(crate) alt_names: &'a [AltName],
}

/// First byte of a key usage: digitalSignature.
pub(crate) const DIGITAL_SIGNATURE: u8 = 0x80;
/// keyCertSign and cRLSign.
pub(crate) const CERTIFICATE_SIGNING: u8 = 0x06;

/// What the management server of a device provider does with a verified request: a device certificate that every back
/// end and the compliance tests take (RSA-2048, RS256, not a CA, digitalSignature, no extended key usage).
///
/// The organisation is the issuer's own, whatever was asked for; the common name is the request's. The end is moved
/// forward to that of the issuing certificate where it would lie behind it.
///
/// # Errors
/// When the request or the issuer does not fit, or the key does not sign.
pub fn device_certificate(
    issuer: &dyn IssuerKey,
    csr: &Csr,
    validity: Validity,
) -> Result<Certificate, IssueError> {
    if csr.rsa_bits() != DEVICE_KEY_BITS {
        return Err(IssueError::KeySize(csr.rsa_bits()));
    }
    let above = issuer.certificate();
    let organisation = above.subject().organisation().ok_or(IssueError::NoOrganisation)?;
    let common_name = csr.subject().common_name().ok_or(IssueError::NoCommonName)?;
    if !above.is_ca() || !above.may_sign_certificates() {
        return Err(IssueError::NotCa(above.subject().to_string()));
    }
    let (from, to) = (above.not_before(), above.not_after());
    if !(from..=to).contains(&validity.from) {
        return Err(IssueError::IssuerNotValid { from, to });
    }
    let subject = encode::subject(&[("O", organisation), ("CN", common_name)])
        .map_err(|_| IssueError::NotEncodable(common_name.to_owned()))?;
    certificate(
        issuer,
        &Template {
            subject,
            spki_der: csr.spki_der(),
            validity: Validity { from: validity.from, to: validity.to.min(to) },
            is_ca: false,
            path_len: None,
            key_usage: DIGITAL_SIGNATURE,
            extended_key_usages: &[],
            alt_names: &[],
        },
    )
}

/// Makes exactly the certificate of `template`.
pub(crate) fn certificate(
    issuer: &dyn IssuerKey,
    template: &Template<'_>,
) -> Result<Certificate, IssueError> {
    if template.validity.to < template.validity.from {
        return Err(IssueError::EmptyValidity);
    }
    let above = issuer.certificate();
    let signed_part = encode::signed_part(above, template, &serial_number()?)?;
    let signature = issuer.sign_rs256(&signed_part)?;
    let made = Certificate::parse(&encode::with_signature(&signed_part, &signature))?;
    made.check_signature(above).map_err(IssueError::WrongKey)?;
    Ok(made)
}

/// A positive random serial number of 16 bytes.
fn serial_number() -> Result<[u8; 16], IssueError> {
    let mut bytes = [0u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| IssueError::NoRandomness)?;
    if let Some(first) = bytes.first_mut() {
        *first = (*first & 0x7F) | 0x40;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
