//! Single attributes of a request: the last value that passes, the first that does not, and the code it gets.

use std::time::{Duration, Instant};

use biosim_backends::jws::Jws;
use biotrust_tests::ctk::schema::is_score;
use biotrust_tests::requests::{authentication, registration};
use serde_json::{Value, json};

use super::{all_l1, capture, client, parts};

fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    *body.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
    body
}

/// Sets each of `good` and `bad` at `pointer`; good ones succeed, bad ones fail with `code`.
#[track_caller]
fn boundary(verb: &str, body: &Value, pointer: &str, good: &[Value], bad: &[Value], code: &str, port: u16) {
    for value in good {
        let reply = capture(port, verb, &with(body.clone(), pointer, value.clone()));
        assert_eq!(reply.error_code(), "0", "{verb} {pointer} = {value}: {}", reply.text());
    }
    for value in bad {
        let start = Instant::now();
        let reply = capture(port, verb, &with(body.clone(), pointer, value.clone()));
        assert_eq!(reply.status, 200);
        assert_eq!(reply.error_code(), code, "{verb} {pointer} = {value}: {}", reply.text());
        assert!(start.elapsed() < Duration::from_secs(1), "{pointer} = {value} is refused at once");
    }
}

#[test]
fn transaction_ids_of_3_4_50_and_51_characters() {
    let instance = all_l1();
    let bodies = [
        ("RCAPTURE", registration(instance.device("Face", "Registration"), "0", 1)),
        ("CAPTURE", authentication(instance.device("Face", "Auth"), &[])),
    ];
    let good = [json!("abcd"), json!("0-9-"), json!("Z".repeat(50))];
    let bad = [
        json!("abc"),
        json!("Z".repeat(51)),
        json!("ab.cd"),
        json!("ab/cd"),
        json!("abcd\n"),
        json!(" abcd"),
        json!("ab\u{0}cd"),
    ];
    for (verb, body) in bodies {
        boundary(verb, &body, "/transactionId", &good, &bad, "112", instance.port);
    }
}

#[test]
fn requested_scores() {
    let instance = all_l1();
    let body = registration(instance.device("Face", "Registration"), "0", 1);
    let good = ["0", "40", "50.5", "7", "07", "0.25"].map(|s| json!(s));
    for value in good.into_iter().chain([json!(40), json!(50.5)]) {
        let reply =
            capture(instance.port, "RCAPTURE", &with(body.clone(), "/bio/0/requestedScore", value.clone()));
        let token = reply.json()["biometrics"][0]["data"].as_str().unwrap_or_default().to_owned();
        let payload = Jws::parse(&token)
            .unwrap_or_else(|e| panic!("{value}: {e}: {}", reply.text()))
            .payload()
            .unwrap();
        let (asked, found) =
            (payload["requestedScore"].as_str().unwrap(), payload["qualityScore"].as_str().unwrap());
        assert!(is_score(asked) && is_score(found), "{value} is echoed as {asked:?}, scored {found:?}");
    }
    let bad = [
        json!("101"),
        json!("-1"),
        json!("100.5"),
        json!("forty"),
        json!("4e1"),
        json!("NaN"),
        json!(101),
        json!([40]),
    ];
    boundary("RCAPTURE", &body, "/bio/0/requestedScore", &[], &bad, "503", instance.port);
}

#[test]
fn counts_must_fit_the_parts() {
    let instance = all_l1();
    let slap = registration(instance.device("Finger", "Registration"), "1", 4);
    boundary(
        "RCAPTURE",
        &slap,
        "/bio/0/count",
        &[json!("4")],
        &[json!("0"), json!("3"), json!("5"), json!(11)],
        "109",
        instance.port,
    );
    boundary(
        "RCAPTURE",
        &slap,
        "/bio/0/count",
        &[],
        &[json!("four"), json!("-1"), json!("4.5"), json!({})],
        "503",
        instance.port,
    );
    let eyes = registration(instance.device("Iris", "Registration"), "3", 2);
    boundary("RCAPTURE", &eyes, "/bio/0/count", &[], &[json!("1"), json!("3")], "109", instance.port);
    let face = authentication(instance.device("Face", "Auth"), &[]);
    boundary("CAPTURE", &face, "/bio/0/count", &[], &[json!("0"), json!("2")], "109", instance.port);
}

#[test]
fn timeouts() {
    let instance = all_l1();
    let body = registration(instance.device("Face", "Registration"), "0", 1);
    let bad = [json!("soon"), json!("-1"), json!(""), json!("1.5"), json!([])];
    boundary("RCAPTURE", &body, "/timeout", &[json!("10000"), json!(300_000)], &bad, "503", instance.port);
    let mut absent = body;
    absent.as_object_mut().unwrap().remove("timeout");
    assert_eq!(
        capture(instance.port, "RCAPTURE", &absent).error_code(),
        "502",
        "nothing mandatory is defaulted"
    );
}

