//! The device's end: order, limits, and what a module can do wrong.

use proptest::prelude::*;

use super::*;
use crate::message::Offer;
use crate::testing::{Chip, NONCE};
use crate::transcript::{Authentication, Measurements};

fn bytes(request: &Request) -> Vec<u8> {
    request.encode().unwrap()
}

/// The requests of a proof, in order.
fn proof() -> Vec<Request> {
    vec![
        Request::GetVersion,
        Request::GetCapabilities(Capabilities::REQUESTER),
        Request::NegotiateAlgorithms(Offer::SUITE),
        Request::GetDigests,
        Request::GetCertificate { offset: 0, length: 2000 },
        Request::GetCertificate { offset: 2000, length: 2000 },
        Request::Challenge { nonce: NONCE },
        Request::GetMeasurements { nonce: NONCE },
    ]
}

/// Requests that need a connection and nothing else.
fn others() -> Vec<Request> {
    let payload = Command::TimeGet.encode().unwrap();
    vec![
        Request::GetDigests,
        Request::GetMeasurements { nonce: NONCE },
        Request::GetCsr,
        Request::Vendor(payload),
    ]
}

fn answered(responder: &mut Responder, request: &Request) -> Response {
    Response::decode(&responder.answer(&Chip::new(0), &bytes(request))).unwrap()
}

fn refused(response: &Response) -> Option<ErrorCode> {
    match response {
        Response::Error(failure) => Some(failure.code()),
        _ => None,
    }
}

/// A responder after the first `count` requests of a proof.
fn after(count: usize) -> Responder {
    let mut responder = Responder::new();
    for request in proof().iter().take(count) {
        assert_eq!(refused(&answered(&mut responder, request)), None, "{request:?}");
    }
    responder
}

#[test]
fn each_request_has_its_turn_and_no_other() {
    let all: Vec<Request> = proof().into_iter().chain(others()).collect();
    for done in 0..=proof().len() {
        for request in &all {
            let may = match request {
                Request::GetVersion => true,
                Request::GetCapabilities(_) => done == 1,
                Request::NegotiateAlgorithms(_) => done == 2,
                Request::GetCertificate { offset: 0, .. } => done == 4,
                Request::GetCertificate { .. } => done == 5,
                Request::Challenge { .. } => done == 6,
                _ => done >= 3,
            };
            let code = refused(&answered(&mut after(done), request));
            assert_eq!(code.is_none(), may, "{request:?} after {done}: {code:?}");
            let known = [None, Some(ErrorCode::UNEXPECTED_REQUEST), Some(ErrorCode::INVALID_REQUEST)];
            assert!(known.contains(&code), "{request:?} after {done}: {code:?}");
        }
    }
    let ready = Request::RespondIfReady { request: 0xFE, token: 0 };
    assert_eq!(refused(&answered(&mut after(8), &ready)), Some(ErrorCode::UNEXPECTED_REQUEST));
}

#[test]
fn an_error_changes_nothing() {
    let mut responder = after(3);
    assert!(refused(&answered(&mut responder, &Request::Challenge { nonce: NONCE })).is_some());
    assert!(refused(&answered(&mut responder, &Request::GetCapabilities(Capabilities::REQUESTER))).is_some());
    for request in proof().iter().skip(3) {
        assert_eq!(refused(&answered(&mut responder, request)), None, "{request:?}");
    }
}

#[test]
fn get_version_ends_what_was_begun() {
    for done in 0..=proof().len() {
        let mut responder = after(done);
        assert!(matches!(answered(&mut responder, &Request::GetVersion), Response::Version(_)));
        for request in proof().iter().skip(2).chain(&others()) {
            let code = refused(&answered(&mut responder, request));
            assert_eq!(code, Some(ErrorCode::UNEXPECTED_REQUEST), "{request:?} after {done} and GET_VERSION");
        }
    }
}

#[test]
fn a_challenge_needs_its_own_identification_and_portions_go_out_once() {
    let mut responder = after(7);
    let again = answered(&mut responder, &Request::Challenge { nonce: NONCE });
    assert_eq!(refused(&again), Some(ErrorCode::UNEXPECTED_REQUEST));
    let mut responder = after(5);
    let twice = answered(&mut responder, &Request::GetCertificate { offset: 0, length: 10 });
    assert_eq!(refused(&twice), Some(ErrorCode::INVALID_REQUEST));
    let early = answered(&mut responder, &Request::Challenge { nonce: NONCE });
    assert_eq!(refused(&early), Some(ErrorCode::UNEXPECTED_REQUEST), "the blob is not complete");
    // Beginning again with GET_DIGESTS is in order, and the proof holds.
    let (chip, mut messages) = (Chip::new(0), Vec::new());
    for (at, request) in proof().iter().enumerate() {
        let question = bytes(request);
        let answer = responder.answer(&chip, &question);
        messages.extend([question, answer]);
        if at == 4 {
            messages.truncate(6);
            for request in &proof()[3..5] {
                let question = bytes(request);
                let answer = responder.answer(&chip, &question);
                messages.extend([question, answer]);
            }
        }
    }
    let measurements = messages.split_off(messages.len() - 2);
    Authentication::parse(&messages).unwrap().verify(&chip.spki()).unwrap();
    Measurements::parse(&messages, &measurements).unwrap().verify(&chip.spki()).unwrap();
}

