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
