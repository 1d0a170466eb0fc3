//! Each validator accepts a good exchange and refuses a changed one.

use biosim_backends::testkit::{
    AUTH_TXN, Holder, NOW, REG_TXN, Recipe, fresh, ida_key, images, key_manager, pki, records,
};
use serde_json::json;

use super::*;
use crate::ctk::decode::{self, Selected};

fn selected(certification: &str, bio_type: &str) -> Selected {
    Selected {
        device_id: "D".into(),
        purpose: String::new(),
        spec_version: "0.9.5".into(),
        certification: certification.into(),
        bio_type: bio_type.into(),
        sub_type: "Slap".into(),
    }
}

fn exchange(answer: &[u8], request: Value) -> Exchange {
    let bio_type = request["bio"][0]["type"].as_str().unwrap().to_owned();
    let answer =
        decode::capture(&serde_json::from_slice(answer).unwrap(), &selected("L1", &bio_type)).unwrap();
    Exchange { request, answer, start_ms: NOW.0 - 2_000, end_ms: NOW.0, before: None }
}

fn registration(recipe: &Recipe<'_>) -> Exchange {
    let request = json!({
        "purpose": "Registration", "transactionId": REG_TXN, "timeout": "1500",
        "bio": [{"type": "Finger", "count": "2", "deviceSubId": "1", "exception": [], "previousHash": ""}],
    });
    exchange(&recipe.registration_answer(), request)
}

fn authentication(recipe: &Recipe<'_>) -> Exchange {
    let request = json!({
        "purpose": "Auth", "transactionId": AUTH_TXN, "timeout": "1500",
        "bio": [{"type": "Finger", "count": "2", "deviceSubId": "0", "previousHash": ""}],
    });
    exchange(&recipe.auth_answer(&pki().ida, &fresh), request)
}

fn run(validator: Validator, expect: Expect, exchange: &Exchange, certification: &str) -> Result<(), String> {
    let (keys, key) = (key_manager(), ida_key());
    let context = Context { keys: &keys, encryption: &key, certification, organisation: Some("JUDGES") };
    validate(validator, expect, exchange, &context)
}

#[test]
fn good_captures_pass_every_validator() {
    use Validator::*;
    for validator in [Schema, Signature, Mismatch, Iso, Hash, Time, Timeout, Quality] {
        let exchange = registration(&Recipe::registration());
        assert_eq!(run(validator, Expect::Registered, &exchange, "L1"), Ok(()), "{validator:?}");
        let exchange = authentication(&Recipe::auth());
        assert_eq!(run(validator, Expect::Authenticated, &exchange, "L1"), Ok(()), "{validator:?}");
    }
}

#[test]
fn signature_wants_the_domain_of_the_declared_level() {
    let pki = pki();
    let by = |id_signer: &'static Holder, level: &str| {
        let exchange = registration(&Recipe { id_signer, ..Recipe::registration() });
        run(Validator::Signature, Expect::Registered, &exchange, level)
    };
    assert!(by(&pki.chip, "L1").is_ok() && by(&pki.device, "L0").is_ok());
    assert!(by(&pki.device, "L1").is_err(), "says L1, signs with the device key");
    assert!(by(&pki.chip, "L0").is_err(), "says L0, signs with the chip key");
    assert!(by(&pki.chip, "L2").is_err());
    for data_signer in [&pki.expired_device, &pki.future_device, &pki.stranger, &pki.chip] {
        let exchange = registration(&Recipe { data_signer, ..Recipe::registration() });
        assert!(run(Validator::Signature, Expect::Registered, &exchange, "L1").is_err());
    }
    let (keys, key) = (key_manager(), ida_key());
    let context =
        Context { keys: &keys, encryption: &key, certification: "L1", organisation: Some("Others") };
    let exchange = registration(&Recipe::registration());
    assert!(
        validate(Validator::Signature, Expect::Registered, &exchange, &context)
            .unwrap_err()
            .contains("partner")
    );
}

