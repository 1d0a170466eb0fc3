//! Frames of the MCTP serial transport (DMTF DSP0253): one frame carries one MCTP packet.
//!
//! ```text
//! 7E | 01 | count | packet, escaped | FCS high | FCS low | 7E
//! ```
//! `count` is the length of the packet before escaping; in the packet 7E becomes 7D 5E and 7D becomes 7D 5D. The FCS is
//! the complement of CRC-16/IBM-SDLC over revision, count and unescaped packet; header and FCS are not escaped.
//!
//! Pure and bounded: a decoder holds one packet. It trusts nothing and never fails; what is not a good frame is
//! skipped, and decoding goes on at the next flag.

use crc::{CRC_16_IBM_SDLC, Crc, Table};

/// Longest packet of a frame in bytes: what its one-byte count can say.
pub(super) const MAX_PACKET: usize = 255;

/// Shortest packet in bytes: an MCTP header and a message type, or one byte of a message.
const MIN_PACKET: u8 = 5;

const FLAG: u8 = 0x7E;
const ESCAPE: u8 = 0x7D;
/// An escaped byte is sent as 7D and the byte with this bit flipped.
const ESCAPE_BIT: u8 = 0x20;
const REVISION: u8 = 0x01;

static CRC: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&CRC_16_IBM_SDLC);

fn fcs(count: u8, parts: [&[u8]; 2]) -> u16 {
    let mut digest = CRC.digest();
    digest.update(&[REVISION, count]);
    for part in parts {
        digest.update(part);
    }
    !digest.finalize()
}

/// Appends the frame of the packet `header` + `payload` to `line`. At most [`MAX_PACKET`] bytes: the one caller cuts
/// messages into packets of that size.
pub(super) fn encode(header: [u8; 4], payload: &[u8], line: &mut Vec<u8>) {
    let count = u8::try_from(header.len() + payload.len()).unwrap_or(u8::MAX);
    line.extend_from_slice(&[FLAG, REVISION, count]);
    escape(&header, line);
    escape(payload, line);
    line.extend_from_slice(&fcs(count, [&header, payload]).to_be_bytes());
    line.push(FLAG);
}

fn escape(bytes: &[u8], line: &mut Vec<u8>) {
    let mut rest = bytes;
    while let Some(at) = memchr::memchr2(FLAG, ESCAPE, rest) {
        let (plain, special) = rest.split_at(at);
        line.extend_from_slice(plain);
        if let Some((&byte, after)) = special.split_first() {
            line.extend_from_slice(&[ESCAPE, byte ^ ESCAPE_BIT]);
            rest = after;
        }
    }
    line.extend_from_slice(rest);
}

/// What the decoder expects next.
#[derive(Clone, Copy)]
enum Expect {
    /// A flag; everything before it is skipped.
    Flag,
    /// The revision, or one more flag: the end of one frame may be the start of the next.
    Revision,
    Count,
    Packet,
    /// The byte after an escape.
    Escaped,
    FcsHigh,
    FcsLow(u8),
    /// The flag at the end, after this FCS.
    End([u8; 2]),
}

