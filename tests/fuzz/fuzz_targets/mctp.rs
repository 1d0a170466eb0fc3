//! A line that delivers anything: both ends of the link take it without panic, hang or growth.
//!
//! The first byte chooses: raw bytes, or packets that are put into good frames, so that what lies behind the checksum is
//! reached too. It also says in what pieces the line delivers, for nothing may depend on that.
#![no_main]

use biotrust_link::{DeviceRole, HostRole};
use libfuzzer_sys::fuzz_target;

const FCS: crc::Crc<u16> = crc::Crc::<u16>::new(&crc::CRC_16_MCRF4XX);

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    let line = if choice & 1 == 0 { rest.to_vec() } else { frames(rest) };
    let mut host = HostRole::new(1);
    let mut device = DeviceRole::new();
    let mut received = Vec::new();
    for piece in line.chunks(usize::from(*choice).max(1)) {
        let _ = device.receive(piece);
        if host.receive(piece, &mut received).is_err() {
            break;
        }
        received.clear();
    }
});

/// Packets with their length before them, each in a frame.
fn frames(mut bytes: &[u8]) -> Vec<u8> {
    let mut line = Vec::new();
    while let [length, rest @ ..] = bytes {
        let (packet, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        bytes = rest;
        let body = [&[1, packet.len() as u8][..], packet].concat();
        line.extend([0x7E, 1, packet.len() as u8]);
        for byte in packet {
            match byte {
                0x7E => line.extend([0x7D, 0x5E]),
                0x7D => line.extend([0x7D, 0x5D]),
                other => line.push(*other),
            }
        }
        line.extend(FCS.checksum(&body).to_be_bytes());
        line.push(0x7E);
    }
    line
}
