//! The boot record: which slot runs, what is being tried, what is being downloaded.
//!
//! Two copies, written in turn; each carries a number and a digest, so that a torn write leaves the copy before it.

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::flash::{Flash, Part, PowerLost, Slot};

/// What the loader needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The slot that runs.
    pub(crate) active: Slot,
    /// Number of the manifest of what runs.
    pub(crate) sequence: u64,
    /// The other slot holds an image that has not yet had a good start.
    pub(crate) trial: Option<Trial>,
    /// An image is being written to the other slot.
    pub(crate) download: Option<Download>,
}

/// An image that is being tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trial {
    /// Starts that it may still take.
    pub(crate) tries: u8,
}

/// An image that is being written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Download {
    /// SHA-256 of its manifest as it came, hexadecimal.
    pub(crate) manifest: String,
    /// Version that it brings.
    pub(crate) version: String,
    /// Bytes of the image.
    pub(crate) size: u64,
    /// Bytes that have been written.
    pub(crate) received: u64,
}

const MAGIC: &[u8; 4] = b"BREC";
/// Magic, number, digest.
const HEAD: usize = 4 + 8 + 32;

impl Record {
    /// The younger one of the copies that are whole, and its number; `None` where none is.
    pub(crate) fn read(flash: &Flash) -> Option<Self> {
        newest(flash).map(|(_, _, record)| record)
    }

    /// Replaces the older copy.
    pub(crate) fn write(&self, flash: &Flash) -> Result<(), PowerLost> {
        let (copy, number) = newest(flash).map_or((false, 1), |(copy, number, _)| (!copy, number + 1));
        // Numbers and text: nothing that could not be written.
        let body = serde_json::to_vec(self).unwrap_or_default();
        let digest = checksum(number, &body);
        let bytes = [&MAGIC[..], &number.to_le_bytes(), digest.as_ref(), &body].concat();
        flash.erase(Part::Record(copy))?;
        flash.write(Part::Record(copy), 0, &bytes)
    }
}

fn newest(flash: &Flash) -> Option<(bool, u64, Record)> {
    [false, true]
        .into_iter()
        .filter_map(|copy| {
            parse(&flash.read(Part::Record(copy))).map(|(number, record)| (copy, number, record))
        })
        .max_by_key(|(_, number, _)| *number)
}

fn parse(bytes: &[u8]) -> Option<(u64, Record)> {
    let (head, body) = bytes.split_at_checked(HEAD)?;
    let rest = head.strip_prefix(MAGIC)?;
    let (number, digest) = rest.split_first_chunk::<8>()?;
    let number = u64::from_le_bytes(*number);
    if checksum(number, body).as_ref() != digest {
        return None;
    }
    Some((number, serde_json::from_slice(body).ok()?))
}

fn checksum(number: u64, body: &[u8]) -> digest::Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&number.to_le_bytes());
    context.update(body);
    context.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sequence: u64) -> Record {
        Record { active: Slot::A, sequence, trial: Some(Trial { tries: 3 }), download: None }
    }

    #[test]
    fn a_torn_write_leaves_the_record_before_it() {
        let flash = Flash::default();
        assert_eq!(Record::read(&flash), None);
        for sequence in 1..4 {
            record(sequence).write(&flash).unwrap();
        }
        let before = flash.written();
        record(4).write(&flash).unwrap();
        let length = flash.written() - before;
        for cut in 0..length {
            flash.cut_power_after(cut);
            assert_eq!(record(5).write(&flash), Err(PowerLost));
            flash.power_on();
            assert_eq!(Record::read(&flash), Some(record(4)), "after {cut} of {length} bytes");
        }
        record(5).write(&flash).unwrap();
        assert_eq!(Record::read(&flash), Some(record(5)));
    }

    #[test]
    fn a_flipped_bit_makes_a_copy_worthless() {
        let flash = Flash::default();
        record(1).write(&flash).unwrap();
        record(2).write(&flash).unwrap();
        let copy = newest(&flash).unwrap().0;
        let bits = flash.read(Part::Record(copy)).len() * 8;
        for bit in 0..bits {
            assert!(flash.flip_bit(Part::Record(copy), bit));
            assert_eq!(Record::read(&flash), Some(record(1)), "bit {bit}");
            assert!(flash.flip_bit(Part::Record(copy), bit));
        }
    }
}