#[test]
fn signature_of_discovery_and_unsigned_info() {
    let plain =
        |answer: Value| Exchange { request: json!({}), answer, start_ms: 0, end_ms: NOW.0, before: None };
    let good = plain(json!([{"digitalIdDecoded": {"type": "Face", "deviceSubType": "Full face"}}]));
    assert!(run(Validator::Signature, Expect::Discovered, &good, "L1").is_ok());
    let bad = plain(json!([{"digitalIdDecoded": {"type": null, "deviceSubType": "Full face"}}]));
    assert!(run(Validator::Signature, Expect::Discovered, &bad, "L1").is_err());
    let unsigned = |status: &str| {
        plain(json!([{"deviceInfo": URL_SAFE_NO_PAD.encode(json!({"deviceStatus": status}).to_string())}]))
    };
    assert!(run(Validator::Signature, Expect::InfoNotRegistered, &unsigned("Not Registered"), "L1").is_ok());
    assert!(run(Validator::Signature, Expect::Info, &unsigned("Ready"), "L1").is_err());
}

#[test]
fn mismatch_compares_with_the_request() {
    let good = registration(&Recipe::registration());
    let changed = |pointer: &str, value: Value| {
        let mut exchange = good.clone();
        *exchange.request.pointer_mut(pointer).unwrap() = value;
        run(Validator::Mismatch, Expect::Registered, &exchange, "L1")
    };
    assert!(changed("/bio/0/count", json!("3")).is_err());
    assert!(changed("/bio/0/count", json!("02")).is_ok(), "a number");
    assert!(changed("/purpose", json!("Auth")).is_err());
    assert!(changed("/transactionId", json!("other")).is_err());
    assert!(changed("/bio/0/deviceSubId", json!("2")).is_err());
    assert!(
        changed("/bio/0/exception", json!(["Left IndexFinger"])).is_ok(),
        "a leak that the tool kit does not see"
    );
    let auth = authentication(&Recipe::auth());
    let mut other = auth.clone();
    other.request["transactionId"] = json!("other");
    assert!(run(Validator::Mismatch, Expect::Authenticated, &other, "L1").is_ok(), "not compared for Auth");
    let mut face = good.clone();
    face.answer["biometrics"][0]["dataDecoded"]["bioType"] = json!("Face");
    face.answer["biometrics"].as_array_mut().unwrap().truncate(1);
    face.request["bio"][0] = json!({"count": "1", "deviceSubId": "0", "exception": ["Left Thumb"]});
    assert!(run(Validator::Mismatch, Expect::Registered, &face, "L1").unwrap_err().contains("NullPointer"));
}

#[test]
fn times_are_compared_as_the_tool_kit_does() {
    let mut exchange = registration(&Recipe::registration());
    exchange.request["timeout"] = json!("2000");
    assert!(run(Validator::Timeout, Expect::Registered, &exchange, "L1").is_ok());
    exchange.request["timeout"] = json!("2001");
    assert!(run(Validator::Timeout, Expect::Registered, &exchange, "L1").is_err(), "a lower bound");
    let time = |stamp: &str| {
        let mut exchange = exchange.clone();
        exchange.answer["biometrics"][1]["dataDecoded"]["timestamp"] = json!(stamp);
        run(Validator::Time, Expect::Registered, &exchange, "L1")
    };
    assert!(time("2026-10-24T10:00:00Z").is_ok(), "a month ago passes");
    assert!(time("2026-11-24T10:03:57Z").is_ok(), "3 minutes and 59 seconds after the start");
    assert!(time("2026-11-24T10:03:58Z").is_err());
    assert!(time("2026-11-24T10:00:00.123Z").is_err() && time("").is_err());
    exchange.answer["biometrics"] = json!([]);
    assert!(run(Validator::Time, Expect::Registered, &exchange, "L1").is_err());
}

#[test]
fn the_chain_runs_over_the_plaintext() {
    for (good, expect) in [
        (registration(&Recipe::registration()), Expect::Registered),
        (authentication(&Recipe::auth()), Expect::Authenticated),
    ] {
        let changed = |edit: &dyn Fn(&mut Exchange)| {
            let mut exchange = good.clone();
            edit(&mut exchange);
            run(Validator::Hash, expect, &exchange, "L1")
        };
        let lower = |e: &mut Exchange| {
            let hash = e.answer["biometrics"][1]["hash"].as_str().unwrap().to_lowercase();
            e.answer["biometrics"][1]["hash"] = json!(hash);
        };
        assert!(changed(&lower).is_err());
        assert!(changed(&|e| e.answer["biometrics"].as_array_mut().unwrap().swap(0, 1)).is_err());
        assert!(
            changed(&|e| e.request["bio"][0]["previousHash"] = json!("AB".repeat(32))).is_err(),
            "another start"
        );
        assert!(changed(&|e| e.request["bio"][0]["previousHash"] = json!("xyz")).is_err());
    }
}

