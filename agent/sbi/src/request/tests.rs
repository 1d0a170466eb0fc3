//! The reader against what real clients send, against each missing or impossible member, and against anything at all.

use biotrust_model::{BioSubType, Env, ProblemKind, Purpose};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::hash_chain;

fn read(verb: Purpose, body: &Value) -> Result<CaptureRequest, Problem> {
    parse_capture(verb, body.to_string().as_bytes(), &ReadOptions::default())
}

/// The browser client, master (row R3; texts everywhere).
fn browser() -> Value {
    json!({"env": "Staging", "purpose": "Auth", "specVersion": "0.9.5", "timeout": "30000",
        "captureTime": "2026-11-24T08:19:42.240Z", "domainUri": "https://page.example/?a=b", "transactionId": "1234567890",
        "bio": [{"type": "Finger", "count": "1", "bioSubType": ["UNKNOWN"], "requestedScore": "70", "deviceId": "1",
            "deviceSubId": "0", "previousHash": ""}], "customOpts": null})
}

/// The desktop client: nulls, and a local time with nine digits of a second (rows R3, R4).
fn desktop() -> Value {
    json!({"env": "Staging", "purpose": "Registration", "specVersion": "0.9.5", "timeout": "10000",
        "captureTime": "2026-11-24T08:26:41.559005128", "transactionId": "6f9619ff-8b86-d011-b42d-00c04fc964ff",
        "bio": [{"type": "Finger", "count": "3", "bioSubType": null, "exception": ["Left RingFinger"],
            "requestedScore": "60", "deviceId": "BT0123456789", "deviceSubId": "1", "previousHash": null}],
        "customOpts": null})
}

/// The Android client: numbers, and neither time nor transaction id (rows R3, R4, R5, R33).
fn android() -> Value {
    json!({"env": "Developer", "purpose": "Registration", "specVersion": "0.9.5", "timeout": 10000,
        "captureTime": null, "transactionId": null,
        "bio": [{"type": "Iris", "count": 2, "bioSubType": [], "exception": [], "requestedScore": 60,
            "deviceId": "IRIS00000000001", "deviceSubId": "3", "previousHash": ""}]})
}

#[test]
fn r3_reads_the_browser_client() {
    let request = read(Purpose::Auth, &browser()).unwrap();
    assert_eq!(
        (request.env, request.purpose, request.spec_version.as_str()),
        (Env::Staging, Purpose::Auth, "0.9.5")
    );
    assert_eq!((request.timeout, request.transaction_id.as_str()), (Duration::from_secs(30), "1234567890"));
    assert_eq!(request.domain_uri, "https://page.example/?a=b");
    assert_eq!((request.bio.count, request.bio.sub_types), (1, vec![BioSubType::Unknown]));
    assert_eq!(
        (request.bio.requested_score.value(), request.bio.requested_score_text.as_str()),
        (70.0, "70")
    );
    assert_eq!((request.bio.sub_id, request.bio.previous_hash), (SubId(0), hash_chain::EMPTY));
}

#[test]
fn r3_r4_reads_the_desktop_client() {
    let request = read(Purpose::Registration, &desktop()).unwrap();
    assert_eq!(request.domain_uri, "");
    assert_eq!((request.bio.sub_types, request.bio.exceptions), (vec![], vec![BioSubType::LeftRingFinger]));
}

#[test]
fn r5_null_transaction_id_only_behind_the_switch() {
    let problem = read(Purpose::Registration, &android()).unwrap_err();
    assert_eq!(problem.kind, ProblemKind::InvalidTransactionId);
    let options = ReadOptions { null_transaction_id: Some("relay-0001".into()) };
    let body = android().to_string();
    let request = parse_capture(Purpose::Registration, body.as_bytes(), &options).unwrap();
    assert_eq!((request.transaction_id.as_str(), request.bio.count), ("relay-0001", 2));
    // The switch replaces nothing that was sent, good or bad.
    let mut bad = android();
    bad["transactionId"] = "a_b".into();
    let problem = parse_capture(Purpose::Registration, bad.to_string().as_bytes(), &options).unwrap_err();
    assert_eq!(problem.kind, ProblemKind::InvalidTransactionId);
}

#[test]
fn r5_transaction_id_has_4_to_50_of_its_alphabet() {
    let read_id = |id: &str| {
        let mut body = browser();
        body["transactionId"] = id.into();
        read(Purpose::Auth, &body).map(|request| request.transaction_id)
    };
    for good in ["ab-1", "transactionId", "1234567890", &"a".repeat(50)] {
        assert_eq!(read_id(good).as_deref(), Ok(good));
    }
    // SBI1091 to 1093 and 1108 to 1111 send 51 to 64 characters.
    for bad in ["", "abc", &"a".repeat(51), &"a".repeat(64), "ab_1", "ab 1", "ab\u{e9}1", "abcd\n"] {
        assert_eq!(read_id(bad).unwrap_err().kind, ProblemKind::InvalidTransactionId, "{bad:?}");
    }
}

