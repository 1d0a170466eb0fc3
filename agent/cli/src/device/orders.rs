//! What the daemon is asked to do with a device, and how it went.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::{Failure, ask, find, order, text, told};
use crate::Outcome;
use crate::report::span;
use crate::text::plain;

/// For what only looks.
const LOOK: Duration = Duration::from_secs(15);
/// For what involves a server and a chip that takes its time.
const WORK: Duration = Duration::from_secs(120);

pub(super) fn rotate(socket: &Path, id: &str, json: bool) -> Result<Outcome, Failure> {
    let found = find(socket, id)?;
    let answer = ask(socket, order("rotate", found.serial()), WORK)?;
    let sentence = format!(
        "{} has a new key and the certificate {}",
        found.device.name(),
        plain(text(&answer, "certificate_sha256"))
    );
    Ok(told(json, &answer, sentence))
}

pub(super) fn evidence(socket: &Path, id: &str, out: Option<&Path>, json: bool) -> Result<Outcome, Failure> {
    let found = find(socket, id)?;
    let answer = ask(socket, order("evidence", found.serial()), LOOK)?;
    let evidence = text(&answer, "evidence");
    let Some(file) = out else { return Ok(told(json, &answer, evidence.to_owned())) };
    std::fs::write(file, format!("{evidence}\n"))
        .map_err(|error| Failure::File(format!("cannot write {}: {error}", file.display())))?;
    let sentence = format!(
        "evidence of {} is in {}: see `biotrust attest show {}`",
        found.device.name(),
        file.display(),
        file.display()
    );
    Ok(told(json, &answer, sentence))
}

pub(super) fn forget(socket: &Path, serial: &str, json: bool) -> Result<Outcome, Failure> {
    let answer = ask(socket, order("forget", serial), LOOK)?;
    let known = answer.get("known").and_then(Value::as_bool) == Some(true);
    let sentence = match known {
        true => format!("{} is forgotten: it is taken as it comes the next time", plain(serial)),
        false => format!("nothing was known of {}", plain(serial)),
    };
    Ok(told(json, &answer, sentence))
}

pub(super) fn deregister(socket: &Path, id: &str, json: bool) -> Result<Outcome, Failure> {
    let found = find(socket, id)?;
    let answer = ask(socket, order("deregister", found.serial()), WORK)?;
    let server = match answer.get("told").and_then(Value::as_bool) {
        Some(true) => "; the management server is told so, at once or when it can be reached",
        _ => "",
    };
    let sentence = format!("the keys of {} are destroyed{server}", found.device.name());
    Ok(told(json, &answer, sentence))
}

pub(super) fn time(socket: &Path, id: &str, json: bool) -> Result<Outcome, Failure> {
    let found = find(socket, id)?;
    let answer = ask(socket, order("time", found.serial()), LOOK)?;
    let host = answer.get("host").cloned().unwrap_or_default();
    let device = answer.get("device").filter(|device| !device.is_null());
    let mut lines = vec![match host.get("trusted").and_then(Value::as_bool) {
        Some(true) => format!(
            "trusted time  {}  (told by the management server {} ago)",
            plain(text(&host, "now")),
            span(host.get("age_s").and_then(Value::as_u64).unwrap_or_default())
        ),
        _ => format!("trusted time  none: {}", plain(text(&host, "why_not"))),
    }];
    lines.push(format!("this host     {}{}", plain(text(&host, "host")), skew(&host)));
    lines.push(match device {
        None => "the device    has no clock of its own".to_owned(),
        Some(device) => match text(device, "now") {
            "" => "the device    does not know the time".to_owned(),
            now => format!("the device    {}{}", plain(now), skew(device)),
        },
    });
    Ok(told(json, &answer, lines.join("\n")))
}

/// "  (1.5 s ahead)".
fn skew(clock: &Value) -> String {
    match clock.get("skew_ms").and_then(Value::as_i64) {
        None => String::new(),
        Some(0) => "  (exact)".to_owned(),
        Some(ms) => {
            let side = if ms > 0 { "ahead" } else { "behind" };
            format!("  ({}.{:03} s {side})", ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000)
        }
    }
}
