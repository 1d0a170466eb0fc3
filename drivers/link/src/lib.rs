//! The biotrust link: how the host and a device talk over a serial line, USB or HID (docs/developers/link-protocol.md).
//!
//! - `mctp`: bytes to messages and back;
//! - [`message`]: what the messages say;
//! - [`host`] and [`device`]: both ends as state machines without I/O;
//! - [`driver`]: the driver that the daemon opens devices with;
//! - [`module`]: the line to a trust module beside a sensor;
//! - [`recording`]: what may be written of the traffic.
//!
//! Beside its own messages a line carries SPDM (`biotrust-spdm`), for the trust module of the device: here they are
//! bytes, one question open at a time.
//!
//! Trust: the host takes nothing that a device says for true; it only makes sure that it is well-formed and of the
//! level that the device claimed. Appraisal is the daemon's. Only [`driver`] and [`module`] block.

pub mod device;
pub mod driver;
mod error;
pub mod host;
mod mctp;
pub mod message;
pub mod module;
pub mod recording;
#[cfg(test)]
mod spdm_tests;
#[cfg(test)]
mod testing;

pub use device::{DeviceRole, Incoming, SpdmTicket, Ticket};
pub use driver::LinkFactory;
pub use error::LinkError;
pub use host::{HostRole, Received, Refusal};
pub use mctp::{DEVICE_EID, Framing, HOST_EID, MAX_MESSAGE, MAX_UNASKED, hid};
