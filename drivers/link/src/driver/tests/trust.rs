//! The trust-module methods of an L1 device, against a real responder at the other end of a line.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use biotrust_driver_api::{
    ChipDocument, DeviceClock, DigitalIdKey, FirmwareState, L1Device, PendingFirmware,
};
use biotrust_model::evidence::{Binding, KeySlot, Proof};
use biotrust_model::time::UtcMillis;
use biotrust_spdm::chain::Chain;
use biotrust_spdm::command::{Answer, Clock, Command, Firmware, Pending, Refusal, RefusalKind};
use biotrust_spdm::measurement::{Block, DeviceMode};
use biotrust_spdm::message::ErrorCode;
use biotrust_spdm::transcript::{Authentication, Measurements};
use biotrust_spdm::{Module, ModuleError, Responder};

use super::*;
use crate::device::SpdmTicket;

const BINDING: Binding = Binding([0x42; 32]);

static KEY: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

/// A chip that does as it is told, and refuses what the kind says where there is one.
struct Chip(Option<RefusalKind>);

impl Module for Chip {
    fn chain(&self) -> Chain {
        let certificate = |mark| [&[0x30, 0x82, 0x04, 0x00][..], &[mark; 1024]].concat();
        Chain::with_root(&[certificate(1), certificate(2)]).unwrap()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ModuleError> {
        let mut signature = vec![0; 256];
        KEY.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| ModuleError)?;
        Ok(signature)
    }

    fn measurements(&self) -> Vec<Block> {
        vec![Block::svn(3), Block::version("1.2.3"), Block::device_mode(DeviceMode::normal())]
    }

    fn pending_csr(&self) -> Option<Vec<u8>> {
        None
    }

    fn command(&self, command: Command) -> Result<Answer, Refusal> {
        if let Some(kind) = self.0 {
            return Err(Refusal::new(kind, "because"));
        }
        let jws = |text: String| Answer::Jws(text.chars().filter(char::is_ascii_alphanumeric).collect());
        Ok(match command {
            Command::KeyGenerate { common_name, organisation } => {
                Answer::Csr(format!("{common_name} of {organisation}").into_bytes())
            }
            Command::KeyAttest { slot, binding } => jws(format!("{slot:?}{:02x}", binding.0[0])),
            Command::ChipSign { document, payload } => jws(format!("{}{payload}", document.typ())),
            Command::DigitalId { key } => jws(format!("{key:?}")),
            Command::TimeGet => {
                Answer::Clock(Clock { nonce: [7; 32], now: Some(UtcMillis(5)), boot_count: 9 })
            }
            Command::FirmwareBegin { .. } | Command::FirmwareStatus => Answer::Firmware(Firmware {
                version: "1.2.3".into(),
                svn: 3,
                svn_floor: 2,
                failed_attempts: 1,
                locked: false,
                pending: Some(Pending { version: "1.3.0".into(), size: 30_000, received: 16_384 }),
            }),
            Command::FirmwareBlock { offset, bytes } => Answer::Received(offset + bytes.len() as u64),
            Command::KeyDestroy
            | Command::KeyInstall { .. }
            | Command::TimeSet { .. }
            | Command::FirmwareCommit => Answer::Done,
            Command::HostKey { .. } => {
                return Err(Refusal::new(RefusalKind::Unsupported, "it keeps no keys for its host"));
            }
        })
    }
}

/// A device whose chip answers by the book.
fn by_the_book(chip: Chip) -> SpdmScript {
    let mut responder = Responder::new();
    Box::new(move |role, ticket, message| role.respond_spdm(ticket, &responder.answer(&chip, message)))
}

/// A device whose chip answers by the book, but for what `first` says to a message; an empty answer is none.
fn by_the_book_but(
    mut first: impl FnMut(&mut DeviceRole, &[u8]) -> Option<Vec<u8>> + Send + 'static,
) -> SpdmScript {
    let mut honest = by_the_book(Chip(None));
    Box::new(move |role, ticket, message| match first(role, message) {
        Some(answer) if answer.is_empty() => Vec::new(),
        Some(answer) => role.respond_spdm(ticket, &answer),
        None => honest(role, ticket, message),
    })
}

/// A device, opened, and what keeps it running.
fn opened(line: fn() -> Ends, spdm: SpdmScript) -> (Arc<dyn L1Device>, Running) {
    let (host, end) = line();
    let running = device_with(end, honest(Level::L1), spdm);
    (l1(host).0, running)
}

