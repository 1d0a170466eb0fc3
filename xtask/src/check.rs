//! `cargo xtask check`: everything that can be said about the checkout without running it, cheapest first.

use std::ffi::OsString;
use std::process::Command;

use crate::build;
use crate::documents;
use crate::step::{self, Failure, say};

/// The release of cargo-deny that is built when none is installed.
const DENY: &str = "cargo-deny@0.20.2";

/// How long fetching the advisory database may take; without a network it fails or hangs.
const FETCH_SECONDS: &str = "60";

/// Formatting, documents, the service unit, dependencies, lints.
pub(crate) fn run() -> Result<(), Failure> {
    step::run("format", build::cargo()?.args(["fmt", "--all", "--check"]))?;
    documents::check()?;
    service_unit()?;
    dependencies()?;
    let mut clippy = build::cargo()?;
    clippy.args(["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]);
    step::run("lints", &mut clippy)
}

/// Has systemd read the unit: an unknown key or value is ignored at run time, and with it a part of the sandbox.
fn service_unit() -> Result<(), Failure> {
    if !step::works(Command::new("systemd-analyze").arg("--version")) {
        say("service unit: NOT checked, there is no systemd-analyze here");
        return Ok(());
    }
    // The program is not installed here; everything else of the unit is looked at.
    let unit = std::fs::read_to_string(build::root()?.join("udev/biotrustd.service"))
        .map(|unit| unit.replace("ExecStart=/usr/bin/biotrustd", "ExecStart=/bin/true"))
        .map_err(|e| Failure::new(format!("cannot read udev/biotrustd.service: {e}")))?;
    let dir = build::tools()?.join(format!("unit-{}", std::process::id()));
    let copy = dir.join("biotrustd.service");
    std::fs::create_dir_all(&dir)
        .and_then(|()| std::fs::write(&copy, unit))
        .map_err(|e| Failure::new(format!("cannot write {}: {e}", copy.display())))?;
    let mut verify = Command::new("systemd-analyze");
    let result = step::run("service unit", verify.args(["verify", "--recursive-errors=no"]).arg(&copy));
    let _ = std::fs::remove_dir_all(&dir);
    result
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
