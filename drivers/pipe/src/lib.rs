//! The way to hardware: byte pipes over serial lines, sockets and pseudo-terminals, and ports on USB, HID and cameras.
//!
//! The one place near the system's device nodes: [`ports::open`] opens one, [`links`] tells of those that come and go,
//! [`recover`] decides what is done about a device that fails. Reads and writes block, each within its own time limit.
//! Nothing about the other end is trusted: it may be silent, not read, talk rubbish, or go away at any moment.

mod fd;
pub mod hid;
pub mod hotplug;
mod limit;
pub mod links;
mod node;
pub mod ports;
pub mod pty;
pub mod record;
pub mod recover;
mod serial;
mod tcp;
#[cfg(test)]
mod tests;
mod unix;
pub mod usb;
pub mod video;

pub use serial::SerialPipe;
pub use tcp::TcpPipe;
pub use unix::UnixPipe;
