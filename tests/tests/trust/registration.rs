//! Registration by evidence, and its end.

use std::path::Path;

use biotrust_attest::Challenge;
use biotrust_model::evidence::EvidencePurpose;
use biotrust_tests::http::call;
use biotrust_tests::site::{Plan, Site};
use biotrust_tests::{now, wait};
use serde_json::{Value, json};

use crate::{capture_of, captured, discovered, informed, json_of, living_keys, printed};

/// `biotrust attest verify` with everything that a relying party knows: exit status and report.
fn verified(site: &Site, evidence: &Path, challenge: &Path) -> (Option<i32>, Value) {
    let words = |path: &Path| path.display().to_string();
    let [evidence, challenge] = [evidence, challenge].map(words);
    let [anchors, metadata, adopter] =
        ["pki/ftm-anchors.pem", "pki/model-metadata.jws", "pki/adopter-anchor.pem"]
            .map(|name| words(&site.path(name)));
    let output = site.cli(&[
        "attest",
        "verify",
        &evidence,
        "--anchors",
        &anchors,
        "--challenge",
        &challenge,
        "--metadata",
        &metadata,
        "--metadata-anchors",
        &adopter,
        "--json",
    ]);
    (output.status.code(), json_of(&output))
}

/// A chip tells of an open debug port twice: in what it measures, and in what it states about its key.
const DEBUG_CHECKS: [&str; 2] = ["device-key", "device-mode"];

fn outcome<'a>(report: &'a Value, check: &str) -> &'a Value {
    let checks = report["checks"].as_array().expect("checks");
    checks.iter().find(|entry| entry["name"] == check).map_or(&Value::Null, |entry| &entry["outcome"])
}

#[test]
fn devices_register_by_what_their_chips_prove_and_everybody_can_verify_it() {
    let site = Site::start(&Plan { chip: "mixed", ..Plan::default() });
    let chips: Vec<&str> = site.serials.iter().map(|serial| site.chip(serial)).collect();
    assert!(chips.contains(&"swtpm") && chips.contains(&"software"), "{chips:?}");
    for serial in &site.serials {
        let shown = site.until(serial, "registered", |device| {
            device["management"]["registered"] == true && device["management"]["doing"].is_null()
        });
        assert_eq!((&shown["status"], &shown["level"]), (&json!("Ready"), &json!("L1")), "{shown:#}");
        assert_eq!(living_keys(&site, serial).len(), 1);

        let challenge = Challenge::new([0x3C; 32], "relying party", EvidencePurpose::DeviceKey, now());
        let answer = site.control(&json!({"op": "evidence", "serial": serial, "challenge": challenge}));
        let evidence =
            answer["result"]["evidence"].as_str().unwrap_or_else(|| panic!("no evidence: {answer}"));
        let file = |name: &str, text: &str| {
            std::fs::write(site.path(name), text).expect("a file");
            site.path(name)
        };
        let evidence = file("evidence.jwt", evidence);
        let asked = file("challenge.json", &json!(challenge).to_string());
        let (status, report) = verified(&site, &evidence, &asked);
        assert_eq!(
            (status, &report["verdict"]["level"]),
            (Some(0), &json!("L1")),
            "{} chip: {report:#}",
            site.chip(serial)
        );
        for check in ["challenge", "chip-path", "chip-model", "measurements", "device-mode", "model"] {
            assert_eq!(outcome(&report, check), "pass", "{check}: {report:#}");
        }
        // Replayed for somebody else's challenge it is worth nothing.
        let other = Challenge { nonce: [0x3D; 32], ..challenge };
        let (status, report) = verified(&site, &evidence, &file("other.json", &json!(other).to_string()));
        assert_eq!((status, outcome(&report, "challenge")), (Some(1), &json!("fail")), "{report:#}");

        let pair = captured(&site, serial);
        assert_eq!((pair.level.as_str(), &json!(pair.certificate)), ("L1", &shown["certificate"]["sha256"]));
    }
    let kept = site.path("kept.jwt");
    let serial = &site.serials[0];
    let written = site.cli(&["device", "evidence", serial, "--out", &kept.display().to_string()]);
    assert!(written.status.success(), "{}", printed(&written));
    let shown = site.cli(&["attest", "show", &kept.display().to_string()]);
    assert!(printed(&shown).contains(serial.as_str()), "{}", printed(&shown));
}

