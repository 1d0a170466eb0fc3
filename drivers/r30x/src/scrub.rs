//! Takes the fingers out of recorded traffic: what a module has sent, with the data packets of images replaced by a
//! synthetic pattern of the same length, with the right sums. Pure.
//!
//! Good packets of other kinds stay as they were, byte for byte. What is damaged stays damaged, and garbage stays garbage,
//! both without their content: they may be parts of an image. Passwords, which go the other way, are replaced too: a
//! recording is read by strangers.

use crate::packet::{self, Found, Kind};

/// Bytes of a packet around its content.
const AROUND: usize = 11;
/// Bytes of a password, behind the opcode of VfyPwd and SetPwd.
const PASSWORD: usize = 4;

/// Replaces what must not leave the host in one direction of a line, whatever pieces it comes in.
#[derive(Default)]
pub struct Scrubber {
    /// What may be the beginning of a packet.
    held: Vec<u8>,
    /// Where in the synthetic image the next data packet lies.
    position: usize,
}

impl Scrubber {
    /// At the beginning of a line.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What may be written of `bytes`, and of what was held back before: as many bytes as came, sooner or later.
    #[must_use]
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let mut written = Vec::with_capacity(self.held.len());
        let mut at = 0;
        while let Some((first, _)) = self.held.get(at..).and_then(<[u8]>::split_first) {
            let rest = self.held.get(at..).unwrap_or_default();
            match extent(rest) {
                Extent::More => break,
                Extent::Byte => {
                    // what is no packet may be the middle of an image that was cut off: no byte of it is kept
                    written.push(if START.contains(first) { *first } else { 0 });
                    at += 1;
                }
                Extent::Packet(kind, length) => {
                    let packet = rest.get(..length).unwrap_or_default();
                    Self::packet(&mut self.position, kind, packet, &mut written);
                    at += length;
                }
            }
        }
        zeroize::Zeroize::zeroize(self.held.get_mut(..at).unwrap_or_default());
        self.held.drain(..at);
        written
    }

    /// What was held back, at the end of the line: the beginning of a packet, without its content.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let mut held = std::mem::take(&mut self.held);
        if let Some(content) = held.get_mut(AROUND - 2..) {
            content.fill(0);
        }
        held
    }

    fn packet(position: &mut usize, kind: Kind, packet: &[u8], written: &mut Vec<u8>) {
        let content = packet.get(AROUND - 2..packet.len() - 2).unwrap_or_default();
        let mut good = false;
        packet::Decoder::new().push(packet, |found| good |= matches!(found, Found::Packet(_)));
        let image = matches!(kind, Kind::Data | Kind::End);
        let password =
            kind == Kind::Command && matches!(content, [0x12 | 0x13, rest @ ..] if rest.len() == PASSWORD);
        let replaced: Vec<u8> = match (image, password) {
            (true, _) => (*position..*position + content.len()).map(synthetic).collect(),
            (_, true) => content.iter().take(1).copied().chain([0; PASSWORD]).collect(),
            _ if good => content.to_vec(),
            // the middle of an image may look like a packet of another kind, but for its sum
            _ => vec![0; content.len()],
        };
        *position = match kind {
            Kind::End => 0,
            _ => *position + content.len(),
        };
        let mut fresh = Vec::with_capacity(packet.len());
        packet::encode(0, kind, &replaced, &mut fresh);
        // the address as it was
        written.extend(packet.iter().take(6));
        written.extend(fresh.iter().skip(6));
        if !good && let Some(last) = written.last_mut() {
            *last ^= 0xFF;
        }
    }
}

const START: [u8; 2] = [0xEF, 0x01];

enum Extent {
    More,
    /// A byte that begins no packet.
    Byte,
    /// A packet, good or damaged, of so many bytes.
    Packet(Kind, usize),
}

fn extent(bytes: &[u8]) -> Extent {
    if !bytes.iter().zip(&START).all(|(byte, start)| byte == start) {
        return Extent::Byte;
    }
    let Some([_, _, _, _, _, _, kind, high, low]) = bytes.first_chunk() else { return Extent::More };
    let kind =
        [Kind::Command, Kind::Data, Kind::Ack, Kind::End].into_iter().find(|known| known.code() == *kind);
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    match kind {
        Some(kind) if (2..=packet::MAX_CONTENT + 2).contains(&length) => {
            let length = AROUND - 2 + length;
            if bytes.len() < length { Extent::More } else { Extent::Packet(kind, length) }
        }
        _ => Extent::Byte,
    }
}

