//! SPDM messages between both roles: tags, order, limits, sessions.

use biotrust_driver_api::DeviceErrorKind;
use biotrust_model::Level;
use biotrust_spdm::{MAX_MESSAGE, Responder, message::ErrorCode};
use proptest::prelude::*;

use crate::device::{DeviceRole, Incoming, SpdmTicket};
use crate::host::{HostRole, Received};
use crate::mctp::{self, DEVICE_EID, Framing, HOST_EID, Route, Tag};
use crate::message::{Request, Response, VERSION};
use crate::{LinkError, testing};

/// A host and a device after HELLO.
fn pair() -> (HostRole, DeviceRole) {
    let (mut host, mut device) = (HostRole::new(1), DeviceRole::new());
    greet(&mut host, &mut device);
    (host, device)
}

fn greet(host: &mut HostRole, device: &mut DeviceRole) {
    let (_, line) = host.request(Request::Hello(VERSION)).unwrap();
    let Some(Incoming::Request { ticket, .. }) = device.receive(&line).pop() else { panic!("refused") };
    let answer = device.respond(ticket, Ok(Response::Hello(testing::description(Level::L1))));
    assert_eq!(received(host, &answer).unwrap().len(), 1);
}

fn received(host: &mut HostRole, line: &[u8]) -> Result<Vec<Received>, LinkError> {
    let mut received = Vec::new();
    host.receive(line, &mut received).map(|()| received)
}

/// The one SPDM message in `incoming`.
fn question(mut incoming: Vec<Incoming>) -> (SpdmTicket, Vec<u8>) {
    assert_eq!(incoming.len(), 1);
    match incoming.remove(0) {
        Incoming::Spdm { ticket, message } => (ticket, message.to_vec()),
        other => panic!("{other:?}"),
    }
}

/// The one SPDM message that the host received.
fn answer(mut received: Vec<Received>) -> (u32, Vec<u8>) {
    assert_eq!(received.len(), 1);
    match received.remove(0) {
        Received::Spdm { id, message } => (id, message.to_vec()),
        other => panic!("{other:?}"),
    }
}

/// An SPDM message from the device under any tag.
fn from_device(value: u8, owner: bool, message: &[u8]) -> Vec<u8> {
    let route = Route { source: DEVICE_EID, destination: HOST_EID, tag: Tag { value, owner } };
    mctp::encode(Framing::Serial, route, &mctp::spdm(message))
}

/// Frames on a line, with a flag at both ends.
fn frames(line: &[u8]) -> Vec<Vec<u8>> {
    let pieces = line.split(|b| *b == 0x7E).filter(|piece| !piece.is_empty());
    pieces.map(|piece| [&[0x7E], piece, &[0x7E]].concat()).collect()
}

/// The tag on the first packet of `line`: after flag, revision, count, version, destination, source.
fn tag_of(line: &[u8]) -> u8 {
    line[6] & 7
}

#[test]
fn messages_of_all_sizes_go_there_and_back_beside_others() {
    let (mut host, mut device) = pair();
    for length in [1, 4, 246, 247, 248, 5000, MAX_MESSAGE] {
        let message: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
        let (capture, line) = host
            .request(Request::Capture(Box::new(testing::capture_job(&[], std::time::Duration::from_secs(1)))))
            .unwrap();
        let Some(Incoming::Request { ticket: captures, .. }) = device.receive(&line).pop() else { panic!() };
        let (id, line) = host.spdm(&message).unwrap();
        let (ticket, came) = question(device.receive(&line));
        assert_eq!(came, message);
        let reply = device.respond_spdm(ticket, &message);
        assert_eq!(answer(received(&mut host, &reply).unwrap()), (id, message));
        assert_eq!(host.take_unasked(), 0);
        let refused = device.respond(captures, Err((DeviceErrorKind::Cancelled, String::new())));
        let came = received(&mut host, &refused).unwrap();
        assert!(matches!(&came[..], [Received::Response { id, .. }] if *id == capture));
    }
    assert_eq!(host.spdm(&vec![0; MAX_MESSAGE + 1]).unwrap_err(), LinkError::TooLong { limit: MAX_MESSAGE });
}

#[test]
fn the_examples_of_the_manual_are_what_is_sent() {
    let manual = include_str!("../../../docs/developers/link-protocol.md");
    let (mut host, mut device) = (HostRole::new(1), DeviceRole::new());
    let (_, asked) = host.spdm(&[0x10, 0x84, 0, 0]).unwrap();
    let (ticket, _) = question(device.receive(&asked));
    let answered = device.respond_spdm(ticket, &[0x10, 4, 0, 0, 0, 1, 0, 0x12]);
    for line in [asked, answered] {
        let hex: Vec<String> = line.iter().map(|b| format!("{b:02X}")).collect();
        assert!(manual.contains(&hex.join(" ")), "{}", hex.join(" "));
    }
}