#[test]
fn records_must_be_what_they_say_and_open_with_our_key() {
    let mut recipe = Recipe::registration();
    recipe.parts[1].2 = records::finger(8, images::FINGER_LOSSY, 5);
    assert!(
        run(Validator::Iso, Expect::Registered, &registration(&recipe), "L1")
            .unwrap_err()
            .contains("wavelet")
    );
    let mut recipe = Recipe::registration();
    recipe.parts[0].2[52] = 4;
    assert!(run(Validator::Iso, Expect::Registered, &registration(&recipe), "L1").is_err());
    let mut other = authentication(&Recipe::auth());
    other.answer["biometrics"][0]["thumbprint"] = json!("AB".repeat(32));
    assert!(run(Validator::Iso, Expect::Authenticated, &other, "L1").unwrap_err().contains("thumbprint"));
    let mut changed = authentication(&Recipe::auth());
    changed.answer["biometrics"][0]["dataDecoded"]["timestamp"] = json!("2026-11-24T10:00:01Z");
    assert!(run(Validator::Iso, Expect::Authenticated, &changed, "L1").unwrap_err().contains("tag"));
}

#[test]
fn quality_stumbles_over_scores_and_types() {
    let good = registration(&Recipe::registration());
    for (pointer, value) in [
        ("/biometrics/0/dataDecoded/qualityScore", json!("much")),
        ("/biometrics/1/dataDecoded/bioType", json!("Voice")),
        ("/biometrics/1/specVersion", json!("")),
        ("/biometrics/1/dataDecoded/bioValue", json!("!")),
    ] {
        let mut exchange = good.clone();
        *exchange.answer.pointer_mut(pointer).unwrap() = value;
        assert!(run(Validator::Quality, Expect::Registered, &exchange, "L1").is_err(), "{pointer}");
    }
}

#[test]
fn rotation_wants_a_newer_device_certificate_and_the_same_chip() {
    let pki = pki();
    let renewed =
        biosim_backends::testkit::issue("Device", biosim_backends::testkit::Kind::Leaf, Some(&pki.device_ca));
    let other_chip =
        biosim_backends::testkit::issue("Chip", biosim_backends::testkit::Kind::Leaf, Some(&pki.ftm_root));
    let info = |device: &Holder, chip: &Holder, serial: &str| {
        let mut id = biosim_backends::testkit::digital_id("Finger", "Slap");
        id["serialNo"] = json!(serial);
        let info = json!({
            "digitalId": chip.sign(&id.to_string(), &[]), "certification": "L1", "deviceStatus": "Ready",
        });
        let answer = json!([{"deviceInfo": device.sign(&info.to_string(), &[])}]);
        let answer = decode::info(&answer, &selected("L1", "Finger")).unwrap();
        Exchange { request: json!({}), answer, start_ms: 0, end_ms: NOW.0, before: None }
    };
    let rotated = |before: Exchange, mut after: Exchange| {
        after.before = Some(Box::new(before));
        run(Validator::Key, Expect::InfoReady, &after, "L1")
    };
    let before = || info(&pki.device, &pki.chip, "S");
    assert_eq!(rotated(before(), info(&renewed, &pki.chip, "S")), Ok(()));
    assert!(rotated(before(), before()).unwrap_err().contains("same"));
    assert!(rotated(before(), info(&renewed, &other_chip, "S")).unwrap_err().contains("chip"));
    assert!(rotated(before(), info(&renewed, &pki.chip, "T")).unwrap_err().contains("serial"));
    assert!(rotated(before(), info(&pki.stranger, &pki.chip, "S")).is_err(), "not trusted");
    let mut unsigned = before();
    unsigned.answer = json!([{"deviceInfo": URL_SAFE_NO_PAD.encode("{}")}]);
    assert!(rotated(before(), unsigned).unwrap_err().contains("not registered"));
    assert!(run(Validator::Key, Expect::InfoReady, &before(), "L1").is_err(), "no answer from before");
}
