//! The host's end against honest devices, and against every other kind that was thought of.

use proptest::prelude::*;

use super::*;
use crate::message::{Flags, SUITE};
use crate::testing::{self, Line, NONCE};

const PROVE: Job = Job::Prove { nonce: NONCE };

fn command() -> Job {
    Job::Command(Command::TimeGet)
}

fn bytes(response: &Response) -> Vec<u8> {
    response.encode().unwrap()
}

/// Runs a proof in which answer number `at` is replaced, and gives what came of it.
fn with_answer(at: usize, answer: &[u8]) -> Result<Outcome, SpdmError> {
    Line::new().run_with(PROVE, |now, real| {
        if now == at {
            *real = answer.to_vec();
        }
    })
}

#[test]
fn all_jobs_are_done_on_one_connection() {
    let mut line = Line::new();
    let Outcome::Answer(answer) = line.run(command()).unwrap() else { panic!() };
    assert!(matches!(answer, Answer::Clock(clock) if clock.boot_count == 12));
    assert_eq!(line.answered, 4, "version, capabilities, algorithms, command");
    assert_eq!(line.run(Job::Csr).unwrap(), Outcome::Csr(vec![0x30, 1, 2]));
    assert_eq!(line.answered, 5);
    let (authentication, measurements) = line.prove();
    assert_eq!((authentication.len(), measurements.len()), (12, 2));
    assert_eq!(line.answered, 5 + 7, "a proof begins its own connection");
    line.run(command()).unwrap();
    assert_eq!(line.answered, 13, "which stays");
}

#[test]
fn a_chain_is_asked_for_on_its_own() {
    let mut line = Line::new();
    for (asked, answered) in [("on a new connection", 3 + 2), ("on one that stands", 3 + 2 + 2)] {
        assert_eq!(line.run(Job::Chain).unwrap(), Outcome::Chain(line.chip.chain.clone()), "{asked}");
        assert_eq!(line.answered, answered, "{asked}");
    }
    line.prove();
    // A device that was started anew takes no DIGESTS without a connection: the host begins anew, once.
    line.responder = crate::Responder::new();
    assert_eq!(line.run(Job::Chain).unwrap(), Outcome::Chain(line.chip.chain.clone()));
    // What it hands out must be what it announced.
    let announced = |at, answer: &mut Vec<u8>| {
        if at == 3 {
            answer[10] ^= 1;
        }
    };
    assert!(Line::new().run_with(Job::Chain, announced).is_err());
}

#[test]
fn every_command_goes_there_and_back() {
    let mut line = Line::new();
    for command in testing::commands() {
        let opcode = command.opcode();
        match (opcode, line.run(Job::Command(command.clone()))) {
            (Opcode::TimeSet, Err(SpdmError::Command(refusal))) => {
                assert_eq!(refusal.to_string(), "the trust module refuses: the token is of another device");
            }
            (Opcode::KeyDestroy, Err(SpdmError::Command(refusal))) => {
                assert_eq!(refusal.kind, crate::command::RefusalKind::Internal, "it answers something else");
            }
            (_, Ok(Outcome::Answer(answer))) => {
                assert!(testing::answers().iter().any(|known| *known == (opcode, answer.clone())));
            }
            (_, other) => panic!("{opcode:?}: {other:?}"),
        }
        assert!(line.chip.seen.borrow_mut().pop() == Some(command), "{opcode:?}");
    }
    assert_eq!(line.answered, 3 + testing::commands().len(), "a refusal does not end the connection");
}

#[test]
fn a_large_chain_comes_in_portions() {
    let mut line = Line::new();
    line.chip.chain.certificates = vec![testing::certificate(1, 4000); 7];
    let (authentication, _) = line.prove();
    assert_eq!(authentication.len(), 8 + 2 * 7 + 2);
    let who = crate::transcript::Authentication::parse(&authentication).unwrap();
    assert_eq!(who.certificates, line.chip.chain.certificates);
    who.verify(&line.chip.spki()).unwrap();
}

