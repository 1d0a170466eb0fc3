//! The control socket over a real socket, with a scripted service behind it.

// helpers of tests stand outside of test functions
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use biotrust_daemon::control::{About, ControlError, ControlErrorKind, Service, Socket, WaitFor, serve};
use biotrust_model::DeviceStatus;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Knows one device, `SERIAL000001`.
#[derive(Default)]
struct Fake {
    waited: Mutex<Option<(WaitFor, Duration)>>,
    chain: Mutex<Vec<Vec<u8>>>,
    destroyed: Mutex<Vec<String>>,
}

fn known(serial: &str) -> Result<(), ControlError> {
    match serial {
        "SERIAL000001" => Ok(()),
        other => Err(ControlError::new(ControlErrorKind::NoSuchDevice, format!("no device {other}"))),
    }
}

impl Service for Fake {
    fn status(&self) -> Value {
        json!({ "devices": [{ "serial": "SERIAL000001" }], "notices": ["something"] })
    }

    async fn wait(&self, condition: WaitFor, timeout: Duration) -> Result<(), ControlError> {
        let comes = condition.present == Some(true);
        *self.waited.lock().unwrap() = Some((condition, timeout));
        if comes {
            return Ok(());
        }
        tokio::time::sleep(timeout).await;
        Err(ControlError::new(ControlErrorKind::Timeout, "device SERIAL000001 is still connected"))
    }

    async fn enrol_begin(&self, serial: &str) -> Result<Vec<u8>, ControlError> {
        known(serial).map(|()| vec![0x30, 0x03, 0xfb, 0xff])
    }

    async fn enrol_finish(&self, serial: &str, chain: Vec<Vec<u8>>) -> Result<String, ControlError> {
        known(serial)?;
        *self.chain.lock().unwrap() = chain;
        Ok("AB".repeat(32))
    }

    async fn destroy_key(&self, serial: &str) -> Result<(), ControlError> {
        known(serial)?;
        self.destroyed.lock().unwrap().push(serial.to_owned());
        Ok(())
    }
}

struct Rig {
    fake: Arc<Fake>,
    path: PathBuf,
    stop: CancellationToken,
    server: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Rig {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/control.sock");
        let fake = Arc::new(Fake::default());
        let stop = CancellationToken::new();
        let about = About {
            url: "http://127.0.0.1:4501/".into(),
            port: 4501,
            state_directory: "/var/lib/biotrust".into(),
        };
        let socket = Socket::open(&path).unwrap();
        let server = tokio::spawn(serve(socket, Arc::clone(&fake), about, stop.clone()));
        Self { fake, path, stop, server, _directory: directory }
    }

    async fn connect(&self) -> Client {
        Client(BufReader::new(UnixStream::connect(&self.path).await.unwrap()))
    }

    async fn ask(&self, line: &str) -> Value {
        let mut client = self.connect().await;
        client.send(line).await;
        client.answer().await
    }
}

struct Client(BufReader<UnixStream>);

impl Client {
    async fn send(&mut self, line: &str) {
        self.0.get_mut().write_all(line.as_bytes()).await.unwrap();
        self.0.get_mut().write_all(b"\n").await.unwrap();
    }

    /// One line; null at the end.
    async fn answer(&mut self) -> Value {
        let mut line = String::new();
        let read = tokio::time::timeout(Duration::from_secs(5), self.0.read_line(&mut line)).await;
        read.expect("answered in time").unwrap();
        if line.is_empty() { Value::Null } else { serde_json::from_str(&line).unwrap() }
    }
}

fn code(answer: &Value) -> &str {
    assert_eq!(answer["ok"], false, "{answer}");
    assert!(!answer["error"]["message"].as_str().unwrap().is_empty());
    answer["error"]["code"].as_str().unwrap()
}

