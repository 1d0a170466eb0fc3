//! The scrambling of images: a key stream from a shift register, and its undoing.
//!
//! It hides pictures from a bus analyser without the key and protects nothing else: the key is asked of the reader itself.
//! The register of 32 bits is shifted to the right once per byte; what enters at the top is the parity of eleven of its
//! bits. Eight others are the byte of the stream.

/// Bits whose parity enters at the top.
const TAPS: u32 = 0x9248_144d;
/// Bits that make a byte of the stream, lowest first.
const OUTPUT: [u32; 8] = [4, 8, 11, 14, 18, 21, 24, 29];

/// The shift register.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyStream(u32);

impl KeyStream {
    /// Starts with a key.
    #[must_use]
    pub const fn new(key: u32) -> Self {
        Self(key)
    }

    /// The key from what the reader answered to a seed.
    #[must_use]
    pub const fn from_answer(answer: [u8; 4], seed: u32) -> Self {
        Self(u32::from_le_bytes(answer) ^ seed)
    }

    /// The byte of the stream that stands here.
    fn byte(self) -> u8 {
        OUTPUT.iter().rev().fold(0, |byte, place| byte << 1 | (self.0 >> place & 1) as u8)
    }

    /// One byte on.
    const fn step(&mut self) {
        let parity = (self.0 & TAPS).count_ones() & 1;
        self.0 = parity << 31 | self.0 >> 1;
    }

    /// Goes on over `bytes` that were sent in the clear.
    pub fn skip(&mut self, bytes: usize) {
        for _ in 0..bytes {
            self.step();
        }
    }

    /// Takes the scrambling off a block: each byte is hidden in its successor, the last one is lost and becomes zero.
    pub fn descramble(&mut self, block: &mut [u8]) {
        let mut previous = None;
        for place in block {
            let sent = *place;
            if let Some(plain) = previous.replace(place) {
                *plain = sent ^ self.byte();
                self.step();
            }
        }
        if let Some(last) = previous {
            *last = 0;
            self.step();
        }
    }
}

impl std::fmt::Debug for KeyStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyStream(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The other way round, written from the description: what a reader sends for `plain`.
    fn scramble(stream: &mut KeyStream, plain: &[u8], first: u8) -> Vec<u8> {
        let mut sent = vec![first];
        for byte in &plain[..plain.len() - 1] {
            sent.push(byte ^ stream.byte());
            stream.step();
        }
        stream.step();
        sent
    }

    /// Computed apart from this program, by a script that follows the description bit by bit.
    #[test]
    fn the_stream_is_the_readers() {
        let mut stream = KeyStream::new(0x1234_5678);
        let mut bytes = Vec::new();
        for _ in 0..16 {
            bytes.push(stream.byte());
            stream.step();
        }
        let expected =
            [0x39, 0x47, 0x13, 0x14, 0xea, 0x01, 0x0b, 0x3c, 0x01, 0x44, 0x17, 0x88, 0xa2, 0x02, 0x8d, 0x90];
        assert_eq!(bytes, expected);
        assert_eq!(stream.0, 0xbb02_1234);
        stream.skip(384 * 2 - 16);
        assert_eq!(stream.0, 0x7aaf_b1d9);
    }

    #[test]
    fn the_seed_is_taken_off_the_answer() {
        assert_eq!(KeyStream::from_answer([0x78, 0x56, 0x34, 0x12], 0xffff_ffff).0, 0xedcb_a987);
    }

    #[test]
    fn the_smallest_blocks_are_no_trouble() {
        KeyStream::new(7).descramble(&mut []);
        let (mut stream, mut one) = (KeyStream::new(7), [9]);
        stream.descramble(&mut one);
        assert_eq!(one, [0]);
        let mut expected = KeyStream::new(7);
        expected.step();
        assert_eq!(stream.0, expected.0);
    }

    proptest! {
        #[test]
        fn what_was_scrambled_comes_back(
            key: u32, first: u8, plain in prop::collection::vec(any::<u8>(), 1..2000),
        ) {
            let (mut out, mut back) = (KeyStream::new(key), KeyStream::new(key));
            let mut block = scramble(&mut out, &plain, first);
            back.descramble(&mut block);
            prop_assert_eq!(&block[..plain.len() - 1], &plain[..plain.len() - 1]);
            prop_assert_eq!(block[plain.len() - 1], 0);
            prop_assert_eq!(back.0, out.0, "both stand at the same place");
            let mut skipped = KeyStream::new(key);
            skipped.skip(plain.len());
            prop_assert_eq!(back.0, skipped.0, "a block in the clear moves the stream as far");
        }
    }
}
