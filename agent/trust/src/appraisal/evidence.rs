//! What evidence and memory add to the appraisal of certificates: whether the keys live where they should, whether the
//! chip is the one that this device always had, and what level it is worth.

use biotrust_attest::Report;
use biotrust_model::Level;
use biotrust_model::evidence::FtmKind;

use super::{Appraisal, AppraisedL0, AppraisedL1, Check, CheckName, Outcome};

/// What a host remembers that concerns this device: only what was proven. Keys are SubjectPublicKeyInfo, DER.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The chip key that a device of this provider and serial number had.
    pub chip_of_device: Option<Vec<u8>>,
    /// Serial number of another device that had this chip.
    pub chip_in_other: Option<String>,
}

impl<T> Appraisal<T> {
    fn add(&mut self, name: CheckName, outcome: Outcome, text: impl Into<String>) {
        self.checks.push(Check { name, outcome, text: text.into() });
    }

    fn add_evidence(&mut self, report: &Report, worst: Outcome) {
        for check in report.checks() {
            let outcome = match check.outcome {
                biotrust_attest::Outcome::Pass => Outcome::Pass,
                biotrust_attest::Outcome::NotChecked => Outcome::NotChecked,
                biotrust_attest::Outcome::Warning => Outcome::Warning,
                biotrust_attest::Outcome::Fail => worst,
            };
            let same = |have: &Check| have.name.as_str() == check.name.as_str();
            if outcome == Outcome::Pass && self.checks.iter().any(same) {
                // found already, of the certificate itself
                continue;
            }
            self.add(CheckName::Evidence(check.name), outcome, check.text.clone());
        }
    }
}

impl Appraisal<AppraisedL1> {
    /// Compares the chip with what is remembered. A serial number that moves to another chip is a clone, and so is a chip
    /// that shows up in another device; where it was a repair, a technician forgets the device.
    #[must_use]
    pub fn with_history(mut self, history: &History) -> Self {
        let Some(device) = &mut self.admitted else { return self };
        device.proved_before = history.chip_of_device.is_some();
        let (serial, chip) = (device.identity.serial_no.clone(), device.chip.spki_der());
        let other_chip = history.chip_of_device.as_deref().is_some_and(|known| known != chip);
        let (outcome, text) = match (other_chip, &history.chip_in_other) {
            (true, _) => (
                Outcome::Fail,
                format!(
                    "this serial number was seen with another chip: one of the two devices is a clone; {}",
                    cure(&serial)
                ),
            ),
            (false, Some(owner)) => {
                (Outcome::Fail, format!("its chip was seen in device {}; {}", escaped(owner), cure(owner)))
            }
            (false, None) if history.chip_of_device.is_none() => {
                (Outcome::Pass, "seen here for the first time; its chip is remembered".to_owned())
            }
            (false, None) => (Outcome::Pass, "the chip that it always had here".to_owned()),
        };
        self.add(CheckName::ChipHistory, outcome, text);
        self
    }

    /// Adds the judgement on evidence about these keys. The level is what the evidence is worth.
    #[must_use]
    pub fn with_evidence(mut self, report: &Report) -> Self {
        self.add_evidence(report, Outcome::Fail);
        let Some(device) = &mut self.admitted else { return self };
        let attested = match report.verdict() {
            Ok(attested) => attested,
            Err(failed) => {
                // a report without a failed check that is still no good: its reason has to stand among the checks
                let said = report.failed().any(|check| check.name == failed.name);
                if !said {
                    self.add(CheckName::Evidence(failed.name), Outcome::Fail, failed.text);
                }
                return self;
            }
        };
        let chip = attested.chip.as_ref().map(biotrust_certs::Certificate::spki_der);
        let fault = match () {
            () if chip != Some(device.chip.spki_der()) => {
                Some("the evidence is of another chip than the one whose certificate the device shows")
            }
            () if attested.device_key.as_deref() != Some(device.certificate.spki_der()) => {
                Some("the evidence does not speak for the key of the device certificate")
            }
            () => None,
        };
        let granted = match attested.level {
            Level::L1 => Ok(()),
            Level::L0 => Err(attested.why_not_l1.clone().unwrap_or_else(|| "it claims no more".to_owned())),
        };
        device.granted.clone_from(&granted);
        match fault {
            Some(text) => self.add(CheckName::EvidenceKeys, Outcome::Fail, text),
            None => self.add(
                CheckName::EvidenceKeys,
                Outcome::Pass,
                "the evidence speaks for the keys of both certificates",
            ),
        }
        self.add_granted(granted);
        self
    }

