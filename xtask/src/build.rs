//! Where the checkout is, how to call cargo in it, and where it puts programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step::{self, Failure};

/// The root of the checkout: cargo tells where this crate is when it runs it.
pub(crate) fn root() -> Result<PathBuf, Failure> {
    std::env::var_os("CARGO_MANIFEST_DIR")
        .and_then(|dir| Path::new(&dir).parent().map(Path::to_path_buf))
        .ok_or_else(|| Failure::new("cannot tell where the checkout is; start this as `cargo xtask`"))
}

/// Cargo, the one that runs us, in the root of the checkout.
pub(crate) fn cargo() -> Result<Command, Failure> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()?);
    Ok(command)
}

/// The directory of programs of the development profile: ours, since cargo built us into it.
pub(crate) fn programs() -> Result<PathBuf, Failure> {
    std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(Path::to_path_buf))
        .ok_or_else(|| Failure::new("cannot tell where cargo puts its programs"))
}

/// Cargo's target directory.
pub(crate) fn target() -> Result<PathBuf, Failure> {
    let programs = programs()?;
    Ok(programs.parent().unwrap_or(&programs).to_owned())
}

/// A directory for tools that are built once per checkout.
pub(crate) fn tools() -> Result<PathBuf, Failure> {
    Ok(target()?.join("tools"))
}

/// Packages of the programs that a demo runs.
const DEMO: [&str; 6] = ["--package", "biosim", "--package", "biotrust-daemon", "--package", "biotrust-cli"];

/// Builds the programs of a demo.
pub(crate) fn demo() -> Result<(), Failure> {
    step::run("build", cargo()?.arg("build").args(DEMO).arg("--bins"))
}

/// Builds every program of the workspace and, where `tests` says so, every test: in one go, because dependencies with
/// the features of tests are others than without.
pub(crate) fn all(tests: bool) -> Result<(), Failure> {
    step::run(
        "build",
        cargo()?.args(["build", "--workspace", if tests { "--all-targets" } else { "--bins" }]),
    )
}
