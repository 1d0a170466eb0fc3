//! What is known of device models: the quirk files, the match of a found device, and the udev rules and hwdb made from them.
//!
//! A quirk file is data: it says which driver a device gets and how that driver is to treat it, by what the device says
//! of itself on its bus. That is all it can say: which keys are believed, and which level a device has, is decided by
//! certificates and by the driver's code, so that a file of a vendor is never more than a convenience. The format is
//! described in docs/developers/quirks.md.
//!
//! Reads files when a [`Book`] is made and when an installation is checked ([`installed`]); otherwise nothing blocks.

mod book;
mod entry;
mod file;
mod glob;
pub mod hwdb;
pub mod installed;
pub mod known;
pub mod rules;

pub use book::{Book, DIRECTORIES, EMBEDDED, Loaded, Match, NoSuchEntry};
pub use entry::{Entry, Interface, Release, UsbId};
pub use file::{Position, QuirkError};
pub use glob::Glob;

#[cfg(test)]
mod tests;
