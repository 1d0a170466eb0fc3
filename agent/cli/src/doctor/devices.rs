//! Which devices need somebody, and why.

use super::Finding;
use crate::report::Report;
use crate::text::count;

const NAME: &str = "devices";

pub(super) fn check(report: &Report) -> Vec<Finding> {
    if report.devices.is_empty() {
        let known = report.left_alone.iter().filter(|left| left.known).map(|left| left.sentence());
        let left_alone: Vec<String> = known.collect();
        return vec![match left_alone.is_empty() {
            true => Finding::fail(
                NAME,
                "no device is connected",
                "Plug a device in and check its power; see `biotrust udev check`, and [buses] and [serial] in the \
                 configuration for where devices are looked for.",
            ),
            false => Finding::fail(
                NAME,
                format!("no device is connected; left alone: {}", left_alone.join("; ")),
                "Enable the entry of what is to be served: [quirks] enable in the configuration.",
            ),
        }];
    }
    let (ailing, well): (Vec<_>, Vec<_>) = report.devices.iter().partition(|device| device.needs_attention());
    let mut findings: Vec<Finding> = ailing
        .iter()
        .map(|device| {
            let next = match (device.next(), device.who()) {
                (next, _) if next.is_empty() => {
                    "See `biotrust status` and journalctl -u biotrustd.".to_owned()
                }
                (next, who) if who.is_empty() => next,
                (next, who) => format!("{next} ({who})"),
            };
            let text = match device.why() {
                why if why.is_empty() => format!("{}: {}", device.name(), device.state()),
                why => format!("{}: {}: {why}", device.name(), device.state()),
            };
            Finding::fail(NAME, text, next)
        })
        .collect();
    let hidden = well.iter().filter(|device| device.left_out.is_some()).map(|device| {
        Finding::warn(
            NAME,
            format!("{}: {}", device.name(), device.why()),
            "If clients should see it, change [sbi] purpose in the configuration.",
        )
    });
    findings.extend(hidden);
    let usable = well.iter().filter(|device| device.left_out.is_none()).count();
    if usable > 0 {
        findings.push(Finding::ok(NAME, format!("{} ready for clients", count(usable, "device"))));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use serde_json::json;

    #[test]
    fn each_device_is_accounted_for() {
        let report = Report::read(&json!({ "devices": [
            { "serial": "A", "status": "Ready" },
            { "serial": "B", "status": "Ready", "left_out": "purpose" },
            { "serial": "C", "status": "Not Ready", "problem": { "text": "gone", "who": "technician", "next": "Plug." } },
        ]}))
        .unwrap();
        let findings = check(&report);
        let of = |verdict| findings.iter().find(|f| f.verdict == verdict).unwrap();
        assert_eq!(of(Verdict::Ok).text, "1 device ready for clients");
        assert!(of(Verdict::Warn).text.contains("purpose"));
        assert_eq!(of(Verdict::Fail).text, "C: Not Ready: gone");
        assert_eq!(of(Verdict::Fail).next.as_deref(), Some("Plug. (technician)"));
    }

    #[test]
    fn clones_are_a_failure_of_both() {
        let report = Report::read(&json!({ "devices": [
            { "serial": "A", "status": "Ready", "clone": "the device at usb:1-2 has the same number" },
            { "serial": "A", "status": "Ready", "clone": "the device at usb:1-1 has the same number",
              "left_out": "the device at usb:1-1 has the same number" },
        ]}))
        .unwrap();
        let findings = check(&report);
        assert_eq!(findings.iter().filter(|f| f.verdict == Verdict::Fail).count(), 2, "{findings:?}");
    }

    #[test]
    fn what_is_left_alone_explains_that_there_is_no_device() {
        let left = |known: bool| {
            let left = json!({ "place": "video:1-2", "name": "Cam", "known": known, "why": "off" });
            let report = Report::read(&json!({ "devices": [], "left_alone": [left] })).unwrap();
            check(&report).into_iter().next().unwrap().text
        };
        assert!(left(true).contains("Cam at video:1-2: off"));
        assert_eq!(left(false), "no device is connected", "a mouse is no explanation");
    }

    #[test]
    fn no_device_is_a_failure() {
        assert_eq!(check(&Report::default()).first().unwrap().verdict, Verdict::Fail);
    }
}
