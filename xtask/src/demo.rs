//! `cargo xtask demo`: the whole main job on virtual devices.
//!
//! The development profile is used on purpose: it compiles in a fraction of the time of the release profile, its image
//! and crypto code is optimised all the same (see the root Cargo.toml), and `cargo xtask test` shares most of it.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::build;
use crate::step::{self, Failure, say};

/// Builds, then becomes `biosim demo ARGS`: its signals, output and exit status are the demo's own from there on.
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    build::demo()?;
    let biosim = build::programs()?.join("biosim");
    let mut demo = Command::new(&biosim);
    demo.arg("demo").args(args);
    say(format_args!("demo: {}", step::show(&demo)));
    let error = demo.exec();
    Err(Failure::new(format!("cannot run {}: {error}", biosim.display())))
}
