//! What the FTM signs is taken apart by the wire crate and judged by trust stores; what it must refuse, it refuses.

use std::sync::OnceLock;

use biotrust_certs::{Authority, Device, Ftm as FtmDomain, Order, Validity};
use biotrust_driver_api::{AuthCapture, CaptureJob};
use biotrust_imaging::Gray;
use biotrust_imaging::jp2::{Codec, Dpi, encode_gray};
use biotrust_model::time::SystemClock;
use biotrust_model::{BioSubType, DeviceStatus, Env, Level, Modality, Purpose, SPEC_VERSION, Score, SubId};
use biotrust_sbi::jws::Parsed;
use biotrust_sbi::{base64url, hash_chain, iso, session};
use serde_json::Value;

use biotrust_driver_api::SignedBlock;

use super::*;
use crate::{Kind, Maker, Spec};

/// A clock that stands still, some seconds ahead of nothing in particular.
struct Stopped(UtcMillis);

impl Clock for Stopped {
    fn now(&self) -> UtcMillis {
        self.0
    }
}

fn pki() -> &'static TestPki {
    static PKI: OnceLock<TestPki> = OnceLock::new();
    PKI.get_or_init(|| TestPki::mint(TestPki::DEFAULT_SPEC, SystemClock.now()).unwrap())
}

fn ftm(kind: Kind, purpose: Purpose) -> Ftm {
    let maker = Maker { provider: "Example Devices Ltd".into(), provider_id: "EXAMPLE".into() };
    let description = Spec { kind, level: Level::L1, purpose }.description(1, &maker);
    manufacture(description, Arc::new(SystemClock))
}

fn manufacture(description: Description, clock: Arc<dyn Clock>) -> Ftm {
    Ftm::manufacture(description, &Options::default(), pki(), clock).unwrap()
}

fn job(purpose: Purpose) -> CaptureJob {
    CaptureJob {
        parts: vec![BioSubType::Left, BioSubType::Right],
        exceptions: vec![],
        sub_id: SubId(3),
        requested_score: Score::clamped(60.0),
        requested_score_text: "60".into(),
        finish_within: Duration::from_secs(1),
        purpose,
        auth: (purpose == Purpose::Auth).then(|| AuthCapture { domain_uri: "https://a.example".into() }),
        transaction_id: "a1B2c3D4e5".into(),
        env: Env::Staging,
        spec_version: SPEC_VERSION.into(),
        service_version: "0.1.0".into(),
        previous_hash: hash_chain::EMPTY,
        append_chip_certificate: true,
        digital_id_key: DigitalIdKey::Chip,
    }
}

/// A grey ramp with some texture: anything that compresses to more than nothing.
fn jp2(purpose: Purpose) -> Vec<u8> {
    let pixels = (0..64 * 64u32).map(|i| (i * i % 251) as u8).collect();
    let codec = match purpose {
        Purpose::Registration => Codec::Lossless,
        Purpose::Auth => Codec::Lossy { ratio: 4 },
    };
    encode_gray(&Gray::new(64, 64, pixels).unwrap(), codec, Some(Dpi::FINGER)).unwrap()
}

fn seal(ftm: &Ftm, job: &CaptureJob) -> Result<Vec<SignedBlock>, FtmError> {
    let image = jp2(job.purpose);
    let shot =
        |part: &BioSubType| Shot { part: Some(*part), jp2: &image, dpi: 0, score: Score::clamped(71.5) };
    let shots: Vec<_> = job.parts.iter().map(shot).collect();
    let pair = ftm.pair()?;
    ftm.seal(job, &pair, &shots, Duration::from_millis(1500))
}

fn opened(block: &SignedBlock) -> (Parsed, Value) {
    let jws = jws::parse(std::str::from_utf8(block.data.expose()).unwrap()).unwrap();
    jws.verify().unwrap();
    let payload = serde_json::from_slice(&jws.payload).unwrap();
    (jws, payload)
}

fn digital_id(payload: &Value) -> Parsed {
    let jws = jws::parse(payload["digitalId"].as_str().unwrap()).unwrap();
    jws.verify().unwrap();
    jws
}

