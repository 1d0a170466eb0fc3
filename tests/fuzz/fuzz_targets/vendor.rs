//! Frames of vendors' drivers, in any pieces, both ways.
#![no_main]

use biotrust_vendor_driver::wire::{Frames, FromDriver, ToDriver};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&chunk, stream)) = bytes.split_first() else { return };
    let mut frames = Frames::default();
    for part in stream.chunks(usize::from(chunk).max(1)) {
        frames.push(part);
        loop {
            match frames.take() {
                Ok(Some(frame)) => check(&frame),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
});

/// What could be read is written so that it reads the same.
fn check(frame: &[u8]) {
    if let Ok(order) = ToDriver::decode(frame) {
        assert_eq!(ToDriver::decode(&order.encode()[4..]), Ok(order));
    }
    if let Ok(told) = FromDriver::decode(frame) {
        let again = FromDriver::decode(&told.encode()[4..]).expect("what was written can be read");
        assert_eq!(format!("{again:?}"), format!("{told:?}"));
    }
}