#[test]
fn less_or_other_than_the_profile_is_refused() {
    let capabilities = |change: fn(&mut Capabilities)| {
        let mut offered = Capabilities::RESPONDER;
        change(&mut offered);
        bytes(&Response::Capabilities(offered))
    };
    let algorithms = |change: fn(&mut crate::message::Selection)| {
        let mut selected = SUITE;
        change(&mut selected);
        bytes(&Response::Algorithms(selected))
    };
    let cases = [
        (0, bytes(&Response::Version(vec![0x1000, 0x1100, 0x1300]))),
        (1, capabilities(|c| c.flags.0 &= !Flags::CERT.0)),
        (1, capabilities(|c| c.flags.0 &= !Flags::CHAL.0)),
        (1, capabilities(|c| c.flags.0 &= !Flags::MEAS_SIG.0)),
        (1, capabilities(|c| c.flags.0 &= !Flags::CSR.0)),
        (1, capabilities(|c| c.flags.0 |= Flags::ALIAS_CERT.0)),
        (1, capabilities(|c| c.longest -= 1)),
        (2, algorithms(|a| a.asymmetric = 4)),
        (2, algorithms(|a| a.asymmetric = 0)),
        (2, algorithms(|a| a.asymmetric = 5)),
        (2, algorithms(|a| a.hash = 2)),
        (2, algorithms(|a| a.measurement_hash = 1)),
        (2, algorithms(|a| a.measurement_specification = 0)),
    ];
    for (at, answer) in cases {
        let error = with_answer(at, &answer).unwrap_err();
        assert!(matches!(error, SpdmError::Downgrade(_)), "answer {at}: {error}");
    }
    assert!(with_answer(0, &bytes(&Response::Version(vec![0x1100, 0x1203]))).is_ok(), "1.2 in an update");
}

#[test]
fn a_later_connection_offers_what_the_first_did() {
    let mut line = Line::new();
    line.prove();
    let other = Capabilities { ct_exponent: 19, ..Capabilities::RESPONDER };
    let error = line.run_with(PROVE, |_, answer| {
        if answer.get(1) == Some(&code::CAPABILITIES) {
            *answer = bytes(&Response::Capabilities(other));
        }
    });
    assert!(matches!(error, Err(SpdmError::Downgrade(_))));
    assert!(line.run(PROVE).is_ok(), "the control");
}

#[test]
fn an_answer_must_fit_its_question() {
    for at in 0..7 {
        // A CSR answers none of them.
        let error = with_answer(at, &bytes(&Response::Csr(vec![0x30]))).unwrap_err();
        assert!(matches!(error, SpdmError::WrongAnswer { answered: 0x6D, .. }), "answer {at}: {error}");
        // Of another version, cut, longer, a request, nothing.
        for change in [
            (|m: &mut Vec<u8>| m[0] = 0x13) as fn(&mut Vec<u8>),
            |m| m.truncate(m.len() - 1),
            |m| m.push(0),
            |m| m[1] |= 0x80,
            Vec::clear,
        ] {
            let error = Line::new().run_with(PROVE, |now, m| {
                if now == at {
                    change(m)
                }
            });
            assert!(matches!(error, Err(SpdmError::Malformed { .. })), "answer {at}: {error:?}");
        }
        let error = with_answer(at, &vec![0x12; MAX_MESSAGE + 1]).unwrap_err();
        assert!(matches!(error, SpdmError::TooLong { .. }), "answer {at}: {error}");
    }
}

#[test]
fn hashes_must_agree_on_the_way() {
    let digests = |now: usize, m: &mut Vec<u8>| {
        if now == 3 {
            m[10] ^= 1
        }
    };
    let error = Line::new().run_with(PROVE, digests).unwrap_err();
    assert_eq!(error, SpdmError::Mismatch { what: "DIGESTS", field: "Digest" });
    let chain_hash = |now: usize, m: &mut Vec<u8>| {
        if now == 5 {
            m[10] ^= 1
        }
    };
    let error = Line::new().run_with(PROVE, chain_hash).unwrap_err();
    assert_eq!(error, SpdmError::Mismatch { what: "CHALLENGE_AUTH", field: "CertChainHash" });
}

#[test]
fn a_certificate_blob_is_neither_truncated_nor_without_end() {
    let certificate = |portion: usize, remainder: u16| {
        bytes(&Response::Certificate { portion: vec![1; portion], remainder })
    };
    let error = with_answer(4, &certificate(100, 0)).unwrap_err();
    assert!(matches!(error, SpdmError::Malformed { what: "certificate blob", .. }), "{error}");
    let error = with_answer(4, &certificate(4097, 0)).unwrap_err();
    assert_eq!(error, SpdmError::Mismatch { what: "CERTIFICATE", field: "PortionLength" });
    let error = with_answer(4, &certificate(4096, 60_000)).unwrap_err();
    assert_eq!(error, SpdmError::TooLong { what: "certificate blob", limit: crate::chain::MAX_BLOB });
    // A byte at a time, and always as many to come.
    let error = Line::new()
        .run_with(PROVE, |now, m| {
            if now >= 4 {
                *m = certificate(1, 100)
            }
        })
        .unwrap_err();
    assert_eq!(error, SpdmError::Mismatch { what: "CERTIFICATE", field: "RemainderLength" });
}

