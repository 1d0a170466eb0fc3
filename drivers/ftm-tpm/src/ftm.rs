//! The TPM as an [`Ftm`]: names and slots of device keys, over files of wrapped keys.
//!
//! The files: `NAME.current.key`, `NAME.next.key`, and `spare.key`, a key that was made when there was nothing else to do
//! and belongs to nobody yet. Every step is one atomic change of the directory, so that a kill at any point leaves the
//! state before or after it.

use std::path::Path;

use biotrust_driver_api::key_files::{KeyFiles, checked_name};
use biotrust_driver_api::{Ftm, FtmError, KeyHandle, Sealer};
use biotrust_model::Secret;
use biotrust_model::evidence::{Binding, FtmKind, KeySlot, Proof};

use crate::blob::Blob;
use crate::connect::in_lockout;
use crate::counters::{FAILURES, SVN_FLOOR};
use crate::error::Doing;
use crate::proof::unprovisioned;
use crate::provision::IdentityRequest;
use crate::shared::Shared;
use crate::{ChipClock, Options, csr, template};

/// A device key that was made ahead.
const SPARE: &str = "spare.key";

/// A trust module in a TPM 2.0, with its key files.
pub struct TpmFtm {
    shared: Shared,
    files: KeyFiles,
    /// Whether the EK certificate is traced to an anchor.
    anchored: bool,
}

impl TpmFtm {
    /// Connects to the TPM and opens the key files in `directory`, for this process alone. Makes the keys that the TPM
    /// keeps, the first time.
    ///
    /// # Errors
    /// `State`, with what to do, where the TPM is not there, not to be believed or not usable; otherwise as
    /// [`KeyFiles::open`].
    pub fn open(options: Options, directory: &Path) -> Result<Self, FtmError> {
        let files = KeyFiles::open(directory)?;
        let anchored = !options.ek_anchors.is_empty();
        Ok(Self { shared: Shared::open(options)?, files, anchored })
    }

    /// What a CA needs to issue certificates for this TPM's identity and attestation keys, in the name of `common_name`
    /// and `organisation`; `binding` is of the CA's challenge.
    ///
    /// # Errors
    /// When the TPM fails.
    pub fn identity_request(
        &mut self,
        common_name: &str,
        organisation: &str,
        binding: &Binding,
    ) -> Result<IdentityRequest, FtmError> {
        self.shared.with(|chip| chip.identity_request(common_name, organisation, binding))
    }

    /// Opens a secret that a CA protected for the attestation key of the TPM with this endorsement key: contents of
    /// TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET, without their outer sizes. To answer with it proves both.
    ///
    /// # Errors
    /// When it was protected for another TPM or key, or the TPM fails.
    pub fn activate(&mut self, credential: &[u8], secret: &[u8]) -> Result<Secret, FtmError> {
        self.shared.with(|chip| chip.activate(credential, secret))
    }

    /// Keeps the certificates (DER, own one first) of the identity and the attestation key in the TPM, in the place of
    /// those that were there.
    ///
    /// # Errors
    /// `Unusable` where none is for the key, or they are too many or too long; `State` where the TPM has no room.
    pub fn install_certificates(
        &mut self,
        identity: &[Vec<u8>],
        attestation: &[Vec<u8>],
    ) -> Result<(), FtmError> {
        self.shared.with(|chip| chip.install(identity, attestation))
    }

    /// The identity key (chip key), SubjectPublicKeyInfo, DER.
    ///
    /// # Errors
    /// When the TPM cannot be reached.
    pub fn identity_public_key(&mut self) -> Result<Vec<u8>, FtmError> {
        self.shared.with(|chip| Ok(chip.idevid.spki.clone()))
    }

    /// The attestation key's certificate and what leads to its anchor; empty before it was provisioned.
    ///
    /// # Errors
    /// When the TPM cannot be reached.
    pub fn attestation_chain(&mut self) -> Result<Vec<Vec<u8>>, FtmError> {
        self.shared.with(|chip| Ok(chip.attestation_chain()))
    }

    /// Lowest security version of firmware that may run; zero at first.
    ///
    /// # Errors
    /// When the TPM fails.
    pub fn svn_floor(&mut self) -> Result<u64, FtmError> {
        self.shared.with(|chip| SVN_FLOOR.value(&mut chip.context))
    }

