//! A PostgreSQL of its own for a test: in a temporary folder, on a Unix socket only, as an unprivileged user.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// `nobody`: PostgreSQL refuses to run as root.
const NOBODY: u32 = 65534;

/// A cluster; ends with the value.
pub struct Postgres {
    dir: tempfile::TempDir,
    server: Child,
}

impl Postgres {
    /// Makes and starts one.
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp").unwrap();
        let root = rustix::process::geteuid().is_root();
        if root {
            chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let program = |name: &str| {
            let mut command = Command::new(binaries().join(name));
            command.current_dir(dir.path()).stdin(Stdio::null()).env_clear().env("LC_ALL", "C");
            if root {
                command.uid(NOBODY).gid(NOBODY);
            }
            command
        };
        let data = dir.path().join("data");
        let made = program("initdb")
            .args(["-U", "mgmt", "-A", "trust", "-E", "UTF8", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .expect("initdb runs (package postgresql)");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let server = program("postgres")
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(dir.path())
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=40"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let postgres = Self { dir, server };
        postgres.wait();
        postgres
    }

    fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(30);
        let log = self.dir.path().join("log");
        while Instant::now() < until {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            if text.contains("ready to accept connections") {
                return;
            }
            #[allow(clippy::disallowed_methods)] // a test that waits for a process
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("PostgreSQL did not start: {}", std::fs::read_to_string(&log).unwrap_or_default());
    }

    /// URL for the server's configuration.
    pub fn url(&self) -> String {
        format!("postgres://mgmt@localhost/postgres?host={}", self.dir.path().display())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // "Fast" shutdown; a killed postmaster would leave its children for a moment.
        let id = rustix::process::Pid::from_child(&self.server);
        let _ = rustix::process::kill_process(id, rustix::process::Signal::INT);
        let _ = self.server.wait();
    }
}

/// Debian keeps them beside the versions, not in PATH.
fn binaries() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|entry| entry.path().join("bin")).collect();
    folders.sort();
    folders
        .into_iter()
        .rev()
        .find(|folder| folder.join("postgres").exists())
        .unwrap_or_else(|| Path::new("/usr/bin").to_owned())
}