#[tokio::test]
async fn status_is_the_daemon_and_its_devices() {
    let rig = Rig::start();
    let answer = rig.ask(r#"{"op":"status"}"#).await;
    assert_eq!(
        answer,
        json!({ "ok": true, "result": {
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "sbi": { "url": "http://127.0.0.1:4501/", "port": 4501 },
            "state_dir": "/var/lib/biotrust",
            "devices": [{ "serial": "SERIAL000001" }],
            "notices": ["something"],
        }})
    );
}

#[tokio::test]
async fn wait_passes_everything_on_and_tells_what_is_true_instead() {
    let rig = Rig::start();
    let line = r#"{"op":"wait","serial":"SERIAL000001","present":true,"status":"Not Ready","certificate_sha256":"AB","timeout_ms":1500}"#;
    assert_eq!(rig.ask(line).await, json!({ "ok": true, "result": {} }));
    let (condition, timeout) = rig.fake.waited.lock().unwrap().take().unwrap();
    assert_eq!(timeout, Duration::from_millis(1500));
    assert_eq!(
        condition,
        WaitFor {
            serial: "SERIAL000001".into(),
            present: Some(true),
            status: Some(DeviceStatus::NotReady),
            certificate_sha256: Some("AB".into()),
        }
    );
    let answer = rig.ask(r#"{"op":"wait","serial":"SERIAL000001","present":false,"timeout_ms":10}"#).await;
    assert_eq!(code(&answer), "timeout");
    assert!(answer["error"]["message"].as_str().unwrap().contains("still connected"));
}

#[tokio::test]
async fn enrolment_goes_there_and_back() {
    let rig = Rig::start();
    let begun = rig.ask(r#"{"op":"enrol_begin","serial":"SERIAL000001"}"#).await;
    assert_eq!(begun, json!({ "ok": true, "result": { "csr": "MAP7/w==" } }));
    let finished =
        rig.ask(r#"{"op":"enrol_finish","serial":"SERIAL000001","chain":["MAP7/w==","AQI="]}"#).await;
    assert_eq!(finished["result"]["certificate_sha256"], "AB".repeat(32));
    assert_eq!(*rig.fake.chain.lock().unwrap(), [vec![0x30, 0x03, 0xfb, 0xff], vec![1, 2]]);
    assert_eq!(rig.ask(r#"{"op":"destroy_key","serial":"SERIAL000001"}"#).await["ok"], true);
    assert_eq!(*rig.fake.destroyed.lock().unwrap(), ["SERIAL000001"]);
}

#[tokio::test]
async fn what_is_wrong_is_said_and_changes_nothing() {
    let rig = Rig::start();
    for (line, expected) in [
        ("", "bad_request"),
        ("status", "bad_request"),
        ("{}", "bad_request"),
        (r#"{"op":"reboot"}"#, "bad_request"),
        (r#"{"op":"wait","serial":"SERIAL000001"}"#, "bad_request"),
        (r#"{"op":"wait","serial":"SERIAL000001","status":"ready","timeout_ms":1}"#, "bad_request"),
        (r#"{"op":"enrol_finish","serial":"SERIAL000001","chain":["_w=="]}"#, "bad_request"),
        (r#"{"op":"enrol_finish","serial":"SERIAL000001"}"#, "bad_request"),
        (r#"{"op":"destroy_key","serial":"OTHER"}"#, "no_such_device"),
        (r#"{"op":"enrol_begin","serial":"OTHER"}"#, "no_such_device"),
    ] {
        assert_eq!(code(&rig.ask(line).await), expected, "{line}");
    }
    assert!(rig.fake.chain.lock().unwrap().is_empty() && rig.fake.destroyed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_connection_takes_one_request_after_the_other() {
    let rig = Rig::start();
    let mut client = rig.connect().await;
    for _ in 0..3 {
        client.send(r#"{"op":"status"}"#).await;
        client.send("nonsense").await;
        assert_eq!(client.answer().await["ok"], true);
        assert_eq!(code(&client.answer().await), "bad_request");
    }
}

#[tokio::test]
async fn a_line_has_64_kib_at_most() {
    let rig = Rig::start();
    let padded = |bytes: usize| format!("{}{}", r#"{"op":"status"}"#, " ".repeat(bytes - 16));
    assert_eq!(rig.ask(&padded(64 * 1024)).await["ok"], true, "with its line end, this is the limit");
    let mut client = rig.connect().await;
    let _ = client.0.get_mut().write_all(padded(64 * 1024 + 1).as_bytes()).await;
    assert_eq!(code(&client.answer().await), "bad_request");
    assert_eq!(client.answer().await, Value::Null, "and the connection is closed");
}

#[tokio::test]
async fn connections_over_the_limit_are_told_so() {
    let rig = Rig::start();
    let mut clients = Vec::new();
    for _ in 0..32 {
        let mut client = rig.connect().await;
        client.send(r#"{"op":"status"}"#).await;
        assert_eq!(client.answer().await["ok"], true);
        clients.push(client);
    }
    let mut one_more = rig.connect().await;
    assert_eq!(code(&one_more.answer().await), "busy");
    assert_eq!(one_more.answer().await, Value::Null);
    clients.clear();
    let begun = std::time::Instant::now();
    while rig.ask(r#"{"op":"status"}"#).await["ok"] != true {
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn stopping_closes_everything_and_removes_the_file() {
    let rig = Rig::start();
    let mut idle = rig.connect().await;
    idle.send(r#"{"op":"status"}"#).await;
    idle.answer().await;
    assert!(rig.path.exists());
    rig.stop.cancel();
    tokio::time::timeout(Duration::from_secs(2), rig.server).await.expect("ends in time").unwrap();
    assert_eq!(idle.answer().await, Value::Null);
    assert!(!rig.path.exists());
}
