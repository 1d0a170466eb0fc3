//! `biotrust device` and `biotrust ftm`, against a daemon that is played over a real control socket.

// Helpers of tests are tests too, which clippy does not see in a test crate.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use serde_json::{Value, json};

/// Plays the daemon: `answer` says what each request gets.
struct Daemon {
    socket: PathBuf,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Daemon {
    fn play(dir: &Path, answer: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Self {
        let socket = dir.join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let asked = Arc::<Mutex<Vec<Value>>>::default();
        let (heard, answer) = (Arc::clone(&asked), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (heard, answer) = (Arc::clone(&heard), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let mut stream = BufReader::new(stream.unwrap());
                    let mut line = String::new();
                    stream.read_line(&mut line).unwrap();
                    assert!(line.len() <= 64 * 1024, "a line has 64 KiB at most");
                    let question: Value = serde_json::from_str(&line).unwrap();
                    heard.lock().unwrap().push(question.clone());
                    let _ = stream.get_mut().write_all(format!("{}\n", answer(&question)).as_bytes());
                });
            }
        });
        Self { socket, asked }
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_biotrust"));
        command.env("BIOTRUST_CONTROL", &self.socket).env("NO_COLOR", "1").args(args).output().unwrap()
    }

    fn ops(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|asked| asked["op"].as_str().unwrap().to_owned()).collect()
    }
}

fn ok(result: Value) -> Value {
    json!({ "ok": true, "result": result })
}

fn refused(code: &str, message: &str) -> Value {
    json!({ "ok": false, "error": { "code": code, "message": message } })
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn status(firmware: &str) -> Value {
    let plugged = json!({ "place": "usb:1-1.2", "bus": "usb", "driver": "link", "quirks": "reference-usb",
        "opened_after_ms": 98.25, "ready_after_ms": 131.5, "clone": null });
    let mut status = json!({
        "version": env!("CARGO_PKG_VERSION"), "pid": 1, "state_dir": "/", "notices": [],
        "sbi": { "url": "http://127.0.0.1:4501/", "port": 4501 },
        "management_server": "https://mgmt.example/",
        "time": { "now": "2026-11-24T15:00:00Z", "host": "2026-11-24T15:00:00Z", "trusted": true, "why_not": null,
            "age_s": 300, "skew_ms": -1500 },
        "devices": [{
            "serial": "SLAP00000001", "id": "BT0000000001", "make": "Example", "model": "Slap-4", "type": "Finger",
            "sub_type": "Slap", "level": "L0", "keys_at": "L1", "why_not_l1": "its model is not certified for L1",
            "attested_s": 4000, "purpose": "Registration", "firmware": firmware, "link": "slap.tty", "status": "Ready",
            "reason": null, "problem": null, "in_discovery": true, "in_info": true, "left_out": null,
            "certificate": { "subject": "CN=x", "not_after": "2026-12-20T15:00:00Z", "sha256": "AB" },
            "management": { "registered": true, "doing": null, "renewal": "2026-12-15T10:00:00Z",
                "offline_days_left": 9, "blocked": null, "refusal": null,
                "last": { "at": "2026-11-20T00:00:00Z", "text": "the management server cannot be reached" } },
            "update": { "received": 50, "size": 200 },
            "checks": [{ "name": "chip-path", "ok": true, "text": "leads to an anchor" }],
            "streams": 0, "capturing": false
        }]
    });
    let Value::Object(plugged) = plugged else { unreachable!() };
    status["devices"][0].as_object_mut().unwrap().extend(plugged);
    status
}

#[test]
fn status_shows_level_life_renewal_countdown_and_skew() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::play(dir.path(), |_| ok(status("1.0")));
    let shown = words(&stdout(&daemon.run(&["status"])));
    for word in ["1.500 s behind", "told 5 min ago", "https://mgmt.example/", "26 days", "OFFLINE, 9"] {
        assert!(shown.contains(word), "no {word:?} in {shown}");
    }
}

