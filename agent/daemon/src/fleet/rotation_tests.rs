//! Rotation under load: no request is lost, and no answer mixes a key with the certificate of another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use biotrust_certs::TestPki;
use biotrust_model::time::{Clock as _, SystemClock};
use biotrust_model::{DeviceStatus, Purpose};
use biotrust_sbi::jws;
use biotrust_sbi::request::{ReadOptions, parse_capture};
use serde_json::{Value, json};

use super::Fleet;
use super::workshop::{issued, plugged, started};

/// Captures in all, and the cameras that they are spread over.
const REQUESTS: usize = 10_000;
const CAMERAS: usize = 4;

fn rcapture(serial: &str, number: usize) -> biotrust_sbi::request::CaptureRequest {
    let body = json!({
        "env": "Developer", "purpose": "Registration", "specVersion": "0.9.5", "timeout": 20_000,
        "captureTime": "2026-11-24T08:26:41Z", "transactionId": format!("rotation-{number}"),
        "bio": [{"type": "Face", "count": 1, "bioSubType": [], "exception": [], "requestedScore": 60,
            "deviceId": serial, "deviceSubId": 0, "previousHash": ""}]
    });
    parse_capture(Purpose::Registration, body.to_string().as_bytes(), &ReadOptions::default()).unwrap()
}

/// The certificate that signed `compact`, which must be good, and the payload.
fn signer(compact: &str) -> (Vec<u8>, Value) {
    let parsed = jws::parse(compact).unwrap();
    parsed.verify().unwrap();
    (parsed.x5c[0].clone(), serde_json::from_slice(&parsed.payload).unwrap())
}

/// The one certificate behind every signature of a capture's answer.
fn behind_capture(body: &[u8]) -> Vec<u8> {
    let answer: Value = serde_json::from_slice(body).unwrap();
    let block = &answer["biometrics"][0];
    assert_eq!(block["error"]["errorCode"], "0", "{}", block["error"]);
    let (certificate, payload) = signer(block["data"].as_str().unwrap());
    let (of_id, _) = signer(payload["digitalId"].as_str().unwrap());
    assert!(certificate == of_id, "data block and digital ID are by two keys");
    certificate
}

/// The same of device info, by serial number; a device that did not sign in the time that clients grant is not there.
fn behind_info(body: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let answer: Value = serde_json::from_slice(body).unwrap();
    let entries = answer.as_array().unwrap().iter().map(|entry| entry["deviceInfo"].as_str().unwrap());
    let signed = entries.filter(|jws| !jws.is_empty()).map(|jws| {
        let (certificate, info) = signer(jws);
        let (of_id, id) = signer(info["digitalId"].as_str().unwrap());
        assert!(certificate == of_id, "device info and digital ID are by two keys");
        (id["serialNo"].as_str().unwrap().to_owned(), certificate)
    });
    signed.collect()
}