#[test]
fn registration_blocks_stand_before_both_trust_domains() {
    let ftm = ftm(Kind::DoubleIris, Purpose::Registration);
    let job = job(Purpose::Registration);
    let now = SystemClock.now();
    let (devices, chips) = (pki().store::<Device>().unwrap(), pki().store::<FtmDomain>().unwrap());
    let mut hash = job.previous_hash;
    for (block, part) in seal(&ftm, &job).unwrap().iter().zip(&job.parts) {
        let (data, payload) = opened(block);
        let id = digital_id(&payload);
        devices.verify(&data.x5c[0], now).unwrap();
        chips.verify(&id.x5c[0], now).unwrap();
        assert!(devices.verify(&id.x5c[0], now).is_err() && chips.verify(&data.x5c[0], now).is_err());
        assert!(data.x5c.len() == 2 && data.repeats_certificates_of(&id), "the packet's rule");

        let id = DigitalId::parse(&id.payload).unwrap();
        assert_eq!(id.identity, ftm.description.identity);
        let taken = UtcMillis::from_wire(payload["timestamp"].as_str().unwrap()).unwrap();
        assert!((1_000..5_000).contains(&now.since(taken)), "of the frame, not of the answer");

        let record = base64url::decode(payload["bioValue"].as_str().unwrap()).unwrap();
        let parsed = iso::validate(&record, Modality::Iris, Purpose::Registration).unwrap();
        assert_eq!(parsed.part(), Some(*part));
        assert_eq!(payload["bioSubType"], part.as_str());
        assert_eq!(
            (&payload["qualityScore"], &payload["transactionId"]),
            (&"71.5".into(), &"a1B2c3D4e5".into())
        );
        hash = hash_chain::next(&hash, &record);
        assert_eq!(block.hash, hash_chain::to_hex(&hash));
        assert!(block.session_key.is_none() && block.thumbprint.is_none());
    }
}

#[test]
fn certificates_of_registration_blocks_follow_the_switches() {
    let ftm = ftm(Kind::DoubleIris, Purpose::Registration);
    let signers = |append_chip_certificate, digital_id_key| {
        let job = CaptureJob { append_chip_certificate, digital_id_key, ..job(Purpose::Registration) };
        let (data, payload) = opened(&seal(&ftm, &job).unwrap()[0]);
        (data.x5c.len(), digital_id(&payload).x5c == ftm.chip_chain[..1])
    };
    assert_eq!(signers(true, DigitalIdKey::Chip), (2, true));
    assert_eq!(signers(false, DigitalIdKey::Chip), (1, true));
    assert_eq!(signers(true, DigitalIdKey::Device), (1, false), "no chip certificate where none signs");
}

#[test]
fn authentication_blocks_open_with_the_key_of_the_server_only() {
    let ftm = ftm(Kind::DoubleIris, Purpose::Auth);
    let mut job = job(Purpose::Auth);
    job.digital_id_key = DigitalIdKey::Device;
    assert!(matches!(seal(&ftm, &job), Err(FtmError::NoEncryptionKey)));
    ftm.install_encryption_certificate("", &[pki().ida_certificate().der().to_vec()]).unwrap();

    let pem = pki().ida_key_pkcs8_pem();
    let body: String =
        String::from_utf8_lossy(pem.expose()).lines().filter(|l| !l.starts_with('-')).collect();
    let der = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, body).unwrap();
    let key = session::DecryptionKey::from_pkcs8(&der).unwrap();
    let blocks = seal(&ftm, &job).unwrap();
    assert_ne!(blocks[0].session_key, blocks[1].session_key, "a fresh key each");
    let mut hash = job.previous_hash;
    for block in &blocks {
        let (data, payload) = opened(block);
        assert_eq!(data.x5c.len(), 1);
        assert_eq!(digital_id(&payload).x5c, ftm.chip_chain[..1], "the chip signs, whatever the host says");
        assert_eq!(payload["domainUri"], "https://a.example");
        assert_eq!(block.thumbprint.as_deref(), Some(pki().ida_certificate().sha256().as_str()));
        let open = |timestamp: &str| {
            let sealed = payload["bioValue"].as_str().unwrap();
            session::decrypt(
                sealed,
                block.session_key.as_ref().unwrap(),
                timestamp,
                &job.transaction_id,
                &key,
            )
        };
        let record = open(payload["timestamp"].as_str().unwrap()).unwrap();
        iso::validate(record.expose(), Modality::Iris, Purpose::Auth).unwrap();
        assert!(open("2024-05-17T09:41:27Z").is_err(), "negative control: bound to its timestamp");
        hash = hash_chain::next(&hash, record.expose());
        assert_eq!(block.hash, hash_chain::to_hex(&hash), "over the clear record");
    }
}

