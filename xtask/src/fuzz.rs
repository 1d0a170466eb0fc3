//! `cargo xtask fuzz`: coverage-guided fuzzing of everything that reads bytes of strangers (`tests/fuzz`).
//!
//! Needs a nightly toolchain, which brings the sanitizer; `cargo fuzz` is built when it is not installed.

use std::ffi::OsString;
use std::process::Command;

use crate::build;
use crate::step::{self, Failure};

/// The release of cargo-fuzz that is built when none is installed.
const FUZZ: &str = "cargo-fuzz@0.13.2";

/// All targets, in the order in which they run.
const TARGETS: &[&str] = &[
    "mctp",
    "spdm",
    "ber",
    "eat",
    "manifest",
    "vendor",
    "uru4000",
    "mctp_usb",
    "mctp_hid",
    "r30x",
    "v4l2",
    "usbip",
    "recording",
    "quirks",
];

/// How long each target runs unless said otherwise, in seconds.
const SECONDS: u32 = 600;

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wish<'a> {
    targets: Vec<&'a str>,
    seconds: u32,
}

/// Runs `[TARGET…] [--seconds N]`, one target after the other; the first finding ends it.
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    let wish = read(args)?;
    let tool = tool()?;
    for target in wish.targets {
        let mut fuzz = Command::new(&tool);
        // cargo-fuzz asks cargo for everything, and cargo asks this variable which one it is.
        fuzz.env("RUSTUP_TOOLCHAIN", "nightly").env_remove("CARGO").current_dir(build::root()?);
        fuzz.args(["fuzz", "run", "--fuzz-dir", "tests/fuzz", target, "--"]);
        fuzz.arg(format!("-max_total_time={}", wish.seconds));
        // a hang is a finding; so is a parser that takes more memory than a host can spare
        fuzz.args(["-timeout=5", "-rss_limit_mb=1024", "-max_len=65536", "-print_final_stats=1"]);
        step::run(&format!("fuzz {target}"), &mut fuzz)?;
    }
    Ok(())
}

fn read(args: &[String]) -> Result<Wish<'_>, Failure> {
    let mut wish = Wish { targets: Vec::new(), seconds: SECONDS };
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if arg == "--seconds" {
            let number = rest.next().and_then(|text| text.parse().ok()).filter(|seconds| *seconds > 0);
            wish.seconds = number.ok_or_else(|| Failure::usage("--seconds wants a number over 0"))?;
        } else if let Some(target) = TARGETS.iter().find(|target| *target == arg) {
            wish.targets.push(target);
        } else {
            let known = TARGETS.join(", ");
            return Err(Failure::usage(format!("there is no fuzz target {arg:?}; there are {known}")));
        }
    }
    if wish.targets.is_empty() {
        wish.targets = TARGETS.to_vec();
    }
    Ok(wish)
}

/// An installed cargo-fuzz, or one that is built into the target directory.
fn tool() -> Result<OsString, Failure> {
    let tools = build::tools()?;
    let own = tools.join("bin/cargo-fuzz").into_os_string();
    for candidate in [OsString::from("cargo-fuzz"), own.clone()] {
        if step::works(Command::new(&candidate).arg("--version")) {
            return Ok(candidate);
        }
    }
    step::run("tool", build::cargo()?.args(["install", "--locked", FUZZ, "--root"]).arg(&tools))?;
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn all_targets_ten_minutes_each_unless_said_otherwise() {
        assert_eq!(read(&[]).unwrap(), Wish { targets: TARGETS.to_vec(), seconds: 600 });
        let args = words("spdm --seconds 5 ber");
        assert_eq!(read(&args).unwrap(), Wish { targets: vec!["spdm", "ber"], seconds: 5 });
        for wrong in ["usb", "--seconds", "--seconds 0", "--seconds soon"] {
            assert!(read(&words(wrong)).is_err(), "{wrong}");
        }
    }

    /// A target that nobody runs is no target.
    #[test]
    fn every_target_of_the_fuzz_crate_is_in_the_list() {
        let manifest = std::fs::read_to_string(build::root().unwrap().join("tests/fuzz/Cargo.toml")).unwrap();
        let declared: Vec<_> =
            manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")).collect();
        let listed: Vec<_> = TARGETS.iter().map(|target| format!("{target}.rs\"")).collect();
        assert_eq!(declared, listed);
    }
}
