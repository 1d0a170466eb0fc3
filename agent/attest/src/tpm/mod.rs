//! Structures of a TPM 2.0 ("Part 2: Structures"), read strictly: what a verifier needs of them and no more.
//!
//! Everything is big endian. A size that does not fit, a byte too many or an algorithm outside the profile (RSA,
//! RSASSA, SHA-256) is an error that names the structure.

mod attest;
mod credential;
mod public;
mod reader;
mod signature;

pub use attest::{Attest, Clock, Content, MAGIC, PcrSelection};
pub use credential::{CredentialError, make_credential};
pub use public::{Attributes, Public, name, qualified_name_in_endorsement};
pub use reader::TpmError;
pub use signature::signature;

/// TPM_ALG_SHA256.
const SHA256: u16 = 0x000B;
/// TPM_ALG_RSASSA.
const RSASSA: u16 = 0x0014;
/// TPM_ALG_NULL.
const NULL: u16 = 0x0010;

#[cfg(test)]
mod tests;
