//! The `res ` superbox: inserted into a JP2 file behind its `colr` box (ISO/IEC 15444-1 I.5.3.7).

use super::Jp2Error;
use crate::Dpi;

/// Length and type in front of every box.
const HEAD: usize = 8;

/// A box: where it starts and where the next one does.
struct Span {
    start: usize,
    end: usize,
}

/// Puts the density of the image into the file.
pub(super) fn insert_resolution(mut file: Vec<u8>, dpi: Dpi) -> Result<Vec<u8>, Jp2Error> {
    let header = find(&file, 0, file.len(), b"jp2h").ok_or(Jp2Error::MissingBox("jp2h"))?;
    let colour = find(&file, header.start + HEAD, header.end, b"colr").ok_or(Jp2Error::MissingBox("colr"))?;
    let addition = resolution_box(dpi);
    let length = u32::try_from(header.end - header.start + addition.len())
        .map_err(|_| Jp2Error::MissingBox("jp2h of sensible length"))?;
    file.splice(colour.end..colour.end, addition);
    if let Some(field) = file.get_mut(header.start..header.start + 4) {
        field.copy_from_slice(&length.to_be_bytes());
    }
    Ok(file)
}

/// `res ` with one `resc` (capture resolution) in it: numerator and denominator, vertical then horizontal, exponents 0.
fn resolution_box(dpi: Dpi) -> [u8; 26] {
    let [high, low] = dpi.per_metre().to_be_bytes();
    [
        0, 0, 0, 26, b'r', b'e', b's', b' ', 0, 0, 0, 18, b'r', b'e', b's', b'c', // heads
        high, low, 0, 1, high, low, 0, 1, 0, 0,
    ]
}

/// First box of `kind` between two offsets; `None` as well where the boxes do not add up.
fn find(file: &[u8], from: usize, to: usize, kind: &[u8; 4]) -> Option<Span> {
    let mut start = from;
    while start < to {
        let head = file.get(start..start + HEAD)?;
        let (length, name) = head.split_first_chunk::<4>()?;
        let length = match u32::from_be_bytes(*length) {
            0 => to - start, // reaches to the end of the file
            short if (short as usize) < HEAD => return None,
            length => length as usize,
        };
        let end = start.checked_add(length).filter(|end| *end <= to)?;
        if name == kind {
            return Some(Span { start, end });
        }
        start = end;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let mut out = ((content.len() + HEAD) as u32).to_be_bytes().to_vec();
        out.extend_from_slice(kind);
        out.extend_from_slice(content);
        out
    }

    #[test]
    fn the_box_lands_behind_colr_and_the_length_grows() {
        let header = [boxed(b"ihdr", &[1; 14]), boxed(b"colr", &[2; 7]), boxed(b"cdef", &[3; 4])].concat();
        let file = [boxed(b"jP  ", &[0; 4]), boxed(b"jp2h", &header), boxed(b"jp2c", &[9; 5])].concat();
        let out = insert_resolution(file.clone(), Dpi::FINGER).unwrap();
        assert_eq!(out.len(), file.len() + 26);
        let jp2h = find(&out, 0, out.len(), b"jp2h").unwrap();
        let colr = find(&out, jp2h.start + HEAD, jp2h.end, b"colr").unwrap();
        let res = find(&out, jp2h.start + HEAD, jp2h.end, b"res ").unwrap();
        assert_eq!(colr.end, res.start, "directly behind colr");
        assert_eq!(
            &out[res.start + 16..res.end],
            [0x4C, 0xE5, 0, 1, 0x4C, 0xE5, 0, 1, 0, 0],
            "19685 per metre"
        );
        assert!(find(&out, jp2h.start + HEAD, jp2h.end, b"cdef").is_some());
        assert!(find(&out, 0, out.len(), b"jp2c").is_some());
    }

    #[test]
    fn files_without_the_boxes_are_errors() {
        let without_colour = boxed(b"jp2h", &boxed(b"ihdr", &[1; 14]));
        assert_eq!(insert_resolution(without_colour, Dpi::FINGER), Err(Jp2Error::MissingBox("colr")));
        for broken in [vec![], vec![0, 0, 0, 4, b'j', b'p', b'2', b'h'], vec![0xFF; 12], vec![0, 0]] {
            assert_eq!(insert_resolution(broken, Dpi::FINGER), Err(Jp2Error::MissingBox("jp2h")));
        }
    }
}
