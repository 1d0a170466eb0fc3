//! A good answer is accepted; each change to it fails exactly the check that is meant for it.

use serde_json::{Value, json};

use super::*;
use crate::testkit::{NOW, REG_TXN, Recipe, images, key_manager, pki, records};

fn request() -> Request {
    Request {
        env: "Staging".into(),
        purpose: "Registration".into(),
        spec_version: "0.9.5".into(),
        transaction_id: REG_TXN.into(),
        bio_type: "Finger".into(),
        count: Some(2),
        device_sub_id: "1".into(),
        ..Request::default()
    }
}

fn judge_now(recipe: &Recipe<'_>) -> Verdict {
    judge(&recipe.registration_answer(), &request(), &key_manager(), NOW, DigitalIdDomain::default())
}

/// Asserts that exactly the named checks fail, and that the first has this code.
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
    let verdict = judge_now(&Recipe::registration());
    assert!(verdict.is_accepted(), "{verdict}");
    let [first, second] = verdict.segments() else { panic!("two segments") };
    assert_eq!(first.bio_sub_type.as_deref(), Some("Left IndexFinger"));
    assert_eq!((first.width, first.height, first.reversible), (64, 96, true));
    assert_eq!((first.quality_score, first.serial_no.as_str()), (Some(80.5), "JUDGE0000001"));
    assert_ne!(first.plaintext_sha256, second.plaintext_sha256);
    assert_ne!(first.data_signer, first.digital_id_signer);

    let mut face = request();
    (face.bio_type, face.count, face.exception) = ("Face".into(), Some(1), vec!["Left Thumb".into()]);
    let parts = vec![("Face", None, records::face(images::FACE_LOSSLESS, true))];
    let answer = Recipe { parts, ..Recipe::registration() }.registration_answer();
    let verdict = judge(&answer, &face, &key_manager(), NOW, DigitalIdDomain::default());
    assert!(verdict.is_accepted(), "{verdict}");
}

#[test]
fn an_l0_answer_needs_no_appended_certificate() {
    let pki = pki();
    let recipe = Recipe { id_signer: &pki.device, append_chip: false, ..Recipe::registration() };
    let answer = recipe.registration_answer();
    let verdict = judge(&answer, &request(), &key_manager(), NOW, DigitalIdDomain::Device);
    assert!(verdict.is_accepted(), "{verdict}");
    let verdict = judge(&answer, &request(), &key_manager(), NOW, DigitalIdDomain::Ftm);
    fails(&verdict, &["digital id trust"], Some("RPR-CMD-FAILED-018"));
}

#[test]
fn an_l1_answer_needs_it_and_the_right_domain() {
    let naive = Recipe { append_chip: false, ..Recipe::registration() };
    fails(&judge_now(&naive), &["x5c subset"], Some("RPR-PKV-FAILED-016"));
    let answer = Recipe::registration().registration_answer();
    let stock = judge(&answer, &request(), &key_manager(), NOW, DigitalIdDomain::Device);
    fails(&stock, &["digital id trust"], Some("RPR-CMD-FAILED-018"));
}

#[test]
fn unknown_members_anywhere_are_fatal() {
    let mut answer: Value = serde_json::from_slice(&Recipe::registration().registration_answer()).unwrap();
    answer["error"] = json!({"errorCode": "0"});
    let verdict =
        judge(answer.to_string().as_bytes(), &request(), &key_manager(), NOW, DigitalIdDomain::default());
    fails(&verdict, &["answer members"], Some("REG-MDM-101"));

    let entry = Recipe { edit_entry: &|_, e| e["sessionKey"] = json!(""), ..Recipe::registration() };
    assert!(judge_now(&entry).failed("entry members"));
    let error = Recipe { edit_entry: &|_, e| e["error"]["more"] = json!(1), ..Recipe::registration() };
    assert!(judge_now(&error).failed("entry members"));
    let data = Recipe { edit_data: &|d| d["domainUri"] = json!(""), ..Recipe::registration() };
    assert!(judge_now(&data).failed("payload members"));
    let id = Recipe { edit_id: &|i| i["more"] = json!(""), ..Recipe::registration() };
    fails(&judge_now(&id), &["digital id members"], Some("REG-MDM-101"));
}

