//! base64url without padding: the form of every binary member and every part of a JWS.
//!
//! A padded `bioValue` breaks the signature that the registration processor rebuilds, so padding is neither written
//! nor read.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Encodes `bytes`.
#[must_use]
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Appends the encoding of `bytes` to `out`.
pub(crate) fn append(bytes: &[u8], out: &mut String) {
    URL_SAFE_NO_PAD.encode_string(bytes, out);
}

/// Encodes what is pushed into it, piece by piece, behind what a text holds already.
pub(crate) struct Encoder {
    out: String,
    /// Up to two bytes that do not make a group of three yet.
    rest: Vec<u8>,
}

impl Encoder {
    pub(crate) fn after(out: String) -> Self {
        Self { out, rest: Vec::with_capacity(3) }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let fill = if self.rest.is_empty() { 0 } else { (3 - self.rest.len()).min(bytes.len()) };
        let (first, bytes) = bytes.split_at(fill);
        self.rest.extend_from_slice(first);
        if self.rest.len() == 3 {
            append(&self.rest, &mut self.out);
            self.rest.clear();
        }
        let (whole, rest) = bytes.split_at(bytes.len() - bytes.len() % 3);
        append(whole, &mut self.out);
        self.rest.extend_from_slice(rest);
    }

    pub(crate) fn finish(mut self) -> String {
        append(&self.rest, &mut self.out);
        self.out
    }
}

/// Decodes `text`; `None` on padding, a foreign character, an impossible length, or stray trailing bits.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_make_the_whole(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..9)) {
            let mut encoder = Encoder::after("x".to_owned());
            pieces.iter().for_each(|piece| encoder.push(piece));
            prop_assert_eq!(encoder.finish(), format!("x{}", encode(pieces.concat())));
        }
    }

    #[test]
    fn one_canonical_form() {
        assert_eq!(encode([0xff, 0xfe]), "__4");
        assert_eq!(decode("__4"), Some(vec![0xff, 0xfe]));
        for bad in ["__4=", "//4", "_", "__5", "__ 4", "__4\n"] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
    }
}
