//! `biosim ctl`: one request to a running biosim, its answer for people or as JSON.

use std::time::Duration;

use anyhow::{Context as _, bail};
use biotrust_model::BioSubType;
use comfy_table::{Table, presets};
use serde_json::Value;

use crate::args::{Ctl, CtlArgs, Presence};
use crate::control::Request;
use crate::jsonlines;

/// Longer than biosim waits for an effect.
const PATIENCE: Duration = Duration::from_secs(180);

/// Asks, and gives what to print.
pub(crate) fn run(args: CtlArgs) -> anyhow::Result<String> {
    let is_list = matches!(args.what, Ctl::List);
    let request = request(args.what)?;
    let answer = jsonlines::call(&args.control, &request, PATIENCE)?;
    if args.json {
        return serde_json::to_string_pretty(&answer).context("printing the answer");
    }
    Ok(if is_list { list(&answer) } else { line(&answer) })
}

fn request(what: Ctl) -> anyhow::Result<Request> {
    Ok(match what {
        Ctl::Subject { presence } => Request::Subject { present: presence == Presence::Present },
        Ctl::Quality { value } => Request::Quality { value },
        Ctl::Missing { parts } => Request::Missing { parts: missing(&parts)? },
        Ctl::Device { id, state } => Request::Device { id, state },
        Ctl::Unplug { id } => Request::Unplug { id },
        Ctl::Replug { id } => Request::Replug { id },
        Ctl::Yank { id } => Request::Yank { id },
        Ctl::HwFault { id, fault } => Request::HwFault { id, fault },
        Ctl::Finger { presence, device } => {
            Request::Finger { id: device, present: presence == Presence::Present }
        }
        Ctl::RotateKey { id } => Request::RotateKey { id },
        Ctl::Fault { id, fault } => Request::Fault { id, fault },
        Ctl::Reboot { id } => Request::Reboot { id },
        Ctl::PowerCycle { id } => Request::PowerCycle { id },
        Ctl::StopClock { id } => Request::StopClock { id },
        Ctl::List => Request::List,
    })
}

/// Comma-separated names, or `none`.
fn missing(text: &str) -> anyhow::Result<Vec<BioSubType>> {
    if text.trim() == "none" {
        return Ok(Vec::new());
    }
    let named = BioSubType::ALL.iter().filter(|part| **part != BioSubType::Unknown);
    let names: Vec<&str> = named.map(|part| part.as_str()).collect();
    text.split(',')
        .map(|name| match name.trim().parse() {
            Ok(BioSubType::Unknown) | Err(_) => {
                bail!("{:?} is no finger or eye; say none, or some of: {}", name.trim(), names.join(", "))
            }
            Ok(part) => Ok(part),
        })
        .collect()
}

/// `name value` pairs on one line.
fn line(answer: &Value) -> String {
    let members = answer.as_object().into_iter().flatten();
    let pairs: Vec<String> = members.map(|(name, value)| format!("{name} {}", plain(value))).collect();
    pairs.join(", ")
}

fn list(answer: &Value) -> String {
    let (what, columns): (_, &[&str]) = match answer.get("hardware") {
        Some(_) => ("hardware", &["name", "device", "serial", "bus", "place", "plugged", "fault"]),
        None => (
            "devices",
            &["id", "serial", "type", "sub_type", "level", "chip", "purpose", "plugged", "status"],
        ),
    };
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(columns.to_vec());
    for device in answer.get(what).and_then(Value::as_array).into_iter().flatten() {
        let value = |name: &&str| plain(device.get(*name).unwrap_or(&Value::Null));
        table.add_row(columns.iter().map(value).collect::<Vec<_>>());
    }
    let subject = answer.get("subject").map(line).unwrap_or_default();
    format!("subject: {subject}\n{table}")
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(" + "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parts_are_read_as_they_are_written_on_the_wire() {
        assert_eq!(
            missing("Left RingFinger, Right").unwrap(),
            [BioSubType::LeftRingFinger, BioSubType::Right]
        );
        assert_eq!(missing("none").unwrap(), []);
        let error = missing("left ringfinger").unwrap_err().to_string();
        assert!(error.contains("Left RingFinger"), "{error}");
        assert!(missing("UNKNOWN").is_err());
    }

    #[test]
    fn answers_are_readable() {
        assert_eq!(
            line(&json!({"missing": [], "present": true, "quality": 80})),
            "missing none, present yes, quality 80"
        );
        let shown =
            list(&json!({"subject": {"present": false}, "devices": [{"id": "BT1", "plugged": true}]}));
        assert!(shown.starts_with("subject: present no\n") && shown.contains("BT1"), "{shown}");
        let shown =
            list(&json!({"subject": {"present": true}, "hardware": [{"name": "left", "fault": "nak"}]}));
        assert!(shown.contains("left") && shown.contains("nak") && !shown.contains("sub_type"), "{shown}");
    }
}