    /// Raises it, durably; a lower one changes nothing. To be called after a good start of verified firmware.
    ///
    /// # Errors
    /// `Unusable` where it is more than 256 above the present one; otherwise when the TPM fails.
    pub fn raise_svn_floor(&mut self, floor: u64) -> Result<(), FtmError> {
        self.shared.with(|chip| SVN_FLOOR.raise(&mut chip.context, floor))
    }

    /// Upgrades that failed since the last that did not.
    ///
    /// # Errors
    /// When the TPM fails.
    pub fn failures(&mut self) -> Result<u64, FtmError> {
        self.shared.with(|chip| FAILURES.value(&mut chip.context))
    }

    /// Counts one more, durably, and tells how many there are. May count one twice when the TPM is lost meanwhile.
    ///
    /// # Errors
    /// When the TPM fails.
    pub fn count_failure(&mut self) -> Result<u64, FtmError> {
        self.shared.with(|chip| FAILURES.increment(&mut chip.context))
    }

    /// Forgets them.
    ///
    /// # Errors
    /// When the TPM fails.
    pub fn clear_failures(&mut self) -> Result<(), FtmError> {
        self.shared.with(|chip| FAILURES.clear(&mut chip.context))
    }

    /// The TPM's clock: an offset to it holds for as long as `resets` stays.
    ///
    /// # Errors
    /// When the TPM fails.
    pub fn clock(&mut self) -> Result<ChipClock, FtmError> {
        self.shared.with(|chip| chip.clock())
    }

    fn blob(&self, name: &str, slot: KeySlot) -> Result<Blob, FtmError> {
        checked_name(name)?;
        let file = self.files.read(name, slot)?.ok_or_else(|| FtmError::NoKey(name.to_owned()))?;
        Blob::parse(name, &file)
    }

    /// Current device keys, and whether the TPM that is there now can load each.
    fn current_keys(&mut self) -> Result<Vec<bool>, FtmError> {
        let current = self.files.keys()?.into_iter().filter(|(_, slot)| *slot == KeySlot::Current);
        let blobs: Vec<Blob> = current.filter_map(|(name, slot)| self.blob(&name, slot).ok()).collect();
        self.shared.with(|chip| Ok(blobs.iter().map(|blob| chip.owns(blob)).collect()))
    }

    /// A key that belongs to nobody yet: one that lies ready, else a new one.
    fn spare(&mut self) -> Result<Blob, FtmError> {
        let ready = self.files.read_file(SPARE, SPARE).ok().flatten();
        let ready = ready.and_then(|file| Blob::parse(SPARE, &file).ok());
        if let Some(spare) = ready
            && self.shared.with(|chip| Ok(chip.owns(&spare)))?
        {
            return Ok(spare);
        }
        let made = self.shared.with(|chip| chip.create_device_key())?;
        self.files.write_file(SPARE, &made.to_bytes())?;
        Ok(made)
    }
}

impl Ftm for TpmFtm {
    fn begin_rotation(
        &mut self,
        name: &str,
        common_name: &str,
        organisation: &str,
    ) -> Result<Vec<u8>, FtmError> {
        checked_name(name)?;
        let blob = self.spare()?;
        let spki = blob.spki()?;
        let request = self.shared.with(|chip| {
            chip.with_object(&blob, |chip, key| {
                csr::request(&spki, common_name, organisation, &mut |message| chip.sign(key, message))
            })
        })?;
        self.files.adopt(SPARE, name, KeySlot::Next)?;
        Ok(request)
    }

    fn finish_rotation(&mut self, name: &str) -> Result<(), FtmError> {
        // A next key that cannot be used must not replace one that can.
        let next = self.blob(name, KeySlot::Next)?;
        self.shared.with(|chip| chip.with_object(&next, |_, _| Ok(())))?;
        self.files.promote(name)
    }

    fn load(&mut self, name: &str) -> Result<Box<dyn KeyHandle>, FtmError> {
        let blob = self.blob(name, KeySlot::Current)?;
        self.shared.with(|chip| chip.with_object(&blob, |_, _| Ok(())))?;
        Ok(Box::new(TpmKey { spki: blob.spki()?, shared: self.shared.clone(), blob }))
    }

