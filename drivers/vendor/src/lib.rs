//! Drivers of vendors as processes of their own.
//!
//! A vendor's closed SDK runs in a process that the service starts, watches and can lose: a crash costs its devices for
//! about a second and nothing else. Both sides of the protocol are here:
//!
//! - [`wire`]: the frames, pure ([docs/developers/vendor-drivers.md] is the manual);
//! - [`host`]: what the service does: start, watch, kill, and open devices;
//! - [`sdk`]: what a driver in Rust is built with (a driver in C has `include/biotrust_driver.h`);
//! - [`conformance`]: the checks that a vendor runs against a driver.
//!
//! Trust: nothing that a driver says is believed beyond what a plain sensor could say. A device behind one is L0, unless
//! it speaks the link protocol itself and proves what it is.

pub mod conformance;
pub mod host;
pub mod sdk;
pub mod wire;
