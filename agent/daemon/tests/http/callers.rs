//! Who may call: `Host` against rebinding, `Origin` against foreign pages, preflights for our own.

use biotrust_daemon::http::Settings;

use crate::client::{Answer, request};
use crate::fake::{AUTH_PAGE, CAPTURED, DEVELOPER_PAGE, DISCOVERY, REGISTRATION_PAGE, Rig};
use crate::requests::{BROWSER, DESKTOP, DISCOVER_ALL, STREAM};

/// Every operation with a body that it accepts.
const OPERATIONS: [(&str, &str, &str); 5] = [
    ("MOSIPDISC", "/device", DISCOVER_ALL),
    ("MOSIPDINFO", "/info", ""),
    ("CAPTURE", "/capture", BROWSER),
    ("RCAPTURE", "/capture", DESKTOP),
    ("STREAM", "/stream", STREAM),
];

/// What a page may do: discover, info, capture, rcapture, stream.
const PAGES: [(&str, [bool; 5]); 3] = [
    (AUTH_PAGE, [true, true, true, false, false]),
    (REGISTRATION_PAGE, [true, true, false, true, true]),
    (DEVELOPER_PAGE, [true; 5]),
];

async fn rig() -> Rig {
    let rig = Rig::start().await;
    // a preview that fails at once is an answer like any other, and ends
    *rig.fake.stream_problem.lock().unwrap() = Some(biotrust_model::ProblemKind::NotReady.into());
    rig
}

#[tokio::test]
async fn r29_rebound_names_are_refused_before_anything_else() {
    let rig = rig().await;
    let port = rig.address.port();
    for (host, status) in [
        (format!("127.0.0.1:{port}"), 200),
        (format!("localhost:{port}"), 200),
        (format!("LOCALHOST:{port}"), 200),
        (format!("[::1]:{port}"), 200),
        (format!("rebound.example:{port}"), 403),
        (format!("127.0.0.1.rebound.example:{port}"), 403),
        ("127.0.0.1".to_owned(), 403),
        ("127.0.0.1:1".to_owned(), 403),
        (String::new(), 403),
    ] {
        let ask = request(rig.address, "MOSIPDISC", "/device").without_host().header(format!("Host: {host}"));
        let answer = ask.body(DISCOVER_ALL).send(rig.address).await;
        assert_eq!(answer.status, status, "{host}");
        assert!(!answer.has("access-control-allow-origin"));
        if status == 403 {
            assert_eq!(answer.error_code(), "512");
        }
    }
    // before path and verb are looked at, and whatever origin is claimed
    for (method, path) in [("MOSIPDISC", "/nowhere"), ("GET", "/device"), ("OPTIONS", "/device")] {
        let ask = request(rig.address, method, path).without_host().header("Host: rebound.example:4501");
        let answer = ask.header(format!("Origin: {DEVELOPER_PAGE}")).send(rig.address).await;
        assert_eq!((answer.status, answer.error_code().as_str()), (403, "512"), "{method} {path}");
        assert!(!answer.has("access-control-allow-origin"));
    }
}

#[tokio::test]
async fn r29_host_is_there_exactly_once() {
    let rig = rig().await;
    let none = request(rig.address, "MOSIPDISC", "/device").without_host().body(DISCOVER_ALL);
    assert_eq!(none.send(rig.address).await.status, 403);
    let twice = request(rig.address, "MOSIPDISC", "/device").header(format!("Host: {}", rig.address));
    assert_eq!(twice.body(DISCOVER_ALL).send(rig.address).await.status, 403);
}

#[tokio::test]
async fn r29_an_absolute_target_must_be_ours_too() {
    let rig = rig().await;
    let ours = format!("http://{}/device", rig.address);
    assert_eq!(
        request(rig.address, "MOSIPDISC", &ours).body(DISCOVER_ALL).send(rig.address).await.text(),
        DISCOVERY
    );
    let foreign = format!("http://rebound.example:{}/device", rig.address.port());
    assert_eq!(
        request(rig.address, "MOSIPDISC", &foreign).body(DISCOVER_ALL).send(rig.address).await.status,
        403
    );
}

#[tokio::test]
async fn programs_may_do_everything() {
    let rig = rig().await;
    for (method, path, body) in OPERATIONS {
        let answer = request(rig.address, method, path).body(body).send(rig.address).await;
        assert_eq!(answer.status, 200, "{method}");
        assert!(!answer.has("access-control-allow-origin"));
    }
}

#[tokio::test]
async fn each_page_does_what_its_list_says() {
    let rig = rig().await;
    for (page, may) in PAGES {
        for ((method, path, body), may) in OPERATIONS.into_iter().zip(may) {
            let ask = request(rig.address, method, path).header(format!("Origin: {page}"));
            let answer = ask.body(body).send(rig.address).await;
            assert_eq!(answer.status, if may { 200 } else { 403 }, "{page} {method}");
            if !may {
                assert_eq!(answer.error_code(), "512");
            }
            assert_eq!(answer.header("Access-Control-Allow-Origin"), Some(page), "it may read the refusal");
            assert_eq!(answer.header("Vary"), Some("Origin"));
            assert!(!answer.has("access-control-allow-credentials"));
        }
    }
}

