use biotrust_attest::Challenge;
use biotrust_model::evidence::EvidencePurpose;
use biotrust_model::time::UtcMillis;
use biotrust_model::{DeviceStatus, Level};
use serde_json::{Value, json};

use super::*;
use crate::{Bytes, MessageId, Nonce, Sha256, Stamp};

const AT: UtcMillis = UtcMillis(1_795_525_200_123);

fn report() -> Report {
    Report {
        status: DeviceStatus::Ready,
        reason: String::new(),
        level: Level::L1,
        certificate_sha256: Some(Sha256([1; 32])),
        not_after: Some(Stamp(AT)),
        firmware: "1.0.0".to_owned(),
        svn: Some(3),
        service: "0.1.0".to_owned(),
        notices: vec!["the sensor window is dirty".to_owned()],
        update: Some(UpdateOutcome { manifest_sha256: Sha256([2; 32]), error: None }),
    }
}

/// One of each; a new kind does not compile here until it has an example.
fn every_request() -> Vec<RequestBody> {
    let (evidence, csr) = ("a.b.c".to_owned(), Bytes(vec![1, 2, 3]));
    RequestKind::ALL
        .iter()
        .map(|kind| match kind {
            RequestKind::Challenge => RequestBody::Challenge { purpose: EvidencePurpose::DeviceKey },
            RequestKind::Register => RequestBody::Register { evidence: evidence.clone(), csr: csr.clone() },
            RequestKind::Rotate => RequestBody::Rotate { evidence: evidence.clone(), csr: csr.clone() },
            RequestKind::Confirm => RequestBody::Confirm {
                certificate_sha256: Sha256([3; 32]),
                destroyed_spki_sha256: Some(Sha256([4; 32])),
            },
            RequestKind::Time => RequestBody::Time { nonce: Nonce([5; 32]), host_utc: Stamp(AT) },
            RequestKind::Poll => RequestBody::Poll(report()),
            RequestKind::Deregistered => RequestBody::Deregistered { destroyed_spki_sha256: Sha256([6; 32]) },
        })
        .collect()
}

fn every_command() -> Vec<Command> {
    CommandKind::ALL
        .iter()
        .map(|kind| match kind {
            CommandKind::Rotate => Command::Rotate {},
            CommandKind::Deregister => Command::Deregister {},
            CommandKind::Report => Command::Report {},
            CommandKind::Update => {
                Command::Update { manifest: "m.a.n".to_owned(), image: "/v1/image/1".to_owned() }
            }
        })
        .collect()
}

fn every_reply() -> Vec<ReplyBody> {
    ReplyKind::ALL
        .iter()
        .map(|kind| match kind {
            ReplyKind::Challenge => ReplyBody::Challenge {
                challenge: Challenge::new([7; 32], "mgmt", EvidencePurpose::DeviceKey, AT),
            },
            ReplyKind::Certificate => ReplyBody::Certificate { chain: vec![Bytes(vec![0x30])] },
            ReplyKind::Ack => ReplyBody::Ack {},
            ReplyKind::Time => ReplyBody::Time { token: "t.o.k".to_owned() },
            ReplyKind::Commands => ReplyBody::Commands { commands: every_command(), next_poll_s: 60 },
            ReplyKind::Refused => ReplyBody::Refused(Refusal {
                check: "clone".to_owned(),
                text: "two chips".to_owned(),
                next: "ask the provider".to_owned(),
                retry_s: Some(5),
            }),
        })
        .collect()
}

fn request(body: RequestBody) -> Request {
    Request {
        id: MessageId([9; 16]),
        at: AT,
        serial: "SN0123456789".to_owned(),
        digital_id: Presented::Signed("d.i.d".to_owned()),
        body,
    }
}

fn reply(body: ReplyBody) -> Reply {
    Reply { re: MessageId([9; 16]), at: AT, digital_id: Presented::Plain(json!({"a": 1})), body }
}

fn changed(payload: &str, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value: Value = serde_json::from_str(payload).unwrap();
    change(&mut value);
    value.to_string().into_bytes()
}

#[test]
fn every_message_goes_there_and_back() {
    for body in every_request() {
        let request = request(body);
        assert_eq!(Request::parse(request.payload().as_bytes()), Ok(request));
    }
    for body in every_reply() {
        let reply = reply(body);
        assert_eq!(Reply::parse(reply.payload().as_bytes()), Ok(reply));
    }
}

#[test]
fn the_shape_on_the_wire() {
    let body = RequestBody::Challenge { purpose: EvidencePurpose::DeviceKey };
    let value: Value = serde_json::from_str(&request(body).payload()).unwrap();
    let expected = json!({
        "mgmt": 1, "kind": "challenge", "id": "CQkJCQkJCQkJCQkJCQkJCQ", "ts": "2026-11-24T13:00:00.123Z",
        "serial": "SN0123456789", "digitalId": "d.i.d", "body": {"purpose": "devkey"},
    });
    assert_eq!(value, expected);
    let value: Value = serde_json::from_str(&reply(ReplyBody::Ack {}).payload()).unwrap();
    let expected = json!({
        "mgmt": 1, "kind": "ack", "re": "CQkJCQkJCQkJCQkJCQkJCQ", "ts": "2026-11-24T13:00:00.123Z",
        "digitalId": {"a": 1}, "body": {},
    });
    assert_eq!(value, expected);
    let commands = serde_json::to_value(every_command()).unwrap();
    assert_eq!(commands[0], json!({"command": "rotate"}));
    assert_eq!(commands[3], json!({"command": "update", "manifest": "m.a.n", "image": "/v1/image/1"}));
}

