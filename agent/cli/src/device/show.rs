//! The devices in a table, and one of them in full.

use std::path::Path;

use biotrust_model::time::UtcMillis;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use super::{Failure, find};
use crate::Outcome;
use crate::report::{self, Device, Report, span};
use crate::text::plain;

/// Columns where standard output is no terminal.
const WIDTH: u16 = 120;

pub(super) fn list(socket: &Path, json: bool) -> Result<Outcome, Failure> {
    let (status, report) = report::ask(socket)?;
    if json {
        let devices = status.get("devices").cloned().unwrap_or_default();
        return Ok(Outcome::new(format!("{devices:#}\n"), 0));
    }
    if report.devices.is_empty() {
        return Ok(Outcome::new(format!("No device is connected.\n{}", left_alone(&report)), 0));
    }
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header([
            "Serial number",
            "Device id",
            "Device",
            "Kind",
            "State",
            "Certificate",
            "Driver and place",
        ]);
    if !table.is_tty() {
        table.set_width(WIDTH);
    }
    for device in &report.devices {
        table.add_row([
            plain(&device.serial),
            device.id.as_deref().map(plain).unwrap_or_default(),
            device.label(),
            device.kind(),
            device.state(),
            device.life_left(report.now()),
            device.plugged(),
        ]);
    }
    Ok(Outcome::new(format!("{}\n{}", table.trim_fmt(), left_alone(&report)), 0))
}

/// What could be a device and was not opened; of what nobody knows, `--json` tells.
fn left_alone(report: &Report) -> String {
    let known = report.left_alone.iter().filter(|left| left.known);
    known.map(|left| format!("Left alone: {}\n", left.sentence())).collect()
}

pub(super) fn one(socket: &Path, id: &str, json: bool) -> Result<Outcome, Failure> {
    let found = find(socket, id)?;
    if json {
        return Ok(Outcome::new(format!("{:#}\n", found.raw), 0));
    }
    Ok(Outcome::new(in_full(&found.device, &found.report), 0))
}

fn in_full(device: &Device, report: &Report) -> String {
    let now = report.now();
    let mut lines: Vec<(&str, String)> = vec![
        ("device", device.name()),
        ("device id", device.id.as_deref().map(plain).unwrap_or_default()),
        ("kind", device.kind()),
        ("firmware", device.firmware.as_deref().map(plain).unwrap_or_default()),
        ("line", device.link.as_deref().map(plain).unwrap_or_default()),
        ("place", device.place.as_deref().map(plain).unwrap_or_default()),
        ("driver", driver(device)),
        ("plug to ready", plugged(device)),
        ("state", device.state()),
        ("why", device.why()),
        (
            "who, and next",
            [device.who(), device.next()]
                .into_iter()
                .filter(|t| !t.is_empty())
                .collect::<Vec<_>>()
                .join(": "),
        ),
        ("level", device.level_in_words()),
        ("attested", device.attested_s.map(|age| format!("{} ago", span(age))).unwrap_or_default()),
        ("certificate", certificate(device, now)),
        ("management", management(device)),
    ];
    if let Some(update) = &device.update {
        lines.push(("update", format!("{} of {} bytes", update.received, update.size)));
    }
    for check in &device.checks {
        let verdict = if check.ok { "ok" } else { "FAILED" };
        lines.push(("check", format!("{verdict:<6} {}: {}", plain(&check.name), plain(&check.text))));
    }
    lines
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| format!("{name:<14} {text}\n"))
        .collect()
}

/// "uru4000 (USB, entry uru4000)".
fn driver(device: &Device) -> String {
    let Some(driver) = device.driver.as_deref().map(plain) else { return String::new() };
    let bus = device.bus.as_deref().map(plain);
    let entry = device.quirks.as_deref().map(|entry| format!("entry {}", plain(entry)));
    let more: Vec<String> = bus.into_iter().chain(entry).collect();
    if more.is_empty() { driver } else { format!("{driver} ({})", more.join(", ")) }
}

/// "132 ms (opened after 98 ms)".
fn plugged(device: &Device) -> String {
    let whole = |ms: f64| format!("{ms:.0} ms");
    match (device.ready_after_ms, device.opened_after_ms) {
        (Some(ready), Some(opened)) => format!("{} (opened after {})", whole(ready), whole(opened)),
        (None, Some(opened)) => format!("opened after {}", whole(opened)),
        (_, None) => String::new(),
    }
}

fn certificate(device: &Device, now: UtcMillis) -> String {
    let Some(certificate) = &device.certificate else { return String::new() };
    format!(
        "{} ({}), until {}, SHA-256 {}",
        plain(&certificate.subject),
        device.life_left(now),
        plain(&certificate.not_after),
        plain(&certificate.sha256)
    )
}

fn management(device: &Device) -> String {
    let Some(management) = &device.management else { return String::new() };
    let last = management.last.as_ref().and_then(Value::as_object);
    let last = last.and_then(|last| Some((last.get("at")?.as_str()?, last.get("text")?.as_str()?)));
    [
        management.doing.as_deref().map(plain),
        management.renewal.as_deref().map(|at| format!("next certificate asked for on {}", plain(at))),
        management.offline_days_left.map(|days| format!("offline: works for {days} more days")),
        management.blocked.as_deref().map(plain),
        last.map(|(at, text)| format!("last: {} ({})", plain(text), plain(at))),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join("; ")
}