    fn next_public_key(&mut self, name: &str) -> Result<Option<Vec<u8>>, FtmError> {
        match self.blob(name, KeySlot::Next) {
            Ok(blob) => blob.spki().map(Some),
            Err(FtmError::NoKey(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn destroy(&mut self, name: &str) -> Result<(), FtmError> {
        checked_name(name)?;
        self.files.remove(name)
    }

    fn kind(&self) -> FtmKind {
        FtmKind::Tpm
    }

    fn sign_next_rs256(&mut self, name: &str, message: &[u8]) -> Result<Vec<u8>, FtmError> {
        let blob = self.blob(name, KeySlot::Next)?;
        self.shared.with(|chip| chip.with_object(&blob, |chip, key| chip.sign(key, message)))
    }

    fn prove(&mut self, binding: &Binding, key: Option<(&str, KeySlot)>) -> Result<Proof, FtmError> {
        let blob = key.map(|(name, slot)| self.blob(name, slot)).transpose()?;
        self.shared.with(|chip| chip.prove(binding, blob.as_ref())).map(Proof::Tpm)
    }

    fn identity_chain(&mut self) -> Result<Vec<Vec<u8>>, FtmError> {
        self.shared.with(|chip| Ok(chip.identity_chain()))
    }

    fn sign_identity_rs256(&mut self, message: &[u8]) -> Result<Vec<u8>, FtmError> {
        self.shared.with(|chip| chip.sign(chip.idevid.handle, message))
    }

    fn identity_request(
        &mut self,
        common_name: &str,
        organisation: &str,
        binding: &Binding,
    ) -> Result<IdentityRequest, FtmError> {
        Self::identity_request(self, common_name, organisation, binding)
    }

    fn activate(&mut self, credential: &[u8], secret: &[u8]) -> Result<Secret, FtmError> {
        Self::activate(self, credential, secret)
    }

    fn install_certificates(
        &mut self,
        identity: &[Vec<u8>],
        attestation: &[Vec<u8>],
    ) -> Result<(), FtmError> {
        Self::install_certificates(self, identity, attestation)
    }

    fn reset_count(&mut self) -> Result<Option<u32>, FtmError> {
        self.clock().map(|clock| Some(clock.resets))
    }

    fn idle(&mut self) -> Result<bool, FtmError> {
        self.spare()?;
        Ok(false)
    }

    fn notices(&mut self) -> Vec<String> {
        let mut notices = Vec::new();
        let asked = self.shared.with(|chip| {
            Ok((
                chip.identity_chain().is_empty(),
                chip.attestation_chain().is_empty(),
                in_lockout(&mut chip.context)?,
            ))
        });
        match asked {
            Ok((identity, attestation, locked)) => {
                if identity || attestation {
                    notices.push(unprovisioned().to_string());
                }
                if locked {
                    notices.push(
                        "the TPM is in lockout: keys of biotrust go on working, but somebody tries its passwords".into(),
                    );
                }
            }
            Err(error) => notices.push(error.to_string()),
        }
        let lost = self.current_keys().unwrap_or_default().into_iter().filter(|ours| !ours).count();
        if lost > 0 {
            notices.push(format!(
                "the TPM was cleared or replaced, and the keys of {lost} devices with it: provision it again, then \
                 register these devices again"
            ));
        }
        if !self.anchored {
            notices.push(
                "the maker of the TPM is not checked: no EK anchors are configured (`[ftm] ek_anchors`)"
                    .into(),
            );
        }
        notices
    }
}

impl Sealer for TpmFtm {
    fn seal(&mut self, secret: &[u8]) -> Result<Vec<u8>, FtmError> {
        let sealed = self.shared.with(|chip| {
            let template = template::sealed().doing("sealing a secret")?;
            chip.create(template, Some(secret))
        })?;
        Ok(sealed.to_bytes())
    }

    fn unseal(&mut self, sealed: &[u8]) -> Result<Secret, FtmError> {
        let blob = Blob::parse("that is sealed", sealed)?;
        self.shared.with(|chip| {
            chip.with_object(&blob, |chip, object| {
                let secret = chip.context.unseal(object.into()).doing("unsealing a secret")?;
                Ok(Secret::new(secret.value().to_vec()))
            })
        })
    }
}

/// A device key. It takes room in the TPM only while it signs.
struct TpmKey {
    shared: Shared,
    blob: Blob,
    spki: Vec<u8>,
}

impl KeyHandle for TpmKey {
    fn sign_rs256(&mut self, message: &[u8]) -> Result<Vec<u8>, FtmError> {
        self.shared.with(|chip| chip.with_object(&self.blob, |chip, key| chip.sign(key, message)))
    }

    fn public_key_der(&self) -> &[u8] {
        &self.spki
    }
}
