//! WSQ fingerprints by their frame header (FBI IAFIS-IC-0110): the size is all that a record is checked against.

use crate::bytes::Reader;

/// The two bytes that every WSQ file begins with.
pub(super) const SOI: [u8; 2] = [0xff, 0xa0];

/// Frame header.
const SOF: u16 = 0xffa2;
/// Tables and comments, which may stand before it.
const TABLES: std::ops::RangeInclusive<u16> = 0xffa4..=0xffa8;

/// Width and height; `None` if the file is cut off, out of order, or no WSQ.
pub(super) fn inspect(file: &[u8]) -> Option<(u32, u32)> {
    let mut reader = Reader::new(file);
    (reader.take(2)? == SOI).then_some(())?;
    loop {
        let marker = reader.u16()?;
        let length = reader.u16()?.checked_sub(2)?;
        let content = reader.take(usize::from(length))?;
        if marker == SOF {
            let mut frame = Reader::new(content);
            frame.take(2)?; // black and white
            let (height, width) = (frame.u16()?, frame.u16()?);
            return Some((u32::from(width), u32::from(height)));
        }
        TABLES.contains(&marker).then_some(())?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_frame_behind_comments() {
        let file = [0xff, 0xa0, 0xff, 0xa8, 0, 4, b'h', b'i', 0xff, 0xa2, 0, 8, 0, 255, 1, 0x90, 1, 0x2c, 0];
        assert_eq!(inspect(&file), Some((300, 400)));
        for end in 0..18 {
            assert_eq!(inspect(&file[..end]), None);
        }
        let mut other = file;
        other[3] = 0xc0;
        assert_eq!(inspect(&other), None, "a marker that WSQ does not have");
    }
}
