//! The strict writer: what every answer looks like.

use std::time::{Duration, Instant};

use biotrust_model::ProblemKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::{connect, read_answer, request, reset};
use crate::fake::{AUTH_PAGE, Capture, DISCOVERY, Rig};
use crate::requests::{BROWSER, DESKTOP, DISCOVER_ALL, STREAM};

#[tokio::test]
async fn r7_discovery_waits_for_nobody() {
    let rig = Rig::start().await;
    rig.script(Capture::Hang);
    *rig.fake.info_delay.lock().unwrap() = Duration::from_secs(60);
    let mut busy = Vec::new();
    for (verb, path, body) in [("RCAPTURE", "/capture", DESKTOP), ("MOSIPDINFO", "/info", "")] {
        let mut socket = connect(rig.address).await;
        socket.write_all(&request(rig.address, verb, path).body(body).bytes()).await.unwrap();
        busy.push(socket);
    }
    rig.until("the capture hangs", |counts| counts.captures == 1).await;
    let asked = Instant::now();
    let answer = request(rig.address, "MOSIPDISC", "/device").body(DISCOVER_ALL).send(rig.address).await;
    assert_eq!(answer.text(), DISCOVERY);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
}

/// Fact 2 too: the desktop client probes every port twice and throws the first answer away unread.
#[tokio::test]
async fn r8_fact2_a_probe_that_is_not_read_does_no_harm() {
    let rig = Rig::start().await;
    *rig.fake.info.lock().unwrap() = vec![b' '; 4 << 20].into();
    for _ in 0..20 {
        let mut socket = connect(rig.address).await;
        socket.write_all(&request(rig.address, "MOSIPDINFO", "/info").bytes()).await.unwrap();
        let mut first = [0; 16];
        socket.read_exact(&mut first).await.unwrap();
        drop(socket);
        let mut socket = connect(rig.address).await;
        socket.write_all(&request(rig.address, "MOSIPDINFO", "/info").bytes()).await.unwrap();
        socket.read_exact(&mut first).await.unwrap();
        reset(socket);
    }
    *rig.fake.info.lock().unwrap() = "[1]".into();
    assert_eq!(request(rig.address, "MOSIPDINFO", "/info").send(rig.address).await.text(), "[1]");
}

/// Needs 127.0.0.2 to be local, as on any Linux.
#[tokio::test]
async fn r9_only_127_0_0_1_is_bound() {
    let rig = Rig::start().await;
    let other = std::net::SocketAddr::from(([127, 0, 0, 2], rig.address.port()));
    assert!(tokio::net::TcpStream::connect(other).await.is_err());
    connect(rig.address).await;
}

#[tokio::test]
async fn r13_fact7_base_url_ends_with_a_slash() {
    assert_eq!(biotrust_daemon::port::base_url(4501), "http://127.0.0.1:4501/");
}

#[tokio::test]
async fn r21_fact5_auth_failure_is_one_entry_with_status_200() {
    let rig = Rig::start().await;
    for kind in ProblemKind::ALL {
        rig.fails_with(*kind);
        let answer = request(rig.address, "CAPTURE", "/capture").body(BROWSER).send(rig.address).await;
        assert_eq!(answer.capture_error_code(), kind.code().to_string());
    }
}

#[tokio::test]
async fn r22_registration_failure_is_one_entry_with_status_200() {
    let rig = Rig::start().await;
    for kind in ProblemKind::ALL {
        rig.fails_with(*kind);
        let answer = request(rig.address, "RCAPTURE", "/capture").body(DESKTOP).send(rig.address).await;
        assert_eq!(answer.capture_error_code(), kind.code().to_string());
    }
}

#[tokio::test]
async fn r22_unreadable_captures_keep_the_envelope() {
    let rig = Rig::start().await;
    for body in ["", "{", "null", "[]", "\u{0}", "{}", &DESKTOP.replace("bio", "bioXXX")] {
        for verb in ["CAPTURE", "RCAPTURE"] {
            let answer = request(rig.address, verb, "/capture").body(body).send(rig.address).await;
            assert!(answer.capture_error_code().starts_with("50"), "{verb} {body}");
        }
    }
    assert_eq!(rig.fake.counts.borrow().captures, 0, "nothing was captured");
}

