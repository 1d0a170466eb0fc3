//! The ten facts that would break a service written from the specification alone.

use std::time::{Duration, Instant};

use biosim_backends::{DigitalIdDomain, info};
use biotrust_tests::desktop::{self as client, Desktop};
use biotrust_tests::http::{Connection, Request, call};
use biotrust_tests::instance::Setup;
use biotrust_tests::mjpeg::DesktopReader;
use biotrust_tests::requests::{authentication, registration, registration_of};
use biotrust_tests::{now, shared};
use serde_json::json;

use super::{all_l1, capture, data, desktop, ida_verdict, page, payload, rcapture};

#[test]
fn f01_a_stream_is_delimited_by_its_end_alone() {
    let instance = all_l1();
    let device = instance.device("Finger", "Registration");
    let mut connection = Connection::open(instance.port).unwrap();
    let body = json!({"deviceId": device.id, "deviceSubId": "1", "timeout": "10000"});
    connection.send(&client::request("STREAM", "/stream", Some(&body))).unwrap();
    let head = connection.read_head().unwrap();
    assert!(head.header("Transfer-Encoding").is_none() && head.header("Content-Length").is_none());
    DesktopReader::new(&mut connection).next_frame().unwrap();
    let start = Instant::now();
    drop(connection); // the client's close() must not have to drain anything
    assert!(start.elapsed() < Duration::from_millis(100));
}

#[test]
fn f02_device_info_stands_two_calls_of_which_the_first_is_thrown_away() {
    let instance = all_l1();
    for _ in 0..3 {
        let (out, _) = desktop(&instance).scan();
        assert_eq!(out.desktop_list.len(), 6, "{}", out.verdict);
    }
}

#[test]
fn f03_no_version_is_advertised_that_the_desktop_client_fails_on() {
    let instance = all_l1();
    let (out, _) = desktop(&instance).scan();
    assert!(!out.desktop_list.is_empty());
    assert!(out.desktop_list.iter().all(|device| device.spec_version == ["0.9.5"]));
}

#[test]
fn f04_registration_data_has_no_domain_uri_and_authentication_data_has() {
    let instance = all_l1();
    let reply = rcapture(&instance, &registration_of(instance.device("Face", "Registration")));
    assert!(payload(&data(&reply, 0)).get("domainUri").is_none());
    let entry = reply.json()["biometrics"][0].clone();
    let mut names: Vec<&String> = entry.as_object().unwrap().keys().collect();
    names.sort_unstable();
    assert_eq!(names, ["data", "error", "hash", "specVersion"]);
    let body = authentication(instance.device("Face", "Auth"), &[]);
    assert_eq!(payload(&data(&capture(&instance, &body), 0))["domainUri"], body["domainUri"]);
}

#[test]
fn f05_success_is_the_string_zero() {
    let instance = all_l1();
    let body = authentication(instance.device("Iris", "Auth"), &["UNKNOWN"]);
    let reply = capture(&instance, &body);
    assert_eq!(reply.json()["biometrics"][0]["error"]["errorCode"], json!("0"));
    assert!(ida_verdict(&instance, &body, &reply).checked("widget"));
}

#[test]
fn f06_no_unsigned_entry_stands_beside_a_signed_one() {
    let instance = all_l1();
    let device = instance.device("Iris", "Registration");
    instance.ctl(&["device", &device.id, "not-registered"]);
    let plain = call(instance.port, &Request::new("MOSIPDINFO", "/info"));
    let browser = page(&instance).fetch("MOSIPDINFO", "/info", None);
    instance.ctl(&["device", &device.id, "ready"]);
    for reply in [plain, browser.unwrap()] {
        let list = reply.json();
        let entries = list.as_array().unwrap();
        assert_eq!(entries.len(), 5);
        assert!(entries.iter().all(|entry| entry["deviceInfo"].as_str().unwrap().split('.').count() == 3));
        assert!(
            info::judge(&reply.body, &instance.keys(), now(), DigitalIdDomain::default())
                .verdict
                .is_accepted()
        );
    }
}

#[test]
fn f07_the_callback_id_can_be_joined_with_a_verbs_path() {
    let instance = all_l1();
    let (out, _) = desktop(&instance).scan();
    let url = format!("{}stream", out.desktop["face_face"].callback_id);
    let path = url
        .strip_prefix(&format!("http://127.0.0.1:{}", instance.port))
        .expect("host and port of the service");
    assert_eq!(path, "/stream");
}

#[test]
fn f08_the_desktop_clients_content_type_is_no_reason_to_refuse() {
    let instance = all_l1();
    let body = registration_of(instance.device("Face", "Registration"));
    let request = client::request("RCAPTURE", "/capture", Some(&body));
    let sent = String::from_utf8(request.to_bytes(instance.port)).unwrap();
    assert!(sent.contains("\r\nContent-Type: content-type; charset=UTF-8\r\n"));
    let reply = call(instance.port, &request);
    assert_eq!((reply.status, reply.error_code().as_str()), (200, "0"));
}

#[test]
fn f09_capture_times_have_second_precision_and_are_now() {
    let instance = all_l1();
    let replies = [
        rcapture(&instance, &registration_of(instance.device("Iris", "Registration"))),
        capture(&instance, &authentication(instance.device("Finger", "Auth"), &["UNKNOWN"])),
    ];
    for reply in replies {
        let token = payload(&data(&reply, 0));
        let id = payload(token["digitalId"].as_str().unwrap());
        for stamp in [&token["timestamp"], &id["dateTime"]] {
            let at = biotrust_model::time::UtcMillis::from_wire(stamp.as_str().unwrap());
            let age = now().since(at.unwrap_or_else(|| panic!("{stamp}")));
            assert!((-1000..10_000).contains(&age), "{stamp} is {age} ms old");
        }
    }
}

#[test]
fn f10_an_l1_registration_passes_the_processor_and_an_l0_one_the_stock_client() {
    let instance = all_l1();
    let body = registration(instance.device("Finger", "Registration"), "3", 2);
    let (verdict, _) = desktop(&instance).capture(&body);
    assert!(verdict.is_accepted() && verdict.checked("x5c subset"), "{verdict}");
    drop(instance);
    let l0 = shared::instance(&Setup { profile: "registration", level: "l0", ..Setup::default() });
    let stock = Desktop { port: l0.port, keys: l0.keys(), digital_id_domain: DigitalIdDomain::Device };
    let (out, _) = stock.scan();
    assert!(out.verdict.is_accepted() && out.desktop.len() == 3, "{}", out.verdict);
    for device in &l0.devices {
        let (verdict, _) = stock.capture(&registration_of(device));
        assert!(verdict.is_accepted(), "{verdict}");
    }
}
