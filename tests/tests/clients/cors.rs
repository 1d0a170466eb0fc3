//! What a browser asks before it lets a page call, and what the page may see.

use biotrust_tests::browser::Page;
use biotrust_tests::http::{Connection, call};
use serde_json::json;

use super::{DEVELOPER, ESIGNET, all_l1};

const VERBS: [(&str, &str); 5] = [
    ("MOSIPDISC", "/device"),
    ("MOSIPDINFO", "/info"),
    ("CAPTURE", "/capture"),
    ("RCAPTURE", "/capture"),
    ("STREAM", "/stream"),
];

fn may(port: u16, origin: &str, verb: &str, path: &str) -> bool {
    let page = Page::new(port, origin);
    let preflight = call(port, &page.preflight(verb, path, true));
    page.may_send(&preflight, verb, true).is_ok()
}

#[test]
fn r27_each_origin_may_do_what_it_was_given() {
    let instance = all_l1();
    let allowed = |origin: &str| VERBS.map(|(verb, path)| may(instance.port, origin, verb, path));
    assert_eq!(allowed(ESIGNET), [true, true, true, false, false], "an authentication page");
    assert_eq!(allowed(DEVELOPER), [true; 5], "the tool kit");
    for stranger in [
        "https://evil.example",
        "null",
        "http://esignet.example",
        "https://esignet.example:8443",
        "https://esignet.example.evil.example",
        "https://ESIGNET.example",
    ] {
        assert_eq!(allowed(stranger), [false; 5], "{stranger}");
    }
}

#[test]
fn r27_preflights_name_exact_verbs_headers_age_and_vary() {
    let instance = all_l1();
    let page = Page::new(instance.port, ESIGNET);
    for (verb, path) in [("MOSIPDISC", "/device"), ("MOSIPDINFO", "/info"), ("CAPTURE", "/capture")] {
        let mut connection = Connection::open(instance.port).unwrap();
        connection.send(&page.preflight(verb, path, verb != "MOSIPDINFO")).unwrap();
        let reply = connection.read_reply().unwrap();
        assert!(matches!(reply.status, 200 | 204), "{}", reply.status);
        assert_eq!(reply.header("Access-Control-Allow-Origin"), Some(ESIGNET));
        assert!(
            reply.header("Access-Control-Allow-Methods").is_some_and(|m| m.split(", ").any(|m| m == verb))
        );
        assert_eq!(
            reply.header("Access-Control-Allow-Headers").map(str::to_lowercase).as_deref(),
            Some("content-type")
        );
        assert_eq!(reply.header("Access-Control-Max-Age"), Some("600"));
        assert!(reply.header("Vary").is_some_and(|vary| vary.to_lowercase().contains("origin")));
        assert!(reply.header("Access-Control-Allow-Credentials").is_none());
        assert!(reply.body.is_empty());
    }
}

#[test]
fn r27_a_page_may_read_errors_too_and_a_stranger_nothing() {
    let instance = all_l1();
    let page = Page::new(instance.port, ESIGNET);
    for request in [
        page.request("CAPTURE", "/capture", Some(&json!({}))),
        page.request("RCAPTURE", "/capture", Some(&json!({}))),
        page.request("GET", "/", None),
        page.request("MOSIPDISC", "/device", Some(&json!({"type": "Voice"}))),
    ] {
        let reply = call(instance.port, &request);
        assert!(page.may_see(&reply).is_ok(), "{request:?}: {reply:?}");
        assert!(reply.header("Vary").is_some_and(|vary| vary.to_lowercase().contains("origin")));
    }
    let evil = Page::new(instance.port, "https://evil.example");
    let reply = call(instance.port, &evil.request("MOSIPDISC", "/device", Some(&json!({"type": "Face"}))));
    assert!(reply.status == 403 && evil.may_see(&reply).is_err(), "{reply:?}");
    assert!(!reply.text().contains("deviceId"), "nothing about devices leaks: {}", reply.text());
}

#[test]
fn r27_a_refused_origin_captures_nothing_even_without_a_preflight() {
    let instance = all_l1();
    let device = instance.device("Face", "Registration");
    let body = biotrust_tests::requests::registration(device, "0", 1);
    for origin in [ESIGNET, "https://evil.example", "null"] {
        let reply = call(
            instance.port,
            &Page::new(instance.port, origin).request("RCAPTURE", "/capture", Some(&body)),
        );
        assert!(!reply.text().contains("\"data\":\"ey"), "{origin}: captured");
        assert_eq!(reply.status, 403, "{origin}");
    }
}

#[test]
fn r28_private_network_preflights_are_answered_for_known_origins() {
    let instance = all_l1();
    let ask = |origin: &str| {
        let page = Page::new(instance.port, origin);
        let request = page.preflight("CAPTURE", "/capture", true);
        call(instance.port, &request.header("Access-Control-Request-Private-Network", "true"))
    };
    assert_eq!(ask(ESIGNET).header("Access-Control-Allow-Private-Network"), Some("true"));
    assert_eq!(ask("https://evil.example").header("Access-Control-Allow-Private-Network"), None);
    let unasked =
        call(instance.port, &Page::new(instance.port, ESIGNET).preflight("CAPTURE", "/capture", true));
    assert_eq!(unasked.header("Access-Control-Allow-Private-Network"), None, "only when asked");
}
