//! The judgement on evidence: every check is made that can be made, each looks at one thing and says in one sentence
//! what it found, so that a technician sees the whole picture and not only the first mistake.
//!
//! [`chip`] judges the certificate, [`tpm`] and [`spdm`] the proofs, [`model`] what the adopter says about the model;
//! here everything is put together. Nothing is taken from the claims that the proof can tell.

mod chip;
mod claims;
mod model;
mod proven;
mod report;
mod spdm;
mod tpm;

pub use report::{Attested, Check, CheckName, FailedCheck, Outcome, Report};

use std::time::Duration;

use biotrust_certs::{Csr, FtmStore};
use biotrust_model::DeviceIdentity;
use biotrust_model::evidence::{Binding, EvidencePurpose, Proof};
use biotrust_model::time::UtcMillis;

use crate::Challenge;
use crate::challenge::binding;
use crate::evidence::{MAX_LENGTH, Payload, TYP};
use crate::metadata::Metadata;
use crate::shown;
use crate::signed::{self, Parsed};
use chip::Chip;
use proven::{KeyProof, Proven};

/// What the caller expects of evidence, and what it is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The challenge that was given out. `None` (to look at stored evidence): freshness is reported as not checked, and
    /// the verdict is never good.
    pub challenge: Option<&'a Challenge>,
    /// Now, by a clock that the caller trusts.
    pub now: UtcMillis,
    /// Anchors of domain FTM.
    pub ftm: &'a FtmStore,
    /// Who the device has to be.
    pub identity: Option<&'a DeviceIdentity>,
    /// Certificate request (PKCS#10, DER) that came along.
    pub csr: Option<&'a [u8]>,
    /// The key that the evidence must speak for: SubjectPublicKeyInfo, DER.
    pub device_key: Option<&'a [u8]>,
    /// What the adopter says about models; `None` where the caller has no metadata.
    pub models: Option<&'a Metadata>,
    /// Key of the chip that this serial number is known to live with: SubjectPublicKeyInfo, DER.
    pub known_chip: Option<&'a [u8]>,
    /// The caller's own rules.
    pub policy: Policy,
}

/// Rules of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Lowest security version number that is accepted of this device: the highest that was seen of it.
    pub svn_floor: u64,
    /// How far a clock may be off.
    pub clock_tolerance: Duration,
    /// Whether a device with a trust module of its own is granted the L1 that it claims where there is no metadata at
    /// all. Not where that is a TPM, which a host may have as well. With metadata, the metadata decides.
    pub l1_without_metadata: bool,
}

impl Default for Policy {
    /// No floor, 30 s, L1 only by metadata.
    fn default() -> Self {
        Self { svn_floor: 0, clock_tolerance: Duration::from_secs(30), l1_without_metadata: false }
    }
}

impl Policy {
    fn tolerance_ms(&self) -> i64 {
        i64::try_from(self.clock_tolerance.as_millis()).unwrap_or(i64::MAX)
    }
}

/// What a check found: passed, with what is there, or failed, with what is wrong.
type Finding = Result<String, String>;

/// Judges `evidence`, a compact JWS of type [`TYP`]. Makes every check that can be made; never panics, does no I/O.
#[must_use]
pub fn verify(evidence: &str, expected: &Expected<'_>) -> Report {
    let mut report = Report::new();
    let (parsed, payload) = match read(evidence) {
        Ok(read) => read,
        Err(text) => {
            report.add(CheckName::EvidenceForm, Outcome::Fail, text);
            return report.finish(None);
        }
    };
    let form = format!("evidence of kind {}, {} characters", payload.kind(), evidence.len());
    report.add(CheckName::EvidenceForm, Outcome::Pass, form);
    report.judge(CheckName::Signature, signature(&parsed, &payload));
    claims::challenge(&mut report, &payload, expected);
    let chip = Chip::judge(&mut report, &parsed, &payload, expected);
    let csr = expected.csr.map(Csr::verify);
    let wanted = expected.device_key.or_else(|| csr.as_ref()?.as_ref().ok().map(Csr::spki_der));

    let binding = expected_binding(&payload, expected);
    let proven = match (&payload.proof, &chip) {
        (Proof::Tpm(proof), Some(chip)) => tpm::judge(proof, chip, &binding, expected),
        (Proof::Spdm(proof), Some(chip)) => spdm::judge(proof, chip, &binding),
        (Proof::Software, _) => Proven::software(&parsed),
        // Unsigned by a chip: the signature has failed, and there is nothing to hold the proof against.
        _ => return report.finish(None),
    };
    match &proven.chip_model {
        Some(finding) => report.judge(CheckName::ChipModel, finding.clone()),
        None => report.add(CheckName::ChipModel, Outcome::NotChecked, "software has no chip"),
    }
    report.judge(CheckName::Binding, proven.binding.clone());
    let key = device_key(&mut report, &payload, &proven, wanted);
    csr_key(&mut report, csr.as_ref(), expected, key.as_deref());
    let standing = model::standing(&mut report, &payload, chip.as_ref(), &proven, expected);
    model::measurements(&mut report, &payload, &proven, &standing);
    claims::device_mode(&mut report, &payload, &proven);
    model::svn(&mut report, &payload, &proven, &standing, expected);
    claims::trusted_time(&mut report, &payload, &proven, expected);
    claims::identity(&mut report, &payload, chip.as_ref(), expected);
    let (level, why_not_l1) = model::level(&mut report, &payload, &standing);

    let path_ends = chip.as_ref().and_then(|chip| chip.valid_until);
    let valid_until = path_ends.into_iter().chain(proven.valid_until).min();
    report.finish(Some(Attested {
        level,
        why_not_l1,
        kind: payload.kind(),
        purpose: payload.purpose,
        issued_at: payload.issued_at,
        chip: chip.map(|chip| chip.certificate),
        device_key: key,
        svn: model::effective_svn(&payload, &proven),
        valid_until,
        identity: payload.claims.identity,
        ftm_serial: payload.claims.ftm_serial,
        firmware: payload.claims.firmware,
        boot_count: payload.claims.boot_count,
    }))
}

