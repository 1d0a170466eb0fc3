//! Recordings: what went between a driver and its device, in a file that can be read by strangers
//! (docs/developers/recordings.md).
//!
//! A [`Recorder`] is put around the [`Port`](biotrust_driver_api::Port) of a device and passes everything on, unchanged and
//! without delay. What it writes has been through a [`Scrub`] first, which takes out fingers, faces, keys and passwords:
//! nothing else ever reaches the file. A driver that brings no scrubber is recorded without contents ([`Blank`]).
//!
//! [`Recording::read`] trusts no file.

mod format;
mod ports;
mod recorder;
mod scrub;
#[cfg(test)]
mod tests;

pub use format::{Bytes, Entry, Failed, FormatError, Header, Mark, Op, Recording, Request, Usb, VERSION};
pub use recorder::{Recorder, Summary};
pub use scrub::{Blank, Scrub};
