//! The size of a JPEG, from its frame header (ITU-T T.81, B.2): all that a source of frames must know of them.

/// Width and height in pixels; `None` when it is no JPEG, or its header is not whole.
pub(super) fn size(jpeg: &[u8]) -> Option<(u32, u32)> {
    let mut rest = jpeg.strip_prefix(&[0xff, 0xd8])?;
    loop {
        let marker = match rest {
            [0xff, 0xff, ..] => {
                // A fill byte.
                rest = rest.get(1..)?;
                continue;
            }
            [0xff, marker, ..] => *marker,
            _ => return None,
        };
        let segment = rest.get(2..)?;
        let length = usize::from(u16::from_be_bytes(segment.first_chunk().copied()?));
        match marker {
            // A frame header of any process; not the tables (C4, CC) and not C8, which is reserved.
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                let [_, _, _, h1, h0, w1, w0] = *segment.first_chunk::<7>()?;
                let (width, height) = (u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]));
                return (width > 0 && height > 0).then_some((width.into(), height.into()));
            }
            // The image, or its end, without a frame header.
            0xd9 | 0xda => return None,
            _ => rest = segment.get(length.max(2)..)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    /// Start, a comment, a frame header of 640 by 480.
    pub(in crate::video) const HEADER: [u8; 19] =
        [0xff, 0xd8, 0xff, 0xfe, 0, 4, 1, 2, 0xff, 0xc0, 0, 11, 8, 0x01, 0xe0, 0x02, 0x80, 1, 0];

    #[test]
    fn the_frame_header_is_found_behind_other_segments() {
        assert_eq!(size(&HEADER), Some((640, 480)));
    }

    #[test]
    fn what_is_cut_or_no_jpeg_has_no_size() {
        for length in 0..17 {
            assert_eq!(size(&HEADER[..length]), None, "{length}");
        }
        assert_eq!(size(&[0xff, 0xd8, 0xff, 0xda, 0, 2]), None, "no frame header before the image");
        assert_eq!(size(b"GIF89a"), None);
        assert_eq!(
            size(&[0xff, 0xd8, 0xff, 0xfe, 0, 0, 0xff, 0xfe, 0, 0]),
            None,
            "segments of no length end"
        );
    }
}
