//! The desktop registration client: finds devices with MOSIPDINFO, asks whether they are Ready, opens the live preview,
//! captures while it runs. Requests are what the real client sends, member by member.

use std::time::Duration;

use anyhow::Context as _;
use biosim_backends::info::SeenDevice;
use biosim_backends::{DigitalIdDomain, Request, registration};
use biotrust_model::{BioSubType, Purpose};
use serde_json::json;

use super::{Outcome, PATIENCE, Script, Verified, enrolment, label, missing_from, now, verified};
use crate::demo::http;
use crate::demo::preview::Preview;
use crate::lab::Listed;

/// What the client asks for, in milliseconds; its own socket waits longer.
const TIMEOUT: u64 = 10_000;
/// Threshold that the client's configuration sets.
const WANTED: &str = "60";
/// The specification wants 3 frames a second at least.
const LEAST_FPS: f64 = 3.0;
/// The finger that the applicant does not have.
const LOST: BioSubType = BioSubType::LeftRingFinger;

/// One capture to make.
#[derive(Clone, Copy)]
struct Capture<'a> {
    name: &'a str,
    bio_type: &'a str,
    sub_id: &'a str,
    count: usize,
    exceptions: &'a [BioSubType],
}

/// Everything that the client does for one applicant.
pub(super) fn play(script: &mut Script<'_>) -> anyhow::Result<()> {
    let mut found = Vec::new();
    script.step("MOSIPDINFO (registration)", "all", "", |script| {
        // The client's first question is a probe: it closes the connection without reading the answer.
        drop(http::open(script.port, "MOSIPDINFO", "/info", "", PATIENCE)?);
        let (judged, took) = script.info()?;
        let missing = missing_from(&judged.desktop_list, &script.stage.devices, Purpose::Registration, None);
        let verified = match missing.is_empty() {
            true => verified(&judged.verdict, "desktop client"),
            false => Verified::Refused { why: format!("not found: {}", missing.join(", ")) },
        };
        found = judged.desktop_list;
        Ok(Outcome { captured: format!("{} devices", found.len()), verified, took, ..Outcome::default() })
    })?;

    let fingers =
        |name, sub_id, count, exceptions| Capture { name, bio_type: "Finger", sub_id, count, exceptions };
    captures(
        script,
        &found,
        &[
            fingers("left slap, a finger less", "1", 3, &[LOST][..]),
            fingers("right slap", "2", 4, &[]),
            fingers("thumbs", "3", 2, &[]),
        ],
    )?;
    captures(
        script,
        &found,
        &[Capture { name: "both irises", bio_type: "Iris", sub_id: "3", count: 2, exceptions: &[] }],
    )?;
    let face = |name, exceptions| Capture { name, bio_type: "Face", sub_id: "0", count: 1, exceptions };
    captures(script, &found, &[face("face", &[][..]), face("exception photo", &[LOST])])
}

/// Captures with one device, each with its preview.
fn captures(script: &mut Script<'_>, found: &[SeenDevice], wanted: &[Capture<'_>]) -> anyhow::Result<()> {
    let Some(first) = wanted.first() else { return Ok(()) };
    let Some(built) = script.built(Purpose::Registration, first.bio_type, None) else { return Ok(()) };
    let label = label(&built);
    script.step("MOSIPDISC", &label, &built.level, |script| script.discover(first.bio_type))?;
    for (place, capture) in wanted.iter().enumerate() {
        one(script, found, &built, capture)?;
        let rotated = place == 0 && enrolment::rotate_once(script, &built)?;
        if rotated && wanted.len() == 1 {
            let name = format!("{}, new key", capture.name);
            one(script, found, &built, &Capture { name: &name, ..*capture })?;
        }
    }
    script.missing(&[]);
    Ok(())
}

/// One capture with its preview.
fn one(
    script: &mut Script<'_>,
    found: &[SeenDevice],
    built: &Listed,
    capture: &Capture<'_>,
) -> anyhow::Result<()> {
    let label = label(built);
    script.missing(capture.exceptions);
    let mut preview = None;
    script.step(&format!("STREAM {}", capture.name), &label, &built.level, |script| {
        let device = seen(found, &built.serial)?;
        preview = Some(Preview::open(script.port, &device.device_id, capture.sub_id)?);
        Ok(Outcome {
            captured: "first frame".to_owned(),
            verified: Verified::Accepted { by: "the client's reader".to_owned() },
            ..Outcome::default()
        })
    })?;
    script.step(&format!("RCAPTURE {}", capture.name), &label, &built.level, |script| {
        rcapture(script, seen(found, &built.serial)?, capture)
    })?;
    if let Some(preview) = preview {
        close(script, preview);
    }
    Ok(())
}

fn seen<'a>(found: &'a [SeenDevice], serial: &str) -> anyhow::Result<&'a SeenDevice> {
    found.iter().find(|device| device.serial_no == serial).context("MOSIPDINFO did not list this device")
}

fn rcapture(script: &mut Script<'_>, device: &SeenDevice, capture: &Capture<'_>) -> anyhow::Result<Outcome> {
    let body = json!({
        "env": "Staging",
        "purpose": "Registration",
        "specVersion": "0.9.5",
        "timeout": TIMEOUT.to_string(),
        "captureTime": now().to_wire().trim_end_matches('Z'),
        "transactionId": uuid(&script.next()),
        "bio": [{
            "type": capture.bio_type,
            "count": capture.count.to_string(),
            "bioSubType": null,
            "exception": capture.exceptions,
            "requestedScore": WANTED,
            "deviceId": device.device_id,
            "deviceSubId": capture.sub_id,
            "previousHash": null,
        }],
        "customOpts": null,
    })
    .to_string();
    let request = Request::from_json(body.as_bytes()).map_err(anyhow::Error::msg)?;
    let patience = Duration::from_millis(TIMEOUT) + PATIENCE;
    let answer = script.ask("RCAPTURE", "/capture", &body, patience)?;
    let domain = DigitalIdDomain::DeviceWithFtmAnchors;
    let verdict = registration::judge(&answer.body, &request, &script.keys, now(), domain);
    Ok(Outcome::of_capture(&verdict, "registration packet", answer.took))
}

/// Closes a preview and completes its row: what came, how fast.
fn close(script: &mut Script<'_>, preview: Preview) {
    let row = script.report.steps.iter_mut().rev().find(|step| step.step.starts_with("STREAM"));
    let Some(row) = row else { return };
    match preview.close() {
        Ok(seen) => {
            row.captured = format!("{} frames, {:.0} a second", seen.frames, seen.fps());
            row.milliseconds = seen.first_frame.as_millis();
            if seen.frames > 2 && seen.fps() < LEAST_FPS {
                row.verified = Verified::Refused { why: format!("less than {LEAST_FPS} frames a second") };
            }
        }
        Err(error) => row.verified = Verified::Refused { why: format!("{error:#}") },
    }
}

/// 32 hex digits in the form of a UUID.
fn uuid(hex: &str) -> String {
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transaction_ids_have_the_form_of_the_clients() {
        assert_eq!(uuid("00112233445566778899aabbccddeeffmore"), "00112233-4455-6677-8899-aabbccddeeff");
    }
}
