//! The rules by which a device takes an update: for it, forward, in time, whole.

use aws_lc_rs::digest;
use biotrust_certs::{TrustDomain, TrustStore};
use biotrust_model::time::UtcMillis;

use super::{Component, Manifest};

/// Why a manifest or an image is refused; each rule has its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not signed by the provider's firmware signer.
    #[error("the manifest is not signed by the provider for firmware: {0}")]
    Signature(String),
    /// Not a manifest.
    #[error("the manifest cannot be read: {0}")]
    Document(String),
    /// A manifest of another version of the format.
    #[error("the manifest has version {0} of the format, which is not known here")]
    Version(u32),
    /// For devices of another provider.
    #[error("the image is for devices of {0}")]
    WrongVendor(String),
    /// For another model.
    #[error("the image is for {make} {model}")]
    WrongModel {
        /// Make in the manifest.
        make: String,
        /// Model in the manifest.
        model: String,
    },
    /// For another part of the device.
    #[error("the image is for the {}, which is not updated here", .0.as_str())]
    WrongComponent(Component),
    /// A security version number below the floor, or below that of what runs.
    #[error("downgrade: security version {svn} is below {floor}")]
    Downgrade {
        /// Of the image.
        svn: u64,
        /// Smallest that is acceptable.
        floor: u64,
    },
    /// A manifest that is not newer than that of what runs.
    #[error("downgrade: manifest number {sequence} is not above {running}")]
    OldSequence {
        /// Of the manifest.
        sequence: u64,
        /// Of what runs.
        running: u64,
    },
    /// Too late.
    #[error("the manifest expired at {}", .0.to_wire())]
    Expired(UtcMillis),
    /// Signed in the future.
    #[error("the manifest is dated {}, which is in the future", .0.to_wire())]
    NotYet(UtcMillis),
    /// What runs may not be replaced by it directly.
    #[error("version {0} cannot be updated to this one directly")]
    Precursor(String),
    /// Another component is too old.
    #[error("it needs a {} of security version {min_svn} or higher", .component.as_str())]
    Dependency {
        /// Which.
        component: Component,
        /// What it needs.
        min_svn: u64,
    },
    /// More than the device has room for.
    #[error("an image of {size} bytes does not fit into {capacity}")]
    TooLarge {
        /// Of the image.
        size: u64,
        /// Of the slot.
        capacity: u64,
    },
    /// The image is not as long as the manifest says.
    #[error("the image has {found} bytes, the manifest says {size}")]
    Size {
        /// In the manifest.
        size: u64,
        /// Of the image.
        found: u64,
    },
    /// The image is not the one of the manifest.
    #[error("the image is not the one that was signed")]
    Digest,
}

impl ManifestError {
    /// Name of the rule, for logs and tests.
    #[must_use]
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::Signature(_) => "signature",
            Self::Document(_) => "document",
            Self::Version(_) => "version",
            Self::WrongVendor(_) => "vendor",
            Self::WrongModel { .. } => "model",
            Self::WrongComponent(_) => "component",
            Self::Downgrade { .. } => "downgrade",
            Self::OldSequence { .. } => "sequence",
            Self::Expired(_) => "expired",
            Self::NotYet(_) => "not-yet",
            Self::Precursor(_) => "precursor",
            Self::Dependency { .. } => "dependency",
            Self::TooLarge { .. } => "too-large",
            Self::Size { .. } => "size",
            Self::Digest => "digest",
        }
    }
}

/// The device that is to take an update, as far as whoever asks knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// Its provider.
    pub vendor: &'a str,
    /// Its make.
    pub make: &'a str,
    /// Its model.
    pub model: &'a str,
    /// Version that runs.
    pub running: &'a str,
    /// Smallest security version number that it takes.
    pub svn_floor: u64,
    /// Number of the manifest of what runs; a host does not know it and leaves the rule to the device.
    pub sequence: Option<u64>,
    /// Security version number of its loader, where known.
    pub loader_svn: Option<u64>,
    /// Bytes that a slot holds, where known.
    pub capacity: Option<u64>,
}

/// How far clocks may be apart before a manifest is from the future.
const SKEW_MS: i64 = 5 * 60 * 1000;

/// Reads and judges a signed manifest for `target` at `now`.
///
/// # Errors
/// The first rule that does not hold.
pub fn verify<D: TrustDomain>(
    jws: &str,
    signers: &TrustStore<D>,
    target: &Target<'_>,
    now: UtcMillis,
) -> Result<Manifest, ManifestError> {
    let manifest = Manifest::authenticate(jws, signers, target.vendor, Some(now))?;
    manifest.admit(target, now)?;
    Ok(manifest)
}

impl Manifest {
    /// Whether it is for a device of this vendor, make and model.
    ///
    /// # Errors
    /// `WrongVendor`, `WrongModel`.
    pub fn is_for(&self, vendor: &str, make: &str, model: &str) -> Result<(), ManifestError> {
        if self.vendor != vendor {
            return Err(ManifestError::WrongVendor(self.vendor.clone()));
        }
        if self.make != make || self.model != model {
            return Err(ManifestError::WrongModel { make: self.make.clone(), model: self.model.clone() });
        }
        Ok(())
    }

    /// Whether `target` may take the firmware that it announces, at `now`.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn admit(&self, target: &Target<'_>, now: UtcMillis) -> Result<(), ManifestError> {
        self.is_for(target.vendor, target.make, target.model)?;
        if self.component != Component::Firmware {
            return Err(ManifestError::WrongComponent(self.component));
        }
        self.not_below(target.svn_floor)?;
        if let Some(running) = target.sequence.filter(|running| self.sequence <= *running) {
            return Err(ManifestError::OldSequence { sequence: self.sequence, running });
        }
        if let Some(expired) = self.best_before.filter(|limit| now > *limit) {
            return Err(ManifestError::Expired(expired));
        }
        if self.issued_at.since(now) > SKEW_MS {
            return Err(ManifestError::NotYet(self.issued_at));
        }
        if !self.precursors.is_empty() && !self.precursors.iter().any(|version| version == target.running) {
            return Err(ManifestError::Precursor(target.running.to_owned()));
        }
        let loader = |d: &&super::Dependency| match d.component {
            Component::Loader => target.loader_svn.is_some_and(|svn| svn < d.min_svn),
            // What it needs of the firmware, it brings itself.
            Component::Firmware => self.svn < d.min_svn,
        };
        if let Some(missing) = self.dependencies.iter().find(loader) {
            let (component, min_svn) = (missing.component, missing.min_svn);
            return Err(ManifestError::Dependency { component, min_svn });
        }
        if let Some(capacity) = target.capacity.filter(|capacity| self.size > *capacity) {
            return Err(ManifestError::TooLarge { size: self.size, capacity });
        }
        Ok(())
    }

    /// Forward only.
    ///
    /// # Errors
    /// `Downgrade` when its security version number is below `floor`.
    pub const fn not_below(&self, floor: u64) -> Result<(), ManifestError> {
        if self.svn < floor { Err(ManifestError::Downgrade { svn: self.svn, floor }) } else { Ok(()) }
    }

    /// Whether `image` is the one that was signed.
    ///
    /// # Errors
    /// `Size`, `Digest`.
    pub fn check_image(&self, image: &[u8]) -> Result<(), ManifestError> {
        let found = u64::try_from(image.len()).unwrap_or(u64::MAX);
        if found != self.size {
            return Err(ManifestError::Size { size: self.size, found });
        }
        if digest::digest(&digest::SHA256, image).as_ref() != self.sha256 {
            return Err(ManifestError::Digest);
        }
        Ok(())
    }
}
