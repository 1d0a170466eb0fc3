//! The FTM of an L1 device: its keys, its clock, and the only code that signs with them.
//!
//! It signs nothing that it has not written itself: a request from the host names values, each of which is checked for
//! being what it claims to be, and the FTM builds the document around them. It encrypts only for certificates under the
//! adopter's anchor that it was made with. Private keys are made inside and never leave the process.
//! Signing blocks for about a millisecond a signature, encoding and encryption for a little more.

mod adopter;
mod key;
mod request;
mod seal;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use biotrust_certs::{Certificate, Domain, TestPki, TestPkiError};
use biotrust_driver_api::{Description, DeviceErrorKind, DigitalIdKey, InfoJob, L1Keys};
use biotrust_model::time::{Clock, UtcMillis};
use biotrust_sbi::answer::{DeviceDescription, device_info_payload};
use biotrust_sbi::digital_id::DigitalId;
use biotrust_sbi::jws;
use biotrust_sbi::session::EncryptionCertificate;

pub use adopter::AdopterError;
pub(crate) use seal::Shot;

use key::FtmKey;

/// Life of a chip certificate.
const CHIP_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Life of a device certificate.
const DEVICE_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// The first device certificate is dated back by this, so that the one after a rotation is younger by its date too.
const BACKDATED: i64 = 3600 * 1000;
/// Most domains that certificates are kept for.
const MAX_DOMAINS: usize = 64;

