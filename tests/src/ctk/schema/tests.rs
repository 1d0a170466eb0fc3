//! Good answers pass; each change breaks its rule, in the second element too.

use serde_json::json;

use super::*;

fn digital_id() -> Value {
    json!({
        "serialNo": "S", "make": "M", "model": "O", "type": "Finger", "deviceSubType": "Slap", "deviceProvider": "P",
        "deviceProviderId": "I", "dateTime": "2026-11-24T10:00:00Z",
    })
}

fn success() -> Value {
    json!({"errorCode": "0", "errorInfo": "Success"})
}

fn discovery() -> Value {
    json!({
        "deviceId": "D", "deviceStatus": "Ready", "certification": "L0", "serviceVersion": "1", "deviceSubId": ["1"],
        "callbackId": "c", "digitalId": "x", "digitalIdDecoded": digital_id(), "deviceCode": "S",
        "specVersion": ["0.9.5"], "purpose": "Registration", "error": success(),
    })
}

fn device_info(status: &str, error: Value) -> Value {
    json!({
        "deviceInfo": "x",
        "deviceInfoDecoded": {
            "env": "Staging", "digitalId": "x", "digitalIdDecoded": digital_id(), "purpose": "Auth",
            "serviceVersion": "1", "deviceStatus": status, "firmware": "1", "certification": "L1",
            "specVersion": ["0.9.5"], "deviceSubId": ["0"], "callbackId": "c", "deviceId": "D", "deviceCode": "S",
        },
        "error": error,
    })
}

fn capture(auth: bool) -> Value {
    let mut entry = json!({
        "specVersion": "0.9.5", "data": "x", "hash": "A".repeat(64), "error": success(),
        "dataDecoded": {
            "digitalId": "x", "digitalIdDecoded": digital_id(), "deviceCode": "S", "deviceServiceVersion": "1",
            "bioType": "Finger", "bioSubType": "Left Thumb", "purpose": "Registration", "env": "Staging",
            "bioValue": "x", "transactionId": "abc-1", "timestamp": "2026-11-24T10:00:00Z", "requestedScore": "40",
            "qualityScore": "70.5",
        },
    });
    if auth {
        entry["sessionKey"] = json!("x");
        entry["thumbprint"] = json!("B".repeat(64));
        entry["dataDecoded"]["purpose"] = json!("Auth");
        entry["dataDecoded"]["domainUri"] = json!("");
    }
    entry
}

fn failure() -> Value {
    json!({"specVersion": "0.9.5", "data": "", "hash": "", "error": {"errorCode": "101", "errorInfo": "None"}})
}

fn wrap(expect: Expect, entries: &[Value]) -> Value {
    match expect {
        Expect::Discovered | Expect::DiscoveryError | Expect::Info | Expect::InfoReady => json!(entries),
        Expect::InfoBusy | Expect::InfoNotReady | Expect::InfoNotRegistered => json!(entries),
        _ => json!({"biometrics": entries}),
    }
}

/// Passes alone and twice; changed, it fails in either place.
#[track_caller]
fn breaks(expect: Expect, good: &Value, pointer: &str, value: &Value) {
    assert_eq!(check(expect, &wrap(expect, &[good.clone(), good.clone()])), Ok(()), "{expect:?}");
    let mut bad = good.clone();
    if value == "-" {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        bad.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
    } else if let Some(place) = bad.pointer_mut(pointer) {
        *place = value.clone();
    } else {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        bad.pointer_mut(parent).unwrap()[name] = value.clone();
    }
    for entries in [vec![bad.clone(), good.clone()], vec![good.clone(), bad.clone()]] {
        let faults =
            check(expect, &wrap(expect, &entries)).expect_err(&format!("{expect:?} {pointer} {value}"));
        let name = pointer.rsplit('/').next().unwrap();
        assert!(faults.iter().any(|fault| fault.contains(name)), "{pointer}: {faults:?}");
    }
}

#[test]
fn discovery_rules() {
    for (pointer, value) in [
        ("/deviceStatus", json!("ready")),
        ("/certification", json!("L2")),
        ("/deviceSubId", json!([])),
        ("/deviceSubId", json!(["4"])),
        ("/deviceSubId", json!([1])),
        ("/specVersion", json!(["0.9.2"])),
        ("/purpose", json!("")),
        ("/deviceId", json!("")),
        ("/extra", json!(1)),
        ("/callbackId", json!("-")),
        ("/error/errorCode", json!(0)),
        ("/error/errorInfo", json!("Fine")),
        ("/error/extra", json!("x")),
        ("/digitalIdDecoded/make", json!("")),
        ("/digitalIdDecoded/extra", json!("x")),
        ("/digitalIdDecoded/deviceSubType", json!("Double")),
        ("/digitalIdDecoded/dateTime", json!("2026-11-24T10:00:00.123Z")),
    ] {
        breaks(Expect::Discovered, &discovery(), pointer, &value);
    }
    assert!(check(Expect::Discovered, &json!([])).is_err() && check(Expect::Discovered, &json!({})).is_err());
    let error = json!({"deviceId": null, "error": {"errorCode": "503", "errorInfo": "Bad type"}});
    breaks(Expect::DiscoveryError, &error, "/error/errorCode", &json!("0"));
    breaks(Expect::DiscoveryError, &error, "/error/errorCode", &json!("50"));
    breaks(Expect::DiscoveryError, &error, "/error/errorInfo", &json!("Success"));
    breaks(Expect::DiscoveryError, &error, "/deviceId", &json!(1));
    breaks(Expect::DiscoveryError, &error, "/digitalIdDecoded", &json!([]));
    breaks(Expect::DiscoveryError, &error, "/error", &json!("-"));
    breaks(Expect::DiscoveryError, &error, "/extra", &json!(null));
}

