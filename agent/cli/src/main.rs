//! `biotrust`: what a technician asks of a host.
//!
//! It asks the daemon over its control socket and looks at the host itself; it never talks to devices. Every question has a
//! deadline. `cert`, `attest` and `udev` need no daemon: they look at files.

mod attest;
mod cert;
mod control;
mod device;
mod doctor;
mod driver;
mod ftm;
mod record;
mod report;
mod status;
mod text;
mod udev;
mod within;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tells how the biometric devices of this host are, and what to do about the ones that are not well.
#[derive(Parser)]
#[command(name = "biotrust", version, max_term_width = 100)]
struct Cli {
    /// Control socket of the daemon
    #[arg(long, global = true, value_name = "PATH", env = "BIOTRUST_CONTROL", default_value = control::DEFAULT_SOCKET)]
    control: PathBuf,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Status(status::Args),
    Doctor(doctor::Args),
    Device(device::Args),
    Record(record::Args),
    Ftm(ftm::Args),
    Attest(attest::Args),
    Cert(cert::Args),
    Udev(udev::Args),
    Driver(driver::Args),
}

/// What a command has to say, and how it ends.
struct Outcome {
    /// For standard output.
    output: String,
    /// For standard error.
    complaint: String,
    exit_status: u8,
}

impl Outcome {
    fn new(output: String, exit_status: u8) -> Self {
        Self { output, complaint: String::new(), exit_status }
    }

    /// It was not done.
    fn failed(json: bool, error: &control::ControlError) -> Self {
        let exit_status = if matches!(error, control::ControlError::Refused { .. }) { 1 } else { 2 };
        if json {
            let error = serde_json::json!({
                "code": error.code(), "message": error.to_string(), "next": error.next()
            });
            return Self::new(format!("{:#}\n", serde_json::json!({ "error": error })), exit_status);
        }
        Self { output: String::new(), complaint: format!("{error}\nNext: {}\n", error.next()), exit_status }
    }

    /// It was not even asked for, because of a file.
    fn unusable(json: bool, message: &str) -> Self {
        if json {
            let error = serde_json::json!({ "code": "file", "message": message });
            return Self::new(format!("{:#}\n", serde_json::json!({ "error": error })), 2);
        }
        Self { output: String::new(), complaint: format!("{message}\n"), exit_status: 2 }
    }
}

/// The command line makes no sense (EX_USAGE of sysexits.h); 1 and 2 have meanings of their own.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let outcome = match &cli.command {
        Command::Status(args) => status::run(args, &cli.control),
        Command::Device(args) => device::run(args, &cli.control),
        Command::Record(args) => record::run(args, &cli.control),
        Command::Ftm(args) => ftm::run(args, &cli.control),
        Command::Attest(args) => attest::run(args, &biotrust_model::time::SystemClock),
        Command::Doctor(args) => doctor::run(args, &cli.control, &biotrust_model::time::SystemClock),
        Command::Cert(args) => cert::run(args, &biotrust_model::time::SystemClock),
        Command::Udev(args) => udev::run(args),
        Command::Driver(args) => driver::run(args),
    };
    // A reader that went away (`biotrust status | head`) changes nothing about the answer.
    let _ = std::io::stdout().write_all(outcome.output.as_bytes());
    let _ = std::io::stderr().write_all(outcome.complaint.as_bytes());
    ExitCode::from(outcome.exit_status)
}