/// SBI1094 to 1100, and every other mandatory member: renamed, null or absent, it is named and never defaulted.
#[test]
fn nothing_mandatory_is_defaulted() {
    for name in ["env", "purpose", "specVersion", "timeout", "bio"] {
        for change in [None, Some(Value::Null)] {
            let mut body = desktop();
            let old = body.as_object_mut().unwrap().remove(name).unwrap();
            body[format!("{name}XXX")] = old;
            if let Some(null) = change {
                body[name] = null;
            }
            let problem = read(Purpose::Registration, &body).unwrap_err();
            assert_eq!(problem, Problem::about(ProblemKind::AttributeMissing, name));
        }
    }
    for name in ["type", "count", "requestedScore", "deviceId", "deviceSubId"] {
        let mut body = desktop();
        let bio = body["bio"][0].as_object_mut().unwrap();
        let old = bio.remove(name).unwrap();
        bio.insert(format!("{name}XXX"), old);
        let problem = read(Purpose::Registration, &body).unwrap_err();
        assert_eq!(problem, Problem::about(ProblemKind::AttributeMissing, format!("bio[0].{name}")));
    }
}

/// Replaces a member (`bio.` prefix: of the element) and reads.
fn with(path: &str, value: Value) -> Result<CaptureRequest, Problem> {
    let mut body = browser();
    match path.strip_prefix("bio.") {
        Some(name) => body["bio"][0][name] = value,
        None => body[path] = value,
    }
    read(Purpose::Auth, &body)
}

#[test]
fn impossible_values_are_refused_with_their_kind() {
    use ProblemKind::*;
    let fifty =
        |count: usize| (0..count).map(|n| (format!("k{n}"), json!(n))).collect::<serde_json::Map<_, _>>();
    let chained = "0".repeat(63);
    for (path, value, kind) in [
        ("env", json!("staging"), AttributeInvalid),
        ("env", json!("None"), AttributeInvalid),
        ("purpose", json!("Registration"), WrongPurpose),
        ("purpose", json!("auth"), AttributeInvalid),
        ("specVersion", json!("1.0"), SpecVersionNotSupported),
        ("specVersion", json!(["0.9.5"]), AttributeInvalid),
        ("timeout", json!(0), AttributeInvalid),
        ("timeout", json!(300_001), AttributeInvalid),
        ("timeout", json!("-1"), AttributeInvalid),
        ("timeout", json!("+1"), AttributeInvalid),
        ("timeout", json!("10s"), AttributeInvalid),
        ("timeout", json!(""), AttributeInvalid),
        ("timeout", json!(-5), AttributeInvalid),
        ("timeout", json!(0.5), AttributeInvalid),
        ("timeout", json!(1e300), AttributeInvalid),
        ("timeout", json!("99999999999999999999999"), AttributeInvalid),
        ("timeout", json!({}), AttributeInvalid),
        ("domainUri", json!(7), AttributeInvalid),
        ("domainUri", json!("x".repeat(2049)), AttributeInvalid),
        ("customOpts", json!(fifty(51)), TooManyCustomOpts),
        ("customOpts", json!([]), AttributeInvalid),
        ("customOpts", json!(true), AttributeInvalid),
        ("bio", json!({}), AttributeInvalid),
        ("bio", json!([]), AttributeInvalid),
        ("bio", json!([1]), AttributeInvalid),
        ("bio", json!([browser()["bio"][0], browser()["bio"][0]]), AttributeInvalid),
        ("bio.type", json!("FINGER"), AttributeInvalid),
        ("bio.type", json!("Biometric Device"), AttributeInvalid),
        ("bio.count", json!("one"), AttributeInvalid),
        ("bio.count", json!(-1), AttributeInvalid),
        ("bio.count", json!(256), CountNotSupported),
        ("bio.bioSubType", json!("UNKNOWN"), AttributeInvalid),
        ("bio.bioSubType", json!(["left IndexFinger"]), AttributeInvalid),
        ("bio.bioSubType", json!(["Left"]), AttributeInvalid),
        ("bio.bioSubType", json!([1]), AttributeInvalid),
        ("bio.bioSubType", json!(vec!["UNKNOWN"; 33]), AttributeInvalid),
        ("bio.exception", json!(["UNKNOWN"]), AttributeInvalid),
        ("bio.exception", json!(["Left Toe"]), AttributeInvalid),
        ("bio.requestedScore", json!("100.1"), AttributeInvalid),
        ("bio.requestedScore", json!("77,5"), AttributeInvalid),
        ("bio.requestedScore", json!("NaN"), AttributeInvalid),
        ("bio.requestedScore", json!("inf"), AttributeInvalid),
        ("bio.requestedScore", json!("1e1"), AttributeInvalid),
        ("bio.requestedScore", json!("70."), AttributeInvalid),
        ("bio.requestedScore", json!(".5"), AttributeInvalid),
        ("bio.requestedScore", json!("100.000001"), AttributeInvalid),
        ("bio.requestedScore", json!(-1), AttributeInvalid),
        ("bio.requestedScore", json!(-0.5), AttributeInvalid),
        ("bio.requestedScore", json!(101), AttributeInvalid),
        ("bio.deviceId", json!(""), AttributeInvalid),
        ("bio.deviceId", json!("x".repeat(129)), AttributeInvalid),
        ("bio.deviceSubId", json!("left"), AttributeInvalid),
        ("bio.deviceSubId", json!(256), AttributeInvalid),
        ("bio.previousHash", json!(chained), AttributeInvalid),
        ("bio.previousHash", json!(0), AttributeInvalid),
    ] {
        let shown = value.to_string();
        let problem = with(path, value).expect_err(&format!("{path} = {shown}"));
        assert_eq!(problem.kind, kind, "{path} = {shown}: {problem}");
    }
}

