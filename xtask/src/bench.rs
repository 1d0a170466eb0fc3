//! `cargo xtask bench`: the table of speed and memory, always with the release profile.

use crate::build;
use crate::step::{self, Failure};

/// Builds the released programs, which the benchmark starts and measures, then the benchmark itself.
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    step::run("build", build::cargo()?.args(["build", "--release", "--workspace", "--bins"]))?;
    let mut bench = build::cargo()?;
    bench.args(["run", "--release", "--package", "biotrust-tests", "--bin", "bench", "--"]).args(args);
    step::run("bench", &mut bench)
}
