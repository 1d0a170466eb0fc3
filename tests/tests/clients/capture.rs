//! CAPTURE and RCAPTURE: what requests may look like, what answers must look like.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use biosim_backends::jws::Jws;
use biotrust_tests::requests::{authentication, registration, registration_of, transaction_id};
use serde_json::{Value, json};

use super::{all_l1, capture, data, desktop, ida_verdict, payload, rcapture};

/// Sets or (with `null` as text "-") removes members; a name with a slash is a pointer.
fn with(mut body: Value, changes: &[(&str, Value)]) -> Value {
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = body.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        match value {
            Value::String(text) if text == "-" => drop(parent.remove(name)),
            value => drop(parent.insert(name.to_owned(), value.clone())),
        }
    }
    body
}

#[test]
fn r03_strings_and_numbers_nulls_and_absent_members_are_alike() {
    let instance = all_l1();
    let face = instance.device("Face", "Registration");
    let absent = json!("-");
    let forms: [&[(&str, Value)]; 5] = [
        &[],
        &[
            ("/timeout", json!(10000)),
            ("/bio/0/count", json!(1)),
            ("/bio/0/requestedScore", json!(40)),
            ("/bio/0/deviceSubId", json!(0)),
        ],
        &[
            ("/bio/0/previousHash", json!("")),
            ("/bio/0/bioSubType", json!([])),
            ("/bio/0/exception", json!(null)),
        ],
        &[
            ("/bio/0/previousHash", absent.clone()),
            ("/bio/0/bioSubType", absent.clone()),
            ("/bio/0/exception", absent.clone()),
            ("/customOpts", absent.clone()),
            ("/captureTime", absent),
        ],
        &[
            ("/customOpts", json!({"vendor": "x"})),
            ("/domainUri", json!(null)),
            ("/unknownMember", json!([1])),
        ],
    ];
    for changes in forms {
        let body = with(registration(face, "0", 1), changes);
        let (verdict, reply) = desktop(&instance).capture(&body);
        assert!(
            verdict.is_accepted(),
            "{changes:?}: {verdict}: {}",
            &reply.text()[..200.min(reply.body.len())]
        );
    }
    let finger = instance.device("Finger", "Auth");
    let numbers = [
        ("/timeout", json!(10000)),
        ("/bio/0/count", json!(1)),
        ("/bio/0/requestedScore", json!(60)),
        ("/bio/0/deviceSubId", json!(0)),
        ("/bio/0/previousHash", json!(null)),
    ];
    let body = with(authentication(finger, &["UNKNOWN"]), &numbers);
    let verdict = ida_verdict(&instance, &body, &capture(&instance, &body));
    assert!(verdict.is_accepted(), "{verdict}");
}

#[test]
fn r04_capture_time_is_never_a_reason_to_refuse() {
    let instance = all_l1();
    let face = instance.device("Face", "Registration");
    for time in [
        json!("2026-11-24T08:26:41.559005128"),
        json!("2026-11-24T08:26:41"),
        json!("2026-11-24T08:26"),
        json!("2026-11-24T08:26:41.5Z"),
        json!("2026-11-24T08:26:41+05:30"),
        json!(null),
        json!("yesterday"),
    ] {
        let reply = rcapture(&instance, &with(registration(face, "0", 1), &[("/captureTime", time.clone())]));
        assert_eq!(reply.error_code(), "0", "{time}: {}", reply.text());
    }
}

#[test]
fn r05_transaction_ids_are_validated_and_echoed_byte_for_byte() {
    let instance = all_l1();
    let face = instance.device("Face", "Registration");
    for id in ["abcd", "A-b-0", &transaction_id(), "transactionId", &"x".repeat(50)] {
        let reply = rcapture(&instance, &with(registration(face, "0", 1), &[("/transactionId", json!(id))]));
        assert_eq!(payload(&data(&reply, 0))["transactionId"], *id);
    }
    for id in [
        json!("abc"),
        json!("x".repeat(51)),
        json!("a_bc"),
        json!("a bc"),
        json!("ab\u{e9}c"),
        json!(""),
        json!(null),
    ] {
        let reply = rcapture(&instance, &with(registration(face, "0", 1), &[("/transactionId", id.clone())]));
        assert_eq!(reply.error_code(), "112", "{id}: {}", reply.text());
    }
}