#[test]
fn errors_have_the_codes_of_the_standard() {
    let code = |message: &[u8]| {
        refused(&Response::decode(&after(3).answer(&Chip::new(0), message)).unwrap()).unwrap()
    };
    assert_eq!(code(&[]), ErrorCode::INVALID_REQUEST);
    assert_eq!(code(&[0x12, 0xE4, 0, 0]), ErrorCode::UNSUPPORTED_REQUEST, "KEY_EXCHANGE");
    assert_eq!(code(&[0x12, 0x85, 0, 0]), ErrorCode::UNSUPPORTED_REQUEST, "CHUNK_SEND");
    assert_eq!(code(&[0x11, 0x81, 0, 0]), ErrorCode::VERSION_MISMATCH);
    assert_eq!(code(&[0x12, 0x81, 1, 0]), ErrorCode::INVALID_REQUEST);
    assert_eq!(code(&[0x12, 0x81, 0, 0, 0]), ErrorCode::INVALID_REQUEST);
    assert_eq!(code(&[0x12, 0x82, 1, 0, 0, 0, 0, 1]), ErrorCode::INVALID_REQUEST, "slot 1");
    assert_eq!(code(&vec![0x12; MAX_MESSAGE + 1]), ErrorCode::REQUEST_TOO_LARGE);
    let mut responder = after(2);
    let weak = Offer { hash: 2, ..Offer::SUITE };
    assert_eq!(
        refused(&answered(&mut responder, &Request::NegotiateAlgorithms(weak))),
        Some(ErrorCode::INVALID_REQUEST)
    );
    let more = Offer { hash: 3, asymmetric: 0x15, ..Offer::SUITE };
    assert_eq!(answered(&mut responder, &Request::NegotiateAlgorithms(more)), Response::Algorithms(SUITE));
}

#[test]
fn a_module_that_fails_is_an_error_and_the_connection_stays() {
    let break_it: [fn(&mut Chip); 5] = [
        |chip| chip.fails = true,
        |chip| chip.short_signature = true,
        |chip| chip.blocks.reverse(),
        |chip| chip.chain.certificates.clear(),
        |chip| chip.csr = Some(vec![0; 100_000]),
    ];
    for (which, broken) in break_it.into_iter().enumerate() {
        let mut chip = Chip::new(0);
        broken(&mut chip);
        let (mut responder, mut codes) = (Responder::new(), Vec::new());
        for request in proof().iter().chain(&others()) {
            let answer = responder.answer(&chip, &bytes(request));
            codes.extend(refused(&Response::decode(&answer).unwrap()));
        }
        assert!(codes.contains(&ErrorCode::UNSPECIFIED), "{which}: {codes:?}");
        assert!(answered(&mut responder, &Request::GetMeasurements { nonce: NONCE }).code() == 0x60);
    }
    let chip = Chip { csr: None, ..Chip::new(0) };
    let answer = after(3).answer(&chip, &bytes(&Request::GetCsr));
    assert_eq!(refused(&Response::decode(&answer).unwrap()), Some(ErrorCode::UNEXPECTED_REQUEST));
}

#[test]
fn nonces_of_a_device_do_not_repeat() {
    let nonce = || match answered(&mut after(6), &Request::Challenge { nonce: NONCE }) {
        Response::ChallengeAuth(auth) => auth.nonce,
        other => panic!("{other:?}"),
    };
    assert_ne!(nonce(), nonce());
}

proptest! {
    #[test]
    fn arbitrary_requests_in_any_order_never_panic_and_do_no_lasting_harm(
        requests in proptest::collection::vec((0usize..12, proptest::collection::vec(any::<u8>(), 0..60), any::<bool>()), 0..12),
    ) {
        let (chip, mut responder) = (Chip::new(0), Responder::new());
        let all: Vec<Request> = proof().into_iter().chain(others()).collect();
        for (which, garbage, good) in requests {
            let message = if good { bytes(&all[which]) } else { garbage };
            prop_assert!(Response::decode(&responder.answer(&chip, &message)).is_ok());
        }
        for request in proof() {
            prop_assert_eq!(refused(&answered(&mut responder, &request)), None);
        }
    }
}
