//! The authentication client: discovers devices as the browser does, captures with encryption, chains the captures of
//! its one transaction. Answers are judged as ID authentication does, with the private key of the stand-in.

use std::time::Duration;

use anyhow::Context as _;
use biosim_backends::ida::{self, Ida};
use biosim_backends::info::SeenDevice;
use biosim_backends::{Request, Verdict};
use biotrust_model::{Level, Purpose};
use serde_json::{Value, json};

use super::{Outcome, PATIENCE, Script, Verified, enrolment, label, missing_from, now, verified};

/// What the page asks for, in milliseconds.
const TIMEOUT: u64 = 10_000;
/// Score that the page asks for.
const WANTED: &str = "60";
/// Who will authenticate.
const DOMAIN_URI: &str = "https://auth.example.net";

/// Everything that the client does for one transaction.
pub(super) fn play(script: &mut Script<'_>) -> anyhow::Result<()> {
    script.step("MOSIPDISC", "all", "", |script| script.discover("Biometric Device"))?;
    let mut found = Vec::new();
    script.step("MOSIPDINFO (authentication)", "all", "", |script| {
        let (judged, took) = script.info()?;
        // The browser keeps L1 devices for authentication only.
        let browser = judged.browser.as_deref().unwrap_or_default();
        let missing = missing_from(browser, &script.stage.devices, Purpose::Auth, Some(Level::L1));
        let verified = match missing.is_empty() {
            true => verified(&judged.verdict, "browser client"),
            false => Verified::Refused { why: format!("not found: {}", missing.join(", ")) },
        };
        let captured = format!("{} devices, {} for the browser", judged.desktop_list.len(), browser.len());
        found = judged.desktop_list;
        Ok(Outcome { captured, verified, took, ..Outcome::default() })
    })?;

    let transaction: String = script.next().chars().take(10).collect();
    let mut previous_hash = String::new();
    for (bio_type, parts) in
        [("Finger", json!(["UNKNOWN"])), ("Iris", json!(["UNKNOWN"])), ("Face", Value::Null)]
    {
        let Some(built) = script.built(Purpose::Auth, bio_type, None) else { continue };
        let mut names = vec![bio_type.to_lowercase()];
        while let Some(name) = names.pop() {
            script.step(&format!("CAPTURE {name}"), &label(&built), &built.level, |script| {
                let device = found.iter().find(|device| device.serial_no == built.serial);
                let device = device.context("MOSIPDINFO did not list this device")?;
                let (verdict, took) = capture(script, device, &parts, &transaction, &previous_hash)?;
                if let Some(last) = verdict.segments().last() {
                    previous_hash.clone_from(&last.hash);
                }
                let by = match device.certification.as_str() {
                    "L0" => "ID authentication (L0 let in)",
                    _ => "ID authentication",
                };
                Ok(Outcome::of_capture(&verdict, by, took))
            })?;
            if enrolment::rotate_once(script, &built)? {
                names.push(format!("{name}, new key"));
            }
        }
    }
    Ok(())
}

fn capture(
    script: &Script<'_>,
    device: &SeenDevice,
    parts: &Value,
    transaction: &str,
    previous_hash: &str,
) -> anyhow::Result<(Verdict, Duration)> {
    let body = json!({
        "env": "Staging",
        "purpose": "Auth",
        "specVersion": "0.9.5",
        "timeout": TIMEOUT.to_string(),
        "captureTime": now().to_wire().replace('Z', ".000Z"),
        "domainUri": DOMAIN_URI,
        "transactionId": transaction,
        "bio": [{
            "type": device.bio_type,
            "count": "1",
            "bioSubType": parts,
            "requestedScore": WANTED,
            "deviceId": device.device_id,
            "deviceSubId": "0",
            "previousHash": previous_hash,
        }],
        "customOpts": null,
    })
    .to_string();
    let request = Request::from_json(body.as_bytes()).map_err(anyhow::Error::msg)?;
    let answer = script.ask("CAPTURE", "/capture", &body, Duration::from_millis(TIMEOUT) + PATIENCE)?;
    let keys = if device.certification == "L0" { &script.lenient } else { &script.keys };
    let ida = Ida { keys, key: &script.ida, ida_transaction_id: true };
    Ok((ida::judge(&answer.body, &request, &ida, now()), answer.took))
}