#[test]
fn a_device_in_debug_mode_is_refused_by_name_everywhere_and_registers_when_it_is_well() {
    let mut site = Site::without_daemon(&Plan::default());
    let serial = site.serials[0].clone();
    site.ctl(&["fault", &serial, "debug"]);
    site.start_daemon();
    let shown = site.until(&serial, "refused", |device| device["management"]["refusal"].is_object());
    let check = shown["management"]["refusal"]["check"].as_str().unwrap_or_default();
    assert!(DEBUG_CHECKS.contains(&check), "{shown:#}");
    assert_eq!(shown["status"], "Not Registered", "{shown:#}");
    assert!(!site.mgmt(&["devices"]).contains(&serial), "nothing was certified");
    assert!(site.mgmt(&["events", "--serial", &serial]).contains(check), "and the provider knows why");
    let told = printed(&site.cli(&["status"]));
    assert!(told.contains(check) && told.contains("debug"), "{told}");
    assert!(site.log().lines().any(|line| line.contains(check) && line.contains(&serial)), "{}", site.log());

    // Well again, it registers; ill again, it is refused although it is registered.
    site.ctl(&["fault", &serial, "none"]);
    let good = site.ready(&serial);
    assert_eq!(good["level"], "L1", "{good:#}");
    captured(&site, &serial);
    site.ctl(&["fault", &serial, "debug"]);
    let check_of = |device: &Value| {
        let reason = device["reason"].as_str().unwrap_or_default();
        DEBUG_CHECKS.into_iter().find(|check| reason.starts_with(&format!("{check}: ")))
    };
    let shown = site.until(&serial, "refused", |device| check_of(device).is_some());
    assert_eq!(shown["status"], "Not Ready", "{shown:#}");
    let check = check_of(&shown).unwrap_or_default();
    let entry = discovered(&site, &serial);
    let told = entry["error"]["errorInfo"].as_str().unwrap_or_default();
    assert!(told.contains(check), "{entry:#}");
    assert!(printed(&site.cli(&["status"])).contains(check), "{}", printed(&site.cli(&["status"])));
    assert!(site.log().lines().any(|line| line.contains(check) && line.contains(&serial)), "{}", site.log());
    site.ctl(&["fault", &serial, "none"]);
    site.ready(&serial);
}

#[test]
fn de_registration_destroys_the_key_and_only_an_operator_lets_the_device_back() {
    let site = Site::start(&Plan { level: "mixed", ..Plan::default() });
    let levels: Vec<Value> = site.serials.iter().map(|serial| site.ready(serial)["level"].clone()).collect();
    let of = |level: &str| {
        let place = levels.iter().position(|found| *found == level);
        site.serials[place.unwrap_or_else(|| panic!("no {level} device"))].clone()
    };
    for serial in [of("L1"), of("L0")] {
        let device = site.device(&serial);
        let before = captured(&site, &serial);
        let gone = site.cli(&["device", "deregister", &serial]);
        assert!(gone.status.success(), "{}", printed(&gone));
        site.until(&serial, "Not Registered", |device| device["status"] == "Not Registered");
        let told = wait::until(biotrust_tests::site::PATIENCE, || {
            living_keys(&site, &serial).is_empty().then_some(())
        });
        assert!(told.is_some(), "the provider knows: {:#?}", site.registered(&serial));
        let answer = call(site.port, &capture_of(&device)).json();
        assert_ne!(answer["biometrics"][0]["error"]["errorCode"], "0", "{answer:#}");
        let left = std::fs::read_dir(site.path("state")).into_iter().flatten().flatten();
        let left: Vec<_> =
            left.filter(|entry| entry.file_name().to_string_lossy().contains(&serial)).collect();
        assert!(left.is_empty(), "{left:?}");

        // Plugged in again it does not come back by itself; approved it does, with another key.
        site.mgmt(&["approve", &serial]);
        site.ctl(&["unplug", &serial]);
        site.ctl(&["replug", &serial]);
        site.ready(&serial);
        let after = captured(&site, &serial);
        assert_eq!(after.level, before.level);
        assert_ne!(after.certificate, before.certificate);
        assert_eq!(informed(&site, &serial).certificate, after.certificate);
    }
}
