//! Entries of a discovery answer, good and changed.

use serde_json::json;

use super::*;
use crate::testkit::digital_id;

fn entry() -> Value {
    json!({
        "deviceId": "BT0000000001", "deviceStatus": "Ready", "certification": "L1", "serviceVersion": "1",
        "deviceSubId": ["0"], "callbackId": "http://127.0.0.1:4501/", "deviceCode": "JUDGE0000001",
        "digitalId": URL_SAFE_NO_PAD.encode(digital_id("Finger", "Slap").to_string()),
        "specVersion": ["0.9.5"], "purpose": "Auth", "error": {"errorCode": "0", "errorInfo": "Success"},
    })
}

fn seen() -> SeenDevice {
    SeenDevice {
        index: 0,
        device_id: "BT0000000001".into(),
        device_code: "JUDGE0000001".into(),
        status: "Ready".into(),
        certification: "L1".into(),
        purpose: "Auth".into(),
        callback_id: String::new(),
        device_sub_id: vec![],
        spec_version: vec![],
        bio_type: "Finger".into(),
        sub_type: "Slap".into(),
        serial_no: "JUDGE0000001".into(),
        make: String::new(),
        model: String::new(),
    }
}

fn judge_one(entry: &Value) -> Verdict {
    judge(json!([entry]).to_string().as_bytes())
}

#[test]
fn a_good_entry_is_accepted_and_available() {
    assert!(judge_one(&entry()).is_accepted());
    assert!(is_available(json!([entry()]).to_string().as_bytes(), &seen()));
    assert!(judge(b"[]").is_accepted(), "nothing of that type");
    let mut busy = entry();
    busy["deviceStatus"] = json!("Busy");
    busy["error"] = json!({"errorCode": "111", "errorInfo": "Busy"});
    assert!(judge_one(&busy).is_accepted());
    assert!(!is_available(json!([busy]).to_string().as_bytes(), &seen()));
}

#[test]
fn each_change_fails_its_check() {
    let cases: [(&str, Value, &str); 8] = [
        ("additional", json!(1), "answer members"),
        ("specVersion", json!("0.9.5"), "answer members"),
        ("serviceVersion", json!(null), "entry members"),
        ("digitalId", json!("a.b.c"), "digital id"),
        ("digitalId", json!(URL_SAFE_NO_PAD.encode("{}")), "digital id"),
        ("purpose", json!(""), "purpose"),
        ("error", json!({"errorCode": 0, "errorInfo": "Success"}), "error"),
        ("error", json!({"errorCode": "111", "errorInfo": "Busy"}), "error"),
    ];
    for (name, value, check) in cases {
        let mut changed = entry();
        changed[name] = value;
        let verdict = judge_one(&changed);
        assert!(verdict.failed(check) && verdict.failures().count() == 1, "{name}: {verdict}");
    }
}

#[test]
fn availability_compares_what_the_client_compares() {
    for (name, value) in [
        ("deviceId", json!("BT0000000002")),
        ("deviceCode", json!("x")),
        ("certification", json!("L0")),
        ("deviceStatus", json!("Not Ready")),
        ("specVersion", json!(["1.0"])),
    ] {
        let mut changed = entry();
        changed[name] = value;
        assert!(!is_available(json!([changed]).to_string().as_bytes(), &seen()), "{name}");
    }
}
