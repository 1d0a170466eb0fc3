//! The program itself, against a daemon that is played over a real control socket.

// Helpers of tests are tests too, which clippy does not see in a test crate.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

/// Plays the daemon: answers every connection with `answer`, after one line has come in.
fn daemon(dir: &Path, answer: &str) -> PathBuf {
    let socket = dir.join("control.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let answer = format!("{answer}\n");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let question: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(question, json!({ "op": "status" }));
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
        }
    });
    socket
}

fn biotrust(socket: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_biotrust"));
    command.env("BIOTRUST_CONTROL", socket).env("NO_COLOR", "1").args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn ready() -> Value {
    json!({
        "serial": "SLAP00000001", "id": "BT0000000001", "make": "Example", "model": "Slap-4", "type": "Finger",
        "sub_type": "Slap", "level": "L0", "purpose": "Registration", "firmware": "1.0.0", "link": "slap.tty",
        "status": "Ready", "reason": "", "problem": null, "in_discovery": true, "in_info": true, "left_out": null,
        "certificate": { "subject": "CN=x", "not_after": "2099-01-01T00:00:00Z", "sha256": "00" },
        "checks": [{ "name": "chain", "ok": true, "text": "leads to an anchor" }], "streams": 2, "capturing": false
    })
}

fn unregistered() -> Value {
    let mut device = ready();
    device["serial"] = "IRIS00000001".into();
    device["id"] = "BT0000000002".into();
    device["status"] = "Not Registered".into();
    device["certificate"] = Value::Null;
    device["left_out"] = "it has no certificate".into();
    device["problem"] = json!({ "code": 100, "text": "Device is not registered", "who": "technician",
        "next": "Enrol the device with its provider's management server." });
    device
}

fn status(devices: Vec<Value>, state_dir: &Path) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"), "pid": 4711, "state_dir": state_dir, "devices": devices,
        "sbi": { "url": "http://127.0.0.1:4501/", "port": 4501 }, "notices": ["4501 was held by java (pid 99)"],
        "a member of a later version": true
    })
}

fn answer(status: &Value) -> String {
    json!({ "ok": true, "result": status }).to_string()
}

