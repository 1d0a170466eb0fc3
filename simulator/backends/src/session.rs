//! Opening an authentication capture as IDA and its key manager do.
//!
//! IV and AAD come from `timestamp XOR transactionId` (right-aligned), the AES key from RSA-OAEP with SHA-256 in both
//! places and an empty label; backends-crypto, sections 1 and 2.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};

use crate::hash_chain::sha256;
use crate::keymanager::pem_blocks;

/// Bytes of a wrapped key: the key manager finds its thumbprint only in front of 256 bytes, so RSA-2048 alone works.
pub const WRAPPED_KEY_LEN: usize = 256;

/// IV and AAD of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Derived {
    /// Last 12 bytes.
    pub iv: [u8; 12],
    /// Last 16 bytes.
    pub aad: [u8; 16],
}

/// Derives IV and AAD from the two strings inside the signed data.
///
/// # Errors
/// When both strings are shorter than 16 bytes, which IDA cannot slice.
pub fn derive(timestamp: &str, transaction_id: &str) -> Result<Derived, String> {
    let (a, b) = (timestamp.as_bytes(), transaction_id.as_bytes());
    let from_end = |s: &[u8], i: usize| s.len().checked_sub(i).and_then(|at| s.get(at)).copied().unwrap_or(0);
    if a.len().max(b.len()) < 16 {
        return Err("timestamp and transactionId are both shorter than 16 characters".to_owned());
    }
    let mut aad = [0; 16];
    for (i, byte) in aad.iter_mut().rev().enumerate() {
        *byte = from_end(a, i + 1) ^ from_end(b, i + 1);
    }
    let mut iv = [0; 12];
    iv.copy_from_slice(aad.split_at(4).1);
    Ok(Derived { iv, aad })
}

/// The stand-in for the key of ID authentication (application IDA, reference IDA-FIR).
pub struct IdaKey {
    key: OaepPrivateDecryptingKey,
    thumbprint: [u8; 32],
}

impl std::fmt::Debug for IdaKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IdaKey({})", self.thumbprint())
    }
}

impl IdaKey {
    /// Reads the private key (PKCS#8) and the certificate, both PEM.
    ///
    /// # Errors
    /// When either does not parse, or the key is not RSA-2048.
    pub fn from_pem(private_key_pem: &str, certificate_pem: &str) -> Result<Self, String> {
        let pkcs8 = pem_blocks(private_key_pem, "PRIVATE KEY")?.into_iter().next();
        let pkcs8 = pkcs8.ok_or("there is no PRIVATE KEY in the key file of IDA")?;
        let certificate = pem_blocks(certificate_pem, "CERTIFICATE")?.into_iter().next();
        let certificate = certificate.ok_or("there is no CERTIFICATE in the certificate file of IDA")?;
        let key = PrivateDecryptingKey::from_pkcs8(&pkcs8).map_err(|e| format!("the key of IDA: {e}"))?;
        if key.key_size_bytes() != WRAPPED_KEY_LEN {
            return Err(format!("the key of IDA has {} bits instead of 2048", key.key_size_bits()));
        }
        let key =
            OaepPrivateDecryptingKey::new(key).map_err(|_| "the key of IDA cannot decrypt".to_owned())?;
        Ok(Self { key, thumbprint: sha256(&certificate) })
    }

    /// SHA-256 of the certificate in upper-case hex.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        hex::encode_upper(self.thumbprint)
    }

    /// SHA-256 of the certificate.
    #[must_use]
    pub const fn thumbprint_bytes(&self) -> &[u8; 32] {
        &self.thumbprint
    }

    /// Unwraps a session key.
    ///
    /// # Errors
    /// When it was not wrapped for this key with these parameters, or does not hold 32 bytes.
    pub fn unwrap(&self, wrapped: &[u8]) -> Result<[u8; 32], String> {
        let mut buffer = vec![0; self.key.min_output_size()];
        let key = self
            .key
            .decrypt(&OAEP_SHA256_MGF1SHA256, wrapped, &mut buffer, None)
            .map_err(|_| "the session key does not open: other certificate, or other OAEP or MGF1 hash")?;
        <[u8; 32]>::try_from(&*key).map_err(|_| format!("the session key holds {} bytes, not 32", key.len()))
    }
}