    /// There is no evidence, because of `why`. Served as L0, or refused: where it could have given some, where the host
    /// insists, or where the device that it says it is has given some before. Certificates are public: a copy shows the
    /// same ones, and says that it can prove nothing.
    #[must_use]
    pub fn without_evidence(mut self, why: &str, refuse: bool) -> Self {
        let mut why = format!("it proves nothing about its trust module: {}", escaped(why));
        let mut refuse = refuse;
        if let Some(device) = &mut self.admitted {
            if device.proved_before && !refuse {
                refuse = true;
                why = format!(
                    "{why}; it did before, so this may be a copy of it; {}",
                    cure(&device.identity.serial_no)
                );
            }
            device.granted = Err(why.clone());
        }
        if refuse {
            self.add(CheckName::Granted, Outcome::Fail, why);
        } else {
            self.add_granted(Err(why));
        }
        self
    }

    fn add_granted(&mut self, granted: Result<(), String>) {
        match granted {
            Ok(()) => self.add(CheckName::Granted, Outcome::Pass, "L1"),
            Err(why) => self.add(CheckName::Granted, Outcome::Warning, format!("served as L0: {why}")),
        }
    }
}

impl Appraisal<AppraisedL0> {
    /// Says where the keys are, and why that never makes more than L0 of a scanner.
    #[must_use]
    pub fn with_keys_in(mut self, kind: FtmKind) -> Self {
        let place = match kind {
            FtmKind::Tpm => "keys in the host's TPM",
            FtmKind::Software => "keys in files of this host",
            FtmKind::Spdm => "key in a module beside the scanner",
        };
        let text = format!(
            "L0, {place}; the level stays L0 because the scanner has no trust module of its own, so that nothing vouches \
             for an image before it reaches this host"
        );
        self.add(CheckName::Granted, Outcome::Pass, text);
        self
    }

    /// There is no evidence of the host's own trust module, because of `why`: worth a look, and no reason to stop work.
    #[must_use]
    pub fn without_evidence(mut self, why: &str) -> Self {
        let name = CheckName::Evidence(biotrust_attest::CheckName::EvidenceForm);
        self.add(
            name,
            Outcome::Warning,
            format!("this host proves nothing about its keys: {}", escaped(why)),
        );
        self
    }

    /// Adds the judgement on evidence of the host's own trust module and on the model. At L0 nothing rests on the module:
    /// what it lacks is worth a look. What an adopter says about the model counts as at L1.
    #[must_use]
    pub fn with_evidence(mut self, report: &Report) -> Self {
        let model = report.failed().any(|check| check.name == biotrust_attest::CheckName::Model);
        self.add_evidence(report, Outcome::Warning);
        if model
            && let Some(check) = self
                .checks
                .iter_mut()
                .rev()
                .find(|check| check.name == CheckName::Evidence(biotrust_attest::CheckName::Model))
        {
            check.outcome = Outcome::Fail;
        }
        self
    }
}

/// What a technician does who knows better.
fn cure(serial: &str) -> String {
    format!("if it was repaired by its provider, run `biotrust device forget {}`", escaped(serial))
}

/// Text from outside, fit for a log: short, and without control characters.
fn escaped(text: &str) -> String {
    text.chars()
        .take(200)
        .flat_map(|c| match c {
            '"' | '\'' | '\\' => vec![c],
            c => c.escape_debug().collect(),
        })
        .collect()
}
