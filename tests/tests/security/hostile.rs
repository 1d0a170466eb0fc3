//! Peers that are slow, large, many or rude. Each test has an instance of its own, with small limits where time is the matter.

use std::io::Write as _;
use std::time::{Duration, Instant};

use biotrust_tests::http::{Connection, Framing, Request, call, try_call};
use biotrust_tests::instance::Setup;
use biotrust_tests::{Instance, Reply, wait};
use serde_json::json;

fn discovery() -> Request {
    Request::new("MOSIPDISC", "/device").json(&json!({"type": "Biometric Device"}))
}

fn serves(instance: &Instance) -> Duration {
    let start = Instant::now();
    let reply = call(instance.port, &discovery());
    assert_eq!(reply.status, 200, "{}", reply.text());
    start.elapsed()
}

fn instance(config: &[(&str, &str)]) -> Instance {
    Instance::set_up(&Setup { profile: "registration", level: "l0", config, ..Setup::default() })
}

/// Feeds `bytes` one at a time until the service has had enough; answers how long that took.
fn drip(connection: &mut Connection, bytes: &[u8]) -> Duration {
    let start = Instant::now();
    for byte in bytes.iter().cycle() {
        if connection.stream.write_all(&[*byte]).is_err()
            || connection.closed_within(Duration::from_millis(100))
        {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "it is let on for ever");
    }
    start.elapsed()
}

#[test]
fn slow_heads_and_bodies_are_cut_off_while_others_are_served() {
    let instance = instance(&[("limits", "header_seconds = 2"), ("limits", "idle_seconds = 2")]);
    let mut head = Connection::open(instance.port).unwrap();
    head.stream.write_all(b"MOSIPDISC /device HTTP/1.1\r\nX: ").unwrap();
    let mut body = Connection::open(instance.port).unwrap();
    let start_of_body = format!(
        "RCAPTURE /capture HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 200000\r\n\r\n",
        instance.port
    );
    body.stream.write_all(start_of_body.as_bytes()).unwrap();
    let mut silent = Connection::open(instance.port).unwrap();
    let (for_head, for_body) = std::thread::scope(|scope| {
        let head = scope.spawn(|| drip(&mut head, b"a"));
        let body = scope.spawn(|| drip(&mut body, b" "));
        for _ in 0..20 {
            assert!(serves(&instance) < Duration::from_secs(1));
        }
        (head.join().unwrap(), body.join().unwrap())
    });
    println!("a dripping head was cut off after {for_head:?}, a dripping body after {for_body:?}");
    for time in [for_head, for_body] {
        assert!((Duration::from_millis(1500)..Duration::from_secs(8)).contains(&time), "{time:?}");
    }
    // By now its time is over as well; it may have been told so.
    let start = Instant::now();
    while silent.read_some().is_ok() {}
    assert!(start.elapsed() < Duration::from_secs(5), "a connection that says nothing is closed");
}

#[test]
fn huge_bodies_are_refused_in_constant_memory() {
    let instance = instance(&[]);
    serves(&instance);
    let before = instance.daemon_memory_kib("VmRSS");
    // Announced: refused before a byte of it is read.
    for length in ["2147483648", "262145", "18446744073709551615", "99999999999999999999"] {
        let mut connection = Connection::open(instance.port).unwrap();
        let head = format!(
            "RCAPTURE /capture HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: {length}\r\n\r\n",
            instance.port
        );
        connection.stream.write_all(head.as_bytes()).unwrap();
        let reply = connection.read_reply().unwrap();
        assert!(matches!(reply.status, 400 | 413) || reply.error_code() != "0", "{length}: {}", reply.status);
    }
    // Unannounced: 256 MB in chunks, as far as it is taken.
    let mut connection = Connection::open(instance.port).unwrap();
    let head = format!(
        "RCAPTURE /capture HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nTransfer-Encoding: chunked\r\n\r\n",
        instance.port
    );
    connection.stream.write_all(head.as_bytes()).unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    let mut taken = 0;
    while taken < 256 << 20 && connection.stream.write_all(&chunk).is_ok() {
        taken += 0x10000;
    }
    let after = instance.daemon_memory_kib("VmHWM");
    println!(
        "{} MiB of a chunked body were taken; memory {before} KiB before, {after} KiB at most",
        taken >> 20
    );
    assert!(after.saturating_sub(before) < 32 * 1024, "{before} -> {after} KiB");
    assert!(serves(&instance) < Duration::from_secs(1));
    let largest = Request::new("RCAPTURE", "/capture").body(vec![b' '; 256 * 1024]);
    assert_eq!(call(instance.port, &largest).error_code(), "501", "256 KiB are taken and read");
    let too_large: Reply =
        call(instance.port, &Request::new("RCAPTURE", "/capture").body(vec![b' '; 256 * 1024 + 1]));
    assert!(too_large.status == 413 || too_large.error_code().starts_with('5'), "{}", too_large.status);
}