#[test]
fn a_device_is_shown_by_either_name() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::play(dir.path(), |_| ok(status("1.0")));
    for id in ["SLAP00000001", "BT0000000001"] {
        let output = daemon.run(&["device", "show", id]);
        let shown = words(&stdout(&output));
        assert_eq!(output.status.code(), Some(0));
        for word in [
            "L0: its model is not certified for L1",
            "attested 66 min ago",
            "26 days left",
            "offline: works for 9 more days",
            "next certificate asked for on 2026-12-15",
            "update 50 of 200 bytes",
            "ok chip-path: leads to an anchor",
            "place usb:1-1.2",
            "driver link (usb, entry reference-usb)",
            "plug to ready 132 ms (opened after 98 ms)",
        ] {
            assert!(shown.contains(word), "no {word:?} in {shown}");
        }
    }
    let output = daemon.run(&["device", "show", "OTHER"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("no device OTHER is connected") && stderr(&output).contains("device list")
    );
    let listed = words(&stdout(&daemon.run(&["device", "list"])));
    assert!(listed.contains("SLAP00000001") && listed.contains("BT0000000001"), "{listed}");
}

#[test]
fn rotation_says_the_new_certificate_or_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::play(dir.path(), |question| match question["op"].as_str() {
        Some("status") => ok(status("1.0")),
        Some("rotate") => {
            assert_eq!(question["serial"], "SLAP00000001");
            ok(json!({ "certificate_sha256": "AB12" }))
        }
        other => refused("bad_request", &format!("{other:?}")),
    });
    let output = daemon.run(&["device", "rotate", "BT0000000001"]);
    assert_eq!((output.status.code(), stdout(&output).contains("AB12")), (Some(0), true));
    let output = daemon.run(&["device", "rotate", "BT0000000001", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["certificate_sha256"], "AB12");

    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::play(dir.path(), |question| match question["op"].as_str() {
        Some("status") => ok(status("1.0")),
        _ => refused("refused", "there is no management server"),
    });
    let output = daemon.run(&["device", "rotate", "BT0000000001"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("there is no management server"), "{}", stderr(&output));
    let output = daemon.run(&["device", "rotate", "BT0000000001", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), answer["error"]["code"].as_str()), (Some(1), Some("refused")));
    let output = daemon.run(&["device", "rotate", "NOBODY", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), answer["error"]["code"].as_str()), (Some(1), Some("no_such_device")));
}

