//! The main job, played by a registration client and an authentication client, each answer judged as the back ends do;
//! before that, how the devices came into service, judged as a provider does.
//!
//! The clients know nothing but the port: devices are found, and called by the names that the answers give them. A step
//! that fails is reported and the next one is tried, so that one run shows everything that is wrong.

mod authentication;
mod enrolment;
mod registration;

use std::time::Duration;

use anyhow::{Context as _, bail};
use biosim_backends::info::{InfoVerdict, SeenDevice};
use biosim_backends::session::IdaKey;
use biosim_backends::{DigitalIdDomain, KeyManager, Segment, Verdict, discovery, info};
use biotrust_driver_api::Cancel;
use biotrust_model::time::{Clock as _, SystemClock, UtcMillis};
use biotrust_model::{BioSubType, Level, Purpose};
use serde_json::Value;

use super::http::{self, Answer};
use super::report::{Report, Step, Verified};
use super::stage::Stage;
use crate::control::Request;
use crate::control::server::Handler as _;
use crate::lab::Listed;
use crate::say::Progress;

/// For answers that need no person.
const PATIENCE: Duration = Duration::from_secs(10);

/// Plays both clients, as far as there are devices for them.
pub(crate) fn play(stage: &Stage, interrupt: &Cancel, progress: &Progress) -> anyhow::Result<Report> {
    let [device_anchors, ftm_anchors] = stage.anchors();
    let ida_key = stage.pki.ida_key_pkcs8_pem();
    let ida_key = std::str::from_utf8(ida_key.expose()).context("the key of the stand-in is no text")?;
    let mut script = Script {
        stage,
        port: stage.port()?,
        keys: judge(KeyManager::from_pem(&device_anchors, &ftm_anchors))?,
        // A test deployment that lets L0 devices authenticate has to trust the device provider for digital IDs too.
        lenient: judge(KeyManager::from_pem(&device_anchors, &(ftm_anchors + &device_anchors)))?,
        ida: judge(IdaKey::from_pem(ida_key, &stage.pki.ida_certificate_pem()))?,
        judge: enrolment::Judge::new(stage).context("setting up the judge of evidence")?,
        rotated: Vec::new(),
        report: Report::default(),
        interrupt,
        progress,
        serial: 0,
    };
    enrolment::play(&mut script)?;
    let has = |purpose: Purpose| stage.devices.iter().any(|device| device.purpose == purpose.as_str());
    if has(Purpose::Registration) {
        registration::play(&mut script)?;
    }
    if has(Purpose::Auth) {
        authentication::play(&mut script)?;
    }
    Ok(script.report)
}

/// An error of the judges' set-up.
fn judge<T>(result: Result<T, String>) -> anyhow::Result<T> {
    result.map_err(|why| anyhow::anyhow!("setting up the judges: {why}"))
}

/// What the clients and the judges share.
struct Script<'a> {
    stage: &'a Stage,
    port: u16,
    keys: KeyManager,
    lenient: KeyManager,
    ida: IdaKey,
    /// Of evidence.
    judge: enrolment::Judge,
    /// Levels of which a device has been rotated.
    rotated: Vec<String>,
    report: Report,
    interrupt: &'a Cancel,
    progress: &'a Progress,
    /// Counts transactions.
    serial: u32,
}

/// What came of a step.
#[derive(Default)]
struct Outcome {
    captured: String,
    quality: String,
    verified: Verified,
    took: Duration,
    /// For programs.
    details: Value,
}

impl Outcome {
    /// A capture, by the verdict on it.
    fn of_capture(verdict: &Verdict, by: &str, took: Duration) -> Self {
        let segments = verdict.segments();
        let quality: Vec<String> = segments
            .iter()
            .map(|segment| segment.quality_score.map_or("-".to_owned(), |score| format!("{score:.0}")))
            .collect();
        let verified = verified(verdict, by);
        Self { captured: parts(segments), quality: quality.join(" "), verified, took, ..Self::default() }
    }
}

/// What was captured, briefly: `Left: Index, Middle, Little`, `unnamed`, or the size of a face.
fn parts(segments: &[Segment]) -> String {
    let names: Vec<String> = segments
        .iter()
        .map(|segment| match &segment.bio_sub_type {
            Some(part) => part.replace("Finger", "").replace("UNKNOWN", "unnamed"),
            None if segment.width == 0 => "nothing".to_owned(),
            None => format!("{}x{}", segment.width, segment.height),
        })
        .collect();
    for side in ["Left", "Right"] {
        let of_side: Option<Vec<&str>> =
            names.iter().map(|name| name.strip_prefix(side)?.strip_prefix(' ')).collect();
        if let Some(short) = of_side.filter(|short| short.len() > 1) {
            return format!("{side}: {}", short.join(", "));
        }
    }
    names.join(", ")
}

/// A verdict in words.
fn verified(verdict: &Verdict, by: &str) -> Verified {
    if verdict.is_accepted() {
        return Verified::Accepted { by: format!("{by}, {} checks", verdict.checks().len()) };
    }
    let faults: Vec<String> = verdict.failures().map(ToString::to_string).collect();
    Verified::Refused { why: format!("{by}: {}", faults.join("; ")) }
}

