//! Attestation of trust modules: evidence, and the judgement on it, without I/O.
//!
//! - [`Challenge`] is what somebody who wants evidence gives out; [`evidence::payload`] is what is signed as an answer.
//! - [`verify`] judges evidence by named checks and says what level it is worth. It believes nobody in between: the raw
//!   proof of the module is inside, and everything is derived from that.
//! - [`metadata`] is what an adopter says, signed, about models: level, status, minimum versions, reference values.
//! - [`signed`] makes and reads the compact JWS that all of this travels in.
//!
//! Nothing here blocks, and time is an argument. All input is hostile: read within limits, never with a panic.

#[cfg(test)]
mod attacks;
mod challenge;
pub mod evidence;
pub mod key_statement;
pub mod manifest;
pub mod metadata;
mod rsa;
mod shown;
pub mod signed;
pub mod time_token;
pub mod tpm;
mod verify;
mod wire;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use challenge::{Challenge, ChallengeError, MAX_LIFETIME};
pub use verify::{Attested, Check, CheckName, Expected, FailedCheck, Outcome, Policy, Report, verify};