#[test]
fn failures_carry_the_error_of_the_answer() {
    let answer = br#"{"biometrics":[{"specVersion":"0.9.5","data":"","hash":"","error":{"errorCode":"101","errorInfo":"No finger"}}]}"#;
    let verdict = judge(answer, &request(), &key_manager(), NOW, DigitalIdDomain::default());
    assert!(
        verdict
            .failures()
            .any(|c| c.name == "data present" && c.to_string().contains("error 101: No finger"))
    );
    let answer = br#"{"biometrics":[{"specVersion":"0.9.5","data":"","hash":"","error":null}]}"#;
    let verdict = judge(answer, &request(), &key_manager(), NOW, DigitalIdDomain::default());
    assert!(verdict.to_string().contains("null pointer"), "{verdict}");
    for empty in [&b"{\"biometrics\":[]}"[..], b"{}", b"[]", b"", b"nonsense"] {
        let verdict = judge(empty, &request(), &key_manager(), NOW, DigitalIdDomain::default());
        assert!(verdict.failed("answer members"));
    }
}

#[test]
fn signature_and_trust_are_told_apart() {
    let swap = |_: usize, entry: &mut Value| {
        let data = entry["data"].as_str().unwrap();
        let (input, signature) = data.rsplit_once('.').unwrap();
        let other = if signature.starts_with('A') { "B" } else { "A" };
        entry["data"] = json!(format!("{input}.{other}{}", &signature[1..]));
    };
    let changed = Recipe { edit_entry: &swap, ..Recipe::registration() };
    fails(&judge_now(&changed), &["data signature", "packet rebuild"], Some("REG-MDM-106"));

    let pki = pki();
    let stranger = Recipe { data_signer: &pki.stranger, ..Recipe::registration() };
    fails(&judge_now(&stranger), &["data trust"], Some("REG-MDM-108"));
    let chip = Recipe { data_signer: &pki.chip, ..Recipe::registration() };
    fails(&judge_now(&chip), &["data trust"], Some("REG-MDM-108"));
    for holder in [&pki.expired_device, &pki.future_device] {
        let verdict = judge_now(&Recipe { data_signer: holder, ..Recipe::registration() });
        assert!(verdict.failed("data signature") && verdict.failed("data trust"), "{verdict}");
    }
    let id = Recipe { id_signer: &pki.stranger, ..Recipe::registration() };
    fails(&judge_now(&id), &["digital id trust"], Some("RPR-CMD-FAILED-018"));
}

