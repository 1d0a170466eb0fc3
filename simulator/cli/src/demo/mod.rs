//! `biosim demo`: the whole main job on virtual devices, every answer verified.

mod daemon;
mod http;
mod preview;
mod report;
mod script;
mod stage;
mod workspace;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use biotrust_attest::Challenge;
use biotrust_driver_api::Cancel;
use serde_json::json;

use self::report::Report;
use self::stage::Stage;
use crate::args::DemoArgs;
use crate::interrupt;
use crate::say::{self, Progress};

/// How often the daemon is looked at while nothing else happens.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Exit status after Ctrl-C in the middle of the script, as shells have it.
const INTERRUPTED: u8 = 130;

/// Runs the demo to its end.
pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let interrupt = interrupt::install()?;
    let progress = Progress::new(args.json || args.serve_only);
    let outcome = perform(args, &interrupt, &progress);
    progress.end();
    if interrupt.is_cancelled() && outcome.is_err() {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    outcome
}

fn perform(args: &DemoArgs, interrupt: &Cancel, progress: &Progress) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let stage = Stage::set(args, interrupt, progress)?;
    if args.serve_only {
        let ready = stage.ready();
        if args.json {
            say::result(serde_json::to_string(&ready).context("printing")?);
        } else {
            say::result(format_args!(
                "{} devices at {} (BIOSIM_CONTROL={}); Ctrl-C ends it",
                stage.devices.len(),
                stage.daemon.ready.sbi,
                stage.control().display()
            ));
        }
        serve(&stage, interrupt)?;
        return Ok(ExitCode::SUCCESS);
    }

    let report = script::play(&stage, interrupt, progress)?;
    progress.end();
    show(args, &stage, &report, began.elapsed())?;
    let good = report.failures().next().is_none();
    if !args.once {
        serve(&stage, interrupt)?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints what was done, what went wrong, and what can be tried next.
fn show(args: &DemoArgs, stage: &Stage, report: &Report, took: Duration) -> anyhow::Result<()> {
    if args.json {
        let document = json!({
            "steps": report.steps,
            "failed": report.failures().count(),
            "milliseconds": took.as_millis(),
            "stage": stage.ready(),
        });
        say::result(serde_json::to_string_pretty(&document).context("printing the report")?);
        return Ok(());
    }
    say::result(report.table());
    say::result(report.summary(took));
    if report.failures().next().is_some() {
        let keep =
            if args.keep.is_some() { "" } else { " (gone when the demo ends; keep it with --keep DIR)" };
        say::complaint(format_args!(
            "{}\nLook at the daemon's log {}{keep}",
            report.faults(),
            stage.daemon.log().display()
        ));
    }
    if let Some(folder) = &args.keep
        && let Some(command) = verify_command(stage)
    {
        say::result(format_args!(
            "\nThe evidence of each device is in {}. Try:\n  {command}",
            folder.display()
        ));
    }
    if !args.once {
        let sbi = &stage.daemon.ready.sbi;
        let control = stage.control();
        say::result(format_args!(
            "\nServing on {sbi} until Ctrl-C. Try:\n  \
             curl -X MOSIPDINFO {sbi}info\n  \
             curl -X MOSIPDISC -d '{{\"type\":\"Biometric Device\"}}' {sbi}device\n  \
             biosim ctl --control {control} list\n  \
             biosim ctl --control {control} subject absent",
            control = control.display()
        ));
        if let Some(server) = &stage.management {
            say::result(format_args!("  biosim mgmt --config {} devices", server.config().display()));
        }
    }
    Ok(())
}

/// How somebody else verifies the evidence of a device with a chip, also when its challenge has expired.
fn verify_command(stage: &Stage) -> Option<String> {
    let example = stage.devices.iter().find(|device| device.chip.is_some())?;
    let [evidence, challenge] = stage.evidence_files(&example.serial);
    let asked = Challenge::from_json(&std::fs::read_to_string(&challenge).ok()?).ok()?;
    let files = stage.files();
    Some(format!(
        "biotrust attest verify {} \\\n    --challenge {} --at {} \\\n    --anchors {} \\\n    --metadata {} \
         --metadata-anchors {}",
        evidence.display(),
        challenge.display(),
        asked.issued_at.to_wire(),
        files.ftm_anchors.display(),
        files.model_metadata.display(),
        files.adopter_anchor.display(),
    ))
}

/// Serves until Ctrl-C.
///
/// # Errors
/// When the daemon ends before that.
fn serve(stage: &Stage, interrupt: &Cancel) -> anyhow::Result<()> {
    while !interrupt.wait(LOOK_EVERY) {
        stage.check()?;
    }
    Ok(())
}
