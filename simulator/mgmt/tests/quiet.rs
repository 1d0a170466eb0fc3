//! What the log never holds: messages, evidence, tokens, keys.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // tests

mod common;

use std::io::Write;
use std::sync::{Arc, Mutex};

use biotrust_mgmt::message::{ReplyBody, RequestBody};
use biotrust_mgmt::{Nonce, Stamp};
use biotrust_model::evidence::EvidencePurpose;
use biotrust_model::time::Clock as _;
use common::{Rig, TestDevice};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_decisions_and_no_messages() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();

    let rig = Rig::start().await;
    let mut device = TestDevice::l1(&rig);
    device.make_key();
    let challenge = device.challenge(&rig, EvidencePurpose::DeviceKey).await;
    let evidence = device.evidence(&challenge);
    device.apply(&rig, evidence.clone()).await.unwrap();
    let body = RequestBody::Time { nonce: Nonce([7; 32]), host_utc: Stamp(rig.clock.now()) };
    let request = device.request(body);
    let compact = device.sign(&request);
    let ReplyBody::Time { token } = rig.ask(&request, compact.clone()).await else { panic!("no time") };
    rig.ask(&request, compact.clone()).await; // refused
    rig.post("not a message").await;
    let key = std::fs::read_to_string(&rig.config.tls.key).unwrap();
    rig.running.stop().await;

    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for there in ["management server", "SN0000000001", "certificate", "refused", "check=\"fresh\""] {
        assert!(text.contains(there), "{there} in {text}");
    }
    let secret_line = key.lines().nth(3).unwrap();
    // A document is known by its payload; its header is the same in all.
    let payload = |jws: &str| jws.split('.').nth(1).unwrap().chars().take(60).collect::<String>();
    for never in [payload(&evidence), payload(&token), payload(&compact), secret_line.to_owned()] {
        assert!(!text.contains(&never), "{never} is in the log");
    }
    assert!(!text.contains("PRIVATE KEY") && !text.contains("eyJ"), "no JWS, no key");
}
