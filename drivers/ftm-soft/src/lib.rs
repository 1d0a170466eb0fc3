//! The software FTM: device keys in files of the host.
//!
//! Level L0 and no other ([`SoftFtm::LEVEL`]): whoever is root on the host, or runs as this service's user, can copy
//! the keys. A device with such a key must never be presented as L1; that takes an FTM in the device.
//!
//! Trust: the directory's owner. Files that others may read or write are refused. Blocks on the disk: every change is
//! durable before a call returns; making a key takes some hundred milliseconds.

mod key;
mod store;
#[cfg(test)]
mod tests;

use std::path::Path;

use biotrust_driver_api::{Ftm, FtmError, KeyHandle};
use biotrust_model::Level;

use key::SoftKey;
use store::{Slot, Store};

/// An FTM whose keys are files: `NAME.current.key` and, while a rotation is open, `NAME.next.key`, each an unencrypted
/// PKCS#8 of an RSA-2048 key. Only ever L0.
pub struct SoftFtm {
    store: Store,
}

impl SoftFtm {
    /// The only level that keys on the host can give.
    pub const LEVEL: Level = Level::L0;

    /// Opens the keys in `directory`, for this process alone; makes the directory where there is none.
    ///
    /// # Errors
    /// `Unusable` when others than this user may enter it, with the command that mends it; `Failed` when it cannot be
    /// made or opened, or another process uses it.
    pub fn open(directory: &Path) -> Result<Self, FtmError> {
        Store::open(directory).map(|store| Self { store })
    }

    /// Reads the key in `slot`.
    fn key(&self, name: &str, slot: Slot) -> Result<SoftKey, FtmError> {
        let pkcs8 = self.store.read(name, slot)?.ok_or_else(|| FtmError::NoKey(name.to_owned()))?;
        SoftKey::from_pkcs8(name, &pkcs8)
    }
}

impl Ftm for SoftFtm {
    fn begin_rotation(
        &mut self,
        name: &str,
        common_name: &str,
        organisation: &str,
    ) -> Result<Vec<u8>, FtmError> {
        checked(name)?;
        let key = SoftKey::generate()?;
        let request = key.certificate_request(common_name, organisation)?;
        self.store.write(name, Slot::Next, &key.to_pkcs8()?)?;
        Ok(request)
    }

    fn finish_rotation(&mut self, name: &str) -> Result<(), FtmError> {
        checked(name)?;
        // A next key that cannot be used must not replace one that can.
        self.key(name, Slot::Next)?;
        self.store.promote(name)
    }

    fn load(&mut self, name: &str) -> Result<Box<dyn KeyHandle>, FtmError> {
        checked(name)?;
        Ok(Box::new(self.key(name, Slot::Current)?))
    }

    fn next_public_key(&mut self, name: &str) -> Result<Option<Vec<u8>>, FtmError> {
        checked(name)?;
        match self.key(name, Slot::Next) {
            Ok(key) => Ok(Some(key.public_key_der().to_vec())),
            Err(FtmError::NoKey(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the files; it does not overwrite them first. Journals, copy-on-write and wear levelling write new blocks
    /// and keep the old ones, so overwriting would promise what it cannot do, and a crash in the middle would leave half a
    /// key. What a disk may not keep does not belong on it: that is what level L1 is for.
    fn destroy(&mut self, name: &str) -> Result<(), FtmError> {
        checked(name)?;
        self.store.remove(name)
    }
}

/// Names become names of files, so they are of a small alphabet: `[A-Za-z0-9_-]{1,64}`.
fn checked(name: &str) -> Result<(), FtmError> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if (1..=64).contains(&name.len()) && name.bytes().all(good) {
        return Ok(());
    }
    let name = name.chars().take(64).flat_map(char::escape_default).collect();
    Err(FtmError::Unusable { name, why: "a name is 1 to 64 letters, digits, `-` or `_`".into() })
}