/// A certificate for a fresh key, ordered from whoever.
fn ordered(by: Authority, validity: Validity) -> Vec<Vec<u8>> {
    let key = SoftwareKey::generate().unwrap();
    let subject = vec!["O=Example Identity Authority".to_owned(), "CN=IDA-FIR".to_owned()];
    pki().issue(&Order::leaf(by, key.public_key_der(), subject, validity)).unwrap()
}

#[test]
fn certificates_that_are_not_the_adopters_are_refused() {
    let ftm = ftm(Kind::SingleIris, Purpose::Auth);
    let refused = |chain: &[Vec<u8>]| match ftm.install_encryption_certificate("", chain) {
        Err(FtmError::Adopter(error)) => error,
        other => panic!("{other:?}"),
    };
    let valid = Validity::starting(UtcMillis(SystemClock.now().0 - 60_000), Duration::from_secs(3600));
    for by in [Authority::Stranger, Authority::DeviceProvider, Authority::FtmProvider] {
        let chain = ordered(by, valid);
        assert!(matches!(refused(&chain), AdopterError::Foreign(_)), "{by:?}");
        // Nor does it help to send the adopter's certificate along.
        let with = [chain, vec![pki().ida_certificate().der().to_vec()]].concat();
        assert!(matches!(refused(&with), AdopterError::Foreign(_)), "{by:?}");
    }
    assert_eq!(refused(&[]), AdopterError::Length(0));
    assert_eq!(refused(&[b"not a certificate".to_vec()]), AdopterError::Unreadable(0));
    assert_eq!(
        refused(&[adopter::anchor(pki()).unwrap().der().to_vec(), vec![]]),
        AdopterError::Unreadable(1)
    );

    // The leaf of the IDA stand-in before its time and after it.
    let anchor = adopter::anchor(pki()).unwrap();
    let chain = [pki().ida_certificate().der().to_vec()];
    let leaf = pki().ida_certificate();
    for at in [leaf.not_before().0 - 1000, leaf.not_after().0 + 1000] {
        assert!(matches!(adopter::check(&chain, &anchor, UtcMillis(at)), Err(AdopterError::Dates(_))));
    }
    let with_anchor = [chain[0].clone(), anchor.der().to_vec()];
    adopter::check(&with_anchor, &anchor, SystemClock.now()).unwrap();
}

#[test]
fn a_domain_has_its_own_certificate_or_the_default_one() {
    let ftm = ftm(Kind::SingleIris, Purpose::Auth);
    let chain = [pki().ida_certificate().der().to_vec()];
    ftm.install_encryption_certificate("https://b.example", &chain).unwrap();
    let found = |uri| ftm.encryption_certificate(uri, SystemClock.now()).is_ok();
    assert!(found("https://b.example") && !found("https://a.example"));
    ftm.install_encryption_certificate("", &chain).unwrap();
    assert!(found("https://a.example"));
    let expired = UtcMillis(pki().ida_certificate().not_after().0 + 1000);
    assert!(matches!(ftm.encryption_certificate("", expired), Err(FtmError::NoEncryptionKey)));
}

fn info() -> InfoJob {
    InfoJob {
        device_id: "BT0123456789".into(),
        status: DeviceStatus::Ready,
        env: Env::Staging,
        callback_id: "http://127.0.0.1:4501/".into(),
        service_version: "0.1.0".into(),
        digital_id_key: DigitalIdKey::Chip,
        level: Level::L1,
    }
}

#[test]
fn device_info_is_signed_by_the_device_and_holds_an_id_of_the_chip() {
    let ftm = ftm(Kind::Face, Purpose::Registration);
    let jws = jws::parse(&ftm.signed_info(&info()).unwrap()).unwrap();
    jws.verify().unwrap();
    assert_eq!(jws.x5c, ftm.keys().device_chain[..1]);
    let payload: Value = serde_json::from_slice(&jws.payload).unwrap();
    assert_eq!(payload["deviceId"], "BT0123456789");
    assert_eq!(digital_id(&payload).x5c, ftm.keys().chip_chain[..1]);
}