#[test]
fn evidence_goes_into_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::play(dir.path(), |question| match question["op"].as_str() {
        Some("status") => ok(status("1.0")),
        _ => ok(json!({ "evidence": "aaa.bbb.ccc" })),
    });
    let file = dir.path().join("evidence.jwt");
    let output = daemon.run(&["device", "evidence", "SLAP00000001", "--out", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "aaa.bbb.ccc\n");
    assert_eq!(stdout(&daemon.run(&["device", "evidence", "SLAP00000001"])), "aaa.bbb.ccc\n");
    let output = daemon.run(&["device", "evidence", "SLAP00000001", "--out", "/nonexistent/x"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn the_other_orders_say_what_they_did() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::play(dir.path(), |question| match question["op"].as_str() {
        Some("status") => ok(status("1.0")),
        Some("forget") => ok(json!({ "known": true })),
        Some("deregister") => ok(json!({ "told": true })),
        Some("time") => ok(json!({
            "host": { "now": "2026-11-24T15:00:00Z", "host": "2026-11-24T14:59:58Z", "trusted": true, "age_s": 300,
                "skew_ms": -1500 },
            "device": { "now": "2026-11-24T15:00:01Z", "skew_ms": 1000, "boot_count": 3 }
        })),
        _ => refused("bad_request", "?"),
    });
    for (args, says) in [
        (["device", "forget", "GONE"], "GONE is forgotten"),
        (["device", "deregister", "SLAP00000001"], "are destroyed; the management server is told"),
        (["device", "time", "SLAP00000001"], "this host 2026-11-24T14:59:58Z (1.500 s behind)"),
        (["device", "time", "SLAP00000001"], "the device 2026-11-24T15:00:01Z (1.000 s ahead)"),
    ] {
        let output = daemon.run(&args);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(words(&stdout(&output)).contains(says), "{}", stdout(&output));
    }
}

#[test]
fn an_update_arrives_piece_by_piece_and_ends_when_the_device_runs_it() {
    let dir = tempfile::tempdir().unwrap();
    let image: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
    let (manifest_file, image_file) = (dir.path().join("manifest.jwt"), dir.path().join("image.bin"));
    std::fs::write(&manifest_file, "aaa.bbb.ccc\n").unwrap();
    std::fs::write(&image_file, &image).unwrap();
    let received = Arc::<Mutex<Vec<u8>>>::default();
    let (got, finished) = (Arc::clone(&received), Arc::<Mutex<bool>>::default());
    let daemon = Daemon::play(dir.path(), move |question| match question["op"].as_str() {
        Some("status") => ok(status(if *finished.lock().unwrap() { "2.0" } else { "1.0" })),
        Some("update_begin") => {
            assert_eq!(question["manifest"], "aaa.bbb.ccc");
            ok(json!({ "update": 7, "size": 100_000, "version": "2.0" }))
        }
        Some("update_data") => {
            use base64::Engine as _;
            assert_eq!(question["update"], 7);
            let data = base64::engine::general_purpose::STANDARD.decode(question["data"].as_str().unwrap());
            got.lock().unwrap().extend(data.unwrap());
            ok(json!({ "received": got.lock().unwrap().len() }))
        }
        Some("update_finish") => {
            *finished.lock().unwrap() = true;
            ok(json!({ "from": "1.0" }))
        }
        _ => refused("bad_request", "?"),
    });
    let (manifest, image_path) = (manifest_file.to_str().unwrap(), image_file.to_str().unwrap());
    let args = ["device", "update", "SLAP00000001", "--manifest", manifest, "--image", image_path];
    let output = daemon.run(&args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("runs version 2.0 now; it ran 1.0"), "{}", stdout(&output));
    assert_eq!(*received.lock().unwrap(), image);

    let absent = ["device", "update", "SLAP00000001", "--manifest", "/nonexistent", "--image", image_path];
    let output = daemon.run(&absent);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("/nonexistent"), "{}", stderr(&output));
}

#[test]
fn a_trust_module_is_shown_and_provisioned() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::play(dir.path(), |question| match question["op"].as_str() {
        Some("ftm_status") => {
            ok(json!({ "kind": "tpm", "provisioned": false, "certificate": null, "reset_count": 4,
            "notices": ["it is not provisioned"] }))
        }
        Some("ftm_request") => {
            assert_eq!(
                (&question["common_name"], &question["organisation"]),
                (&json!("TPM1"), &json!("Chips Ltd"))
            );
            ok(json!({ "identity_request": "AAAA" }))
        }
        Some("ftm_activate") => ok(json!({ "secret": question["credential"] })),
        Some("ftm_install") => ok(json!({ "kind": "tpm", "provisioned": true, "notices": [],
            "certificate": { "subject": "CN=TPM1", "issuer": "CN=CA", "not_after": "2046-01-01T00:00:00Z" } })),
        _ => refused("bad_request", "?"),
    });
    let output = daemon.run(&["ftm", "status"]);
    assert_eq!(output.status.code(), Some(1), "it needs somebody");
    let shown = words(&stdout(&output));
    assert!(shown.contains("It has no certificate. Next: have its provider certify it"), "{shown}");
    assert!(shown.contains("Note: it is not provisioned"), "{shown}");

    let request = dir.path().join("request.json");
    let request_path = request.to_str().unwrap();
    let args = ["ftm", "provision", "--serial", "TPM1", "--organisation", "Chips Ltd", "--out", request_path];
    assert_eq!(daemon.run(&args).status.code(), Some(0));
    let written: Value = serde_json::from_slice(&std::fs::read(&request).unwrap()).unwrap();
    assert_eq!(written["identity_request"], "AAAA");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&request).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "an activation's answer holds a secret");

    let answer = dir.path().join("answer.json");
    for (content, status, says) in [
        (json!({ "credential": "Y3JlZA==", "secret": "c2Vj" }), 0, "Y3JlZA=="),
        (json!({ "identity": ["AA=="], "attestation": ["AA=="] }), 0, "The certificates are installed."),
        (json!({ "something": 1 }), 2, ""),
    ] {
        std::fs::write(&answer, content.to_string()).unwrap();
        let output = daemon.run(&["ftm", "provision", "--answer", answer.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(status), "{content}: {}", stderr(&output));
        assert!(stdout(&output).contains(says), "{}", stdout(&output));
    }
    let output = daemon.run(&["ftm", "provision"]);
    assert_eq!(output.status.code(), Some(64), "a request needs names");
    assert!(daemon.ops().iter().all(|op| op.starts_with("ftm_")));
}

