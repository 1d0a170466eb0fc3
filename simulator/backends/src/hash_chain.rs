//! The hash chain: `hash = UPPERHEX(SHA256(previous || SHA256(record)))`, 32 and 32 raw bytes.

use aws_lc_rs::digest::{SHA256, digest};

use crate::Fault;

/// SHA-256 as 32 bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

/// A chain that is followed along an answer.
#[derive(Debug, Clone)]
pub struct HashChain {
    previous: [u8; 32],
}

impl HashChain {
    /// Starts from a request's `previousHash`: hex of either case, or blank for the hash of nothing.
    ///
    /// # Errors
    /// When it is neither blank nor 64 hex characters.
    pub fn starting_from(previous_hash: &str) -> Result<Self, String> {
        let text = previous_hash.trim();
        if text.is_empty() {
            return Ok(Self { previous: sha256(b"") });
        }
        let mut previous = [0; 32];
        hex::decode_to_slice(text, &mut previous)
            .map_err(|_| format!("previousHash is no SHA-256 in hex ({} characters)", text.len()))?;
        Ok(Self { previous })
    }

    /// Takes the next record and says what its `hash` must be.
    pub fn advance(&mut self, record: &[u8]) -> String {
        let mut joined = [0; 64];
        let (left, right) = joined.split_at_mut(32);
        left.copy_from_slice(&self.previous);
        right.copy_from_slice(&sha256(record));
        self.previous = sha256(&joined);
        hex::encode_upper(self.previous)
    }

    /// Takes the next record and compares; the chain goes on from the right value either way.
    ///
    /// # Errors
    /// When `hash` differs, also in case only.
    pub fn check(&mut self, record: &[u8], hash: &str, code: Option<&'static str>) -> Result<(), Fault> {
        let expected = self.advance(record);
        if hash == expected {
            return Ok(());
        }
        let why = if hash.eq_ignore_ascii_case(&expected) {
            "the hash is not in upper case".to_owned()
        } else {
            format!("the hash is {hash:.16}…, the chain gives {expected:.16}…")
        };
        Err(Fault { code, why })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values accepted by the unmodified class of the compliance tool kit.
    #[test]
    fn known_chain_is_reproduced() {
        let mut chain = HashChain::starting_from("").unwrap();
        assert_eq!(chain.advance(b"abc"), "BDDBDF7E9DF02F902EE5DD61B2B513D7566A2112FF97DB7DC3B6D184A43EF0E3");
        assert_eq!(chain.advance(b"def"), "D06FFD66589038DEEA66A68731881D1D14470238326C1C55C4855C1DA9F9A1DC");
        let explicit = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855";
        for start in [explicit.to_owned(), explicit.to_lowercase(), " ".to_owned()] {
            let mut chain = HashChain::starting_from(&start).unwrap();
            assert_eq!(
                chain.advance(b"a"),
                "AD83ABB09DA975A192CB6AF596055A37DC786A28B490ECF027D482AB232E42BB"
            );
        }
    }

    #[test]
    fn wrong_readings_and_lower_case_are_refused() {
        let start = HashChain::starting_from("").unwrap();
        let right = start.clone().advance(b"abc");
        assert!(start.clone().check(b"abc", &right, None).is_ok());
        let hex_text = "9992B37B41E1AEA19A8A7BE65B63090397FEE8C9662B3708EF7D3B81A362BEE2";
        for wrong in [hex_text, &right.to_lowercase(), ""] {
            assert!(start.clone().check(b"abc", wrong, None).is_err(), "{wrong}");
        }
        assert!(HashChain::starting_from("12").is_err());
    }
}
