//! The other end: what the authentication server does. For stand-in back ends and tests; a device host never decrypts.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use biotrust_model::Secret;
use zeroize::Zeroizing;

use super::{KEY_LENGTH, SessionError, derive};
use crate::base64url;

/// The private key of an [`super::EncryptionCertificate`].
#[derive(Debug)]
pub struct DecryptionKey(OaepPrivateDecryptingKey);

impl DecryptionKey {
    /// Reads a private key.
    ///
    /// # Errors
    /// Not RSA-2048 in PKCS#8.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, SessionError> {
        PrivateDecryptingKey::from_pkcs8(der)
            .ok()
            .filter(|key| key.key_size_bits() == 2048)
            .and_then(|key| OaepPrivateDecryptingKey::new(key).ok())
            .map(Self)
            .ok_or(SessionError::PrivateKey)
    }

    pub(super) fn unwrap_key(&self, session_key: &str) -> Result<Zeroizing<Vec<u8>>, SessionError> {
        let wrapped = base64url::decode(session_key).ok_or(SessionError::Encoding("sessionKey"))?;
        let mut key = Zeroizing::new(vec![0; self.0.min_output_size()]);
        let length = self
            .0
            .decrypt(&OAEP_SHA256_MGF1SHA256, &wrapped, &mut key, None)
            .map_err(|_| SessionError::Unwrap)?
            .len();
        key.truncate(length);
        if length == KEY_LENGTH { Ok(key) } else { Err(SessionError::Unwrap) }
    }
}

/// Opens what [`super::encrypt`] made.
///
/// # Errors
/// Which of the steps failed, and what usually causes it.
pub fn decrypt(
    bio_value: &str,
    session_key: &str,
    timestamp: &str,
    transaction_id: &str,
    key: &DecryptionKey,
) -> Result<Secret, SessionError> {
    let session_key = key.unwrap_key(session_key)?;
    let mut sealed = base64url::decode(bio_value).ok_or(SessionError::Encoding("bioValue"))?;
    let derived = derive(timestamp, transaction_id);
    let key = UnboundKey::new(&AES_256_GCM, &session_key).map_err(|_| SessionError::Open)?;
    let length = LessSafeKey::new(key)
        .open_in_place(Nonce::assume_unique_for_key(derived.iv), Aad::from(derived.aad), &mut sealed)
        .map_err(|_| SessionError::Open)?
        .len();
    sealed.truncate(length);
    Ok(Secret::new(sealed))
}