/// Every state of a trust module has its words, and a status by which a script knows whether somebody has to come.
#[test]
fn a_trust_module_that_needs_somebody_is_told_from_one_that_is_well() {
    let certificate = json!({ "subject": "CN=TPM1", "issuer": "CN=CA", "not_after": "2046-01-01T00:00:00Z" });
    let tpm = |usable: bool, certificate: Value, notices: &[&str]| {
        json!({ "kind": "tpm", "usable": usable, "provisioned": !certificate.is_null(),
            "certificate": certificate, "reset_count": 1, "notices": notices })
    };
    let software = json!({ "kind": "software", "usable": true, "provisioned": true, "certificate": null,
        "reset_count": null, "notices": [] });
    for (report, status, says, says_not) in [
        (tpm(true, certificate.clone(), &[]), 0, "Its certificate: CN=TPM1", "Note:"),
        (software, 0, "level L0 only", "Next:"),
        (tpm(true, certificate, &["the TPM is in lockout"]), 1, "Note: the TPM is in lockout", "Next:"),
        (tpm(true, Value::Null, &[]), 1, "biotrust ftm provision", "cannot be used"),
        (tpm(false, Value::Null, &["no EK: ask its maker"]), 1, "Note: no EK: ask its maker", "provision"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let shown = report.clone();
        let daemon = Daemon::play(dir.path(), move |_| ok(shown.clone()));
        let output = daemon.run(&["ftm", "status"]);
        let text = words(&stdout(&output));
        assert_eq!(output.status.code(), Some(status), "{text}");
        assert!(text.contains(says) && !text.contains(says_not), "{text}");
        let output = daemon.run(&["ftm", "status", "--json"]);
        assert_eq!(output.status.code(), Some(status), "the same for programs");
        let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(json, report);
    }
}

#[test]
fn a_recording_is_fetched_in_pieces_and_written_whole() {
    let dir = tempfile::tempdir().unwrap();
    let tape = "{\"version\":1}\n{\"us\":1}\n{\"us\":2}\n";
    let daemon = Daemon::play(dir.path(), move |asked| match asked["op"].as_str().unwrap() {
        "record_begin" if asked["device"] != "usb:1-1.2" => {
            refused("no_such_device", "nothing is plugged in")
        }
        "record_begin" => {
            ok(json!({ "recording": 7, "place": "usb:1-1.2", "driver": "r30x", "with_contents": false }))
        }
        "record_data" => {
            assert_eq!(asked["recording"], 7);
            let offset = asked["offset"].as_u64().unwrap() as usize;
            let piece = &tape.as_bytes()[offset..(offset + 20).min(tape.len())];
            ok(json!({ "data": base64::engine::general_purpose::STANDARD.encode(piece) }))
        }
        "record_end" => ok(json!({ "entries": 2, "bytes": tape.len(), "cut": true, "opened": true })),
        other => panic!("{other}"),
    });
    let file = dir.path().join("recording.jsonl");
    let path = file.to_str().unwrap();
    let output = daemon.run(&["record", "usb:1-1.2", "--seconds", "1", "--out", path]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), tape);
    for word in ["usb:1-1.2 (r30x): 2 entries", "cut", "lengths and times only"] {
        assert!(stdout(&output).contains(word), "no {word:?} in {}", stdout(&output));
    }
    let again = daemon.run(&["record", "usb:1-1.2", "--seconds", "1", "--out", path]);
    assert_eq!(again.status.code(), Some(2), "a file that is there is not written over");
    let other = dir.path().join("other.jsonl");
    let refused = daemon.run(&["record", "usb:9-9", "--seconds", "1", "--out", other.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(!other.exists(), "nothing is left of what was not recorded");
}