#[test]
fn every_method_reaches_the_chip() {
    for line in LINES {
        let (device, _running) = opened(line, by_the_book(Chip(None)));
        let device = device.as_ref();
        let text = |result: Result<String, DeviceError>| result.unwrap();
        assert_eq!(text(device.digital_id(DigitalIdKey::Chip, LONG)), "Chip");
        assert_eq!(text(device.digital_id(DigitalIdKey::Device, LONG)), "Device");
        assert_eq!(text(device.sign_as_chip(ChipDocument::Evidence, "{1}", LONG)), "eatjwt1");
        assert_eq!(text(device.sign_as_chip(ChipDocument::Management, "{2}", LONG)), "mgmtjwt2");
        assert_eq!(device.begin_rotation("SN1", "P", LONG).unwrap(), b"SN1 of P");
        device.finish_rotation(&[vec![0x30; 900]], LONG).unwrap();
        device.destroy_device_key(LONG).unwrap();
        let clock = DeviceClock { nonce: [7; 32], now: Some(UtcMillis(5)), boot_count: 9 };
        assert_eq!(device.clock(LONG).unwrap(), clock);
        device.set_clock("t.o.ken", LONG).unwrap();
        let pending = PendingFirmware { version: "1.3.0".into(), size: 30_000, received: 16_384 };
        let firmware = FirmwareState {
            version: "1.2.3".into(),
            svn: 3,
            svn_floor: 2,
            failed_attempts: 1,
            locked: false,
            pending: Some(pending),
        };
        assert_eq!(device.firmware(LONG).unwrap(), firmware);
        assert_eq!(device.begin_update("m.a.nifest", LONG).unwrap(), firmware);
        assert_eq!(device.update_block(16_384, &[7; 16_384], LONG).unwrap(), 32_768);
        device.finish_update(LONG).unwrap();
    }
}

#[test]
fn a_proof_comes_through_as_the_chip_signed_it() {
    for line in LINES {
        let (device, _running) = opened(line, by_the_book(Chip(None)));
        for (key, statement) in
            [(None, None), (Some(KeySlot::Current), Some("Current42")), (Some(KeySlot::Next), Some("Next42"))]
        {
            let Proof::Spdm(proof) = device.prove(&BINDING, key, LONG).unwrap() else { panic!() };
            assert_eq!(proof.key_statement.as_deref(), statement);
            let spki = KEY.public_key().as_der().unwrap();
            let who = Authentication::parse(&proof.authentication).unwrap();
            let what = Measurements::parse(&proof.authentication, &proof.measurements).unwrap();
            who.verify(spki.as_ref()).unwrap();
            what.verify(spki.as_ref()).unwrap();
            assert_eq!((who.nonce, what.nonce), (BINDING.0, BINDING.0));
            assert_eq!(
                (who.certificates, what.blocks),
                (Chip(None).chain().certificates, Chip(None).measurements())
            );
        }
    }
}

#[test]
fn a_refusal_keeps_its_kind_and_its_words() {
    for (refusal, expected) in [
        (RefusalKind::Busy, DeviceErrorKind::Busy),
        (RefusalKind::NotReady, DeviceErrorKind::NotReady),
        (RefusalKind::NotRegistered, DeviceErrorKind::NotRegistered),
        (RefusalKind::Tampered, DeviceErrorKind::Tampered),
        (RefusalKind::Unsupported, DeviceErrorKind::Unsupported),
        (RefusalKind::Protocol, DeviceErrorKind::Protocol),
        (RefusalKind::Internal, DeviceErrorKind::Internal),
    ] {
        let (device, _running) = opened(memory_pair, by_the_book(Chip(Some(refusal))));
        let error = device.clock(LONG).unwrap_err();
        assert_eq!(error.kind, expected);
        assert!(error.message.ends_with("because"), "{error}");
        assert_eq!(kind(device.prove(&BINDING, Some(KeySlot::Next), LONG)), expected);
        assert!(device.prove(&BINDING, None, LONG).is_ok(), "the chip itself can be proven");
    }
}

#[test]
fn a_device_without_a_trust_module_proves_nothing() {
    let (host, end) = memory_pair();
    let _running = device(end, honest(Level::L1));
    let (device, _events) = l1(host);
    assert_eq!(kind(device.prove(&BINDING, None, LONG)), DeviceErrorKind::Unsupported);
    assert_eq!(device.status(LONG).unwrap(), testing::report());
}

#[test]
fn what_is_longer_than_a_command_may_be_is_not_sent() {
    let (device, _running) = opened(memory_pair, by_the_book(Chip(None)));
    let long = device.sign_as_chip(ChipDocument::Evidence, &"x".repeat(60_000), LONG);
    assert_eq!(kind(long), DeviceErrorKind::Unsupported);
    assert_eq!(kind(device.update_block(0, &[0; 16_385], LONG)), DeviceErrorKind::Unsupported);
    assert!(device.update_block(0, &[0; 16_384], LONG).is_ok());
}