#[tokio::test]
async fn strangers_may_do_nothing_and_read_nothing() {
    let rig = rig().await;
    for origin in [
        "null",
        "",
        "https://evil.example",
        "https://login.example.evil.example",
        "http://login.example",
        "https://login.example:8443",
        "https://login.example/",
        "https://LOGIN.example",
        "https://login.example, https://login.example",
        "*",
    ] {
        for (method, path, body) in OPERATIONS {
            let ask = request(rig.address, method, path).header(format!("Origin: {origin}"));
            let answer = ask.body(body).send(rig.address).await;
            assert_eq!((answer.status, answer.error_code().as_str()), (403, "512"), "{origin} {method}");
            assert!(!answer.has("access-control-allow-origin"), "{origin} {method}");
        }
    }
    let twice = request(rig.address, "MOSIPDISC", "/device");
    let twice = twice.header(format!("Origin: {AUTH_PAGE}")).header(format!("Origin: {AUTH_PAGE}"));
    let answer = twice.body(DISCOVER_ALL).send(rig.address).await;
    assert_eq!(answer.status, 403);
    assert!(!answer.has("access-control-allow-origin"));
    let counts = *rig.fake.counts.borrow();
    assert_eq!((counts.captures, counts.streams), (0, 0));
}

#[tokio::test]
async fn a_developer_page_sees_every_device() {
    let rig = rig().await;
    let ask = |page: &str| request(rig.address, "MOSIPDINFO", "/info").header(format!("Origin: {page}"));
    assert_eq!(ask(DEVELOPER_PAGE).send(rig.address).await.text(), "[\"developer\"]");
    assert_eq!(ask(REGISTRATION_PAGE).send(rig.address).await.text(), "[]");
}

fn preflight(rig: &Rig, path: &str, page: &str, method: &str) -> crate::client::Request {
    request(rig.address, "OPTIONS", path)
        .header(format!("Origin: {page}"))
        .header(format!("Access-Control-Request-Method: {method}"))
        .header("Access-Control-Request-Headers: content-type")
}

fn methods(answer: &Answer) -> Option<&str> {
    answer.header("Access-Control-Allow-Methods")
}

#[tokio::test]
async fn r27_preflights_name_exactly_what_the_page_may_do() {
    let rig = rig().await;
    for (page, path, expected) in [
        (AUTH_PAGE, "/device", "MOSIPDISC"),
        (AUTH_PAGE, "/info", "MOSIPDINFO"),
        (AUTH_PAGE, "/capture", "CAPTURE"),
        (REGISTRATION_PAGE, "/capture", "RCAPTURE"),
        (REGISTRATION_PAGE, "/stream", "STREAM"),
        (DEVELOPER_PAGE, "/capture", "CAPTURE, RCAPTURE"),
    ] {
        let answer = preflight(&rig, path, page, "RCAPTURE").send(rig.address).await;
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{page} {path}");
        assert_eq!(methods(&answer), Some(expected));
        assert_eq!(answer.header("Access-Control-Allow-Origin"), Some(page));
        assert_eq!(answer.header("Access-Control-Allow-Headers"), Some("content-type"));
        assert_eq!(answer.header("Access-Control-Max-Age"), Some("600"));
        assert_eq!(answer.header("Vary"), Some("Origin"));
        assert_eq!(answer.header("Connection"), Some("close"));
        assert!(!answer.has("content-length") && !answer.has("transfer-encoding"), "{answer:?}");
    }
}

#[tokio::test]
async fn r27_preflights_of_strangers_are_refused() {
    let rig = rig().await;
    for path in ["/device", "/info", "/capture", "/stream"] {
        for origin in ["https://evil.example", "null"] {
            let answer = preflight(&rig, path, origin, "CAPTURE").send(rig.address).await;
            assert_eq!((answer.status, answer.error_code().as_str()), (403, "512"));
            assert!(!answer.has("access-control-allow-origin") && methods(&answer).is_none());
        }
    }
    // a page that we know, where it may do nothing
    let answer = preflight(&rig, "/stream", AUTH_PAGE, "STREAM").send(rig.address).await;
    assert_eq!(answer.status, 403);
    assert!(methods(&answer).is_none());
}

#[tokio::test]
async fn r27_without_an_origin_options_tells_what_there_is() {
    let rig = rig().await;
    let answer = request(rig.address, "OPTIONS", "/capture").send(rig.address).await;
    assert_eq!((answer.status, answer.header("Allow")), (204, Some("OPTIONS, CAPTURE, RCAPTURE")));
    assert!(methods(&answer).is_none());
}

#[tokio::test]
async fn r27_without_origins_in_the_configuration_no_page_gets_in() {
    let rig = Rig::with(|settings: &mut Settings| settings.origins = Default::default()).await;
    for page in [AUTH_PAGE, REGISTRATION_PAGE, DEVELOPER_PAGE] {
        assert_eq!(preflight(&rig, "/device", page, "MOSIPDISC").send(rig.address).await.status, 403);
    }
    let program = request(rig.address, "CAPTURE", "/capture").body(BROWSER).send(rig.address).await;
    assert_eq!(program.text(), CAPTURED);
}

#[tokio::test]
async fn r28_private_network_access_is_granted_to_our_pages_when_asked() {
    let rig = rig().await;
    let name = "Access-Control-Allow-Private-Network";
    let asked = |page: &str| {
        preflight(&rig, "/device", page, "MOSIPDISC").header("Access-Control-Request-Private-Network: true")
    };
    assert_eq!(asked(AUTH_PAGE).send(rig.address).await.header(name), Some("true"));
    assert!(!asked("https://evil.example").send(rig.address).await.has(name));
    let unasked = preflight(&rig, "/device", AUTH_PAGE, "MOSIPDISC");
    assert!(!unasked.send(rig.address).await.has(name));
}
