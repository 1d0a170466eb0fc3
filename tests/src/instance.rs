//! The programs under test as child processes, each instance in a folder and on a port of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use biosim_backends::KeyManager;
use biosim_backends::session::IdaKey;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::wait;

/// From the start of a program to its ready file; machines that run tests are slow and busy.
const STARTS_WITHIN: Duration = Duration::from_secs(90);
/// From SIGTERM to the end.
const ENDS_WITHIN: Duration = Duration::from_secs(15);

/// Machines that run tests are busy with other tests: devices get more time to encode and sign than on a host of their own,
/// where the default of 400 ms is plenty. The instants at which answers are due do not change.
const ROOM: (&str, &str) = ("sbi", "finish_margin_ms = 1500");

/// A program of the workspace, beside this executable or the directory that it is in.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("an executable has a path");
    // target/PROFILE/program, or target/PROFILE/deps/test
    let found = exe.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not there: run `cargo build --bins` first"))
}

/// A device as the ready file lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// `deviceId` on the wire.
    pub id: String,
    /// "Finger", "Iris", "Face".
    pub bio_type: String,
    /// "Slap", "Single", "Double", "Full face".
    pub sub_type: String,
    /// "L0", "L1".
    pub level: String,
    /// "Registration", "Auth".
    pub purpose: String,
    /// Serial number.
    pub serial: String,
}

/// A running demo. Dropping it ends it.
pub struct Instance {
    child: Child,
    dir: TempDir,
    ready: Value,
    /// Port of the service.
    pub port: u16,
    /// Process id of the daemon.
    pub pid: u32,
    /// The devices.
    pub devices: Vec<Device>,
}

/// What to start.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// "registration", "auth" or "all".
    pub profile: &'a str,
    /// "l0", "l1" or "mixed".
    pub level: &'a str,
    /// Further options of `biosim demo`.
    pub options: &'a [&'a str],
    /// Port; `None` leaves the choice to the daemon.
    pub port: Option<u16>,
    /// Lines for sections of the daemon's configuration, such as `("sbi", "language = \"fr\"")`.
    pub config: &'a [(&'a str, &'a str)],
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self { profile: "all", level: "l1", options: &[], port: Some(0), config: &[] }
    }
}

impl Instance {
    /// Starts `biosim demo --serve-only` on a free port and waits until every device is ready.
    ///
    /// # Panics
    /// With the end of its output when it does not start.
    #[must_use]
    pub fn start(profile: &str, level: &str, options: &[&str]) -> Self {
        Self::set_up(&Setup { profile, level, options, ..Setup::default() })
    }