#[test]
fn vocabularies_are_closed() {
    let instance = all_l1();
    let port = instance.port;
    let body = registration(instance.device("Finger", "Registration"), "1", 4);
    let envs = ["Staging", "Developer", "Pre-Production", "Production"].map(|env| json!(env));
    boundary("RCAPTURE", &body, "/env", &envs, &[json!("staging"), json!("None"), json!("")], "503", port);
    boundary(
        "RCAPTURE",
        &body,
        "/specVersion",
        &[],
        &[json!("1.0"), json!("0.9.2"), json!("0.9.5.1")],
        "504",
        port,
    );
    boundary(
        "RCAPTURE",
        &body,
        "/bio/0/type",
        &[],
        &[json!("Iris"), json!("finger"), json!("FIR")],
        "503",
        port,
    );
    boundary(
        "RCAPTURE",
        &body,
        "/bio/0/deviceSubId",
        &[],
        &[json!("0"), json!("4"), json!("left"), json!(-1)],
        "503",
        port,
    );
    boundary("RCAPTURE", &body, "/bio/0/deviceId", &[], &[json!("BT9999999999"), json!("x")], "106", port);
    let parts = with(
        body.clone(),
        "/bio/0/bioSubType",
        json!(["Left IndexFinger", "Left MiddleFinger", "Left RingFinger", "Left LittleFinger"]),
    );
    assert_eq!(capture(port, "RCAPTURE", &parts).error_code(), "0");
    for wrong in [json!(["Left Toe"]), json!(["left indexfinger"]), json!("Left IndexFinger"), json!([7])] {
        let code =
            capture(port, "RCAPTURE", &with(body.clone(), "/bio/0/bioSubType", wrong.clone())).error_code();
        assert_eq!(code, "503", "{wrong}");
    }
    for wrong in [json!(["Right Toe"]), json!({}), json!([null, 1])] {
        let code =
            capture(port, "RCAPTURE", &with(body.clone(), "/bio/0/exception", wrong.clone())).error_code();
        assert_eq!(code, "503", "{wrong}");
    }
}

#[test]
fn each_mandatory_attribute_is_missed() {
    let instance = all_l1();
    let bodies = [
        ("RCAPTURE", registration(instance.device("Face", "Registration"), "0", 1)),
        ("CAPTURE", authentication(instance.device("Face", "Auth"), &[])),
    ];
    for (verb, body) in bodies {
        for name in ["env", "purpose", "specVersion", "timeout", "bio"] {
            for renamed in [None, Some(format!("{name}XXX"))] {
                let mut changed = body.clone();
                let members = changed.as_object_mut().unwrap();
                let value = members.remove(name).unwrap();
                if let Some(renamed) = renamed {
                    members.insert(renamed, value);
                }
                assert_eq!(
                    capture(instance.port, verb, &changed).error_code(),
                    "502",
                    "{verb} without {name}"
                );
            }
        }
        for name in ["type", "count", "requestedScore", "deviceId", "deviceSubId"] {
            let mut changed = body.clone();
            changed["bio"][0].as_object_mut().unwrap().remove(name);
            assert_eq!(
                capture(instance.port, verb, &changed).error_code(),
                "502",
                "{verb} without bio[0].{name}"
            );
        }
        let code = |bio: Value| capture(instance.port, verb, &with(body.clone(), "/bio", bio)).error_code();
        assert!(matches!(code(json!([])).as_str(), "502" | "503"), "an empty bio");
        assert!(matches!(code(json!({})).as_str(), "502" | "503"), "bio is no array");
        assert!(matches!(code(json!([1])).as_str(), "502" | "503"), "bio[0] is no object");
    }
}

#[test]
fn custom_options_of_50_and_51_pairs() {
    let instance = all_l1();
    let pairs = |n: usize| -> Value {
        (0..n).map(|i| (format!("k{i}"), json!("v"))).collect::<serde_json::Map<_, _>>().into()
    };
    let body = registration(instance.device("Face", "Registration"), "0", 1);
    boundary(
        "RCAPTURE",
        &body,
        "/customOpts",
        &[pairs(50), json!(null), json!({})],
        &[pairs(51)],
        "507",
        instance.port,
    );
}

#[test]
fn hash_chains_continue_from_either_case_and_from_nothing_else() {
    let instance = all_l1();
    let desktop = client(&instance);
    let body = registration(instance.device("Iris", "Registration"), "3", 2);
    let (verdict, _) = desktop.capture(&body);
    assert!(verdict.is_accepted(), "{verdict}");
    let last = verdict.segments().last().unwrap().hash.clone();
    for previous in [last.clone(), last.to_lowercase()] {
        let (verdict, _) = desktop.capture(&with(body.clone(), "/bio/0/previousHash", json!(previous)));
        assert!(verdict.is_accepted(), "{verdict}");
    }
    // The same previousHash again is another chain from the same start, never an echo of the old answer.
    let replay = with(body.clone(), "/bio/0/previousHash", json!(last));
    let [first, second] = [(); 2].map(|()| desktop.capture(&replay).0.segments()[0].hash.clone());
    assert_ne!(first, last);
    assert_ne!(second, last);
    let bad = [json!("xyz"), json!(last[..63]), json!(format!("{last}0")), json!("ZZ".repeat(32)), json!(5)];
    boundary("RCAPTURE", &body, "/bio/0/previousHash", &[], &bad, "503", instance.port);
}

