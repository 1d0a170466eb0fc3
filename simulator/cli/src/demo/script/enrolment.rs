//! How the devices came into service, judged by biosim itself: it asks for evidence with a challenge of its own, and holds
//! it against its own anchors, its own metadata and the certificate that clients are shown. Nobody in between is believed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use biotrust_attest::metadata::Metadata;
use biotrust_attest::{Challenge, Expected, Outcome as Checked, Policy, Report, verify};
use biotrust_certs::{Certificate, Device, DeviceStore, Ftm, FtmStore};
use biotrust_model::Level;
use biotrust_model::evidence::EvidencePurpose;
use serde_json::{Value, json};

use super::{Outcome, Script, Verified, label, now};
use crate::agent::Condition;
use crate::demo::stage::Stage;
use crate::files::{self, Access};
use crate::lab::Listed;

/// Whom the challenges are for.
const AUDIENCE: &str = "biosim";
/// The checks that have to stop a device with an open debug port: its key statement says so, and what it measures. The
/// first one that fails is named.
const STOPPED_BY: [&str; 2] = ["device-key", "device-mode"];
/// How far a clock in a device may be off, in milliseconds.
const CLOCK_TOLERANCE_MS: u64 = 5_000;
/// For the plug of a device to be seen pulled.
const GONE_WITHIN: Duration = Duration::from_secs(15);

/// Whom and what biosim believes.
pub(super) struct Judge {
    ftm: FtmStore,
    device: DeviceStore,
    models: Metadata,
    issuer: Certificate,
}

impl Judge {
    pub(super) fn new(stage: &Stage) -> anyhow::Result<Self> {
        let issuer = stage.pki.provider_chain_der();
        let issuer = issuer.first().context("the provider has no certificate")?;
        Ok(Self {
            ftm: stage.pki.store::<Ftm>()?,
            device: stage.pki.store::<Device>()?,
            models: Metadata::verify(&stage.metadata, &stage.pki.adopter_store()?, now(), 0)?,
            issuer: Certificate::parse(issuer)?,
        })
    }
}

/// What a device has proven.
struct Proven {
    report: Report,
    /// The certificate that clients are shown, of the very key in the evidence.
    certificate: Certificate,
}

impl Proven {
    /// How many checks have passed.
    fn passed(&self) -> usize {
        self.report.checks().iter().filter(|check| check.outcome == Checked::Pass).count()
    }

    fn details(&self) -> Value {
        let checks = self.report.checks().iter();
        let checks: Vec<Value> = checks
            .map(|check| {
                json!({"name": check.name.as_str(), "outcome": check.outcome.as_str(), "text": check.text})
            })
            .collect();
        json!({"certificate_sha256": self.certificate.sha256(), "evidence": checks})
    }
}

/// Every device, the one that is refused, and the time.
pub(super) fn play(script: &mut Script<'_>) -> anyhow::Result<()> {
    let stage = script.stage;
    for built in &stage.devices {
        let joined = stage.joined.iter().find(|joined| joined.serial == built.serial);
        let took = joined.context("a device that has not registered")?.took;
        script.step("REGISTER", &label(built), &built.level, |script| {
            let proven = prove(script, built)?;
            Ok(Outcome {
                captured: keys_in(built).to_owned(),
                verified: Verified::Accepted { by: format!("evidence, {} checks", proven.passed()) },
                took,
                details: proven.details(),
                ..Outcome::default()
            })
        })?;
    }
    if stage.management.is_some() {
        script.step("REFUSED", "touchless finger", "L1", refused)?;
        script.step("TIME", "all", "", time)?;
    }
    Ok(())
}

/// Rotates the key of the first device of each level, once; tells whether it did.
pub(super) fn rotate_once(script: &mut Script<'_>, built: &Listed) -> anyhow::Result<bool> {
    if script.stage.management.is_none() || script.rotated.contains(&built.level) {
        return Ok(false);
    }
    script.rotated.push(built.level.clone());
    script.step("ROTATE", &label(built), &built.level, |script| rotate(script, built))?;
    Ok(true)
}