#[test]
fn possible_values_are_accepted() {
    for (path, value) in [
        ("captureTime", json!("yesterday")),
        ("captureTime", json!({"any": ["thing"]})),
        ("unknown member", json!([1, 2])),
        ("domainUri", json!(null)),
        ("customOpts", json!({"a": {"b": 1}})),
        ("customOpts", json!("")),
        ("timeout", json!(1)),
        ("timeout", json!("300000")),
        ("timeout", json!(10000.0)),
        ("bio.bioSubType", json!("")),
        ("bio.exception", json!(null)),
        ("bio.deviceId", json!(1)),
        ("bio.previousHash", json!("E3B0C44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")),
    ] {
        with(path, value.clone()).unwrap_or_else(|problem| panic!("{path} = {value}: {problem}"));
    }
    for (value, text) in [
        (json!("70.5"), "70.5"),
        (json!(70.5), "70.5"),
        (json!("100.0"), "100.0"),
        (json!(100), "100"),
        (json!("070"), "70"),
        (json!("00.50"), "0.50"),
        (json!("0"), "0"),
        (json!(0.0), "0"),
        (json!(-0.0), "0"),
    ] {
        assert_eq!(with("bio.requestedScore", value).unwrap().bio.requested_score_text, text);
    }
    for face in [json!(null), json!([]), json!([null]), json!(["null"]), json!([""])] {
        let mut body = browser();
        body["bio"][0]["type"] = "Face".into();
        body["bio"][0]["bioSubType"] = face;
        assert_eq!(read(Purpose::Auth, &body).unwrap().bio.sub_types, vec![]);
    }
    let fifty = (0..50).map(|n| (format!("k{n}"), json!(n))).collect::<serde_json::Map<_, _>>();
    assert!(with("customOpts", json!(fifty)).is_ok());
}

