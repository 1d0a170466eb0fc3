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

/// A directory for tools that are built once per checkout.
pub(crate) fn tools() -> Result<PathBuf, Failure> {
    let programs = programs()?;
    Ok(programs.parent().unwrap_or(&programs).join("tools"))
}

/// Builds every program of the workspace, all at once so that `demo` and `test` share what they compile.
pub(crate) fn binaries() -> Result<(), Failure> {
    step::run("build", cargo()?.args(["build", "--workspace", "--bins"]))
}