fn rotate(script: &mut Script<'_>, built: &Listed) -> anyhow::Result<Outcome> {
    let before = shown_certificate(script, &built.serial)?;
    let began = Instant::now();
    let sha256 = script.stage.agent().rotate(&built.serial)?;
    let took = began.elapsed();
    let proven = prove(script, built)?;
    let after = &proven.certificate;
    if !after.sha256().eq_ignore_ascii_case(&sha256) {
        bail!("the certificate {} was installed, clients are shown {}", sha256, after.sha256());
    }
    if after.spki_der() == before.spki_der() {
        bail!("the key is still the same");
    }
    let short = |certificate: &Certificate| certificate.sha256().chars().take(8).collect::<String>();
    Ok(Outcome {
        captured: format!("{} to {}", short(&before), short(after)),
        verified: Verified::Accepted { by: format!("evidence, {} checks", proven.passed()) },
        took,
        details: proven.details(),
        ..Outcome::default()
    })
}

/// Evidence of a device and its certificate, both found good.
fn prove(script: &Script<'_>, built: &Listed) -> anyhow::Result<Proven> {
    let judge = &script.judge;
    let certificate = shown_certificate(script, &built.serial)?;
    judge.device.verify(certificate.der(), now()).context("the device certificate")?;
    certificate
        .check_signature(&judge.issuer)
        .map_err(|_| anyhow!("the device certificate was not issued by the provider"))?;

    let mut nonce = [0; 32];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| anyhow!("no randomness"))?;
    let challenge = Challenge::new(nonce, AUDIENCE, EvidencePurpose::DeviceKey, now());
    let evidence = script.stage.agent().evidence(&built.serial, &challenge)?;
    keep(script.stage, &built.serial, &evidence, &challenge)?;
    let device = script.stage.lab.device(&built.serial).context("the device is gone")?;
    let chip = device.ftm().and_then(|ftm| ftm.keys().chip_chain.into_iter().next());
    let chip = chip.map(|der| Certificate::parse(&der)).transpose().context("the chip certificate")?;
    let expected = Expected {
        challenge: Some(&challenge),
        now: now(),
        ftm: &judge.ftm,
        identity: Some(&device.description().identity),
        csr: None,
        device_key: Some(certificate.spki_der()),
        models: Some(&judge.models),
        known_chip: chip.as_ref().map(Certificate::spki_der),
        policy: Policy::default(),
    };
    let report = verify(&evidence, &expected);
    let attested = report.verdict().map_err(|failed| anyhow!("{failed}"))?;
    if attested.level.as_str() != built.level {
        let why = attested.why_not_l1.as_deref().unwrap_or_default();
        bail!("the evidence is worth level {}, not {}: {why}", attested.level, built.level);
    }
    Ok(Proven { report, certificate })
}

/// Leaves evidence and challenge in the demo's folder, for `biotrust attest verify`.
fn keep(stage: &Stage, serial: &str, evidence: &str, challenge: &Challenge) -> anyhow::Result<()> {
    let [evidence_file, challenge_file] = stage.evidence_files(serial);
    let challenge = serde_json::to_vec(challenge).context("writing the challenge")?;
    files::write(&evidence_file, evidence.as_bytes(), Access::Shared)?;
    files::write(&challenge_file, &challenge, Access::Shared)
}

/// The certificate that clients are shown: it has signed the device info of this device.
fn shown_certificate(script: &Script<'_>, serial: &str) -> anyhow::Result<Certificate> {
    let (judged, entries) = script.info_entries()?;
    let seen = judged.desktop_list.iter().find(|device| device.serial_no == serial);
    let entry = seen.and_then(|seen| entries.get(seen.index)).context("MOSIPDINFO does not list it")?;
    leaf(entry).context("the device info has no certificate")
}

/// The certificate in the header of an entry's `deviceInfo`.
fn leaf(entry: &Value) -> Option<Certificate> {
    let header = entry.get("deviceInfo")?.as_str()?.split('.').next()?;
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    let leaf = header.get("x5c")?.get(0)?.as_str()?;
    Certificate::parse(&STANDARD.decode(leaf).ok()?).ok()
}

