//! The FTM of an L1 device: its keys, its clock, and the only code that signs with them.
//!
//! It signs nothing that it has not written itself or taken apart and found to be about itself: a request from the host
//! names values, each of which is checked for being what it claims to be. It encrypts only for certificates under the
//! adopter's anchor, and takes device certificates and time only from its provider: it was made with both anchors.
//! Private keys are made inside and never leave it. Signing blocks for about a millisecond a signature with a chip in
//! software, a few with a TPM; encoding and encryption for a little more.

mod adopter;
mod clock;
mod document;
mod life;
mod request;
mod seal;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use biotrust_certs::{
    Authority, Certificate, Device, DeviceStore, Domain, Ftm as FtmDomain, Order, Role, StoreError, TestPki,
    TestPkiError, Validity,
};
use biotrust_driver_api::{Description, DeviceErrorKind, DigitalIdKey, InfoJob, L1Keys};
use biotrust_model::Level;
use biotrust_model::time::{Clock, UtcMillis};
use biotrust_sbi::answer::{DeviceDescription, device_info_payload};
use biotrust_sbi::digital_id::DigitalId;
use biotrust_sbi::jws;
use biotrust_sbi::session::EncryptionCertificate;

pub use adopter::AdopterError;
pub use life::InstallError;
pub(crate) use life::Statement;
pub(crate) use seal::Shot;

