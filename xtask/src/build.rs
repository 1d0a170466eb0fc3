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

/// Builds integration tests and answers their programs, as `(name, path)`. Names are unique in `package`.
pub(crate) fn tests(package: &str, names: &[&str]) -> Result<Vec<(String, PathBuf)>, Failure> {
    let mut build = cargo()?;
    // The whole workspace, so that dependencies have the features that they were built with before.
    build.args(["test", "--workspace", "--no-run", "--message-format", "json"]);
    for name in names {
        build.args(["--test", name]);
    }
    let output = build
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|e| Failure::new(format!("cannot run cargo: {e}")))?;
    if !output.status.success() {
        return Err(Failure::new(format!("{} failed ({})", step::show(&build), output.status)));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let found: Vec<_> = said.lines().filter_map(|line| executable(line, package)).collect();
    match names.iter().find(|name| !found.iter().any(|(other, _)| other == *name)) {
        None => Ok(found),
        Some(name) => Err(Failure::new(format!("{package} has no test {name:?}"))),
    }
}

/// Name and path in what cargo says of a test that it built. (There is no reader of JSON here; paths with a quotation mark
/// in them are not understood.)
fn executable(line: &str, package: &str) -> Option<(String, PathBuf)> {
    let text = |from: &str, name: &str| {
        let (_, rest) = from.split_once(&format!("\"{name}\":\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let manifest = text(line, "manifest_path")?;
    let (_, target) = line.split_once("\"target\":{\"kind\":[\"test\"]")?;
    let ours = Path::new(&manifest).parent()?.ends_with(package);
    ours.then_some((text(target, "name")?, text(target, "executable")?.into()))
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn programs_of_tests_are_read_from_what_cargo_says() {
        let line = r#"{"reason":"compiler-artifact","package_id":"path+file:///c/drivers/a#0.1.0","manifest_path":"/c/drivers/a/Cargo.toml","target":{"kind":["test"],"crate_types":["bin"],"name":"life","src_path":"/c/drivers/a/tests/life.rs","edition":"2024","doc":false,"doctest":false,"test":true},"profile":{"opt_level":"0"},"features":[],"filenames":["/t/life-8"],"executable":"/t/life-8","fresh":true}"#;
        assert_eq!(executable(line, "drivers/a"), Some(("life".to_owned(), PathBuf::from("/t/life-8"))));
        assert_eq!(executable(line, "drivers/b"), None);
        assert_eq!(executable(&line.replace(r#"["test"]"#, r#"["lib"]"#), "drivers/a"), None);
        assert_eq!(executable(r#"{"reason":"build-finished","success":true}"#, "drivers/a"), None);
    }
}
