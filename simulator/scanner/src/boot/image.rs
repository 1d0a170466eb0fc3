//! Images: what stands in a slot, and what the factory builds.
//!
//! ```text
//! slot:  length of the manifest (4, little endian) | manifest | … | payload from 16 KiB on
//! payload: "BSFW1\n" | one line of JSON | the program
//! ```

use biotrust_attest::manifest::MAX_LENGTH;
use serde::{Deserialize, Serialize};

use super::flash::{Flash, Part, PowerLost};

/// Where the payload begins: behind the longest manifest.
pub(crate) const PAYLOAD_AT: usize = MAX_LENGTH + 4;
/// Bytes of payload that a slot holds.
pub(crate) const CAPACITY: u64 = 4 * 1024 * 1024;
const MAGIC: &[u8] = b"BSFW1\n";

/// What is in a slot. Nothing of it is trusted.
pub(crate) struct Stored {
    /// Compact JWS.
    pub(crate) manifest: String,
    /// The payload, and whatever stands behind it.
    pub(crate) payload: Vec<u8>,
}

impl Stored {
    /// Reads a slot; `None` where nothing is in it.
    pub(crate) fn read(flash: &Flash, part: Part) -> Option<Self> {
        let bytes = flash.read(part);
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let length =
            usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= MAX_LENGTH)?;
        let manifest = String::from_utf8(rest.get(..length)?.to_vec()).ok()?;
        let payload = bytes.get(PAYLOAD_AT..).unwrap_or_default().to_vec();
        Some(Self { manifest, payload })
    }

    /// Empties a slot and writes the manifest of what is to come.
    pub(crate) fn begin(flash: &Flash, part: Part, manifest: &str) -> Result<(), PowerLost> {
        let length = u32::try_from(manifest.len()).unwrap_or(u32::MAX);
        flash.erase(part)?;
        flash.write(part, 0, &[&length.to_le_bytes()[..], manifest.as_bytes()].concat())
    }

    /// Writes a piece of the payload.
    pub(crate) fn write(flash: &Flash, part: Part, offset: usize, bytes: &[u8]) -> Result<(), PowerLost> {
        flash.write(part, PAYLOAD_AT.saturating_add(offset), bytes)
    }
}

/// What a program says of itself, in its first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// Version.
    pub(crate) version: String,
    /// Security version number.
    pub(crate) svn: u64,
    /// Whether it comes up: a release may be signed and good for nothing all the same.
    pub(crate) starts: bool,
}

impl Header {
    /// The payload: this header and a program of `length` bytes that depends on nothing but it.
    pub(crate) fn payload(&self, length: usize) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        // Text, a number and a flag: nothing that could not be written.
        bytes.extend(serde_json::to_vec(self).unwrap_or_default());
        bytes.push(b'\n');
        let seed = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
        bytes.extend((0u8..=255).cycle().zip(seed.as_ref().iter().cycle()).map(|(n, s)| n ^ s).take(length));
        bytes
    }

    /// Reads the first line of a payload.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let line = payload.strip_prefix(MAGIC)?.split(|byte| *byte == b'\n').next()?;
        serde_json::from_slice(line).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::flash::Slot;

    #[test]
    fn a_payload_says_what_it_is() {
        let header = Header { version: "1.2".into(), svn: 7, starts: true };
        let payload = header.payload(1000);
        assert_eq!(Header::read(&payload), Some(header.clone()));
        assert_eq!(payload, header.payload(1000), "always the same, so that there are reference values");
        assert_eq!(Header::read(&payload[1..]), None);
    }

    #[test]
    fn a_slot_gives_back_what_was_written() {
        let (flash, part) = (Flash::default(), Part::Slot(Slot::B));
        assert!(Stored::read(&flash, part).is_none());
        Stored::begin(&flash, part, "a.b.c").unwrap();
        Stored::write(&flash, part, 0, b"pay").unwrap();
        Stored::write(&flash, part, 3, b"load").unwrap();
        let stored = Stored::read(&flash, part).unwrap();
        assert_eq!((stored.manifest.as_str(), &stored.payload[..]), ("a.b.c", &b"payload"[..]));
        flash.write(part, 0, &[0xFF; 4]).unwrap();
        assert!(Stored::read(&flash, part).is_none(), "a length beyond the room for it");
    }
}
