//! A JWS against the certificate that must have signed it.

use biotrust_certs::Certificate;
use biotrust_sbi::jws::{self, Parsed};

use super::SignedFault;

/// Takes `compact` apart and verifies that the first of `certificates` signed it, and that its header lists exactly
/// these. A header with more or other certificates would be refused by one back end or another.
pub(super) fn open(compact: &str, certificates: &[&Certificate]) -> Result<Parsed, SignedFault> {
    let parsed = jws::parse(compact).map_err(SignedFault::Form)?;
    let first = certificates.first().map(|certificate| certificate.der());
    if parsed.x5c.first().map(Vec::as_slice) != first {
        return Err(SignedFault::Signer);
    }
    parsed.verify().map_err(SignedFault::Signature)?;
    if !parsed.x5c.iter().map(Vec::as_slice).eq(certificates.iter().map(|certificate| certificate.der())) {
        return Err(SignedFault::Certificates { expected: certificates.len(), found: parsed.x5c.len() });
    }
    let payload = compact.split('.').nth(1).unwrap_or_default();
    if payload.contains(['-', '_']) || !parsed.payload.is_ascii() {
        return Err(SignedFault::Alphabet);
    }
    Ok(parsed)
}