#[test]
fn a_proof_does_not_wait_for_a_capture_and_a_preview() {
    for line in LINES {
        let (host, end) = line();
        let mut capture = None;
        let mut others = honest(Level::L1);
        let script: Script = Box::new(move |role, ticket, request| match request {
            Request::Capture(_) => {
                capture = Some(ticket);
                Vec::new()
            }
            // Asked for after the proofs: ends the capture.
            Request::Status => {
                let mut bytes = others(role, ticket, request);
                if let Some(ticket) = capture.take() {
                    bytes.extend(role.respond(ticket, Ok(Response::Capture(captured(Level::L1, 4, 100)))));
                }
                bytes
            }
            _ => others(role, ticket, request),
        });
        let mut honest = by_the_book(Chip(None));
        let frames = by_the_book_with_frames(move |role, ticket, message| honest(role, ticket, message));
        let _running = device_with(end, script, frames);
        let (device, events) = l1(host);
        device.start_stream(StreamJob { sub_id: SubId(1), fps: 15 }, LONG).unwrap();
        let capturing = Arc::clone(&device);
        let capture = std::thread::spawn(move || capturing.capture(&slap(), &Cancel::new()));
        for _ in 0..3 {
            assert!(device.prove(&BINDING, Some(KeySlot::Current), LONG).is_ok());
        }
        while !capture.is_finished() {
            // Until the capture has been sent there is none to end.
            assert_eq!(device.status(LONG).unwrap(), testing::report());
        }
        assert!(matches!(capture.join().unwrap(), Ok(CaptureOutcome::Done { .. })));
        let frames = events.try_iter().filter(|event| matches!(event, DeviceEvent::Frame(_))).count();
        assert!(frames > 3, "frames came beside the proofs: {frames}");
    }
}

/// Frames in front of each answer, as a preview sends them.
fn by_the_book_with_frames(
    mut honest: impl FnMut(&mut DeviceRole, SpdmTicket, &[u8]) -> Vec<u8> + Send + 'static,
) -> SpdmScript {
    let mut sequence = 3;
    Box::new(move |role, ticket, message| {
        sequence += 1;
        let mut bytes = role.event(Event::Frame(testing::frame(sequence, 2000)));
        bytes.extend(honest(role, ticket, message));
        bytes
    })
}

#[test]
fn a_chip_that_says_nothing_costs_its_call_only() {
    for line in LINES {
        // From the third message on it is silent, and busy with it.
        let mut messages = 0;
        let spdm = by_the_book_but(move |_, _| {
            messages += 1;
            (messages >= 3).then(Vec::new)
        });
        let (device, _running) = opened(line, spdm);
        let start = Instant::now();
        assert_eq!(kind(device.clock(SHORT)), DeviceErrorKind::TimedOut);
        assert!(start.elapsed() < LONG);
        assert_eq!(device.status(LONG).unwrap(), testing::report(), "the line is good");
        assert_eq!(kind(device.clock(SHORT)), DeviceErrorKind::TimedOut, "busy until it has answered");
    }
}

#[test]
fn a_late_answer_is_not_taken_for_another() {
    // The answer to GET_CAPABILITIES of the first job is held back until the second job has asked for the version.
    let (host, end) = memory_pair();
    let thread = std::thread::spawn(move || {
        let (mut pipe, mut role, mut buffer) = (end, DeviceRole::new(), [0; 4096]);
        let (mut responder, mut script, mut held, mut asked) = (Responder::new(), honest(Level::L1), None, 0);
        while let Ok(length) = pipe.read(&mut buffer, Duration::from_secs(2)) {
            for incoming in role.receive(&buffer[..length]) {
                let bytes = match incoming {
                    Incoming::Request { ticket, request } => script(&mut role, ticket, request),
                    Incoming::Spdm { ticket, message } => {
                        asked += 1;
                        let answer = responder.answer(&Chip(None), &message);
                        if asked == 2 {
                            held = Some((ticket, answer));
                            continue;
                        }
                        role.respond_spdm(ticket, &answer)
                    }
                    // The refusal of the next question: the held answer goes out in front of it.
                    Incoming::Reply(busy) => {
                        let late = held.take().map(|(t, answer)| role.respond_spdm(t, &answer));
                        [late.unwrap_or_default(), busy].concat()
                    }
                };
                if pipe.write_all(&bytes, LONG).is_err() {
                    return asked;
                }
            }
        }
        asked
    });
    let (device, _events) = l1(host);
    assert_eq!(kind(device.clock(Duration::from_secs(1))), DeviceErrorKind::TimedOut);
    assert_eq!(device.clock(LONG).unwrap().boot_count, 9, "after one pause of a busy device");
    drop(device);
    assert_eq!(thread.join().unwrap(), 2 + 4);
}

