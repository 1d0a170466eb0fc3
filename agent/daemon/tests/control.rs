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

use biotrust_daemon::control::{
    About, Care, ControlError, ControlErrorKind, FtmChallenge, Limits, Service, Socket, WaitFor, serve,
};
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
    /// Waits that have begun and ended, however they ended.
    waits: tokio::sync::watch::Sender<(u32, u32)>,
    chain: Mutex<Vec<Vec<u8>>>,
    destroyed: Mutex<Vec<String>>,
}

struct Ended<'a>(&'a tokio::sync::watch::Sender<(u32, u32)>);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|(_, ended)| *ended += 1);
    }
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
        self.waits.send_modify(|(begun, _)| *begun += 1);
        let _ended = Ended(&self.waits);
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

/// Answers with what it was asked for.
impl Care for Fake {
    async fn rotate(&self, serial: &str) -> Result<Value, ControlError> {
        known(serial).map(|()| json!({ "rotate": serial }))
    }

    fn evidence(&self, serial: &str) -> Result<Value, ControlError> {
        known(serial).map(|()| json!({ "evidence": serial }))
    }

    async fn forget(&self, serial: &str) -> Result<Value, ControlError> {
        Ok(json!({ "forget": serial }))
    }

    async fn deregister(&self, serial: &str) -> Result<Value, ControlError> {
        known(serial).map(|()| json!({ "deregister": serial }))
    }

    async fn time(&self, serial: &str) -> Result<Value, ControlError> {
        known(serial).map(|()| json!({ "time": serial }))
    }

    async fn update_begin(&self, serial: &str, manifest: String) -> Result<Value, ControlError> {
        known(serial).map(|()| json!({ "begin": manifest }))
    }

    fn update_data(&self, update: u64, data: Vec<u8>) -> Result<Value, ControlError> {
        Ok(json!({ "update": update, "data": data }))
    }

    async fn update_finish(&self, update: u64) -> Result<Value, ControlError> {
        Ok(json!({ "finish": update }))
    }

    async fn ftm_status(&self) -> Result<Value, ControlError> {
        Ok(json!({ "kind": "software" }))
    }

    async fn ftm_request(&self, challenge: FtmChallenge) -> Result<Value, ControlError> {
        Ok(json!([challenge.common_name, challenge.organisation, challenge.binding]))
    }

    async fn ftm_activate(&self, credential: Vec<u8>, secret: Vec<u8>) -> Result<Value, ControlError> {
        Ok(json!([credential, secret]))
    }

    async fn ftm_install(
        &self,
        identity: Vec<Vec<u8>>,
        attestation: Vec<Vec<u8>>,
    ) -> Result<Value, ControlError> {
        Ok(json!([identity, attestation]))
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
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
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
        let server = tokio::spawn(serve(socket, Arc::clone(&fake), about, limits, stop.clone()));
        Self { fake, path, stop, server, _directory: directory }
    }

    /// Until so many waits have begun and ended; panics after two seconds.
    async fn waits(&self, begun: u32, ended: u32) {
        let mut waits = self.fake.waits.subscribe();
        let came = tokio::time::timeout(Duration::from_secs(2), waits.wait_for(|now| *now == (begun, ended)));
        assert!(came.await.is_ok(), "{:?}", *self.fake.waits.borrow());
    }

    async fn connect(&self) -> Client {
        Client(BufReader::new(UnixStream::connect(&self.path).await.unwrap()))
    }

