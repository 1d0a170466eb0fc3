//! Every answer against the member lists of the strictest reader, and against the known answers.

use biotrust_model::time::UtcMillis;
use biotrust_model::{
    BioSubType, DeviceId, DeviceIdentity, DeviceStatus, DeviceSubType, Env, Language, Level, Modality,
    Problem, ProblemKind, Purpose, Score, SubId,
};
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::digital_id::DigitalId;
use crate::known_answers::{self, section, text};
use crate::session::Encrypted;
use crate::{base64url, hash_chain, jws};

fn now() -> UtcMillis {
    UtcMillis::from_wire("2024-05-17T09:41:27Z").unwrap()
}

/// The device of the known answers.
fn device() -> DeviceDescription {
    DeviceDescription {
        device_id: DeviceId::new("BT0123456789").unwrap(),
        identity: DeviceIdentity {
            serial_no: "FPS000000000001".into(),
            make: "ACME".into(),
            model: "FPS-1".into(),
            modality: Modality::Finger,
            device_sub_type: DeviceSubType::Single,
            device_provider: "Acme Devices".into(),
            device_provider_id: "acme-dp".into(),
        },
        level: Level::L1,
        purpose: Some(Purpose::Auth),
        status: DeviceStatus::Ready,
        sub_ids: vec![SubId(0)],
        service_version: "0.9.5".into(),
        firmware: "1.0.0".into(),
        env: Some(Env::Developer),
        callback_id: "http://127.0.0.1:4501/".into(),
    }
}

fn json(text: &str) -> Value {
    assert!(text.is_ascii());
    serde_json::from_str(text).unwrap()
}

/// The second of two records that are written alike.
fn record(write: impl Fn(&mut CaptureWriter)) -> Value {
    let mut writer = CaptureWriter::default();
    write(&mut writer);
    write(&mut writer);
    let answer = json(&writer.finish());
    assert_eq!(answer["biometrics"].as_array().unwrap().len(), 2);
    answer["biometrics"][1].clone()
}