#[test]
fn a_busy_device_is_asked_again_and_not_without_end() {
    let busy = bytes(&Response::Error(Failure::new(ErrorCode::BUSY)));
    let mut requester = Requester::new();
    let Step::Send(first) = requester.start(command()).unwrap() else { panic!() };
    let again = requester.receive(&busy).unwrap();
    assert_eq!(again, Step::Wait { pause: BUSY_PAUSE, message: first });
    for _ in 1..MAX_PUT_OFF {
        assert!(matches!(requester.receive(&busy), Ok(Step::Wait { .. })));
    }
    let error = requester.receive(&busy).unwrap_err();
    assert_eq!(error, SpdmError::PutOff { asked: "GET_VERSION" });
    assert_eq!(requester.receive(&busy).unwrap_err(), SpdmError::Unasked, "the job is over");
}

#[test]
fn an_answer_that_is_not_ready_is_fetched() {
    let mut line = Line::new();
    line.run(command()).unwrap();
    let Step::Send(question) = line.requester.start(command()).unwrap() else { panic!() };
    let answer = line.responder.answer(&line.chip, &question);
    let not_ready = |request, exponent| {
        bytes(&Response::Error(Failure::NotReady { exponent, request, token: 7, multiplier: 10 }))
    };
    let step = line.requester.receive(&not_ready(0xFE, 10)).unwrap();
    let fetch = vec![0x12, 0xFF, 0xFE, 7];
    assert_eq!(step, Step::Wait { pause: Duration::from_micros(1024), message: fetch });
    let step = line.requester.receive(&not_ready(0xFE, 255)).unwrap();
    assert!(matches!(step, Step::Wait { pause, .. } if pause < Duration::from_secs(3)), "{step:?}");
    assert!(matches!(line.requester.receive(&answer), Ok(Step::Done(_))));

    line.requester.start(command()).unwrap();
    let error = line.requester.receive(&not_ready(0x83, 10)).unwrap_err();
    assert_eq!(error, SpdmError::Mismatch { what: "ERROR", field: "RequestCode" });
}

/// What is asked after ERROR `code` in answer to a command on a connection.
fn after(code: ErrorCode, line: &mut Line) -> Result<Step, SpdmError> {
    line.run(command()).unwrap();
    line.requester.start(command()).unwrap();
    line.requester.receive(&bytes(&Response::Error(Failure::new(code))))
}

#[test]
fn a_device_that_was_started_anew_is_connected_anew_once() {
    let get_version = Step::Send(vec![0x10, 0x84, 0, 0]);
    for code in [ErrorCode::REQUEST_RESYNCH, ErrorCode::UNEXPECTED_REQUEST] {
        let mut line = Line::new();
        assert_eq!(after(code, &mut line).unwrap(), get_version);
        let error = line.requester.receive(&bytes(&Response::Error(Failure::new(code)))).unwrap_err();
        assert_eq!(error, SpdmError::Refused { asked: "GET_VERSION", code });
        // A real one, between two commands.
        line.run(command()).unwrap();
        line.responder = crate::Responder::new();
        assert!(matches!(line.run(command()), Ok(Outcome::Answer(Answer::Clock(_)))));
    }
    for code in [ErrorCode::UNSPECIFIED, ErrorCode::UNSUPPORTED_REQUEST, ErrorCode(0xEE)] {
        let mut line = Line::new();
        let error = after(code, &mut line).unwrap_err();
        assert_eq!(error, SpdmError::Refused { asked: "VENDOR_DEFINED_REQUEST", code });
    }
}

#[test]
fn what_nobody_asked_for_is_refused() {
    let mut line = Line::new();
    let version = bytes(&Response::Version(vec![0x1200]));
    assert_eq!(line.requester.receive(&version).unwrap_err(), SpdmError::Unasked);
    line.run(PROVE).unwrap();
    assert_eq!(line.requester.receive(&version).unwrap_err(), SpdmError::Unasked);
    line.requester.start(command()).unwrap();
    line.requester.abandon();
    assert_eq!(line.requester.receive(&version).unwrap_err(), SpdmError::Unasked, "a late answer");
    let step = line.requester.start(command()).unwrap();
    assert_eq!(step, Step::Send(vec![0x10, 0x84, 0, 0]), "the next job begins a connection");
}

#[test]
fn a_command_that_no_device_takes_is_not_begun() {
    let mut line = Line::new();
    let bad = || Job::Command(Command::FirmwareBlock { offset: 0, bytes: vec![] });
    assert!(line.requester.start(bad()).is_err());
    line.run(command()).unwrap();
    assert!(line.requester.start(bad()).is_err());
    line.run(command()).unwrap();
    assert_eq!(line.answered, 5, "the connection was not touched");
}

proptest! {
    #[test]
    fn arbitrary_answers_never_panic(
        at in 0usize..7,
        answer in proptest::collection::vec(any::<u8>(), 0..200),
        bend in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let _ = with_answer(at, &answer);
        let _ = Line::new().run_with(PROVE, |now, real| if now == at {
            let place = bend.index(real.len());
            real[place] = value;
        });
    }
}
