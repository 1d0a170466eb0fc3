//! Writing what clients read: strict, because they are.
//!
//! The desktop and Android clients refuse any member that they do not know, the compliance kit refuses missing ones and
//! decodes with `atob`, the browser client wants `error` as an object with the string `"0"`. So each answer has exactly
//! the members below, all JSON is ASCII (also what is not signed, so that no reader's character set matters), and
//! failures have the shape of their verb. Entries are made one by one and put together, so that what one device cannot
//! deliver never costs another one its entry.

mod capture;
mod data;
mod device;

pub use capture::{CaptureWriter, capture_error, stream_error};
pub use data::{BioValue, DataPayload, Use};
pub use device::{
    DeviceDescription, device_info_payload, discovery_answer, discovery_entry, discovery_error, info_answer,
    info_entry,
};

#[cfg(test)]
mod tests;
