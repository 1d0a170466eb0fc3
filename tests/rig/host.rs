//! The daemon on this guest as a package would install it: program, user and group, udev rules, directories, configuration.

mod account;
mod held;

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use biotrust_tests::{Device, instance, wait};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::guest;

pub(crate) use account::Account;
pub(crate) use held::Held;

pub(crate) const PROGRAM: &str = "/usr/bin/biotrustd";
pub(crate) const CONTROL: &str = "/run/biotrust/control.sock";
const CONFIG: &str = "/etc/biotrust/biotrust.toml";
const READY: &str = "/run/biotrust/ready.json";
/// For a program to start, or a device to get ready, under emulation on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// Puts everything of `udev/` and the programs where udev/README.md says.
pub(crate) fn install() {
    let from = sources();
    for program in ["biotrustd", "biotrust"] {
        // Mounted instead of copied: the files of a guest are in its memory.
        let to = Path::new("/usr/bin").join(program);
        File::create(&to).expect("/usr/bin can be written");
        rustix::mount::mount_bind(guest::programs().join(program), &to).expect("a bind mount");
    }
    for (suffix, place) in [
        (".rules", "/usr/lib/udev/rules.d"),
        (".hwdb", "/usr/lib/udev/hwdb.d"),
        (".service", "/usr/lib/systemd/system"),
        (".socket", "/usr/lib/systemd/system"),
    ] {
        fs::create_dir_all(place).expect("a directory of the system");
        for file in fs::read_dir(&from).expect("udev/ is there").flatten().map(|entry| entry.path()) {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.ends_with(suffix) {
                fs::copy(&file, Path::new(place).join(name)).expect("a file of the system can be written");
            }
        }
    }
    let source = |name: &str| from.join(name).display().to_string();
    guest::run("systemd-sysusers", &[&source("biotrust.sysusers.conf")]);
    guest::run("systemd-tmpfiles", &["--create", &source("biotrust.tmpfiles.conf")]);
    guest::run("udevadm", &["control", "--reload"]);
}

/// The folder `udev/` of the checkout that the programs were built from.
fn sources() -> PathBuf {
    let found = guest::programs()
        .ancestors()
        .map(|above| above.join("udev"))
        .find(|dir| dir.join("README.md").is_file());
    found.expect("the programs were built in a checkout")
}

/// Writes the configuration.
pub(crate) fn configure(text: &str) {
    write(Path::new(CONFIG), text.as_bytes());
}

/// Copies a certificate to where the manual puts it; answers the path for the configuration.
pub(crate) fn anchor(from: &Path, name: &str) -> PathBuf {
    let to = Path::new("/etc/biotrust/anchors").join(name);
    let pem = fs::read(from).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
    fs::create_dir_all("/etc/biotrust/anchors").expect("/etc/biotrust can be written");
    write(&to, &pem);
    to
}

/// Writes a file that the daemon's group alone may read.
fn write(path: &Path, content: &[u8]) {
    fs::write(path, content).expect("/etc/biotrust can be written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o640)).expect("permissions");
    chown(path, None, Some(Account::named("biotrust").gid)).expect("a group");
    let directory = path.parent().expect("a directory");
    chown(directory, None, Some(Account::named("biotrust").gid)).expect("a group");
}

/// A running daemon. Dropping it ends it.
pub(crate) struct Daemon {
    child: Option<Child>,
    /// Its process.
    pub(crate) pid: u32,
    /// Port of its service.
    pub(crate) port: u16,
}

impl Daemon {
    /// Starts it as user and groups of `account`, with the directories that the service unit would make for it.
    pub(crate) fn start(account: &Account) -> Self {
        for (directory, mode) in [("/run/biotrust", 0o750), ("/var/lib/biotrust", 0o700)] {
            fs::create_dir_all(directory).expect("a directory");
            fs::set_permissions(directory, fs::Permissions::from_mode(mode)).expect("permissions");
            chown(directory, Some(account.uid), Some(account.gid)).expect("an owner");
        }
        let _ = fs::remove_file(READY);
        let log = File::options()
            .create(true)
            .append(true)
            .open(guest::share().join("biotrustd.log"))
            .expect("a log");
        let child = account
            .command(PROGRAM)
            .args(["--config", CONFIG, "--ready-file", READY])
            .env("TSS2_LOG", "all+NONE")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the daemon starts");
        let mut daemon = Self { pid: child.id(), child: Some(child), port: 0 };
        daemon.await_ready();
        daemon
    }

    fn await_ready(&mut self) {
        let ready = wait::until(PATIENCE, || {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().expect("a child"));
            assert!(ended.is_none(), "the daemon ended: {ended:?}\n{}", log_end());
            serde_json::from_slice::<Value>(&fs::read(READY).ok()?).ok()
        });
        let ready = ready.unwrap_or_else(|| panic!("the daemon does not get ready\n{}", log_end()));
        let url = ready["sbi"].as_str().expect("a URL").trim_end_matches('/');
        self.port = url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    }

    /// One that systemd runs.
    pub(crate) fn of_unit() -> Self {
        let status = control(&json!({"op": "status"}));
        let number = |value: &Value| value.as_u64().expect("a number");
        let pid = u32::try_from(number(&status["result"]["pid"])).expect("a process id");
        let port = u16::try_from(number(&status["result"]["sbi"]["port"])).expect("a port");
        Self { child: None, pid, port }
    }

    /// What it holds now.
    pub(crate) fn held(&self) -> Held {
        Held::by(self.pid)
    }

    /// Ends it in good order.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        instance::signal(child.id(), Signal::TERM);
        let ended = wait::until(ENDS_WITHIN, || child.try_wait().ok().flatten());
        if ended.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if !std::thread::panicking() {
            let status = ended.unwrap_or_else(|| panic!("the daemon does not end\n{}", log_end()));
            assert!(status.success(), "the daemon ended badly: {status}\n{}", log_end());
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

/// One request on the daemon's control socket.
pub(crate) fn control(request: &Value) -> Value {
    instance::control(Path::new(CONTROL), request)
}

/// The daemon's lines about devices.
pub(crate) fn devices() -> Vec<Value> {
    control(&json!({"op": "status"}))["result"]["devices"].as_array().cloned().unwrap_or_default()
}

/// Waits until a device as `wanted` is shown, and answers its line.
pub(crate) fn until(what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let found = wait::until(PATIENCE, || devices().into_iter().find(&wanted));
    found.unwrap_or_else(|| panic!("{what}: not within {PATIENCE:?}: {:#}\n{}", json!(devices()), log_end()))
}

/// The device of a line as clients address it.
pub(crate) fn device(line: &Value) -> Device {
    let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
    Device {
        id: text("id"),
        bio_type: text("type"),
        sub_type: text("sub_type"),
        level: text("level"),
        purpose: text("purpose"),
        serial: text("serial"),
    }
}

/// Runs `biotrust` as somebody of the group.
pub(crate) fn cli(words: &[&str]) -> std::process::Output {
    Command::new("/usr/bin/biotrust")
        .args(["--control", CONTROL])
        .args(words)
        .output()
        .expect("biotrust starts")
}

/// The last lines of the daemon's log.
pub(crate) fn log_end() -> String {
    let log = fs::read_to_string(guest::share().join("biotrustd.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}
