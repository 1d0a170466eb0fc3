//! Whether a document was signed by somebody who is there for that: signature, path, extended key usage, organisation.

use biotrust_certs::{Certificate, SignerPurpose, TrustDomain, TrustStore};
use biotrust_model::time::UtcMillis;

use super::{Parsed, ParsedSigner, SignedError};
use crate::shown;

/// Checks that `parsed` is signed with a certificate that is trusted in `store` at `now`, is for `purpose` and, where
/// `organisation` is given, belongs to it: by its own name and by that of the authority which issued it, for under a common
/// root every other authority could write that name into a certificate too. A certificate without the extended key usage of that purpose, such as a
/// device's, is never enough, however well trusted.
///
/// # Errors
/// The first of these that does not hold.
pub fn verify_by_purpose<D: TrustDomain>(
    parsed: &Parsed,
    store: &TrustStore<D>,
    purpose: SignerPurpose,
    organisation: Option<&str>,
    now: UtcMillis,
) -> Result<Certificate, SignedError> {
    let (ParsedSigner::Chain(_), Some(leaf)) = (&parsed.signer, parsed.leaf()) else {
        return Err(SignedError::Untrusted("it shows a bare key and no certificate".to_owned()));
    };
    parsed.verify()?;
    let path = store
        .verify(leaf.der(), now)
        .map_err(|error| SignedError::Untrusted(shown::sentence(&error.to_string())))?;
    let leaf = path.leaf();
    if !leaf.has_purpose(purpose) {
        return Err(SignedError::Purpose { subject: shown::value(&leaf.subject().to_string()), purpose });
    }
    if let Some(expected) = organisation {
        let names = std::iter::once(leaf).chain(path.issuers().take(1));
        let mut names = names.map(|certificate| certificate.subject().organisation().unwrap_or_default());
        if let Some(found) = names.find(|found| *found != expected) {
            let (found, expected) = (shown::value(found), shown::value(expected));
            return Err(SignedError::Organisation { found, expected });
        }
    }
    Ok(leaf.clone())
}
