//! A device that does again what a recorded one did (docs/developers/recordings.md): [`SerialReplay`] at the end of a line,
//! [`UsbReplay`] on a bus.
//!
//! It follows the recording in its order: what the device said is said again, with the pauses of the recording, once the
//! host has said what it said then. Where the host says something else the replay has diverged: it is silent from then on,
//! and [`Progress::Diverged`] tells at which line. The host may ask for a register more or less often than it did: the last
//! answer is given again, and questions that are not asked are passed over. Computation only.

mod pty;
mod script;
mod serial;
#[cfg(test)]
mod tests;
mod usb;

pub use pty::ReplayOnPty;
pub use script::{Progress, ReplayError};
pub use serial::SerialReplay;
pub use usb::UsbReplay;