#[test]
fn values_of_the_data_are_compared() {
    let cases: [(&str, Value, &[&str], Option<&str>); 12] = [
        ("timestamp", json!("2026-11-24T10:00:00.123Z"), &["timestamp", "packet time"], Some("REG-MDS-008")),
        ("timestamp", json!("2026-11-24T09:54:59Z"), &["timestamp"], Some("REG-MDS-008")),
        ("timestamp", json!("2026-11-24T10:00:01Z"), &["packet time"], Some("RPR-CMD-FAILED-016")),
        ("qualityScore", json!("77,5"), &["quality score"], Some("REG-MDS-003")),
        ("qualityScore", json!("100.1"), &["quality score"], Some("REG-MDS-003")),
        ("qualityScore", json!(null), &["payload members"], Some("REG-MDM-101")),
        ("transactionId", json!("another-one"), &["transaction id"], Some("REG-MDS-003")),
        ("bioSubType", json!("UNKNOWN"), &["bio sub type", "iso record"], Some("REG-MDS-003")),
        ("bioValue", json!("not base64!"), &["bio value"], Some("REG-MDS-003")),
        ("purpose", json!("Auth"), &["echo"], None),
        ("env", json!("Developer"), &["echo"], None),
        ("deviceCode", json!("OTHER"), &["device code"], None),
    ];
    for (name, value, names, code) in cases {
        let edit = |data: &mut Value| data[name] = value.clone();
        let mut one = request();
        one.count = Some(1);
        let mut recipe = Recipe { edit_data: &edit, ..Recipe::registration() };
        recipe.parts.truncate(1);
        let verdict =
            judge(&recipe.registration_answer(), &one, &key_manager(), NOW, DigitalIdDomain::default());
        fails(&verdict, names, code);
    }
    let number = Recipe { edit_data: &|d| d["qualityScore"] = json!(77), ..Recipe::registration() };
    assert!(judge_now(&number).is_accepted(), "numbers are coerced");
    let version = Recipe { edit_entry: &|_, e| e["specVersion"] = json!("1.0"), ..Recipe::registration() };
    assert!(judge_now(&version).failed("spec version"));
    let null_error = Recipe { edit_entry: &|_, e| e["error"] = json!(null), ..Recipe::registration() };
    assert!(judge_now(&null_error).is_accepted(), "the desktop client does not mind");
    let old_id =
        Recipe { edit_id: &|i| i["dateTime"] = json!("2026-11-24T09:29:59Z"), ..Recipe::registration() };
    fails(&judge_now(&old_id), &["packet time"], Some("RPR-CMD-FAILED-016"));
    let iris_id = Recipe { edit_id: &|i| i["type"] = json!("Iris"), ..Recipe::registration() };
    fails(&judge_now(&iris_id), &["digital id type"], None);
    let accent =
        Recipe { edit_data: &|d| d["deviceServiceVersion"] = json!("\u{e9}"), ..Recipe::registration() };
    assert!(judge_now(&accent).failed("payload members"));
}

#[test]
fn the_packet_must_rebuild_to_the_same_text() {
    // 4303 bytes: the padded form of base64url ends in "=".
    let padded = |data: &mut Value| {
        let value = data["bioValue"].as_str().unwrap();
        let padding = (4 - value.len() % 4) % 4;
        assert_ne!(padding, 0);
        data["bioValue"] = json!(format!("{value}{}", "=".repeat(padding)));
    };
    let verdict = judge_now(&Recipe { edit_data: &padded, ..Recipe::registration() });
    fails(&verdict, &["packet rebuild"], Some("RPR-PKV-FAILED-016"));
    let earlier = |text: String| text.replacen('{', "{\"deviceServiceVersion\":\"bioValue\",", 1);
    let verdict = judge_now(&Recipe { edit_text: &earlier, ..Recipe::registration() });
    assert!(verdict.failed("packet rebuild"), "{verdict}");
}

#[test]
fn the_chain_and_the_record_are_checked() {
    let lower = |_: usize, e: &mut Value| e["hash"] = json!(e["hash"].as_str().unwrap().to_lowercase());
    fails(&judge_now(&Recipe { edit_entry: &lower, ..Recipe::registration() }), &["hash chain"], None);
    let mut swapped: Value = serde_json::from_slice(&Recipe::registration().registration_answer()).unwrap();
    swapped["biometrics"].as_array_mut().unwrap().swap(0, 1);
    let verdict =
        judge(swapped.to_string().as_bytes(), &request(), &key_manager(), NOW, DigitalIdDomain::default());
    assert!(verdict.failed("hash chain"));

    let mut recipe = Recipe::registration();
    recipe.parts[0].2 = records::finger(7, images::FINGER_LOSSY, 5);
    fails(&judge_now(&recipe), &["iso record"], Some("RPR-PKV-FAILED-013"));
}

#[test]
fn excepted_repeated_and_missing_parts_are_seen() {
    let keys = key_manager();
    let answer = Recipe::registration().registration_answer();
    let mut asked = request();
    asked.exception = vec!["Left MiddleFinger".into()];
    fails(&judge(&answer, &asked, &keys, NOW, DigitalIdDomain::default()), &["exceptions"], None);
    asked = request();
    asked.count = Some(4);
    fails(&judge(&answer, &asked, &keys, NOW, DigitalIdDomain::default()), &["count"], None);
    let mut recipe = Recipe::registration();
    recipe.parts[1] = recipe.parts[0].clone();
    fails(&judge_now(&recipe), &["distinct parts"], None);
}