/// Opens a segment: ciphertext with its tag, under a key of 32 bytes.
///
/// # Errors
/// When the tag does not match.
pub fn open(key: &[u8; 32], derived: Derived, sealed: &[u8]) -> Result<Vec<u8>, String> {
    let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| "no AES-256 key".to_owned())?;
    let mut buffer = sealed.to_vec();
    let plain = LessSafeKey::new(key)
        .open_in_place(Nonce::assume_unique_for_key(derived.iv), Aad::from(derived.aad), &mut buffer)
        .map_err(
            |_| "the GCM tag does not match: IV and AAD were derived from other strings, or bytes changed",
        )?;
    Ok(plain.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers, made with Python's cryptography and confirmed by the JDK with BouncyCastle.
    const DERIVED: [(&str, &str, &str, &str); 7] = [
        (
            "2024-05-17T09:41:27Z",
            "a1B2c3D4e5",
            "313735017b0857027e06526f",
            "2d30352d313735017b0857027e06526f",
        ),
        (
            "2024-05-17T09:41:27Z",
            "6f9619ff-8b86-d011-b42d-00c04fc964ff",
            "010737000d5c57080c06513c",
            "19025100010737000d5c57080c06513c",
        ),
        (
            "2024-05-17T09:41:27Z",
            "ABCDEFGHIJKLMNOPQRSTUVWXYZ-0123456789-abcdefghijkl",
            "505537545c5c535953585c36",
            "1a080c00505537545c5c535953585c36",
        ),
        ("2024-05-17T09:41:27Z", "ab-1", "31375430393a34315b501a6b", "2d30352d31375430393a34315b501a6b"),
        (
            "2024-05-17T09:41:27Z",
            "12345678901234567890",
            "080765020a0e01070d0a0e6a",
            "18060215080765020a0e01070d0a0e6a",
        ),
        (
            "2024-05-17T09:41:27.123Z",
            "a1B2c3D4e5",
            "393a55007800541d7506566f",
            "31375430393a55007800541d7506566f",
        ),
        (
            "2024-05-17T15:11:27+05:30",
            "a1B2c3D4e5",
            "3a31500b70054803710e5605",
            "375431353a31500b70054803710e5605",
        ),
    ];

    #[test]
    fn known_derivations_are_reproduced() {
        for (timestamp, transaction_id, iv, aad) in DERIVED {
            let derived = derive(timestamp, transaction_id).unwrap();
            assert_eq!((hex::encode(derived.iv), hex::encode(derived.aad)), (iv.to_owned(), aad.to_owned()));
        }
        assert!(derive("short", "too").is_err());
    }

    #[test]
    fn known_ciphertext_opens_and_a_changed_one_does_not() {
        let key: [u8; 32] = std::array::from_fn(|i| i as u8);
        let derived = derive("2024-05-17T09:41:27Z", "6f9619ff-8b86-d011-b42d-00c04fc964ff").unwrap();
        let sealed =
            hex::decode("a40b2c6de4d1b93d0ce05ed4212f91634dfcd5c7bff450439371c6da3f6f12c36583c685").unwrap();
        assert_eq!(open(&key, derived, &sealed).unwrap(), b"ISO-19794 test bytes");
        for i in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[i] ^= 1;
            assert!(open(&key, derived, &changed).is_err(), "byte {i}");
        }
        let other = derive("2024-05-17T09:41:28Z", "6f9619ff-8b86-d011-b42d-00c04fc964ff").unwrap();
        assert!(open(&key, other, &sealed).is_err());
    }
}
