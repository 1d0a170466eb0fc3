//! Frames for tests.

use jpeg_encoder::{ColorType, Encoder};

/// Soft colours.
pub(crate) fn picture(width: u16, height: u16) -> Vec<u8> {
    let at = |x: u16, y: u16| [(x * 3) as u8, (y * 4) as u8, (x + y) as u8];
    (0..height).flat_map(|y| (0..width).flat_map(move |x| at(x, y))).collect()
}

/// A JPEG of it.
pub(crate) fn jpeg(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    Encoder::new(&mut bytes, 90).encode(&picture(width, height), width, height, ColorType::Rgb).unwrap();
    bytes
}

/// A JPEG without its Huffman tables, as cameras send it; they are the usual ones.
pub(crate) fn without_tables(jpeg: &[u8]) -> Vec<u8> {
    let mut bare = jpeg[..2].to_vec();
    let mut at = 2;
    loop {
        let end = at + 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        if jpeg[at + 1] != 0xc4 {
            bare.extend(&jpeg[at..end]);
        }
        if jpeg[at + 1] == 0xda {
            bare.extend(&jpeg[end..]);
            return bare;
        }
        at = end;
    }
}
