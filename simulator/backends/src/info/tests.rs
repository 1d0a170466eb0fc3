//! Lists of devices as the two clients lose and keep them.

use serde_json::json;

use super::*;
use crate::testkit::{Holder, NOW, digital_id, key_manager, pki};

fn info(id: &str, serial: &str) -> Value {
    json!({
        "deviceId": id, "deviceStatus": "Ready", "firmware": "1", "certification": "L1", "serviceVersion": "1",
        "deviceSubId": ["1", "2", "3"], "callbackId": "http://127.0.0.1:4501/", "digitalId": "", "deviceCode": serial,
        "env": "Staging", "purpose": "Auth", "specVersion": ["0.9.5"], "vendorExtra": true,
    })
}

fn entry_with(edit: impl Fn(&mut Value), edit_id: impl Fn(&mut Value), id_signer: &Holder) -> Value {
    let mut id = digital_id("Finger", "Slap");
    edit_id(&mut id);
    let serial = id["serialNo"].as_str().unwrap_or_default().to_owned();
    let mut info = info(&format!("BT{:0>10}", &serial[serial.len().saturating_sub(4)..]), &serial);
    info["digitalId"] = json!(id_signer.sign(&id.to_string(), &[]));
    edit(&mut info);
    let text = pki().device.sign(&info.to_string(), &[]);
    json!({"deviceInfo": text, "error": {"errorCode": "0", "errorInfo": "Success"}})
}

fn entry(serial: &str, bio_type: &str, sub_type: &str) -> Value {
    let edit_id = |id: &mut Value| {
        id["serialNo"] = json!(serial);
        id["type"] = json!(bio_type);
        id["deviceSubType"] = json!(sub_type);
    };
    entry_with(|_| {}, edit_id, &pki().chip)
}

fn judge_list(list: &[Value]) -> InfoVerdict {
    judge(json!(list).to_string().as_bytes(), &key_manager(), NOW, DigitalIdDomain::default())
}

#[test]
fn a_good_list_gives_every_client_its_devices() {
    let out = judge_list(&[
        entry("S0001", "Finger", "Slap"),
        entry("S0002", "Iris", "Double"),
        entry("S0003", "Face", "Full face"),
    ]);
    assert!(out.verdict.is_accepted(), "{}", out.verdict);
    assert_eq!(out.desktop.keys().copied().collect::<Vec<_>>(), ["face_face", "finger_slab", "iris_double"]);
    assert_eq!(out.browser.unwrap().len(), 3);
    let empty = judge_list(&[]);
    assert!(empty.verdict.is_accepted() && empty.desktop.is_empty());
}

#[test]
fn the_last_device_of_a_kind_wins_and_touchless_is_invisible() {
    let out = judge_list(&[
        entry("S0001", "Finger", "Slap"),
        entry("S0002", "Finger", "Slap"),
        entry("S0003", "Finger", "Touchless"),
    ]);
    assert_eq!(out.desktop["finger_slab"].serial_no, "S0002");
    assert_eq!((out.desktop.len(), out.desktop_list.len()), (1, 3));
    assert_eq!(desktop_kind("IIR", "DOUBLE"), Some("iris_double"));
}

#[test]
fn an_unsigned_entry_costs_the_browser_the_port_and_the_desktop_itself() {
    let unsigned =
        json!({"deviceInfo": URL_SAFE_NO_PAD.encode("{}"), "error": {"errorCode": "100", "errorInfo": "No"}});
    let out = judge_list(&[unsigned, entry("S0002", "Iris", "Double")]);
    assert!(out.browser.is_err() && out.verdict.failed("browser") && out.verdict.failed("device info"));
    assert_eq!(out.desktop_list.len(), 1, "the desktop goes on behind it");
}

#[test]
fn a_bad_digital_id_costs_the_desktop_the_rest_of_the_list() {
    let good = entry("S0001", "Finger", "Slap");
    let bad = entry_with(|info| info["digitalId"] = json!("e30"), |_| {}, &pki().chip);
    let extra = entry_with(|_| {}, |id| id["more"] = json!(1), &pki().chip);
    let stranger = entry_with(|_| {}, |_| {}, &pki().stranger);
    for (broken, check) in [(bad, "digital id"), (extra, "digital id members"), (stranger, "digital id")] {
        let out = judge_list(&[good.clone(), broken, entry("S0003", "Face", "Full face")]);
        assert_eq!(out.desktop_list.len(), 1, "{check}");
        assert!(out.verdict.failed(check));
    }
}

#[test]
fn domains_decide_over_l0_and_l1() {
    let l0 = entry_with(|i| i["certification"] = json!("L0"), |_| {}, &pki().device);
    let l1 = entry("S0002", "Iris", "Double");
    let list = json!([l0, l1]).to_string();
    let count = |domain| judge(list.as_bytes(), &key_manager(), NOW, domain).desktop_list.len();
    assert_eq!(count(DigitalIdDomain::Device), 1);
    assert_eq!(count(DigitalIdDomain::Ftm), 0, "the L0 device in front ends the list");
    assert_eq!(count(DigitalIdDomain::DeviceWithFtmAnchors), 2);
    let out = judge(list.as_bytes(), &key_manager(), NOW, DigitalIdDomain::DeviceWithFtmAnchors);
    assert_eq!(out.browser.unwrap().len(), 1, "L0 is invisible to the browser");
}

#[test]
fn members_and_values_are_strict() {
    for wrapper in [
        json!([{"deviceInfo": "", "more": 1}]),
        json!([{"deviceInfo": "", "error": {"code": 1}}]),
        json!({}),
        json!([1]),
    ] {
        let out = judge(wrapper.to_string().as_bytes(), &key_manager(), NOW, DigitalIdDomain::default());
        assert!(out.verdict.failed("answer members"), "{wrapper}");
    }
    let cases: [(&str, Value, &str); 10] = [
        ("deviceStatus", json!("ready"), "status"),
        ("specVersion", json!(["0.9.5", "1.0"]), "spec version"),
        ("specVersion", json!("0.9.5"), "device info members"),
        ("callbackId", json!("http://127.0.0.1:4501"), "callback"),
        ("callbackId", json!("http://localhost:4501/"), "callback"),
        ("deviceSubId", json!(["left"]), "device sub id"),
        ("deviceCode", json!("x"), "device code"),
        ("deviceId", json!("1"), "device id"),
        ("purpose", json!(""), "purpose"),
        ("certification", json!("L2"), "certification"),
    ];
    for (name, value, check) in cases {
        let out = judge_list(&[entry_with(|info| info[name] = value.clone(), |_| {}, &pki().chip)]);
        let failed: Vec<_> = out.verdict.failures().map(|c| c.name).collect();
        assert_eq!(failed, [check], "{name}: {}", out.verdict);
    }
    let stale = entry_with(|_| {}, |id| id["dateTime"] = json!("2026-11-24T09:58:59Z"), &pki().chip);
    assert!(judge_list(&[stale]).verdict.failed("digital id time"));
    let error = json!([{"deviceInfo": entry("S0001", "Finger", "Slap")["deviceInfo"], "error": null}]);
    assert!(
        judge(error.to_string().as_bytes(), &key_manager(), NOW, DigitalIdDomain::default())
            .verdict
            .failed("error")
    );
}

#[test]
fn device_ids_may_not_begin_one_another() {
    let same = judge_list(&[entry("S0001", "Finger", "Slap"), entry("S0001", "Iris", "Double")]);
    assert!(same.verdict.failed("device ids"));
}
