//! A TPM 2.0 as foundational trust module: the host's, or the chip of a virtual device.
//!
//! The TPM holds what stays: an identity key (signs as the chip), a restricted attestation key (signs only what the TPM
//! made), a storage key. Device keys are made in it and kept in files that are worthless without it. What it states
//! goes out as raw bytes ([`biotrust_model::evidence::TpmProof`]), to be judged by whoever asked. See
//! docs/developers/tpm.md.
//!
//! Trust: the TPM is what the certificate of its endorsement key says; the bus to it is not trusted (every command runs
//! in a session salted with that key). The directory of key files belongs to this user alone.
//!
//! Blocks: a signature takes 5 to 500 ms, a key 0.1 to 20 s by the kind of TPM. Call it from one thread, and join that
//! thread before the process ends: the C library below must not be unloaded while it works. That library writes errors
//! to stderr by itself; set `TSS2_LOG=all+NONE` in the unit file (it cannot be set from within a threaded process).

mod blob;
mod certificates;
mod chip;
mod connect;
mod counters;
mod csr;
mod endorsement;
mod error;
mod ftm;
mod nv;
mod options;
mod proof;
mod provision;
mod shared;
mod spki;
mod template;

pub use ftm::TpmFtm;
pub use options::Options;
pub use proof::ChipClock;
pub use provision::IdentityRequest;