/// A byte of the image that stands for every finger: oblique stripes, nine pixels wide.
fn synthetic(at: usize) -> u8 {
    let pixel = |at: usize| {
        let (x, y) = (at % 256, at / 256);
        if (x + y / 2) % 9 < 4 { 3u8 } else { 13 }
    };
    pixel(2 * at) << 4 | pixel(2 * at + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::image::{Assembly, BYTES};

    fn packet(kind: Kind, content: &[u8]) -> Vec<u8> {
        let mut line = Vec::new();
        packet::encode(0x0102_0304, kind, content, &mut line);
        line
    }

    fn scrubbed(line: &[u8], piece: usize) -> Vec<u8> {
        let mut scrubber = Scrubber::new();
        let mut written: Vec<u8> = line.chunks(piece).flat_map(|piece| scrubber.push(piece)).collect();
        written.extend(scrubber.finish());
        written
    }

    /// An image whose bytes all have a nibble that the synthetic one never has.
    fn image_line() -> Vec<u8> {
        let mut line = packet(Kind::Ack, &[0]);
        let chunks = BYTES / 256;
        for chunk in 0..chunks {
            let kind = if chunk + 1 == chunks { Kind::End } else { Kind::Data };
            line.extend(packet(kind, &[0x77; 256]));
        }
        line
    }

    #[test]
    fn an_image_is_replaced_by_one_that_decodes() {
        let line = image_line();
        let clean = scrubbed(&line, 97);
        assert_eq!(clean.len(), line.len());
        assert!(line.windows(9).any(|w| w == [0x77; 9]), "negative control");
        assert!(!clean.windows(2).any(|w| w == [0x77; 2]));
        let (mut assembly, mut last) = (Assembly::default(), false);
        packet::Decoder::new().push(&clean, |found| match found {
            Found::Packet(packet) if packet.kind == Kind::Ack => assert_eq!(*packet.content, [0]),
            Found::Packet(packet) => {
                assert_eq!(packet.address, 0x0102_0304);
                assembly.push(&packet.content).unwrap();
                last = packet.kind == Kind::End;
            }
            Found::Damaged => panic!("sums are right"),
        });
        assert!(last);
        let image = assembly.finish().unwrap();
        assert!(image.pixels().contains(&51) && image.pixels().contains(&221), "stripes");
    }

    #[test]
    fn what_is_no_image_stays_and_damage_stays_damage() {
        let settings = packet(Kind::Ack, &[0, 0, 4, 0, 9, 3, 0xE8, 0, 3, 1, 2, 3, 4, 0, 2, 0, 6]);
        assert_eq!(scrubbed(&settings, 3), settings);
        let mut damaged = packet(Kind::Data, &[0x77; 32]);
        *damaged.last_mut().unwrap() ^= 1;
        let clean = scrubbed(&damaged, 5);
        assert_eq!(clean.len(), damaged.len());
        assert!(!clean.contains(&0x77));
        let mut found = Vec::new();
        packet::Decoder::new().push(&clean, |f| found.push(matches!(f, Found::Damaged)));
        assert_eq!(found, [true]);
    }

    #[test]
    fn a_password_is_replaced() {
        let clean = scrubbed(&packet(Kind::Command, &[0x13, 0xDE, 0xAD, 0xBE, 0xEF]), 4);
        assert_eq!(clean, packet(Kind::Command, &[0x13, 0, 0, 0, 0]));
        let other = packet(Kind::Command, &[0x0E, 4, 12]);
        assert_eq!(scrubbed(&other, 4), other);
    }

    #[test]
    fn an_image_that_is_cut_off_leaves_nothing() {
        let line = image_line();
        for cut in [20, 100, 300] {
            let clean = scrubbed(&line[..cut], 50);
            assert_eq!(clean.len(), cut);
            assert!(!clean.contains(&0x77), "cut at {cut}");
            // a line that is joined in the middle of a packet
            let clean = scrubbed(&line[cut..], 50);
            assert_eq!(clean.len(), line.len() - cut);
            assert!(!clean.windows(2).any(|w| w == [0x77; 2]), "joined at {cut}");
        }
    }

    proptest! {
        #[test]
        fn lengths_stay_whatever_comes(line in proptest::collection::vec(prop_oneof![Just(0xEF), Just(1), Just(2), any::<u8>()], 0..600), piece in 1usize..80) {
            prop_assert_eq!(scrubbed(&line, piece).len(), line.len());
            prop_assert_eq!(scrubbed(&line, piece), scrubbed(&line, 4096));
        }
    }
}
