//! Documented switches for clients and back ends that need another behaviour.

use std::time::{Duration, Instant};

use biosim_backends::jws::Jws;
use biosim_backends::{DigitalIdDomain, KeyManager, registration};
use biotrust_tests::instance::Setup;
use biotrust_tests::requests::{registration as body_for, registration_of};
use biotrust_tests::{Instance, shared};
use serde_json::json;

use super::{data, payload, rcapture};

fn signers(instance: &Instance, bio_type: &str) -> (Jws, Jws) {
    let device = instance.device(bio_type, "Registration");
    let token = data(&rcapture(instance, &registration_of(device)), 0);
    let id = payload(&token)["digitalId"].as_str().unwrap().to_owned();
    (Jws::parse(&token).unwrap(), Jws::parse(&id).unwrap())
}

#[test]
fn r05_a_null_transaction_id_can_be_allowed() {
    let config = &[("sbi", "allow_null_transaction_id = true")];
    let instance = shared::instance(&Setup { profile: "registration", config, ..Setup::default() });
    let mut body = body_for(instance.device("Face", "Registration"), "0", 1);
    body["transactionId"] = json!(null);
    let [first, second] =
        [(); 2].map(|()| payload(&data(&rcapture(&instance, &body), 0))["transactionId"].clone());
    let valid = |id: &serde_json::Value| id.as_str().is_some_and(|id| (4..=50).contains(&id.len()));
    assert!(valid(&first) && valid(&second) && first != second, "{first} {second}");
    body["transactionId"] = json!("a_b");
    assert_eq!(rcapture(&instance, &body).error_code(), "112", "a wrong one is still wrong");
}

#[test]
fn r34_by_default_the_chip_certificate_is_appended() {
    let instance = shared::instance(&Setup { profile: "registration", ..Setup::default() });
    let (data, id) = signers(&instance, "Finger");
    assert_eq!((data.x5c().len(), id.x5c().len()), (2, 1));
    assert_eq!(data.x5c()[1], id.x5c()[0], "the very same text");
    assert_ne!(data.signer_sha256(), id.signer_sha256());
}

#[test]
fn r34_the_chip_certificate_can_be_left_out() {
    let config = &[("sbi", "append_chip_certificate = false")];
    let instance = shared::instance(&Setup { profile: "registration", config, ..Setup::default() });
    let body = body_for(instance.device("Face", "Registration"), "0", 1);
    let reply = rcapture(&instance, &body);
    assert_eq!(Jws::parse(&data(&reply, 0)).unwrap().x5c().len(), 1);
    let asked = biosim_backends::Request::from_json(body.to_string().as_bytes()).unwrap();
    let verdict = registration::judge(
        &reply.body,
        &asked,
        &instance.keys(),
        biotrust_tests::packet_time(),
        DigitalIdDomain::default(),
    );
    assert!(verdict.failed("x5c subset") && verdict.failures().count() == 1, "{verdict}");
}

#[test]
fn r34_the_device_key_can_sign_the_digital_id_of_a_registration() {
    let config = &[("sbi", "digital_id_key = \"device\"")];
    let instance = shared::instance(&Setup { profile: "registration", config, ..Setup::default() });
    let (data, id) = signers(&instance, "Iris");
    assert_eq!(data.signer_sha256(), id.signer_sha256());
    // A stock desktop client and processor, which trust digital IDs in domain DEVICE only, then take an L1 device.
    let body = body_for(instance.device("Face", "Registration"), "0", 1);
    let reply = rcapture(&instance, &body);
    let asked = biosim_backends::Request::from_json(body.to_string().as_bytes()).unwrap();
    let verdict = registration::judge(
        &reply.body,
        &asked,
        &instance.keys(),
        biotrust_tests::packet_time(),
        DigitalIdDomain::Device,
    );
    assert!(verdict.is_accepted(), "{verdict}");
    let stock = biotrust_tests::desktop::Desktop {
        port: instance.port,
        keys: instance.keys(),
        digital_id_domain: DigitalIdDomain::Device,
    };
    assert_eq!(stock.scan().0.desktop_list.len(), 3);
}

#[test]
fn r23_a_ceiling_holds_whatever_the_timeout_says() {
    let config = &[("sbi", "hard_ceiling_ms = 4000")];
    let instance = shared::instance(&Setup { profile: "registration", config, ..Setup::default() });
    let mut body = body_for(instance.device("Face", "Registration"), "0", 1);
    body["timeout"] = json!("60000");
    body["bio"][0]["requestedScore"] = json!("100");
    let start = Instant::now();
    let reply = rcapture(&instance, &body);
    let took = start.elapsed();
    assert_eq!(reply.error_code(), "0", "{}", reply.text());
    assert!((Duration::from_millis(4000)..Duration::from_millis(6000)).contains(&took), "{took:?}");
}

/// Trust is by the anchors of the deployment: with others the same answer is refused.
#[test]
fn r19_answers_lead_to_the_anchors_that_clients_hold_and_to_no_others() {
    let instance = shared::instance(&Setup { profile: "registration", ..Setup::default() });
    let body = body_for(instance.device("Face", "Registration"), "0", 1);
    let reply = rcapture(&instance, &body);
    let asked = biosim_backends::Request::from_json(body.to_string().as_bytes()).unwrap();
    let judge = |keys: &KeyManager| {
        registration::judge(
            &reply.body,
            &asked,
            keys,
            biotrust_tests::packet_time(),
            DigitalIdDomain::default(),
        )
    };
    assert!(judge(&instance.keys()).is_accepted());
    let [device, ftm] =
        ["device_anchors", "ftm_anchors"].map(|n| std::fs::read_to_string(instance.text(n)).unwrap());
    let swapped = KeyManager::from_pem(&ftm, &device).unwrap();
    let verdict = judge(&swapped);
    assert!(verdict.failed("data trust"), "{verdict}");
}

#[test]
fn r23_answers_can_come_before_the_timeout_for_clients_that_give_up_at_it() {
    let config = &[("sbi", "answer_early_ms = 500")];
    let instance = shared::instance(&Setup { profile: "registration", config, ..Setup::default() });
    let mut body = body_for(instance.device("Face", "Registration"), "0", 1);
    body["timeout"] = json!("4500");
    body["bio"][0]["requestedScore"] = json!("100");
    let start = Instant::now();
    let reply = rcapture(&instance, &body);
    let took = start.elapsed();
    assert_eq!(reply.error_code(), "0", "{}", reply.text());
    println!("R23: 500 ms early of 4500 ms: {took:?}");
    assert!((Duration::from_millis(4000)..Duration::from_millis(4500)).contains(&took), "{took:?}");
}
