//! A host with its devices, and the management server of their provider: three programs that a test may stop, kill and start
//! again, each by itself. (An [`Instance`](crate::Instance) is all of them under `biosim demo`, and always ready.)

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use biosim_backends::KeyManager;
use biosim_backends::session::IdaKey;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::instance::{Device, control, program, signal};
use crate::wait;

/// For a program to start, on a machine that is busy with other tests.
const STARTS_WITHIN: Duration = Duration::from_secs(90);
/// For a program that was asked to end.
const ENDS_WITHIN: Duration = Duration::from_secs(15);
/// For a device to be what a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// What the management server prints before its address.
const SERVER_AT: &str = "management server on ";

/// What to set up.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// "registration", "auth" or "all".
    pub profile: &'a str,
    /// "l0", "l1" or "mixed".
    pub level: &'a str,
    /// What the chips of L1 devices are: "software", "swtpm" or "mixed".
    pub chip: &'a str,
    /// Lines for sections of the daemon's configuration, such as `("sbi", "info_reuse_ms = 0")`.
    pub config: &'a [(&'a str, &'a str)],
    /// Let L0 devices register, as an operator does who knows their serial numbers.
    pub approved: bool,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Self { profile: "registration", level: "l1", chip: "software", config: &[], approved: true }
    }
}

/// The whole. Dropping it ends all programs.
pub struct Site {
    // In the order in which they end.
    daemon: Option<Program>,
    server: Option<Program>,
    _devices: Program,
    dir: TempDir,
    config: Vec<(String, String)>,
    listed: Vec<Value>,
    /// Serial numbers of the devices, all without a certificate at first.
    pub serials: Vec<String>,
    /// Port of the service, while the daemon runs.
    pub port: u16,
}

impl Site {
    /// Devices, management server and daemon, started; devices register as soon as they can.
    ///
    /// # Panics
    /// When a program does not start.
    #[must_use]
    pub fn start(plan: &Plan<'_>) -> Self {
        let mut site = Self::without_daemon(plan);
        site.start_daemon();
        site
    }

