//! A module, or anything else on its line, that sends anything: packets, settings and images are read without panic, hang
//! or growth, the same in whatever pieces they come, by the scrubber of recordings too.
//!
//! The first byte chooses: raw bytes, or packets with right sums, so that what lies behind the sum is reached too. It also
//! says in what pieces the line delivers.
#![no_main]

use biotrust_r30x::command::Parameters;
use biotrust_r30x::image::Assembly;
use biotrust_r30x::packet::{self, Decoder, Found, Kind};
use biotrust_r30x::scrub::Scrubber;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    let line = if choice & 1 == 0 { rest.to_vec() } else { packets(rest) };
    let piece = usize::from(*choice).max(1);

    let found = decoded(&line, piece);
    assert_eq!(found, decoded(&line, line.len().max(1)), "pieces make a difference");
    let mut assembly = Assembly::default();
    for (address, kind, content) in found.iter().flatten() {
        // what is found was sent
        let mut sent = Vec::new();
        packet::encode(*address, *kind, content, &mut sent);
        assert!(line.windows(sent.len()).any(|window| window == sent));
        let _ = Parameters::read(content);
        if assembly.push(content).is_err() || *kind == Kind::End {
            let _ = std::mem::take(&mut assembly).finish();
        }
    }

    let clean = scrubbed(&line, piece);
    assert_eq!(clean.len(), line.len());
    assert_eq!(clean, scrubbed(&line, line.len().max(1)), "pieces make a difference");
});

type Packet = (u32, Kind, Vec<u8>);

/// What is found; `None` is damage.
fn decoded(line: &[u8], piece: usize) -> Vec<Option<Packet>> {
    let (mut decoder, mut all) = (Decoder::new(), Vec::new());
    for piece in line.chunks(piece) {
        decoder.push(piece, |found| {
            all.push(match found {
                Found::Packet(packet) => Some((packet.address, packet.kind, packet.content.to_vec())),
                Found::Damaged => None,
            });
        });
    }
    all
}

fn scrubbed(line: &[u8], piece: usize) -> Vec<u8> {
    let mut scrubber = Scrubber::new();
    let mut clean: Vec<u8> = line.chunks(piece).flat_map(|piece| scrubber.push(piece)).collect();
    clean.extend(scrubber.finish());
    clean
}

/// Contents with kind and length before them, each in a packet.
fn packets(mut bytes: &[u8]) -> Vec<u8> {
    let mut line = Vec::new();
    while let [kind, length, rest @ ..] = bytes {
        let (content, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        bytes = rest;
        let kind = [Kind::Command, Kind::Data, Kind::Ack, Kind::End][usize::from(*kind) % 4];
        packet::encode(u32::MAX, kind, content, &mut line);
    }
    line
}
