//! The tolerant reader: whatever real clients send is understood.

use biotrust_model::{BioSubType, Modality, ProblemKind, Purpose, SubId};

use crate::client::request;
use crate::fake::{CAPTURED, DISCOVERY, Rig};
use crate::requests::{ANDROID, BROWSER, DESKTOP, DISCOVER_ALL, OLD_BROWSER};

/// Fact 8 too: the desktop client's literal `content-type; charset=UTF-8`.
#[tokio::test]
async fn r1_fact8_any_content_type_or_none() {
    let rig = Rig::start().await;
    for content_type in [
        None,
        Some("content-type; charset=UTF-8"),
        Some("application/json"),
        Some("application/json; charset=utf-8"),
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some(""),
        Some("\u{fc}nknown"),
    ] {
        let mut ask = request(rig.address, "MOSIPDISC", "/device");
        if let Some(content_type) = content_type {
            ask = ask.header(format!("Content-Type: {content_type}"));
        }
        let answer = ask.body(DISCOVER_ALL).send(rig.address).await;
        assert_eq!(answer.text(), DISCOVERY, "{content_type:?}");
    }
}

#[tokio::test]
async fn r2_info_without_body_and_without_length() {
    let rig = Rig::start().await;
    let desktop = request(rig.address, "MOSIPDINFO", "/info")
        .header("Connection: Keep-Alive")
        .header("User-Agent: Apache-HttpClient/4.5.14 (Java/17.0.1)")
        .header("Accept-Encoding: gzip,deflate");
    let answer = desktop.send(rig.address).await;
    assert_eq!((answer.status, answer.text()), (200, "[]"));
    assert!(!answer.has("content-encoding"), "{answer:?}");
    // the tool kit sends an empty object
    let answer = request(rig.address, "MOSIPDINFO", "/info").body("{}").send(rig.address).await;
    assert_eq!((answer.status, answer.text()), (200, "[]"));
}

#[tokio::test]
async fn r3_strings_numbers_and_nulls() {
    let rig = Rig::with(|settings| settings.allow_null_transaction_id = true).await;
    for (verb, body, modality, count, sub_id) in [
        ("RCAPTURE", DESKTOP, Modality::Finger, 4, 1),
        ("CAPTURE", BROWSER, Modality::Finger, 1, 0),
        ("CAPTURE", OLD_BROWSER, Modality::Face, 1, 0),
        ("RCAPTURE", ANDROID, Modality::Iris, 2, 3),
    ] {
        let answer = request(rig.address, verb, "/capture").body(body).send(rig.address).await;
        assert_eq!((answer.status, answer.text()), (200, CAPTURED), "{body}");
        let got = rig.fake.request.lock().unwrap().take().unwrap();
        assert_eq!(
            (got.bio.modality, got.bio.count, got.bio.sub_id),
            (modality, count, SubId(sub_id)),
            "{body}"
        );
        assert_eq!(got.purpose, if verb == "CAPTURE" { Purpose::Auth } else { Purpose::Registration });
    }
}

#[tokio::test]
async fn r3_exceptions_and_domain_come_through() {
    let rig = Rig::start().await;
    request(rig.address, "RCAPTURE", "/capture").body(DESKTOP).send(rig.address).await;
    let got = rig.fake.request.lock().unwrap().take().unwrap();
    assert_eq!(got.bio.exceptions, [BioSubType::LeftRingFinger]);
    assert_eq!(got.domain_uri, "");
    request(rig.address, "CAPTURE", "/capture").body(BROWSER).send(rig.address).await;
    let got = rig.fake.request.lock().unwrap().take().unwrap();
    assert_eq!(got.domain_uri, "https://login.example");
}

#[tokio::test]
async fn r4_capture_time_is_never_a_reason_to_refuse() {
    let rig = Rig::start().await;
    for time in [
        "null",
        "\"\"",
        "\"2026-11-24T08:26:41\"",
        "\"2026-11-24T08:26:41.559005128\"",
        "\"2026-11-24T08:26:41.240Z\"",
        "\"2026-11-24T08:26:41Z\"",
        "\"yesterday\"",
    ] {
        let body = DESKTOP.replace("\"2026-11-24T08:26:41.559005128\"", time);
        let answer = request(rig.address, "RCAPTURE", "/capture").body(body).send(rig.address).await;
        assert_eq!(answer.text(), CAPTURED, "{time}");
    }
}

#[tokio::test]
async fn r5_transaction_id_is_checked_and_kept() {
    let rig = Rig::start().await;
    request(rig.address, "RCAPTURE", "/capture").body(DESKTOP).send(rig.address).await;
    let got = rig.fake.request.lock().unwrap().take().unwrap();
    assert_eq!(got.transaction_id, "2f1e0bb0-7f62-4cf5-8a54-40a1b5c1d0aa");

    let refused = request(rig.address, "RCAPTURE", "/capture").body(ANDROID).send(rig.address).await;
    let code = ProblemKind::InvalidTransactionId.code().to_string();
    assert_eq!(refused.capture_error_code(), code, "null is refused by default");
}

