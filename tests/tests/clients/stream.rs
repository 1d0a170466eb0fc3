//! STREAM as the desktop client reads it, alone and during a capture.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use biotrust_tests::http::Connection;
use biotrust_tests::mjpeg::{DesktopReader, check_jpeg, frames_for};
use biotrust_tests::requests::registration;
use biotrust_tests::wait;
use biotrust_tests::{Instance, desktop as client};
use serde_json::{Value, json};

use super::{all_l1, desktop, status_in_discovery};

fn open(instance: &Instance, body: &Value) -> (Connection, biotrust_tests::Reply) {
    let mut connection = Connection::open(instance.port).unwrap();
    connection.send(&client::request("STREAM", "/stream", Some(body))).unwrap();
    let head = connection.read_head().unwrap();
    (connection, head)
}

/// Open previews of a device, by the daemon's own count.
fn streams(instance: &Instance, serial: &biotrust_tests::Device) -> u64 {
    instance.status_of(serial)["streams"].as_u64().unwrap()
}

#[test]
fn r24_the_stream_is_what_the_desktop_reader_takes() {
    let instance = all_l1();
    let device = instance.device("Finger", "Registration");
    let body = json!({"deviceId": device.id, "deviceSubId": "1", "timeout": "10000"});
    let (mut connection, head) = open(&instance, &body);
    assert_eq!(head.status, 200);
    assert!(head.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close")));
    assert!(
        head.header("Transfer-Encoding").is_none() && head.header("Content-Length").is_none(),
        "{head:?}"
    );
    let content_type = head.header("Content-Type").unwrap();
    assert!(content_type.starts_with("multipart/x-mixed-replace") && content_type.contains("boundary="));
    let frames = frames_for(&mut connection, Duration::from_secs(2)).unwrap();
    for frame in &frames {
        check_jpeg(&frame.jpeg).unwrap();
    }
    let gaps: Vec<Duration> = frames.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    let longest = gaps.iter().max().unwrap();
    println!("R24: {} frames in 2 s, longest gap {longest:?}", frames.len());
    assert!(frames.len() >= 6, "3 frames a second at least: {}", frames.len());
    assert!(*longest < Duration::from_secs(5), "no gap over 5 s");
    // A frame is complete with its own write: the reader does not wait for the next one.
    let jpegs: std::collections::BTreeSet<&[u8]> = frames.iter().map(|frame| frame.jpeg.as_slice()).collect();
    assert!(jpegs.len() > 1, "the preview lives");
}

#[test]
fn r24_each_part_has_its_headers_and_a_byte_behind_the_image() {
    let instance = all_l1();
    let device = instance.device("Face", "Registration");
    let (mut connection, _) = open(&instance, &json!({"deviceId": device.id, "deviceSubId": "0"}));
    let mut bytes = Vec::new();
    while bytes.len() < 200_000
        && bytes.windows(16).filter(|w| w.eq_ignore_ascii_case(b"content-length: ")).count() < 3
    {
        bytes.extend(connection.read_some().unwrap());
    }
    let at = bytes.windows(16).position(|window| window == b"Content-Length: ").expect("in this case");
    assert!(at > 0 && !bytes.starts_with(b"Content-Length"), "not at the first byte of a part");
    assert!(bytes[..at].contains(&b'\n'), "a boundary comes before it");
    let digits: String =
        bytes[at + 16..].iter().take_while(|b| b.is_ascii_digit()).map(|b| char::from(*b)).collect();
    let length: usize = digits.parse().unwrap();
    let blank = at + bytes[at..].windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    assert!(!bytes[..blank].contains(&0xff), "no 0xFF before the image");
    let image = &bytes[blank..blank + length];
    check_jpeg(image).unwrap();
    assert_eq!(&bytes[blank + length..blank + length + 2], b"\r\n", "CRLF right behind the image");
}

#[test]
fn r24_the_stream_stops_when_the_peer_leaves_and_at_its_timeout() {
    let instance = all_l1();
    let device = instance.device("Iris", "Registration");
    let (mut connection, frame, first) = desktop(&instance).open_stream(&device.id, "3").unwrap();
    check_jpeg(&frame.jpeg).unwrap();
    println!("R24: first frame after {first:?}");
    assert_eq!(streams(&instance, device), 1);
    DesktopReader::new(&mut connection).next_frame().unwrap();
    drop(connection);
    let stopped = wait::until(Duration::from_secs(3), || (streams(&instance, device) == 0).then_some(()));
    assert!(stopped.is_some(), "the stream goes on without a reader");

    let start = Instant::now();
    let (mut connection, _) =
        open(&instance, &json!({"deviceId": device.id, "deviceSubId": "3", "timeout": "1000"}));
    let mut reader = DesktopReader::new(&mut connection);
    let end = loop {
        if let Err(error) = reader.next_frame() {
            break error;
        }
    };
    assert_eq!(end.kind(), ErrorKind::UnexpectedEof, "closed by the service");
    let took = start.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_millis(3000)).contains(&took), "{took:?}");
}

#[test]
fn r24_what_cannot_be_streamed_is_refused_and_closed_at_once() {
    let instance = all_l1();
    let start = Instant::now();
    for body in [json!({"deviceId": "BT0000000000", "deviceSubId": "1"}), json!({}), json!({"deviceId": 1})] {
        let (mut connection, head) = open(&instance, &body);
        assert!(head.header("Content-Type").is_some_and(|t| t.starts_with("application/json")), "{head:?}");
        while connection.read_some().is_ok() {}
    }
    assert!(start.elapsed() < Duration::from_secs(2), "the client waits for frames until it is closed");
}

#[test]
fn r25_a_device_captures_while_it_streams_and_is_ready_again() {
    let instance = all_l1();
    let device = instance.device("Finger", "Registration");
    let desktop = desktop(&instance);
    let (out, _) = desktop.scan();
    let seen = &out.desktop["finger_slab"];
    for _ in 0..3 {
        assert!(desktop.is_available(seen), "the three checks before a capture");
    }
    let (mut preview, _, _) = desktop.open_stream(&device.id, "1").unwrap();
    assert!(desktop.is_available(seen), "a stream does not make it Busy");
    let (verdict, _) = desktop.capture(&registration(device, "1", 4));
    assert!(verdict.is_accepted(), "{verdict}");
    for _ in 0..3 {
        assert_eq!(
            status_in_discovery(&instance, device).as_deref(),
            Some("Ready"),
            "right after the answer"
        );
    }
    let more = frames_for(&mut preview, Duration::from_millis(500)).unwrap();
    assert!(!more.is_empty(), "the preview goes on after the capture");
}
