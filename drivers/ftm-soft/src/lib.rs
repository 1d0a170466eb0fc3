//! The software FTM: device keys in files of the host.
//!
//! Level L0 and no other ([`SoftFtm::LEVEL`]): whoever is root on the host, or runs as this service's user, can copy
//! the keys. A device with such a key must never be presented as L1; that takes an FTM in the device.
//!
//! Keys are sealed at rest, under a key of the host (`vault`).
//!
//! Trust: the directory's owner. Files that others may read or write are refused. Blocks on the disk: every change is
//! durable before a call returns. Making a key takes some hundred milliseconds, in which nobody could sign, so the next
//! one is made ahead on a thread of its own; it is in memory only until it is somebody's.

mod key;
#[cfg(test)]
mod tests;
mod vault;

use std::path::Path;
use std::thread::JoinHandle;

use biotrust_driver_api::key_files::{KeyFiles, checked_name};
use biotrust_driver_api::{Ftm, FtmError, KeyHandle, Sealer};
use biotrust_model::Level;
use biotrust_model::evidence::{Binding, FtmKind, KeySlot, Proof};

use key::SoftKey;
use vault::Vault;

/// An FTM whose keys are files: `NAME.current.key` and, while a rotation is open, `NAME.next.key`, each the PKCS#8 of an
/// RSA-2048 key sealed under the key of this host. Only ever L0.
pub struct SoftFtm {
    files: KeyFiles,
    vault: Vault,
    notices: Vec<String>,
    /// The key for the next rotation of whatever device, being made or made.
    spare: Option<JoinHandle<Result<SoftKey, FtmError>>>,
}

impl SoftFtm {
    /// The only level that keys on the host can give.
    pub const LEVEL: Level = Level::L0;

    /// Opens the keys in `directory`, for this process alone; makes the directory where there is none. The host key is
    /// sealed to `sealer` where there is one, else it lies beside the keys, for this user alone; giving a sealer later
    /// moves it there. Keys that earlier versions left unsealed are sealed.
    ///
    /// # Errors
    /// `Unusable` when others than this user may enter it, with the command that mends it, or the host key cannot be
    /// had; `Failed` when it cannot be made or opened, or another process uses it; whatever the sealer has to say.
    pub fn open(directory: &Path, sealer: Option<&mut dyn Sealer>) -> Result<Self, FtmError> {
        let files = KeyFiles::open(directory)?;
        let vault = Vault::open(&files, sealer)?;
        let mut ftm = Self { files, vault, notices: Vec::new(), spare: None };
        ftm.seal_old_keys()?;
        Ok(ftm)
    }

    /// Seals the keys that earlier versions left as they were; each in one step. One that is no good is left alone: it
    /// is refused when it is used.
    fn seal_old_keys(&mut self) -> Result<(), FtmError> {
        for (name, slot) in self.files.keys()? {
            let read = checked_name(&name).and_then(|()| self.files.read(&name, slot));
            let sound = |file: &[u8]| SoftKey::from_pkcs8(&name, file).map(drop);
            match read {
                Ok(Some(file)) if vault::is_plain(&file) => match sound(&file) {
                    Ok(()) => self.files.write(&name, slot, &self.vault.seal(&name, &file)?)?,
                    Err(error) => self.notices.push(error.to_string()),
                },
                Ok(_) => {}
                Err(error) => self.notices.push(error.to_string()),
            }
        }
        Ok(())
    }

    /// A key that is nobody's yet: the one made ahead, where there is one.
    fn new_key(&mut self) -> Result<SoftKey, FtmError> {
        match self.spare.take().map(JoinHandle::join) {
            Some(Ok(Ok(key))) => Ok(key),
            _ => SoftKey::generate(),
        }
    }

    /// Reads the key in `slot`.
    fn key(&self, name: &str, slot: KeySlot) -> Result<SoftKey, FtmError> {
        checked_name(name)?;
        let file = self.files.read(name, slot)?.ok_or_else(|| FtmError::NoKey(name.to_owned()))?;
        SoftKey::from_pkcs8(name, &self.vault.unseal(name, &file)?)
    }
}

impl Ftm for SoftFtm {
    fn begin_rotation(
        &mut self,
        name: &str,
        common_name: &str,
        organisation: &str,
    ) -> Result<Vec<u8>, FtmError> {
        checked_name(name)?;
        let key = self.new_key()?;
        let request = key.certificate_request(common_name, organisation)?;
        self.files.write(name, KeySlot::Next, &self.vault.seal(name, &key.to_pkcs8()?)?)?;
        Ok(request)
    }

    fn finish_rotation(&mut self, name: &str) -> Result<(), FtmError> {
        // A next key that cannot be used must not replace one that can.
        self.key(name, KeySlot::Next)?;
        self.files.promote(name)
    }

    fn load(&mut self, name: &str) -> Result<Box<dyn KeyHandle>, FtmError> {
        Ok(Box::new(self.key(name, KeySlot::Current)?))
    }

    fn next_public_key(&mut self, name: &str) -> Result<Option<Vec<u8>>, FtmError> {
        match self.key(name, KeySlot::Next) {
            Ok(key) => Ok(Some(key.public_key_der().to_vec())),
            Err(FtmError::NoKey(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Overwrites and removes the files. A disk may keep old blocks all the same: what it may not keep does not belong on
    /// it, and that is what level L1 is for.
    fn destroy(&mut self, name: &str) -> Result<(), FtmError> {
        checked_name(name)?;
        self.files.remove(name)
    }

    fn kind(&self) -> FtmKind {
        FtmKind::Software
    }

    fn sign_next_rs256(&mut self, name: &str, message: &[u8]) -> Result<Vec<u8>, FtmError> {
        self.key(name, KeySlot::Next)?.sign_rs256(message)
    }

    /// There is nothing to prove: whoever has the files has the keys. Only the key must exist.
    fn prove(&mut self, _binding: &Binding, key: Option<(&str, KeySlot)>) -> Result<Proof, FtmError> {
        if let Some((name, slot)) = key {
            self.key(name, slot)?;
        }
        Ok(Proof::Software)
    }

    fn idle(&mut self) -> Result<bool, FtmError> {
        if self.spare.is_none() {
            let maker = std::thread::Builder::new().name("next key".to_owned());
            let making = maker.spawn(SoftKey::generate);
            let why =
                |e: std::io::Error| FtmError::Failed { doing: "making a key ahead", why: e.to_string() };
            self.spare = Some(making.map_err(why)?);
        }
        Ok(false)
    }

    fn notices(&mut self) -> Vec<String> {
        self.notices.clone()
    }
}