/// Why the FTM did not do it.
#[derive(Debug, thiserror::Error)]
pub enum FtmError {
    /// The request holds something that may not be signed.
    #[error("{0} is not acceptable: nothing was signed")]
    Request(&'static str),
    /// Without a device certificate.
    #[error("the device has no certificate")]
    NotRegistered,
    /// A certificate to encrypt for was refused.
    #[error("encryption certificate refused: {0}")]
    Adopter(#[from] AdopterError),
    /// Too many domains.
    #[error("certificates for {MAX_DOMAINS} domains are kept already")]
    Full,
    /// No certificate to encrypt for, or none that is valid now.
    #[error("no valid certificate to encrypt for in this domain")]
    NoEncryptionKey,
    /// The provider did not certify a key.
    #[error("the provider did not issue a certificate: {0}")]
    Provider(#[from] TestPkiError),
    /// A certificate that came with the chip cannot be read.
    #[error("{0} cannot be read")]
    Certificate(&'static str),
    /// The record could not be built.
    #[error("the record cannot be built: {0}")]
    Record(String),
    /// Something failed inside.
    #[error("{0} failed inside the FTM")]
    Internal(&'static str),
}

impl FtmError {
    /// How the host is told.
    pub(crate) const fn kind(&self) -> DeviceErrorKind {
        match self {
            Self::Request(_) | Self::Adopter(_) | Self::Full => DeviceErrorKind::Unsupported,
            Self::NotRegistered => DeviceErrorKind::NotRegistered,
            Self::NoEncryptionKey => DeviceErrorKind::NoEncryptionKey,
            Self::Provider(_) | Self::Certificate(_) | Self::Record(_) | Self::Internal(_) => {
                DeviceErrorKind::Internal
            }
        }
    }
}

/// A key with its certificate; what is used together is replaced together.
struct Certified {
    key: FtmKey,
    /// Leaf first, DER.
    chain: Vec<Vec<u8>>,
}

impl Certified {
    fn leaf(&self) -> Result<&[u8], FtmError> {
        self.chain.first().map(Vec::as_slice).ok_or(FtmError::NotRegistered)
    }
}

/// The module.
pub struct Ftm {
    description: Description,
    chip: Certified,
    device: Mutex<Arc<Certified>>,
    adopter: Certificate,
    encryption: Mutex<BTreeMap<String, Arc<EncryptionCertificate>>>,
    clock: Arc<dyn Clock>,
}

impl Ftm {
    /// What happens in the factory: makes both keys, gets both certificates, takes over the adopter's anchor.
    ///
    /// # Errors
    /// When a key or a certificate cannot be made.
    pub fn manufacture(
        description: Description,
        pki: &TestPki,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, FtmError> {
        let now = clock.now();
        let chip = FtmKey::generate()?;
        let chip_serial = format!("FTM-{}", description.identity.serial_no);
        let spki = chip.spki_der();
        let chip_chain =
            pki.issue_chip_certificate(&spki, &chip_serial, UtcMillis(now.0 - BACKDATED), CHIP_LIFETIME)?;
        let device = certify(&description, pki, UtcMillis(now.0 - BACKDATED))?;
        let adopter = adopter::anchor(pki)?;
        Ok(Self {
            description,
            chip: Certified { key: chip, chain: chip_chain },
            device: Mutex::new(Arc::new(device)),
            adopter,
            encryption: Mutex::default(),
            clock,
        })
    }

    /// Replaces the device key by a new one with a certificate from now on; the chip key stays. Gives the certificate.
    ///
    /// # Errors
    /// When a key or a certificate cannot be made; the old key then stays in use.
    pub fn rotate(&self, pki: &TestPki) -> Result<Certificate, FtmError> {
        let rotated = certify(&self.description, pki, self.clock.now())?;
        let certificate =
            Certificate::parse(rotated.leaf()?).map_err(|_| FtmError::Certificate("the new certificate"))?;
        *lock(&self.device) = Arc::new(rotated);
        Ok(certificate)
    }

    /// The certificates that it holds now.
    #[must_use]
    pub fn keys(&self) -> L1Keys {
        L1Keys { device_chain: self.device().chain.clone(), chip_chain: self.chip.chain.clone() }
    }

    /// Device info of this moment, signed by the device key.
    ///
    /// # Errors
    /// [`FtmError::Request`] when the job holds something else than it should.
    pub fn signed_info(&self, job: &InfoJob) -> Result<String, FtmError> {
        let device_id = request::info(job)?;
        let device = self.device();
        let now = self.clock.now();
        let digital_id = self.digital_id(&device, job.digital_id_key, now)?;
        let description = DeviceDescription {
            device_id,
            identity: self.description.identity.clone(),
            level: self.description.level,
            purpose: Some(self.description.purpose),
            status: job.status,
            sub_ids: self.description.sub_ids.clone(),
            service_version: job.service_version.clone(),
            firmware: self.description.firmware.clone(),
            env: Some(job.env),
            callback_id: job.callback_id.clone(),
        };
        let unsigned = jws::prepare(&[device.leaf()?], &device_info_payload(&description, &digital_id));
        let signature = device.key.sign_rs256(unsigned.signing_input())?;
        Ok(unsigned.attach(&signature))
    }

    /// Takes the certificate to encrypt for in `domain_uri`, leaf first, DER; "" is the default domain.
    ///
    /// # Errors
    /// Unless it stands under the adopter's anchor.
    pub fn install_encryption_certificate(
        &self,
        domain_uri: &str,
        chain: &[Vec<u8>],
    ) -> Result<(), FtmError> {
        request::domain_uri(domain_uri)?;
        let leaf = adopter::check(chain, &self.adopter, self.clock.now())?;
        let certificate =
            EncryptionCertificate::from_der(leaf.der()).map_err(|_| FtmError::Adopter(AdopterError::Key))?;
        let mut kept = lock(&self.encryption);
        if kept.len() >= MAX_DOMAINS && !kept.contains_key(domain_uri) {
            return Err(FtmError::Full);
        }
        kept.insert(domain_uri.to_owned(), Arc::new(certificate));
        Ok(())
    }

    /// The certificate for a domain, else the default one.
    fn encryption_certificate(
        &self,
        domain_uri: &str,
        now: UtcMillis,
    ) -> Result<Arc<EncryptionCertificate>, FtmError> {
        let kept = lock(&self.encryption);
        let certificate = kept.get(domain_uri).or_else(|| kept.get("")).filter(|c| c.is_valid_at(now));
        certificate.cloned().ok_or(FtmError::NoEncryptionKey)
    }

    fn digital_id(
        &self,
        device: &Certified,
        signer: DigitalIdKey,
        now: UtcMillis,
    ) -> Result<String, FtmError> {
        let signer = match signer {
            DigitalIdKey::Chip => &self.chip,
            DigitalIdKey::Device => device,
        };
        let unsigned = DigitalId::at(self.description.identity.clone(), now).prepare(&[signer.leaf()?]);
        let signature = signer.key.sign_rs256(unsigned.signing_input())?;
        Ok(unsigned.attach(&signature))
    }

    fn device(&self) -> Arc<Certified> {
        Arc::clone(&lock(&self.device))
    }
}

/// A new device key with a certificate that is valid from `from`.
fn certify(description: &Description, pki: &TestPki, from: UtcMillis) -> Result<Certified, FtmError> {
    let key = FtmKey::generate()?;
    let csr = key.csr(&description.identity.serial_no, pki.organisation(Domain::Device))?;
    let chain = pki.issue_device_certificate(&csr, from, DEVICE_LIFETIME)?;
    Ok(Certified { key, chain })
}

/// What is under these locks is replaced whole, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
