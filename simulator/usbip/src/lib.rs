//! The device side of USB/IP: virtual USB devices for the kernel (vhci), for `usbip attach` over TCP, and for drivers in
//! the same process.
//!
//! A virtual device is a [`UsbDevice`]: bytes in, bytes out, no threads, no sockets. A [`Gadget`] holds one and can be
//! plugged in somewhere, pulled and plugged in again:
//!
//! - [`vhci::attach`] makes it a device of this machine's kernel (needs root and the module `vhci-hcd`);
//! - [`server::Server`] offers it to anybody's `usbip attach`;
//! - [`LocalPort::plug`] is a [`UsbPort`](biotrust_driver_api::UsbPort) on it, for tests of drivers without a kernel.
//!
//! All three speak USB/IP to the one [`Engine`]. It can do what hardware does and other device sides cannot: NAK (leave
//! a transfer pending), halt an endpoint, never answer, take back what the host calls off, and go away at any moment.
//! [`Faulty`] makes any device misbehave. The host is not trusted: its lengths and its number of transfers are bounded.

mod client;
mod descriptor;
mod device;
mod engine;
mod fault;
mod gadget;
mod local;
pub mod server;
#[cfg(test)]
mod testing;
pub mod vhci;
mod wire;

pub use descriptor::{DescriptorError, Descriptors, Function, Identity, Speed, interfaces};
pub use device::{Control, Reply, UsbDevice, Waker};
pub use engine::{Engine, Statistics};
pub use fault::{Fault, Faulty, Switch, UnknownFault};
pub use gadget::{Connection, Gadget};
pub use local::LocalPort;
pub use wire::{HEADER, LONGEST_TRANSFER, MOST_PENDING, WireError};
