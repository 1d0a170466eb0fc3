//! The daemon's status, as far as people are shown it. Unknown members are left alone, absent ones are empty.

use std::path::PathBuf;

use biotrust_model::DeviceStatus;
use serde::Deserialize;
use serde_json::Value;

use crate::text::plain;

/// The daemon and its devices.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Report {
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) sbi: Option<Sbi>,
    pub(crate) state_dir: PathBuf,
    pub(crate) devices: Vec<Device>,
    pub(crate) notices: Vec<Value>,
}

/// Where clients find the service.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Sbi {
    pub(crate) url: String,
    pub(crate) port: u16,
}

/// One device.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Device {
    pub(crate) serial: String,
    /// `deviceId` on the wire.
    pub(crate) id: Option<String>,
    pub(crate) make: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) r#type: Option<String>,
    pub(crate) sub_type: Option<String>,
    pub(crate) level: Option<String>,
    pub(crate) purpose: Option<String>,
    pub(crate) link: Option<String>,
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    pub(crate) problem: Option<ProblemReport>,
    pub(crate) in_discovery: bool,
    /// Why clients do not see it.
    pub(crate) left_out: Option<String>,
    pub(crate) certificate: Option<Certificate>,
    pub(crate) checks: Vec<Check>,
    pub(crate) streams: u32,
    pub(crate) capturing: bool,
}

/// What is wrong with a device.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ProblemReport {
    pub(crate) code: Value,
    pub(crate) text: String,
    pub(crate) who: String,
    pub(crate) next: String,
}

/// The certificate that a device signs with.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Certificate {
    /// `yyyy-MM-ddTHH:mm:ssZ`.
    pub(crate) not_after: String,
}

/// One check of an appraisal.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) ok: bool,
    pub(crate) text: String,
}

impl Report {
    /// Reads a status; the error names the member that does not fit.
    pub(crate) fn read(status: &Value) -> Result<Self, String> {
        if !status.get("devices").is_some_and(Value::is_array) {
            return Err("the status has no list of devices".to_owned());
        }
        let mut status = status.clone();
        drop_nulls(&mut status);
        serde_json::from_value(status).map_err(|e| format!("the status cannot be read: {e}"))
    }

    /// Notices of the daemon, as text.
    pub(crate) fn notices(&self) -> impl Iterator<Item = String> {
        self.notices.iter().map(|notice| {
            let text = notice.as_str().or_else(|| notice.get("text").and_then(Value::as_str));
            text.map_or_else(|| plain(&notice.to_string()), plain)
        })
    }
}

/// Takes members that are null out of all objects: here null and absent mean the same.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(elements) => elements.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

impl Device {
    /// Whether somebody has to do something. A busy device is at work.
    pub(crate) fn needs_attention(&self) -> bool {
        let at_work = [DeviceStatus::Ready, DeviceStatus::Busy].iter().any(|s| s.as_str() == self.status);
        !at_work || self.problem.is_some()
    }

    /// Everything that is known about why it is as it is, the daemon's own sentence first.
    pub(crate) fn why(&self) -> String {
        let problem = self.problem.as_ref().map(|p| match &p.code {
            Value::Null => p.text.clone(),
            Value::String(code) => format!("{} (error {code})", p.text),
            code => format!("{} (error {code})", p.text),
        });
        let failed = self.checks.iter().filter(|check| !check.ok).map(|c| format!("{}: {}", c.name, c.text));
        let left_out = self.left_out.as_ref().map(|why| format!("not shown to clients: {why}"));
        let mut sentences: Vec<String> = Vec::new();
        for sentence in problem.into_iter().chain(self.reason.clone()).chain(failed).chain(left_out) {
            let sentence = plain(&sentence);
            // The reason is often the problem's subject: say it once.
            if !sentence.is_empty() && !sentences.iter().any(|said| said.contains(&sentence)) {
                sentences.push(sentence);
            }
        }
        sentences.join("; ")
    }

