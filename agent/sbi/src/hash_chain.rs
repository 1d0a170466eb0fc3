//! The chain over the clear records of a transaction, which `hash` and `previousHash` carry.
//!
//! `hash = SHA-256(previous || SHA-256(record))` over raw digests, shown as upper-case hex; the record is the ISO record
//! before encryption and before base64. The authentication back end compares the text case-sensitively.

use aws_lc_rs::digest::{Context, SHA256, digest};

/// What the first record is chained to: the SHA-256 of nothing.
pub const EMPTY: [u8; 32] = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27,
    0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// A `previousHash` that is not 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("previousHash is not 64 hex digits")]
pub struct NotAHash;

/// The link that follows `previous` when `record` was captured.
#[must_use]
pub fn next(previous: &[u8; 32], record: &[u8]) -> [u8; 32] {
    let mut outer = Context::new(&SHA256);
    outer.update(previous);
    outer.update(digest(&SHA256, record).as_ref());
    into_array(outer.finish())
}

/// `hash` as the wire wants it: 64 upper-case hex digits.
#[must_use]
pub fn to_hex(hash: &[u8; 32]) -> String {
    hex::encode_upper(hash)
}

/// Reads `previousHash`: absent, null or blank starts a chain; otherwise 64 hex digits in either case.
///
/// # Errors
/// [`NotAHash`] for anything else.
pub fn parse_previous(text: Option<&str>) -> Result<[u8; 32], NotAHash> {
    let text = text.map_or("", str::trim);
    if text.is_empty() {
        return Ok(EMPTY);
    }
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map_err(|_| NotAHash)?;
    Ok(hash)
}

/// SHA-256 as an array.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    into_array(digest(&SHA256, bytes))
}

fn into_array(digest: aws_lc_rs::digest::Digest) -> [u8; 32] {
    let mut array = [0; 32];
    array.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    array
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::known_answers::{self, text};

    #[test]
    fn empty_is_the_digest_of_nothing() {
        assert_eq!(EMPTY, sha256(b""));
        assert_eq!(to_hex(&EMPTY), text(&known_answers::section("hash_chain")["sha256_of_empty"]));
    }

    /// Runs a table of rows `[record, hash]` from `previous`.
    fn check_rows(rows: &serde_json::Value, mut previous: [u8; 32], record: impl Fn(&str) -> Vec<u8>) {
        for row in rows.as_array().unwrap() {
            previous = next(&previous, &record(&text(&row[0])));
            assert_eq!(to_hex(&previous), text(&row[1]));
        }
    }

    #[test]
    fn known_chains() {
        let chain = known_answers::section("hash_chain");
        check_rows(&chain["from_empty"], EMPTY, known_answers::record);
        let start = parse_previous(chain["continued"]["previous"].as_str()).unwrap();
        check_rows(&chain["continued"]["rows"], start, known_answers::record);
        check_rows(&chain["tiny"], EMPTY, |letter| letter.as_bytes().to_vec());
    }

    /// The readings of the loose sentence in the specification that no back end shares, over the record "a".
    #[test]
    fn known_wrong_variants_are_not_ours() {
        let wrong = known_answers::section("hash_chain")["wrong_variants"].clone();
        let record = b"a";
        let hex_text = sha256(format!("{}{}", to_hex(&EMPTY), to_hex(&sha256(record))).as_bytes());
        let not_hashed = sha256(&[&EMPTY[..], record].concat());
        let over_base64 = next(&EMPTY, crate::base64url::encode(record).as_bytes());
        for (name, value) in [
            ("hex_text_concatenation", hex_text),
            ("iso_not_hashed", not_hashed),
            ("over_base64", over_base64),
        ] {
            assert_eq!(to_hex(&value), text(&wrong[name]), "the control itself is what it says");
            assert_ne!(value, next(&EMPTY, record), "{name}");
        }
    }

    #[test]
    fn previous_hash_is_read_tolerantly() {
        assert_eq!(parse_previous(None), Ok(EMPTY));
        assert_eq!(parse_previous(Some("")), Ok(EMPTY));
        let hash = next(&EMPTY, b"a");
        assert_eq!(parse_previous(Some(&to_hex(&hash))), Ok(hash));
        assert_eq!(parse_previous(Some(&to_hex(&hash).to_lowercase())), Ok(hash));
        for bad in ["E3", &"g".repeat(64), &"0".repeat(63), &"0".repeat(65), &"\u{e9}".repeat(32)] {
            assert_eq!(parse_previous(Some(bad)), Err(NotAHash), "{bad:?}");
        }
    }
}