fn members(value: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

fn auth_payload<'a>(digital_id: &'a str, bio_value: &'a str) -> DataPayload<'a> {
    DataPayload {
        digital_id,
        device_code: "FPS000000000001",
        service_version: "0.9.5",
        modality: Modality::Finger,
        bio_sub_type: Some(BioSubType::Unknown),
        for_use: Use::Auth { domain_uri: "https://api-internal.example.net" },
        env: Env::Developer,
        bio_value: BioValue::Text(bio_value),
        transaction_id: "a1B2c3D4e5",
        timestamp: now(),
        requested_score: "60",
        quality_score: Score::clamped(80.0),
    }
}

#[test]
fn known_device_info() {
    let payload = device_info_payload(&device(), &known_answers::jws("digitalId_ftm"));
    let known = known_answers::payload(&section("jwt")["deviceInfo"]);
    assert_eq!(
        payload.replace("BT0123456789", "1"),
        known,
        "but for the id, which has a fixed width with us"
    );
}

/// Digital ID, encryption, payload, signature, envelope: the whole authentication answer, byte for byte.
#[test]
fn known_auth_capture_answer() {
    let first = &section("auth_bio_encryption")[0];
    let encrypted = Encrypted {
        bio_value: text(&first["bioValue"]),
        session_key: text(&section("session_key_wrap")["wrapped"]),
        thumbprint: text(&section("thumbprint")["thumbprint"]),
    };
    let digital_id = known_answers::jws("digitalId_ftm");
    let payload = auth_payload(&digital_id, &encrypted.bio_value).to_json();
    assert_eq!(payload, known_answers::payload(&section("jwt")["auth_data"]));

    let unsigned = jws::prepare(&[known_answers::certificate("device")], &payload);
    let signature = known_answers::sign("device", unsigned.signing_input());
    let data = unsigned.attach(&signature);
    let hash = hash_chain::next(&hash_chain::EMPTY, &known_answers::record("finger_auth_unknown"));
    let known = section("auth_capture_response");
    assert_eq!(hash_chain::to_hex(&hash), text(&known["hash"]));
    let mut writer = CaptureWriter::default();
    writer.auth(&data, &hash, &encrypted.session_key, &encrypted.thumbprint);
    let answer = writer.finish();
    assert_eq!(hex::encode_upper(hash_chain::sha256(answer.as_bytes())), text(&known["sha256"]));
}

#[test]
fn known_registration_payload() {
    let packet = &section("registration_packet")["L0_device_key_for_both"];
    let digital_id = known_answers::jws("digitalId_device_key");
    let bio_value = base64url::encode(known_answers::record("finger_registration_left_index"));
    let payload = DataPayload {
        device_code: "SLAP00000000001",
        bio_sub_type: Some(BioSubType::LeftIndexFinger),
        for_use: Use::Registration,
        transaction_id: "6f9619ff-8b86-d011-b42d-00c04fc964ff",
        ..auth_payload(&digital_id, &bio_value)
    }
    .to_json();
    assert_eq!(payload, known_answers::payload(packet).replace("<bioValue>", &bio_value));
}

const DATA_MEMBERS: [&str; 12] = [
    "bioSubType",
    "bioType",
    "bioValue",
    "deviceCode",
    "deviceServiceVersion",
    "digitalId",
    "env",
    "purpose",
    "qualityScore",
    "requestedScore",
    "timestamp",
    "transactionId",
];

#[test]
fn data_has_exactly_its_members_and_only_strings() {
    let auth = json(&auth_payload("d", "b").to_json());
    let mut thirteen = DATA_MEMBERS.to_vec();
    thirteen.push("domainUri");
    thirteen.sort_unstable();
    assert_eq!(members(&auth), thirteen);
    let registration = DataPayload { for_use: Use::Registration, ..auth_payload("d", "b") };
    assert_eq!(members(&json(&registration.to_json())), DATA_MEMBERS);
    let face = DataPayload { modality: Modality::Face, ..registration };
    assert!(!members(&json(&face.to_json())).contains(&"bioSubType"), "not even where a part is given");
    assert!(auth.as_object().unwrap().values().all(Value::is_string));
    let silent = DataPayload { for_use: Use::Auth { domain_uri: "" }, ..auth_payload("d", "b") };
    assert_eq!(json(&silent.to_json())["domainUri"], "");
}

#[test]
fn discovery_has_exactly_its_members() {
    let answer = json(&discovery_answer(&[discovery_entry(&device(), now(), None, Language::En)]));
    let entry = &answer[0];
    assert_eq!(
        members(entry),
        [
            "callbackId",
            "certification",
            "deviceCode",
            "deviceId",
            "deviceStatus",
            "deviceSubId",
            "digitalId",
            "error",
            "purpose",
            "serviceVersion",
            "specVersion"
        ]
    );
    assert_eq!((&entry["deviceSubId"], &entry["specVersion"]), (&json(r#"["0"]"#), &json(r#"["0.9.5"]"#)));
    assert_eq!(entry["error"], json(r#"{"errorCode":"0","errorInfo":"Success"}"#));
    let digital_id = DigitalId::parse_unsigned(entry["digitalId"].as_str().unwrap()).unwrap();
    assert_eq!(digital_id, DigitalId::at(device().identity, now()));
    assert_eq!(discovery_answer(&[""; 0]), "[]");
}

#[test]
fn discovery_reports_every_status_with_its_code() {
    for (status, code) in [
        (DeviceStatus::Ready, "0"),
        (DeviceStatus::Busy, "111"),
        (DeviceStatus::NotReady, "110"),
        (DeviceStatus::NotRegistered, "100"),
    ] {
        let device = DeviceDescription { status, ..device() };
        let entry = json(&discovery_entry(&device, now(), None, Language::En));
        assert_eq!(
            (&entry["deviceStatus"], &entry["error"]["errorCode"]),
            (&status.as_str().into(), &code.into())
        );
        let tampered =
            json(&discovery_entry(&device, now(), Some(&ProblemKind::Tampered.into()), Language::En));
        assert_eq!(tampered["error"]["errorCode"], "103", "what is given goes before the status");
    }
}

#[test]
fn unregistered_devices_say_so() {
    let device =
        DeviceDescription { purpose: None, env: None, status: DeviceStatus::NotRegistered, ..device() };
    assert_eq!(json(&discovery_entry(&device, now(), None, Language::En))["purpose"], "");
    let info = json(&device_info_payload(&device, "id"));
    assert_eq!((&info["purpose"], &info["env"]), (&"".into(), &"None".into()));
}

#[test]
fn device_info_has_exactly_its_members() {
    let description = DeviceDescription { sub_ids: vec![SubId(1), SubId(2), SubId(3)], ..device() };
    let info = json(&device_info_payload(&description, "id"));
    assert_eq!(
        members(&info),
        [
            "callbackId",
            "certification",
            "deviceCode",
            "deviceId",
            "deviceStatus",
            "deviceSubId",
            "digitalId",
            "env",
            "firmware",
            "purpose",
            "serviceVersion",
            "specVersion"
        ]
    );
    assert_eq!(info["deviceSubId"], json(r#"["1","2","3"]"#));
    let problem = ProblemKind::NotRegistered.into();
    let entries = [info_entry("a.b.c", None, Language::En), info_entry("", Some(&problem), Language::Fr)];
    let answer = json(&info_answer(&entries));
    assert_eq!(members(&answer[0]), ["deviceInfo", "error"]);
    assert_eq!(
        (&answer[0]["error"]["errorCode"], &answer[1]["error"]["errorCode"]),
        (&"0".into(), &"100".into())
    );
    assert_eq!(answer[1]["deviceInfo"], "");
}

#[test]
fn r21_r22_capture_entries_and_errors_have_their_shape() {
    let hash = hash_chain::next(&hash_chain::EMPTY, b"a");
    let entry = record(|writer| writer.registration("a.b.c", &hash));
    assert_eq!(members(&entry), ["data", "error", "hash", "specVersion"]);
    let encrypted = Encrypted { bio_value: "v".into(), session_key: "k".into(), thumbprint: "T".into() };
    let entry = record(|writer| writer.auth("a.b.c", &hash, &encrypted.session_key, &encrypted.thumbprint));
    assert_eq!(members(&entry), ["data", "error", "hash", "sessionKey", "specVersion", "thumbprint"]);

    let problem = Problem::about(ProblemKind::AttributeMissing, "bio[0].count");
    for language in [Language::En, Language::Fr, Language::Ar] {
        let answer = json(&capture_error(&problem, language));
        assert_eq!(members(&answer), ["biometrics"]);
        assert_eq!(answer["biometrics"].as_array().unwrap().len(), 1);
        let entry = &answer["biometrics"][0];
        assert_eq!(members(entry), ["data", "error", "hash", "specVersion"]);
        assert_eq!(
            (&entry["data"], &entry["hash"], &entry["specVersion"]),
            (&"".into(), &"".into(), &"0.9.5".into())
        );
        assert_eq!(entry["error"]["errorCode"], "502");
        assert_eq!(entry["error"]["errorInfo"], problem.text(language));
    }
    assert_eq!(members(&json(&stream_error(&problem, Language::En))), ["error"]);
    let discovery = json(&discovery_error(&problem, Language::En));
    assert_eq!((members(&discovery[0]), discovery.as_array().unwrap().len()), (vec!["error"], 1));
}

proptest! {
    /// Whatever a maker calls a device and a page its domain: the payload stays ASCII, decodes with `atob`, and its
    /// first text `bioValue` is the key of the record (row P3 of the back-end notes).
    #[test]
    fn payloads_survive_their_readers(
        digital_id in ".{0,20}(bioValue)?.{0,5}", device_code in ".{0,10}[\\\\\"\u{8}]{0,3}(bioValue){0,2}.{0,5}",
        domain_uri in "\\PC{0,40}", score in 0.0..=100.0f32,
    ) {
        let payload = DataPayload {
            device_code: &device_code,
            for_use: Use::Auth { domain_uri: &domain_uri },
            quality_score: Score::clamped(score),
            ..auth_payload(&digital_id, "AAECAw")
        }.to_json();
        prop_assert!(!base64url::encode(&payload).contains(['-', '_']));
        let value = json(&payload);
        prop_assert_eq!((&value["digitalId"], &value["deviceCode"], &value["domainUri"]),
            (&digital_id.as_str().into(), &device_code.as_str().into(), &domain_uri.as_str().into()));
        let first = payload.find("bioValue").unwrap();
        prop_assert_eq!(payload.get(first - 1..first + 19), Some(r#""bioValue":"AAECAw","#));
    }

    /// One way to sign a record, whether it is written down in between or not.
    #[test]
    fn a_record_is_signed_as_its_text_is(record in prop::collection::vec(any::<u8>(), 0..9000),
                                         device_code in ".{0,9}(bioValue)?.{0,9}") {
        let text = base64url::encode(&record);
        let as_text = DataPayload { device_code: &device_code, ..auth_payload("a.b.c", &text) };
        let as_record = DataPayload { bio_value: BioValue::Record(&record), ..as_text };
        prop_assert_eq!(as_record.to_json(), as_text.to_json());
        let (direct, written) = (as_record.prepare(&[b"der"]), jws::prepare(&[b"der"], &as_text.to_json()));
        prop_assert_eq!(direct.signing_input(), written.signing_input());
    }

    #[test]
    fn descriptions_survive_their_readers(make in any::<String>(), firmware in any::<String>()) {
        let mut device = device();
        device.identity.make = make.clone();
        device.firmware = firmware.clone();
        let entry = json(&discovery_entry(&device, now(), None, Language::Ar));
        let digital_id = base64url::decode(entry["digitalId"].as_str().unwrap()).unwrap();
        prop_assert_eq!(&serde_json::from_slice::<Value>(&digital_id).unwrap()["make"], &Value::from(make));
        let payload = device_info_payload(&device, "id");
        prop_assert!(!base64url::encode(&payload).contains(['-', '_']));
        prop_assert_eq!(&json(&payload)["firmware"], &Value::from(firmware));
    }
}
