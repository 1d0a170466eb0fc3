//! The segments of a JPEG (ITU-T T.81, B.1 and B.2) before its pixels are decoded: is it one, is it whole, how large is it?
//!
//! A camera is not trusted: every length is checked, and a picture of another size than was agreed on is refused before
//! any memory is taken for it. Much of what cameras call Motion JPEG lacks the Huffman tables, which are then the usual ones
//! (K.3); decoders know that by a segment that AVI files have there, and [`Header::decodable`] puts it in.

use std::borrow::Cow;

const START: [u8; 2] = [0xff, 0xd8];
const END: [u8; 2] = [0xff, 0xd9];
/// What an AVI file has behind the start of a frame without tables.
const AVI: [u8; 16] = *b"\xff\xe0\x00\x0eAVI1\0\0\0\0\0\0\0\0";

/// Why bytes are no JPEG that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JpegError {
    /// It does not begin as one.
    #[error("it does not begin as a JPEG")]
    NoStart,
    /// It does not end as one: the rest is missing.
    #[error("it breaks off")]
    Cut,
    /// A segment is not one.
    #[error("there is no segment where one should be, {0} bytes in")]
    Segment(usize),
    /// No size, or a kind of compression that no camera has.
    #[error("it has no frame header of a usual kind")]
    NoFrame,
}

/// What stands before the pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Pixels.
    pub width: u16,
    /// Pixels.
    pub height: u16,
    /// It brings Huffman tables.
    pub tables: bool,
    /// Length in bytes without what a camera has put behind its end.
    pub length: usize,
}

impl Header {
    /// Reads it.
    ///
    /// # Errors
    /// [`JpegError`].
    pub fn read(bytes: &[u8]) -> Result<Self, JpegError> {
        if !bytes.starts_with(&START) {
            return Err(JpegError::NoStart);
        }
        // Buffers are of one size; what the frame does not fill is zeros.
        let length = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let whole = bytes.get(..length).filter(|whole| whole.ends_with(&END)).ok_or(JpegError::Cut)?;

        let mut size = None;
        let mut tables = false;
        let mut at = START.len();
        loop {
            let (marker, content, next) = segment(whole, at)?;
            match marker {
                // Sequential (baseline, extended) and progressive.
                0xc0..=0xc2 => {
                    let [_, h1, h0, w1, w0, ..] = *content else { return Err(JpegError::NoFrame) };
                    size = Some((u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0])));
                }
                0xc3 | 0xc5..=0xcb | 0xcd..=0xcf => return Err(JpegError::NoFrame),
                0xc4 => tables = true,
                // The pixels begin.
                0xda => break,
                _ => {}
            }
            at = next;
        }
        match size {
            Some((width, height)) if width > 0 && height > 0 => Ok(Self { width, height, tables, length }),
            _ => Err(JpegError::NoFrame),
        }
    }

    /// `bytes`, of which this is the header, as any decoder takes them.
    #[must_use]
    pub fn decodable(self, bytes: &[u8]) -> Cow<'_, [u8]> {
        let whole = bytes.get(..self.length).unwrap_or(bytes);
        match whole.strip_prefix(&START) {
            Some(rest) if !self.tables => Cow::Owned([&START[..], &AVI, rest].concat()),
            _ => Cow::Borrowed(whole),
        }
    }
}

/// Marker and content of the segment at a place, and the place of the next one.
fn segment(bytes: &[u8], at: usize) -> Result<(u8, &[u8], usize), JpegError> {
    let none = JpegError::Segment(at);
    let rest = bytes.get(at..).ok_or(none)?;
    // Fill bytes may stand before a marker.
    let fill = rest.iter().take_while(|byte| **byte == 0xff).count();
    let marker = *rest.get(fill).filter(|_| fill > 0).ok_or(none)?;
    if !matches!(marker, 0xc0..=0xcf | 0xda..=0xfe) {
        return Err(none);
    }
    let body = rest.get(fill + 1..).ok_or(none)?;
    let length = usize::from(u16::from_be_bytes(*body.first_chunk().ok_or(none)?));
    let content = body.get(2..length).ok_or(none)?;
    Ok((marker, content, at + fill + 1 + length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::jpeg;

    #[test]
    fn a_jpeg_tells_its_size() {
        let bytes = jpeg(64, 48);
        let header = Header::read(&bytes).unwrap();
        assert_eq!(header, Header { width: 64, height: 48, tables: true, length: bytes.len() });
        let padded = [&bytes[..], &[0; 100]].concat();
        assert_eq!(Header::read(&padded), Ok(header));
        assert_eq!(header.decodable(&padded), bytes);
    }

    #[test]
    fn a_cut_one_is_cut_wherever() {
        let bytes = jpeg(64, 48);
        for length in 2..bytes.len() - 1 {
            assert!(Header::read(&bytes[..length]).is_err(), "{length}");
        }
        assert_eq!(Header::read(&bytes[..bytes.len() - 1]), Err(JpegError::Cut));
        assert_eq!(Header::read(&bytes[1..]), Err(JpegError::NoStart));
        assert_eq!(Header::read(&[]), Err(JpegError::NoStart));
    }

    #[test]
    fn kinds_that_no_camera_has_are_refused() {
        let mut bytes = jpeg(64, 48);
        let frame = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        bytes[frame + 1] = 0xc3; // lossless
        assert_eq!(Header::read(&bytes), Err(JpegError::NoFrame));
        let mut bytes = jpeg(64, 48);
        bytes[frame + 5..frame + 7].fill(0); // no rows
        assert_eq!(Header::read(&bytes), Err(JpegError::NoFrame));
        let mut bytes = jpeg(64, 48);
        bytes[frame] = 0; // no marker
        assert_eq!(Header::read(&bytes), Err(JpegError::Segment(frame)));
    }

    #[test]
    fn tables_that_are_left_out_are_the_usual_ones() {
        let bytes = crate::testing::without_tables(&jpeg(64, 48));
        let header = Header::read(&bytes).unwrap();
        assert!(!header.tables);
        let whole = header.decodable(&bytes);
        assert_eq!(whole.len(), bytes.len() + AVI.len());
        assert_eq!(Header::read(&whole).unwrap().width, 64);
    }

    proptest! {
        #[test]
        fn anything_is_a_jpeg_or_an_error(at: prop::sample::Index, bytes in prop::collection::vec(any::<u8>(), 1..40)) {
            let mut whole = jpeg(32, 32);
            let at = at.index(whole.len());
            let end = (at + bytes.len()).min(whole.len());
            whole[at..end].copy_from_slice(&bytes[..end - at]);
            if let Ok(header) = Header::read(&whole) {
                prop_assert!(header.length <= whole.len());
            }
        }
    }
}
