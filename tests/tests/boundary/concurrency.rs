//! Two clients at once, and what a client sees while another has the device.

use std::time::{Duration, Instant};

use biotrust_tests::http::{Connection, Request, call};
use biotrust_tests::requests::{authentication, registration, registration_of};
use biotrust_tests::{Device, Instance, desktop, wait};
use serde_json::{Value, json};

use super::{all_l1, capture, client};

/// Sends a capture that goes on for its whole timeout, and waits until the device is taken.
fn long_capture(instance: &Instance, device: &Device, timeout: &str) -> Connection {
    let mut body = registration_of(device);
    body["timeout"] = json!(timeout);
    body["bio"][0]["requestedScore"] = json!("100");
    let mut connection = Connection::open(instance.port).unwrap();
    connection.send(&desktop::request("RCAPTURE", "/capture", Some(&body))).unwrap();
    let taken = wait::until(Duration::from_secs(5), || (status(instance, device) == "Busy").then_some(()));
    assert!(taken.is_some(), "the capture began");
    connection
}

fn status(instance: &Instance, device: &Device) -> String {
    let request = Request::new("MOSIPDISC", "/device").json(&json!({"type": device.bio_type}));
    let list = call(instance.port, &request).json();
    let entry = list.as_array().unwrap().iter().find(|entry| entry["deviceId"] == device.id.as_str());
    entry.map(|entry| entry["deviceStatus"].as_str().unwrap_or_default().to_owned()).unwrap_or_default()
}

#[test]
fn a_second_capture_of_a_device_gets_111_at_once_and_disturbs_nothing() {
    let instance = all_l1();
    let device = instance.device("Finger", "Registration");
    let mut first = long_capture(&instance, device, "5000");
    let start = Instant::now();
    let second = capture(instance.port, "RCAPTURE", &registration(device, "1", 4));
    assert_eq!(second.error_code(), "111", "{}", second.text());
    assert!(start.elapsed() < Duration::from_secs(1));
    let reply = first.read_reply().unwrap();
    assert_eq!(reply.error_code(), "0", "{}", reply.text());
    assert_eq!(status(&instance, device), "Ready", "right after the answer");
    assert_eq!(capture(instance.port, "RCAPTURE", &registration(device, "1", 4)).error_code(), "0");
}

#[test]
fn while_a_device_captures_both_lists_say_busy_with_111() {
    let instance = all_l1();
    let device = instance.device("Iris", "Registration");
    let mut first = long_capture(&instance, device, "4000");
    let info = call(instance.port, &Request::new("MOSIPDINFO", "/info")).json();
    let ours = info.as_array().unwrap().iter().find(|entry| {
        let jws = biosim_backends::jws::Jws::parse(entry["deviceInfo"].as_str().unwrap()).unwrap();
        jws.payload().unwrap()["deviceId"] == device.id.as_str()
    });
    let ours = ours.expect("a busy device is listed");
    assert_eq!(ours["error"]["errorCode"], "111");
    let jws = biosim_backends::jws::Jws::parse(ours["deviceInfo"].as_str().unwrap()).unwrap();
    assert_eq!(jws.payload().unwrap()["deviceStatus"], "Busy");
    let _ = first.read_reply().unwrap();
}

#[test]
fn devices_do_not_wait_for_one_another() {
    let instance = all_l1();
    let slow = instance.device("Finger", "Registration");
    let mut first = long_capture(&instance, slow, "8000");
    let start = Instant::now();
    std::thread::scope(|scope| {
        let others: Vec<_> = instance
            .devices
            .iter()
            .filter(|device| device.id != slow.id)
            .map(|device| {
                let instance = &*instance;
                scope.spawn(move || {
                    let (verb, body): (&str, Value) = match device.purpose.as_str() {
                        "Registration" => ("RCAPTURE", registration_of(device)),
                        _ => (
                            "CAPTURE",
                            authentication(
                                device,
                                if device.bio_type == "Face" { &[] } else { &["UNKNOWN"] },
                            ),
                        ),
                    };
                    capture(instance.port, verb, &body).error_code()
                })
            })
            .collect();
        for other in others {
            assert_eq!(other.join().unwrap(), "0");
        }
    });
    println!("five captures beside a waiting one: {:?}", start.elapsed());
    assert_eq!(first.read_reply().unwrap().error_code(), "0");
}

#[test]
fn captures_in_a_row_each_have_their_own_keys_and_times() {
    let instance = all_l1();
    let device = instance.device("Face", "Auth");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let answer = capture(instance.port, "CAPTURE", &authentication(device, &[])).json();
        let entry = &answer["biometrics"][0];
        assert!(seen.insert(entry["sessionKey"].to_string()), "a session key was used twice");
        assert!(seen.insert(entry["hash"].to_string()), "the same record twice");
    }
}

#[test]
fn a_device_is_lost_and_found_without_harm_to_the_others() {
    let instance = all_l1();
    let device = instance.device("Iris", "Registration");
    instance.ctl(&["unplug", &device.id]);
    assert_eq!(status(&instance, device), "", "gone from the list");
    assert_eq!(capture(instance.port, "RCAPTURE", &registration_of(device)).error_code(), "106");
    let (verdict, _) = client(&instance).capture(&registration_of(instance.device("Face", "Registration")));
    assert!(verdict.is_accepted(), "{verdict}");
    instance.ctl(&["replug", &device.id]);
    assert_eq!(status(&instance, device), "Ready");
    let (verdict, _) = client(&instance).capture(&registration_of(device));
    assert!(verdict.is_accepted(), "{verdict}");
}
