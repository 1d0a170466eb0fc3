//! Takes fingers out of the recordings of a reader.
//!
//! Of what is on the bus only images are biometric. Each is replaced by waves of the same number of rows, in the clear
//! and marked so, which a driver takes as it takes an image; requests for the keys of the real one are then pointless and
//! are left out. What is no image keeps its length and loses its content, because nobody can tell what it is.

use biotrust_driver_api::Setup;

use crate::image::{BLOCK_COUNT, BLOCKS, COLUMNS, HEADER};
use crate::register::Register;

/// Flags of a block that have a meaning only for scrambled images.
const SCRAMBLING: u8 = 0x80 | 0x04 | 0x02;

/// Makes a transfer of the image endpoint harmless; its length stays.
pub fn image(transfer: &mut [u8]) {
    let (header, pixels) = transfer.split_at_mut(transfer.len().min(HEADER));
    for at in 0..BLOCK_COUNT {
        if let Some(flags) = header.get_mut(BLOCKS + 2 * at) {
            *flags &= !SCRAMBLING;
        }
    }
    for (at, pixel) in pixels.iter_mut().enumerate() {
        *pixel = synthetic(at % COLUMNS, at / COLUMNS);
    }
}

/// Whether a control request is to be left out of the recording.
#[must_use]
pub fn leaves_out(setup: &Setup) -> bool {
    [Register::ScrambleIndex, Register::ScrambleKey].iter().any(|register| register.request() == *setup)
}

/// Concentric triangle waves of nine pixels, bright where a ridge would be: no finger, yet something with ridges.
fn synthetic(column: usize, row: usize) -> u8 {
    let distance = |a: usize, b: usize| (a.abs_diff(b) as f32).powi(2);
    let radius = (distance(column, COLUMNS / 2) + distance(row, 144)).sqrt();
    let phase = radius % 9.0 / 9.0;
    let ridge = 1.0 - (2.0 * phase - 1.0).abs();
    if radius < 130.0 { (40.0 + 170.0 * ridge) as u8 } else { 16 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Scan;

    #[test]
    fn an_image_stays_one_and_shows_nobody() {
        let mut transfer = vec![0; HEADER];
        transfer[4..7].copy_from_slice(&[200, 0, 9]);
        transfer[BLOCKS..BLOCKS + 4].copy_from_slice(&[0x02, 100, 0x82, 100]);
        // noise: what a scrambled finger looks like
        transfer.extend((0..200 * COLUMNS).map(|at| (at as u32).wrapping_mul(0x9e37_79b9).to_be_bytes()[0]));
        let before = transfer.clone();
        assert!(Scan::parse(before.clone()).unwrap().wanted_key().is_some());

        image(&mut transfer);
        assert_eq!(transfer.len(), before.len());
        let same = transfer[HEADER..].iter().zip(&before[HEADER..]).filter(|(a, b)| a == b).count();
        assert!(same < 200 * COLUMNS / 50, "{same} pixels by chance");
        let scan = Scan::parse(transfer).unwrap();
        assert_eq!(scan.wanted_key(), None);
        assert_eq!(scan.picture(true).unwrap().height(), 200);
    }

    #[test]
    fn whatever_the_length_nothing_is_left_of_it() {
        for length in [0, 1, HEADER, HEADER + 5] {
            let mut transfer = vec![0xee; length];
            image(&mut transfer);
            assert_eq!(transfer.len(), length);
            assert!(!transfer.iter().skip(HEADER).any(|byte| *byte == 0xee));
        }
    }

    #[test]
    fn only_keys_are_left_out() {
        assert!(
            leaves_out(&Register::ScrambleKey.request()) && leaves_out(&Register::ScrambleIndex.request())
        );
        assert!(!leaves_out(&Register::Mode.request()));
    }
}