#[test]
fn huge_heads_are_refused() {
    let instance = instance(&[]);
    let long = "x".repeat(20 * 1024);
    let requests = [
        discovery().header("X-Long", &long),
        Request::new("MOSIPDISC", &format!("/{long}")),
        (0..2000).fold(discovery(), |request, i| request.header(&format!("X-{i}"), "y")),
    ];
    for request in requests {
        match try_call(instance.port, &request) {
            Ok(reply) => assert!(matches!(reply.status, 400 | 414 | 431), "{}", reply.status),
            Err(error) => println!("cut off: {error}"),
        }
        serves(&instance);
    }
}

#[test]
fn a_flood_of_connections_is_refused_and_passes() {
    let instance = instance(&[("limits", "connections = 16"), ("limits", "header_seconds = 3")]);
    serves(&instance);
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", instance.pid)).unwrap().count();
    let before = descriptors();
    let held: Vec<Connection> = (0..200).filter_map(|_| Connection::open(instance.port).ok()).collect();
    assert!(held.len() > 16);
    // While all places are taken, a real client is told so at once.
    let start = Instant::now();
    match try_call(instance.port, &discovery()) {
        Ok(reply) => assert!(matches!(reply.status, 200 | 503), "{}", reply.status),
        Err(error) => println!("over the limit: {error}"),
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    // The places become free again although nobody has let go.
    let served = wait::until(Duration::from_secs(10), || {
        try_call(instance.port, &discovery()).ok().filter(|reply| reply.status == 200)
    });
    println!("served again after {:?}", start.elapsed());
    assert!(served.is_some(), "idle connections keep everybody out");
    drop(held);
    let freed = wait::until(Duration::from_secs(10), || (descriptors() <= before + 4).then_some(()));
    assert!(freed.is_some(), "{before} descriptors before, {} after", descriptors());
}

#[test]
fn previews_of_a_device_are_limited_and_places_come_back() {
    let instance = instance(&[("limits", "streams_per_device = 2")]);
    let device = instance.device("Face", "Registration").clone();
    let open = || {
        let mut connection = Connection::open(instance.port).unwrap();
        let body = json!({"deviceId": device.id, "deviceSubId": "0"});
        connection.send(&Request::new("STREAM", "/stream").json(&body)).unwrap();
        let head = connection.read_head().unwrap();
        let is_stream = head.header("Content-Type").is_some_and(|t| t.starts_with("multipart"));
        (connection, is_stream)
    };
    let (first, second) = (open(), open());
    assert!(first.1 && second.1);
    let (mut third, is_stream) = open();
    assert!(!is_stream, "a third preview");
    let refusal = String::from_utf8(third.read_some().unwrap()).unwrap();
    assert!(refusal.contains("\"511\""), "{refusal}");
    drop(first);
    let again = wait::until(Duration::from_secs(5), || open().1.then_some(()));
    assert!(again.is_some(), "the place of one that has left is not given away");
}

#[test]
fn a_reader_who_stops_reading_holds_nothing_up() {
    let instance = instance(&[("limits", "idle_seconds = 2")]);
    let device = instance.device("Finger", "Registration").clone();
    let mut lazy = Connection::open(instance.port).unwrap();
    let body = json!({"deviceId": device.id, "deviceSubId": "1"});
    lazy.send(&Request::new("STREAM", "/stream").json(&body)).unwrap();
    let _ = lazy.read_head().unwrap();
    let before = instance.daemon_memory_kib("VmRSS");
    let ended = wait::until(Duration::from_secs(15), || {
        assert!(serves(&instance) < Duration::from_secs(1));
        (instance.status_of(&device)["streams"] == 0).then_some(())
    });
    assert!(ended.is_some(), "a preview that nobody takes goes on");
    let after = instance.daemon_memory_kib("VmRSS");
    assert!(after.saturating_sub(before) < 16 * 1024, "{before} -> {after} KiB");
    let reply = call(
        instance.port,
        &biotrust_tests::desktop::request(
            "RCAPTURE",
            "/capture",
            Some(&biotrust_tests::requests::registration(&device, "1", 4)),
        ),
    );
    assert_eq!(reply.error_code(), "0");
}

#[test]
fn smuggling_and_pipelining_get_one_answer_at_most() {
    let instance = instance(&[]);
    let port = instance.port;
    let body = "{\"type\":\"Face\"}";
    let both = format!(
        "MOSIPDISC /device HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{body}",
        body.len()
    );
    let two_lengths = format!(
        "MOSIPDISC /device HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 2\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for text in [both, two_lengths] {
        let mut connection = Connection::open(port).unwrap();
        connection.stream.write_all(text.as_bytes()).unwrap();
        if let Ok(reply) = connection.read_reply() {
            assert!(
                reply.status >= 400 || connection.closed_within(Duration::from_secs(3)),
                "{}",
                reply.status
            );
        }
    }
    let mut connection = Connection::open(port).unwrap();
    let twice = [discovery().to_bytes(port), discovery().to_bytes(port)].concat();
    connection.stream.write_all(&twice).unwrap();
    assert_eq!(connection.read_reply().unwrap().status, 200);
    assert!(connection.read_reply().is_err(), "the connection closes after one answer");
    let chunked = discovery().framing(Framing::Chunked(7));
    assert_eq!(call(port, &chunked).status, 200);
}
