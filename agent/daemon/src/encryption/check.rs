//! Is this a certificate that one may encrypt for?

use biotrust_certs::AdopterStore;
use biotrust_model::time::UtcMillis;
use biotrust_sbi::session::EncryptionCertificate;

/// Why a certificate is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    /// It is no use at any time.
    #[error("{0}")]
    Never(String),
    /// Its time is over.
    #[error("it ended on {}", .0.to_wire())]
    Ended(UtcMillis),
    /// Its time has not come.
    #[error("it is valid from {} on", .0.to_wire())]
    NotYet(UtcMillis),
}

/// The certificates of a file or an answer, leaf first, DER.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let chain = biotrust_certs::certificates(bytes)
        .map_err(|(index, problem)| format!("certificate {index}: {problem}"))?;
    let chain: Vec<Vec<u8>> = chain.iter().map(|certificate| certificate.der().to_vec()).collect();
    if chain.is_empty() { Err("no certificate in it".into()) } else { Ok(chain) }
}

/// Holds a chain against everything that is asked of it: RSA-2048, where there are anchors its path, and its dates.
pub(super) fn judge(
    chain: &[Vec<u8>],
    anchors: &AdopterStore,
    now: UtcMillis,
) -> Result<EncryptionCertificate, Unfit> {
    let leaf = chain.first().map(Vec::as_slice).unwrap_or_default();
    let certificate =
        EncryptionCertificate::from_der(leaf).map_err(|error| Unfit::Never(error.to_string()))?;
    // first, and for a moment at which it is valid: what is taken before or after its time was judged all the same
    if anchors.entries().next().is_some() {
        let then = now.max(certificate.not_before()).min(certificate.not_after());
        anchors.verify(leaf, then).map_err(|error| Unfit::Never(error.to_string()))?;
    }
    if now > certificate.not_after() {
        return Err(Unfit::Ended(certificate.not_after()));
    }
    if now < certificate.not_before() {
        return Err(Unfit::NotYet(certificate.not_before()));
    }
    Ok(certificate)
}
