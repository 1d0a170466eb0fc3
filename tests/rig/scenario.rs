//! What is tried, by guest.

mod buses;
mod ports;
mod sandbox;
mod storm;
mod strangers;
mod tpm;

use std::process::ExitCode;

use crate::guest;

/// The guest whose first process is systemd.
pub(crate) const UNDER_SYSTEMD: &str = "systemd";

/// Runs the scenario of this guest.
pub(crate) fn run() -> ExitCode {
    let name = guest::word("guest").unwrap_or_default();
    match name.as_str() {
        "buses" => buses::run(),
        "ports" => ports::run(),
        "strangers" => strangers::run(),
        "tpm" => tpm::run(),
        UNDER_SYSTEMD => sandbox::run(),
        _ => {
            eprintln!("rig: there is no scenario {name:?}");
            return ExitCode::from(64);
        }
    }
    guest::shown("everything was as expected");
    ExitCode::SUCCESS
}
