//! Keys at rest: each file is sealed with AES-256-GCM under one key of this host.
//!
//! The host key is a file of the same directory, or a blob that only this host's TPM opens. A file alone keeps keys out
//! of a careless copy (a backup of one file, a search through a disk image); against root of the running host neither
//! helps, which is why this is level L0.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use biotrust_driver_api::key_files::KeyFiles;
use biotrust_driver_api::{FtmError, Sealer};
use zeroize::Zeroizing;

/// How a sealed key begins; a PKCS#8 of before begins with 30h. Then the nonce, the ciphertext and its tag.
const MAGIC: &[u8; 4] = b"BTK1";
/// Bytes of the host key.
const KEY: usize = 32;
const TAG: usize = 16;
/// The host key as it is. Names of devices have no dots, so none collides with it.
const PLAIN_FILE: &str = "host.key";
/// The host key, sealed to a TPM.
const SEALED_FILE: &str = "host.key.sealed";

/// Seals and opens key files.
pub(crate) struct Vault(RandomizedNonceKey);

impl Vault {
    /// Reads the host key, making it at the first start. With a `sealer` a plain host key is sealed to it and removed.
    pub(crate) fn open(files: &KeyFiles, sealer: Option<&mut dyn Sealer>) -> Result<Self, FtmError> {
        let plain = files.read_file("of the host", PLAIN_FILE)?;
        let sealed = files.read_file("of the host", SEALED_FILE)?;
        match (sealer, sealed) {
            (None, None) => {
                let key = plain.map_or_else(|| made(|key| files.write_file(PLAIN_FILE, key)), Ok)?;
                Self::new(&key)
            }
            (None, Some(_)) => Err(unusable(
                "the keys of this directory are sealed to a TPM that is not configured: set `[ftm] tcti`, or remove \
                 `host.key.sealed` and enrol the devices again",
            )),
            (Some(sealer), Some(sealed)) => {
                let vault = Self::new(sealer.unseal(&sealed)?.expose())?;
                // A crash between sealing it and removing it.
                if plain.is_some() {
                    files.remove_file(PLAIN_FILE)?;
                }
                Ok(vault)
            }
            (Some(sealer), None) => {
                let mut seal = |key: &[u8]| files.write_file(SEALED_FILE, &sealer.seal(key)?);
                let Some(key) = plain else { return Self::new(&made(seal)?) };
                let vault = Self::new(&key)?;
                seal(&key)?;
                files.remove_file(PLAIN_FILE)?;
                Ok(vault)
            }
        }
    }

    fn new(key: &[u8]) -> Result<Self, FtmError> {
        let cipher = (key.len() == KEY).then(|| RandomizedNonceKey::new(&AES_256_GCM, key));
        cipher.and_then(Result::ok).map(Self).ok_or_else(|| {
            unusable("`host.key` is not 32 bytes: restore it, or remove it and enrol the devices again")
        })
    }

    /// Seals the key of `name`.
    pub(crate) fn seal(&self, name: &str, pkcs8: &[u8]) -> Result<Vec<u8>, FtmError> {
        // In place, so no copy of the plain key stays behind; with room for the tag, so nothing is reallocated.
        let mut body = Zeroizing::new(Vec::with_capacity(pkcs8.len() + TAG));
        body.extend_from_slice(pkcs8);
        let nonce = self.0.seal_in_place_append_tag(Aad::from(name.as_bytes()), &mut *body);
        let nonce = nonce.map_err(|_| FtmError::Failed {
            doing: "sealing a key",
            why: "the cryptographic library failed".into(),
        })?;
        Ok([MAGIC.as_slice(), nonce.as_ref().as_slice(), &body].concat())
    }

    /// Opens the file of a key of `name`; PKCS#8.
    pub(crate) fn unseal(&self, name: &str, file: &[u8]) -> Result<Zeroizing<Vec<u8>>, FtmError> {
        let refused = |why: &str| FtmError::Unusable { name: name.to_owned(), why: why.to_owned() };
        let (nonce, body) = file
            .strip_prefix(MAGIC.as_slice())
            .and_then(|rest| rest.split_first_chunk::<NONCE_LEN>())
            .ok_or_else(|| refused("its file does not hold a sealed key; enrol the device again"))?;
        let mut body = Zeroizing::new(body.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self
            .0
            .open_in_place(nonce, Aad::from(name.as_bytes()), &mut body)
            .map_err(|_| {
                refused(
                    "its file is damaged, of another device, or sealed under another host key; enrol the device again",
                )
            })?
            .len();
        body.truncate(length);
        Ok(body)
    }
}

/// Whether a file is a key as earlier versions kept it.
pub(crate) fn is_plain(file: &[u8]) -> bool {
    file.first() == Some(&0x30)
}

/// Makes a host key and keeps it.
fn made(keep: impl FnOnce(&[u8]) -> Result<(), FtmError>) -> Result<Zeroizing<Vec<u8>>, FtmError> {
    let mut key = Zeroizing::new(vec![0; KEY]);
    rand::fill(&mut key).map_err(|_| FtmError::Failed {
        doing: "making the host key",
        why: "there are no random numbers".into(),
    })?;
    keep(&key)?;
    Ok(key)
}

fn unusable(why: &str) -> FtmError {
    FtmError::Unusable { name: "of the host".into(), why: why.to_owned() }
}