#[tokio::test]
async fn r30_every_answer_has_the_same_shape_and_closes() {
    let rig = Rig::start().await;
    *rig.fake.stream_problem.lock().unwrap() = Some(ProblemKind::DeviceNotFound.into());
    for (method, path, body) in [
        ("MOSIPDISC", "/device", DISCOVER_ALL),
        ("MOSIPDISC", "/device", "{"),
        ("MOSIPDINFO", "/info", ""),
        ("CAPTURE", "/capture", BROWSER),
        ("RCAPTURE", "/capture", DESKTOP),
        ("STREAM", "/stream", STREAM),
        ("STREAM", "/stream", "{"),
        ("GET", "/device", ""),
        ("MOSIPDISC", "/nowhere", ""),
    ] {
        // reading ends because the other side closes, although this client asks to keep the connection
        let ask = request(rig.address, method, path).header("Connection: Keep-Alive").body(body);
        let answer = ask.send(rig.address).await;
        answer.check_shape();
        for (name, _) in &answer.headers {
            let title =
                name.split('-').all(|word| word.starts_with(|first: char| first.is_ascii_uppercase()));
            assert!(title, "title case: {name}");
        }
    }
}

/// The length counts bytes, and nothing follows them.
#[tokio::test]
async fn r30_length_is_in_bytes() {
    assert_ne!(DISCOVERY.len(), DISCOVERY.chars().count(), "or the test would not show it");
    let rig = Rig::start().await;
    let answer = request(rig.address, "MOSIPDISC", "/device").body(DISCOVER_ALL).send(rig.address).await;
    assert_eq!(answer.header("Content-Length"), Some(DISCOVERY.len().to_string().as_str()));
    assert_eq!(answer.text(), DISCOVERY);
}

#[tokio::test]
async fn r35_unknown_paths_and_verbs_are_answered() {
    let rig = Rig::start().await;
    for path in ["/", "/devices", "/device/", "/Device", "//device", "/admin/status", "/%64evice"] {
        let answer = request(rig.address, "MOSIPDINFO", path).send(rig.address).await;
        assert_eq!((answer.status, answer.error_code().as_str()), (404, "513"), "{path}");
    }
    for (path, allowed) in [
        ("/device", "OPTIONS, MOSIPDISC"),
        ("/info", "OPTIONS, MOSIPDINFO"),
        ("/capture", "OPTIONS, CAPTURE, RCAPTURE"),
        ("/stream", "OPTIONS, STREAM"),
    ] {
        for method in ["GET", "POST", "PUT", "DELETE", "TRACE", "mosipdisc", "PROPFIND", "FOO"] {
            let answer = request(rig.address, method, path)
                .header(format!("Origin: {AUTH_PAGE}"))
                .send(rig.address)
                .await;
            assert_eq!((answer.status, answer.error_code().as_str()), (405, "513"), "{method} {path}");
            assert_eq!(answer.status_line, "HTTP/1.1 405 Method Not Allowed");
            assert_eq!(answer.header("Allow"), Some(allowed));
            assert_eq!(answer.header("Access-Control-Allow-Origin"), Some(AUTH_PAGE));
        }
    }
}

#[tokio::test]
async fn r36_sbidisc_is_refused_cleanly() {
    let rig = Rig::start().await;
    let answer =
        request(rig.address, "SBIDISC", "/device").body(r#"{"type":"Finger"}"#).send(rig.address).await;
    assert_eq!((answer.status, answer.error_code().as_str()), (405, "513"));
    assert_eq!(answer.header("Allow"), Some("OPTIONS, MOSIPDISC"));
}

#[tokio::test]
async fn a_query_does_not_hide_a_path() {
    let rig = Rig::start().await;
    let answer = request(rig.address, "MOSIPDISC", "/device?x=1").body(DISCOVER_ALL).send(rig.address).await;
    assert_eq!(answer.text(), DISCOVERY);
}

/// HEAD has no body by definition; CONNECT and `*` have no path of ours. None of them is left without an answer.
#[tokio::test]
async fn odd_targets_are_answered() {
    let rig = Rig::start().await;
    let mut socket = connect(rig.address).await;
    socket.write_all(&request(rig.address, "HEAD", "/device").bytes()).await.unwrap();
    let answer = read_answer(&mut socket).await;
    assert_eq!((answer.status, answer.body.len()), (405, 0));
    let target = rig.address.to_string();
    assert_eq!(request(rig.address, "CONNECT", &target).send(rig.address).await.status, 404);
    assert_eq!(request(rig.address, "OPTIONS", "*").send(rig.address).await.status, 404);
}

#[tokio::test]
async fn what_is_not_http_is_told_so_in_json() {
    let rig = Rig::start().await;
    for garbage in [
        "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n",
        "MOSIPDINFO\r\n\r\n",
        "MOSIPDINFO /info HTTP/9.9\r\n\r\n",
        "MOSIPDINFO /info HTTP/1.1\r\nHost 127.0.0.1\r\n\r\n",
        "RCAPTURE /capture HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "RCAPTURE /capture HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut socket = connect(rig.address).await;
        socket.write_all(garbage.as_bytes()).await.unwrap();
        let answer = read_answer(&mut socket).await;
        assert_eq!((answer.status, answer.error_code().as_str()), (400, "513"), "{garbage:?}");
    }
}