#[test]
fn r18_tokens_are_rs256_with_an_x5c_array_and_ascii_payloads() {
    let instance = all_l1();
    let mut tokens = Vec::new();
    let info =
        biotrust_tests::http::call(instance.port, &biotrust_tests::Request::new("MOSIPDINFO", "/info"))
            .json();
    for entry in info.as_array().unwrap() {
        tokens.push(entry["deviceInfo"].as_str().unwrap().to_owned());
    }
    let slap = registration(instance.device("Finger", "Registration"), "1", 4);
    let reply = rcapture(&instance, &slap);
    tokens.extend((0..4).map(|i| data(&reply, i)));
    let reply = capture(&instance, &authentication(instance.device("Iris", "Auth"), &["Left"]));
    tokens.push(data(&reply, 0));
    assert_eq!(tokens.len(), 11);
    let inner: Vec<String> =
        tokens.iter().map(|t| payload(t)["digitalId"].as_str().expect("a digital ID").to_owned()).collect();
    for token in tokens.iter().chain(&inner) {
        assert!(token.is_ascii() && !token.contains('='), "unpadded");
        let jws = Jws::parse(token).unwrap();
        let mut names: Vec<&str> = jws.header().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["alg", "typ", "x5c"]);
        assert_eq!((&jws.header()["alg"], &jws.header()["typ"]), (&json!("RS256"), &json!("JWT")));
        assert!(jws.x5c().iter().all(|certificate| STANDARD.decode(certificate).is_ok()));
        assert!(jws.payload_text().is_ascii());
        assert!(!jws.payload_text().contains(['?', '>', '~']), "the tool kit's atob would drop it");
        jws.verify(biotrust_tests::now().0 / 1000).unwrap();
    }
}

#[test]
fn r20_registration_captures_stand_up_to_client_and_processor() {
    let instance = all_l1();
    let desktop = desktop(&instance);
    let (finger, iris, face) = (
        instance.device("Finger", "Registration"),
        instance.device("Iris", "Registration"),
        instance.device("Face", "Registration"),
    );
    for (body, parts) in [
        (registration(finger, "1", 4), 4),
        (registration(finger, "2", 4), 4),
        (registration(finger, "3", 2), 2),
        (registration(iris, "3", 2), 2),
        (registration(iris, "1", 1), 1),
        (registration(face, "0", 1), 1),
    ] {
        let (verdict, _) = desktop.capture(&body);
        assert!(verdict.is_accepted(), "{body}: {verdict}");
        assert_eq!(verdict.segments().len(), parts);
        assert!(
            verdict.segments().iter().all(|s| s.reversible && s.width > 100 && s.height > 100),
            "{verdict:?}"
        );
    }
}

#[test]
fn r21_authentication_captures_stand_up_to_widget_and_ida() {
    let instance = all_l1();
    for (bio_type, parts) in [
        ("Finger", &["UNKNOWN"][..]),
        ("Finger", &["Left IndexFinger", "Right Thumb"]),
        ("Iris", &["Left", "Right"]),
        ("Face", &[]),
    ] {
        let body = authentication(instance.device(bio_type, "Auth"), parts);
        let reply = capture(&instance, &body);
        let verdict = ida_verdict(&instance, &body, &reply);
        assert!(verdict.is_accepted(), "{bio_type} {parts:?}: {verdict}");
        for entry in reply.json()["biometrics"].as_array().unwrap() {
            assert_eq!(entry["error"], json!({"errorCode": "0", "errorInfo": "Success"}));
        }
    }
}

#[test]
fn r21_an_authentication_failure_is_one_entry_with_a_readable_text() {
    let instance = all_l1();
    let body =
        with(authentication(instance.device("Finger", "Auth"), &["UNKNOWN"]), &[("/timeout", json!("1000"))]);
    instance.ctl(&["subject", "absent"]);
    let reply = capture(&instance, &body);
    instance.ctl(&["subject", "present"]);
    assert_eq!(reply.status, 200);
    let answer = reply.json();
    let entries = answer["biometrics"].as_array().unwrap();
    assert_eq!((entries.len(), reply.error_code().as_str()), (1, "101"));
    let text = entries[0]["error"]["errorInfo"].as_str().unwrap();
    assert!(text.len() > 10 && text.contains(' ') && !text.contains('{'), "for the person: {text}");
}

#[test]
fn r22_a_registration_failure_has_exactly_the_four_members() {
    let instance = all_l1();
    let device = instance.device("Finger", "Registration");
    instance.ctl(&["subject", "absent"]);
    let nothing = rcapture(&instance, &with(registration(device, "1", 4), &[("/timeout", json!("1000"))]));
    instance.ctl(&["subject", "present"]);
    let broken = rcapture(&instance, &json!({}));
    let no_json = biotrust_tests::http::call(
        instance.port,
        &biotrust_tests::desktop::request("RCAPTURE", "/capture", None).body("{"),
    );
    for (reply, code) in [(nothing, "101"), (broken, "502"), (no_json, "501")] {
        assert_eq!(reply.status, 200);
        let text =
            reply.json()["biometrics"][0]["error"]["errorInfo"].as_str().unwrap_or_default().to_owned();
        let expected = json!({"biometrics": [{
            "specVersion": "0.9.5", "data": "", "hash": "", "error": {"errorCode": code, "errorInfo": text},
        }]});
        assert_eq!(reply.json(), expected);
        assert!(!text.is_empty());
    }
}

