//! SPDM 1.2 (DMTF DSP0274) for trust modules of biometric devices, without I/O: the profile of
//! docs/developers/spdm.md.
//!
//! - [`message`]: every message as a type, to bytes and back; - [`chain`] and [`measurement`]: what the big ones carry;
//! - [`command`]: the commands of a trust module, inside VENDOR_DEFINED; - [`Requester`] and [`Responder`]: both ends as
//!   state machines; - [`transcript`]: a finished exchange, judged by somebody who did not take part in it.
//!
//! One suite: RSASSA-2048 with SHA-256. Whatever offers or selects another one, or less than the profile asks for, is
//! refused. Nothing here blocks or trusts: every length, reserved field and order is checked.

pub mod chain;
pub mod command;
mod error;
pub mod measurement;
pub mod message;
mod requester;
mod responder;
pub mod signature;
#[cfg(test)]
mod testing;
pub mod transcript;
mod wire;

pub use error::{SpdmError, Why};
pub use requester::{Job, Outcome, Requester, Step};
pub use responder::{Module, ModuleError, Responder};

/// Longest message in bytes: VENDOR_DEFINED with the longest payload.
pub const MAX_MESSAGE: usize = 13 + u16::MAX as usize;
/// MCTP's message type of SPDM (DSP0275), without the integrity-check bit.
pub const MCTP_TYPE: u8 = 0x05;