/// Plugs in a device that nobody should certify, waits for the reason, and pulls it out again.
fn refused(script: &mut Script<'_>) -> anyhow::Result<Outcome> {
    let stage = script.stage;
    let agent = stage.agent();
    let building = stage.suspect().context("there is no such device")?;
    let (device, seen, took) = stage.lab.bring_suspect(building)?;
    let (check, text) = seen.failed_check().context("no check has failed")?;
    let others = agent.devices()?;
    let ready = others.iter().filter(|other| other.status.as_deref() == Some("Ready")).count();
    device.unplug();
    agent.wait(device.serial(), Condition { present: Some(false), ..Condition::default() }, GONE_WITHIN)?;

    let verified = if !STOPPED_BY.contains(&check) || !text.contains("debug") {
        Verified::Refused { why: format!("refused by {check}, which is not what is wrong with it: {text}") }
    } else if let Some(certificate) = &seen.certificate {
        Verified::Refused { why: format!("it has got a certificate all the same: {}", certificate.sha256) }
    } else if ready != stage.devices.len() {
        Verified::Refused { why: format!("{ready} of {} others are Ready", stage.devices.len()) }
    } else {
        Verified::Accepted { by: format!("stopped by {check}, {ready} others Ready") }
    };
    Ok(Outcome {
        captured: text.to_owned(),
        verified,
        took,
        details: json!({"serial": device.serial(), "check": check, "text": text}),
        ..Outcome::default()
    })
}

/// The server has told the time, and host and devices go by it.
fn time(script: &mut Script<'_>) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    let (mut clocks, mut worst, mut wrong) = (0, 0, Vec::new());
    for built in &script.stage.devices {
        let time = script.stage.agent().time(&built.serial)?;
        if !time.host.trusted || time.host.age_s.is_none() {
            wrong.push("the server has not told this host the time".to_owned());
        }
        worst = worst.max(time.host.skew_ms.unwrap_or_default().unsigned_abs());
        if built.level != Level::L1.as_str() {
            continue;
        }
        match time.device.and_then(|device| device.skew_ms) {
            Some(skew) if skew.unsigned_abs() <= CLOCK_TOLERANCE_MS => {
                clocks += 1;
                worst = worst.max(skew.unsigned_abs());
            }
            Some(skew) => wrong.push(format!("the clock of {} is off by {skew} ms", built.serial)),
            None => wrong.push(format!("nobody has told {} the time", built.serial)),
        }
    }
    wrong.dedup();
    Ok(Outcome {
        captured: format!("this host and {clocks} devices"),
        verified: match wrong.as_slice() {
            [] => Verified::Accepted { by: format!("by the server, within {worst} ms") },
            wrong => Verified::Refused { why: wrong.join("; ") },
        },
        took: began.elapsed(),
        details: json!({"clocks": clocks, "worst_skew_ms": worst}),
        ..Outcome::default()
    })
}

/// Where the keys of a device are, in words.
fn keys_in(built: &Listed) -> &'static str {
    match built.chip {
        None => "keys on the host",
        Some("swtpm") => "keys in a TPM (swtpm)",
        Some(_) => "keys in a software chip",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_of_a_device_is_the_first_in_its_info() {
        let pki = crate::pki::mint(now()).unwrap();
        let der = pki.provider_chain_der().swap_remove(0);
        let header = json!({"alg": "RS256", "x5c": [STANDARD.encode(&der), "other"]}).to_string();
        let entry = json!({"deviceInfo": format!("{}.e30.x", URL_SAFE_NO_PAD.encode(header))});
        assert_eq!(leaf(&entry).unwrap().der(), der);
        for bad in [json!({}), json!({"deviceInfo": "e30.e30.x"}), json!({"deviceInfo": ""})] {
            assert!(leaf(&bad).is_none(), "{bad}");
        }
    }
}
