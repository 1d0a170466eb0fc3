//! A good answer is accepted; each change to it fails exactly the check that is meant for it.

use serde_json::{Value, json};

use super::*;
use crate::testkit::{AUTH_TXN, NOW, Recipe, fresh, ida_key, images, key_manager, pki, records};

fn request() -> Request {
    Request {
        env: "Staging".into(),
        purpose: "Auth".into(),
        spec_version: "0.9.5".into(),
        transaction_id: AUTH_TXN.into(),
        domain_uri: "https://ida.example".into(),
        bio_type: "Finger".into(),
        count: Some(2),
        ..Request::default()
    }
}

fn judge_answer(answer: &[u8], request: &Request, now: UtcMillis) -> Verdict {
    let (keys, key) = (key_manager(), ida_key());
    judge(answer, request, &Ida { keys: &keys, key: &key, ida_transaction_id: true }, now)
}

fn judge_now(recipe: &Recipe<'_>) -> Verdict {
    judge_answer(&recipe.auth_answer(&pki().ida, &fresh), &request(), NOW)
}

#[track_caller]
fn fails(verdict: &Verdict, names: &[&str], code: Option<&str>) {
    let mut failed: Vec<&str> = Vec::new();
    for check in verdict.failures() {
        if !failed.contains(&check.name) {
            failed.push(check.name);
        }
    }
    assert_eq!(failed, names, "{verdict}");
    let found = verdict.failures().next().and_then(|check| check.fault.as_ref()?.code);
    assert_eq!(found, code, "{verdict}");
}

#[test]
fn good_answers_are_accepted_and_their_facts_known() {
    let verdict = judge_now(&Recipe::auth());
    assert!(verdict.is_accepted(), "{verdict}");
    let record = records::finger(0, images::FINGER_LOSSY, 4);
    let first = &verdict.segments()[0];
    assert_eq!(first.plaintext_sha256, hex::encode_upper(sha256(&record)));
    assert_eq!((first.record_len, first.reversible), (record.len(), false));
    let mut asked = request();
    (asked.bio_type, asked.count) = ("Iris".into(), Some(1));
    let parts = vec![("Iris", Some("Left"), records::iris(2, images::IRIS_LOSSY, false))];
    let answer = Recipe { parts, ..Recipe::auth() }.auth_answer(&pki().ida, &fresh);
    let verdict = judge_answer(&answer, &asked, NOW);
    assert!(verdict.is_accepted(), "{verdict}");
}

#[test]
fn an_image_of_more_than_fifteen_to_one_is_refused() {
    let mut asked = request();
    (asked.bio_type, asked.count) = ("Face".into(), Some(1));
    let parts = vec![("Face", None, records::face(images::FACE_LOSSY, false))];
    let answer = Recipe { parts, ..Recipe::auth() }.auth_answer(&pki().ida, &fresh);
    fails(&judge_answer(&answer, &asked, NOW), &["compression"], None);
}

#[test]
fn the_widget_wants_the_string_zero() {
    for error in [
        json!(null),
        json!({"errorCode": 0, "errorInfo": ""}),
        json!({"errorCode": "101", "errorInfo": "No"}),
    ] {
        let edit = |_: usize, e: &mut Value| e["error"] = error.clone();
        fails(&judge_now(&Recipe { edit_entry: &edit, ..Recipe::auth() }), &["widget"], None);
    }
    let absent = |i: usize, e: &mut Value| {
        if i == 1 {
            e.as_object_mut().unwrap().remove("error");
        }
    };
    fails(&judge_now(&Recipe { edit_entry: &absent, ..Recipe::auth() }), &["widget"], None);
    let null_behind = |i: usize, e: &mut Value| {
        if i == 1 {
            e["error"] = json!(null);
        }
    };
    assert!(judge_now(&Recipe { edit_entry: &null_behind, ..Recipe::auth() }).is_accepted());
    assert!(judge_answer(b"{\"biometrics\":[]}", &request(), NOW).failed("widget"));
    for bad in [&b"[]"[..], b"{}", b"", b"{\"biometrics\":[1]}", b"{\"biometrics\":[],\"more\":1}"] {
        fails(&judge_answer(bad, &request(), NOW), &["answer members"], Some("IDA-MLC-007"));
    }
}

