//! A reader that sends anything: events and images are read without panic, hang or growth, scrambled or not, and recordings
//! of them can be made harmless.
#![no_main]

use biotrust_uru4000::event::Event;
use biotrust_uru4000::image::{COLUMNS, HEADER, Scan};
use biotrust_uru4000::scramble::KeyStream;
use biotrust_uru4000::scrub;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Event::parse(bytes);
    let _ = Scan::parse(bytes.to_vec());

    // A header, and as many rows as it tells of, so that what lies behind the length check is reached too.
    let Some((key, header)) = bytes.split_first_chunk::<4>() else { return };
    let Some(header) = header.first_chunk::<HEADER>() else { return };
    let rows = usize::from(u16::from_le_bytes([header[4], header[5]])).min(300);
    let mut transfer = header.to_vec();
    let pixels = bytes.iter().cycle().zip(0u32..).map(|(byte, at)| byte.wrapping_mul(at as u8 | 1));
    transfer.extend(pixels.take(rows * COLUMNS));
    let length = transfer.len();

    let mut harmless = transfer.clone();
    scrub::image(&mut harmless);
    assert_eq!(harmless.len(), length);
    if let Ok(scan) = Scan::parse(harmless) {
        assert_eq!(scan.wanted_key(), None, "nothing that needs a key is left in a recording");
    }

    if let Ok(mut scan) = Scan::parse(transfer) {
        let mut keys = 0;
        while scan.wanted_key().is_some() {
            scan.unlock(KeyStream::from_answer(*key, keys));
            keys += 1;
            assert!(keys <= 16, "each key brings it on");
        }
        let picture = scan.picture(key[0] & 1 == 0).expect("what was parsed has a picture");
        assert!(picture.height() <= 290);
    }
});