    /// Who can mend it, in words.
    pub(crate) fn who(&self) -> String {
        self.problem.as_ref().map(|p| plain(&p.who).replace('_', " ")).unwrap_or_default()
    }

    /// What to do next.
    pub(crate) fn next(&self) -> String {
        self.problem.as_ref().map(|p| plain(&p.next)).unwrap_or_default()
    }

    /// "ACME Slap-4 (SN0000000001)".
    pub(crate) fn name(&self) -> String {
        let words = [&self.make, &self.model].into_iter().flatten().map(|word| plain(word));
        let name = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        let serial = plain(&self.serial);
        match (name.is_empty(), serial.is_empty()) {
            (false, false) => format!("{name} ({serial})"),
            (false, true) => name,
            (true, false) => serial,
            (true, true) => self.link.as_deref().map_or_else(|| "unknown device".to_owned(), plain),
        }
    }

    /// "Finger Slap, Registration, L0".
    pub(crate) fn kind(&self) -> String {
        let kind = [&self.r#type, &self.sub_type]
            .into_iter()
            .flatten()
            .map(|w| plain(w))
            .collect::<Vec<_>>()
            .join(" ");
        let rest = [&self.purpose, &self.level].into_iter().flatten().map(|w| plain(w));
        std::iter::once(kind).chain(rest).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", ")
    }

    /// "Ready", "Busy (capture)", "Ready (2 previews)".
    pub(crate) fn state(&self) -> String {
        let status = plain(&self.status);
        match (self.capturing, self.streams) {
            (true, _) => format!("{status} (capture)"),
            (false, 0) => status,
            (false, streams) => format!("{status} ({})", crate::text::count(streams as usize, "preview")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn device(members: Value) -> Device {
        Device::deserialize(&members).unwrap()
    }

    #[test]
    fn ready_and_busy_need_nobody() {
        for (status, attention) in [
            ("Ready", false),
            ("Busy", false),
            ("Not Ready", true),
            ("Not Registered", true),
            ("ready", true),
        ] {
            assert_eq!(device(json!({ "status": status })).needs_attention(), attention, "{status}");
        }
        assert!(device(json!({ "status": "Ready", "problem": { "code": 107 } })).needs_attention());
    }

    #[test]
    fn reasons_are_gathered_and_said_once() {
        let d = device(json!({
            "status": "Not Ready", "reason": "chain", "left_out": null,
            "problem": { "code": 508, "text": "The device is not trusted: chain", "who": "device_provider", "next": "n" },
            "checks": [{ "name": "anchor", "ok": true, "text": "x" }, { "name": "dates", "ok": false, "text": "over" }],
        }));
        assert_eq!(d.why(), "The device is not trusted: chain (error 508); dates: over");
        assert_eq!((d.who().as_str(), d.next().as_str()), ("device provider", "n"));
    }

    #[test]
    fn what_is_not_known_leaves_no_hole() {
        let line = json!({ "serial": null, "status": "Not Ready", "link": "/dev/ttyUSB0", "problem": null, "reason": null });
        let report = Report::read(&json!({ "sbi": null, "devices": [line] })).unwrap();
        let d = report.devices.first().unwrap();
        assert_eq!((d.name().as_str(), d.kind().as_str(), d.why().as_str()), ("/dev/ttyUSB0", "", ""));
    }

    #[test]
    fn a_status_without_devices_is_none() {
        assert!(Report::read(&json!({ "version": "1" })).is_err());
        assert!(Report::read(&json!({ "devices": [{ "serial": 5 }] })).unwrap_err().contains("string"));
        let report =
            Report::read(&json!({ "devices": [], "notices": ["a\u{7}", { "text": "b" }, { "x": 1 }] }))
                .unwrap();
        assert_eq!(report.notices().collect::<Vec<_>>(), ["a\u{fffd}", "b", "{\"x\":1}"]);
    }
}