    /// [`Self::start`] with all choices.
    ///
    /// # Panics
    /// With the end of its output when it does not start.
    #[must_use]
    pub fn set_up(setup: &Setup<'_>) -> Self {
        let dir = tempfile::Builder::new().prefix("bt-").tempdir().expect("a temporary folder");
        let ready_file = dir.path().join("ready.json");
        let output = File::create(dir.path().join("biosim.log")).expect("a log file");
        let mut command = Command::new(program("biosim"));
        command.args(["demo", "--serve-only", "--profile", setup.profile, "--level", setup.level]);
        if let Some(port) = setup.port {
            command.args(["--port", &port.to_string()]);
        }
        let config = [&[ROOM], setup.config].concat();
        command.arg("--biotrustd").arg(configuring_wrapper(dir.path(), &config));
        let child = command
            .arg("--ready-file")
            .arg(&ready_file)
            .arg("--keep")
            .arg(dir.path().join("w"))
            .args(setup.options)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output)
            .spawn()
            .expect("biosim starts");
        let mut instance = Self { child, dir, ready: Value::Null, port: 0, pid: 0, devices: Vec::new() };
        instance.await_ready(&ready_file);
        instance
    }

    fn await_ready(&mut self, file: &Path) {
        let ready = wait::until(STARTS_WITHIN, || {
            if let Ok(text) = std::fs::read(file) {
                return Some(Ok(serde_json::from_slice::<Value>(&text).expect("the ready file is JSON")));
            }
            self.child.try_wait().expect("a child").map(Err)
        });
        self.ready = match ready {
            Some(Ok(ready)) => ready,
            Some(Err(status)) => panic!("biosim ended ({status}):\n{}", self.output()),
            None => panic!("biosim was not ready within {STARTS_WITHIN:?}:\n{}", self.output()),
        };
        self.port = port_of(self.text("sbi"));
        self.pid = self.ready["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a pid");
        let devices = self.ready["devices"].as_array().expect("a list of devices");
        let text = |device: &Value, name: &str| device[name].as_str().unwrap_or_default().to_owned();
        self.devices = devices
            .iter()
            .map(|device| Device {
                id: text(device, "id"),
                bio_type: text(device, "type"),
                sub_type: text(device, "sub_type"),
                level: text(device, "level"),
                purpose: text(device, "purpose"),
                serial: text(device, "serial"),
            })
            .collect();
    }

    /// A text member of the ready file.
    ///
    /// # Panics
    /// When it is not there.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap_or_else(|| panic!("the ready file has no {name}: {}", self.ready))
    }

    /// Everything that biosim has printed.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("biosim.log")).unwrap_or_default()
    }

    /// The daemon's log.
    #[must_use]
    pub fn daemon_log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("w/biotrustd.log")).unwrap_or_default()
    }

    /// The folder of this instance: configuration, state, sockets, log.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.dir.path().join("w")
    }

    /// The device of this type and purpose.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn device(&self, bio_type: &str, purpose: &str) -> &Device {
        let found = self.devices.iter().find(|d| d.bio_type == bio_type && d.purpose == purpose);
        found.unwrap_or_else(|| panic!("no {bio_type} device for {purpose} among {:?}", self.devices))
    }

    /// Runs `biosim ctl` with these words.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn try_ctl(&self, words: &[&str]) -> Output {
        Command::new(program("biosim"))
            .args(["ctl", "--control", self.text("control")])
            .args(words)
            .output()
            .expect("biosim ctl starts")
    }

    /// Runs `biosim ctl` and answers what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn ctl(&self, words: &[&str]) -> String {
        let output = self.try_ctl(words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "biosim ctl {words:?}: {}\n{error}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs `biotrust`, the technician's program, against the daemon.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn cli(&self, words: &[&str]) -> Output {
        Command::new(program("biotrust"))
            .args(["--control", self.text("agent_control")])
            .args(words)
            .output()
            .expect("biotrust starts")
    }

    /// One request on the daemon's control socket.
    ///
    /// # Panics
    /// When the socket does not answer one line of JSON.
    #[must_use]
    pub fn control(&self, request: &Value) -> Value {
        control(Path::new(self.text("agent_control")), request)
    }

    /// The daemon's line about a device, from its status.
    ///
    /// # Panics
    /// When the device is not in it.
    #[must_use]
    pub fn status_of(&self, device: &Device) -> Value {
        let status = self.control(&serde_json::json!({"op": "status"}));
        let devices = status["result"]["devices"].as_array().cloned().unwrap_or_default();
        let found = devices.into_iter().find(|line| line["serial"] == device.serial.as_str());
        found.unwrap_or_else(|| panic!("{} is not in the status: {status}", device.serial))
    }

    /// The trust stores that this instance's devices belong to.
    ///
    /// # Panics
    /// When the anchors cannot be read.
    #[must_use]
    pub fn keys(&self) -> KeyManager {
        let [device, ftm] = ["device_anchors", "ftm_anchors"].map(|name| self.file(name));
        KeyManager::from_pem(&device, &ftm).expect("anchors")
    }

    /// The stand-in key of ID authentication.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn ida_key(&self) -> IdaKey {
        let [key, certificate] = ["ida_key", "ida_certificate"].map(|name| self.file(name));
        IdaKey::from_pem(&key, &certificate).expect("the key of IDA")
    }

    /// Contents of a file that the ready file names.
    fn file(&self, name: &str) -> String {
        let path = self.text(name);
        std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{name} {path}: {e}"))
    }

    /// A line of `/proc/PID/status` of the daemon in KiB, such as `VmRSS`.
    ///
    /// # Panics
    /// When the daemon is gone.
    #[must_use]
    pub fn daemon_memory_kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("the daemon runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_whitespace().next()).and_then(|n| n.parse().ok());
        number.unwrap_or_else(|| panic!("no {name} in\n{status}"))
    }

    /// Asks the demo to end, as a person with Ctrl-C or a supervisor would, and answers its exit status.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn terminate(&mut self) -> std::process::ExitStatus {
        signal(self.child.id(), Signal::TERM);
        let ended = wait::until(ENDS_WITHIN, || self.child.try_wait().expect("a child"));
        ended.unwrap_or_else(|| panic!("biosim did not end within {ENDS_WITHIN:?}:\n{}", self.output()))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        signal(self.child.id(), Signal::TERM);
        if wait::until(ENDS_WITHIN, || self.child.try_wait().ok().flatten()).is_none() {
            // It cannot end its daemon any more.
            let _ = self.child.kill();
            let _ = self.child.wait();
            if self.pid != 0 {
                signal(self.pid, Signal::KILL);
            }
        }
    }
}

/// A stand-in for biotrustd that edits the configuration it is given and then becomes the real one.
fn configuring_wrapper(dir: &Path, config: &[(&str, &str)]) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    // biotrustd --config FILE --ready-file FILE
    let mut script = "#!/bin/sh\nset -e\n".to_owned();
    for (section, line) in config {
        let key = line.split('=').next().unwrap_or_default().trim();
        script.push_str(&format!(
            "sed -i '/^{key} = /d' \"$2\"\n\
             if grep -q '^\\[{section}\\]$' \"$2\"; then sed -i 's|^\\[{section}\\]$|[{section}]\\n{line}|' \"$2\"\n\
             else printf '\\n[{section}]\\n%s\\n' '{line}' >> \"$2\"; fi\n"
        ));
    }
    script.push_str(&format!("exec '{}' \"$@\"\n", program("biotrustd").display()));
    let path = dir.join("biotrustd.sh");
    std::fs::write(&path, script).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    path
}

/// One request on a control socket of the daemon.
///
/// # Panics
/// When the socket does not answer one line of JSON.
#[must_use]
pub fn control(socket: &Path, request: &Value) -> Value {
    use std::io::{BufRead as _, Write as _};
    let mut stream = std::os::unix::net::UnixStream::connect(socket).expect("the daemon's control socket");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    writeln!(stream, "{request}").expect("a request");
    let mut line = String::new();
    std::io::BufReader::new(stream).read_line(&mut line).expect("an answer");
    serde_json::from_str(&line).unwrap_or_else(|e| panic!("control socket: {e}: {line:?}"))
}

/// Sends a signal to a process that this harness has started.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Port in a base URL.
fn port_of(url: &str) -> u16 {
    let port = url.trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse().ok());
    port.unwrap_or_else(|| panic!("no port in {url:?}"))
}
