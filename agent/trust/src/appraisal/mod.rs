//! Appraisal of the certificates that a device shows, and of the evidence that stands behind them.
//!
//! The device claims an identity, a device certificate and, at L1, a chip certificate. Each named check looks at one
//! thing and says in one sentence what it found, so that a technician sees the whole picture and not only the first
//! mistake. Certificates after the first of a chain are not looked at: no back end looks at them either.
//!
//! Certificates are public, and a claim of level L1 is words: an L1 device is granted its level by evidence only
//! ([`Appraisal::with_evidence`]), and is served as L0 without.

mod checks;
mod evidence;

pub use evidence::History;

use biotrust_certs::{Certificate, DeviceStore, FtmStore};
use biotrust_model::{DeviceIdentity, Level, time::UtcMillis};

use checks::{Leaf, Report};

/// What is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CheckName {
    /// The claimed identity is complete and possible.
    Identity,
    /// The device certificate is trusted in domain DEVICE.
    DevicePath,
    /// The device certificate is one of a device: RSA key that back ends accept, no CA.
    DeviceKey,
    /// The organisation of the device certificate is the claimed provider.
    Organisation,
    /// The device certificate is good for some time yet.
    DeviceExpiry,
    /// The chip certificate is trusted in domain FTM.
    ChipPath,
    /// The chip certificate is one of a chip: RSA key that back ends accept, no CA.
    ChipKey,
    /// The chip certificate lives no longer than the specification allows.
    ChipLifetime,
    /// The chip certificate is good for some time yet.
    ChipExpiry,
    /// Device key and chip key are two keys.
    KeysDiffer,
    /// The chip is the one that this device had before, and of no other device.
    ChipHistory,
    /// A check of the evidence of its trust module.
    Evidence(biotrust_attest::CheckName),
    /// The evidence speaks for the keys of these certificates.
    EvidenceKeys,
    /// The level that it is served as.
    Granted,
}

impl CheckName {
    /// Stable name for status output and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::DevicePath => "device-path",
            Self::DeviceKey => "device-certificate",
            Self::Organisation => "organisation",
            Self::DeviceExpiry => "device-expiry",
            Self::ChipPath => "chip-path",
            Self::ChipKey => "chip-certificate",
            Self::ChipLifetime => "chip-lifetime",
            Self::ChipExpiry => "chip-expiry",
            Self::KeysDiffer => "keys-differ",
            Self::ChipHistory => "chip-history",
            Self::Evidence(name) => name.as_str(),
            Self::EvidenceKeys => "evidence-keys",
            Self::Granted => "granted-level",
        }
    }
}

impl std::fmt::Display for CheckName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Result of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// As it should be.
    Pass,
    /// Nothing to check, or nothing to check it against; the text says which.
    NotChecked,
    /// The device may be used; somebody should look at it.
    Warning,
    /// The device must not be used.
    Fail,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Which.
    pub name: CheckName,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found, in one sentence for a technician.
    pub text: String,
}

/// The check that keeps a device from being used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {text}")]
pub struct FailedCheck {
    /// Which.
    pub name: CheckName,
    /// What was found.
    pub text: String,
}

/// All checks of one device, and the device if it passed them.
#[derive(Debug, Clone)]
pub struct Appraisal<T> {
    checks: Vec<Check>,
    admitted: Option<T>,
    expires: Option<UtcMillis>,
}

impl<T> Appraisal<T> {
    /// Every check, in the order in which they were made.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// When the first certificate of any path expires, whatever else the verdict is; `None` where no path was found.
    #[must_use]
    pub const fn expires(&self) -> Option<UtcMillis> {
        self.expires
    }

    /// Whether the device may be used.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn verdict(&self) -> Result<(), FailedCheck> {
        match self.checks.iter().find(|check| check.outcome == Outcome::Fail) {
            Some(check) => Err(FailedCheck { name: check.name, text: check.text.clone() }),
            None => Ok(()),
        }
    }

    /// The appraised device.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn into_device(self) -> Result<T, FailedCheck> {
        self.verdict()?;
        self.admitted.ok_or_else(|| FailedCheck {
            name: CheckName::DevicePath,
            text: "no certificate was appraised".to_owned(),
        })
    }
}

/// An appraised L0 device. The key is the host's: nothing is proven about the device itself.
#[derive(Debug, Clone)]
pub struct AppraisedL0 {
    identity: DeviceIdentity,
    certificate: Certificate,
    valid_until: UtcMillis,
}