async fn rotate(fleet: &Fleet, pki: &TestPki, serial: &str) -> super::Rotated {
    let request = fleet.begin_rotation(serial).await.unwrap();
    fleet.finish_rotation(serial, issued(pki, &request)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_requests_over_rotations_lose_nothing_and_mix_nothing() {
    let pki = Arc::new(TestPki::mint(TestPki::DEFAULT_SPEC, SystemClock.now()).unwrap());
    let state = tempfile::tempdir().unwrap();
    let fleet = started(state.path(), &pki);
    let serials: Vec<String> = (1..=CAMERAS).map(|n| format!("CAM00000000{n}")).collect();
    for serial in &serials {
        let unit = tokio::task::block_in_place(|| plugged(&fleet, &pki, serial));
        assert_eq!(unit.status(), DeviceStatus::NotRegistered);
        assert_eq!(rotate(&fleet, &pki, serial).await.destroyed_spki_sha256, None, "there was none before");
        assert_eq!(unit.status(), DeviceStatus::Ready, "{:?}", unit.problem());
    }

    let over = Arc::new(AtomicBool::new(false));
    let rotating = tokio::spawn({
        let (fleet, pki, serials, over) =
            (fleet.clone(), Arc::clone(&pki), serials.clone(), Arc::clone(&over));
        async move {
            let mut destroyed: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for serial in serials.iter().cycle() {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let rotated = rotate(&fleet, &pki, serial).await;
                destroyed.entry(serial.clone()).or_default().push(rotated.destroyed_spki_sha256.unwrap());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            destroyed
        }
    });
    let loads: Vec<_> = serials
        .iter()
        .map(|serial| {
            let (fleet, serial) = (fleet.clone(), serial.clone());
            tokio::spawn(async move {
                let (mut certificates, mut infos) = (BTreeSet::new(), 0);
                for number in 0..REQUESTS / CAMERAS {
                    certificates
                        .insert(behind_capture(&fleet.capture(rcapture(&serial, number)).await.unwrap()));
                    if number % 20 == 0 {
                        let info = behind_info(&fleet.info(false).await).remove(&serial);
                        infos += usize::from(info.is_some());
                        certificates.extend(info);
                    }
                }
                assert!(infos > 0, "{serial} never signed its info");
                certificates
            })
        })
        .collect();
    let mut seen = Vec::new();
    for load in loads {
        seen.push(load.await.unwrap());
    }
    over.store(true, Ordering::Relaxed);
    let destroyed = rotating.await.unwrap();

    for (serial, certificates) in serials.iter().zip(&seen) {
        assert!(certificates.len() > 3, "{serial} was served with {} certificates", certificates.len());
        let recorded = fleet.destroyed_keys(serial).await.unwrap();
        let names: Vec<_> = recorded.into_iter().map(|key| key.spki_sha256).collect();
        assert_eq!(names, destroyed[serial], "{serial}: each key that went is on record, in order");
    }
}

/// What the checks above are worth: a block whose digital ID is by another key does not pass them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mixed_answer_would_be_seen() {
    let pki = TestPki::mint(TestPki::DEFAULT_SPEC, SystemClock.now()).unwrap();
    let state = tempfile::tempdir().unwrap();
    let fleet = started(state.path(), &pki);
    let mut blocks = Vec::new();
    for serial in ["CAM000000001", "CAM000000002"] {
        tokio::task::block_in_place(|| plugged(&fleet, &pki, serial));
        rotate(&fleet, &pki, serial).await;
        let body = fleet.capture(rcapture(serial, 1)).await.unwrap();
        blocks.push(serde_json::from_slice::<Value>(&body).unwrap()["biometrics"][0]["data"].clone());
    }
    let certificates: BTreeSet<_> = blocks.iter().map(|data| signer(data.as_str().unwrap()).0).collect();
    assert_eq!(certificates.len(), 2);
    // header of one, payload and signature of the other
    let (one, other) = (blocks[0].as_str().unwrap(), blocks[1].as_str().unwrap());
    let mixed = format!("{}.{}", one.split_once('.').unwrap().0, other.split_once('.').unwrap().1);
    assert!(jws::parse(&mixed).unwrap().verify().is_err());
    let _ = URL_SAFE_NO_PAD.decode(one.split('.').nth(1).unwrap()).unwrap();
}

/// What began with a key ends with it, and only that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_somebody_holds_sign_on_and_no_others() {
    let pki = TestPki::mint(TestPki::DEFAULT_SPEC, SystemClock.now()).unwrap();
    let state = tempfile::tempdir().unwrap();
    let fleet = started(state.path(), &pki);
    let unit = tokio::task::block_in_place(|| plugged(&fleet, &pki, "CAM000000001"));
    rotate(&fleet, &pki, "CAM000000001").await;
    let session = unit.session().unwrap();
    let begun = session.keys().unwrap();
    let (name, old) = (session.id.to_string(), begun.certificate.as_ref().unwrap().spki_der().to_vec());
    rotate(&fleet, &pki, "CAM000000001").await;
    let signs = async |key: &[u8]| {
        fleet.0.ftm.sign(super::ftm::Urgency::Interactive, &name, key, b"x".to_vec()).await.unwrap().is_ok()
    };
    assert!(signs(&old).await, "the one that began before holds it");
    drop(begun);
    assert!(!signs(&old).await, "nobody does any more");
    let new = session.keys().unwrap().certificate.as_ref().unwrap().spki_der().to_vec();
    assert!(signs(&new).await);
    fleet.destroy_key("CAM000000001").await.unwrap();
    assert!(!signs(&new).await);
    assert_eq!(unit.status(), DeviceStatus::NotRegistered);
}
