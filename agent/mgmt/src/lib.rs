//! The management protocol between a host and its device provider: what is said, how it is signed, and the client as a
//! machine. No I/O, no clock, no threads; times and random numbers are arguments.
//!
//! - [`message`]: requests, replies, and the commands that a server may give. Every kind is in an enum, and none of them
//!   starts a capture.
//! - [`envelope`]: signed requests and replies, and the checks on them: who signed, for whom, and when.
//! - [`replay`]: which messages are too old, too early, or known already.
//! - [`client`]: what a host does for one device between plug-in and de-registration.
//! - [`time`]: the provider's time, bound to one run of the host.
//!
//! The protocol is described in docs/developers/management-protocol.md.

pub mod client;
pub mod envelope;
pub mod message;
pub mod replay;
pub mod time;
mod wire;

pub use wire::{Bytes, MessageId, Nonce, Sha256, Stamp};

/// Version of the protocol: member `mgmt` of every message.
pub const VERSION: u32 = 1;

/// Largest request or reply, in bytes of its compact JWS: the longest evidence that is read, in base64 once more, fits.
pub const MAX_MESSAGE: usize = 512 * 1024;

/// Path of the one resource that messages are posted to.
pub const PATH: &str = "/v1/message";