#[test]
fn r23_a_capture_ends_at_its_timeout_with_the_best_frame() {
    let instance = all_l1();
    let device = instance.device("Finger", "Registration");
    let never = [("/timeout", json!("4000")), ("/bio/0/requestedScore", json!("100"))];
    let start = Instant::now();
    let (verdict, _) = desktop(&instance).capture(&with(registration(device, "1", 4), &never));
    let took = start.elapsed();
    assert!(verdict.is_accepted(), "{verdict}");
    println!("R23: timeout 4000 ms, answered after {took:?}");
    assert!((Duration::from_millis(4000)..Duration::from_millis(5000)).contains(&took), "{took:?}");
    let start = Instant::now();
    let reply = rcapture(&instance, &registration(device, "1", 4));
    assert_eq!(reply.error_code(), "0");
    println!("R23: score 60 reached after {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(9), "as soon as the score is reached");
}

#[test]
fn r31_answers_fit_the_challenge_of_esignet() {
    let instance = all_l1();
    for (bio_type, parts) in [
        ("Face", &[][..]),
        ("Finger", &["UNKNOWN"]),
        ("Finger", &["UNKNOWN", "UNKNOWN"]),
        ("Iris", &["Left", "Right"]),
    ] {
        let body = authentication(instance.device(bio_type, "Auth"), parts);
        let reply = capture(&instance, &body);
        let list = reply.json()["biometrics"].to_string();
        let size = STANDARD.encode(list).len();
        println!("R31: {bio_type} {parts:?}: {size} characters");
        assert!(size < 500_000);
    }
}

#[test]
fn r32_excepted_parts_are_left_out() {
    let instance = all_l1();
    let (finger, iris) = (instance.device("Finger", "Registration"), instance.device("Iris", "Registration"));
    let parts = |reply: &biotrust_tests::Reply| -> Vec<String> {
        let n = reply.json()["biometrics"].as_array().unwrap().len();
        (0..n).map(|i| payload(&data(reply, i))["bioSubType"].as_str().unwrap().to_owned()).collect()
    };
    let body = with(registration(finger, "1", 3), &[("/bio/0/exception", json!(["Left RingFinger"]))]);
    let (verdict, reply) = desktop(&instance).capture(&body);
    assert!(verdict.is_accepted(), "{verdict}");
    assert_eq!(parts(&reply), ["Left IndexFinger", "Left MiddleFinger", "Left LittleFinger"]);
    let body = with(registration(iris, "3", 1), &[("/bio/0/exception", json!(["Left"]))]);
    let (verdict, reply) = desktop(&instance).capture(&body);
    assert!(verdict.is_accepted(), "{verdict}");
    assert_eq!(parts(&reply), ["Right"]);
    let all = json!(["Left IndexFinger", "Left MiddleFinger", "Left RingFinger", "Left LittleFinger"]);
    let reply = rcapture(&instance, &with(registration(finger, "1", 0), &[("/bio/0/exception", all)]));
    assert_eq!(reply.error_code(), "109", "{}", reply.text());
}

#[test]
fn r32_a_face_with_exceptions_is_an_exception_photo() {
    let instance = all_l1();
    let face = instance.device("Face", "Registration");
    let missing = json!(["Left IndexFinger", "Right Thumb"]);
    let body = with(registration(face, "0", 1), &[("/bio/0/exception", missing)]);
    let (verdict, reply) = desktop(&instance).capture(&body);
    assert!(verdict.is_accepted(), "{verdict}");
    let photo = payload(&data(&reply, 0));
    assert_eq!(photo["bioType"], "Face");
    assert!(photo.get("bioSubType").is_none());
}

#[test]
fn r33_the_serial_number_passes_for_the_device_id() {
    let instance = all_l1();
    for bio_type in ["Finger", "Iris", "Face"] {
        let device = instance.device(bio_type, "Registration");
        let body = with(registration_of(device), &[("/bio/0/deviceId", json!(device.serial))]);
        assert_eq!(rcapture(&instance, &body).error_code(), "0");
        let unknown = with(registration_of(device), &[("/bio/0/deviceId", json!("BT0000000000"))]);
        assert_eq!(rcapture(&instance, &unknown).error_code(), "106");
    }
}