#[test]
fn a_challenge_that_is_too_long_is_refused() {
    let mut recipe = Recipe::auth();
    let mut record = recipe.parts[0].2.clone();
    record.resize(300_000, 0);
    recipe.parts[0].2 = record;
    assert!(judge_now(&recipe).failed("challenge size"));
}

#[test]
fn each_domain_has_its_own_anchors() {
    let pki = pki();
    let l0 = Recipe { id_signer: &pki.device, ..Recipe::auth() };
    fails(&judge_now(&l0), &["digital id trust"], Some("IDA-MPA-001"));
    let chip = Recipe { data_signer: &pki.chip, ..Recipe::auth() };
    fails(&judge_now(&chip), &["data trust"], Some("IDA-MPA-001"));
    let expired = judge_now(&Recipe { data_signer: &pki.expired_device, ..Recipe::auth() });
    assert!(expired.failed("data signature") && expired.to_string().contains("expired"), "{expired}");
    let flip = |_: usize, entry: &mut Value| {
        let data = entry["data"].as_str().unwrap();
        let (header, rest) = data.split_once('.').unwrap();
        let (payload, signature) = rest.split_once('.').unwrap();
        let text =
            String::from_utf8(URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap().replace("80.5", "90.5");
        entry["data"] = json!(format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(text)));
    };
    fails(
        &judge_now(&Recipe { edit_entry: &flip, ..Recipe::auth() }),
        &["data signature"],
        Some("IDA-MPA-001"),
    );
}

#[test]
fn sealing_for_another_key_or_with_other_strings_does_not_open() {
    let other = Recipe::auth().auth_answer(&pki().other_ida, &fresh);
    let verdict = judge_answer(&other, &request(), NOW);
    assert!(
        verdict.failed("thumbprint") && verdict.failed("session key") && !verdict.checked("decryption"),
        "{verdict}"
    );

    let stamp = Recipe { edit_data: &|d| d["timestamp"] = json!("2026-11-24T10:00:01Z"), ..Recipe::auth() };
    fails(&judge_now(&stamp), &["decryption"], Some("IDA-MPA-003"));
    let lower =
        |_: usize, e: &mut Value| e["thumbprint"] = json!(e["thumbprint"].as_str().unwrap().to_lowercase());
    fails(&judge_now(&Recipe { edit_entry: &lower, ..Recipe::auth() }), &["thumbprint"], Some("KER-KMS-025"));
    let prefixed = |_: usize, e: &mut Value| {
        e["sessionKey"] = json!(format!("AAAA{}", e["sessionKey"].as_str().unwrap()))
    };
    let verdict = judge_now(&Recipe { edit_entry: &prefixed, ..Recipe::auth() });
    assert!(verdict.failed("session key form"), "{verdict}");
    let absent = |_: usize, e: &mut Value| e["sessionKey"] = json!(null);
    assert!(judge_now(&Recipe { edit_entry: &absent, ..Recipe::auth() }).failed("session members"));
}

#[test]
fn one_session_key_for_two_segments_is_refused() {
    let answer = Recipe::auth().auth_answer(&pki().ida, &|_| [7; 32]);
    fails(&judge_answer(&answer, &request(), NOW), &["fresh keys"], None);
}