#[test]
fn a_busy_chip_is_asked_again_until_the_time_is_up() {
    let (mut left, busy) = (3, Responder::error(ErrorCode::BUSY));
    let (device, _running) = opened(
        memory_pair,
        by_the_book_but(move |_, _| {
            left -= 1;
            (left > 0).then(|| busy.clone())
        }),
    );
    assert!(device.clock(LONG).is_ok());
    let busy = Responder::error(ErrorCode::BUSY);
    let (device, _running) = opened(memory_pair, by_the_book_but(move |_, _| Some(busy.clone())));
    let start = Instant::now();
    assert_eq!(kind(device.clock(Duration::from_millis(250))), DeviceErrorKind::TimedOut);
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_chip_that_breaks_the_protocol_costs_its_call_only() {
    let bad: [fn() -> Vec<u8>; 4] = [
        || b"garbage".to_vec(),
        || vec![0x12, 0x7F, 0x04, 0],
        || vec![0x10, 0x04, 0, 0, 0, 1, 0, 0x11],
        || vec![0x13, 0x04, 0, 0, 0, 1, 0, 0x12],
    ];
    for bad in bad {
        let mut messages = 0;
        let spdm = by_the_book_but(move |_, _| {
            messages += 1;
            (messages == 1).then(bad)
        });
        let (device, _running) = opened(memory_pair, spdm);
        assert_eq!(kind(device.firmware(LONG)), DeviceErrorKind::Protocol);
        assert_eq!(device.status(LONG).unwrap(), testing::report());
        assert!(device.firmware(LONG).is_ok(), "the next connection is a good one");
    }
}

#[test]
fn a_chip_that_is_started_anew_is_found_again() {
    // Forgets its connection before every seventh message.
    let (mut responder, mut messages) = (Responder::new(), 0);
    let spdm: SpdmScript = Box::new(move |role, ticket, message| {
        messages += 1;
        if messages % 7 == 0 {
            responder = Responder::new();
        }
        role.respond_spdm(ticket, &responder.answer(&Chip(None), message))
    });
    let (device, _running) = opened(memory_pair, spdm);
    for _ in 0..20 {
        assert_eq!(device.clock(LONG).unwrap().boot_count, 9);
    }
}

#[test]
fn many_callers_take_turns() {
    let open = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&open);
    let mut honest = by_the_book(Chip(None));
    let spdm: SpdmScript = Box::new(move |role, ticket, message| {
        seen.fetch_add(1, Ordering::Relaxed);
        honest(role, ticket, message)
    });
    let (device, _running) = opened(memory_pair, spdm);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let device = Arc::clone(&device);
            std::thread::spawn(move || {
                for _ in 0..5 {
                    assert!(device.prove(&BINDING, Some(KeySlot::Current), LONG).is_ok());
                    assert_eq!(device.clock(LONG).unwrap().boot_count, 9);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    // Nobody was put off: 7 messages and the statement for a proof, one for the clock.
    assert_eq!(open.load(Ordering::Relaxed), 20 * (7 + 1) + 20);
}

#[test]
fn a_turn_that_does_not_come_is_given_up() {
    let busy = Responder::error(ErrorCode::BUSY);
    let (asked, first_asked) = channel();
    let spdm = by_the_book_but(move |_, _| {
        let _ = asked.send(());
        Some(busy.clone())
    });
    let (device, _running) = opened(memory_pair, spdm);
    let first = Arc::clone(&device);
    let thread = std::thread::spawn(move || kind(first.clock(Duration::from_secs(2))));
    first_asked.recv_timeout(LONG).unwrap();
    let error = device.clock(SHORT).unwrap_err();
    assert_eq!(error.kind, DeviceErrorKind::TimedOut);
    assert!(error.message.contains("another job"), "{error}");
    assert_eq!(thread.join().unwrap(), DeviceErrorKind::TimedOut);
}

#[test]
fn a_line_that_breaks_ends_a_proof() {
    let (host, end) = memory_pair();
    let spdm: SpdmScript = Box::new(|_, _, _| Vec::new());
    let running = device_with(end, honest(Level::L1), spdm);
    let (device, events) = l1(host);
    let proving = std::thread::spawn(move || kind(device.prove(&BINDING, None, LONG)));
    assert!(!Cancel::new().wait(SHORT));
    running.end();
    assert_eq!(proving.join().unwrap(), DeviceErrorKind::Gone);
    assert_eq!(gone(&events), DeviceErrorKind::Gone);
}