/// Finds packets in a stream of bytes.
pub(super) struct Decoder {
    expect: Expect,
    packet: [u8; MAX_PACKET],
    length: u8,
    count: u8,
    noise: usize,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { expect: Expect::Flag, packet: [0; MAX_PACKET], length: 0, count: 0, noise: 0 }
    }

    /// Bytes taken in since a chunk with a good frame: how little sense the other end makes.
    pub(super) fn noise(&self) -> usize {
        self.noise
    }

    /// Takes in `bytes` and hands each good packet to `deliver`.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut deliver: impl FnMut(&[u8])) {
        self.noise = self.noise.saturating_add(bytes.len());
        while let Some((&byte, after)) = bytes.split_first() {
            bytes = match self.expect {
                Expect::Flag => match memchr::memchr(FLAG, bytes) {
                    Some(at) => {
                        self.expect = Expect::Revision;
                        bytes.get(at + 1..).unwrap_or_default()
                    }
                    None => &[],
                },
                Expect::Packet => self.packet_bytes(bytes),
                Expect::End(fcs) => {
                    self.end(fcs, byte, &mut deliver);
                    after
                }
                _ => {
                    self.single(byte);
                    after
                }
            };
        }
    }

    /// Takes as much of the packet as `bytes` holds without an escape; answers what is left.
    fn packet_bytes<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let wanted = usize::from(self.count.saturating_sub(self.length));
        let (window, _) = bytes.split_at(wanted.min(bytes.len()));
        let special = memchr::memchr2(FLAG, ESCAPE, window);
        let (plain, rest) = bytes.split_at(special.unwrap_or(window.len()));
        self.store(plain);
        match (special, rest.split_first()) {
            (Some(_), Some((&FLAG, after))) => {
                // A bare flag inside a packet: bytes were lost, and this is where a frame ends or starts.
                self.expect = Expect::Revision;
                after
            }
            (Some(_), Some((_, after))) => {
                self.expect = Expect::Escaped;
                after
            }
            _ => rest,
        }
    }

    /// Appends to the packet; when it is complete, the FCS is next.
    fn store(&mut self, plain: &[u8]) {
        let at = usize::from(self.length);
        if let Some(room) = self.packet.get_mut(at..at + plain.len()) {
            room.copy_from_slice(plain);
            self.length = self.length.saturating_add(u8::try_from(plain.len()).unwrap_or(u8::MAX));
        }
        self.expect = if self.length == self.count { Expect::FcsHigh } else { Expect::Packet };
    }

    /// Takes one byte outside the plain bytes of a packet.
    fn single(&mut self, byte: u8) {
        self.expect = match (self.expect, byte) {
            (Expect::Flag | Expect::Revision, FLAG) => Expect::Revision,
            (Expect::Revision, REVISION) => Expect::Count,
            (Expect::Count, MIN_PACKET..) => {
                self.count = byte;
                self.length = 0;
                Expect::Packet
            }
            (Expect::Escaped, _) if matches!(byte ^ ESCAPE_BIT, FLAG | ESCAPE) => {
                return self.store(&[byte ^ ESCAPE_BIT]);
            }
            (Expect::Escaped, FLAG) => Expect::Revision,
            (Expect::FcsHigh, high) => Expect::FcsLow(high),
            (Expect::FcsLow(high), low) => Expect::End([high, low]),
            _ => Expect::Flag,
        };
    }

    /// Takes the byte where the closing flag must be.
    fn end(&mut self, fcs_read: [u8; 2], byte: u8, deliver: &mut impl FnMut(&[u8])) {
        let packet = self.packet.get(..usize::from(self.count)).unwrap_or_default();
        if byte == FLAG && fcs(self.count, [packet, &[]]).to_be_bytes() == fcs_read {
            self.noise = 0;
            self.expect = Expect::Revision;
            return deliver(packet);
        }
        // With a corrupt count the "FCS" may be the flags between two frames: look at those three bytes again, so
        // that one bad frame does not cost the next one too. Three bytes cannot complete a frame.
        self.expect = Expect::Flag;
        let [high, low] = fcs_read;
        for byte in [high, low, byte] {
            self.single(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(packet: &[u8]) -> Vec<u8> {
        let mut line = Vec::new();
        encode(packet[..4].try_into().unwrap(), &packet[4..], &mut line);
        line
    }

    fn decode(line: &[u8]) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        Decoder::new().push(line, |p| packets.push(p.to_vec()));
        packets
    }

    #[test]
    fn the_fcs_is_the_complement_of_ibm_sdlc() {
        // The catalogue's check value of CRC-16/IBM-SDLC over "123456789" is 906E.
        assert_eq!(CRC.checksum(b"123456789"), 0x906E);
        assert_eq!(fcs(5, [b"\x01\x02\x03\x04", b"\x05"]), !CRC.checksum(b"\x01\x05\x01\x02\x03\x04\x05"));
    }

    #[test]
    fn a_frame_byte_by_byte() {
        let line = frame(&[0x01, 0x08, 0x09, 0x7E, 0x7D, 0x20]);
        assert_eq!(line[..3], [0x7E, 0x01, 6]);
        assert_eq!(line[3..11], [0x01, 0x08, 0x09, 0x7D, 0x5E, 0x7D, 0x5D, 0x20]);
        assert_eq!(line.len(), 14);
        assert_eq!(line[13], 0x7E);
    }

    #[test]
    fn two_frames_may_share_a_flag() {
        let (a, b) = ([1, 2, 3, 4, 5], [9, 8, 7, 6, 5]);
        let mut line = frame(&a);
        line.extend_from_slice(&frame(&b)[1..]);
        assert_eq!(decode(&line), [a.to_vec(), b.to_vec()]);
    }

    #[test]
    fn a_corrupt_count_costs_one_frame() {
        let (a, b) = ([1, 2, 3, 4, 5], [9, 8, 7, 6, 5]);
        for count in 0..=255u8 {
            let mut line = frame(&a);
            line[2] = count;
            line.extend_from_slice(&frame(&b));
            let expected = if count == 5 { vec![a.to_vec(), b.to_vec()] } else { vec![b.to_vec()] };
            assert_eq!(decode(&line), expected, "count {count}");
        }
    }

    fn packet() -> impl Strategy<Value = Vec<u8>> {
        // Half of the bytes special, so that escaping and false flags are common.
        proptest::collection::vec(prop_oneof![any::<u8>(), Just(FLAG), Just(ESCAPE), Just(REVISION)], 5..=255)
    }

    proptest! {
        #[test]
        fn packets_survive_in_any_chunks(packets in proptest::collection::vec(packet(), 0..6), chunk in 1usize..50) {
            let line: Vec<u8> = packets.iter().flat_map(|p| frame(p)).collect();
            let mut decoder = Decoder::new();
            let mut found = Vec::new();
            for part in line.chunks(chunk) {
                decoder.push(part, |p| found.push(p.to_vec()));
            }
            prop_assert_eq!(found, packets);
        }

        #[test]
        fn garbage_before_a_frame_costs_at_most_that_frame(garbage in proptest::collection::vec(any::<u8>(), 0..600), p in packet()) {
            // Random bytes may end in the middle of what looks like a frame, which then eats the first good one.
            let mut line = garbage;
            line.extend(frame(&p));
            line.extend(frame(&p));
            let found = decode(&line);
            prop_assert_eq!(found.last(), Some(&p));
        }

        #[test]
        fn a_corrupt_byte_drops_that_frame_and_no_later_one(
            bad in packet(), good in packet(), at in any::<prop::sample::Index>(), flip in 1u8..,
        ) {
            let mut line = frame(&bad);
            let at = at.index(line.len());
            line[at] ^= flip;
            line.extend(frame(&good));
            let found = decode(&line);
            prop_assert_eq!(found.last(), Some(&good));
            // The flags may be hit without harm: the frame before shares them.
            prop_assert!(found.len() == 1 || found[0] == bad);
        }
    }
}
