//! The chip of a device: the key that is its identity, and counters that only its own rules move.
//!
//! Everything else in the device asks it through [`Chip`]; nothing gets a private key out of it.

mod key;
mod provision;
mod software;
mod swtpm;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use biotrust_certs::TestPki;
use biotrust_model::time::UtcMillis;

pub(crate) use key::SoftwareKey;
pub use provision::{Issued, Provisioning};
use software::SoftwareChip;
#[cfg(test)]
pub(crate) use software::SoftwareCounters;
use swtpm::SwtpmChip;

use crate::options::ChipKind;

/// Life of a chip certificate.
pub(crate) const CHIP_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Failed attempts to update after which the update path is locked.
pub const MAX_FAILED_ATTEMPTS: u32 = 10;

/// Why a chip did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the chip failed at {doing}: {why}")]
pub struct ChipError {
    /// What was asked for.
    pub doing: &'static str,
    /// What went wrong.
    pub why: String,
}

impl ChipError {
    pub(crate) fn new(doing: &'static str, why: impl std::fmt::Display) -> Self {
        Self { doing, why: why.to_string() }
    }
}

/// Counters that survive everything and are moved by their own rules only.
pub(crate) trait Counters: Send + Sync {
    /// Smallest security version number that may run.
    fn svn_floor(&self) -> Result<u64, ChipError>;

    /// Raises it; a smaller number changes nothing.
    fn raise_svn_floor(&self, to: u64) -> Result<(), ChipError>;

    /// Failed attempts to update since the last success.
    fn failed_attempts(&self) -> Result<u32, ChipError>;

    /// One more of them.
    fn count_failed_attempt(&self) -> Result<(), ChipError>;

    /// An update succeeded.
    fn clear_failed_attempts(&self) -> Result<(), ChipError>;

    /// Counts a start and gives their number.
    fn count_boot(&self) -> Result<u64, ChipError>;
}

/// A device key in a chip. It is destroyed when nobody holds it any more.
pub(crate) trait DeviceKey: Send + Sync {
    /// SubjectPublicKeyInfo, DER.
    fn public_key_der(&self) -> &[u8];

    /// RSASSA-PKCS1-v1_5 with SHA-256 over `message`.
    fn sign_rs256(&self, message: &[u8]) -> Result<Vec<u8>, ChipError>;

    /// The same over a message of which only the SHA-256 is known. Not every chip can do that.
    fn sign_digest(&self, digest: &[u8; 32]) -> Result<Vec<u8>, ChipError> {
        let _ = digest;
        Err(ChipError::new("signing a digest", "it signs messages only"))
    }
}

/// A device key that was just made, and the PKCS#10 request (DER) for its certificate.
pub(crate) struct Made {
    pub(crate) key: Arc<dyn DeviceKey>,
    pub(crate) csr: Vec<u8>,
}

/// A chip. Blocking: a signature takes milliseconds.
pub(crate) trait Chip: Send + Sync {
    /// SubjectPublicKeyInfo of the chip key, DER.
    fn public_key_der(&self) -> &[u8];

    /// Its certificate and what leads to the anchor, DER, without the root.
    fn chain(&self) -> &[Vec<u8>];

    /// RSASSA-PKCS1-v1_5 with SHA-256 over `message`, by the chip key.
    fn sign_rs256(&self, message: &[u8]) -> Result<Vec<u8>, ChipError>;

    /// Makes a device key, or takes the one that was made ahead, with a request in this name.
    fn make_key(&self, common_name: &str, organisation: &str) -> Result<Made, ChipError>;

    /// Makes the next device key ahead of time, unless there is one: some 100 ms.
    fn make_ahead(&self) -> Result<(), ChipError>;

    /// Its counters.
    fn counters(&self) -> &dyn Counters;
}

/// Makes a new chip, and the FTM provider certifies it as `ftm_serial` from `from` on: 150 ms for a chip in software, some
/// seconds for a TPM.
pub(crate) fn make(
    kind: ChipKind,
    pki: &TestPki,
    ftm_serial: &str,
    from: UtcMillis,
) -> Result<Box<dyn Chip>, ChipError> {
    Ok(match kind {
        ChipKind::Software => Box::new(SoftwareChip::new(pki, ftm_serial, from)?),
        ChipKind::Swtpm => Box::new(SwtpmChip::new(pki, ftm_serial, from)?),
    })
}
