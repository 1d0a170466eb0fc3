//! What a management client can do with L1 devices: registration, rotation under load, time, firmware, de-registration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use biosim_scanner::{Faults, Options, Release};
use biotrust_attest::signed::ParsedSigner;
use biotrust_attest::time_token::TimeToken;
use biotrust_attest::{Challenge, Expected, Policy, signed, verify};
use biotrust_certs::{Certificate, Csr, SignerPurpose, sha256_hex};
use biotrust_daemon::fleet::{Encryption, EncryptionTarget, ManageError, Presentation, Settings};
use biotrust_daemon::store::Cause;
use biotrust_model::evidence::{EvidencePurpose, KeySlot};
use biotrust_model::time::{Clock as _, SystemClock};
use biotrust_model::{DeviceStatus, Level, ProblemKind, Purpose};
use biotrust_sbi::request::{ReadOptions, parse_capture};
use biotrust_sbi::session::EncryptionCertificate;
use bytes::Bytes;
use serde_json::json;

use crate::{Host, PATIENCE, built, models, settings, workshop};

fn issued(request: &[u8]) -> Vec<Vec<u8>> {
    let lifetime = Duration::from_secs(86_400);
    workshop().pki.issue_device_certificate(request, SystemClock.now(), lifetime).unwrap()
}

fn spki_sha256(certificate: &[u8]) -> String {
    sha256_hex(Certificate::parse(certificate).unwrap().spki_der())
}

