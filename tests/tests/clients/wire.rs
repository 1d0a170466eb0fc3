//! HTTP itself: verbs, framings, headers, what becomes of odd requests.

use std::time::Duration;

use biotrust_tests::http::{Connection, Framing, Reply, Request, call, try_call};
use biotrust_tests::instance::Setup;
use biotrust_tests::{Instance, desktop as client, requests};
use serde_json::json;

use super::{DEVELOPER, all_l1, desktop, page};

fn discovery() -> Request {
    Request::new("MOSIPDISC", "/device").json(&json!({"type": "Biometric Device"}))
}

fn lists_six(reply: &Reply) -> bool {
    reply.status == 200 && reply.json().as_array().is_some_and(|list| list.len() == 6)
}

#[test]
fn r01_any_content_type_or_none_is_read_as_json() {
    let instance = all_l1();
    assert!(lists_six(&call(instance.port, &discovery())), "none");
    for content_type in
        ["content-type; charset=UTF-8", "application/json", "text/plain", "application/xml", "nonsense", ""]
    {
        let reply = call(instance.port, &discovery().header("Content-Type", content_type));
        assert!(lists_six(&reply), "{content_type:?}: {}", reply.text());
    }
}

#[test]
fn r02_verbs_work_without_body_and_without_length() {
    let instance = all_l1();
    let reply = call(instance.port, &Request::new("MOSIPDINFO", "/info"));
    assert!(lists_six(&reply), "{}", reply.text());
    let empty = call(instance.port, &Request::new("MOSIPDINFO", "/info").body("{}"));
    assert!(lists_six(&empty), "with a body: {}", empty.text());
}

#[test]
fn r02_bodies_arrive_in_any_framing_and_in_single_bytes() {
    let instance = all_l1();
    for request in [
        discovery().framing(Framing::Chunked(1)),
        discovery().framing(Framing::Chunked(1000)),
        discovery().segments_of(1),
        discovery().framing(Framing::Chunked(3)).segments_of(1),
    ] {
        assert!(lists_six(&call(instance.port, &request)));
    }
    let device = instance.device("Face", "Registration");
    let body = requests::registration(device, "0", 1);
    let reply = call(instance.port, &client::request("RCAPTURE", "/capture", Some(&body)).segments_of(1));
    assert_eq!(reply.error_code(), "0", "{}", reply.text());
    // A client that ends its sending direction with the request is still owed the answer.
    let mut connection = Connection::open(instance.port).unwrap();
    connection.send(&discovery()).unwrap();
    connection.half_close().unwrap();
    assert!(lists_six(&connection.read_reply().unwrap()));
}

#[test]
fn r08_peers_that_leave_after_the_head_do_no_harm() {
    let instance = all_l1();
    let desktop = desktop(&instance);
    for _ in 0..30 {
        desktop.probe().unwrap();
        drop(Connection::open(instance.port).unwrap());
        let mut halfway = Connection::open(instance.port).unwrap();
        halfway.send(&discovery()).unwrap();
    }
    assert!(lists_six(&call(instance.port, &discovery())));
    let log = instance.daemon_log();
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
}

/// Local addresses (hex of /proc/net/tcp) on which a process listens.
fn listening(pid: u32) -> Vec<String> {
    let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()))
        .collect();
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in std::fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (Some(local), Some(&"0A"), Some(inode)) = (fields.get(1), fields.get(3), fields.get(9))
            else {
                continue;
            };
            if sockets.iter().any(|socket| socket == inode) {
                found.push((*local).to_owned());
            }
        }
    }
    found
}

#[test]
fn r09_one_port_on_the_loopback_address_serves_all_devices() {
    let instance = all_l1();
    assert_eq!(listening(instance.pid), [format!("0100007F:{:04X}", instance.port)]);
    assert!(lists_six(&call(instance.port, &discovery())));
}

#[test]
fn r09_the_lowest_free_port_is_taken() {
    let instance = Instance::set_up(&Setup { profile: "registration", port: None, ..Setup::default() });
    assert!((4501..=4600).contains(&instance.port), "{}", instance.port);
    for lower in 4501..instance.port {
        let bind = std::net::TcpListener::bind(("127.0.0.1", lower));
        assert!(bind.is_err(), "port {lower} is free, {} was taken", instance.port);
    }
}

