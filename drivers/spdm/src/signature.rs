//! What a responder signs, and whether it did: RSASSA-2048 with SHA-256 over a prefix and the hash of a transcript.
//!
//! ```text
//! "dmtf-spdm-v1.2.*" four times | zeros, then the context, 36 bytes | SHA-256(transcript)
//! ```

use aws_lc_rs::digest;
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

use crate::error::SpdmError;
use crate::message::SIGNATURE;

/// What a signature is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// CHALLENGE_AUTH, over M1.
    ChallengeAuth,
    /// MEASUREMENTS, over L1.
    Measurements,
}

impl Context {
    const fn text(self) -> &'static [u8] {
        match self {
            Self::ChallengeAuth => b"responder-challenge_auth signing",
            Self::Measurements => b"responder-measurements signing",
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::ChallengeAuth => "CHALLENGE_AUTH",
            Self::Measurements => "MEASUREMENTS",
        }
    }

    /// The 132 bytes that are signed for the transcript that `parts` make together.
    #[must_use]
    pub fn input(self, parts: &[&[u8]]) -> Vec<u8> {
        let context = self.text();
        let mut input = b"dmtf-spdm-v1.2.*".repeat(4);
        input.resize(100 - context.len(), 0);
        input.extend_from_slice(context);
        input.extend_from_slice(&sha256(parts));
        input
    }

    /// Whether `signature` is by the key `spki` (SubjectPublicKeyInfo in DER, RSA with 2048 bits) over `input`.
    ///
    /// # Errors
    /// [`SpdmError::Signature`].
    pub fn verify(self, spki: &[u8], input: &[u8], signature: &[u8; SIGNATURE]) -> Result<(), SpdmError> {
        // A signature is as long as its key: 256 bytes are 2048 bits.
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, spki)
            .verify(input, signature)
            .map_err(|_| SpdmError::Signature(self.message()))
    }
}

/// SHA-256 of what `parts` make together.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut hash = [0; 32];
    hash.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Module;
    use crate::testing::Chip;

    #[test]
    fn the_input_is_laid_out_as_the_standard_says() {
        for (context, zeros, text) in [
            (Context::ChallengeAuth, 4, &b"responder-challenge_auth signing"[..]),
            (Context::Measurements, 6, b"responder-measurements signing"),
        ] {
            let input = context.input(&[b"a", b"bc"]);
            assert_eq!(input.len(), 132);
            let (prefix, rest) = input.split_at(64);
            assert_eq!(prefix, b"dmtf-spdm-v1.2.*dmtf-spdm-v1.2.*dmtf-spdm-v1.2.*dmtf-spdm-v1.2.*");
            assert_eq!(rest[..zeros], vec![0; zeros]);
            assert_eq!(rest[zeros..36], *text);
            let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
            assert_eq!(hex::encode(&rest[36..]), abc);
            assert!(!input.starts_with(b"\xFFTCG"), "a restricted TPM key can sign it");
        }
    }

    #[test]
    fn a_signature_holds_for_its_key_context_and_transcript_only() {
        let (chip, other) = (Chip::new(0), Chip::new(1));
        let input = Context::ChallengeAuth.input(&[b"transcript"]);
        let signature: [u8; SIGNATURE] = chip.sign(&input).unwrap().try_into().unwrap();
        let holds = |chip: &Chip, input: &[u8], signature: &[u8; SIGNATURE]| {
            Context::ChallengeAuth.verify(&chip.spki(), input, signature).is_ok()
        };
        assert!(holds(&chip, &input, &signature), "the control");
        assert!(!holds(&other, &input, &signature));
        assert!(!holds(&chip, &Context::Measurements.input(&[b"transcript"]), &signature));
        assert!(!holds(&chip, &Context::ChallengeAuth.input(&[b"transcripT"]), &signature));
        let mut bent = signature;
        bent[255] ^= 1;
        assert!(!holds(&chip, &input, &bent));
        assert!(Context::ChallengeAuth.verify(b"no key", &input, &signature).is_err());
    }
}