/// The closed lists, in full: whoever adds a kind changes this test and thinks about what it says.
#[test]
fn no_kind_and_no_command_starts_a_capture() {
    let requests: Vec<_> = RequestKind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(requests, ["challenge", "register", "rotate", "confirm", "time", "poll", "deregistered"]);
    let replies: Vec<_> = ReplyKind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(replies, ["challenge", "certificate", "ack", "time", "commands", "refused"]);
    let commands: Vec<_> = CommandKind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(commands, ["rotate", "deregister", "report", "update"]);

    for word in ["capture", "rcapture", "CAPTURE", "stream", "Rotate", ""] {
        let good = reply(ReplyBody::Commands { commands: every_command(), next_poll_s: 60 }).payload();
        let commanded = changed(&good, |value| value["body"]["commands"][0] = json!({"command": word}));
        assert!(matches!(Reply::parse(&commanded), Err(MessageError::Body { .. })), "{word}");
        let replied = changed(&good, |value| value["kind"] = json!(word));
        assert!(matches!(Reply::parse(&replied), Err(MessageError::Kind(_))), "{word}");
        let good = request(every_request().remove(0)).payload();
        let asked = changed(&good, |value| value["kind"] = json!(word));
        assert!(matches!(Request::parse(&asked), Err(MessageError::Kind(_))), "{word}");
    }
}

/// There is nowhere to put a biometric: every object is closed.
#[test]
fn an_unknown_member_is_refused_everywhere() {
    let mut objects = 0;
    for body in every_request() {
        let good = request(body).payload();
        for path in ["", "/body", "/body/update"] {
            let spoiled = changed(&good, |value| {
                if let Some(object) = value.pointer_mut(path).and_then(Value::as_object_mut) {
                    object.insert("bioValue".to_owned(), json!("AAAA"));
                    objects += 1;
                }
            });
            let there = String::from_utf8_lossy(&spoiled).contains("bioValue");
            assert_eq!(Request::parse(&spoiled).is_err(), there, "{path} of {good}");
        }
    }
    for body in every_reply() {
        let good = reply(body).payload();
        for path in ["", "/body", "/body/challenge", "/body/commands/0", "/body/commands/3"] {
            let spoiled = changed(&good, |value| {
                if let Some(object) = value.pointer_mut(path).and_then(Value::as_object_mut) {
                    object.insert("capture".to_owned(), json!(true));
                    objects += 1;
                }
            });
            let there = String::from_utf8_lossy(&spoiled).contains("capture");
            assert_eq!(Reply::parse(&spoiled).is_err(), there, "{path} of {good}");
        }
    }
    assert_eq!(objects, 7 * 2 + 1 + 6 * 2 + 3, "each of them was spoiled once");
}

#[test]
fn limits_and_versions() {
    let good = request(RequestBody::Poll(report())).payload();
    let spoil = |change: fn(&mut Value)| Request::parse(&changed(&good, change));
    assert!(spoil(|_| ()).is_ok());
    assert_eq!(spoil(|v| v["mgmt"] = json!(2)), Err(MessageError::Version(2)));
    let long = "x".repeat(MAX_TEXT + 1);
    for path in ["/body/reason", "/body/firmware", "/body/service", "/body/notices/0"] {
        let spoiled = changed(&good, |v| *v.pointer_mut(path).unwrap() = json!(long));
        assert_eq!(Request::parse(&spoiled), Err(MessageError::TooLong("a text of the report")), "{path}");
    }
    assert!(spoil(|v| v["body"]["notices"] = json!(vec!["x"; 17])).is_err());
    assert!(spoil(|v| v["ts"] = json!("2026-11-24T13:00:00Z")).is_err(), "milliseconds are required");
    assert!(spoil(|v| v["id"] = json!("AAAA")).is_err());
    assert!(spoil(|v| drop(v.as_object_mut().unwrap().remove("digitalId"))).is_err());
    for garbage in [&b""[..], b"[]", b"\xFF\xFE", b"{\"mgmt\":1}", b"null"] {
        assert!(matches!(Request::parse(garbage), Err(MessageError::Members(_))));
        assert!(matches!(Reply::parse(garbage), Err(MessageError::Members(_))));
    }
}

#[test]
fn an_error_shows_little_of_what_was_sent() {
    let good = request(every_request().remove(0)).payload();
    let nasty = changed(&good, |v| v["kind"] = json!(format!("x\u{1b}[31m\n{}", "y".repeat(1000))));
    let text = Request::parse(&nasty).unwrap_err().to_string();
    assert!(text.len() < 120 && !text.chars().any(char::is_control), "{text}");
}
