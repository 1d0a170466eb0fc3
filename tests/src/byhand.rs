//! The programs without the demo around them: a daemon with a configuration of the test's own, devices apart from it, and a device provider
//! whose certificates the test makes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use biosim_backends::testkit::{Holder, Kind, issue};
use rcgen::{CertificateParams, CertificateSigningRequestParams, DnType, Issuer, KeyUsagePurpose};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::instance::{control, program, signal};
use crate::wait;

/// How long a daemon that cannot start may take to say so.
const PATIENCE: Duration = Duration::from_secs(30);

/// A private folder with everything that a daemon needs to be configured.
pub struct Bench {
    dir: tempfile::TempDir,
    /// Anchor of device keys.
    pub device_root: Holder,
    /// Provider that certifies device keys.
    pub provider: Holder,
    /// Anchor of chip keys.
    pub ftm_root: Holder,
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

impl Bench {
    /// Makes folder, anchors and provider.
    ///
    /// # Panics
    /// When the disk does not play along.
    #[must_use]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("bt-").tempdir().expect("a temporary folder");
        std::fs::create_dir(dir.path().join("links")).expect("a folder");
        let device_root = issue("Device root", Kind::Ca, None);
        let provider = issue("Device provider", Kind::Ca, Some(&device_root));
        let ftm_root = issue("FTM root", Kind::Ca, None);
        let bench = Self { dir, device_root, provider, ftm_root };
        bench.write("device.pem", &format!("{}{}", bench.device_root.pem, bench.provider.pem));
        bench.write("ftm.pem", &bench.ftm_root.pem);
        bench
    }

