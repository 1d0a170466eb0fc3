//! biotrustd as a child: started with a fresh configuration, ended on every way out.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use biotrust_driver_api::Cancel;
use serde::Deserialize;

use crate::process::Process;

/// Exit status of a daemon that cannot use its configuration.
const UNUSABLE_CONFIGURATION: i32 = 64;

/// Where the files of a daemon are.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    /// Its program.
    pub(crate) program: PathBuf,
    /// Its configuration.
    pub(crate) config: PathBuf,
    /// It writes this one when it is ready.
    pub(crate) ready: PathBuf,
    /// Its standard error goes here.
    pub(crate) log: PathBuf,
}

/// What the daemon says when it is ready.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Ready {
    /// Base URL, with a slash at the end.
    pub(crate) sbi: String,
    /// Its process id.
    pub(crate) pid: u32,
    /// Its control socket.
    pub(crate) control: PathBuf,
}

/// A running daemon. Dropping it ends it.
pub(crate) struct Daemon {
    process: Process,
    /// What it said.
    pub(crate) ready: Ready,
}

impl Daemon {
    /// Starts the daemon and returns when it is ready. When `interrupt` is set it is told to end, at any time.
    pub(crate) fn start(paths: &Paths, interrupt: &Cancel) -> anyhow::Result<Self> {
        let mut command = Command::new(&paths.program);
        command.arg("--config").arg(&paths.config).arg("--ready-file").arg(&paths.ready);
        let process = Process::start("biotrustd", &mut command, &paths.log)?;
        let ready = process.wait_until(interrupt, || match std::fs::read(&paths.ready) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .with_context(|| format!("reading {}", paths.ready.display())),
            Err(_) => Ok(None),
        });
        let ready = ready.map_err(|error| match process.exit_code() {
            Some(UNUSABLE_CONFIGURATION) => error.context(
                "biotrustd does not take the configuration that this biosim writes; one of them is older, build both \
                 from one source",
            ),
            _ => error,
        })?;
        process.end_on(interrupt)?;
        Ok(Self { process, ready })
    }

    /// Whether it is still running.
    ///
    /// # Errors
    /// It has ended; the text shows the end of its log.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        self.process.check()
    }

    /// The file that holds its standard error.
    pub(crate) fn log(&self) -> &Path {
        self.process.log()
    }

    /// The end of its log, for an error.
    pub(crate) fn last_lines(&self) -> String {
        self.process.last_lines()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::{Duration, Instant};

    /// A stand-in for biotrustd: a shell script with the same command line.
    fn script(dir: &Path, body: &str) -> Paths {
        let program = dir.join("daemon.sh");
        std::fs::write(&program, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Paths { program, config: dir.join("c"), ready: dir.join("ready"), log: dir.join("log") }
    }

    const READY: &str = r#"trap 'echo ended > "$4.end"; exit 0' TERM
        printf '{"sbi":"http://127.0.0.1:1/","pid":%s,"control":"/c"}' $$ > "$4.tmp"; mv "$4.tmp" "$4"
        while :; do sleep 0.05; done"#;

    #[test]
    fn a_daemon_is_ended_in_good_order_when_dropped_or_interrupted() {
        for interrupted in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let interrupt = Cancel::new();
            let daemon = Daemon::start(&script(dir.path(), READY), &interrupt).unwrap();
            daemon.check().unwrap();
            if interrupted {
                interrupt.cancel();
                let deadline = Instant::now() + Duration::from_secs(10);
                while daemon.check().is_ok() {
                    assert!(Instant::now() < deadline);
                    let _ = Cancel::new().wait(Duration::from_millis(5));
                }
            }
            drop(daemon);
            assert!(dir.path().join("ready.end").exists(), "it was asked to end, interrupted: {interrupted}");
        }
    }

    #[test]
    fn a_daemon_that_dies_is_reported_with_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let started =
            Daemon::start(&script(dir.path(), "echo port range is full >&2; exit 3"), &Cancel::new());
        let text = started.err().unwrap().to_string();
        assert!(text.contains("exit status 3") && text.contains("port range is full"), "{text}");

        let dir = tempfile::tempdir().unwrap();
        let older = Daemon::start(&script(dir.path(), "echo no such section >&2; exit 64"), &Cancel::new());
        let text = format!("{:#}", older.err().unwrap());
        assert!(text.contains("one of them is older") && text.contains("no such section"), "{text}");
    }
}