#[test]
fn device_info_rules() {
    let ready = device_info("Ready", success());
    for (pointer, value) in [
        ("/deviceInfo", json!("")),
        ("/deviceInfoDecoded/deviceStatus", json!("Busy")),
        ("/deviceInfoDecoded/firmware", json!("-")),
        ("/deviceInfoDecoded/extra", json!(1)),
        ("/deviceInfoDecoded/specVersion", json!([])),
        ("/deviceInfoDecoded/env", json!("None")),
        ("/error/errorCode", json!("111")),
    ] {
        breaks(Expect::InfoReady, &ready, pointer, &value);
    }
    assert!(check(Expect::Info, &json!([device_info("Busy", success())])).is_ok());
    let busy = device_info("Busy", json!({"errorCode": "111", "errorInfo": "Busy"}));
    breaks(Expect::InfoBusy, &busy, "/error/errorCode", &json!("0"));
    breaks(Expect::InfoBusy, &busy, "/deviceInfoDecoded/deviceStatus", &json!("Ready"));
    let not_ready = device_info("Not Ready", json!({"errorCode": "110", "errorInfo": "Unplugged"}));
    breaks(Expect::InfoNotReady, &not_ready, "/deviceInfoDecoded/deviceStatus", &json!("Ready"));
    assert!(check(Expect::InfoNotReady, &json!([])).is_ok(), "an empty list passes here only");
    assert!(check(Expect::InfoBusy, &json!([])).is_err());
    let bare = json!({"deviceInfo": "", "error": {"errorCode": "100", "errorInfo": "Not registered"}});
    breaks(Expect::InfoNotRegistered, &bare, "/error/errorInfo", &json!(""));
    let mut plain = device_info("Not Registered", bare["error"].clone());
    plain["deviceInfoDecoded"]["env"] = json!("None");
    plain["deviceInfoDecoded"]["purpose"] = json!("");
    breaks(Expect::InfoNotRegistered, &plain, "/deviceInfoDecoded/purpose", &json!("Auth"));
}

#[test]
fn capture_rules() {
    for (auth, expect) in [(false, Expect::Registered), (true, Expect::Authenticated)] {
        let good = capture(auth);
        for (pointer, value) in [
            ("/hash", json!("a".repeat(64))),
            ("/hash", json!("A".repeat(63))),
            ("/data", json!("")),
            ("/specVersion", json!("0.9.2")),
            ("/extra", json!("")),
            ("/error/errorCode", json!("101")),
            ("/dataDecoded", json!("-")),
            ("/dataDecoded/bioSubType", json!("Left Toe")),
            ("/dataDecoded/bioSubType", json!("-")),
            ("/dataDecoded/purpose", json!("Login")),
            ("/dataDecoded/transactionId", json!("abc")),
            ("/dataDecoded/transactionId", json!("a".repeat(51))),
            ("/dataDecoded/transactionId", json!("a_bc")),
            ("/dataDecoded/timestamp", json!("2026-11-24T10:00:00.1Z")),
            ("/dataDecoded/requestedScore", json!(40)),
            ("/dataDecoded/qualityScore", json!("070")),
            ("/dataDecoded/extra", json!("")),
            ("/dataDecoded/digitalIdDecoded/type", json!("Iris")),
        ] {
            breaks(expect, &good, pointer, &value);
        }
        let mut face = good.clone();
        face["dataDecoded"]["bioType"] = json!("Face");
        face["dataDecoded"]["digitalIdDecoded"]["type"] = json!("Face");
        face["dataDecoded"]["digitalIdDecoded"]["deviceSubType"] = json!("Full face");
        face["dataDecoded"].as_object_mut().unwrap().remove("bioSubType");
        for null in [json!(null), json!(""), json!("null")] {
            breaks(expect, &face, "/dataDecoded/bioSubType", &null);
        }
    }
    breaks(Expect::Authenticated, &capture(true), "/thumbprint", &json!("-"));
    breaks(Expect::Authenticated, &capture(true), "/dataDecoded/domainUri", &json!(null));
    breaks(Expect::Registered, &capture(false), "/sessionKey", &json!(""));
    breaks(Expect::Registered, &capture(false), "/dataDecoded/domainUri", &json!(""));
}

#[test]
fn capture_error_rules() {
    for (pointer, value) in [
        ("/error/errorCode", json!("0")),
        ("/error/errorCode", json!(101)),
        ("/error/errorInfo", json!("Success")),
        ("/dataDecoded", json!({})),
        ("/data", json!("-")),
        ("/hash", json!(1)),
    ] {
        breaks(Expect::CaptureError, &failure(), pointer, &value);
    }
    assert!(check(Expect::CaptureError, &json!({"biometrics": [failure()], "error": null})).is_err());
    assert!(check(Expect::CaptureError, &json!({"biometrics": []})).is_err());
    assert_eq!(check(Expect::TransactionAuth, &json!({"biometrics": [failure(), capture(true)]})), Ok(()));
    breaks(Expect::TransactionRegistration, &failure(), "/error/errorInfo", &json!(""));
    breaks(Expect::TransactionRegistration, &failure(), "/sessionKey", &json!(""));
}

#[test]
fn scores_are_strings_of_one_form() {
    for good in ["0", "40", "70.5", "100", "100.0", "0.25", "07"] {
        assert!(is_score(good), "{good}");
    }
    for bad in ["070", ".5", "99.", "100.5", "101", "-1", "", "7,5", "1e1", " 7"] {
        assert!(!is_score(bad), "{bad}");
    }
}
