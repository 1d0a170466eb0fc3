//! This guest: what it was told, what it shares with the host, and how it tells how far it is.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

/// A word that `cargo xtask rig` gave to this guest.
pub(crate) fn word(name: &str) -> Option<String> {
    std::env::var(format!("rig_{name}")).ok()
}

/// The directory that guest and host share.
pub(crate) fn share() -> &'static Path {
    Path::new("/share")
}

/// How long the scenario may take.
pub(crate) fn limit() -> Duration {
    Duration::from_secs(word("seconds").and_then(|seconds| seconds.parse().ok()).unwrap_or(170))
}

/// The directory of the programs under test, as they were built.
pub(crate) fn programs() -> PathBuf {
    let own = std::env::current_exe().expect("an executable has a path");
    own.parent().expect("an executable lies in a directory").to_owned()
}

/// Time since the kernel started.
pub(crate) fn uptime() -> Duration {
    let text = fs::read_to_string("/proc/uptime").expect("/proc is mounted");
    let seconds = text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
    Duration::from_secs_f64(seconds)
}

/// Tells the host that something has been shown.
pub(crate) fn shown(what: impl Display) {
    println!("{:6.1} s  {what}", uptime().as_secs_f64());
}

/// Runs a program that has to succeed; answers what it printed.
pub(crate) fn run(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    let [said, complained] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(output.status.success(), "{program} {words:?}: {}\n{said}{complained}", output.status);
    said
}

/// Loads modules of the kernel.
pub(crate) fn load(modules: &[&str]) {
    run("modprobe", &[&["--all"], modules].concat());
}

/// Leaves figures for whoever reads the run: one JSON file per guest.
pub(crate) fn figures(figures: &Value) {
    let text = serde_json::to_string_pretty(figures).expect("figures are JSON");
    fs::write(share().join("figures.json"), text + "\n").expect("the shared directory can be written");
}
