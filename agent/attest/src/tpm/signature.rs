//! TPMT_SIGNATURE: RSASSA with SHA-256, and nothing else.

use super::reader::{Reader, TpmError};
use super::{RSASSA, SHA256};

/// The signature itself, big endian.
///
/// # Errors
/// What it is instead.
pub fn signature(bytes: &[u8]) -> Result<&[u8], TpmError> {
    let mut reader = Reader::new("TPMT_SIGNATURE", bytes);
    reader.constant("sigAlg", RSASSA)?;
    reader.constant("hash", SHA256)?;
    let signature = reader.sized()?;
    reader.end()?;
    Ok(signature)
}
