//! A driver that the service starts itself: a process group of its own, an empty environment, and of open files only the
//! socket that it listens on, as its standard input, and a pipe for what it says on standard error.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::wire::printable;
use biotrust_driver_api::Cancel;
use rustix::process::{Pid, Signal, kill_process_group};

/// Longest line of standard error that is passed on, in bytes; more of it is dropped.
const LINE: u64 = 512;
/// Lines that are passed on within a second; a driver must not fill the log.
const LINES: u32 = 20;
/// A driver that is told to end has this long before it is killed.
const GRACE: Duration = Duration::from_millis(500);

/// Why a driver could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// No socket for it.
    #[error("cannot make the socket {path}: {source}")]
    Socket {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Not runnable.
    #[error("cannot start {program}: {source}")]
    Program {
        /// The program.
        program: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// No such user.
    #[error("there is no user {0} in /etc/passwd; make one for this driver alone")]
    User(String),
    /// The service cannot give a process to another user.
    #[error(
        "the service does not run as root and cannot start a driver as another user; let systemd start it \
         (biotrust-driver@.socket), or say same_user = true and accept that it can read the keys of this host"
    )]
    NotRoot,
}

/// Who a driver runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RunAs {
    /// A user of its own.
    User(String),
    /// The service's.
    Same,
}

/// A running driver; it ends when this is dropped.
pub(crate) struct Process {
    child: Child,
    socket: PathBuf,
}

impl Process {
    /// Starts `argv` with a listening socket at `socket`. Lines of its standard error go to `say`.
    pub(crate) fn start(
        argv: &[String],
        run_as: &RunAs,
        socket: &Path,
        say: impl Fn(String) + Send + 'static,
    ) -> Result<Self, SpawnError> {
        let root = rustix::process::geteuid().is_root();
        let ids = match run_as {
            RunAs::Same => None,
            RunAs::User(_) if !root => return Err(SpawnError::NotRoot),
            RunAs::User(name) => Some(ids_of(name).ok_or_else(|| SpawnError::User(name.clone()))?),
        };
        let (program, args) = argv.split_first().ok_or_else(|| SpawnError::Program {
            program: "a driver without a command".to_owned(),
            source: std::io::ErrorKind::NotFound.into(),
        })?;
        let failed = |source| SpawnError::Socket { path: socket.to_owned(), source };
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket).map_err(failed)?;
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if let Some((uid, gid)) = ids {
            // Without a word on groups, the standard library gives up all of root's.
            command.uid(uid).gid(gid);
        }
        let mut child =
            command.spawn().map_err(|source| SpawnError::Program { program: program.clone(), source })?;
        if let Some(stderr) = child.stderr.take() {
            let _ = std::thread::Builder::new().name("driver-log".into()).spawn(move || relay(stderr, say));
        }
        Ok(Self { child, socket: socket.to_owned() })
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        Some(match (status.signal(), status.code()) {
            (Some(signal), _) => format!("it was ended by signal {signal}"),
            (None, Some(code)) => format!("it ended with exit status {code}"),
            (None, None) => "it ended".to_owned(),
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if self.ended().is_none()
            && let Some(group) = group
        {
            let _ = kill_process_group(group, Signal::TERM);
            let mut waited = Duration::ZERO;
            while waited < GRACE && self.ended().is_none() {
                let step = Duration::from_millis(10);
                let _ = Cancel::new().wait(step);
                waited += step;
            }
        }
        if let Some(group) = group {
            // Whatever it has started goes with it.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// Passes lines on until the driver closes its end.
fn relay(stderr: impl Read, say: impl Fn(String)) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    let mut quota = Quota::new(Instant::now());
    loop {
        line.clear();
        match (&mut reader).take(LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                let text = printable(&text);
                if !text.is_empty()
                    && let Some(dropped) = quota.spend(Instant::now())
                {
                    if dropped > 0 {
                        say(format!("({dropped} more lines within a second were dropped)"));
                    }
                    say(text);
                }
            }
        }
    }
}

/// How many lines a driver may still say within this second.
struct Quota {
    since: Instant,
    said: u32,
    dropped: u32,
}

impl Quota {
    fn new(now: Instant) -> Self {
        Self { since: now, said: 0, dropped: 0 }
    }

    /// Whether a line may be passed on; with how many were dropped before it.
    fn spend(&mut self, now: Instant) -> Option<u32> {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            let dropped = self.dropped;
            *self = Self { since: now, said: 1, dropped: 0 };
            return Some(dropped);
        }
        if self.said < LINES {
            self.said += 1;
            return Some(0);
        }
        self.dropped = self.dropped.saturating_add(1);
        None
    }
}

/// User and group of `name`, by /etc/passwd.
fn ids_of(name: &str) -> Option<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        let (uid, gid) = (fields.nth(1)?, fields.next()?);
        Some((uid.parse().ok()?, gid.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_floods_the_log_is_cut_and_the_cut_is_told() {
        let start = Instant::now();
        let mut quota = Quota::new(start);
        let passed = (0..100).filter(|_| quota.spend(start) == Some(0)).count();
        assert_eq!(passed, LINES as usize);
        assert_eq!(quota.spend(start + Duration::from_secs(1)), Some(80));
        assert_eq!(quota.spend(start + Duration::from_secs(1)), Some(0));
    }

    #[test]
    fn users_are_found_by_name() {
        assert_eq!(ids_of("root"), Some((0, 0)));
        assert_eq!(ids_of("no-such-user"), None);
        assert_eq!(ids_of(""), None);
    }
}