#[test]
fn the_examples_of_the_manual_hold_for_the_other_buses() {
    let manual = include_str!("../../../docs/developers/link-protocol.md");
    let shown = |bytes: &[u8]| {
        let hex: Vec<String> = bytes.iter().map(|b| format!("{b:02X}")).collect();
        manual.lines().any(|line| line == hex.join(" "))
    };
    let [usb, hid] = [Framing::Usb, Framing::Hid].map(|framing| {
        let (_, line) = HostRole::over(framing, 1).spdm(&[0x10, 0x84, 0, 0]).unwrap();
        let units: Vec<Vec<u8>> = framing.transfers(&line).map(std::borrow::Cow::into_owned).collect();
        assert_eq!(units.len(), 1);
        units[0].clone()
    });
    assert!(shown(&usb), "{usb:02X?}");
    assert!(shown(&hid[..17]) && hid[17..] == [0; 47], "{hid:02X?}");
    assert!(shown(&crate::hid::descriptor(crate::hid::USAGE_DEVICE)), "the report descriptor");
}

#[test]
fn one_message_is_open_at_a_time() {
    let (mut host, mut device) = pair();
    let (first, line) = host.spdm(b"first").unwrap();
    assert_eq!(host.spdm(b"second").unwrap_err(), LinkError::TooManyRequests);
    let (ticket, _) = question(device.receive(&line));
    // A host that does not wait is told to.
    host.forget(first);
    let (second, line) = host.spdm(b"second").unwrap();
    let [Incoming::Reply(busy)] = &device.receive(&line)[..] else { panic!("accepted") };
    assert_eq!(answer(received(&mut host, busy).unwrap()), (second, Responder::error(ErrorCode::BUSY)));
    // The answer to the first comes late, and nobody takes it for one of his own.
    let (third, line) = host.spdm(b"third").unwrap();
    assert!(matches!(device.receive(&line)[..], [Incoming::Reply(_)]), "still busy");
    let late = device.respond_spdm(ticket, b"late");
    assert!(received(&mut host, &late).unwrap().is_empty());
    assert_eq!(host.take_unasked(), 1);
    host.forget(third);
    let (_, line) = host.spdm(b"fourth").unwrap();
    assert_eq!(question(device.receive(&line)).1, b"fourth", "and the device is free again");
}

#[test]
fn a_tag_of_a_forgotten_message_rests_until_its_answer() {
    let (mut host, _) = pair();
    let (id, line) = host.spdm(b"question").unwrap();
    let resting = tag_of(&line);
    host.forget(id);
    let next = |host: &mut HostRole| {
        let (id, line) = host.spdm(b"question").unwrap();
        let tag = tag_of(&line);
        assert_eq!(answer(received(host, &from_device(tag, false, b"answer")).unwrap()).0, id);
        tag
    };
    assert!((0..20).all(|_| next(&mut host) != resting));
    assert!(received(&mut host, &from_device(resting, false, b"late")).unwrap().is_empty());
    assert!((0..7).any(|_| next(&mut host) == resting), "its answer came");
}

#[test]
fn an_answer_must_come_under_the_tag_of_its_question_and_in_its_session() {
    let (mut host, mut device) = pair();
    let (_, line) = host.spdm(b"question").unwrap();
    let tag = tag_of(&line);
    for wrong in [from_device(tag ^ 1, false, b"x"), from_device(tag, true, b"x")] {
        assert!(received(&mut host, &wrong).unwrap().is_empty());
    }
    assert_eq!(received(&mut host, &from_device(tag, false, b"x")).unwrap().len(), 1, "the control");

    let (_, line) = host.spdm(b"question").unwrap();
    let (before, _) = question(device.receive(&line));
    let tag = tag_of(&line);
    let (_, hello) = host.request(Request::Hello(VERSION)).unwrap();
    assert!(
        received(&mut host, &from_device(tag, false, b"x")).unwrap().is_empty(),
        "HELLO is not answered yet"
    );
    let Some(Incoming::Request { .. }) = device.receive(&hello).pop() else { panic!("refused") };
    assert!(device.respond_spdm(before, b"x").is_empty(), "HELLO voids the ticket");
    greet(&mut host, &mut device);
    let (_, line) = host.spdm(b"question").unwrap();
    assert_eq!(question(device.receive(&line)).1, b"question");
}

