//! One step: a program that is shown, run, timed and judged.

use std::fmt::Display;
use std::io::Write;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

/// Why a task ended early: one sentence, and the exit status to end with.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    pub(crate) exit_status: u8,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_status: 1 }
    }

    /// The command line makes no sense (EX_USAGE).
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_status: 64 }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// A line about the work, on standard error: standard output belongs to the programs that are run.
pub(crate) fn say(line: impl Display) {
    // Nobody listens any more: nothing to be done about it, and no reason to stop.
    let _ = writeln!(std::io::stderr(), "xtask: {line}");
}

/// Text that was asked for, on standard output.
pub(crate) fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Runs `command` as a step named `title`, with our standard streams.
pub(crate) fn run(title: &str, command: &mut Command) -> Result<(), Failure> {
    timed(title, command, |command| command.status())
}

/// As [`run`], for callers that watch the program while it runs.
pub(crate) fn timed(
    title: &str,
    command: &mut Command,
    run: impl FnOnce(&mut Command) -> std::io::Result<ExitStatus>,
) -> Result<(), Failure> {
    say(format_args!("{title}: {}", show(command)));
    let start = Instant::now();
    let status = run(command).map_err(|e| {
        Failure::new(format!("{title}: cannot run {}: {e}", command.get_program().to_string_lossy()))
    })?;
    let took = span(start.elapsed());
    if status.success() {
        say(format_args!("{title}: done in {took}"));
        return Ok(());
    }
    // 101 is cargo's; a signal has no code of its own.
    let exit_status =
        status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0).unwrap_or(1);
    Err(Failure { message: format!("{title}: failed ({status}) after {took}"), exit_status })
}

/// Whether a program runs at all and is content; its output is thrown away.
pub(crate) fn works(command: &mut Command) -> bool {
    use std::process::Stdio;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The command line as a person would type it.
pub(crate) fn show(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| {
            let word = word.to_string_lossy();
            if word.is_empty() || word.contains(|c: char| c.is_whitespace() || "'\"$;&|<>*?".contains(c)) {
                format!("'{}'", word.replace('\'', r"'\''"))
            } else {
                word.into_owned()
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// "0.4 s", "12 s", "2 min 5 s".
pub(crate) fn span(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 10..60 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_well() {
        for (millis, text) in [(40, "0.0 s"), (9_940, "9.9 s"), (59_999, "59 s"), (125_000, "2 min 5 s")] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn command_lines_can_be_pasted() {
        let mut command = Command::new("echo");
        command.args(["plain", "two words", "", "it's"]);
        assert_eq!(show(&command), r"echo plain 'two words' '' 'it'\''s'");
    }

    #[test]
    fn the_exit_status_comes_through() {
        let failure = run("exit", Command::new("sh").args(["-c", "exit 7"])).unwrap_err();
        assert_eq!(failure.exit_status, 7);
        let failure = run("killed", Command::new("sh").args(["-c", "kill -9 $$"])).unwrap_err();
        assert_eq!(failure.exit_status, 1);
        let failure = run("absent", &mut Command::new("/nonexistent/program")).unwrap_err();
        assert!(failure.to_string().contains("/nonexistent/program"), "{failure}");
        assert!(run("true", &mut Command::new("true")).is_ok());
    }
}