    /// Whether there is room for one more connection.
    async fn serves(&self) -> bool {
        let Client(mut stream) = self.connect().await;
        let mut answer = String::new();
        // one that is too many is closed before it has said anything
        let sent = stream.get_mut().write_all(b"{\"op\":\"status\"}\n").await;
        sent.is_ok() && stream.read_line(&mut answer).await.is_ok() && answer.starts_with("{\"ok\":true")
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
async fn every_order_arrives_with_what_it_says() {
    let rig = Rig::start();
    for (line, result) in [
        (r#"{"op":"rotate","serial":"SERIAL000001"}"#, json!({ "rotate": "SERIAL000001" })),
        (r#"{"op":"evidence","serial":"SERIAL000001"}"#, json!({ "evidence": "SERIAL000001" })),
        (r#"{"op":"forget","serial":"GONE"}"#, json!({ "forget": "GONE" })),
        (r#"{"op":"deregister","serial":"SERIAL000001"}"#, json!({ "deregister": "SERIAL000001" })),
        (r#"{"op":"time","serial":"SERIAL000001"}"#, json!({ "time": "SERIAL000001" })),
        (r#"{"op":"update_begin","serial":"SERIAL000001","manifest":"a.b.c"}"#, json!({ "begin": "a.b.c" })),
        (r#"{"op":"update_data","update":3,"data":"AQI="}"#, json!({ "update": 3, "data": [1, 2] })),
        (r#"{"op":"update_finish","update":3}"#, json!({ "finish": 3 })),
        (r#"{"op":"ftm_status"}"#, json!({ "kind": "software" })),
        (r#"{"op":"ftm_request","common_name":"T","organisation":"O"}"#, json!(["T", "O", null])),
        (r#"{"op":"ftm_activate","credential":"AQ==","secret":"Ag=="}"#, json!([[1], [2]])),
        (
            r#"{"op":"ftm_install","identity":["AQ=="],"attestation":["Ag==","Aw=="]}"#,
            json!([[[1]], [[2], [3]]]),
        ),
    ] {
        assert_eq!(rig.ask(line).await, json!({ "ok": true, "result": result }), "{line}");
    }
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
        (r#"{"op":"rotate","serial":"OTHER"}"#, "no_such_device"),
        (r#"{"op":"update_data","update":3,"data":"_w=="}"#, "bad_request"),
        (r#"{"op":"update_data","update":-1,"data":""}"#, "bad_request"),
        (r#"{"op":"ftm_install","identity":[]}"#, "bad_request"),
        (r#"{"op":"capture","serial":"SERIAL000001"}"#, "bad_request"),
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
    while !rig.serves().await {
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

const LONG_WAIT: &str = r#"{"op":"wait","serial":"SERIAL000001","present":false,"timeout_ms":600000}"#;

#[tokio::test]
async fn a_wait_ends_with_its_connection() {
    let rig = Rig::start();
    // however much it has sent after its request
    for more in ["", "{\"op\":\"status\"}\n", "half a line"] {
        let before = rig.fake.waits.borrow().1;
        let mut client = rig.connect().await;
        client.send(&format!("{LONG_WAIT}\n{more}")).await;
        rig.waits(before + 1, before).await;
        drop(client);
        rig.waits(before + 1, before + 1).await;
    }
    // closed for writing only: told so
    let mut client = rig.connect().await;
    client.send(LONG_WAIT).await;
    rig.waits(4, 3).await;
    client.0.get_mut().shutdown().await.unwrap();
    assert_eq!(code(&client.answer().await), "refused");
    assert_eq!(client.answer().await, Value::Null);
}

/// As a shell does it: `echo ... | socat - ...`. What needs no waiting is answered all the same.
#[tokio::test]
async fn a_request_is_answered_to_a_side_that_writes_no_more() {
    let rig = Rig::start();
    for request in [
        r#"{"op":"status"}"#,
        r#"{"op":"destroy_key","serial":"SERIAL000001"}"#,
        r#"{"op":"wait","serial":"SERIAL000001","present":true,"timeout_ms":600000}"#,
    ] {
        let mut client = rig.connect().await;
        client.send(request).await;
        client.0.get_mut().shutdown().await.unwrap();
        assert_eq!(client.answer().await["ok"], true, "{request}");
    }
}

#[tokio::test]
async fn connections_that_ask_nothing_lock_nobody_out() {
    let idle = Duration::from_millis(400);
    let rig = Rig::with(Limits { connections: 4, idle });
    let mut silent = Vec::new();
    for half in ["", "half a line", "{\"op\":\"status\"}\n"] {
        let mut client = rig.connect().await;
        client.0.get_mut().write_all(half.as_bytes()).await.unwrap();
        silent.push(client);
    }
    // negative control: whoever waits is not idle, and may wait longer than that
    let mut waits = rig.connect().await;
    waits.send(&LONG_WAIT.replace("600000", "1200")).await;
    rig.waits(1, 0).await;
    assert_eq!(code(&rig.connect().await.answer().await), "busy");
    tokio::time::sleep(idle * 2).await;
    assert!(rig.serves().await);
    for mut client in silent.drain(..2) {
        assert_eq!(client.answer().await, Value::Null);
    }
    assert_eq!(code(&waits.answer().await), "timeout");
}

#[tokio::test]
async fn a_peer_that_reads_no_answer_is_given_up() {
    let rig = Rig::with(Limits { connections: 1, idle: Duration::from_millis(300) });
    let mut deaf = rig.connect().await;
    let many = "{\"op\":\"status\"}\n".repeat(100_000);
    let sent =
        tokio::time::timeout(Duration::from_secs(5), deaf.0.get_mut().write_all(many.as_bytes())).await;
    assert!(sent.is_ok_and(|sent| sent.is_err()), "the connection is closed");
    assert!(rig.serves().await);
}

#[tokio::test]
async fn stopping_ends_waits_and_tells_them() {
    let rig = Rig::start();
    let mut client = rig.connect().await;
    client.send(LONG_WAIT).await;
    rig.waits(1, 0).await;
    rig.stop.cancel();
    tokio::time::timeout(Duration::from_secs(2), rig.server).await.expect("ends in time").unwrap();
    let answer = client.answer().await;
    assert_eq!(code(&answer), "refused");
    assert_eq!(answer["error"]["message"], "biotrustd stops");
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
