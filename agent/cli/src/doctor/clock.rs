//! Is the clock right, and are the certificates in date? A wrong clock makes every signature invalid for clients.

use std::time::UNIX_EPOCH;

use biotrust_model::time::UtcMillis;

use super::Finding;
use crate::report::{Report, span};
use crate::text::{count, plain};

const DAY: i64 = 24 * 60 * 60 * 1000;

/// How long before its end a certificate is worth a word, in days.
const SOON: i64 = 30;

const SET_CLOCK: &str =
    "Set the clock (timedatectl set-ntp true, or timedatectl set-time), then restart the service.";

/// No clock can rightly be before the day that this program was put on the host.
pub(super) fn check(now: UtcMillis) -> Finding {
    let installed = std::env::current_exe()
        .and_then(std::fs::metadata)
        .and_then(|file| file.modified())
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .and_then(|age| i64::try_from(age.as_millis()).ok());
    judge(now, installed.map(UtcMillis))
}

fn judge(now: UtcMillis, installed: Option<UtcMillis>) -> Finding {
    const NAME: &str = "clock";
    match installed {
        // A day for files that were made in another time zone.
        Some(installed) if now.since(installed) < -DAY => Finding::fail(
            NAME,
            format!("the clock says {}, but this program is from {}", now.to_wire(), installed.to_wire()),
            SET_CLOCK,
        ),
        Some(_) => Finding::ok(NAME, format!("it is {}", now.to_wire())),
        None => Finding::skip(NAME, "this program's own date cannot be read"),
    }
}

/// The skew from which on somebody should look, and the one from which on clients refuse what devices sign.
const SKEW_WARN_MS: u64 = 30_000;
const SKEW_FAIL_MS: u64 = 300_000;

/// How the host's clock compares with the management server's time, where there is a server.
pub(super) fn trusted(report: &Report) -> Option<Finding> {
    const NAME: &str = "trusted time";
    const NEXT: &str =
        "Connect this host to the management server; see `biotrust status` for why it is not reached.";
    report.management_server.as_ref()?;
    let time = report.time.as_ref()?;
    let Some(skew) = time.skew_ms.filter(|_| time.trusted) else {
        let why = time.why_not.as_deref().map_or_else(|| "the server has not told it".into(), plain);
        return Some(Finding::warn(NAME, why, NEXT));
    };
    let side = if skew < 0 { "behind" } else { "ahead of" };
    let text = format!(
        "this host's clock is {}.{:03} s {side} the management server's time, which was told {} ago",
        skew.unsigned_abs() / 1000,
        skew.unsigned_abs() % 1000,
        span(time.age_s.unwrap_or_default())
    );
    Some(match skew.unsigned_abs() {
        SKEW_FAIL_MS.. => Finding::fail(NAME, format!("{text}: clients refuse what is signed"), SET_CLOCK),
        SKEW_WARN_MS.. => Finding::warn(NAME, text, SET_CLOCK),
        _ => Finding::ok(NAME, text),
    })
}

/// Certificates that are over, or soon will be.
pub(super) fn certificates(report: &Report, now: UtcMillis) -> Vec<Finding> {
    const NAME: &str = "certificates";
    let mut findings = Vec::new();
    let mut good = 0;
    for device in &report.devices {
        let Some(certificate) = &device.certificate else { continue };
        let name = device.name();
        match UtcMillis::from_wire(&certificate.not_after) {
            None => findings.push(Finding::warn(
                NAME,
                format!("{name}: {:?} is no date", plain(&certificate.not_after)),
                "Check that biotrustd and this program have the same version.",
            )),
            Some(end) if end < now => findings.push(Finding::fail(
                NAME,
                format!("{name}: ended {}, and it is {}", end.to_wire(), now.to_wire()),
                "If the clock is right, have the device's provider renew the certificate; else set the clock.",
            )),
            Some(end) if end.since(now) < SOON * DAY => findings.push(Finding::warn(
                NAME,
                format!("{name}: ends in {}, on {}", count((end.since(now) / DAY) as usize, "day"), end.to_wire()),
                "Have the device's provider renew the certificate before that day.",
            )),
            Some(_) => good += 1,
        }
    }
    if good > 0 {
        findings.push(Finding::ok(NAME, format!("{} in date for {SOON} days or more", good)));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use crate::report::{Certificate, Device};

    const NOW: UtcMillis = UtcMillis(1_790_000_000_000);

    #[test]
    fn a_clock_before_the_installation_is_wrong() {
        let day_earlier = UtcMillis(NOW.0 - DAY);
        assert_eq!(judge(NOW, Some(day_earlier)).verdict, Verdict::Ok);
        assert_eq!(judge(UtcMillis(0), Some(NOW)).verdict, Verdict::Fail);
        assert_eq!(judge(day_earlier, Some(NOW)).verdict, Verdict::Ok, "a day of grace");
        assert_eq!(judge(NOW, None).verdict, Verdict::Skip);
    }

    #[test]
    fn a_skew_is_told_before_it_hurts() {
        let verdict = |skew_ms| {
            let time = crate::report::Time { trusted: true, skew_ms, age_s: Some(60), ..Default::default() };
            let report = Report {
                time: Some(time),
                management_server: Some("https://mgmt.example/".into()),
                ..Report::default()
            };
            trusted(&report).map(|finding| finding.verdict)
        };
        assert_eq!(verdict(Some(-29_999)), Some(Verdict::Ok));
        assert_eq!(verdict(Some(-30_000)), Some(Verdict::Warn));
        assert_eq!(verdict(Some(300_000)), Some(Verdict::Fail));
        assert_eq!(verdict(None), Some(Verdict::Warn), "no time at all");
        assert!(trusted(&Report::default()).is_none(), "nobody manages this host");
    }

    #[test]
    fn certificates_are_judged_by_their_end() {
        let device = |not_after: String| Device {
            certificate: Some(Certificate { not_after, ..Certificate::default() }),
            ..Device::default()
        };
        let day = |n: i64| UtcMillis(NOW.0 + n * DAY).to_wire();
        let verdicts = |devices| {
            let report = Report { devices, ..Report::default() };
            certificates(&report, NOW).iter().map(|finding| finding.verdict).collect::<Vec<_>>()
        };
        assert_eq!(verdicts(vec![device(day(31))]), [Verdict::Ok]);
        assert_eq!(verdicts(vec![device(day(29))]), [Verdict::Warn]);
        assert_eq!(verdicts(vec![device(day(-1)), device(day(400))]), [Verdict::Fail, Verdict::Ok]);
        assert_eq!(verdicts(vec![device("tomorrow".into())]), [Verdict::Warn]);
        assert_eq!(verdicts(vec![Device::default()]), []);
    }
}