impl Script<'_> {
    /// Does one step and notes what came of it.
    fn step(
        &mut self,
        name: &str,
        device: &str,
        level: &str,
        act: impl FnOnce(&mut Self) -> anyhow::Result<Outcome>,
    ) -> anyhow::Result<()> {
        if self.interrupt.is_cancelled() {
            bail!("interrupted");
        }
        self.progress.now(format!("{name} ({device})"));
        let outcome = act(self);
        if self.interrupt.is_cancelled() {
            bail!("interrupted");
        }
        self.stage.check()?;
        let outcome = outcome.unwrap_or_else(|error| Outcome {
            verified: Verified::Refused { why: format!("{error:#}") },
            ..Outcome::default()
        });
        self.report.steps.push(Step {
            step: name.to_owned(),
            device: device.to_owned(),
            level: level.to_owned(),
            captured: outcome.captured,
            quality: outcome.quality,
            verified: outcome.verified,
            milliseconds: outcome.took.as_millis(),
            details: outcome.details,
        });
        Ok(())
    }

    fn ask(&self, verb: &str, path: &str, body: &str, patience: Duration) -> anyhow::Result<Answer> {
        let answer = http::ask(self.port, verb, path, body, patience)?;
        if answer.status != 200 {
            bail!("{verb} was answered with HTTP status {}", answer.status);
        }
        Ok(answer)
    }

    /// Asks MOSIPDINFO and judges the answer for both clients.
    fn info(&self) -> anyhow::Result<(InfoVerdict, Duration)> {
        let answer = self.ask("MOSIPDINFO", "/info", "", PATIENCE)?;
        Ok((self.judge_info(&answer), answer.took))
    }

    /// The same, with the entries of the answer.
    fn info_entries(&self) -> anyhow::Result<(InfoVerdict, Vec<Value>)> {
        let answer = self.ask("MOSIPDINFO", "/info", "", PATIENCE)?;
        let entries = serde_json::from_slice(&answer.body).context("the answer to MOSIPDINFO")?;
        Ok((self.judge_info(&answer), entries))
    }

    fn judge_info(&self, answer: &Answer) -> InfoVerdict {
        info::judge(&answer.body, &self.keys, now(), DigitalIdDomain::DeviceWithFtmAnchors)
    }

    /// Asks whether a device of this type is available, as clients do before they capture.
    fn discover(&self, bio_type: &str) -> anyhow::Result<Outcome> {
        let body = serde_json::json!({ "type": bio_type }).to_string();
        let answer = self.ask("MOSIPDISC", "/device", &body, PATIENCE)?;
        let verdict = discovery::judge(&answer.body);
        let entries: Vec<Value> = serde_json::from_slice(&answer.body).unwrap_or_default();
        let ready = entries.iter().filter(|entry| entry["deviceStatus"] == "Ready").count();
        let captured = format!("{ready} of {} Ready", entries.len());
        let verified = match ready {
            0 => Verified::Refused { why: format!("no {bio_type} device is Ready") },
            _ => verified(&verdict, "client"),
        };
        Ok(Outcome { captured, verified, took: answer.took, ..Outcome::default() })
    }

    /// Takes fingers away from the subject, as biosim ctl does.
    fn missing(&self, parts: &[BioSubType]) {
        self.stage.lab.handle(Request::Missing { parts: parts.to_vec() });
    }

    /// The device of this purpose, type and build, if the stage has one.
    fn built(&self, purpose: Purpose, bio_type: &str, sub_type: Option<&str>) -> Option<Listed> {
        self.stage
            .devices
            .iter()
            .find(|device| {
                device.purpose == purpose.as_str()
                    && device.modality == bio_type
                    && sub_type.is_none_or(|sub_type| device.sub_type == sub_type)
            })
            .cloned()
    }

    /// A number that no transaction had before.
    fn next(&mut self) -> String {
        self.serial += 1;
        let seed = format!("{} {} {}", now().0, std::process::id(), self.serial);
        biotrust_certs::sha256_hex(seed.as_bytes()).to_lowercase()
    }
}

/// All that was built must be found, under its serial number.
fn missing_from(
    found: &[SeenDevice],
    built: &[Listed],
    purpose: Purpose,
    level: Option<Level>,
) -> Vec<String> {
    built
        .iter()
        .filter(|device| device.purpose == purpose.as_str())
        .filter(|device| level.is_none_or(|level| device.level == level.as_str()))
        .filter(|device| !found.iter().any(|seen| seen.serial_no == device.serial))
        .map(|device| format!("{} {}", device.modality, device.serial))
        .collect()
}

fn now() -> UtcMillis {
    SystemClock.now()
}

/// How a device is called in the report.
fn label(device: &Listed) -> String {
    match device.modality.as_str() {
        "Face" => "face".to_owned(),
        modality => format!("{} {}", device.sub_type, modality).to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captured_parts_are_named_briefly() {
        let named = |names: &[&str]| {
            let segment = |name: &&str| Segment {
                bio_sub_type: Some((*name).to_owned()).filter(|name| !name.is_empty()),
                width: 480,
                height: 640,
                ..Segment::default()
            };
            parts(&names.iter().map(segment).collect::<Vec<_>>())
        };
        assert_eq!(named(&["Left IndexFinger", "Left LittleFinger"]), "Left: Index, Little");
        assert_eq!(named(&["Left Thumb", "Right Thumb"]), "Left Thumb, Right Thumb");
        assert_eq!(named(&["Left", "Right"]), "Left, Right");
        assert_eq!(named(&["UNKNOWN"]), "unnamed");
        assert_eq!(named(&[""]), "480x640");
        assert_eq!(parts(&[Segment::default()]), "nothing");
    }
}
