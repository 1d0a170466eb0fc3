//! Which certificates the FTM will encrypt for: only those under the adopter's anchor that it was made with.
//!
//! A host that could name any key could have the biometrics of everybody encrypted for itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use biotrust_certs::{Certificate, MAX_CERTIFICATE_BYTES, TestPki};
use biotrust_model::time::UtcMillis;

use super::FtmError;

/// Most certificates in a chain that the host sends.
const MAX_CHAIN: usize = 4;
/// The key manager can unwrap keys of this size only.
const ENCRYPTION_BITS: u32 = 2048;

/// Why a certificate is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdopterError {
    /// None, or too many.
    #[error("{0} certificates are not a chain of 1 to {MAX_CHAIN}")]
    Length(usize),
    /// Not DER, or too large.
    #[error("certificate {0} of the chain cannot be read")]
    Unreadable(usize),
    /// The key of the leaf does not fit the key manager.
    #[error("the encryption key must be RSA-{ENCRYPTION_BITS}")]
    Key,
    /// Its time has not come, or is over.
    #[error("{0} is not valid at the time of the device's clock")]
    Dates(String),
    /// An issuer that may not issue.
    #[error("{0} is not an authority")]
    NotAnAuthority(String),
    /// It does not lead to the anchor.
    #[error("the chain of {0} does not end under the adopter's anchor of this device")]
    Foreign(String),
}

/// The adopter's root, as the factory gets it.
pub(super) fn anchor(pki: &TestPki) -> Result<Certificate, FtmError> {
    let pem = pki.adopter_anchor_pem();
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(body).map_err(|_| FtmError::Certificate("the adopter's anchor"))?;
    Certificate::parse(&der).map_err(|_| FtmError::Certificate("the adopter's anchor"))
}

/// Checks that `chain` (DER, leaf first) leads to `anchor` at `now` and gives its leaf.
///
/// # Errors
/// The first rule that does not hold.
pub(super) fn check(
    chain: &[Vec<u8>],
    anchor: &Certificate,
    now: UtcMillis,
) -> Result<Certificate, AdopterError> {
    if chain.is_empty() || chain.len() > MAX_CHAIN {
        return Err(AdopterError::Length(chain.len()));
    }
    let mut certificates = Vec::with_capacity(chain.len());
    for (index, der) in chain.iter().enumerate() {
        let parsed = (der.len() <= MAX_CERTIFICATE_BYTES).then(|| Certificate::parse(der));
        let Some(Ok(certificate)) = parsed else { return Err(AdopterError::Unreadable(index)) };
        certificates.push(certificate);
    }
    // A chain may or may not bring the anchor along; what counts is ours.
    certificates.retain(|certificate| certificate.der() != anchor.der());
    let mut path = certificates.into_iter();
    let leaf = path.next().ok_or(AdopterError::NotAnAuthority(anchor.subject().to_string()))?;
    if leaf.rsa_bits() != Some(ENCRYPTION_BITS) || leaf.is_ca() {
        return Err(AdopterError::Key);
    }
    current(&leaf, now)?;
    let mut below = leaf.clone();
    for issuer in path {
        issued(&below, &issuer, now)?;
        below = issuer;
    }
    issued(&below, anchor, now)?;
    Ok(leaf)
}

fn issued(certificate: &Certificate, issuer: &Certificate, now: UtcMillis) -> Result<(), AdopterError> {
    if certificate.issuer() != issuer.subject() || certificate.check_signature(issuer).is_err() {
        return Err(AdopterError::Foreign(certificate.subject().to_string()));
    }
    if !issuer.is_ca() || !issuer.may_sign_certificates() || issuer.unhandled_critical().is_some() {
        return Err(AdopterError::NotAnAuthority(issuer.subject().to_string()));
    }
    current(issuer, now)
}

fn current(certificate: &Certificate, now: UtcMillis) -> Result<(), AdopterError> {
    if (certificate.not_before()..=certificate.not_after()).contains(&now) {
        Ok(())
    } else {
        Err(AdopterError::Dates(certificate.subject().to_string()))
    }
}