#[test]
fn device_info_shows_the_level_that_is_granted() {
    let ftm = ftm(Kind::Face, Purpose::Registration);
    let shown = |level| {
        let jws = jws::parse(&ftm.signed_info(&InfoJob { level, ..info() }).unwrap()).unwrap();
        serde_json::from_slice::<Value>(&jws.payload).unwrap()["certification"].clone()
    };
    assert_eq!((shown(Level::L1), shown(Level::L0)), ("L1".into(), "L0".into()));
}

#[test]
fn what_began_with_a_pair_ends_with_it() {
    let ftm = ftm(Kind::DoubleIris, Purpose::Registration);
    let job = job(Purpose::Registration);
    let pair = ftm.pair().unwrap();
    let before = ftm.keys().device_chain;
    let image = jp2(job.purpose);
    ftm.rotate(pki()).unwrap();
    ftm.destroy_keys();
    let shot = Shot { part: Some(BioSubType::Left), jp2: &image, dpi: 0, score: Score::clamped(71.5) };
    let blocks = ftm.seal(&job, &pair, &[shot], Duration::ZERO).unwrap();
    assert_eq!(opened(&blocks[0]).0.x5c[0], before[0], "verified by the certificate beside it");
    assert!(matches!(ftm.pair(), Err(FtmError::NotRegistered)));
}

#[test]
fn nothing_is_signed_that_is_not_what_it_should_be() {
    let ftm = ftm(Kind::DoubleIris, Purpose::Registration);
    let info_with = |change: fn(&mut InfoJob)| {
        let mut job = info();
        change(&mut job);
        ftm.signed_info(&job)
    };
    assert!(info_with(|_| ()).is_ok(), "control");
    for change in [
        (|job| job.device_id = "\",\"purpose\":\"Auth".into()) as fn(&mut InfoJob),
        |job| job.callback_id = "http://10.0.0.1:4501/".into(),
        |job| job.callback_id = "http://127.0.0.1:4501".into(),
        |job| job.callback_id = "http://127.0.0.1:99999/".into(),
        |job| job.service_version = String::new(),
        |job| job.service_version = "1 0".into(),
    ] {
        assert!(matches!(info_with(change), Err(FtmError::Request(_))));
    }

    let sealed_with = |change: fn(&mut CaptureJob)| {
        let mut job = job(Purpose::Registration);
        change(&mut job);
        seal(&ftm, &job)
    };
    assert!(sealed_with(|_| ()).is_ok(), "control");
    for change in [
        (|job| job.purpose = Purpose::Auth) as fn(&mut CaptureJob),
        |job| job.auth = Some(AuthCapture { domain_uri: String::new() }),
        |job| job.spec_version = "1.0".into(),
        |job| job.transaction_id = "abc".into(),
        |job| job.transaction_id = "a\"b-cdef".into(),
        |job| job.requested_score_text = "61".into(),
        |job| job.requested_score_text = "60, trust me".into(),
    ] {
        assert!(matches!(sealed_with(change), Err(FtmError::Request(_))));
    }
}

#[test]
fn rotation_replaces_the_device_key_only() {
    let ftm = ftm(Kind::Face, Purpose::Registration);
    let before = ftm.keys();
    let certificate = ftm.rotate(pki()).unwrap();
    let after = ftm.keys();
    assert_eq!(before.chip_chain, after.chip_chain);
    assert_eq!(after.device_chain[0], certificate.der());
    let old = Certificate::parse(&before.device_chain[0]).unwrap();
    assert!(certificate.not_before() > old.not_before() && certificate.spki_der() != old.spki_der());
    assert_eq!(certificate.subject().common_name(), Some(ftm.description.identity.serial_no.as_str()));
    pki().store::<Device>().unwrap().verify(certificate.der(), SystemClock.now()).unwrap();
}

#[test]
fn times_are_those_of_its_own_clock() {
    let maker = Maker { provider: "Example Devices Ltd".into(), provider_id: "EXAMPLE".into() };
    let spec = Spec { kind: Kind::DoubleIris, level: Level::L1, purpose: Purpose::Registration };
    let clock = Stopped(UtcMillis(SystemClock.now().0 + 30_000));
    let wanted = UtcMillis(clock.0.0 - 1500).to_wire();
    let ftm = manufacture(spec.description(1, &maker), Arc::new(clock));
    let (_, payload) = opened(&seal(&ftm, &job(Purpose::Registration)).unwrap()[0]);
    assert_eq!(payload["timestamp"], wanted);
}