    /// A path in the folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file.
    ///
    /// # Panics
    /// When it cannot.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file is written");
    }

    /// A configuration that works; `sbi` goes into its section of that name, `more` at the end.
    #[must_use]
    pub fn config(&self, sbi: &str, more: &str) -> String {
        let dir = self.dir.path().display();
        format!(
            "[sbi]\n{sbi}\n[trust]\ndevice_anchors = [\"{dir}/device.pem\"]\nftm_anchors = [\"{dir}/ftm.pem\"]\n\
             [buses]\nwatch = []\n[serial]\nlinks = \"{dir}/links\"\n[state]\ndirectory = \"{dir}/state\"\n\
             [control]\nsocket = \"{dir}/control.sock\"\n{more}"
        )
    }

    /// Starts biotrustd with this configuration and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn daemon(&self, config: &str) -> Daemon {
        let mut daemon = self.spawn(config);
        let ready = self.path("ready.json");
        let text = wait::until(PATIENCE, || match daemon.child.try_wait().expect("a child") {
            Some(status) => panic!("biotrustd ended ({status}): {}", daemon.stderr()),
            None => std::fs::read(&ready).ok(),
        });
        let text = text.unwrap_or_else(|| panic!("biotrustd is not ready: {}", daemon.stderr()));
        let ready: Value = serde_json::from_slice(&text).expect("JSON");
        let url = ready["sbi"].as_str().expect("a URL");
        daemon.port =
            url.trim_end_matches('/').rsplit(':').next().and_then(|p| p.parse().ok()).expect("a port");
        daemon
    }

    /// Starts biotrustd where it must refuse to run; answers its exit status and what it said.
    ///
    /// # Panics
    /// When it runs after all.
    #[must_use]
    pub fn refusal(&self, config: &str) -> (ExitStatus, String) {
        let mut daemon = self.spawn(config);
        let status = wait::until(PATIENCE, || daemon.child.try_wait().expect("a child"));
        let status = status.unwrap_or_else(|| panic!("biotrustd runs: {}", daemon.stderr()));
        (status, daemon.stderr())
    }

    fn spawn(&self, config: &str) -> Daemon {
        self.write("biotrust.toml", config);
        let log = self.path("stderr.log");
        let child = Command::new(program("biotrustd"))
            .arg("--config")
            .arg(self.path("biotrust.toml"))
            .arg("--ready-file")
            .arg(self.path("ready.json"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a log"))
            .spawn()
            .expect("biotrustd starts");
        Daemon { child, log, port: 0 }
    }

    /// Plugs in virtual devices that nobody enrols.
    ///
    /// # Panics
    /// When biosim does not start.
    #[must_use]
    pub fn devices(&self, profile: &str, level: &str) -> Devices {
        let ready = self.path("devices.json");
        let child = Command::new(program("biosim"))
            .args(["serve", "--profile", profile, "--level", level, "--links"])
            .arg(self.path("links"))
            .arg("--control")
            .arg(self.path("biosim.sock"))
            .arg("--ready-file")
            .arg(&ready)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.path("biosim.log")).expect("a log"))
            .spawn()
            .expect("biosim starts");
        let mut devices = Devices { child };
        let there =
            wait::until(Duration::from_secs(90), || match devices.child.try_wait().expect("a child") {
                Some(status) => panic!("biosim ended: {status}"),
                None => ready.exists().then_some(()),
            });
        assert!(there.is_some(), "biosim is not ready");
        devices
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

    /// Certifies the new key of a device by the provider, valid from a minute ago until `valid_for` from now.
    ///
    /// # Panics
    /// When the daemon refuses a step.
    pub fn enrol(&self, serial: &str, valid_for: Duration) {
        let begun = self.control(&json!({"op": "enrol_begin", "serial": serial}));
        let csr = begun["result"]["csr"].as_str().unwrap_or_else(|| panic!("no CSR: {begun}"));
        let csr = STANDARD.decode(csr).expect("base64");
        let certificate = self.certificate(&csr, serial, valid_for);
        let chain = [STANDARD.encode(certificate), STANDARD.encode(&self.provider.der)];
        let done = self.control(&json!({"op": "enrol_finish", "serial": serial, "chain": chain}));
        assert!(done["ok"] == true, "enrolment: {done}");
    }

    fn certificate(&self, csr: &[u8], serial: &str, valid_for: Duration) -> Vec<u8> {
        let csr = CertificateSigningRequestParams::from_der(&csr.to_vec().into()).expect("a CSR");
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CountryName, "FR");
        params.distinguished_name.push(DnType::OrganizationName, "Judges");
        params.distinguished_name.push(DnType::CommonName, serial);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let now =
            std::time::UNIX_EPOCH + Duration::from_millis(u64::try_from(crate::now().0).expect("after 1970"));
        params.not_before = (now - Duration::from_secs(60)).into();
        params.not_after = (now + valid_for).into();
        let der = self.provider.der.clone().into();
        let issuer = Issuer::from_ca_cert_der(&der, &self.provider.key).expect("the provider");
        params.signed_by(&csr.public_key, &issuer).expect("a certificate").der().to_vec()
    }
}

/// A running biotrustd. Dropping it ends it.
pub struct Daemon {
    child: Child,
    log: PathBuf,
    /// Port of the service.
    pub port: u16,
}

impl Daemon {
    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it wrote to standard error.
    #[must_use]
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends SIGTERM and answers the exit status and the time it took.
    ///
    /// # Panics
    /// When it does not end.
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        let start = std::time::Instant::now();
        signal(self.child.id(), Signal::TERM);
        let status = wait::until(PATIENCE, || self.child.try_wait().expect("a child"));
        (status.unwrap_or_else(|| panic!("it goes on: {}", self.stderr())), start.elapsed())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Virtual devices. Dropping them unplugs them.
pub struct Devices {
    child: Child,
}

impl Drop for Devices {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    if matches!(child.try_wait(), Ok(None)) {
        signal(child.id(), Signal::TERM);
        if wait::until(Duration::from_secs(10), || child.try_wait().ok().flatten()).is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Runs `biosim ctl` against the devices of a bench.
///
/// # Panics
/// When it fails.
pub fn ctl(bench: &Bench, words: &[&str]) {
    let socket: &Path = &bench.path("biosim.sock");
    let output = Command::new(program("biosim"))
        .args(["ctl", "--control"])
        .arg(socket)
        .args(words)
        .output()
        .expect("biosim");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}
