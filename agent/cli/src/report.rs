//! The daemon's status, as far as people are shown it. Unknown members are left alone, absent ones are empty.

use std::path::{Path, PathBuf};

use biotrust_model::DeviceStatus;
use biotrust_model::time::{Clock as _, SystemClock, UtcMillis};
use serde::Deserialize;
use serde_json::Value;

use crate::control::{self, ControlError};
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
    /// What is plugged in and was not opened.
    pub(crate) left_alone: Vec<LeftAlone>,
    pub(crate) notices: Vec<Value>,
    pub(crate) time: Option<Time>,
    /// Where devices are managed from.
    pub(crate) management_server: Option<String>,
}

/// Something that is plugged in and was not opened.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LeftAlone {
    pub(crate) place: String,
    /// Maker and product, as it says.
    pub(crate) name: Option<String>,
    /// `05ba:000a`
    pub(crate) usb: Option<String>,
    /// A quirk file knows it.
    pub(crate) known: bool,
    pub(crate) why: String,
}

/// What the daemon takes for the time.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Time {
    /// `yyyy-MM-ddTHH:mm:ssZ`.
    pub(crate) now: String,
    /// The management server told it.
    pub(crate) trusted: bool,
    pub(crate) why_not: Option<String>,
    pub(crate) age_s: Option<u64>,
    /// How far the host's own clock is ahead.
    pub(crate) skew_ms: Option<i64>,
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
    /// As it is served.
    pub(crate) level: Option<String>,
    /// Where its keys are, by its own account.
    pub(crate) keys_at: Option<String>,
    pub(crate) why_not_l1: Option<String>,
    /// Seconds since it proved what it is.
    pub(crate) attested_s: Option<u64>,
    pub(crate) firmware: Option<String>,
    pub(crate) management: Option<Management>,
    pub(crate) update: Option<Update>,
    pub(crate) purpose: Option<String>,
    pub(crate) link: Option<String>,
    /// Where it is plugged in: the same at the next plug.
    pub(crate) place: Option<String>,
    pub(crate) bus: Option<String>,
    pub(crate) driver: Option<String>,
    /// The entry of the quirk files.
    pub(crate) quirks: Option<String>,
    /// Milliseconds from the plug until its driver had opened it, and until it was ready.
    pub(crate) opened_after_ms: Option<f64>,
    pub(crate) ready_after_ms: Option<f64>,
    /// Another device claims to be this one.
    pub(crate) clone: Option<String>,
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
    pub(crate) subject: String,
    /// `yyyy-MM-ddTHH:mm:ssZ`.
    pub(crate) not_after: String,
    pub(crate) sha256: String,
}

/// How a device stands with its management server.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Management {
    pub(crate) doing: Option<String>,
    /// `yyyy-MM-ddTHH:mm:ssZ`.
    pub(crate) renewal: Option<String>,
    pub(crate) offline_days_left: Option<u32>,
    pub(crate) blocked: Option<String>,
    pub(crate) last: Option<Value>,
}

/// How far an update of the firmware is, in bytes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Update {
    pub(crate) received: u64,
    pub(crate) size: u64,
}

/// One check of an appraisal.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) ok: bool,
    pub(crate) text: String,
}

/// Asks the daemon for its status, and reads it.
pub(crate) fn ask(socket: &Path) -> Result<(Value, Report), ControlError> {
    let (status, _) = control::status(socket)?;
    match Report::read(&status) {
        Ok(report) => Ok((status, report)),
        Err(what) => Err(ControlError::NotOurs(socket.to_owned(), what)),
    }
}

/// "12 s", "5 min", "3 h", "2 days".
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