#[test]
fn values_of_the_data_are_compared() {
    let cases: [(&str, Value, &str, Option<&str>); 9] = [
        ("domainUri", json!("https://other.example"), "echo", Some("IDA-MLC-024")),
        ("domainUri", json!(null), "echo", Some("IDA-MLC-024")),
        ("env", json!("Production"), "echo", Some("IDA-MLC-024")),
        ("purpose", json!("Registration"), "echo", Some("IDA-MLC-009")),
        ("deviceServiceVersion", json!(""), "required values", Some("IDA-MLC-006")),
        ("qualityScore", json!("much"), "quality score", Some("IDA-MLC-009")),
        ("bioSubType", json!("Left Toe"), "iso record", Some("IDA-BIA-018")),
        ("deviceCode", json!("OTHER"), "device code", None),
        ("bioValue", json!(7), "payload strings", Some("IDA-MLC-006")),
    ];
    for (name, value, check, code) in cases {
        let edit = |data: &mut Value| data[name] = value.clone();
        let verdict = judge_now(&Recipe { edit_data: &edit, ..Recipe::auth() });
        assert!(verdict.failed(check), "{name}: {verdict}");
        assert_eq!(verdict.failures().next().unwrap().fault.as_ref().unwrap().code, code, "{verdict}");
    }
    let mut asked = request();
    asked.transaction_id = "SBI1018-123".into();
    fails(&judge_now_for(&asked), &["request transaction id", "echo"], Some("IDA-MLC-009"));
    let id = Recipe { edit_id: &|i| i["type"] = json!("Face"), ..Recipe::auth() };
    fails(&judge_now(&id), &["digital id type"], Some("IDA-DPM-004"));
    let id = Recipe { edit_id: &|i| i["make"] = json!(""), ..Recipe::auth() };
    fails(&judge_now(&id), &["digital id members"], Some("IDA-MLC-006"));
}

fn judge_now_for(request: &Request) -> Verdict {
    judge_answer(&Recipe::auth().auth_answer(&pki().ida, &fresh), request, NOW)
}

#[test]
fn captures_age_and_may_not_run_backwards() {
    let answer = Recipe::auth().auth_answer(&pki().ida, &fresh);
    let at = |seconds: i64| judge_answer(&answer, &request(), UtcMillis(NOW.0 + seconds * 1000));
    assert!(at(60).is_accepted() && at(-30).is_accepted());
    fails(&at(61), &["timestamps", "digital id times"], Some("IDA-MLC-001"));
    fails(&at(-31), &["timestamps", "digital id times"], Some("IDA-MLC-001"));
    let verdict = |stamps: [&str; 2]| {
        time_rule(&stamps.map(str::to_owned).iter().collect::<Vec<_>>(), "IDA-MLC-030", NOW.0 / 1000)
    };
    assert!(verdict(["2026-11-24T09:58:30Z", "2026-11-24T10:00:00Z"]).is_ok());
    for stamps in
        [["2026-11-24T09:57:30Z", "2026-11-24T10:00:00Z"], ["2026-11-24T10:00:00Z", "2026-11-24T09:59:59Z"]]
    {
        assert_eq!(verdict(stamps).unwrap_err().code, Some("IDA-MLC-030"));
    }
    assert!(verdict(["2026-11-24T10:00:00.1Z", "2026-11-24T10:00:00Z"]).is_err());
}

#[test]
fn chain_record_and_set_are_checked() {
    let mut swapped: Value = serde_json::from_slice(&Recipe::auth().auth_answer(&pki().ida, &fresh)).unwrap();
    swapped["biometrics"].as_array_mut().unwrap().swap(0, 1);
    let verdict = judge_answer(swapped.to_string().as_bytes(), &request(), NOW);
    fails(&verdict, &["hash chain"], Some("IDA-BIA-014"));

    let mut recipe = Recipe::auth();
    recipe.parts[1].2 = records::finger(1, images::FINGER_LOSSLESS, 4);
    fails(&judge_now(&recipe), &["iso record"], Some("IDA-BIA-018"));
    let mut recipe = Recipe::auth();
    recipe.parts[0] = recipe.parts[1].clone();
    fails(&judge_now(&recipe), &["distinct parts"], Some("IDA-BIA-002"));
    let mut recipe = Recipe::auth();
    recipe.parts[1] = recipe.parts[0].clone();
    assert!(judge_now(&recipe).is_accepted(), "UNKNOWN may repeat");
    let parts = vec![("Face", None, records::face(images::FACE_LOSSY, false)); 2];
    let verdict = judge_now(&Recipe { parts, ..Recipe::auth() });
    assert!(verdict.failures().any(|c| c.name == "number of parts"), "{verdict}");
    let mut asked = request();
    asked.count = Some(1);
    fails(&judge_now_for(&asked), &["count"], None);
}
