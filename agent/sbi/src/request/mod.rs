//! Reading what clients send: tolerant of form, never of a missing mandatory member.
//!
//! Real clients disagree on types (a count is `"4"` here and `4` there), send members that the specification does not
//! know and leave out others; row R3 of the client notes lists what must be accepted. What decides over a capture is
//! mandatory all the same and never defaulted: the compliance kit renames one member after the other and expects an
//! error each time. Bodies are untrusted: [`MAX_BODY`] bytes, no member twice, nesting bounded by the JSON reader.
//!
//! Subjects of problems name members, never values.

mod capture;
mod fields;
mod json;

pub use capture::{BioRequest, CaptureRequest, MAX_TIMEOUT, ReadOptions, parse_capture};

use std::time::Duration;

use biotrust_model::{Modality, Problem, SubId};
use fields::{Fields, invalid};

/// Longest body that is read, in bytes.
pub const MAX_BODY: usize = 256 << 10;

/// MOSIPDISC: which devices to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiscoverRequest {
    /// Only this modality; `None` for every device.
    pub modality: Option<Modality>,
}

/// STREAM: which preview to send, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRequest {
    /// Id of the device.
    pub device_id: String,
    /// Part of the device.
    pub sub_id: SubId,
    /// When to stop; `None` leaves it to the daemon (5 minutes by the specification).
    pub timeout: Option<Duration>,
}

/// Reads the body of MOSIPDISC. The type is spelled exactly: the compliance kit sends `FINGER` and expects an error.
///
/// # Errors
/// No JSON object, or `type` missing or none of the four words.
pub fn parse_discover(body: &[u8]) -> Result<DiscoverRequest, Problem> {
    let object = json::parse(body)?;
    let fields = Fields::new(&object, "");
    let modality = match fields.text("type")?.as_str() {
        "Biometric Device" => None,
        word => Some(word.parse().map_err(|_| invalid("type: Biometric Device, Finger, Iris or Face"))?),
    };
    Ok(DiscoverRequest { modality })
}

/// Reads the body of STREAM.
///
/// # Errors
/// No JSON object, or a member missing or impossible.
pub fn parse_stream(body: &[u8]) -> Result<StreamRequest, Problem> {
    let object = json::parse(body)?;
    let fields = Fields::new(&object, "");
    Ok(StreamRequest {
        device_id: fields.device_id("deviceId")?,
        sub_id: fields.sub_id("deviceSubId")?,
        timeout: fields.get("timeout").map(|_| capture::timeout(&fields)).transpose()?,
    })
}

#[cfg(test)]
mod tests;