#[tokio::test(flavor = "multi_thread")]
async fn from_unregistered_to_registered_to_rotated_to_deregistered() {
    let host = Host::start(Some(models(Level::L1)));
    let device = built(Purpose::Registration, &Options { registered: false, ..Options::default() });
    let (fleet, serial) = (&host.fleet, device.serial());
    host.plug(&device);
    host.until(serial, DeviceStatus::NotRegistered).await;

    // the challenge of a server, answered for the next key
    let request = fleet.begin_rotation(serial).await.unwrap();
    let challenge = Challenge::new([9; 32], "manager.example", EvidencePurpose::DeviceKey, SystemClock.now());
    let evidence = fleet.evidence_for(serial, challenge.clone(), Some(KeySlot::Next)).await.unwrap();
    let (identity, ftm, list) =
        (device.description().identity, workshop().pki.store().unwrap(), models(Level::L1));
    let expected = Expected {
        challenge: Some(&challenge),
        now: SystemClock.now(),
        ftm: &ftm,
        identity: Some(&identity),
        csr: Some(&request),
        device_key: None,
        models: Some(&list),
        known_chip: None,
        policy: Policy::default(),
    };
    let report = verify(&evidence, &expected);
    assert_eq!(report.verdict().map(|attested| attested.level), Ok(Level::L1), "{:#?}", report.checks());

    // messages are the chip's
    let message =
        fleet.sign_management(serial, json!({"mgmt": 1, "serial": serial}).to_string()).await.unwrap();
    let message = signed::parse("mgmt+jwt", &message, 1 << 20).unwrap();
    assert!(message.verify().is_ok() && matches!(message.signer, ParsedSigner::Chain(_)));
    let Presentation::Signed(id) = fleet.digital_id(serial).await.unwrap() else { panic!("not signed") };
    assert_eq!(crate::signer(&id).1["serialNo"], serial);

    // a certificate for another key is refused, and changes nothing
    let stranger = built(Purpose::Registration, &Options::default());
    let other = stranger.ftm().unwrap().keys().device_chain;
    let refused = fleet.finish_rotation(serial, other).await.unwrap_err();
    assert!(matches!(refused, ManageError::Certificate(_)), "{refused}");
    host.until(serial, DeviceStatus::NotRegistered).await;

    let chain = issued(&request);
    let first = fleet.finish_rotation(serial, chain.clone()).await.unwrap();
    assert_eq!(first.certificate_sha256, sha256_hex(&chain[0]));
    assert_eq!(first.destroyed_spki_sha256, None);
    host.until(serial, DeviceStatus::Ready).await;

    let request = fleet.begin_rotation(serial).await.unwrap();
    assert_eq!(host.info(serial).await.unwrap()[0].0, chain[0], "the old pair is in use meanwhile");
    let next = issued(&request);
    let second = fleet.finish_rotation(serial, next.clone()).await.unwrap();
    assert_eq!(second.destroyed_spki_sha256, Some(spki_sha256(&chain[0])));
    host.until(serial, DeviceStatus::Ready).await;
    assert_eq!(host.info(serial).await.unwrap()[0].0, next[0]);
    assert_eq!(host.shown(serial)["level"], "L1");

    assert_eq!(fleet.destroy_key(serial).await.unwrap(), Some(spki_sha256(&next[0])));
    host.until(serial, DeviceStatus::NotRegistered).await;
    let record = fleet.destroyed_keys(serial).await.unwrap();
    let record: Vec<_> = record.into_iter().map(|key| (key.spki_sha256, key.cause)).collect();
    let expected = [(spki_sha256(&chain[0]), Cause::Rotated), (spki_sha256(&next[0]), Cause::Deregistered)];
    assert_eq!(record, expected);
    assert!(device.ftm().unwrap().keys().device_chain.is_empty(), "and the device has none");
    assert!(Csr::verify(&fleet.begin_rotation(serial).await.unwrap()).is_ok(), "it can be registered again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn device_info_goes_on_over_rotations_with_no_gap_and_no_mixed_pair() {
    let host = Arc::new(Host::start(Some(models(Level::L1))));
    let device = built(Purpose::Registration, &Options::default());
    let serial = device.serial().to_owned();
    host.plug(&device);
    host.until(&serial, DeviceStatus::Ready).await;
    let over = Arc::new(AtomicBool::new(false));
    let asking = tokio::spawn({
        let (host, serial, over) = (Arc::clone(&host), serial.clone(), Arc::clone(&over));
        async move {
            let mut seen: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
            while !over.load(Ordering::Relaxed) {
                let [info, id] = host.info(&serial).await.expect("listed and signed, whatever goes on");
                assert_eq!(
                    (&info.1["certification"], &id.1["serialNo"]),
                    (&"L1".into(), &serial.as_str().into())
                );
                *seen.entry(info.0).or_default() += 1;
            }
            seen
        }
    });
    let mut certificates = vec![host.info(&serial).await.unwrap()[0].0.clone()];
    for _ in 0..4 {
        let chain = issued(&host.fleet.begin_rotation(&serial).await.unwrap());
        let rotated = host.fleet.finish_rotation(&serial, chain.clone()).await.unwrap();
        assert_eq!(rotated.destroyed_spki_sha256, certificates.last().map(|old| spki_sha256(old)));
        certificates.push(chain[0].clone());
    }
    over.store(true, Ordering::Relaxed);
    let seen = asking.await.unwrap();
    assert!(seen.len() > 2 && seen.keys().all(|found| certificates.contains(found)), "{} seen", seen.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_time_that_can_be_believed_nothing_is_ready() {
    let host =
        Host::start_with(Settings { require_time: true, ..settings() }, None, tempfile::tempdir().unwrap());
    let device = built(Purpose::Registration, &Options { require_time: true, ..Options::default() });
    let (fleet, serial) = (&host.fleet, device.serial());
    host.plug(&device);
    let shown = host.decided(serial).await;
    assert_eq!(
        (&shown["status"], &shown["problem"]["code"]),
        (&"Not Ready".into(), &"110".into()),
        "{shown:#}"
    );
    assert!(shown["reason"].as_str().unwrap().contains("time"), "{shown:#}");

    let clock = fleet.clock(serial).await.unwrap().unwrap();
    let server = workshop().pki.signer(SignerPurpose::Management, SystemClock.now()).unwrap();
    let utc = SystemClock.now();
    let told =
        TimeToken { nonce: clock.nonce, utc, exp: utc.plus(Duration::from_secs(60)), aud: serial.to_owned() };
    let unsigned = told.prepare(&server.chain).unwrap();
    let signature = server.sign_rs256(unsigned.signing_input());
    fleet.set_clock(serial, unsigned.attach(&signature)).await.unwrap();
    host.until(serial, DeviceStatus::Ready).await;

    fleet.set_untimed(Some("the clock of this host was set back".into()));
    let shown = host.shown(serial);
    assert_eq!(shown["reason"], "the clock of this host was set back");
    fleet.set_untimed(None);
    host.until(serial, DeviceStatus::Ready).await;
    assert!(fleet.set_held(serial, Some("its server was not heard of for 30 days")));
    assert_eq!(host.shown(serial)["problem"]["code"], "110");
    fleet.set_held(serial, None);
    host.until(serial, DeviceStatus::Ready).await;
    assert!(!fleet.set_held("nobody", Some("x")));
}

#[tokio::test(flavor = "multi_thread")]
async fn firmware_is_verified_here_handed_over_and_remembered_as_the_floor() {
    let host = Host::start(Some(models(Level::L1)));
    let device = built(Purpose::Registration, &Options::default());
    let (fleet, serial) = (&host.fleet, device.serial());
    host.plug(&device);
    host.until(serial, DeviceStatus::Ready).await;
    let identity = device.description().identity;
    let update = workshop().factory.update(&identity, &Release::next()).unwrap();
    let image = Bytes::from(update.image.clone());

    let mut broken = update.image.clone();
    broken[1000] ^= 1;
    let refused = fleet.update(serial, update.manifest.clone(), broken.into(), |_| {}).await.unwrap_err();
    assert!(matches!(refused, ManageError::Firmware(_)), "{refused}");
    let down = Release { svn: 0, ..Release::next() };
    let down = workshop().factory.update(&identity, &down).unwrap();
    let refused = fleet.check_update(serial, down.manifest).await.unwrap_err();
    assert!(refused.to_string().contains("downgrade"), "{refused}");
    let state = fleet.firmware(serial).await.unwrap().unwrap();
    assert_eq!((state.failed_attempts, state.pending), (0, None), "the device heard of none of it");

    assert_eq!(fleet.check_update(serial, update.manifest.clone()).await.unwrap(), Release::next().version);
    let (told, heard) = std::sync::mpsc::channel();
    fleet
        .update(serial, update.manifest.clone(), image, move |progress| told.send(progress).unwrap())
        .await
        .unwrap();
    let last = heard.iter().last().unwrap();
    assert_eq!((last.received, last.size), (update.image.len() as u64, update.image.len() as u64));
    let deadline = Instant::now() + PATIENCE;
    while host.shown(serial)["firmware"] != Release::next().version {
        assert!(Instant::now() < deadline, "{:#}", fleet.status());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    host.until(serial, DeviceStatus::Ready).await;
}

fn capture(serial: &str, domain: &str) -> biotrust_sbi::request::CaptureRequest {
    let body = json!({
        "env": "Developer", "purpose": "Auth", "specVersion": "0.9.5", "timeout": "20000",
        "captureTime": "2026-11-24T08:26:41Z", "transactionId": "1234567890", "domainUri": domain,
        "bio": [{"type": "Finger", "count": "1", "bioSubType": ["UNKNOWN"], "requestedScore": "1",
            "deviceId": serial, "deviceSubId": "0", "previousHash": ""}]
    });
    parse_capture(Purpose::Auth, body.to_string().as_bytes(), &ReadOptions::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_to_encrypt_for_is_replaced_without_a_restart() {
    let host = Host::start(None);
    let device = built(Purpose::Auth, &Options::default());
    let (fleet, serial) = (&host.fleet, device.serial());
    host.plug(&device);
    host.until(serial, DeviceStatus::Ready).await;
    let missing = fleet.capture(capture(serial, "https://a.example")).await.unwrap_err();
    assert_eq!(missing.kind, ProblemKind::EncryptionKeyMissing);

    let pem = workshop().pki.ida_certificate_pem();
    let chain: Vec<Vec<u8>> =
        biotrust_certs::certificates(pem.as_bytes()).unwrap().iter().map(|c| c.der().to_vec()).collect();
    let certificate = EncryptionCertificate::from_pem(pem.as_bytes()).unwrap();
    let target = EncryptionTarget { certificate, chain };
    fleet.set_encryption(Encryption { default: Some(target), ..Encryption::default() });
    let deadline = Instant::now() + PATIENCE;
    let answer = loop {
        match fleet.capture(capture(serial, "https://a.example")).await {
            Ok(answer) => break answer,
            Err(problem) => assert_eq!(problem.kind, ProblemKind::EncryptionKeyMissing, "{problem}"),
        }
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    let certificate = biotrust_certs::certificates(pem.as_bytes()).unwrap().remove(0);
    assert_eq!(answer["biometrics"][0]["thumbprint"], certificate.sha256());
    assert_eq!(host.shown(serial)["refused_encryption"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_granted_l0_makes_no_authentication_capture() {
    let host = Host::start(None);
    let mute = Options { faults: Faults { no_attestation: true, ..Faults::default() }, ..Options::default() };
    let device = built(Purpose::Auth, &mute);
    host.plug(&device);
    host.until(device.serial(), DeviceStatus::Ready).await;
    let refused = host.fleet.capture(capture(device.serial(), "https://a.example")).await.unwrap_err();
    assert_eq!(refused.kind, ProblemKind::LevelNotAllowed);
}
