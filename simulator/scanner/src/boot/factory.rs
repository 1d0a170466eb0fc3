//! The provider's side of firmware: releases, the images of them, and who signs them.

use std::sync::{Arc, Mutex, PoisonError};

use biotrust_attest::manifest::{self, Component, Dependency, Manifest};
use biotrust_attest::metadata::Model;
use biotrust_attest::signed::{self, Signer};
use biotrust_certs::{Device, Ftm, Role, SignerPurpose, StoreError, TestPki, TestPkiError, TestSigner};
use biotrust_model::evidence::FtmKind;
use biotrust_model::time::{Clock, UtcMillis};
use biotrust_model::{DeviceIdentity, Level};

use super::flash::{Flash, Part, PowerLost, Slot};
use super::image::{Header, Stored};
use super::record::Record;
use super::rom::Rom;
use super::sha256;
use super::start::Measured;

/// Bytes of the program of a loader, and of a firmware.
const LOADER: usize = 8 * 1024;
const FIRMWARE: usize = 192 * 1024;
/// What the loaders are called.
const LOADER_VERSION: &str = "biosim-loader-1";
/// Their security version number.
const LOADER_SVN: u64 = 1;
/// An update can be installed for so long.
const INSTALLABLE_MS: i64 = 90 * 86_400_000;

/// Why the factory could not.
#[derive(Debug, thiserror::Error)]
pub enum FactoryError {
    /// No certificate for the signer.
    #[error(transparent)]
    Provider(#[from] TestPkiError),
    /// No anchors.
    #[error(transparent)]
    Anchors(#[from] StoreError),
    /// The manifest cannot be signed.
    #[error("the manifest cannot be signed: {0}")]
    Signing(String),
    /// New flash memory cannot be written.
    #[error("the flash memory cannot be written: {0}")]
    Flash(String),
}

impl From<PowerLost> for FactoryError {
    fn from(error: PowerLost) -> Self {
        Self::Flash(error.to_string())
    }
}

/// A release of firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Version, as device info shows it.
    pub version: String,
    /// Security version number.
    pub svn: u64,
    /// Number of its manifest.
    pub sequence: u64,
    /// Whether it comes up; one that does not is what roll-backs are tested with.
    pub starts: bool,
}

impl Release {
    /// What devices leave the factory with.
    #[must_use]
    pub fn current() -> Self {
        Self { version: crate::kind::FIRMWARE.to_owned(), svn: 1, sequence: 1, starts: true }
    }

    /// The one before it, with a hole: below the security version number that an adopter asks for.
    #[must_use]
    pub fn outdated() -> Self {
        Self { version: format!("{}-rc1", crate::kind::FIRMWARE), svn: 0, sequence: 0, starts: true }
    }

    /// The one after it, with a hole closed.
    #[must_use]
    pub fn next() -> Self {
        Self { version: format!("{}+1", crate::kind::FIRMWARE), svn: 2, sequence: 2, starts: true }
    }
}

/// An update as the management server hands it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedUpdate {
    /// Compact JWS of type `manifest+jwt`.
    pub manifest: String,
    /// The image.
    pub image: Vec<u8>,
}

/// Signs firmware for the devices of the test PKI's provider.
pub struct Factory {
    pki: Arc<TestPki>,
    clock: Arc<dyn Clock>,
    signer: Mutex<Option<Arc<TestSigner>>>,
}

impl Factory {
    /// A factory; it makes its signing key (50 to 150 ms of CPU) when it first signs.
    #[must_use]
    pub fn new(pki: Arc<TestPki>, clock: Arc<dyn Clock>) -> Self {
        Self { pki, clock, signer: Mutex::default() }
    }

    /// Image and manifest of a release for the model of `identity`.
    ///
    /// # Errors
    /// When no signing key or certificate can be made.
    pub fn update(&self, identity: &DeviceIdentity, release: &Release) -> Result<SignedUpdate, FactoryError> {
        let manifest = |m: &mut Manifest| {
            m.best_before = Some(UtcMillis(m.issued_at.0.saturating_add(INSTALLABLE_MS)));
            m.dependencies = vec![Dependency { component: Component::Loader, min_svn: LOADER_SVN }];
        };
        self.update_with(identity, release, manifest)
    }

    /// As [`Self::update`], with `change` made to the manifest before it is signed: for tests of every rule.
    ///
    /// # Errors
    /// When no signing key or certificate can be made.
    pub fn update_with(
        &self,
        identity: &DeviceIdentity,
        release: &Release,
        change: impl FnOnce(&mut Manifest),
    ) -> Result<SignedUpdate, FactoryError> {
        let Release { version, svn, sequence, starts } = release.clone();
        let image = Header { version, svn, starts }.payload(FIRMWARE);
        let mut manifest = self.manifest(identity, Component::Firmware, &release.version, svn, &image);
        manifest.sequence = sequence;
        change(&mut manifest);
        Ok(SignedUpdate { manifest: self.sign(&manifest)?, image })
    }

