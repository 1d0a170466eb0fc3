//! The result: every check with its outcome, and what the evidence is worth.

use biotrust_certs::Certificate;
use biotrust_model::evidence::{EvidencePurpose, FtmKind};
use biotrust_model::time::UtcMillis;
use biotrust_model::{DeviceIdentity, Level};

/// What is checked. The order is that of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CheckName {
    /// It is evidence of the known profile, with every claim and proof in its form.
    EvidenceForm,
    /// It is signed: by the chip key, or for software by the device key.
    Signature,
    /// It answers the challenge: its nonce, audience and purpose, in its time.
    Challenge,
    /// Every proof carries the binding of that challenge.
    Binding,
    /// The chip certificate is trusted in domain FTM.
    ChipPath,
    /// The chip certificate lives no longer than the specification allows.
    ChipLifetime,
    /// The chip certificate is one of a chip: RSA of 2048 bits or more, no CA, to sign data.
    ChipKey,
    /// The module proves that it holds the chip key, in the way of its kind.
    ChipModel,
    /// The device key was born in this chip, cannot leave it, and only signs.
    DeviceKey,
    /// The certificate request is for that key, and signed by it.
    CsrKey,
    /// What was measured is what the adopter knows for this firmware.
    Measurements,
    /// The device runs normally: no debugging, no service mode.
    DeviceMode,
    /// The firmware is not older than the floor.
    Svn,
    /// The time in the evidence, and the module's own clock, can be believed.
    TrustedTime,
    /// The model is known to the adopter and in good standing.
    Model,
    /// The device is who it says it is, and the chip is its chip.
    Identity,
    /// The level that it is granted.
    Level,
}

impl CheckName {
    /// Every check, in the order of the report.
    pub const ALL: [Self; 17] = [
        Self::EvidenceForm,
        Self::Signature,
        Self::Challenge,
        Self::Binding,
        Self::ChipPath,
        Self::ChipLifetime,
        Self::ChipKey,
        Self::ChipModel,
        Self::DeviceKey,
        Self::CsrKey,
        Self::Measurements,
        Self::DeviceMode,
        Self::Svn,
        Self::TrustedTime,
        Self::Model,
        Self::Identity,
        Self::Level,
    ];

    /// Stable name for status output, `errorInfo` and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EvidenceForm => "evidence-form",
            Self::Signature => "signature",
            Self::Challenge => "challenge",
            Self::Binding => "binding",
            Self::ChipPath => "chip-path",
            Self::ChipLifetime => "chip-lifetime",
            Self::ChipKey => "chip-key",
            Self::ChipModel => "chip-model",
            Self::DeviceKey => "device-key",
            Self::CsrKey => "csr-key",
            Self::Measurements => "measurements",
            Self::DeviceMode => "device-mode",
            Self::Svn => "svn",
            Self::TrustedTime => "trusted-time",
            Self::Model => "model",
            Self::Identity => "identity",
            Self::Level => "level",
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

impl Outcome {
    /// Stable name for status output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::NotChecked => "not checked",
            Self::Warning => "warning",
            Self::Fail => "fail",
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
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

/// The check that keeps evidence from being accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {text}")]
pub struct FailedCheck {
    /// Which.
    pub name: CheckName,
    /// What was found.
    pub text: String,
}

/// What evidence has proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attested {
    /// Who the device is.
    pub identity: DeviceIdentity,
    /// Level that it is granted; never above the one that it claims.
    pub level: Level,
    /// Why it is not L1, where it is not.
    pub why_not_l1: Option<String>,
    /// Where its keys live.
    pub kind: FtmKind,
    /// What the evidence was made for.
    pub purpose: EvidencePurpose,
    /// When it was made, by the clock of whoever made it.
    pub issued_at: UtcMillis,
    /// Certificate of the chip key; `None` for software. Remember its key: the serial number belongs to it from now on.
    pub chip: Option<Certificate>,
    /// Serial number of the trust module; empty for software.
    pub ftm_serial: String,
    /// The device key that it speaks for: SubjectPublicKeyInfo, DER.
    pub device_key: Option<Vec<u8>>,
    /// Firmware version.
    pub firmware: String,
    /// Security version number, measured. Remember it: the floor of this device from now on.
    pub svn: Option<u64>,
    /// Starts of the device so far, where it tells.
    pub boot_count: Option<u64>,
    /// From then on a certificate that it rests on has expired.
    pub valid_until: Option<UtcMillis>,
}

/// All checks of one piece of evidence, and what it has proven if none failed.
#[derive(Debug, Clone)]
pub struct Report {
    checks: Vec<Check>,
    attested: Option<Attested>,
}

impl Report {
    pub(super) const fn new() -> Self {
        Self { checks: Vec::new(), attested: None }
    }

    pub(super) fn add(&mut self, name: CheckName, outcome: Outcome, text: impl Into<String>) {
        self.checks.push(Check { name, outcome, text: text.into() });
    }

    /// `Ok`: passed, with what was found. `Err`: failed, with what is wrong.
    pub(super) fn judge(&mut self, name: CheckName, result: Result<String, String>) {
        match result {
            Ok(text) => self.add(name, Outcome::Pass, text),
            Err(text) => self.add(name, Outcome::Fail, text),
        }
    }

    pub(super) fn finish(mut self, attested: Option<Attested>) -> Self {
        self.checks.sort_by_key(|check| check.name);
        self.attested = attested;
        self
    }

    /// Every check, in the order of [`CheckName`]. One that could not be made because another failed is not there.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The checks that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.outcome == Outcome::Fail)
    }

    /// What the evidence has proven.
    ///
    /// # Errors
    /// The first check that failed; or freshness, where there was no challenge to check it against.
    pub fn verdict(&self) -> Result<&Attested, FailedCheck> {
        let stale =
            |check: &&Check| check.name == CheckName::Challenge && check.outcome == Outcome::NotChecked;
        let failed = self.failed().next().or_else(|| self.checks.iter().find(stale));
        if let Some(Check { name, text, .. }) = failed {
            return Err(FailedCheck { name: *name, text: text.clone() });
        }
        self.attested.as_ref().ok_or_else(|| FailedCheck {
            name: CheckName::EvidenceForm,
            text: "nothing was checked".to_owned(),
        })
    }
}
