//! TPM2_MakeCredential without a TPM: a secret that only the TPM with this endorsement key can read, and only while it
//! has an object of this name loaded. The answer proves that both live in one TPM (TPM2_ActivateCredential).
//!
//! TPM 2.0 Part 1, "Credential Protection", for RSA-2048 endorsement keys of the default template: SHA-256, AES-128-CFB.

use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use biotrust_model::Secret;
use zeroize::Zeroizing;

/// Label of OAEP, with its terminating zero.
const IDENTITY: &[u8] = b"IDENTITY\0";

/// Longest secret: a digest of the name algorithm.
const MAX_SECRET: usize = 32;

/// Why no credential was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Not an RSA key in DER.
    #[error("the endorsement key is not an RSA key that can encrypt")]
    EndorsementKey,
    /// Empty, or longer than a digest.
    #[error("a secret of {0} bytes; 1 to {MAX_SECRET} can be protected")]
    SecretLength(usize),
    /// The library failed, or there is no randomness.
    #[error("the credential could not be encrypted")]
    Crypto,
}

/// Protects `secret` for the object called `name` in the TPM with the endorsement key `ek_spki` (SubjectPublicKeyInfo,
/// DER). Returns the contents of TPM2B_ID_OBJECT and of TPM2B_ENCRYPTED_SECRET, without their outer sizes.
///
/// # Errors
/// The key or the secret do not fit.
pub fn make_credential(
    ek_spki: &[u8],
    name: &[u8],
    secret: &Secret,
) -> Result<(Vec<u8>, Vec<u8>), CredentialError> {
    let mut seed = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(seed.as_mut()).map_err(|_| CredentialError::Crypto)?;
    let key = PublicEncryptingKey::from_der(ek_spki).map_err(|_| CredentialError::EndorsementKey)?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| CredentialError::EndorsementKey)?;
    let mut wrapped = vec![0; key.ciphertext_size()];
    let length = key
        .encrypt(&OAEP_SHA256_MGF1SHA256, seed.as_ref(), &mut wrapped, Some(IDENTITY))
        .map_err(|_| CredentialError::Crypto)?
        .len();
    wrapped.truncate(length);
    Ok((id_object(&seed, name, secret.expose())?, wrapped))
}

/// `size || HMAC || AES(size || secret)`.
fn id_object(seed: &[u8; 32], name: &[u8], secret: &[u8]) -> Result<Vec<u8>, CredentialError> {
    let size = u16::try_from(secret.len()).ok().filter(|size| (1..=MAX_SECRET).contains(&usize::from(*size)));
    let size = size.ok_or(CredentialError::SecretLength(secret.len()))?;
    let mut identity = Zeroizing::new([&size.to_be_bytes(), secret].concat());
    let storage = kdf_a(seed, "STORAGE", name, 128);
    let storage = storage.get(..16).ok_or(CredentialError::Crypto)?;
    encrypt(storage, &mut identity)?;
    let integrity = kdf_a(seed, "INTEGRITY", &[], 256);
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, integrity.as_ref()));
    mac.update(&identity);
    mac.update(name);
    let mac = mac.sign();
    Ok([&[0, 32], mac.as_ref(), identity.as_slice()].concat())
}

/// AES-128-CFB with an IV of zeros: the key is used once.
fn encrypt(key: &[u8], bytes: &mut [u8]) -> Result<(), CredentialError> {
    let key = UnboundCipherKey::new(&AES_128, key).map_err(|_| CredentialError::Crypto)?;
    let key = EncryptingKey::cfb128(key).map_err(|_| CredentialError::Crypto)?;
    key.less_safe_encrypt(bytes, EncryptionContext::Iv128(FixedLength::from([0; 16])))
        .map(drop)
        .map_err(|_| CredentialError::Crypto)
}