fn read(evidence: &str) -> Result<(Parsed, Payload), String> {
    let parsed = signed::parse(TYP, evidence, MAX_LENGTH).map_err(|error| error.to_string())?;
    let payload = Payload::from_json(&parsed.payload)?;
    Ok((parsed, payload))
}

fn signature(parsed: &Parsed, payload: &Payload) -> Finding {
    parsed.verify().map_err(|error| error.to_string())?;
    match (&payload.proof, parsed.leaf()) {
        (Proof::Software, _) => Ok("signed by the device key".to_owned()),
        (_, Some(leaf)) => {
            Ok(format!("signed by the key of \"{}\"", shown::value(&leaf.subject().to_string())))
        }
        (_, None) => Err("it must be signed by the chip key, with its certificate in x5c".to_owned()),
    }
}

/// Without a challenge, what the evidence itself claims to answer: the proofs must at least agree with that.
fn expected_binding(payload: &Payload, expected: &Expected<'_>) -> Binding {
    expected
        .challenge
        .map_or_else(|| binding(&payload.nonce, &payload.audience, payload.purpose), Challenge::binding)
}

/// Judges the device key and returns it (SubjectPublicKeyInfo), where the evidence speaks for one.
fn device_key(
    report: &mut Report,
    payload: &Payload,
    proven: &Proven,
    wanted: Option<&[u8]>,
) -> Option<Vec<u8>> {
    let needed = wanted.is_some() || payload.purpose == EvidencePurpose::DeviceKey;
    let found = match (&proven.device_key, wanted) {
        (Err(text), _) => Err(text.clone()),
        (Ok(KeyProof::Absent), _) if needed => Err("it says nothing about a device key".to_owned()),
        (Ok(KeyProof::Absent), _) => {
            report.add(CheckName::DeviceKey, Outcome::NotChecked, "no device key was asked for");
            return None;
        }
        (Ok(KeyProof::Key { spki, text }), Some(wanted)) if spki != wanted => {
            Err(format!("{text}, but it is another key than the one that is expected"))
        }
        (Ok(KeyProof::Key { spki, text }), _) => Ok((spki.clone(), text.clone())),
        (Ok(KeyProof::Statement(statement)), Some(wanted)) => {
            let text = format!("the chip states that it made the key (rotation {})", statement.rotation);
            statement.vouches_for(wanted).map(|()| (wanted.to_vec(), text))
        }
        (Ok(KeyProof::Statement(_)), None) => {
            let text = "the chip's statement names a key by its hash; nobody gave the key itself";
            report.add(CheckName::DeviceKey, Outcome::NotChecked, text);
            return None;
        }
    };
    let (key, finding) = found.map_or_else(|text| (None, Err(text)), |(key, text)| (Some(key), Ok(text)));
    report.judge(CheckName::DeviceKey, finding);
    key
}

fn csr_key(
    report: &mut Report,
    csr: Option<&Result<Csr, biotrust_certs::CsrError>>,
    expected: &Expected<'_>,
    proven: Option<&[u8]>,
) {
    let finding = match csr {
        None => {
            report.add(CheckName::CsrKey, Outcome::NotChecked, "no certificate request came along");
            return;
        }
        Some(Err(error)) => Err(error.to_string()),
        Some(Ok(csr)) if expected.device_key.is_some_and(|key| key != csr.spki_der()) => {
            Err("the request is for another key than the one that is expected".to_owned())
        }
        Some(Ok(csr)) if proven != Some(csr.spki_der()) => {
            Err("the request is for a key that the evidence does not speak for".to_owned())
        }
        Some(Ok(csr)) => {
            Ok(format!("the request of \"{}\" is for that key", shown::value(&csr.subject().to_string())))
        }
    };
    report.judge(CheckName::CsrKey, finding);
}
