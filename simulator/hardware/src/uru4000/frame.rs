//! An image as the reader sends it: header, then rows, in blocks of which some are scrambled.

use biotrust_imaging::Gray;

use super::scramble::{Register, key};

/// Pixels in a row.
pub const COLUMNS: usize = 384;
/// Rows of an image.
pub const ROWS: usize = 289;
/// Dots per inch of the reader, by its maker's data.
pub const DPI: f32 = 512.0;
/// Dots per inch of the prints that it is shown.
const PRINT_DPI: f32 = 500.0;
/// Bytes before the rows.
pub(super) const HEADER: usize = 64;
/// Bytes of an image.
pub(super) const LENGTH: usize = HEADER + ROWS * COLUMNS;
/// Grey of the empty glass, as the reader sends it: inverted.
const GLASS: u8 = 14;
/// Flags of a block: it begins with the next key, and its rows are scrambled.
const NEXT_KEY: u8 = 0x80;
const SCRAMBLED: u8 = 0x02;
/// The blocks: one scrambled, one in the clear through which the register runs on, one scrambled with the next key.
const BLOCKS: [(u8, u8); 3] = [(SCRAMBLED, 120), (0, 20), (NEXT_KEY | SCRAMBLED, 149)];

/// The image of a finger, or of the empty glass.
pub(super) fn of(print: Option<&Gray>, key_number: u8) -> Vec<u8> {
    let mut image = vec![0; HEADER];
    let [low, high] = (ROWS as u16).to_le_bytes();
    let fields = [(4, low), (5, high), (6, key_number)].into_iter();
    let blocks = BLOCKS.iter().enumerate();
    let blocks = blocks.flat_map(|(at, (flags, rows))| [(16 + 2 * at, *flags), (17 + 2 * at, *rows)]);
    for (at, value) in fields.chain(blocks) {
        if let Some(byte) = image.get_mut(at) {
            *byte = value;
        }
    }
    // Upside down: the last pixel is sent first.
    image.extend((0..ROWS * COLUMNS).rev().map(|at| grey(print, at % COLUMNS, at / COLUMNS)));

    let mut number = key_number;
    let mut register = Register(key(number));
    let mut start = HEADER;
    for (flags, rows) in BLOCKS {
        if flags & NEXT_KEY != 0 {
            number = number.wrapping_add(1);
            register = Register(key(number));
        }
        let end = start + usize::from(rows) * COLUMNS;
        if flags & SCRAMBLED != 0 {
            register.scramble(image.get_mut(start..end).unwrap_or_default());
        } else {
            (start..end).for_each(|_| register.shift());
        }
        start = end;
    }
    image
}

/// What the sensor sees at a place: the print in the middle of the glass, bright ridges on dark.
fn grey(print: Option<&Gray>, column: usize, row: usize) -> u8 {
    let Some(print) = print else { return GLASS };
    let from_middle = |at: usize, side: usize| (at as f32 - side as f32 / 2.0) * PRINT_DPI / DPI;
    let x = from_middle(column, COLUMNS) + print.width() as f32 / 2.0;
    let y = from_middle(row, ROWS) + print.height() as f32 / 2.0;
    let (left, top) = (x.floor(), y.floor());
    let at = |x: f32, y: f32| {
        let inside = x >= 0.0 && y >= 0.0 && x < print.width() as f32 && y < print.height() as f32;
        let place = inside.then(|| y as usize * print.width() as usize + x as usize);
        place.and_then(|place| print.pixels().get(place)).map_or(f32::from(!GLASS), |grey| f32::from(*grey))
    };
    let (right, below) = (x - left, y - top);
    let upper = at(left, top) * (1.0 - right) + at(left + 1.0, top) * right;
    let lower = at(left, top + 1.0) * (1.0 - right) + at(left + 1.0, top + 1.0) * right;
    !((upper * (1.0 - below) + lower * below).round() as u8)
}
