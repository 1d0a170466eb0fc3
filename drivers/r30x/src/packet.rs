//! Packets of the R30x family on the wire, both ways.
//!
//! ```text
//! EF 01 | address (4) | kind (1) | length (2) | content | sum (2)
//! ```
//! Everything is big endian. `length` counts content and sum; the sum is that of the bytes from kind to content, modulo
//! 65536. Pure and bounded: a decoder holds one packet, trusts nothing and never fails. What is no packet is skipped; what
//! begins like one and is damaged is told, and the search goes on inside it, for a half-written packet swallows the head
//! of the next one.

use zeroize::Zeroizing;

/// Longest content in bytes: the largest data packet that a module can be set to.
pub const MAX_CONTENT: usize = 256;

/// What begins a packet.
const START: [u8; 2] = [0xEF, 0x01];
/// Bytes before the content.
const HEAD: usize = 9;
/// Bytes of the sum.
const SUM: usize = 2;

/// Kind of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// From the host: a command.
    Command,
    /// Data, and more follows.
    Data,
    /// From the module: an acknowledgement.
    Ack,
    /// The last data.
    End,
}

impl Kind {
    /// Its byte on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Command => 1,
            Self::Data => 2,
            Self::Ack => 7,
            Self::End => 8,
        }
    }

    const fn of(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Command,
            2 => Self::Data,
            7 => Self::Ack,
            8 => Self::End,
            _ => return None,
        })
    }
}

/// A packet. Its content may be a part of an image: `Debug` shows the length only.
pub struct Packet {
    /// Address of the module.
    pub address: u32,
    /// Kind.
    pub kind: Kind,
    /// Content; at most [`MAX_CONTENT`] bytes.
    pub content: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packet({:08X}, {:?}, {} bytes)", self.address, self.kind, self.content.len())
    }
}

/// What a decoder finds.
#[derive(Debug)]
pub enum Found {
    /// A packet.
    Packet(Packet),
    /// The beginning of one whose sum is wrong.
    Damaged,
}

/// Appends a packet to `line`. Content beyond [`MAX_CONTENT`] is cut off: every caller stays below.
pub fn encode(address: u32, kind: Kind, content: &[u8], line: &mut Vec<u8>) {
    let content = content.get(..MAX_CONTENT).unwrap_or(content);
    let length = u16::try_from(content.len() + SUM).unwrap_or(u16::MAX).to_be_bytes();
    line.extend_from_slice(&START);
    line.extend_from_slice(&address.to_be_bytes());
    line.push(kind.code());
    line.extend_from_slice(&length);
    line.extend_from_slice(content);
    line.extend_from_slice(&sum(kind.code(), length, content).to_be_bytes());
}

fn sum(kind: u8, length: [u8; 2], content: &[u8]) -> u16 {
    let head = [kind, length[0], length[1]];
    head.iter().chain(content).fold(0u16, |sum, byte| sum.wrapping_add(u16::from(*byte)))
}

/// Finds packets in a stream of bytes.
#[derive(Default)]
pub struct Decoder {
    /// Bytes from what may be the start of a packet on.
    held: Zeroizing<Vec<u8>>,
    skipped: usize,
}

/// What the bytes that are held may be.
enum Look {
    /// The beginning of a packet.
    More,
    /// Nothing that begins here.
    Skip,
    /// A packet of so many bytes whose sum is wrong.
    Damaged,
    /// A packet, and its length in bytes.
    Packet(Packet, usize),
}

impl Decoder {
    /// A decoder at the beginning of a line.
    #[must_use]
    pub fn new() -> Self {
        // room for the longest packet and one read, so that biometric bytes are not left behind by growth
        Self { held: Zeroizing::new(Vec::with_capacity(2048)), skipped: 0 }
    }

    /// Bytes that were skipped because they begin no packet.
    #[must_use]
    pub const fn skipped(&self) -> usize {
        self.skipped
    }

    /// Whether a packet has begun and not ended.
    #[must_use]
    pub fn is_amid(&self) -> bool {
        !self.held.is_empty()
    }

    /// Forgets what has begun.
    pub fn reset(&mut self) {
        self.held.clear();
    }

    /// Takes in `bytes` and hands over what it finds.
    pub fn push(&mut self, bytes: &[u8], mut deliver: impl FnMut(Found)) {
        // piece by piece, so that no more is held than one packet and a piece
        for piece in bytes.chunks(512) {
            self.held.extend_from_slice(piece);
            let mut at = 0;
            loop {
                let rest = self.held.get(at..).unwrap_or_default();
                match look(rest) {
                    Look::More => break,
                    Look::Skip => {
                        at += 1;
                        self.skipped = self.skipped.saturating_add(1);
                    }
                    Look::Damaged => {
                        deliver(Found::Damaged);
                        at += START.len();
                        self.skipped = self.skipped.saturating_add(START.len());
                    }
                    Look::Packet(packet, length) => {
                        deliver(Found::Packet(packet));
                        at += length;
                    }
                }
            }
            self.held.drain(..at);
        }
    }
}

