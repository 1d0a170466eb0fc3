//! The daemon as a service of systemd, by the unit that is shipped: what it can do in its sandbox, and what it cannot.

use std::fs;
use std::path::Path;
use std::process::Command;

use biotrust_tests::wait;
use serde_json::{Value, json};

use crate::guest::{self, shown};
use crate::host::{self, Account, Daemon};
use crate::judge::Judge;
use crate::ptys::Devices;

const UNIT: &str = "biotrustd.service";
const CONFIG: &str = "
[sbi]
finish_margin_ms = 5000
[ftm]
backend = \"tpm\"
ek_anchors = [\"/etc/biotrust/anchors/tpm-maker.pem\"]
";

/// Everything about the unit.
pub(crate) fn run() {
    shown("systemd runs");
    host::install();
    host::anchor(&guest::share().join("tpm/ca/issuer.pem"), "tpm-maker.pem");
    guest::run("usermod", &["--append", "--groups", "tss", "biotrust"]);
    guest::run("udevadm", &["trigger", "--settle", "--subsystem-match=tpmrm", "--action=add"]);
    let devices =
        Devices::start(&Account::named("biotrust"), &["--profile", "registration", "--level", "l0"]);
    host::configure(&[CONFIG, &devices.config()].concat());
    systemctl(&["daemon-reload"]);
    systemctl(&["start", UNIT]);
    let daemon = running();
    shown("the unit starts, as it is shipped");

    let status = host::control(&json!({"op": "ftm_status"}))["result"].clone();
    assert_eq!((&status["kind"], &status["usable"]), (&json!("tpm"), &json!(true)), "{status}");
    let line = ready();
    Judge::of(&devices.pki(), "").any(daemon.port, &host::device(&line));
    shown("in its sandbox it uses the TPM, devices and the port: a capture is accepted");

    confined(daemon.pid);
    shown("it has no rights, no way to more, nothing to write but its state, nothing to see of users");

    biotrust_tests::instance::signal(daemon.pid, rustix::process::Signal::KILL);
    let gone =
        wait::until(host::PATIENCE, || (!Path::new(&format!("/proc/{}", daemon.pid)).exists()).then_some(()));
    gone.expect("a killed process ends");
    let again = running();
    assert_ne!(again.pid, daemon.pid);
    ready();
    shown("killed, it is started again, and the devices are ready");

    systemctl(&["stop", UNIT]);
    let result = systemctl(&["show", "--property=Result,ActiveState", UNIT]);
    assert!(result.contains("Result=success") && result.contains("ActiveState=inactive"), "{result}");
    let journal = systemctl_warnings();
    assert_eq!(journal, "", "what systemd says of the unit");
    shown("stopped in good order");
}

/// What systemd complained of: a key that this system cannot enforce is a hole in the sandbox.
fn systemctl_warnings() -> String {
    let output = Command::new("journalctl")
        .args(["--unit", UNIT, "--priority", "warning", "--output", "cat", "--no-pager", "_PID=1"])
        .output()
        .expect("journalctl starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected = |line: &&str| {
        // The kill of this scenario.
        !line.contains("Main process exited")
            && !line.contains("Failed with result 'signal'")
            && !line.contains("No entries")
    };
    said.lines().filter(expected).collect::<Vec<_>>().join("\n")
}

/// The sandbox as it is in force, each with what holds outside of it.
fn confined(pid: u32) {
    let status = |pid: &str| fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let value = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().to_owned()
    };
    let [daemon, ours] = [status(&pid.to_string()), status("self")];
    for (name, confined) in [("CapEff", "0000000000000000"), ("NoNewPrivs", "1"), ("Seccomp", "2")] {
        assert_eq!(value(&daemon, name), confined, "{name}");
        assert_ne!(value(&ours, name), confined, "{name}, outside");
    }
    let uid = Account::named("biotrust").uid.to_string();
    assert!(value(&daemon, "Uid").split_whitespace().all(|id| id == uid), "{daemon}");
    // The file system as the daemon sees it: through its root, with our rights.
    let seen = |path: &str| format!("/proc/{pid}/root{path}");
    for path in ["/usr/bin/x", "/etc/x", "/var/lib/x"] {
        let kept_out = fs::write(seen(path), "x").expect_err(path);
        assert_eq!(kept_out.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{path}");
        fs::write(path, "x").expect("outside it can be written");
    }
    fs::write(seen("/var/lib/biotrust/x"), "x").expect("its state can be written");
    fs::create_dir_all("/home/somebody").expect("a home");
    assert!(!Path::new(&seen("/home/somebody")).exists() && Path::new("/home/somebody").exists());
}

fn systemctl(words: &[&str]) -> String {
    guest::run("systemctl", words)
}

/// The daemon that systemd runs, once it answers.
fn running() -> Daemon {
    let started = wait::until(host::PATIENCE, || {
        let state = systemctl(&["show", "--property=ActiveState", UNIT]);
        assert!(!state.contains("failed"), "{}", log());
        std::os::unix::net::UnixStream::connect(host::CONTROL).ok()
    });
    started.unwrap_or_else(|| panic!("the unit does not serve\n{}", log()));
    Daemon::of_unit()
}

fn log() -> String {
    guest::run("journalctl", &["--unit", UNIT, "--output", "cat", "--no-pager", "--lines", "40"])
}

fn ready() -> Value {
    let found = wait::until(host::PATIENCE, || {
        host::devices().into_iter().find(|line| line["type"] == "Iris" && line["status"] == "Ready")
    });
    found.unwrap_or_else(|| panic!("no device is ready: {:#}\n{}", json!(host::devices()), log()))
}
