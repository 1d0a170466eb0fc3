//! `cargo xtask check`: everything that can be said about the code without running it, cheapest first.

use std::ffi::OsString;
use std::process::Command;

use crate::build;
use crate::step::{self, Failure, say};

/// The release of cargo-deny that is built when none is installed.
const DENY: &str = "cargo-deny@0.20.2";

/// How long fetching the advisory database may take; without a network it fails or hangs.
const FETCH_SECONDS: &str = "60";

/// Formatting, dependencies, lints.
pub(crate) fn run() -> Result<(), Failure> {
    step::run("format", build::cargo()?.args(["fmt", "--all", "--check"]))?;
    dependencies()?;
    let mut clippy = build::cargo()?;
    clippy.args(["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]);
    step::run("lints", &mut clippy)
}

/// Bans, licences and sources always; known vulnerabilities where their database can be had.
fn dependencies() -> Result<(), Failure> {
    let deny = deny()?;
    let root = build::root()?;
    let command = || {
        let mut command = Command::new(&deny);
        command.current_dir(&root);
        command
    };
    step::run("dependencies", command().args(["--workspace", "check", "bans", "licenses", "sources"]))?;

    let mut fetch = Command::new("timeout");
    fetch.current_dir(&root).arg(FETCH_SECONDS).arg(&deny).args(["fetch", "db"]);
    if step::works(&mut fetch) {
        step::run("advisories", command().args(["--workspace", "check", "advisories"]))
    } else {
        say("advisories: NOT checked, their database cannot be reached from here");
        Ok(())
    }
}

/// An installed cargo-deny, or one that is built into the target directory.
fn deny() -> Result<OsString, Failure> {
    let installed = OsString::from("cargo-deny");
    let tools = build::tools()?;
    let own = tools.join("bin/cargo-deny").into_os_string();
    for candidate in [installed, own.clone()] {
        if step::works(Command::new(&candidate).arg("--version")) {
            return Ok(candidate);
        }
    }
    step::run("tool", build::cargo()?.args(["install", "--locked", DENY, "--root"]).arg(&tools))?;
    Ok(own)
}
