//! Certificates at the end of their time, and levels that are claimed.

use std::time::Duration;

use biosim_backends::{DigitalIdDomain, KeyManager};
use biotrust_tests::browser::Page;
use biotrust_tests::byhand::Bench;
use biotrust_tests::ctk::run::Run;
use biotrust_tests::ctk::{CASES, Project};
use biotrust_tests::desktop::Desktop;
use biotrust_tests::http::{Request, call};
use biotrust_tests::instance::Setup;
use biotrust_tests::requests::registration_of;
use biotrust_tests::{Device, shared, wait};
use serde_json::{Value, json};

use super::{DEVELOPER, capture};

fn line<'v>(status: &'v Value, bio_type: &str) -> &'v Value {
    let devices = status["devices"].as_array().expect("devices");
    devices.iter().find(|line| line["type"] == bio_type).unwrap_or_else(|| panic!("no {bio_type}: {status}"))
}

fn device(line: &Value) -> Device {
    let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
    Device {
        id: text("id"),
        bio_type: text("type"),
        sub_type: text("sub_type"),
        level: text("level"),
        purpose: text("purpose"),
        serial: text("serial"),
    }
}

/// From nothing to enrolled to expired, with a provider that is the test's own.
#[test]
fn a_device_without_certificate_says_100_and_one_with_an_expired_one_107() {
    let bench = Bench::new();
    let daemon = bench.daemon(&bench.config("port = 0", ""));
    let _devices = bench.devices("registration", "l0");
    let there = wait::until(Duration::from_secs(20), || {
        let known =
            |devices: &Vec<Value>| devices.iter().filter(|line| line["status"] == "Not Registered").count();
        (bench.status()["devices"].as_array().map_or(0, known) == 3).then_some(())
    });
    assert!(there.is_some(), "{}", bench.status());
    let face = device(line(&bench.status(), "Face"));
    let rcapture = |device: &Device| capture(daemon.port, "RCAPTURE", &registration_of(device));

    assert_eq!(rcapture(&face).error_code(), "100", "{}", rcapture(&face).text());
    let info = call(daemon.port, &Request::new("MOSIPDINFO", "/info")).json();
    for entry in info.as_array().unwrap() {
        assert_eq!(
            (&entry["deviceInfo"], &entry["error"]["errorCode"]),
            (&json!(""), &json!("100")),
            "alone it hides nobody"
        );
    }

    let keys = KeyManager::from_pem(
        &format!("{}{}", bench.device_root.pem, bench.provider.pem),
        &bench.ftm_root.pem,
    )
    .unwrap();
    let desktop = Desktop { port: daemon.port, keys, digital_id_domain: DigitalIdDomain::Device };
    let iris = device(line(&bench.status(), "Iris"));
    bench.enrol(&face.serial, Duration::from_secs(9));
    bench.enrol(&iris.serial, Duration::from_secs(3600));
    let (verdict, _) = desktop.capture(&registration_of(&face));
    assert!(verdict.is_accepted(), "{verdict}");
    assert_eq!(desktop.scan().0.desktop_list.len(), 2);

    let expired =
        wait::until(Duration::from_secs(20), || (rcapture(&face).error_code() == "107").then_some(()));
    assert!(expired.is_some(), "{}", rcapture(&face).text());
    let (out, _) = desktop.scan();
    assert!(out.verdict.is_accepted(), "{}", out.verdict);
    assert_eq!(out.desktop_list.len(), 1, "it is left out, and hides nobody");
    let told = wait::until(Duration::from_secs(40), || {
        let status = bench.status();
        let why = line(&status, "Face")["left_out"].as_str().map(str::to_owned);
        why.filter(|why| !why.is_empty() && line(&status, "Face")["problem"]["code"] == "107")
    });
    assert!(told.is_some(), "status tells why, after the next look at the device: {}", bench.status());
    let (verdict, _) = desktop.capture(&registration_of(&iris));
    assert!(verdict.is_accepted(), "{verdict}");

    bench.enrol(&face.serial, Duration::from_secs(3600));
    let (verdict, _) = desktop.capture(&registration_of(&face));
    assert!(verdict.is_accepted(), "a new certificate mends it: {verdict}");
}

/// The daemon takes no certificate that its clients would not believe.
#[test]
fn certificates_that_lead_nowhere_are_not_taken() {
    let (bench, other) = (Bench::new(), Bench::new());
    let _daemon = bench.daemon(&bench.config("port = 0", ""));
    let _devices = bench.devices("registration", "l0");
    let face = wait::until(Duration::from_secs(20), || {
        let status = bench.status();
        let line = status["devices"].as_array()?.iter().find(|line| line["type"] == "Face")?;
        Some(device(line))
    })
    .expect("a face camera");
    let begun = bench.control(&json!({"op": "enrol_begin", "serial": face.serial}));
    assert!(begun["result"]["csr"].is_string(), "{begun}");
    let stranger = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &other.provider.der);
    for chain in [json!([stranger]), json!([]), json!(["AAAA"]), json!(["!"])] {
        let done = bench.control(&json!({"op": "enrol_finish", "serial": face.serial, "chain": chain}));
        assert!(done["ok"] == false && done["error"]["message"].is_string(), "{done}");
    }
    let unknown = bench.control(&json!({"op": "enrol_begin", "serial": "NOBODY"}));
    assert_eq!(unknown["ok"], false, "{unknown}");
}

/// L1 that signs its digital ID with the device key: made for stock registration clients, and refused by the tool kit.
#[test]
fn a_level_that_the_signature_does_not_bear_out_is_red_in_the_tool_kit() {
    let config = &[("sbi", "digital_id_key = \"device\"")];
    let options = &["--developer", DEVELOPER];
    let instance = shared::instance(&Setup { profile: "registration", config, options, ..Setup::default() });
    let run = Run::begin(&instance, DEVELOPER, Project::RegFaceFull).unwrap();
    let case = CASES.iter().find(|case| case.id == 1012).unwrap();
    let outcome = run.run(case, &|_, _| Vec::new());
    assert!(outcome.faults.iter().any(|fault| fault.starts_with("Signature")), "{:?}", outcome.faults);
    assert_eq!(outcome.faults.len(), 1, "{:?}", outcome.faults);
    assert!(Page::new(instance.port, DEVELOPER).fetch("MOSIPDINFO", "/info", None).is_ok());
}