#[tokio::test]
async fn r5_the_switch_gives_each_request_a_fresh_id() {
    let rig = Rig::with(|settings| settings.allow_null_transaction_id = true).await;
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let answer = request(rig.address, "RCAPTURE", "/capture").body(ANDROID).send(rig.address).await;
        assert_eq!(answer.text(), CAPTURED);
        ids.insert(rig.fake.request.lock().unwrap().take().unwrap().transaction_id);
    }
    assert_eq!(ids.len(), 3, "{ids:?}");
}

#[tokio::test]
async fn r26_discovery_passes_the_type_on() {
    let rig = Rig::start().await;
    for (name, seen) in [("Finger", "Some(Finger)"), ("Iris", "Some(Iris)"), ("Face", "Some(Face)")] {
        let body = format!(r#"{{"type":"{name}"}}"#);
        let answer = request(rig.address, "MOSIPDISC", "/device").body(body).send(rig.address).await;
        assert_eq!(answer.json(), serde_json::json!([seen, false]));
    }
    for bad in [r#"{"type":"FINGER"}"#, r#"{"type":""}"#, "{}", "", "[]", "{"] {
        let answer = request(rig.address, "MOSIPDISC", "/device").body(bad).send(rig.address).await;
        answer.check_shape();
        assert_eq!(answer.status, 200, "{bad}");
        let json = answer.json();
        let code = json[0]["error"]["errorCode"].as_str().unwrap();
        assert!(["501", "502", "503"].contains(&code), "{bad}: {json}");
    }
}

/// A body in two pieces was one piece for a peer that read once.
#[tokio::test]
async fn a_body_may_come_in_any_pieces() {
    use tokio::io::AsyncWriteExt as _;
    let rig = Rig::start().await;
    let bytes = request(rig.address, "RCAPTURE", "/capture").body(DESKTOP).bytes();
    for size in [1, 2, 7, bytes.len() - 1] {
        let mut socket = crate::client::connect(rig.address).await;
        socket.set_nodelay(true).unwrap();
        for piece in bytes.chunks(size) {
            socket.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        let answer = crate::client::read_answer(&mut socket).await;
        assert_eq!(answer.text(), CAPTURED, "pieces of {size}");
    }
}

#[tokio::test]
async fn a_body_may_be_chunked() {
    let rig = Rig::start().await;
    for size in [1, 5, DESKTOP.len()] {
        let mut body = Vec::new();
        for piece in DESKTOP.as_bytes().chunks(size) {
            body.extend_from_slice(format!("{:X};ext=1\r\n", piece.len()).as_bytes());
            body.extend_from_slice(piece);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\nTrailer: x\r\n\r\n");
        let ask =
            request(rig.address, "RCAPTURE", "/capture").header("Transfer-Encoding: chunked").raw_body(body);
        assert_eq!(ask.send(rig.address).await.text(), CAPTURED, "chunks of {size}");
    }
}

/// One peer knew two spellings at one place of the head only.
#[tokio::test]
async fn header_names_have_no_case_and_no_place() {
    let rig = Rig::start().await;
    for name in ["content-length", "CONTENT-LENGTH", "Content-length"] {
        let ask = request(rig.address, "MOSIPDISC", "/device")
            .header(format!("{name}:   {}", DISCOVER_ALL.len()))
            .header("X-Last: 1")
            .raw_body(DISCOVER_ALL);
        assert_eq!(ask.send(rig.address).await.text(), DISCOVERY, "{name}");
    }
}

/// No length and no chunks means no body, whatever follows the head.
#[tokio::test]
async fn without_a_length_there_is_no_body() {
    let rig = Rig::start().await;
    let answer = request(rig.address, "MOSIPDISC", "/device").raw_body(DISCOVER_ALL).send(rig.address).await;
    answer.check_shape();
    assert_eq!(answer.json()[0]["error"]["errorCode"], "501");
}

#[tokio::test]
async fn http_1_0_is_answered() {
    let rig = Rig::start().await;
    let bytes = request(rig.address, "MOSIPDISC", "/device").body(DISCOVER_ALL).bytes();
    let bytes = String::from_utf8(bytes).unwrap().replace("HTTP/1.1", "HTTP/1.0");
    let mut socket = crate::client::connect(rig.address).await;
    tokio::io::AsyncWriteExt::write_all(&mut socket, bytes.as_bytes()).await.unwrap();
    assert_eq!(crate::client::read_answer(&mut socket).await.text(), DISCOVERY);
}

#[tokio::test]
async fn expect_continue_is_invited_only_when_the_body_is_wanted() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let rig = Rig::start().await;
    let head = |length: u64| {
        request(rig.address, "RCAPTURE", "/capture")
            .header("Expect: 100-continue")
            .header(format!("Content-Length: {length}"))
            .bytes()
    };
    let mut socket = crate::client::connect(rig.address).await;
    socket.write_all(&head(DESKTOP.len() as u64)).await.unwrap();
    let mut invitation = [0; 25];
    socket.read_exact(&mut invitation).await.unwrap();
    assert_eq!(&invitation, b"HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(DESKTOP.as_bytes()).await.unwrap();
    assert_eq!(crate::client::read_answer(&mut socket).await.text(), CAPTURED);

    let mut socket = crate::client::connect(rig.address).await;
    socket.write_all(&head(2 << 30)).await.unwrap();
    let answer = crate::client::read_answer(&mut socket).await;
    assert_eq!(answer.capture_error_code(), "501", "refused without an invitation");
}
