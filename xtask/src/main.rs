//! `cargo xtask`: from a fresh checkout to a running demo, a tested workspace, a benchmark table.
//!
//! It trusts the toolchain that built it and the packages of the distribution, and nothing else. Every step is shown
//! with its command line before it runs and with its time after it. Steps block; Ctrl-C ends them with the program.

mod bench;
mod build;
mod check;
mod demo;
mod documents;
mod fuzz;
mod needs;
mod rig;
mod step;
mod test;

use std::process::ExitCode;

use step::{Failure, say};

const HELP: &str = "\
Sets up this machine, builds biotrust and runs it.

Usage: cargo xtask [--yes] TASK [ARGS]

Tasks:
  demo [ARGS]   build, then start virtual devices, the daemon and the scripted main job (ARGS go to `biosim demo`;
                `cargo xtask demo --once` ends by itself, `cargo xtask demo --help` lists the rest)
  test [ARGS]   build, then run every test (ARGS go to `cargo test`)
  bench [ARGS]  build with optimisation, then print the table of speed and memory
  fuzz [TARGET…] [--seconds N]
                fuzz the parsers of strangers' bytes, ten minutes each (needs a nightly toolchain)
  rig [GUEST…] [--cycles N] [--kernel PACKAGE]
                build, then run the daemon as installed on a real kernel in virtual machines, with virtual hardware
                (a soak of N cycles; BIOTRUST_RIG=off turns it off; docs/developers/rig.md)
  check         formatting, documents, service unit, dependencies (licences, sources, bans), lints
  help          this text

Options:
  --yes         install missing system packages without asking

System packages that are missing are named and, on Debian and Ubuntu, installed with apt-get.
";

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    Demo,
    Test,
    Bench,
    Fuzz,
    Rig,
    Check,
    Help,
}

/// A command line, read.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    task: Task,
    /// Install without asking.
    yes: bool,
    /// What the task hands on.
    args: Vec<String>,
}

fn main() -> ExitCode {
    let result = read(std::env::args().skip(1)).and_then(|request| run(&request));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(format_args!("error: {failure}"));
            ExitCode::from(failure.exit_status)
        }
    }
}

/// Reads the command line. `--yes` is ours wherever it stands before a `--`; everything else after the task is the
/// task's own.
fn read(args: impl Iterator<Item = String>) -> Result<Request, Failure> {
    let mut yes = false;
    let mut task = None;
    let mut rest = Vec::new();
    for arg in args {
        let ours = !rest.iter().any(|seen| seen == "--");
        match (arg.as_str(), task) {
            ("--yes" | "-y", _) if ours => yes = true,
            ("demo", None) => task = Some(Task::Demo),
            ("test", None) => task = Some(Task::Test),
            ("bench", None) => task = Some(Task::Bench),
            ("fuzz", None) => task = Some(Task::Fuzz),
            ("rig", None) => task = Some(Task::Rig),
            ("check", None) => task = Some(Task::Check),
            ("help" | "--help" | "-h", None) => task = Some(Task::Help),
            (other, None) => {
                return Err(Failure::usage(format!("there is no task {other:?}; see `cargo xtask help`")));
            }
            (_, Some(_)) => rest.push(arg),
        }
    }
    Ok(Request { task: task.unwrap_or(Task::Help), yes, args: rest })
}

fn run(request: &Request) -> Result<(), Failure> {
    let args = &request.args;
    match request.task {
        Task::Help => {
            step::print(HELP);
            Ok(())
        }
        Task::Check if !args.is_empty() => {
            Err(Failure::usage(format!("`check` takes no arguments, got {args:?}")))
        }
        task => {
            needs::provide(task, request.yes)?;
            match task {
                Task::Demo => demo::run(args),
                Task::Test => test::run(args),
                Task::Bench => bench::run(args),
                Task::Fuzz => fuzz::run(args),
                Task::Rig => rig::run(args),
                Task::Check | Task::Help => check::run(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_words(line: &str) -> Result<Request, Failure> {
        read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn yes_is_ours_until_two_dashes() {
        let request = read_words("--yes test -p biotrust-model").unwrap();
        assert_eq!(
            (request.task, request.yes, request.args.join(" ")),
            (Task::Test, true, "-p biotrust-model".into())
        );
        let request = read_words("demo --once --yes").unwrap();
        assert_eq!((request.yes, request.args.join(" ")), (true, "--once".into()));
        let request = read_words("test -- --yes").unwrap();
        assert_eq!((request.yes, request.args.join(" ")), (false, "-- --yes".into()));
    }

    #[test]
    fn an_option_that_looks_like_a_task_stays_with_the_task() {
        let request = read_words("test test --help").unwrap();
        assert_eq!((request.task, request.args.join(" ")), (Task::Test, "test --help".into()));
    }

    #[test]
    fn nothing_asks_for_help_and_nonsense_is_refused() {
        assert_eq!(read_words("").unwrap().task, Task::Help);
        let failure = read_words("deploy").unwrap_err();
        assert_eq!(failure.exit_status, 64);
        assert!(failure.to_string().contains("\"deploy\""), "{failure}");
    }
}
