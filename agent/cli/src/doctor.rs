//! `biotrust doctor`: proves or excludes, one by one, what keeps devices from clients.
//!
//! A file per check. No check changes anything, each has a deadline, and one that cannot be made says so.

mod clock;
mod configuration;
mod devices;
mod disk;
mod port;
mod state;
mod udev;

use std::path::{Path, PathBuf};

use biotrust_model::time::Clock;
use serde::Serialize;

use crate::control::{self, Peer};
use crate::report::Report;
use crate::text::{count, plain};
use crate::{Outcome, control::ControlError};

/// Checks this host: configuration, daemon, port, clock, certificates, devices, udev rules, disk and permissions
///
/// Exit status: 0 no check failed (there may be warnings), 1 a check failed.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print the checks as JSON
    #[arg(long)]
    json: bool,

    /// Configuration of the daemon
    #[arg(long, value_name = "FILE", default_value = configuration::DEFAULT_FILE)]
    config: PathBuf,

    /// The daemon's program, which is asked what it thinks of the configuration [default: biotrustd beside this
    /// program, else the one in PATH]
    #[arg(long, value_name = "PATH")]
    biotrustd: Option<PathBuf>,
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
    /// It could not be made.
    Skip,
}

/// What a check found.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    text: String,
    /// What to do; nothing where all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, text: text.into(), next: None }
    }

    fn warn(check: &'static str, text: impl Into<String>, next: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warn, text: text.into(), next: Some(next.into()) }
    }

    fn fail(check: &'static str, text: impl Into<String>, next: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Fail, text: text.into(), next: Some(next.into()) }
    }

    fn skip(check: &'static str, why: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Skip, text: why.into(), next: None }
    }
}

pub(crate) use configuration::DEFAULT_FILE as DEFAULT_CONFIGURATION;

/// Where the packaged daemon keeps its state.
const DEFAULT_STATE: &str = "/var/lib/biotrust";

/// Makes all checks, the cheapest explanation first.
pub(crate) fn run(args: &Args, socket: &Path, clock: &dyn Clock) -> Outcome {
    let mut findings = vec![configuration::check(&args.config, args.biotrustd.as_deref())];

    let daemon = ask(socket, &mut findings);
    match &daemon {
        Some((report, _)) => findings.push(port::check(report)),
        None => findings.push(Finding::skip("port", "the daemon did not tell which port it has")),
    }
    findings.push(clock::check(clock.now()));
    match &daemon {
        Some((report, _)) => {
            findings.extend(clock::trusted(report));
            findings.extend(clock::certificates(report, clock.now()));
            findings.extend(devices::check(report));
        }
        None => findings.push(Finding::skip("devices", "the daemon did not tell which devices there are")),
    }
    findings.push(udev::check(&args.config, Path::new("/")));
    let state = daemon.as_ref().map_or(Path::new(DEFAULT_STATE), |(report, _)| &report.state_dir);
    findings.push(disk::check(state));
    findings.push(state::check(state, daemon.as_ref().map(|(_, peer)| *peer)));

    let failed = findings.iter().any(|finding| finding.verdict == Verdict::Fail);
    let output = if args.json { json(&findings, !failed) } else { show(&findings) };
    Outcome::new(output, u8::from(failed))
}

/// The daemon's report, with what asking for it proved.
fn ask(socket: &Path, findings: &mut Vec<Finding>) -> Option<(Report, Peer)> {
    let answer = control::status(socket).and_then(|(status, peer)| {
        Report::read(&status)
            .map(|report| (report, peer))
            .map_err(|what| ControlError::NotOurs(socket.to_owned(), what))
    });
    match answer {
        Ok((report, peer)) => {
            let ours = env!("CARGO_PKG_VERSION");
            findings.push(if report.version == ours {
                Finding::ok(
                    "daemon",
                    format!("biotrustd {ours} (pid {}) answers on {}", peer.pid, socket.display()),
                )
            } else {
                Finding::warn(
                    "daemon",
                    format!("biotrustd {} answers, this program is {ours}", plain(&report.version)),
                    "Restart the service after an update (systemctl restart biotrustd).",
                )
            });
            findings.extend(report.notices().map(|notice| {
                Finding::warn("notice", notice, "See journalctl -u biotrustd for the time and the cause.")
            }));
            Some((report, peer))
        }
        Err(error) => {
            findings.push(Finding::fail("daemon", error.to_string(), error.next()));
            None
        }
    }
}

fn json(findings: &[Finding], ok: bool) -> String {
    format!("{:#}\n", serde_json::json!({ "ok": ok, "checks": findings }))
}

fn show(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let verdict = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
            Verdict::Skip => "-",
        };
        text.push_str(&format!("{verdict:<5} {:<13} {}\n", finding.check, finding.text));
        if let Some(next) = &finding.next {
            text.push_str(&format!("{:<19} Next: {next}\n", ""));
        }
    }
    let number = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    text.push_str(&format!(
        "{}: {} ok, {}, {} failed, {} not possible\n",
        count(findings.len(), "check"),
        number(Verdict::Ok),
        count(number(Verdict::Warn), "warning"),
        number(Verdict::Fail),
        number(Verdict::Skip),
    ));
    text
}
