//! `cargo xtask test`: every test of the workspace, and one line at the end that says how it went.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use crate::build;
use crate::step::{self, Failure, print};

/// Builds the programs, which the black-box tests start, then runs all tests to the end and adds up what they say.
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    let everything = !args.iter().take_while(|arg| *arg != "--").any(|arg| selects_packages(arg));
    build::all(everything)?;

    let mut command = build::cargo()?;
    command.args(["test", "--no-fail-fast"]);
    // cargo ignores `--package` beside `--workspace`.
    if everything {
        command.arg("--workspace");
    }
    command.args(args).stdout(Stdio::piped());

    let mut sum = Sum::default();
    let result = step::timed("test", &mut command, |command| {
        let mut child = command.spawn()?;
        if let Some(output) = child.stdout.take() {
            relay(BufReader::new(output), &mut sum)?;
        }
        child.wait()
    });
    // The form that test reports are read in.
    print(&format!("tests: {} passed, {} failed, {} skipped\n", sum.passed, sum.failed, sum.ignored));
    result?;
    if sum.passed + sum.failed == 0 && !args.iter().any(|arg| lists_only(arg)) {
        return Err(Failure::new(format!("no test was run; nothing matches {args:?}")));
    }
    Ok(())
}

fn selects_packages(arg: &str) -> bool {
    arg.starts_with("-p") || arg == "--package" || arg.starts_with("--package=")
}

/// Arguments with which cargo succeeds without running a test.
fn lists_only(arg: &str) -> bool {
    matches!(arg, "--no-run" | "--list" | "--help" | "-h")
}

/// What all test programs together reported.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Sum {
    /// Adds a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`; other lines count nothing.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line.split_once("test result: ") else { return };
        for count in counts.split(['.', ';']) {
            let mut words = count.split_whitespace();
            let (Some(number), Some(what)) = (words.next(), words.next()) else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// Passes lines on to our standard output and adds up the results in them.
fn relay(mut from: impl BufRead, sum: &mut Sum) -> std::io::Result<()> {
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        // The reader of our output may be gone; the tests still run to their end.
        let _ = std::io::stdout().write_all(&line);
        sum.add(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_add_up() {
        let output = "running 4 tests\n\
            test a ... ok\n\
            test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.00s\n\
            test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.25s\n\
            the words 5 passed; 5 failed; alone count nothing\n";
        let mut sum = Sum::default();
        for line in output.lines() {
            sum.add(line);
        }
        assert_eq!(sum, Sum { passed: 13, failed: 2, ignored: 1 });
    }

    #[test]
    fn package_options_are_seen_in_every_spelling() {
        for arg in ["-p", "-pbiotrust-model", "--package", "--package=x"] {
            assert!(selects_packages(arg), "{arg}");
        }
        assert!(!selects_packages("deadline"));
    }
}