use crate::chip::{self, CHIP_LIFETIME, Chip, ChipError, DeviceKey, SoftwareKey};
use crate::options::{ChipCertificate, Options};
use clock::DeviceTime;
use life::Keys;

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
    /// No key was made for the certificate.
    #[error("no rotation was begun")]
    NoRotation,
    /// A certificate to encrypt for was refused.
    #[error("encryption certificate refused: {0}")]
    Adopter(#[from] AdopterError),
    /// A device certificate was refused.
    #[error("device certificate refused: {0}")]
    Install(#[from] InstallError),
    /// A document that the chip does not sign.
    #[error("the chip does not sign this: {0}")]
    Document(&'static str),
    /// A time token was refused.
    #[error("time token refused: {0}")]
    Token(String),
    /// Too many domains.
    #[error("certificates for {MAX_DOMAINS} domains are kept already")]
    Full,
    /// No certificate to encrypt for, or none that is valid now.
    #[error("no valid certificate to encrypt for in this domain")]
    NoEncryptionKey,
    /// The provider did not certify a key.
    #[error("the provider did not issue a certificate: {0}")]
    Provider(#[from] TestPkiError),
    /// The provider's anchors cannot be read.
    #[error(transparent)]
    Anchors(#[from] StoreError),
    /// No firmware to put in.
    #[error(transparent)]
    Factory(#[from] crate::boot::FactoryError),
    /// A certificate that came with the chip cannot be read.
    #[error("{0} cannot be read")]
    Certificate(&'static str),
    /// The record could not be built.
    #[error("the record cannot be built: {0}")]
    Record(String),
    /// The chip failed.
    #[error(transparent)]
    Chip(#[from] ChipError),
    /// Something failed inside.
    #[error("{0} failed inside the FTM")]
    Internal(&'static str),
}

impl FtmError {
    /// How the host is told.
    pub(crate) const fn kind(&self) -> DeviceErrorKind {
        match self {
            Self::Request(_)
            | Self::Adopter(_)
            | Self::Install(_)
            | Self::Document(_)
            | Self::Token(_)
            | Self::Full
            | Self::NoRotation => DeviceErrorKind::Unsupported,
            Self::NotRegistered => DeviceErrorKind::NotRegistered,
            Self::NoEncryptionKey => DeviceErrorKind::NoEncryptionKey,
            Self::Provider(_)
            | Self::Anchors(_)
            | Self::Factory(_)
            | Self::Certificate(_)
            | Self::Record(_)
            | Self::Chip(_)
            | Self::Internal(_) => DeviceErrorKind::Internal,
        }
    }
}

/// A device key with its certificate; what is used together is replaced together.
pub(crate) struct Certified {
    key: Arc<dyn DeviceKey>,
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
    chip: Box<dyn Chip>,
    /// Leaf first, DER, without the root.
    chip_chain: Vec<Vec<u8>>,
    /// SHA-256 of the root that it says to be under.
    chip_root: [u8; 32],
    keys: Mutex<Keys>,
    provider: DeviceStore,
    adopter: Certificate,
    encryption: Mutex<BTreeMap<String, Arc<EncryptionCertificate>>>,
    time: DeviceTime,
    firmware: Mutex<String>,
}

impl Ftm {
    /// What happens in the factory: the chip gets its certificate, the anchors go in, and where the device is to be
    /// registered there, it makes its device key and gets a certificate for it.
    ///
    /// # Errors
    /// When a key or a certificate cannot be made.
    pub(crate) fn manufacture(
        description: Description,
        options: &Options,
        pki: &TestPki,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, FtmError> {
        let then = UtcMillis(clock.now().0 - BACKDATED);
        let ftm_serial = format!("FTM-{}", description.identity.serial_no);
        let chip = chip::make(options.chip, pki, &ftm_serial, then)?;
        let chip_chain = chip_certificate(chip.as_ref(), options.certificate, pki, &ftm_serial, then)?;
        let ftm = Self {
            chip,
            chip_chain,
            chip_root: ftm_root(pki)?,
            keys: Mutex::default(),
            provider: pki.store::<Device>()?,
            adopter: adopter::anchor(pki)?,
            encryption: Mutex::default(),
            time: DeviceTime::new(clock)?,
            firmware: Mutex::new(description.firmware.clone()),
            description,
        };
        if options.registered {
            ftm.register(pki, then)?;
        } else {
            ftm.chip.make_ahead()?;
        }
        Ok(ftm)
    }

    /// Replaces the device key by a new one with a certificate from now on; the chip key stays. Gives the certificate.
    ///
    /// # Errors
    /// When a key or a certificate cannot be made; the old key then stays in use.
    pub fn rotate(&self, pki: &TestPki) -> Result<Certificate, FtmError> {
        self.register(pki, self.time.now())
    }

    /// The certificates that it holds now.
    #[must_use]
    pub fn keys(&self) -> L1Keys {
        let device_chain = self.pair().map_or_else(|_| Vec::new(), |pair| pair.chain.clone());
        L1Keys { device_chain, chip_chain: self.chip_chain.clone() }
    }

    /// Device info of this moment, signed by the device key. It shows the level that the host grants, never more than L1.
    ///
    /// # Errors
    /// [`FtmError::Request`] when the job holds something else than it should.
    pub fn signed_info(&self, job: &InfoJob) -> Result<String, FtmError> {
        let device_id = request::info(job)?;
        let pair = self.pair()?;
        let now = self.time.now();
        let digital_id = self.digital_id_by(&pair, job.digital_id_key, now)?;
        let description = DeviceDescription {
            device_id,
            identity: self.description.identity.clone(),
            level: match job.level {
                Level::L0 => Level::L0,
                Level::L1 => self.description.level,
            },
            purpose: Some(self.description.purpose),
            status: job.status,
            sub_ids: self.description.sub_ids.clone(),
            service_version: job.service_version.clone(),
            firmware: lock(&self.firmware).clone(),
            env: Some(job.env),
            callback_id: job.callback_id.clone(),
        };
        let unsigned = jws::prepare(&[pair.leaf()?], &device_info_payload(&description, &digital_id));
        let signature = pair.key.sign_rs256(unsigned.signing_input())?;
        Ok(unsigned.attach(&signature))
    }

    /// A digital ID of this moment.
    ///
    /// # Errors
    /// [`FtmError::NotRegistered`] when the device key is asked for and has no certificate.
    pub fn digital_id(&self, signer: DigitalIdKey) -> Result<String, FtmError> {
        let now = self.time.now();
        match signer {
            DigitalIdKey::Chip => self.chip_digital_id(now),
            DigitalIdKey::Device => self.digital_id_by(self.pair()?.as_ref(), signer, now),
        }
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
        let leaf = adopter::check(chain, &self.adopter, self.time.now())?;
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

    fn digital_id_by(
        &self,
        pair: &Certified,
        signer: DigitalIdKey,
        now: UtcMillis,
    ) -> Result<String, FtmError> {
        if signer == DigitalIdKey::Chip {
            return self.chip_digital_id(now);
        }
        let unsigned = DigitalId::at(self.description.identity.clone(), now).prepare(&[pair.leaf()?]);
        let signature = pair.key.sign_rs256(unsigned.signing_input())?;
        Ok(unsigned.attach(&signature))
    }

    fn chip_digital_id(&self, now: UtcMillis) -> Result<String, FtmError> {
        let unsigned = DigitalId::at(self.description.identity.clone(), now).prepare(&[self.chip_leaf()?]);
        let signature = self.chip.sign_rs256(unsigned.signing_input())?;
        Ok(unsigned.attach(&signature))
    }

    fn chip_leaf(&self) -> Result<&[u8], FtmError> {
        self.chip_chain.first().map(Vec::as_slice).ok_or(FtmError::Certificate("the chip certificate"))
    }

    /// Serial number of the chip, as its certificate has it.
    fn ftm_serial(&self) -> Result<String, FtmError> {
        let unreadable = || FtmError::Certificate("the chip certificate");
        let certificate = Certificate::parse(self.chip_leaf()?).map_err(|_| unreadable())?;
        certificate.subject().common_name().map(str::to_owned).ok_or_else(unreadable)
    }

    /// Its chip.
    pub(crate) fn chip(&self) -> &dyn Chip {
        self.chip.as_ref()
    }

    /// Certificates of the chip, leaf first, DER.
    pub(crate) fn chip_chain(&self) -> &[Vec<u8>] {
        &self.chip_chain
    }

    /// SHA-256 of the root certificate above them.
    pub(crate) const fn chip_root(&self) -> &[u8; 32] {
        &self.chip_root
    }

    /// Its clock.
    pub(crate) const fn time(&self) -> &DeviceTime {
        &self.time
    }

    /// The device has started, with this firmware: what it was told of the time is forgotten.
    pub(crate) fn start(&self, boot_count: u64, firmware: &str) -> Result<(), FtmError> {
        firmware.clone_into(&mut lock(&self.firmware));
        self.time.start(boot_count)
    }

    /// Sets the clock by a token of the provider's management server for this device.
    pub(crate) fn set_time(&self, token: &str) -> Result<(), FtmError> {
        let identity = &self.description.identity;
        let (nonce, provider) = (self.time.nonce(), &identity.device_provider);
        let token =
            biotrust_attest::time_token::verify(token, &nonce, &identity.serial_no, &self.provider, provider)
                .map_err(|refused| FtmError::Token(refused.to_string()))?;
        self.time.set(nonce, token.utc)
    }
}

/// SHA-256 of the FTM provider's root. A chip of another root says the same: it wants to pass.
pub(crate) fn ftm_root(pki: &TestPki) -> Result<[u8; 32], FtmError> {
    let store = pki.store::<FtmDomain>()?;
    let anchor = store.entries().find(|entry| entry.role == Role::Anchor);
    let anchor = anchor.ok_or(FtmError::Certificate("the root of the FTM provider"))?;
    Ok(crate::boot::sha256(anchor.certificate.der()))
}

/// The certificate that the chip shows: its own, unless it wants to pass for something else.
fn chip_certificate(
    chip: &dyn Chip,
    kind: ChipCertificate,
    pki: &TestPki,
    ftm_serial: &str,
    from: UtcMillis,
) -> Result<Vec<Vec<u8>>, FtmError> {
    Ok(match kind {
        ChipCertificate::Own => chip.chain().to_vec(),
        ChipCertificate::Cloned => {
            let other = SoftwareKey::generate()?;
            pki.issue_chip_certificate(other.public_key_der(), ftm_serial, from, CHIP_LIFETIME)?
        }
        ChipCertificate::Foreign => {
            let subject = pki.subject_of(Domain::Ftm, ftm_serial);
            let valid = Validity::starting(from, CHIP_LIFETIME);
            pki.issue(&Order::leaf(Authority::Stranger, chip.public_key_der(), subject, valid))?
        }
    })
}

/// What is under these locks is replaced whole, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
