//! Round trips, limits, and what is refused.

use biotrust_model::evidence::{Binding, KeySlot};
use proptest::prelude::*;

use super::*;
use crate::error::SpdmError;
use crate::testing::{answers, commands, firmware, host_key};

#[test]
fn every_command_and_answer_is_read_as_it_was_written() {
    let mut covered = Vec::new();
    for command in commands() {
        let payload = command.encode().unwrap();
        assert!(Command::decode(&payload).unwrap() == command, "{command:?}");
        assert!(Command::decode(&payload[..payload.len() - 1]).is_err(), "{command:?} cut");
        assert!(Command::decode(&[&payload[..], &[0]].concat()).is_err(), "{command:?} and a byte");
        covered.push(command.opcode());
    }
    assert!(Opcode::ALL.iter().all(|opcode| covered.contains(opcode)));
    for (opcode, answer) in answers() {
        let payload = answer.encode(opcode).unwrap();
        assert!(Answer::decode(opcode, &payload).unwrap() == answer, "{opcode:?}");
        assert!(Answer::decode(opcode, &payload[..payload.len() - 1]).is_err(), "{opcode:?} cut");
    }
}

#[test]
fn known_bytes() {
    let attest = Command::KeyAttest { slot: KeySlot::Next, binding: Binding([0xAB; 32]) };
    let expected = [&b"\x11\x00\xA2\x64slot\x64next\x67binding\x58\x20"[..], &[0xAB; 32]].concat();
    assert_eq!(attest.encode().unwrap(), expected);
    assert_eq!(Command::TimeGet.encode().unwrap(), b"\x21\x00\xA0");
    assert_eq!(Answer::Received(5).encode(Opcode::FirmwareBlock).unwrap(), b"\x31\x00\xA1\x68received\x05");
    let sign = host_key(KeyOrder::Sign { slot: KeySlot::Current, digest: [0xCD; 32] });
    let expected =
        [&b"\x42\x00\xA3\x64name\x67BT-0001\x64slot\x67current\x66digest\x58\x20"[..], &[0xCD; 32]].concat();
    assert_eq!(sign.encode().unwrap(), expected);
    assert_eq!(host_key(KeyOrder::Use).encode().unwrap(), b"\x41\x00\xA1\x64name\x67BT-0001");
    assert_eq!(Answer::HostKeys(HostKeys::default()).encode(Opcode::HostKeyStatus).unwrap(), b"\x45\x00\xA0");
    let refusal = Refusal::new(RefusalKind::Busy, "no");
    assert_eq!(refusal.encode(0x77).unwrap(), b"\x77\x01\xA2\x64kind\x64Busy\x67message\x62no");
}

#[test]
fn an_answer_must_fit_its_command() {
    for (of, answer) in answers() {
        for opcode in Opcode::ALL.iter().filter(|opcode| **opcode != of) {
            if let Ok(payload) = answer.encode(*opcode) {
                assert!(Answer::decode(of, &payload).is_err(), "{opcode:?} for {of:?}");
            }
        }
    }
    assert!(Answer::Done.encode(Opcode::TimeGet).is_err());
    assert!(Answer::decode(Opcode::TimeSet, b"\x20\x02\xA0").is_err(), "unknown flag");
    assert!(Answer::decode(Opcode::TimeSet, b"\x20").is_err());
    assert!(Answer::decode(Opcode::TimeSet, b"\x20\x00\xA0").is_ok(), "the control");
}

#[test]
fn refusals_come_through_cleaned() {
    let refusal = Refusal::new(RefusalKind::NotRegistered, format!("no\u{1b}[1m\u{202e}{}", "x".repeat(300)));
    let payload = refusal.encode(Opcode::KeyAttest as u8).unwrap();
    let Err(SpdmError::Command(read)) = Answer::decode(Opcode::KeyAttest, &payload) else {
        panic!("accepted")
    };
    assert_eq!(read.kind, RefusalKind::NotRegistered);
    assert!(read.message.starts_with("no[1mxxx") && read.message.len() == MAX_TEXT, "{}", read.message);
    let unknown = b"\x14\x01\xA1\x64kind\x66Melted";
    let Err(SpdmError::Command(read)) = Answer::decode(Opcode::KeyDestroy, unknown) else {
        panic!("accepted")
    };
    assert_eq!(read.kind, RefusalKind::Internal);
}

