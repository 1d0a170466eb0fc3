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

/// Decodes `text`; `None` on padding, a foreign character, an impossible length, or stray trailing bits.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_canonical_form() {
        assert_eq!(encode([0xff, 0xfe]), "__4");
        assert_eq!(decode("__4"), Some(vec![0xff, 0xfe]));
        for bad in ["__4=", "//4", "_", "__5", "__ 4", "__4\n"] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
    }
}