#[test]
fn packets_out_of_order_cost_their_message_and_no_other() {
    let (mut host, mut device) = pair();
    let message = [7; 1000];
    let (_, line) = host.spdm(&message).unwrap();
    let whole = frames(&line);
    assert_eq!(whole.len(), 4);
    for (a, b) in [(0, 1), (1, 2), (2, 3), (0, 3)] {
        let mut mixed = whole.clone();
        mixed.swap(a, b);
        assert!(device.receive(&mixed.concat()).is_empty(), "packets {a} and {b}");
    }
    let mut twice = whole.clone();
    twice.insert(1, whole[1].clone());
    assert!(device.receive(&twice.concat()).is_empty(), "a packet twice");
    assert!(device.receive(&whole[1..].concat()).is_empty(), "without its start");
    let (ticket, came) = question(device.receive(&whole.concat()));
    assert_eq!(came, message);

    let reply = frames(&device.respond_spdm(ticket, &message));
    for (a, b) in [(0, 1), (1, 2), (2, 3)] {
        let mut mixed = reply.clone();
        mixed.swap(a, b);
        assert!(received(&mut host, &mixed.concat()).unwrap().is_empty(), "packets {a} and {b}");
    }
    assert_eq!(answer(received(&mut host, &reply.concat()).unwrap()).1, message);
}

#[test]
fn what_is_too_long_is_refused_and_ends_the_link_at_the_host() {
    let (mut host, mut device) = pair();
    let to_device = |length: usize| {
        let tag = Tag { value: 3, owner: true };
        let route = Route { source: HOST_EID, destination: DEVICE_EID, tag };
        mctp::encode(Framing::Serial, route, &mctp::spdm(&vec![0x12; length]))
    };
    let [Incoming::Reply(refusal)] = &device.receive(&to_device(MAX_MESSAGE + 1))[..] else {
        panic!("accepted")
    };
    assert_eq!(*refusal, from_device(3, false, &Responder::error(ErrorCode::REQUEST_TOO_LARGE)));
    assert!(device.receive(&to_device(crate::MAX_UNASKED)).is_empty(), "a megabyte is not even kept");
    let (ticket, _) = question(device.receive(&to_device(MAX_MESSAGE)));
    let reply = device.respond_spdm(ticket, &vec![0; MAX_MESSAGE + 1]);
    assert_eq!(reply, from_device(3, false, &Responder::error(ErrorCode::RESPONSE_TOO_LARGE)));

    let (_, line) = host.spdm(b"question").unwrap();
    let long = from_device(tag_of(&line), false, &vec![0x12; MAX_MESSAGE + 1]);
    assert_eq!(received(&mut host, &long).unwrap_err(), LinkError::TooLong { limit: MAX_MESSAGE });
}

#[test]
fn a_device_info_without_a_level_is_of_the_devices_own() {
    let (mut host, mut device) = pair();
    let info = testing::requests().into_iter().find(|r| matches!(r, Request::SignedInfo(_))).unwrap();
    let (_, line) = host.request(info).unwrap();
    let Some(Incoming::Request { request: Request::SignedInfo(job), .. }) = device.receive(&line).pop()
    else {
        panic!("refused")
    };
    assert_eq!(job.level, Level::L0, "told to claim less");
    // The same request, as a host wrote it before there was such a member: a map of one member less.
    let message = crate::message::encode_request(9, Request::SignedInfo(job)).unwrap();
    let member = b"\x65level\x62L0";
    let at = message.windows(member.len()).position(|window| window == member).unwrap();
    let mut older = [&message[..at], &message[at + member.len()..]].concat();
    // The head of the map comes right after the header.
    older[13] -= 1;
    let tag = Tag { value: 0, owner: true };
    let line =
        mctp::encode(Framing::Serial, Route { source: HOST_EID, destination: DEVICE_EID, tag }, &older);
    let Some(Incoming::Request { request: Request::SignedInfo(job), .. }) = device.receive(&line).pop()
    else {
        panic!("refused")
    };
    assert_eq!(job.level, Level::L1);
}

proptest! {
    #[test]
    fn arbitrary_spdm_messages_never_panic(
        messages in proptest::collection::vec((0u8..8, any::<bool>(), proptest::collection::vec(any::<u8>(), 0..600)), 0..12),
    ) {
        let (mut host, mut device) = pair();
        let _ = host.spdm(b"question");
        for (value, owner, message) in messages {
            let _ = received(&mut host, &from_device(value, owner, &message));
            let tag = Tag { value, owner };
            let route = Route { source: HOST_EID, destination: DEVICE_EID, tag };
            for incoming in device.receive(&mctp::encode(Framing::Serial, route, &mctp::spdm(&message))) {
                if let Incoming::Spdm { ticket, message: came } = incoming {
                    prop_assert_eq!(&*came, &message);
                    let _ = received(&mut host, &device.respond_spdm(ticket, &message));
                }
            }
        }
    }
}
