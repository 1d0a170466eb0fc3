//! Cross-check with the known-answer file that lies beside the project, where there is one: set `BIOTRUST_VECTORS` to its path.
//! A fresh checkout does not have it, so nothing here is needed; what these tests find is found by the unit tests too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)] // tests

use biosim_backends::ida::Ida;
use biosim_backends::session::IdaKey;
use biosim_backends::{DigitalIdDomain, KeyManager, Request, ida, registration};
use biotrust_model::time::UtcMillis;
use serde_json::{Value, json};

/// 2024-05-17T09:41:27Z, the time of every capture in the file.
const NOW: UtcMillis = UtcMillis(1_715_938_887_000);

fn vectors() -> Option<Value> {
    let Some(path) = std::env::var_os("BIOTRUST_VECTORS") else {
        println!("skipped: BIOTRUST_VECTORS is not set");
        return None;
    };
    Some(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
}

fn keys(vectors: &Value) -> KeyManager {
    let pem = |names: &[&str]| -> String {
        let certificates = vectors["certs"].as_object().unwrap();
        let wanted = certificates.iter().filter(|(name, _)| names.iter().any(|n| name.starts_with(n)));
        wanted.map(|(_, certificate)| certificate["pem"].as_str().unwrap()).collect()
    };
    KeyManager::from_pem(&pem(&["mosip_root", "pms", "dp_"]), &pem(&["ftm_root", "ftm_ca"])).unwrap()
}

#[test]
fn the_authentication_answer_is_accepted() {
    let Some(vectors) = vectors() else { return };
    let private = vectors["keys"]["ida_enc"]["private_pkcs8_b64"].as_str().unwrap();
    let private = format!("-----BEGIN PRIVATE KEY-----\n{private}\n-----END PRIVATE KEY-----\n");
    let key = IdaKey::from_pem(&private, vectors["certs"]["ida_enc"]["pem"].as_str().unwrap()).unwrap();
    assert_eq!(key.thumbprint(), vectors["thumbprint"]["thumbprint"].as_str().unwrap());
    let answer = vectors["auth_capture_response"].to_string();
    let data = answer_payload(&vectors["auth_capture_response"]);
    let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
    let request = Request {
        env: text("env"),
        purpose: text("purpose"),
        transaction_id: text("transactionId"),
        domain_uri: text("domainUri"),
        ..Request::default()
    };
    let keys = keys(&vectors);
    let verdict = ida::judge(
        answer.as_bytes(),
        &request,
        &Ida { keys: &keys, key: &key, ida_transaction_id: true },
        NOW,
    );
    assert!(verdict.is_accepted(), "{verdict}");
    for (name, wrapped) in vectors["session_key_wrap"]["must_be_rejected"].as_object().unwrap() {
        let wrapped = base64::Engine::decode(
            &base64::engine::general_purpose::URL_SAFE_NO_PAD,
            wrapped.as_str().unwrap(),
        )
        .unwrap();
        assert!(key.unwrap(&wrapped).is_err(), "{name}");
    }
}

fn answer_payload(answer: &Value) -> Value {
    let data = answer["biometrics"][0]["data"].as_str().unwrap();
    let payload = data.split('.').nth(1).unwrap();
    let payload = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, payload).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

#[test]
fn registration_packets_are_told_apart() {
    let Some(vectors) = vectors() else { return };
    let keys = keys(&vectors);
    let judge = |name: &str| {
        let jwt = &vectors["registration_packet"][name]["jwt"];
        let answer =
            json!({"biometrics": [{"specVersion": "0.9.5", "data": jwt, "hash": "", "error": null}]});
        let data = answer_payload(&answer);
        let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
        let request = Request {
            env: text("env"),
            purpose: text("purpose"),
            spec_version: "0.9.5".into(),
            transaction_id: text("transactionId"),
            ..Request::default()
        };
        let verdict = registration::judge(
            answer.to_string().as_bytes(),
            &request,
            &keys,
            NOW,
            DigitalIdDomain::default(),
        );
        // The file gives no hash beside these tokens.
        verdict.failures().map(|check| check.name).filter(|name| *name != "hash chain").collect::<Vec<_>>()
    };
    assert_eq!(judge("L0_device_key_for_both"), [""; 0]);
    assert_eq!(judge("L1_naive"), ["x5c subset"]);
    assert_eq!(judge("L1_with_ftm_cert_appended_to_x5c"), [""; 0]);
    assert_eq!(judge("negative_padded_bioValue"), ["packet rebuild"]);
}