    /// The same without the daemon.
    ///
    /// # Panics
    /// When a program does not start.
    #[must_use]
    pub fn without_daemon(plan: &Plan<'_>) -> Self {
        let dir = tempfile::Builder::new().prefix("bt-").tempdir().expect("a temporary folder");
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("links")).expect("a folder");
        let mut command = Command::new(program("biosim"));
        command.args(["serve", "--profile", plan.profile, "--level", plan.level, "--chip", plan.chip]);
        for (option, name) in [
            ("--links", "links"),
            ("--control", "biosim.sock"),
            ("--pki-out", "pki"),
            ("--management-out", "mgmt"),
            ("--ready-file", "devices.json"),
        ] {
            command.arg(option).arg(at(name));
        }
        let mut devices = Program::start(command, at("biosim.log"));
        let listed = devices.until(|_| std::fs::read(at("devices.json")).ok());
        let listed: Value = serde_json::from_slice(&listed).expect("JSON");
        let listed = listed["devices"].as_array().expect("devices").clone();
        let serials =
            listed.iter().map(|device| device["serial"].as_str().expect("a text").to_owned()).collect();
        let mut site = Self {
            daemon: None,
            server: None,
            _devices: devices,
            dir,
            config: Vec::new(),
            listed,
            serials,
            port: 0,
        };
        // Any free port, so that several of these run side by side; and devices that ask for orders every second.
        site.edit_server_config("listen", "\"127.0.0.1:0\"");
        site.edit_server_config("poll_s", "1");
        site.start_server();
        if plan.approved && plan.level != "l1" {
            site.serials.iter().for_each(|serial| drop(site.mgmt(&["approve", serial])));
        }
        site.config = site.basic_config();
        plan.config.iter().for_each(|(section, line)| site.configure(section, line));
        site
    }

    fn basic_config(&self) -> Vec<(String, String)> {
        let quoted = |name: &str| format!("{:?}", self.path(name).display().to_string());
        let url = std::fs::read_to_string(self.path("url")).expect("the server was started");
        [
            ("sbi", "port = 0".to_owned()),
            // More than a host of its own needs: machines that run tests are busy.
            ("sbi", "finish_margin_ms = 1500".to_owned()),
            ("sbi", "allow_l0_auth = true".to_owned()),
            ("trust", format!("device_anchors = [{}]", quoted("pki/device-anchors.pem"))),
            ("trust", format!("ftm_anchors = [{}]", quoted("pki/ftm-anchors.pem"))),
            ("metadata", format!("file = {}", quoted("pki/model-metadata.jws"))),
            ("metadata", format!("anchors = [{}]", quoted("pki/adopter-anchor.pem"))),
            ("management", format!("url = {url:?}")),
            ("management", format!("anchors = [{}]", quoted("pki/device-anchors.pem"))),
            ("encryption", format!("certificate = {}", quoted("pki/ida-certificate.pem"))),
            // devices of the machine that runs the tests stay out
            ("buses", "watch = []".to_owned()),
            ("serial", format!("links = {}", quoted("links"))),
            ("state", format!("directory = {}", quoted("state"))),
            ("control", format!("socket = {}", quoted("control.sock"))),
        ]
        .map(|(section, line)| (section.to_owned(), line))
        .to_vec()
    }

    /// Adds a line to a section of the daemon's configuration, in the place of one with the same key; counts at its next start.
    pub fn configure(&mut self, section: &str, line: &str) {
        let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
        self.config.retain(|(other, text)| other != section || key(text) != key(line));
        self.config.push((section.to_owned(), line.to_owned()));
    }

    /// A path in the folder of all this.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the daemon with the configuration as it is now.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start_daemon(&mut self) {
        let mut text = String::new();
        let mut sections: Vec<&str> = self.config.iter().map(|(section, _)| section.as_str()).collect();
        sections.sort_unstable();
        sections.dedup();
        for section in sections {
            text.push_str(&format!("[{section}]\n"));
            let lines = self.config.iter().filter(|(of, _)| of == section);
            lines.for_each(|(_, line)| text.push_str(&format!("{line}\n")));
        }
        std::fs::write(self.path("biotrust.toml"), text).expect("a configuration");
        let ready = self.path("ready.json");
        let _ = std::fs::remove_file(&ready);
        let mut command = Command::new(program("biotrustd"));
        command.arg("--config").arg(self.path("biotrust.toml")).arg("--ready-file").arg(&ready);
        let mut daemon = Program::start(command, self.path("biotrustd.log"));
        let ready: Value =
            serde_json::from_slice(&daemon.until(|_| std::fs::read(&ready).ok())).expect("JSON");
        let url = ready["sbi"].as_str().expect("a URL").trim_end_matches('/').to_owned();
        self.port = url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        self.daemon = Some(daemon);
    }

    /// Ends the daemon in good order.
    pub fn stop_daemon(&mut self) {
        self.daemon = None;
    }

    /// Ends the daemon as a power cut does.
    ///
    /// # Panics
    /// When it is not running.
    pub fn kill_daemon(&mut self) {
        self.daemon.take().expect("the daemon runs").kill();
    }

    /// Starts the management server; again where it was.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_server(&mut self) {
        let mut command = Command::new(program("biosim"));
        command.args(["mgmt", "--config"]).arg(self.path("mgmt/mgmt.toml")).arg("serve");
        let mut server = Program::start(command, self.path("mgmt.log"));
        let url = server.until(|log| {
            let lines = log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
            lines.filter_map(|line| line.strip_prefix(SERVER_AT)).next().map(str::to_owned)
        });
        std::fs::write(self.path("url"), &url).expect("a file");
        let address = url.trim_start_matches("https://").trim_end_matches('/');
        self.edit_server_config("listen", &format!("{address:?}"));
        self.server = Some(server);
    }

    /// Ends the management server.
    pub fn stop_server(&mut self) {
        self.server = None;
    }

    /// Changes a value of the server's configuration, which counts at its next start.
    fn edit_server_config(&self, key: &str, value: &str) {
        let file = self.path("mgmt/mgmt.toml");
        let text = std::fs::read_to_string(&file).expect("the server's configuration");
        let mut found = false;
        let lines = text.lines().map(|line| {
            if line.split('=').next().is_some_and(|name| name.trim() == key) {
                found = true;
                return format!("{key} = {value}\n");
            }
            format!("{line}\n")
        });
        let text: String = lines.collect();
        assert!(found, "no {key} in {text}");
        std::fs::write(file, text).expect("the server's configuration");
    }

    /// One request on the daemon's control socket.
    #[must_use]
    pub fn control(&self, request: &Value) -> Value {
        control(&self.path("control.sock"), request)
    }

    /// The daemon's status.
    #[must_use]
    pub fn status(&self) -> Value {
        self.control(&json!({"op": "status"}))["result"].clone()
    }

    /// What the status shows of a device; null where it is not there.
    #[must_use]
    pub fn shown(&self, serial: &str) -> Value {
        let status = self.status();
        let devices = status["devices"].as_array().cloned().unwrap_or_default();
        devices.into_iter().find(|device| device["serial"] == serial).unwrap_or_default()
    }

    /// Waits until what the status shows of a device is as wanted, and answers that.
    ///
    /// # Panics
    /// When it does not become so.
    pub fn until(&self, serial: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = wait::until(PATIENCE, || Some(self.shown(serial)).filter(&wanted));
        found.unwrap_or_else(|| {
            panic!("{serial} does not become {what}: {:#}\n{}", self.shown(serial), self.log_end())
        })
    }

    /// What the chip of a device is: "software", "swtpm", or nothing at L0.
    ///
    /// # Panics
    /// When there is no such device.
    #[must_use]
    pub fn chip(&self, serial: &str) -> &str {
        let found = self.listed.iter().find(|device| device["serial"] == serial);
        found.unwrap_or_else(|| panic!("no device {serial}"))["chip"].as_str().unwrap_or_default()
    }

    /// The device as clients address it, while it is connected.
    #[must_use]
    pub fn device(&self, serial: &str) -> Device {
        let shown = self.shown(serial);
        let text = |name: &str| shown[name].as_str().unwrap_or_default().to_owned();
        Device {
            id: text("id"),
            bio_type: text("type"),
            sub_type: text("sub_type"),
            level: text("level"),
            purpose: text("purpose"),
            serial: text("serial"),
        }
    }

    /// Waits until a device is Ready, and answers what is shown of it.
    ///
    /// # Panics
    /// When it does not become so.
    pub fn ready(&self, serial: &str) -> Value {
        self.until(serial, "Ready", |device| device["status"] == "Ready")
    }

    /// Runs `biotrust` against this daemon.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn cli(&self, words: &[&str]) -> Output {
        let mut command = Command::new(program("biotrust"));
        command.arg("--control").arg(self.path("control.sock")).args(words);
        command.output().expect("biotrust starts")
    }

    /// Runs `biosim ctl` against these devices.
    ///
    /// # Panics
    /// When it fails.
    pub fn ctl(&self, words: &[&str]) {
        let mut command = Command::new(program("biosim"));
        command.args(["ctl", "--control"]).arg(self.path("biosim.sock")).args(words);
        succeeded(words, &command.output().expect("biosim starts"));
    }

    /// Gives an order as the operator of the management server, and answers what it prints.
    ///
    /// # Panics
    /// When it fails.
    pub fn mgmt(&self, words: &[&str]) -> String {
        succeeded(words, &self.try_mgmt(words))
    }

    /// What the management server has recorded of a device, with its keys; `None` where it knows no such device.
    ///
    /// # Panics
    /// When the server's database cannot be read.
    #[must_use]
    pub fn registered(&self, serial: &str) -> Option<Value> {
        let devices: Value = serde_json::from_str(&self.mgmt(&["devices", "--json"])).expect("JSON");
        let devices = devices.as_array().cloned().unwrap_or_default();
        devices.into_iter().find(|device| device["serial"] == serial)
    }

    /// Tries to give an order as the operator of the management server.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[must_use]
    pub fn try_mgmt(&self, words: &[&str]) -> Output {
        let mut command = Command::new(program("biosim"));
        command.args(["mgmt", "--config"]).arg(self.path("mgmt/mgmt.toml")).args(words);
        command.output().expect("biosim starts")
    }

    /// The trust stores of a relying party.
    ///
    /// # Panics
    /// When the anchors cannot be read.
    #[must_use]
    pub fn keys(&self) -> KeyManager {
        let [device, ftm] = ["pki/device-anchors.pem", "pki/ftm-anchors.pem"].map(|name| self.text(name));
        KeyManager::from_pem(&device, &ftm).expect("anchors")
    }

    /// The stand-in key of ID authentication.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn ida_key(&self) -> IdaKey {
        let [key, certificate] = ["pki/ida-key.pem", "pki/ida-certificate.pem"].map(|name| self.text(name));
        IdaKey::from_pem(&key, &certificate).expect("the key of IDA")
    }

    /// Contents of a file.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        let path = self.path(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The log of the daemon's last run.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("biotrustd.log")).unwrap_or_default()
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// What a program printed that must have succeeded.
fn succeeded(words: &[&str], output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {}\n{error}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A running program with its output in a file. Dropping it ends it in good order.
struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    fn start(mut command: Command, log: PathBuf) -> Self {
        let output = File::create(&log).expect("a log");
        let second = output.try_clone().expect("a second handle");
        let child =
            command.stdin(Stdio::null()).stdout(second).stderr(output).spawn().expect("a program starts");
        Self { child, log }
    }

    /// Waits until `look`, which is shown what the program has printed so far, finds something.
    fn until<T>(&mut self, look: impl Fn(&str) -> Option<T>) -> T {
        let output = |log: &Path| std::fs::read_to_string(log).unwrap_or_default();
        let found = wait::until(STARTS_WITHIN, || match self.child.try_wait().expect("a child") {
            Some(status) => Some(Err(status)),
            None => look(&output(&self.log)).map(Ok),
        });
        match found {
            Some(Ok(found)) => found,
            Some(Err(status)) => panic!("{} ended ({status}):\n{}", self.log.display(), output(&self.log)),
            None => panic!("{} is not ready:\n{}", self.log.display(), output(&self.log)),
        }
    }

    fn kill(mut self) {
        self.child.kill().expect("a running program");
        self.child.wait().expect("its end");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        signal(self.child.id(), Signal::TERM);
        if wait::until(ENDS_WITHIN, || self.child.try_wait().ok().flatten()).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
