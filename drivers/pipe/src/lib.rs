//! Byte pipes over serial lines, TCP and pseudo-terminals, and a watcher for serial links that come and go.
//!
//! The one place near the system's terminals. Reads and writes block, each within its own time limit; nothing else does.
//! It trusts nothing about the other end: it may be silent, not read, or go away at any moment.

mod fd;
pub mod links;
pub mod pty;
mod serial;
mod tcp;
mod unix;
#[cfg(test)]
mod tests;

pub use serial::SerialPipe;
pub use tcp::TcpPipe;
pub use unix::UnixPipe;