/// KDFa (Part 1, 11.4.10.2) with SHA-256, for at most 256 bits: one round of the counter is enough.
fn kdf_a(key: &[u8; 32], label: &str, context: &[u8], bits: u32) -> Zeroizing<[u8; 32]> {
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    mac.update(&1u32.to_be_bytes());
    mac.update(label.as_bytes());
    mac.update(&[0]);
    mac.update(context);
    mac.update(&bits.to_be_bytes());
    let mut out = Zeroizing::new([0; 32]);
    out.copy_from_slice(mac.sign().as_ref());
    out
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::cipher::{DecryptingKey, DecryptionContext};
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    use aws_lc_rs::kdf::{KbkdfCtrHmacAlgorithmId, get_kbkdf_ctr_hmac_algorithm, kbkdf_ctr_hmac};
    use aws_lc_rs::rsa::{KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey};

    use super::*;

    /// KDFa is the counter mode of SP 800-108 with a length at its end: another implementation of that.
    fn independent_kdf(key: &[u8], label: &str, context: &[u8], bits: u32) -> Vec<u8> {
        let info = [label.as_bytes(), &[0], context, &bits.to_be_bytes()].concat();
        let algorithm = get_kbkdf_ctr_hmac_algorithm(KbkdfCtrHmacAlgorithmId::Sha256).unwrap();
        let mut out = vec![0; bits as usize / 8];
        kbkdf_ctr_hmac(algorithm, key, &info, &mut out).unwrap();
        out
    }

    /// What a TPM does in TPM2_ActivateCredential.
    fn activate(key: &OaepPrivateDecryptingKey, name: &[u8], blob: &[u8], wrapped: &[u8]) -> Option<Vec<u8>> {
        let mut seed = vec![0; key.min_output_size()];
        let seed = key.decrypt(&OAEP_SHA256_MGF1SHA256, wrapped, &mut seed, Some(b"IDENTITY\0")).ok()?;
        let (mac, identity) = blob.strip_prefix(&[0, 32])?.split_at_checked(32)?;
        let integrity = hmac::Key::new(hmac::HMAC_SHA256, &independent_kdf(seed, "INTEGRITY", &[], 256));
        hmac::verify(&integrity, &[identity, name].concat(), mac).ok()?;
        let storage = UnboundCipherKey::new(&AES_128, &independent_kdf(seed, "STORAGE", name, 128)).ok()?;
        let context = DecryptionContext::Iv128(FixedLength::from([0; 16]));
        let mut clear = identity.to_vec();
        let clear = DecryptingKey::cfb128(storage).ok()?.decrypt(&mut clear, context).ok()?;
        clear.strip_prefix(&[0, 20]).map(<[u8]>::to_vec)
    }

    #[test]
    fn only_the_right_tpm_with_the_right_object_reads_it() {
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        let spki = AsDer::<PublicKeyX509Der<'_>>::as_der(&private.public_key()).unwrap();
        let key = OaepPrivateDecryptingKey::new(private).unwrap();
        let name = super::super::name(b"a key");
        let secret = || Secret::new(vec![7; 20]);
        let (blob, wrapped) = make_credential(spki.as_ref(), &name, &secret()).unwrap();
        assert_eq!((blob.len(), wrapped.len()), (2 + 32 + 2 + 20, 256));
        assert_eq!(activate(&key, &name, &blob, &wrapped), Some(vec![7; 20]));

        let other_name = super::super::name(b"another key");
        assert_eq!(activate(&key, &other_name, &blob, &wrapped), None, "another object");
        let other = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        let other = OaepPrivateDecryptingKey::new(other).unwrap();
        assert_eq!(activate(&other, &name, &blob, &wrapped), None, "another TPM");
        let mut changed = blob;
        changed[40] ^= 1;
        assert_eq!(activate(&key, &name, &changed, &wrapped), None, "a changed credential");
    }

    #[test]
    fn what_does_not_fit_is_said() {
        assert_eq!(
            make_credential(b"no key", &[0; 34], &Secret::new(vec![1])),
            Err(CredentialError::EndorsementKey)
        );
        for length in [0, 33] {
            assert_eq!(
                id_object(&[1; 32], &[0; 34], &vec![1; length]),
                Err(CredentialError::SecretLength(length))
            );
        }
    }
}