impl Report {
    /// What the daemon takes for the time, for comparing it with its certificates; else this host's.
    pub(crate) fn now(&self) -> UtcMillis {
        let told = self.time.as_ref().and_then(|time| UtcMillis::from_wire(&time.now));
        told.unwrap_or_else(|| SystemClock.now())
    }

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

impl LeftAlone {
    /// "UVC Camera (046d:0825) at video:1-2:1.0: why".
    pub(crate) fn sentence(&self) -> String {
        let name = self.name.as_deref().map(plain).filter(|name| !name.is_empty());
        let usb = self.usb.as_deref().map(plain);
        let what = match (name, usb) {
            (Some(name), Some(usb)) => format!("{name} ({usb})"),
            (Some(text), None) | (None, Some(text)) => text,
            (None, None) => "a device".to_owned(),
        };
        format!("{what} at {}: {}", plain(&self.place), plain(&self.why))
    }
}

impl Device {
    /// Whether somebody has to do something. A busy device is at work.
    pub(crate) fn needs_attention(&self) -> bool {
        let at_work = [DeviceStatus::Ready, DeviceStatus::Busy].iter().any(|s| s.as_str() == self.status);
        !at_work || self.problem.is_some() || self.clone.is_some()
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
        let told = problem.into_iter().chain(self.reason.clone()).chain(self.clone.clone());
        for sentence in told.chain(failed).chain(left_out) {
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

    /// "26 days left", "over", or nothing where there is no certificate.
    pub(crate) fn life_left(&self, now: UtcMillis) -> String {
        let end = self.certificate.as_ref().and_then(|held| UtcMillis::from_wire(&held.not_after));
        match end.map(|end| u64::try_from(end.since(now) / 1000)) {
            None => String::new(),
            Some(Ok(left)) => format!("{} left", span(left)),
            Some(Err(_)) => "over".to_owned(),
        }
    }

    /// "L1", "L0: no model metadata says that it is L1".
    pub(crate) fn level_in_words(&self) -> String {
        let level = self.level.as_deref().map(plain).unwrap_or_default();
        match &self.why_not_l1 {
            Some(why) => format!("{level}: {}", plain(why)),
            None => level,
        }
    }

    /// What is known of its keys: the level that it was granted and why, since when, and how long they last.
    pub(crate) fn keys(&self, now: UtcMillis) -> String {
        let management = self.management.as_ref();
        let claims = self.keys_at.as_deref() != self.level.as_deref();
        let left = Some(self.life_left(now)).filter(|left| !left.is_empty());
        [
            self.why_not_l1.as_ref().filter(|_| claims).map(|_| self.level_in_words()),
            self.attested_s.map(|age| format!("attested {} ago", span(age))),
            left.map(|left| format!("certificate {left}")),
            management
                .and_then(|m| m.renewal.as_deref())
                .map(|at| format!("renewal {}", plain(at.split('T').next().unwrap_or(at)))),
            management.and_then(|m| m.offline_days_left).map(|days| format!("OFFLINE, {days} days left")),
            management.and_then(|m| m.doing.as_deref()).map(plain),
            self.update.as_ref().map(|update| {
                format!(
                    "update {} %",
                    update.received.saturating_mul(100).checked_div(update.size).unwrap_or(0)
                )
            }),
        ]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("\n")
    }

    /// "ACME Slap-4".
    pub(crate) fn label(&self) -> String {
        let words = [&self.make, &self.model].into_iter().flatten().map(|word| plain(word));
        words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }

    /// "ACME Slap-4 (SN0000000001)".
    pub(crate) fn name(&self) -> String {
        let name = self.label();
        let serial = plain(&self.serial);
        match (name.is_empty(), serial.is_empty()) {
            (false, false) => format!("{name} ({serial})"),
            (false, true) => name,
            (true, false) => serial,
            (true, true) => self.link.as_deref().map_or_else(|| "unknown device".to_owned(), plain),
        }
    }

    /// "uru4000 at usb:1-1.2".
    pub(crate) fn plugged(&self) -> String {
        let place = self.place.as_deref().or(self.link.as_deref()).map(plain).unwrap_or_default();
        match self.driver.as_deref().map(plain) {
            Some(driver) if !place.is_empty() => format!("{driver} at {place}"),
            _ => place,
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
        let cloned =
            device(json!({ "status": "Ready", "clone": "the device at usb:1-2 has the same number" }));
        assert!(cloned.needs_attention() && cloned.why().contains("usb:1-2"));
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
    fn a_device_says_where_it_is_and_who_drives_it() {
        let at = |members| device(members).plugged();
        assert_eq!(at(json!({ "place": "usb:1-1.2", "driver": "uru4000" })), "uru4000 at usb:1-1.2");
        assert_eq!(at(json!({ "link": "slap.tty" })), "slap.tty");
        assert_eq!(at(json!({})), "");
        let left = |members: Value| LeftAlone::deserialize(&members).unwrap().sentence();
        assert_eq!(
            left(json!({ "place": "video:1-2:1.0", "name": "Cam", "usb": "046d:0825", "why": "w" })),
            "Cam (046d:0825) at video:1-2:1.0: w"
        );
        assert_eq!(left(json!({ "place": "p", "name": "", "why": "w" })), "a device at p: w");
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
