//! `biotrust driver check`: what a vendor runs against a driver. Asks no daemon.

use std::io::Write as _;

use biotrust_vendor_driver::conformance::{self, Outcome as Verdict};
use serde_json::json;

use crate::Outcome;
use crate::text::{count, plain};

/// Checks a vendor's driver against the protocol
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Check(Check),
}

/// Starts a driver as the service does and runs every check, with a service that is slow, rude and gone in the middle
///
/// Exit status: 0 no check failed, 1 a check failed, 2 no check could be made.
/// A device should be plugged in, with a finger (eye, face) present or not: both are tried as they come.
#[derive(clap::Args)]
struct Check {
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,

    /// The driver and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let Command::Check(args) = &args.command;
    let runtime = match tempfile::tempdir() {
        Ok(runtime) => runtime,
        Err(error) => return Outcome::unusable(args.json, &format!("no folder for a socket: {error}")),
    };
    let (mut findings, mut failed, mut skipped) = (Vec::new(), 0, 0);
    let told = |finding: &conformance::Finding| {
        let (word, why) = match &finding.outcome {
            Verdict::Passed => ("ok", ""),
            Verdict::Failed(why) => ("FAIL", why.as_str()),
            Verdict::Skipped(why) => ("skip", why.as_str()),
        };
        failed += usize::from(word == "FAIL");
        skipped += usize::from(word == "skip");
        if args.json {
            let text = (!why.is_empty()).then(|| plain(why));
            findings.push(json!({"check": finding.check, "verdict": word.to_lowercase(), "text": text}));
        } else {
            // At once: some checks take seconds.
            let colon = if why.is_empty() { "" } else { ": " };
            let _ = writeln!(std::io::stdout(), "{word:4}  {}{colon}{}", finding.check, plain(why));
        }
    };
    let said = |line: String| {
        let _ = writeln!(std::io::stderr(), "driver: {}", plain(&line));
    };
    conformance::run(&args.command, runtime.path(), told, said);
    let all = conformance::CHECKS.len();
    let exit_status = u8::from(failed > 0);
    if args.json {
        let report = json!({"findings": findings, "failed": failed, "skipped": skipped});
        return Outcome::new(format!("{report:#}\n"), exit_status);
    }
    let skips = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
    Outcome::new(
        format!("{} of {}: {failed} failed{skips}\n", all - failed - skipped, count(all, "check")),
        exit_status,
    )
}