#[test]
fn malformed_bodies_say_so() {
    let nested = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let nested = format!(r#"{{"a":{nested}}}"#);
    let big = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_BODY));
    let twice = browser().to_string().replacen('{', r#"{"env":"Production","#, 1);
    let twice_inside = browser().to_string().replace(r#""count""#, r#""count":"9","count""#);
    for body in [
        "",
        "null",
        "[]",
        "\"\"",
        "{",
        "{\"a\":}",
        "{\"a\":NaN}",
        "{\"a\":1e999}",
        "{\"a\":01}",
        "{'a':1}",
        "{} {}",
        "{\"a\":\"\\ud800\"}",
        &nested,
        &big,
        &twice,
        &twice_inside,
    ] {
        for problem in [
            parse_capture(Purpose::Auth, body.as_bytes(), &ReadOptions::default()).unwrap_err(),
            parse_discover(body.as_bytes()).unwrap_err(),
            parse_stream(body.as_bytes()).unwrap_err(),
        ] {
            assert_eq!(problem.kind, ProblemKind::MalformedRequest, "{:.60}", body);
        }
    }
    let latin1 = parse_discover(b"{\"type\":\"Finger\xe9\"}").unwrap_err();
    assert_eq!(latin1.kind, ProblemKind::MalformedRequest);
}

#[test]
fn discover_spells_its_words_exactly() {
    let read = |body: &str| parse_discover(body.as_bytes()).map(|request| request.modality);
    assert_eq!(read(r#"{"type":"Biometric Device"}"#), Ok(None));
    assert_eq!(read(r#"{"type":"Iris","extra":1}"#), Ok(Some(Modality::Iris)));
    for bad in ["FINGER", "finger", "Biometric device", "", "Slap"] {
        let problem = read(&format!(r#"{{"type":"{bad}"}}"#)).unwrap_err();
        assert_eq!(problem.kind, ProblemKind::AttributeInvalid, "{bad}");
    }
    assert_eq!(read("{}").unwrap_err().kind, ProblemKind::AttributeMissing);
}

#[test]
fn stream_reads_both_clients() {
    let read = |body: Value| parse_stream(body.to_string().as_bytes());
    let request = read(json!({"deviceId": "1", "deviceSubId": "1", "timeout": "10000"})).unwrap();
    assert_eq!((request.sub_id, request.timeout), (SubId(1), Some(Duration::from_secs(10))));
    let request = read(json!({"deviceId": "1", "deviceSubId": 3})).unwrap();
    assert_eq!((request.device_id.as_str(), request.sub_id, request.timeout), ("1", SubId(3), None));
    assert_eq!(read(json!({"deviceId": "1", "deviceSubId": "1", "timeout": null})).unwrap().timeout, None);
    for bad in
        [json!({"deviceSubId": "1"}), json!({"deviceId": "1"}), json!({"deviceId": "1", "deviceSubId": null})]
    {
        assert_eq!(read(bad).unwrap_err().kind, ProblemKind::AttributeMissing);
    }
    let endless = read(json!({"deviceId": "1", "deviceSubId": "1", "timeout": 0}));
    assert_eq!(endless.unwrap_err().kind, ProblemKind::AttributeInvalid);
}

/// Any JSON, so that it gets past the parser and into the fields.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[0-9.]{0,6}".prop_map(Value::from),
        proptest::sample::select(vec!["Finger", "Auth", "0.9.5", "UNKNOWN", "Left Thumb"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map("[a-zA-Z]{0,8}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

const MEMBERS: [&str; 18] = [
    "env",
    "purpose",
    "specVersion",
    "timeout",
    "captureTime",
    "transactionId",
    "domainUri",
    "customOpts",
    "bio",
    "bio.type",
    "bio.count",
    "bio.bioSubType",
    "bio.exception",
    "bio.requestedScore",
    "bio.deviceId",
    "bio.deviceSubId",
    "bio.previousHash",
    "bio.other",
];

/// Whether text is one that the compliance kit's pattern for scores accepts.
fn is_schema_score(text: &str) -> bool {
    let (whole, fraction) =
        text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole)
        && fraction.is_none_or(digits)
        && (whole.len() <= 2
            || (whole == "100" && fraction.is_none_or(|f| f.bytes().all(|byte| byte == b'0'))))
}

proptest! {
    #[test]
    fn never_panics_on_bytes(body in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse_discover(&body);
        let _ = parse_stream(&body);
        let _ = parse_capture(Purpose::Auth, &body, &ReadOptions::default());
    }

    #[test]
    fn never_panics_on_any_member(path in proptest::sample::select(&MEMBERS[..]), value in any_json()) {
        match with(path, value) {
            Ok(request) => {
                prop_assert!(request.timeout <= MAX_TIMEOUT && !request.timeout.is_zero());
                prop_assert!((4..=50).contains(&request.transaction_id.len()));
                prop_assert!(is_schema_score(&request.bio.requested_score_text), "{}", request.bio.requested_score_text);
            }
            // A problem is shown and logged: it must not carry the text of the client.
            Err(problem) => prop_assert!(problem.subject.is_none_or(|subject| subject.len() < 120)),
        }
    }

    #[test]
    fn a_number_may_be_a_string(timeout in 1..=300_000u64, count in 0..=255u64, sub_id in 0..=9u64, tenths in 0..=1000u32) {
        let score = f64::from(tenths) / 10.0;
        let mut numbers = browser();
        numbers["timeout"] = timeout.into();
        numbers["bio"][0]["count"] = count.into();
        numbers["bio"][0]["deviceSubId"] = sub_id.into();
        numbers["bio"][0]["requestedScore"] = score.into();
        let mut strings = browser();
        strings["timeout"] = timeout.to_string().into();
        strings["bio"][0]["count"] = count.to_string().into();
        strings["bio"][0]["deviceSubId"] = sub_id.to_string().into();
        strings["bio"][0]["requestedScore"] = score.to_string().into();
        let request = read(Purpose::Auth, &numbers).unwrap();
        prop_assert_eq!(u64::from(request.bio.count), count);
        prop_assert_eq!(Ok(request), read(Purpose::Auth, &strings));
    }
}
