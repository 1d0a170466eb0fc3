//! MOSIPDISC and MOSIPDINFO: members, values, who is listed where, and how fast.

use std::time::{Duration, Instant};

use biosim_backends::{DigitalIdDomain, discovery, info};
use biotrust_tests::browser::Page;
use biotrust_tests::http::{Request, call};
use biotrust_tests::instance::Setup;
use biotrust_tests::{Instance, desktop as client, now, shared};
use serde_json::{Value, json};

use super::{DEVELOPER, all_l1, desktop, page, payload, status_in_discovery};

fn discover(instance: &Instance, bio_type: &str) -> Value {
    let body = json!({"type": bio_type});
    call(instance.port, &client::request("MOSIPDISC", "/device", Some(&body))).json()
}

/// The payloads of all entries of MOSIPDINFO.
fn infos(instance: &Instance) -> Vec<Value> {
    let reply = call(instance.port, &Request::new("MOSIPDINFO", "/info"));
    let list = reply.json();
    list.as_array().unwrap().iter().map(|entry| payload(entry["deviceInfo"].as_str().unwrap())).collect()
}

#[test]
fn r06_device_info_is_fast_although_it_comes_twice() {
    let instance = all_l1();
    for device in &instance.devices {
        instance.ctl(&["rotate-key", &device.id]); // nothing signed is left to reuse
    }
    let start = Instant::now();
    let (out, _) = desktop(&instance).scan();
    let took = start.elapsed();
    assert!(out.verdict.is_accepted(), "{}", out.verdict);
    assert_eq!(out.desktop_list.len(), 6);
    println!("R6: two MOSIPDINFO of six devices with fresh signatures in {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn r07_discovery_is_immediate() {
    let instance = all_l1();
    let mut times: Vec<Duration> = (0..50)
        .map(|_| {
            let start = Instant::now();
            assert_eq!(discover(&instance, "Biometric Device").as_array().unwrap().len(), 6);
            start.elapsed()
        })
        .collect();
    times.sort();
    println!("R7: MOSIPDISC median {:?}, slowest {:?}", times[25], times[49]);
    assert!(times[49] < Duration::from_secs(1) && times[25] < Duration::from_millis(100), "{times:?}");
}

#[test]
fn r10_no_client_meets_a_member_that_it_does_not_know() {
    let instance = all_l1();
    let (out, _) = desktop(&instance).scan();
    assert!(out.verdict.is_accepted(), "{}", out.verdict);
    let list = discover(&instance, "Biometric Device");
    let verdict = discovery::judge(list.to_string().as_bytes());
    assert!(verdict.is_accepted(), "{verdict}");
    assert_eq!(list.as_array().unwrap().len(), 6);
}

#[test]
fn r11_and_r12_the_version_is_exactly_one_and_sub_ids_are_numeric() {
    let instance = all_l1();
    let all: Vec<Value> = discover(&instance, "Biometric Device")
        .as_array()
        .unwrap()
        .iter()
        .cloned()
        .chain(infos(&instance))
        .collect();
    assert_eq!(all.len(), 12);
    for entry in all {
        assert_eq!(entry["specVersion"], json!(["0.9.5"]));
        let ids = entry["deviceSubId"].as_array().unwrap();
        assert!(
            !ids.is_empty()
                && ids.iter().all(|id| id.as_str().is_some_and(|id| id.parse::<u8>().is_ok_and(|n| n < 4)))
        );
    }
}

#[test]
fn r12_sub_ids_are_those_of_the_scanner() {
    let instance = all_l1();
    for (bio_type, purpose, ids) in [
        ("Finger", "Registration", json!(["1", "2", "3"])),
        ("Iris", "Registration", json!(["1", "2", "3"])),
        ("Face", "Registration", json!(["0"])),
        ("Finger", "Auth", json!(["0"])),
        ("Iris", "Auth", json!(["0"])),
        ("Face", "Auth", json!(["0"])),
    ] {
        let device = instance.device(bio_type, purpose);
        let found = discover(&instance, bio_type);
        let entry =
            found.as_array().unwrap().iter().find(|entry| entry["deviceId"] == device.id.as_str()).unwrap();
        assert_eq!(entry["deviceSubId"], ids, "{bio_type} {purpose}");
    }
}

#[test]
fn r13_callback_ids_end_in_a_slash() {
    let instance = all_l1();
    let expected = format!("http://127.0.0.1:{}/", instance.port);
    assert_eq!(expected, instance.text("sbi"));
    for entry in discover(&instance, "Biometric Device").as_array().unwrap().iter().chain(&infos(&instance)) {
        assert_eq!(entry["callbackId"], expected.as_str());
    }
}

#[test]
fn r14_device_ids_are_unique_and_both_lists_agree() {
    let instance = all_l1();
    let discovered = discover(&instance, "Biometric Device");
    let (out, _) = desktop(&instance).scan();
    assert!(!out.verdict.failed("device ids") && !out.verdict.failed("device id"), "{}", out.verdict);
    for device in &out.desktop_list {
        assert_eq!(device.device_code, device.serial_no);
        assert!(discovery::is_available(discovered.to_string().as_bytes(), device), "{device:?}");
    }
}

#[test]
fn r15_every_status_is_spelled_as_clients_compare_it() {
    let instance = all_l1();
    let device = instance.device("Iris", "Registration");
    for (state, spelled) in [
        ("busy", "Busy"),
        ("not-ready", "Not Ready"),
        ("not-registered", "Not Registered"),
        ("ready", "Ready"),
    ] {
        instance.ctl(&["device", &device.id, state]);
        assert_eq!(status_in_discovery(&instance, device).as_deref(), Some(spelled));
        let info = infos(&instance).into_iter().find(|info| info["deviceId"] == device.id.as_str());
        match spelled {
            "Not Registered" => assert!(info.is_none(), "it cannot sign"),
            _ => assert_eq!(info.unwrap()["deviceStatus"], spelled),
        }
    }
}

#[test]
fn r16_an_unregistered_device_hides_no_other() {
    let instance = all_l1();
    let device = instance.device("Finger", "Auth");
    instance.ctl(&["device", &device.id, "not-registered"]);
    let (out, _) = desktop(&instance).scan();
    let browser = page(&instance).fetch("MOSIPDINFO", "/info", None).unwrap();
    let seen = info::judge(&browser.body, &instance.keys(), now(), DigitalIdDomain::default()).browser;
    let listed = status_in_discovery(&instance, device);
    let line = instance.status_of(device);
    instance.ctl(&["device", &device.id, "ready"]);
    assert_eq!(out.desktop_list.len(), 5, "{}", out.verdict);
    assert_eq!(seen.map(|devices| devices.len()), Ok(2), "iris and face for Auth");
    assert_eq!(listed.as_deref(), Some("Not Registered"), "discovery shows it");
    assert_eq!((&line["in_info"], &line["in_discovery"]), (&json!(false), &json!(true)), "{line}");
    assert!(line["left_out"].as_str().is_some_and(|why| !why.is_empty()), "status tells why: {line}");
}

#[test]
fn r16_the_tool_kit_alone_sees_it_as_an_empty_entry() {
    let instance = all_l1();
    let device = instance.device("Finger", "Auth");
    instance.ctl(&["device", &device.id, "not-registered"]);
    let reply = Page::new(instance.port, DEVELOPER).fetch("MOSIPDINFO", "/info", None);
    instance.ctl(&["device", &device.id, "ready"]);
    let list = reply.unwrap().json();
    let empty: Vec<&Value> = list.as_array().unwrap().iter().filter(|e| e["deviceInfo"] == "").collect();
    assert_eq!((list.as_array().unwrap().len(), empty.len()), (6, 1));
    assert_eq!(empty[0]["error"]["errorCode"], "100");
}

#[test]
fn r17_one_purpose_can_be_served_alone() {
    let config = &[("sbi", "purpose = \"registration\"")];
    let instance = shared::instance(&Setup { config, ..Setup::default() });
    let (out, _) = desktop(&instance).scan();
    assert_eq!(out.desktop_list.len(), 3);
    assert!(out.desktop_list.iter().all(|device| device.purpose == "Registration"));
    assert_eq!(discover(&instance, "Biometric Device").as_array().unwrap().len(), 3);
}

#[test]
fn r17_where_both_are_served_the_desktop_client_ends_up_with_registration_devices() {
    let instance = all_l1();
    let (out, _) = desktop(&instance).scan();
    let kept: Vec<(&str, &str)> =
        out.desktop.iter().map(|(kind, device)| (*kind, device.purpose.as_str())).collect();
    for kind in ["face_face", "finger_slab", "iris_double"] {
        assert!(kept.contains(&(kind, "Registration")), "{kept:?}");
    }
}

#[test]
fn r26_discovery_filters_by_type() {
    let instance = all_l1();
    for (bio_type, count) in [("Finger", 2), ("Iris", 2), ("Face", 2), ("Biometric Device", 6)] {
        let list = discover(&instance, bio_type);
        assert_eq!(list.as_array().map(Vec::len), Some(count), "{bio_type}");
        let verdict = discovery::judge(list.to_string().as_bytes());
        assert!(verdict.is_accepted(), "{verdict}");
    }
}

#[test]
fn r26_nothing_of_a_type_is_an_empty_list() {
    let instance = shared::instance(&Setup { profile: "registration", ..Setup::default() });
    let face = instance.device("Face", "Registration");
    instance.ctl(&["unplug", &face.id]);
    let list = discover(&instance, "Face");
    instance.ctl(&["replug", &face.id]);
    assert_eq!(list, json!([]));
}