#[test]
fn limits_hold_in_both_directions() {
    let long = |length| "x".repeat(length);
    let good = [
        Command::ChipSign { document: Document::Evidence, payload: long(MAX_DOCUMENT) },
        Command::FirmwareBegin { manifest: long(MAX_JWS) },
        Command::KeyInstall { chain: vec![vec![0; MAX_CERTIFICATE]; MAX_CHAIN] },
        Command::KeyGenerate { common_name: long(MAX_TEXT), organisation: "O".into() },
    ];
    for command in good {
        assert!(command.encode().is_ok(), "{command:?}");
    }
    let bad = [
        Command::ChipSign { document: Document::Evidence, payload: long(MAX_DOCUMENT + 1) },
        Command::ChipSign { document: Document::Evidence, payload: String::new() },
        Command::FirmwareBegin { manifest: long(MAX_JWS + 1) },
        Command::FirmwareBegin { manifest: "a b".into() },
        Command::TimeSet { token: String::new() },
        Command::TimeSet { token: "t\u{e8}".into() },
        Command::KeyInstall { chain: vec![] },
        Command::KeyInstall { chain: vec![vec![0]; MAX_CHAIN + 1] },
        Command::KeyInstall { chain: vec![vec![0; MAX_CERTIFICATE + 1]] },
        Command::KeyGenerate { common_name: "a\nb".into(), organisation: "O".into() },
        Command::KeyGenerate { common_name: long(MAX_TEXT + 1), organisation: "O".into() },
        Command::KeyGenerate { common_name: "CN".into(), organisation: String::new() },
        Command::FirmwareBlock { offset: 0, bytes: vec![] },
        Command::FirmwareBlock { offset: 0, bytes: vec![0; MAX_BLOCK + 1] },
    ];
    for command in bad {
        assert!(command.encode().is_err(), "{command:?}");
    }
    // As another device or host may write them.
    let block = [&b"\x31\x00\xA2\x66offset\x00\x65bytes\x59\x40\x01"[..], &[0; MAX_BLOCK + 1]].concat();
    assert_eq!(Command::decode(&block).unwrap_err().kind, RefusalKind::Protocol);
    let pending = Some(Pending { version: "1".into(), size: 1, received: 2 });
    for firmware in [
        Firmware { version: String::new(), ..firmware() },
        Firmware { version: "1\u{7f}".into(), ..firmware() },
        Firmware { pending, ..firmware() },
    ] {
        assert!(Answer::Firmware(firmware.clone()).encode(Opcode::FirmwareStatus).is_err(), "{firmware:?}");
    }
}

#[test]
fn names_of_keys_and_signatures_are_what_they_must_be() {
    for good in ["a", "BT0123456789", "x_-9", &"n".repeat(64)] {
        assert_eq!(KeyName::new(good).unwrap().as_str(), good);
    }
    for bad in ["", "a b", "a/b", "../a", "\u{e8}", "a.b", &"n".repeat(65)] {
        assert_eq!(KeyName::new(bad), Err(KeyNameError), "{bad}");
    }
    let dotted = b"\x41\x00\xA1\x64name\x63a.b";
    assert_eq!(Command::decode(dotted).unwrap_err().kind, RefusalKind::Protocol);
    for length in [0, 255, 257, 512] {
        assert!(Answer::Signature(vec![1; length]).encode(Opcode::HostKeySign).is_err(), "{length}");
    }
    let short = [&b"\x42\x00\xA1\x69signature\x58\xFF"[..], &[1; 255]].concat();
    assert!(Answer::decode(Opcode::HostKeySign, &short).is_err());
    let long = HostKeys { current: Some(vec![1; 1025]), next: None };
    assert!(Answer::HostKeys(long).encode(Opcode::HostKeyStatus).is_err());
}

#[test]
fn a_command_that_cannot_be_read_is_refused_by_kind() {
    for (payload, kind) in [
        (&b""[..], RefusalKind::Protocol),
        (b"\x21", RefusalKind::Protocol),
        (b"\x21\x01\xA0", RefusalKind::Protocol),
        (b"\x21\x00", RefusalKind::Protocol),
        (b"\x21\x00\xA0\xA0", RefusalKind::Protocol),
        (b"\x12\x00\xA0", RefusalKind::Unsupported),
        (b"\x13\x00\xA2\x63typ\x63JWT\x67payload\x62{}", RefusalKind::Protocol),
    ] {
        assert_eq!(Command::decode(payload).unwrap_err().kind, kind, "{payload:02x?}");
    }
    assert!(Command::decode(b"\x21\x00\xA1\x63new\x01").is_ok(), "members of the future are ignored");
}

#[test]
fn nothing_secret_is_printed() {
    for command in commands() {
        assert!(!format!("{command:?}").contains("canary"));
    }
    for (_, answer) in answers() {
        assert!(!format!("{answer:?}").contains("canary"));
    }
}

proptest! {
    #[test]
    fn arbitrary_payloads_never_panic(code in any::<u8>(), rest in proptest::collection::vec(any::<u8>(), 0..300)) {
        let payload = [&[code, 0][..], &rest].concat();
        let _ = Command::decode(&payload);
        let _ = Command::decode(&rest);
        if let Some(opcode) = Opcode::from_code(code) {
            let _ = Answer::decode(opcode, &payload);
        }
    }

    #[test]
    fn bent_payloads_never_panic(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let answers = answers();
        let (opcode, answer) = &answers[which.index(answers.len())];
        let mut payload = answer.encode(*opcode).unwrap();
        let place = at.index(payload.len());
        payload[place] = value;
        let _ = Answer::decode(*opcode, &payload);
        let commands = commands();
        let mut payload = commands[which.index(commands.len())].encode().unwrap();
        let place = at.index(payload.len());
        payload[place] = value;
        let _ = Command::decode(&payload);
    }
}
