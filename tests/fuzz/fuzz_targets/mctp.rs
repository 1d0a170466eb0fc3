//! A line that delivers anything: both ends of the link take it without panic, hang or growth.
#![no_main]

use biotrust_link::{DeviceRole, HostRole};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The first byte says in what pieces the rest arrives: assembly must not depend on it.
    let Some((size, line)) = bytes.split_first() else { return };
    let mut host = HostRole::new(1);
    let mut device = DeviceRole::new();
    let mut received = Vec::new();
    for piece in line.chunks(usize::from(*size).max(1)) {
        let _ = device.receive(piece);
        if host.receive(piece, &mut received).is_err() {
            break;
        }
        received.clear();
    }
});
