//! A USB device, or a host, that sends any transfers: both ends of the link, and the line to a trust module, take them
//! without panic, hang or growth.
//!
//! The first byte chooses: raw transfers, or packets behind good headers, so that what lies behind them is reached too.
//! Each transfer is preceded by its length.
#![no_main]

use biotrust_link::module::ModuleRole;
use biotrust_link::{DeviceRole, Framing, HostRole};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, mut rest)) = bytes.split_first() else { return };
    let mut host = HostRole::over(Framing::Usb, 1);
    let mut device = DeviceRole::over(Framing::Usb);
    let mut module = ModuleRole::new(Framing::Usb);
    let asked = module.ask(b"question").expect("it is short");
    assert!(Framing::Usb.transfers(&asked).all(|transfer| transfer.len() <= 512));
    let mut received = Vec::new();
    while let [length, after @ ..] = rest {
        // Up to 510 bytes: two of the longest packets.
        let (transfer, later) = after.split_at((usize::from(*length) * 2).min(after.len()));
        rest = later;
        let transfer = if choice & 1 == 0 { transfer.to_vec() } else { packets(transfer) };
        let _ = device.receive(&transfer);
        let _ = module.receive(&transfer);
        if host.receive(&transfer, &mut received).is_err() {
            break;
        }
        received.clear();
    }
});

/// Packets with their length before them, each behind a header.
fn packets(mut bytes: &[u8]) -> Vec<u8> {
    let mut transfer = Vec::new();
    while let [length, rest @ ..] = bytes {
        let (packet, rest) = rest.split_at(usize::from(*length).min(rest.len()).min(251));
        bytes = rest;
        transfer.extend([0x1A, 0xB4, 0, packet.len() as u8 + 4]);
        transfer.extend(packet);
    }
    transfer
}
