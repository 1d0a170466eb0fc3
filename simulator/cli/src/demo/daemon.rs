//! biotrustd as a child: started with a fresh configuration, ended on every way out.

use std::fs::File;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use biotrust_driver_api::Cancel;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

/// From spawning to the ready file.
const STARTS_WITHIN: Duration = Duration::from_secs(20);
/// From SIGTERM to the end; afterwards it is killed.
const ENDS_WITHIN: Duration = Duration::from_secs(8);
/// How often the ready file and the child are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Lines of the log that an error shows.
const SHOWN_LINES: usize = 12;

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
    child: Arc<Mutex<Child>>,
    log: PathBuf,
    /// What it said.
    pub(crate) ready: Ready,
}

impl Daemon {
    /// Starts the daemon and returns when it is ready. When `interrupt` is set it is told to end, at any time.
    pub(crate) fn start(paths: &Paths, interrupt: &Cancel) -> anyhow::Result<Self> {
        let log = File::create(&paths.log).with_context(|| format!("creating {}", paths.log.display()))?;
        let child = Command::new(&paths.program)
            .arg("--config")
            .arg(&paths.config)
            .arg("--ready-file")
            .arg(&paths.ready)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("duplicating the log")?)
            .stderr(log)
            .process_group(0) // Ctrl-C is for us; we end the daemon in good order
            .spawn()
            .with_context(|| format!("cannot start {}", paths.program.display()))?;
        let mut daemon = Self {
            child: Arc::new(Mutex::new(child)),
            log: paths.log.clone(),
            ready: Ready { sbi: String::new(), pid: 0, control: PathBuf::new() },
        };
        daemon.ready = daemon.wait_until_ready(&paths.ready, interrupt)?;

        let (flag, child) = (interrupt.clone(), Arc::downgrade(&daemon.child));
        std::thread::Builder::new().name("daemon ender".to_owned()).spawn(move || {
            while !flag.wait(Duration::from_secs(3600)) {}
            if let Some(child) = child.upgrade() {
                terminate(&mut lock(&child));
            }
        })?;
        Ok(daemon)
    }

    fn wait_until_ready(&self, file: &Path, interrupt: &Cancel) -> anyhow::Result<Ready> {
        let deadline = Instant::now() + STARTS_WITHIN;
        loop {
            if let Ok(text) = std::fs::read(file) {
                return serde_json::from_slice(&text).with_context(|| format!("reading {}", file.display()));
            }
            self.check()?;
            if interrupt.wait(LOOK_EVERY) {
                bail!("interrupted");
            }
            if Instant::now() > deadline {
                bail!("biotrustd was not ready within {STARTS_WITHIN:?}\n{}", self.last_lines());
            }
        }
    }

    /// Whether it is still running.
    ///
    /// # Errors
    /// It has ended; the text shows the end of its log.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        match lock(&self.child).try_wait().context("looking after biotrustd")? {
            None => Ok(()),
            Some(status) => bail!("biotrustd has ended ({})\n{}", describe(status), self.last_lines()),
        }
    }

    /// The file that holds its standard error.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The end of its log, for an error.
    pub(crate) fn last_lines(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let shown = lines.get(lines.len().saturating_sub(SHOWN_LINES)..).unwrap_or_default();
        format!("its last words:\n  {}", shown.join("\n  "))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let deadline = Instant::now() + ENDS_WITHIN;
        let mut child = lock(&self.child);
        terminate(&mut child);
        let never = Cancel::new();
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
            }
            let _ = never.wait(LOOK_EVERY);
        }
    }
}

/// Asks the child to end. One that has ended is left alone: its id may be somebody else's by now.
fn terminate(child: &mut Child) {
    if let Ok(None) = child.try_wait()
        && let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
    {
        let _ = kill_process(pid, Signal::TERM);
    }
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no status".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

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
    }
}