#[test]
fn all_ready_is_exit_status_0() {
    let dir = tempfile::tempdir().unwrap();
    let socket = daemon(dir.path(), &answer(&status(vec![ready()], dir.path())));
    let output = biotrust(&socket, &["status"]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{shown}");
    for word in [
        "Example Slap-4",
        "SLAP00000001",
        "Ready (2 previews)",
        "http://127.0.0.1:4501/",
        "none needs",
        "java",
    ] {
        assert!(shown.contains(word), "no {word:?} in\n{shown}");
    }
    assert!(!shown.contains('\u{1b}'), "no colours where nobody sees them");
}

#[test]
fn a_device_that_needs_somebody_is_exit_status_1_with_reason_and_next_step() {
    let dir = tempfile::tempdir().unwrap();
    let socket = daemon(dir.path(), &answer(&status(vec![ready(), unregistered()], dir.path())));
    let output = biotrust(&socket, &["status"]);
    // The table wraps: look for words, not sentences.
    let shown = text(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(output.status.code(), Some(1), "{shown}");
    for word in ["IRIS00000001", "Not Registered", "technician", "Enrol", "2 devices, 1 needs attention"] {
        assert!(shown.contains(word), "no {word:?} in\n{shown}");
    }
}

#[test]
fn no_device_is_exit_status_1() {
    let dir = tempfile::tempdir().unwrap();
    let socket = daemon(dir.path(), &answer(&status(vec![], dir.path())));
    let output = biotrust(&socket, &["status"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).starts_with("No device is connected."));
}

#[test]
fn json_is_the_whole_status() {
    let dir = tempfile::tempdir().unwrap();
    let whole = status(vec![unregistered()], dir.path());
    let socket = daemon(dir.path(), &answer(&whole));
    let output = biotrust(&socket, &["status", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), whole);
}

#[test]
fn a_daemon_that_cannot_be_asked_is_exit_status_2_with_the_cause() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent.sock");
    let stale = dir.path().join("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    for (socket, word, code) in
        [(&absent, "systemctl start", "no_socket"), (&stale, "ended without", "nobody_listens")]
    {
        let output = biotrust(socket, &["status"]);
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(text(&output.stdout), "");
        assert!(text(&output.stderr).contains(word), "{}", text(&output.stderr));

        let output = biotrust(socket, &["status", "--json"]);
        assert_eq!(output.status.code(), Some(2));
        let error: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(error["error"]["code"], code);
        assert!(error["error"]["next"].as_str().unwrap().contains(word));
    }
}

#[test]
fn nonsense_from_the_socket_is_exit_status_2() {
    for (nonsense, word) in [
        ("HTTP/1.1 400 Bad Request", "no JSON"),
        (r#"{"ok":true,"result":{"version":"1"}}"#, "no list of devices"),
        (r#"{"ok":false,"error":{"code":"unknown_op","message":"what?"}}"#, "refused: what? (unknown_op)"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let output = biotrust(&daemon(dir.path(), nonsense), &["status"]);
        assert_eq!(output.status.code(), Some(2), "{nonsense}");
        assert!(text(&output.stderr).contains(word), "{}", text(&output.stderr));
    }
}

#[test]
fn names_of_devices_cannot_steer_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let mut device = ready();
    device["make"] = "\u{1b}]0;owned\u{7}".into();
    let socket = daemon(dir.path(), &answer(&status(vec![device], dir.path())));
    for command in ["status", "doctor"] {
        let output = biotrust(&socket, &[command]);
        let shown = text(&output.stdout);
        assert!(!shown.contains(['\u{1b}', '\u{7}']), "{shown:?}");
    }
}

#[test]
fn wrong_usage_is_neither_of_the_meanings() {
    let output = biotrust(Path::new("/nonexistent"), &["status", "--nonsense"]);
    assert_eq!(output.status.code(), Some(64));
    let output = biotrust(Path::new("/nonexistent"), &["--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("doctor"));
}

/// A stand-in for `biotrustd --config FILE --check-config`.
fn checker(dir: &Path, script: &str) -> PathBuf {
    let program = dir.join("checker");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    program
}

/// Verdict of each check of `doctor --json`, with its text.
fn doctor(socket: &Path, config: &Path, checker: &Path) -> (i32, Vec<(String, String, String)>) {
    let (config, checker) = (config.to_str().unwrap(), checker.to_str().unwrap());
    let output = biotrust(socket, &["doctor", "--json", "--config", config, "--biotrustd", checker]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let word = |check: &Value, name: &str| check[name].as_str().unwrap_or_default().to_owned();
    let checks = report["checks"].as_array().unwrap();
    let checks = checks.iter().map(|c| (word(c, "check"), word(c, "verdict"), word(c, "text"))).collect();
    assert_eq!(report["ok"].as_bool().unwrap(), output.status.code() == Some(0));
    (output.status.code().unwrap(), checks)
}

fn verdict<'a>(checks: &'a [(String, String, String)], name: &str) -> (&'a str, &'a str) {
    let (_, verdict, text) = checks.iter().find(|(check, ..)| check == name).unwrap();
    (verdict, text)
}

#[test]
fn the_doctor_asks_the_daemon_about_its_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("biotrust.toml");
    let absent = dir.path().join("absent.sock");
    std::fs::write(&config, "").unwrap();
    let accepts =
        checker(dir.path(), "[ \"$1\" = --config ] && [ -f \"$2\" ] && [ \"$3\" = --check-config ]");
    assert_eq!(verdict(&doctor(&absent, &config, &accepts).1, "configuration").0, "ok");

    let refuses = checker(dir.path(), "echo 'biotrust.toml:3: unknown key prots' >&2; exit 1");
    let checks = doctor(&absent, &config, &refuses).1;
    let (verdict_, text) = verdict(&checks, "configuration");
    assert_eq!(verdict_, "fail");
    assert!(text.contains("biotrust.toml:3: unknown key prots"), "{text}");

    let checks = doctor(&absent, &dir.path().join("absent.toml"), &accepts).1;
    assert_eq!(verdict(&checks, "configuration").0, "warn");
    let checks = doctor(&absent, &config, Path::new("/nonexistent/biotrustd")).1;
    assert_eq!(verdict(&checks, "configuration").0, "fail");
}

#[test]
fn the_doctor_goes_on_without_a_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("biotrust.toml");
    std::fs::write(&config, "").unwrap();
    let (exit_status, checks) =
        doctor(&dir.path().join("absent.sock"), &config, &checker(dir.path(), "true"));
    assert_eq!(exit_status, 1);
    assert_eq!(verdict(&checks, "daemon").0, "fail");
    for (name, expected) in [("port", "skip"), ("devices", "skip"), ("clock", "ok")] {
        assert_eq!(verdict(&checks, name).0, expected, "{name}");
    }
}

#[test]
fn the_doctor_names_what_ails() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::set_permissions(&state, Permissions::from_mode(0o750)).unwrap();
    let mut old = ready();
    old["certificate"]["not_after"] = "2020-01-01T00:00:00Z".into();
    let mut whole = status(vec![ready(), unregistered(), old], &state);
    // Nobody listens here.
    whole["sbi"] = json!({ "url": "", "port": 1 });
    whole["notices"] = json!([]);
    let socket = daemon(dir.path(), &answer(&whole));
    let config = dir.path().join("biotrust.toml");
    std::fs::write(&config, "").unwrap();
    let (exit_status, checks) = doctor(&socket, &config, &checker(dir.path(), "true"));
    assert_eq!(exit_status, 1);
    for (name, expected) in [
        ("configuration", "ok"),
        ("daemon", "ok"),
        ("port", "fail"),
        ("clock", "ok"),
        ("certificates", "fail"),
        ("devices", "fail"),
        ("permissions", "ok"),
    ] {
        assert_eq!(verdict(&checks, name).0, expected, "{name}: {checks:?}");
    }
    std::fs::set_permissions(&state, Permissions::from_mode(0o755)).unwrap();
    let (_, checks) = doctor(&socket, &config, &checker(dir.path(), "true"));
    assert_eq!(verdict(&checks, "permissions").0, "fail");
}
