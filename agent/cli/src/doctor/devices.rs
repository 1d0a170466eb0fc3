//! Which devices need somebody, and why.

use super::Finding;
use crate::report::Report;
use crate::text::count;

const NAME: &str = "devices";

pub(super) fn check(report: &Report) -> Vec<Finding> {
    if report.devices.is_empty() {
        return vec![Finding::fail(
            NAME,
            "no device is connected",
            "Plug a device in and check its power; [serial] in the configuration names the lines that are looked at.",
        )];
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
    fn no_device_is_a_failure() {
        assert_eq!(check(&Report::default()).first().unwrap().verdict, Verdict::Fail);
    }
}
