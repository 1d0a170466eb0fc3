//! A management server that is away, is somebody else's, or knows the time.

use biotrust_tests::http::call;
use biotrust_tests::site::{Plan, Site};
use serde_json::json;

use crate::{capture_of, captured, informed, json_of, printed};

#[test]
fn while_the_server_is_away_everything_but_certificates_goes_on() {
    let mut site = Site::start(&Plan { level: "mixed", ..Plan::default() });
    let serials = site.serials.clone();
    serials.iter().for_each(|serial| drop(site.ready(serial)));
    site.stop_server();
    // Also over a restart, where nothing is left in memory.
    site.stop_daemon();
    site.start_daemon();
    for serial in &serials {
        site.ready(serial);
        let pair = captured(&site, serial);
        assert_eq!(informed(&site, serial), pair);
    }
    let serial = &serials[0];
    let refused = site.cli(&["device", "rotate", serial]);
    assert_eq!(refused.status.code(), Some(1), "{}", printed(&refused));
    let shown = site.until(serial, "told", |device| device["management"]["last"]["text"].is_string());
    let told = shown["management"]["last"]["text"].as_str().unwrap_or_default();
    assert!(told.contains("127.0.0.1"), "it says who did not answer: {told}");
    assert_eq!(captured(&site, serial).certificate, informed(&site, serial).certificate, "and goes on");

    site.start_server();
    let rotated = site.cli(&["device", "rotate", serial, "--json"]);
    assert_eq!(
        json_of(&rotated)["certificate_sha256"],
        informed(&site, serial).certificate,
        "{}",
        printed(&rotated)
    );
}

#[test]
fn a_server_of_another_provider_certifies_nothing_here() {
    let mut site = Site::without_daemon(&Plan::default());
    let serial = site.serials[0].clone();
    // The server's certificate is valid and of a trusted authority; the provider that this host belongs to is another one.
    site.configure("management", "organisation = \"Other Devices Ltd\"");
    site.start_daemon();
    let shown = site.until(&serial, "told why", |device| {
        device["management"]["last"]["text"].as_str().is_some_and(|text| text.contains("is not believed"))
    });
    assert_eq!(shown["status"], "Not Registered", "{shown:#}");
    assert!(shown["certificate"].is_null(), "{shown:#}");
    assert!(site.log().contains("Other Devices Ltd"), "{}", site.log());
    let answer = call(site.port, &capture_of(&site.device(&serial))).json();
    assert_ne!(answer["biometrics"][0]["error"]["errorCode"], "0", "{answer:#}");

    // The control: the same server for a host of its own provider.
    site.configure("management", "organisation = \"Example Devices Ltd\"");
    site.stop_daemon();
    site.start_daemon();
    site.ready(&serial);
    captured(&site, &serial);
}

#[test]
fn where_time_must_be_trusted_nothing_is_ready_before_the_server_has_told_it() {
    let mut site = Site::without_daemon(&Plan::default());
    site.stop_server();
    site.configure("management", "require_time = true");
    site.start_daemon();
    let serial = site.serials[0].clone();
    let status = site.status();
    assert_eq!(status["time"]["trusted"], false, "{status:#}");
    let notices = status["notices"].as_array().cloned().unwrap_or_default();
    assert!(
        notices.iter().any(|notice| notice.as_str().is_some_and(|text| text.contains("time"))),
        "{notices:?}"
    );
    let shown = site.until(&serial, "connected", |device| device["serial"] == serial.as_str());
    assert_ne!(shown["status"], "Ready", "{shown:#}");

    site.start_server();
    site.ready(&serial);
    assert_eq!(site.status()["time"]["trusted"], true);
    let told = json_of(&site.cli(&["device", "time", &serial, "--json"]));
    let skew = told["device"]["skew_ms"].as_i64().unwrap_or(i64::MAX);
    assert!(told["host"]["trusted"] == true && skew.abs() < 2000, "{told:#}");
    captured(&site, &serial);
}

#[test]
fn nothing_that_the_daemon_is_told_starts_a_capture() {
    let site = Site::start(&Plan::default());
    let serial = &site.serials[0];
    site.ready(serial);
    for op in ["capture", "rcapture", "stream", "CAPTURE"] {
        let answer = site.control(&json!({"op": op, "serial": serial}));
        assert_eq!(answer["error"]["code"], "bad_request", "{answer:#}");
    }
    assert!(!site.try_mgmt(&["capture", serial]).status.success(), "its operator has no such order either");
    // An order that there is arrives.
    let before = informed(&site, serial);
    site.mgmt(&["rotate", serial]);
    site.until(serial, "rotated", |device| device["certificate"]["sha256"] != before.certificate.as_str());
    assert!(site.shown(serial)["last_capture"].is_null(), "nothing was captured");
}
