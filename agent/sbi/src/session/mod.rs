//! Encryption of an authentication capture for the authentication server.
//!
//! AES-256-GCM under a fresh key per record; IV and AAD are not sent but derived from the two texts that stand in the
//! signed payload; the key is wrapped with RSA-OAEP (SHA-256 for the hash and for MGF1, empty label). IV and AAD repeat
//! among the records of one answer, so one key for two records would break GCM: [`encrypt`] makes its own key and
//! gives no way to hand one in.

mod certificate;
mod open;

pub use certificate::EncryptionCertificate;
pub use open::{DecryptionKey, decrypt};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::base64url;

/// Length of the session key in bytes.
const KEY_LENGTH: usize = 32;

/// What encryption or decryption failed on. Never tells a key or a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// Not a certificate.
    #[error("the encryption certificate is not X.509 in DER or PEM")]
    Certificate,
    /// A key that the key manager cannot find by its thumbprint: only 256 bytes of ciphertext are.
    #[error("the encryption certificate must hold an RSA key of 2048 bits, it holds {0}")]
    Key(String),
    /// The private key cannot be used.
    #[error("the decryption key is not RSA of 2048 bits in PKCS#8")]
    PrivateKey,
    /// No randomness.
    #[error("the random generator failed")]
    Random,
    /// Record over the limit of GCM.
    #[error("the record cannot be encrypted")]
    Seal,
    /// The session key cannot be wrapped.
    #[error("the session key cannot be wrapped")]
    Wrap,
    /// Bad base64url.
    #[error("{0} is not unpadded base64url")]
    Encoding(&'static str),
    /// Wrong private key, or another OAEP or MGF1 hash.
    #[error(
        "the session key cannot be unwrapped: another certificate's key, or OAEP not with SHA-256 throughout"
    )]
    Unwrap,
    /// Wrong key, changed record, or derived from other texts.
    #[error(
        "the record does not decrypt: changed, or its timestamp or transactionId are not those it was made with"
    )]
    Open,
}

/// IV and AAD of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Derived {
    /// GCM nonce.
    pub iv: [u8; 12],
    /// Additional authenticated data.
    pub aad: [u8; 16],
}

/// XORs the two texts, the shorter padded with zero bytes on its left, and takes the last 16 bytes for the AAD and the
/// last 12 for the IV. Total: where both texts are shorter than that, the padding goes on.
#[must_use]
pub fn derive(timestamp: &str, transaction_id: &str) -> Derived {
    let mut aad = [0; 16];
    for text in [timestamp, transaction_id] {
        aad.iter_mut().rev().zip(text.bytes().rev()).for_each(|(to, from)| *to ^= from);
    }
    let mut iv = [0; 12];
    iv.iter_mut().rev().zip(aad.iter().rev()).for_each(|(to, from)| *to = *from);
    Derived { iv, aad }
}

/// A record as an authentication answer carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encrypted {
    /// `bioValue`: ciphertext and tag.
    pub bio_value: String,
    /// `sessionKey`: the wrapped key.
    pub session_key: String,
    /// `thumbprint` of the certificate that it was wrapped for.
    pub thumbprint: String,
}

/// Encrypts `record` for the holder of `certificate` under a key that exists only in here.
///
/// `timestamp` and `transaction_id` must be the very texts of the payload that will be signed.
///
/// # Errors
/// Failure of the random generator or of the library; none that depends on the record.
pub fn encrypt(
    record: &[u8],
    timestamp: &str,
    transaction_id: &str,
    certificate: &EncryptionCertificate,
) -> Result<Encrypted, SessionError> {
    let mut key = Zeroizing::new([0; KEY_LENGTH]);
    aws_lc_rs::rand::fill(key.as_mut()).map_err(|_| SessionError::Random)?;
    let sealed = seal(&key, &derive(timestamp, transaction_id), record)?;
    Ok(Encrypted {
        bio_value: base64url::encode(sealed),
        session_key: base64url::encode(certificate.wrap(key.as_ref())?),
        thumbprint: certificate.thumbprint().to_owned(),
    })
}

/// Ciphertext and tag. Private, so that no caller can use a key twice.
fn seal(key: &[u8; KEY_LENGTH], derived: &Derived, record: &[u8]) -> Result<Vec<u8>, SessionError> {
    let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| SessionError::Seal)?;
    // Room for the tag from the start: a reallocation would leave the clear record behind.
    let mut sealed = Vec::with_capacity(record.len() + AES_256_GCM.tag_len());
    sealed.extend_from_slice(record);
    LessSafeKey::new(key)
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(derived.iv),
            Aad::from(derived.aad),
            &mut sealed,
        )
        .map_err(|_| SessionError::Seal)?;
    Ok(sealed)
}

#[cfg(test)]
mod tests;