/// What `bytes` begin with.
fn look(bytes: &[u8]) -> Look {
    let begins = bytes.iter().zip(&START).all(|(byte, start)| byte == start);
    if bytes.is_empty() {
        return Look::More;
    }
    if !begins {
        return Look::Skip;
    }
    let Some(([_, _, a, b, c, d, kind, high, low], rest)) = bytes.split_first_chunk::<HEAD>() else {
        return Look::More;
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let Some(known) = Kind::of(*kind) else { return Look::Skip };
    let Some(content_length) = length.checked_sub(SUM).filter(|length| *length <= MAX_CONTENT) else {
        return Look::Skip;
    };
    let (Some(content), Some(told)) = (rest.get(..content_length), rest.get(content_length..length)) else {
        return Look::More;
    };
    if told != sum(*kind, [*high, *low], content).to_be_bytes() {
        return Look::Damaged;
    }
    let address = u32::from_be_bytes([*a, *b, *c, *d]);
    let content = Zeroizing::new(content.to_vec());
    Look::Packet(Packet { address, kind: known, content }, HEAD + length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(pair).collect()
    }

    fn packet(kind: Kind, content: &[u8]) -> Vec<u8> {
        let mut line = Vec::new();
        encode(u32::MAX, kind, content, &mut line);
        line
    }

    /// Kinds and contents of what is found; `None` is damage.
    fn found(line: &[u8], piece: usize) -> Vec<Option<(Kind, Vec<u8>)>> {
        let (mut decoder, mut all) = (Decoder::new(), Vec::new());
        for piece in line.chunks(piece) {
            decoder.push(piece, |found| {
                all.push(match found {
                    Found::Packet(packet) => Some((packet.kind, packet.content.to_vec())),
                    Found::Damaged => None,
                });
            });
        }
        all
    }

    /// Packets of the vendor's manual.
    #[test]
    fn packets_are_those_of_the_manual() {
        for (kind, content, bytes) in [
            (Kind::Command, "13 00000000", "EF01 FFFFFFFF 01 0007 13 00000000 001B"),
            (Kind::Command, "0F", "EF01 FFFFFFFF 01 0003 0F 0013"),
            (Kind::Command, "01", "EF01 FFFFFFFF 01 0003 01 0005"),
            (Kind::Command, "0A", "EF01 FFFFFFFF 01 0003 0A 000E"),
            (Kind::Command, "02 01", "EF01 FFFFFFFF 01 0004 02 01 0008"),
            (Kind::Command, "0E 06 03", "EF01 FFFFFFFF 01 0005 0E 06 03 001D"),
            (Kind::Command, "0E 04 0C", "EF01 FFFFFFFF 01 0005 0E 04 0C 0024"),
            (Kind::Ack, "00", "EF01 FFFFFFFF 07 0003 00 000A"),
            (Kind::Ack, "02", "EF01 FFFFFFFF 07 0003 02 000C"),
        ] {
            assert_eq!(packet(kind, &hex(content)), hex(bytes));
            assert_eq!(found(&hex(bytes), 1), [Some((kind, hex(content)))]);
        }
    }

    #[test]
    fn garbage_is_skipped_and_damage_told() {
        let good = packet(Kind::Ack, &[0]);
        let clean = Some((Kind::Ack, vec![0]));
        let mut damaged = good.clone();
        *damaged.last_mut().unwrap() ^= 1;
        let half = &packet(Kind::Data, &[7; 40])[..30];
        // a length that no packet has, and a kind that is none
        let (long, strange) = (hex("EF01 FFFFFFFF 07 FFFF 00"), hex("EF01 FFFFFFFF 33 0003 00 0036"));
        for (line, expected) in [
            ([&[0xEF, 0xEF, 0x01, 0x00, 0xEF][..], &good].concat(), vec![clean.clone()]),
            ([damaged.as_slice(), &good].concat(), vec![None, clean.clone()]),
            ([half, &good, &good].concat(), vec![None, clean.clone(), clean.clone()]),
            ([long.as_slice(), &good].concat(), vec![clean.clone()]),
            ([strange.as_slice(), &good].concat(), vec![clean.clone()]),
            (damaged, vec![None]),
        ] {
            assert_eq!(found(&line, 1), expected);
            assert_eq!(found(&line, line.len()), expected, "whatever the pieces");
        }
    }

    #[test]
    fn no_content_is_printed() {
        let mut decoder = Decoder::new();
        decoder.push(&packet(Kind::Data, &[0xAB; 3]), |found| {
            assert_eq!(format!("{found:?}"), "Packet(Packet(FFFFFFFF, Data, 3 bytes))");
        });
    }

    proptest! {
        #[test]
        fn what_is_sent_arrives_after_any_garbage(
            // without a start code: what begins like a packet may swallow one
            garbage in proptest::collection::vec(0u8..0xEF, 0..300),
            contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..=MAX_CONTENT), 1..5),
            piece in 1usize..400,
        ) {
            let mut line = garbage;
            for content in &contents {
                line.extend(packet(Kind::Data, content));
            }
            let expected: Vec<_> = contents.into_iter().map(|content| Some((Kind::Data, content))).collect();
            prop_assert_eq!(found(&line, piece), expected);
        }

        #[test]
        fn nothing_depends_on_the_pieces(line in proptest::collection::vec(prop_oneof![Just(0xEF), Just(1), Just(0), any::<u8>()], 0..800), piece in 1usize..100) {
            prop_assert_eq!(found(&line, piece), found(&line, 4096));
        }

        #[test]
        fn a_changed_bit_never_passes(content in proptest::collection::vec(any::<u8>(), 1..60), bit in 0usize..480) {
            let mut line = packet(Kind::Data, &content);
            // of the summed bytes and the sum; the address is not under it
            let at = 6 + (bit / 8) % (line.len() - 6);
            line[at] ^= 1 << (bit % 8);
            let good = found(&line, 1).into_iter().flatten().any(|(_, got)| got == content);
            prop_assert!(!good);
        }
    }
}