    /// What a good device of this model measures when it runs `release`: reference values for model metadata.
    ///
    /// # Errors
    /// When the anchors cannot be read.
    pub fn reference(&self, identity: &DeviceIdentity, release: &Release) -> Result<Measured, FactoryError> {
        let rom = self.rom(identity)?;
        let Release { version, svn, starts, .. } = release.clone();
        let header = Header { version: version.clone(), svn, starts };
        Ok(Measured {
            rom: rom.digest(),
            loader: sha256(&loader()),
            firmware: sha256(&header.payload(FIRMWARE)),
            policy: rom.policy(),
            svn,
            version,
        })
    }

    /// What an adopter who has certified this model at L1 says about it in model metadata: chips of the FTM provider, these
    /// releases, and a floor for their security version numbers.
    ///
    /// # Errors
    /// When the anchors cannot be read.
    pub fn model(
        &self,
        identity: &DeviceIdentity,
        releases: &[Release],
        minimum_svn: u64,
    ) -> Result<Model, FactoryError> {
        let anchors = self.pki.store::<Ftm>()?;
        let roots = anchors.entries().filter(|entry| entry.role == Role::Anchor);
        let known = |release| self.reference(identity, release).map(|measured| measured.to_metadata());
        Ok(Model {
            provider: identity.device_provider.clone(),
            make: identity.make.clone(),
            model: identity.model.clone(),
            level: Level::L1,
            ftm: FtmKind::Spdm,
            anchors: roots.map(|root| root.certificate.sha256()).collect(),
            certifications: Vec::new(),
            status: Vec::new(),
            minimum_svn,
            firmware: releases.iter().map(known).collect::<Result<_, _>>()?,
        })
    }

    /// The ROM of the devices of this model.
    pub(crate) fn rom(&self, identity: &DeviceIdentity) -> Result<Rom, FactoryError> {
        Ok(Rom::burn(self.pki.store::<Device>()?, identity))
    }

    /// New flash memory with a loader, and with `release` in slot A.
    pub(crate) fn flash(&self, identity: &DeviceIdentity, release: &Release) -> Result<Flash, FactoryError> {
        let flash = Flash::default();
        let loader = loader();
        let manifest = self.manifest(identity, Component::Loader, LOADER_VERSION, LOADER_SVN, &loader);
        Stored::begin(&flash, Part::Loader, &self.sign(&manifest)?)?;
        Stored::write(&flash, Part::Loader, 0, &loader)?;
        let firmware = self.update_with(identity, release, |_| ())?;
        Stored::begin(&flash, Part::Slot(Slot::A), &firmware.manifest)?;
        Stored::write(&flash, Part::Slot(Slot::A), 0, &firmware.image)?;
        Record { active: Slot::A, sequence: release.sequence, trial: None, download: None }.write(&flash)?;
        Ok(flash)
    }

    /// A manifest without conditions.
    fn manifest(
        &self,
        identity: &DeviceIdentity,
        component: Component,
        version: &str,
        svn: u64,
        image: &[u8],
    ) -> Manifest {
        Manifest {
            sequence: 1,
            vendor: identity.device_provider.clone(),
            make: identity.make.clone(),
            model: identity.model.clone(),
            component,
            version: version.to_owned(),
            svn,
            size: image.len() as u64,
            sha256: sha256(image),
            precursors: Vec::new(),
            dependencies: Vec::new(),
            issued_at: self.clock.now(),
            best_before: None,
        }
    }

    /// Signs as the provider's firmware signer.
    fn sign(&self, manifest: &Manifest) -> Result<String, FactoryError> {
        let signer = self.signer()?;
        let unsigned = signed::prepare(manifest::TYP, &Signer::Chain(&signer.chain), &manifest.to_json())
            .map_err(|error| FactoryError::Signing(error.to_string()))?;
        let signature = signer.sign_rs256(unsigned.signing_input());
        Ok(unsigned.attach(&signature))
    }

    fn signer(&self) -> Result<Arc<TestSigner>, FactoryError> {
        let mut signer = self.signer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signer) = &*signer {
            return Ok(Arc::clone(signer));
        }
        let made = Arc::new(self.pki.signer(SignerPurpose::Firmware, self.clock.now())?);
        *signer = Some(Arc::clone(&made));
        Ok(made)
    }
}

/// The loader: the same for every model.
fn loader() -> Vec<u8> {
    Header { version: LOADER_VERSION.to_owned(), svn: LOADER_SVN, starts: true }.payload(LOADER)
}