/// An appraised L1 device: its claims, its device key and the key of its chip belong together. That it has its keys itself
/// does not make it worth L1: see [`Self::granted`].
#[derive(Debug, Clone)]
pub struct AppraisedL1 {
    identity: DeviceIdentity,
    certificate: Certificate,
    chip: Certificate,
    valid_until: UtcMillis,
    /// `Err`: why it is worth L0 only.
    granted: Result<(), String>,
    /// Whether it has proven its trust module to this host before.
    proved_before: bool,
}

impl AppraisedL0 {
    /// Who it is.
    #[must_use]
    pub const fn identity(&self) -> &DeviceIdentity {
        &self.identity
    }

    /// The device certificate.
    #[must_use]
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// From then on it has to be appraised again, and will fail.
    #[must_use]
    pub const fn valid_until(&self) -> UtcMillis {
        self.valid_until
    }
}

impl AppraisedL1 {
    /// Who it is.
    #[must_use]
    pub const fn identity(&self) -> &DeviceIdentity {
        &self.identity
    }

    /// The device certificate.
    #[must_use]
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The chip certificate.
    #[must_use]
    pub const fn chip(&self) -> &Certificate {
        &self.chip
    }

    /// The level that it is served as: L1 where evidence proves it and the adopter certified the model for it, else L0.
    #[must_use]
    pub const fn granted(&self) -> Level {
        match self.granted {
            Ok(()) => Level::L1,
            Err(_) => Level::L0,
        }
    }

    /// Why it is not served as L1, where it is not.
    #[must_use]
    pub fn why_not_l1(&self) -> Option<&str> {
        self.granted.as_ref().err().map(String::as_str)
    }

    /// From then on it has to be appraised again, and will fail.
    #[must_use]
    pub const fn valid_until(&self) -> UtcMillis {
        self.valid_until
    }
}

/// Appraises an L0 device by the certificate of its key (DER, the device certificate first).
#[must_use]
pub fn appraise_l0(
    claims: &DeviceIdentity,
    device_chain: &[Vec<u8>],
    device_store: &DeviceStore,
    now: UtcMillis,
) -> Appraisal<AppraisedL0> {
    let mut report = Report::default();
    report.identity(claims);
    let device = Leaf::judge(device_chain, device_store, now);
    // At L0 the host itself put the claims beside the key, so the name proves nothing that the host did not say; back
    // ends do not compare the two. A difference is worth a look, and no reason to stop work.
    report.device(&device, claims, Outcome::Warning, now);
    let admitted = device.path.as_ref().ok().map(|path| AppraisedL0 {
        identity: claims.clone(),
        certificate: path.leaf().clone(),
        valid_until: path.valid_until(),
    });
    report.into_appraisal(admitted, device.valid_until())
}

/// Appraises an L1 device by the certificates of its device key and of its chip key (DER, each leaf first). What comes out
/// is worth L0 until evidence is added.
#[must_use]
pub fn appraise_l1(
    claims: &DeviceIdentity,
    device_chain: &[Vec<u8>],
    chip_chain: &[Vec<u8>],
    device_store: &DeviceStore,
    ftm_store: &FtmStore,
    now: UtcMillis,
) -> Appraisal<AppraisedL1> {
    let mut report = Report::default();
    report.identity(claims);
    let device = Leaf::judge(device_chain, device_store, now);
    // At L1 the claims come from the device, and this name is all that ties the claimed provider to a certificate: without
    // it, one provider's key could speak for another provider's devices, which no back end would notice.
    report.device(&device, claims, Outcome::Fail, now);
    let chip = Leaf::judge(chip_chain, ftm_store, now);
    report.chip(&chip, now);
    report.keys_differ(&device, &chip);
    let expires = device.valid_until().into_iter().chain(chip.valid_until()).min();
    let admitted = device.path.as_ref().ok().zip(chip.path.as_ref().ok()).map(|(device, chip)| AppraisedL1 {
        identity: claims.clone(),
        certificate: device.leaf().clone(),
        chip: chip.leaf().clone(),
        valid_until: device.valid_until().min(chip.valid_until()),
        granted: Err("nothing was proven about its trust module".to_owned()),
        proved_before: false,
    });
    report.into_appraisal(admitted, expires)
}

#[cfg(test)]
mod evidence_tests;
#[cfg(test)]
mod tests;