#[test]
fn excepted_parts_never_come_back_however_they_are_asked_for() {
    let instance = all_l1();
    let body = registration(instance.device("Finger", "Registration"), "1", 4);
    let four = ["Left IndexFinger", "Left MiddleFinger", "Left RingFinger", "Left LittleFinger"];
    for (requested, exception, count) in [
        (json!(four), json!(["Left RingFinger"]), "4"),
        (json!(four), json!(["Left RingFinger"]), "3"),
        (json!(null), json!(["Left RingFinger"]), "4"),
        (json!(null), json!(["Left RingFinger", "Left RingFinger"]), "3"),
        (json!(["Left RingFinger"]), json!(["Left RingFinger"]), "1"),
        (json!([]), json!(four), "4"),
        (json!([]), json!(["Right Thumb", "Left RingFinger"]), "3"),
    ] {
        let mut body = body.clone();
        body["bio"][0]["bioSubType"] = requested.clone();
        body["bio"][0]["exception"] = exception.clone();
        body["bio"][0]["count"] = json!(count);
        let reply = capture(instance.port, "RCAPTURE", &body);
        if reply.error_code() == "0" {
            let found = parts(&reply);
            assert!(
                !found.contains(&"Left RingFinger".to_owned()),
                "{requested} {exception} {count}: {found:?}"
            );
            assert_eq!(found.len(), count.parse::<usize>().unwrap(), "{requested} {exception}");
        } else {
            assert!(reply.error_code().starts_with(['1', '5']), "{}", reply.text());
        }
    }
}

#[test]
fn fingers_that_are_not_there_are_not_made_up() {
    let instance = all_l1();
    instance.ctl(&["missing", "Left RingFinger"]);
    let mut body = registration(instance.device("Finger", "Registration"), "1", 4);
    body["timeout"] = json!("4000");
    let all = capture(instance.port, "RCAPTURE", &body);
    body["bio"][0]["exception"] = json!(["Left RingFinger"]);
    body["bio"][0]["count"] = json!("3");
    body["timeout"] = json!("10000");
    let three = capture(instance.port, "RCAPTURE", &body);
    instance.ctl(&["missing", "none"]);
    assert_eq!(all.error_code(), "101", "four were asked for and three are there: {}", all.text());
    assert_eq!(parts(&three), ["Left IndexFinger", "Left MiddleFinger", "Left LittleFinger"]);
}

#[test]
fn several_elements_in_bio_are_not_half_served() {
    let instance = all_l1();
    let mut body = registration(instance.device("Face", "Registration"), "0", 1);
    let second = body["bio"][0].clone();
    body["bio"].as_array_mut().unwrap().push(second);
    let reply = capture(instance.port, "RCAPTURE", &body);
    let elements = reply.json()["biometrics"].as_array().map_or(0, Vec::len);
    assert!(reply.error_code() != "0" || elements == 2, "{elements} of two: {}", reply.error_code());
}

#[test]
fn purposes_and_verbs_are_not_mixed() {
    let instance = all_l1();
    let (reg, auth) = (instance.device("Face", "Registration"), instance.device("Face", "Auth"));
    let code = |verb: &str, body: &Value| capture(instance.port, verb, body).error_code();
    let (for_reg, for_auth) = (registration(reg, "0", 1), authentication(auth, &[]));
    assert_ne!(code("CAPTURE", &for_reg), "0", "CAPTURE with a registration body");
    assert_ne!(code("RCAPTURE", &for_auth), "0", "RCAPTURE with an authentication body");
    let on_auth_device = with(for_reg, "/bio/0/deviceId", json!(auth.id));
    assert_eq!(code("RCAPTURE", &on_auth_device), "505");
    let on_reg_device = with(for_auth, "/bio/0/deviceId", json!(reg.id));
    assert_eq!(code("CAPTURE", &on_reg_device), "505");
}

#[test]
fn bodies_that_are_no_requests() {
    let instance = all_l1();
    for verb in ["CAPTURE", "RCAPTURE"] {
        for body in ["", "{", "[]", "null", "7", "\"text\"", "{\"env\":\"Staging\"", "\u{feff}{}", "{} {}"] {
            let reply = biotrust_tests::http::call(
                instance.port,
                &biotrust_tests::desktop::request(verb, "/capture", None).body(body),
            );
            assert_eq!(reply.status, 200, "{verb} {body:?}");
            assert!(
                matches!(reply.error_code().as_str(), "501" | "502"),
                "{verb} {body:?}: {}",
                reply.text()
            );
        }
        let not_utf8 = biotrust_tests::desktop::request(verb, "/capture", None).body(vec![b'{', 0xff, b'}']);
        assert_eq!(biotrust_tests::http::call(instance.port, &not_utf8).error_code(), "501");
        let deep = biotrust_tests::desktop::request(verb, "/capture", None).body("[".repeat(100_000));
        assert_eq!(biotrust_tests::http::call(instance.port, &deep).error_code(), "501", "nesting");
    }
}
