//! A program that runs beside biosim: started with its output in a file, ended in good order on every way out.

use std::fs::File;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use biotrust_driver_api::Cancel;
use rustix::process::{Pid, Signal, kill_process};

/// From the start of a program to the moment at which it is ready.
const STARTS_WITHIN: Duration = Duration::from_secs(20);
/// From SIGTERM to the end; afterwards it is killed.
const ENDS_WITHIN: Duration = Duration::from_secs(8);
/// How often a program is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Lines of the log that an error shows.
const SHOWN_LINES: usize = 12;

/// A running program. Dropping it ends it.
pub(crate) struct Process {
    name: &'static str,
    child: Arc<Mutex<Child>>,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, called `name` in errors, with everything that it prints in the file `log`.
    pub(crate) fn start(name: &'static str, command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let output = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("duplicating the log")?)
            .stderr(output)
            .process_group(0) // Ctrl-C is for us; we end the others in good order
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
        Ok(Self { name, child: Arc::new(Mutex::new(child)), log: log.to_owned() })
    }

    /// Waits until `ready` finds what it looks for.
    ///
    /// # Errors
    /// The program has ended, is not ready in time, or `interrupt` is set.
    pub(crate) fn wait_until<T>(
        &self,
        interrupt: &Cancel,
        mut ready: impl FnMut() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + STARTS_WITHIN;
        loop {
            if let Some(found) = ready()? {
                return Ok(found);
            }
            self.check()?;
            if interrupt.wait(LOOK_EVERY) {
                bail!("interrupted");
            }
            if Instant::now() > deadline {
                bail!("{} was not ready within {STARTS_WITHIN:?}; {}", self.name, self.last_lines());
            }
        }
    }

    /// As soon as `interrupt` is set the program is told to end.
    pub(crate) fn end_on(&self, interrupt: &Cancel) -> anyhow::Result<()> {
        let (flag, child) = (interrupt.clone(), Arc::downgrade(&self.child));
        std::thread::Builder::new().name(format!("{} ender", self.name)).spawn(move || {
            while !flag.wait(Duration::from_secs(3600)) {}
            if let Some(child) = child.upgrade() {
                terminate(&mut lock(&child));
            }
        })?;
        Ok(())
    }

    /// Whether it is still running.
    ///
    /// # Errors
    /// It has ended; the text shows the end of its log.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        match lock(&self.child).try_wait().with_context(|| format!("looking after {}", self.name))? {
            None => Ok(()),
            Some(status) => {
                bail!("{} has ended ({}); {}", self.name, describe(status), self.last_lines())
            }
        }
    }

    /// How it has ended, where it has.
    pub(crate) fn exit_code(&self) -> Option<i32> {
        lock(&self.child).try_wait().ok()??.code()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        lock(&self.child).id()
    }

    /// The file with everything that it has printed.
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

impl Drop for Process {
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