#[test]
fn r29_only_our_own_names_pass_for_host() {
    let instance = all_l1();
    let port = instance.port;
    for good in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("[::1]:{port}"),
        format!("LOCALHOST:{port}"),
    ] {
        assert!(lists_six(&call(port, &discovery().host(&good))), "{good}");
    }
    let bad = [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        "127.0.0.1".to_owned(),
        "127.0.0.1:1".to_owned(),
        format!("127.0.0.1.evil.example:{port}"),
        format!("127.0.0.1:{port}@evil.example"),
        format!("0.0.0.0:{port}"),
        String::new(),
    ];
    for host in bad {
        let reply = call(port, &discovery().host(&host));
        assert!((400..500).contains(&reply.status), "{host:?}: {} {}", reply.status, reply.text());
        assert!(reply.header("Access-Control-Allow-Origin").is_none(), "{host:?}");
    }
    let twice = discovery().header("Host", "evil.example");
    assert!((400..500).contains(&call(port, &twice).status), "a second Host");
    let absolute = Request::new("MOSIPDINFO", "http://evil.example/info");
    assert!((400..500).contains(&call(port, &absolute).status), "another host in the target");
    let own = Request::new("MOSIPDINFO", &format!("http://127.0.0.1:{port}/info"));
    assert!(lists_six(&call(port, &own)), "the written specification's absolute form");
}

#[test]
fn r30_answers_are_utf8_json_of_exact_length_and_the_connection_is_closed() {
    let instance = all_l1();
    let device = instance.device("Face", "Auth");
    let refused = requests::registration(device, "0", 1);
    for request in [
        discovery(),
        Request::new("MOSIPDINFO", "/info"),
        client::request("RCAPTURE", "/capture", Some(&refused)),
        Request::new("GET", "/nowhere"),
    ] {
        let mut connection = Connection::open(instance.port).unwrap();
        connection.send(&request).unwrap();
        let reply = connection.read_reply().unwrap();
        assert_eq!(reply.header("Content-Type"), Some("application/json; charset=utf-8"));
        assert_eq!(reply.header("Content-Length"), Some(reply.body.len().to_string().as_str()));
        assert!(reply.header("Transfer-Encoding").is_none());
        assert!(reply.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close")));
        let _ = reply.json();
        assert!(connection.closed_within(Duration::from_secs(2)), "the service closes");
    }
}

#[test]
fn r30_texts_of_other_languages_are_measured_in_bytes() {
    let config = &[("sbi", "language = \"ar\"")];
    let instance = Instance::set_up(&Setup { profile: "registration", config, ..Setup::default() });
    let body = json!({"env": "Staging"});
    let reply = call(instance.port, &client::request("RCAPTURE", "/capture", Some(&body)));
    let text = reply.json()["biometrics"][0]["error"]["errorInfo"].as_str().unwrap_or_default().to_owned();
    assert!(text.chars().any(|c| ('\u{600}'..'\u{700}').contains(&c)), "{text}");
    assert_eq!(reply.header("Content-Length"), Some(reply.body.len().to_string().as_str()));
}

#[test]
fn r35_unknown_verbs_and_paths_get_json_with_4xx_and_cors() {
    let instance = all_l1();
    let page = page(&instance);
    for (verb, path) in [
        ("MOSIPDINFO", "/device"),
        ("MOSIPDISC", "/info"),
        ("mosipdisc", "/device"),
        ("GET", "/info"),
        ("POST", "/capture"),
        ("CAPTURE", "/"),
        ("MOSIPDISC", "/device/"),
        ("NONSENSE", "/nowhere"),
    ] {
        let reply = call(instance.port, &page.request(verb, path, Some(&json!({}))));
        assert!((400..500).contains(&reply.status), "{verb} {path}: {}", reply.status);
        assert!(
            reply.json()["error"]["errorInfo"].as_str().is_some_and(|text| !text.is_empty()),
            "{verb} {path}"
        );
        assert!(page.may_see(&reply).is_ok(), "{verb} {path}");
    }
}

#[test]
fn r36_sbidisc_is_refused_cleanly() {
    let instance = all_l1();
    let reply = call(instance.port, &client::request("SBIDISC", "/device", Some(&json!({"type": "Finger"}))));
    assert!(matches!(reply.status, 405 | 501), "{}", reply.status);
    assert!(reply.header("Allow").is_some_and(|allow| allow.contains("MOSIPDISC")), "{reply:?}");
    let _ = reply.json();
}

#[test]
fn r35_no_request_is_dropped_without_an_answer() {
    let instance = all_l1();
    for garbage in [
        &b"\r\n\r\n"[..],
        b"HELLO\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
    ] {
        let mut connection = Connection::open(instance.port).unwrap();
        std::io::Write::write_all(&mut connection.stream, garbage).unwrap();
        connection.half_close().unwrap();
        // Whatever cannot be read as HTTP ends in an answer or a closed connection, never in silence.
        if let Ok(reply) = connection.read_reply() {
            assert!((400..600).contains(&reply.status), "{}", reply.status);
        }
    }
    assert!(try_call(instance.port, &discovery()).is_ok_and(|reply| lists_six(&reply)));
    let developer = biotrust_tests::browser::Page::new(instance.port, DEVELOPER);
    assert!(developer.fetch("MOSIPDISC", "/device", Some(&json!({"type": "Face"}))).is_ok());
}
