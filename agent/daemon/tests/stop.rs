//! The end of the daemon's life: devices are told, and waited for, but not for long. A program of its own, because the
//! signal is sent to the whole of it.

// helpers of tests stand outside of test functions
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use biotrust_daemon::config::Config;
use biotrust_daemon::control::{self, ControlError, WaitFor};
use biotrust_daemon::http::{self, FrameStream};
use biotrust_daemon::run::{Devices, run};
use biotrust_model::{Modality, Problem, ProblemKind};
use biotrust_sbi::request::{CaptureRequest, StreamRequest};
use bytes::Bytes;
use rustix::process::{Signal, getpid, kill_process};

/// No devices, and a diary.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Vec<String>>>);

impl Fake {
    fn note(&self, text: impl Into<String>) {
        self.0.lock().unwrap().push(text.into());
    }
}

impl Devices for Fake {
    async fn first_scan(&self, _: Duration) {
        self.note("scanned");
        // by now the daemon listens for it
        kill_process(getpid(), Signal::TERM).unwrap();
    }

    fn stop(&self) {
        self.note("told to close");
    }

    async fn closed(&self, limit: Duration) {
        self.note(format!("waited for, {limit:?} at most"));
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.note("closed");
    }
}

impl http::Service for Fake {
    fn discovery(&self, _: Option<Modality>, _: bool) -> Bytes {
        Bytes::from_static(b"[]")
    }

    async fn info(&self, _: bool) -> Bytes {
        Bytes::from_static(b"[]")
    }

    async fn capture(&self, _: CaptureRequest) -> Result<Bytes, Problem> {
        Err(ProblemKind::DeviceNotFound.into())
    }

    fn stream(&self, _: &StreamRequest) -> Result<FrameStream, Problem> {
        Err(ProblemKind::DeviceNotFound.into())
    }
}

fn refused<T>() -> Result<T, ControlError> {
    Err(ControlError::new(control::ControlErrorKind::Refused, "there are no devices"))
}

impl control::Care for Fake {}

impl control::Service for Fake {
    fn status(&self) -> serde_json::Value {
        serde_json::json!({})
    }

    async fn wait(&self, _: WaitFor, _: Duration) -> Result<(), ControlError> {
        refused()
    }

    async fn enrol_begin(&self, _: &str) -> Result<Vec<u8>, ControlError> {
        refused()
    }

    async fn enrol_finish(&self, _: &str, _: Vec<Vec<u8>>) -> Result<String, ControlError> {
        refused()
    }

    async fn destroy_key(&self, _: &str) -> Result<(), ControlError> {
        refused()
    }
}

#[tokio::test]
async fn devices_are_told_to_close_and_waited_for() {
    let home = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.sbi.port = Some(0);
    config.control.socket = home.path().join("control.sock");
    let fake = Fake::default();
    let life = run(&config, None, |url| {
        fake.note(format!("started for {}", url.starts_with("http://127.0.0.1:")));
        Ok(fake.clone())
    });
    tokio::time::timeout(Duration::from_secs(10), life).await.expect("ends in time").unwrap();
    assert_eq!(
        *fake.0.lock().unwrap(),
        ["started for true", "scanned", "told to close", "waited for, 1s at most", "closed"]
    );
    assert!(!config.control.socket.exists());
}
