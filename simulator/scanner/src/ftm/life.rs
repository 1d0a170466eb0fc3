//! The life of a device key: made, proven, certified, used, replaced, destroyed.
//!
//! Two places: the pair in use, and the key that waits for its certificate; the chip makes one ahead, so that nobody waits
//! for that. A capture holds on to the pair that it began with; a key ends with its last holder.

use std::sync::Arc;

use biotrust_attest::key_statement::{self, ChipState, KeyStatement};
use biotrust_attest::signed::{self, Signer};
use biotrust_certs::{Certificate, Domain, MAX_CERTIFICATE_BYTES, TestPki};
use biotrust_model::evidence::{Binding, KeySlot};
use biotrust_model::time::UtcMillis;

use super::{Certified, DEVICE_LIFETIME, Ftm, FtmError, lock};
use crate::chip::{DeviceKey, Made};

/// Most certificates in a chain that the host sends.
const MAX_CHAIN: usize = 4;

/// Why a device certificate is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstallError {
    /// None, or too many.
    #[error("{0} certificates are not a chain of 1 to {MAX_CHAIN}")]
    Length(usize),
    /// Not DER, or too large.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// For another key.
    #[error("it is not for the key that was made for it")]
    Key,
    /// For another device.
    #[error("it is for {0}, not for this device")]
    Name(String),
    /// Not under the provider's anchor.
    #[error("{0}")]
    Path(String),
    /// From another provider.
    #[error("it is from {0}, not from the provider of this device")]
    Provider(String),
}

/// The keys that there are.
#[derive(Default)]
pub(super) struct Keys {
    current: Option<Arc<Certified>>,
    next: Option<Made>,
    rotations: u64,
}

/// What goes into a key statement beside the key: the state of the device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statement<'a> {
    pub(crate) svn: u64,
    pub(crate) firmware_sha256: [u8; 32],
    pub(crate) boot_count: u64,
    pub(crate) device_mode: &'a str,
}

impl Ftm {
    /// The pair in use. Whoever begins something holds on to it until that is done.
    pub(crate) fn pair(&self) -> Result<Arc<Certified>, FtmError> {
        lock(&self.keys).current.clone().ok_or(FtmError::NotRegistered)
    }

    /// Whether there is a pair.
    pub(crate) fn is_registered(&self) -> bool {
        lock(&self.keys).current.is_some()
    }

    /// What the management server and the device do together, in one step: a new key, certified from `from` on.
    pub(super) fn register(&self, pki: &TestPki, from: UtcMillis) -> Result<Certificate, FtmError> {
        let serial = self.description.identity.serial_no.clone();
        let csr = self.begin_rotation(&serial, pki.organisation(Domain::Device))?;
        let chain = pki.issue_device_certificate(&csr, from, DEVICE_LIFETIME)?;
        self.finish_rotation(&chain)
    }

    /// Takes the key made ahead, or makes one, and gives a PKCS#10 request for it; the pair in use stays. The request is in
    /// the name of this device and its provider, or there is none.
    pub(crate) fn begin_rotation(&self, common_name: &str, organisation: &str) -> Result<Vec<u8>, FtmError> {
        let identity = &self.description.identity;
        if common_name != identity.serial_no {
            return Err(FtmError::Request("commonName"));
        }
        if organisation != identity.device_provider {
            return Err(FtmError::Request("organisation"));
        }
        let made = self.chip.make_key(common_name, organisation)?;
        let csr = made.csr.clone();
        lock(&self.keys).next = Some(made);
        Ok(csr)
    }

    /// The request of the rotation that has begun.
    pub(crate) fn pending_csr(&self) -> Option<Vec<u8>> {
        lock(&self.keys).next.as_ref().map(|next| next.csr.clone())
    }

    /// The chip's word about a device key, bound to `binding`.
    pub(crate) fn state_key(
        &self,
        slot: KeySlot,
        binding: &Binding,
        state: Statement<'_>,
    ) -> Result<String, FtmError> {
        let (key, rotation) = {
            let keys = lock(&self.keys);
            let key = match slot {
                KeySlot::Current => keys.current.as_ref().map(|pair| Arc::clone(&pair.key)),
                KeySlot::Next => keys.next.as_ref().map(|next| Arc::clone(&next.key)),
            };
            (key.ok_or(FtmError::NotRegistered)?, keys.rotations)
        };
        let ftm_serial = self.ftm_serial()?;
        let state = ChipState {
            ftm_serial: &ftm_serial,
            svn: state.svn,
            firmware_sha256: state.firmware_sha256,
            boot_count: state.boot_count,
            rotation,
            device_mode: state.device_mode,
        };
        let statement = KeyStatement::generated(binding, key.public_key_der(), &state);
        self.sign_as_chip(key_statement::TYP, &statement.to_json())
    }

    /// Takes the certificate of the next key and switches to both at once. What was begun with the old pair ends with it.
    pub(crate) fn finish_rotation(&self, chain: &[Vec<u8>]) -> Result<Certificate, FtmError> {
        let next = lock(&self.keys).next.as_ref().map(|next| Arc::clone(&next.key));
        let next = next.ok_or(FtmError::NoRotation)?;
        let leaf = self.judge(chain, next.as_ref())?;
        let mut keys = lock(&self.keys);
        // Another rotation may have begun meanwhile; its key is not this one's.
        if !keys.next.as_ref().is_some_and(|now| Arc::ptr_eq(&now.key, &next)) {
            return Err(InstallError::Key.into());
        }
        keys.next = None;
        keys.current = Some(Arc::new(Certified { key: next, chain: chain.to_vec() }));
        keys.rotations += 1;
        Ok(leaf)
    }

    fn judge(&self, chain: &[Vec<u8>], key: &dyn DeviceKey) -> Result<Certificate, InstallError> {
        let leaf =
            chain.first().filter(|_| chain.len() <= MAX_CHAIN).ok_or(InstallError::Length(chain.len()))?;
        if chain.iter().any(|der| der.len() > MAX_CERTIFICATE_BYTES || Certificate::parse(der).is_err()) {
            return Err(InstallError::Unreadable);
        }
        let certificate = Certificate::parse(leaf).map_err(|_| InstallError::Unreadable)?;
        if certificate.spki_der() != key.public_key_der() {
            return Err(InstallError::Key);
        }
        let identity = &self.description.identity;
        let subject = certificate.subject();
        if subject.common_name() != Some(identity.serial_no.as_str()) {
            return Err(InstallError::Name(subject.to_string()));
        }
        let provider = subject.organisation().unwrap_or_default();
        if provider != identity.device_provider {
            return Err(InstallError::Provider(provider.to_owned()));
        }
        self.provider.verify(leaf, self.time.now()).map_err(|error| InstallError::Path(error.to_string()))?;
        Ok(certificate)
    }

    /// Destroys all device keys and forgets their certificates; the chip key stays.
    pub(crate) fn destroy_keys(&self) {
        let mut keys = lock(&self.keys);
        *keys = Keys { rotations: keys.rotations, ..Keys::default() };
    }

    /// A document of the chip: the payload is the chip's own or was taken apart and found to be about itself.
    pub(super) fn sign_as_chip(&self, typ: &str, payload: &str) -> Result<String, FtmError> {
        let unsigned = signed::prepare(typ, &Signer::Chain(&self.chip_chain), payload)
            .map_err(|_| FtmError::Internal("laying out a document"))?;
        let signature = self.chip.sign_rs256(unsigned.signing_input())?;
        Ok(unsigned.attach(&signature))
    }
}
