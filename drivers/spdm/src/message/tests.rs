//! Known layouts, round trips, and what is refused.

use proptest::prelude::*;

use super::*;
use crate::testing;

fn requests() -> Vec<Request> {
    vec![
        Request::GetVersion,
        Request::GetCapabilities(Capabilities::REQUESTER),
        Request::NegotiateAlgorithms(Offer::SUITE),
        Request::GetDigests,
        Request::GetCertificate { offset: 0x0102, length: 0x0304 },
        Request::Challenge { nonce: testing::NONCE },
        Request::GetMeasurements { nonce: testing::NONCE },
        Request::GetCsr,
        Request::Vendor(vec![1, 2, 3]),
        Request::RespondIfReady { request: 0xFE, token: 9 },
    ]
}

fn responses() -> Vec<Response> {
    vec![
        Response::Version(vec![0x1100, 0x1200]),
        Response::Capabilities(Capabilities::RESPONDER),
        Response::Algorithms(SUITE),
        Response::Digests([7; 32]),
        Response::Certificate { portion: vec![1, 2, 3], remainder: 0x0102 },
        Response::ChallengeAuth(Box::new(ChallengeAuth {
            chain_hash: [1; 32],
            nonce: [2; 32],
            summary: [3; 32],
            signature: [4; SIGNATURE],
        })),
        Response::Measurements(Box::new(Measured {
            blocks: testing::blocks(),
            nonce: [5; 32],
            signature: [6; SIGNATURE],
        })),
        Response::Csr(vec![0x30, 0]),
        Response::Vendor(vec![]),
        Response::Error(Failure::new(ErrorCode::BUSY)),
        Response::Error(Failure::NotReady { exponent: 1, request: 0xFE, token: 3, multiplier: 4 }),
    ]
}

#[test]
fn layouts_are_those_of_the_standard() {
    let hex = |message: Result<Vec<u8>, SpdmError>| hex::encode(message.unwrap());
    let nonce = "5a".repeat(32);
    let mut requests = requests().into_iter().map(|request| hex(request.encode()));
    let mut is = |layout: String| assert_eq!(requests.next().unwrap(), layout);
    is("10840000".into());
    is("12e10000 00000000 00000000 0c000100 0c000100".replace(' ', ""));
    is("12e30000 2000 01 00 01000000 01000000 000000000000000000000000 00 00 0000".replace(' ', ""));
    is("12810000".into());
    is("12820000 0201 0403".replace(' ', ""));
    is(format!("128300ff{nonce}"));
    is(format!("12e001ff{nonce}00"));
    is("12ed0000 0000 0000".replace(' ', ""));
    is("12fe0000 0400 04 d97e0000 0300 010203".replace(' ', ""));
    is("12fffe09".into());

    let mut responses = responses().into_iter().map(|response| hex(response.encode()));
    let mut is = |layout: String| assert_eq!(responses.next().unwrap(), layout);
    let (signature, field) = (|byte: &str| byte.repeat(256), |byte: &str| byte.repeat(32));
    is("10040000 00 02 0011 0012".replace(' ', ""));
    is("12610000 00 14 0000 16001000 0c000100 0c000100".replace(' ', ""));
    is("12630000 2400 01 00 02000000 01000000 01000000 000000000000000000000000 00 00 0000".replace(' ', ""));
    is(format!("12010001{}", field("07")));
    is("12020000 0300 0201 010203".replace(' ', ""));
    is(format!("12030001{}{}{}0000{}", field("01"), field("02"), field("03"), signature("04")));
    let record = hex::encode(crate::measurement::encode(&testing::blocks()).unwrap());
    let length = record.len() / 2;
    assert_eq!(length, 4 * 39 + 15 + 12 + 23);
    is(format!("12600000 07 {length:02x}0000{record}{}0000{}", field("05"), signature("06"))
        .replace(' ', ""));
    is("126d0000 0200 0000 3000".replace(' ', ""));
    is("127e0000 0400 04 d97e0000 0000".replace(' ', ""));
    is("127f0300".into());
    is("127f4200 01fe0304".replace(' ', ""));
}

#[test]
fn every_message_is_read_as_it_was_written_and_in_one_length_only() {
    for request in requests() {
        let bytes = request.encode().unwrap();
        assert_eq!(Request::decode(&bytes).unwrap(), request);
        for shorter in 0..bytes.len() {
            assert!(Request::decode(&bytes[..shorter]).is_err(), "{request:?} in {shorter} bytes");
        }
        assert!(Request::decode(&[&bytes[..], &[0]].concat()).is_err(), "{request:?} and a byte");
    }
    for response in responses() {
        let bytes = response.encode().unwrap();
        assert_eq!(Response::decode(&bytes).unwrap(), response);
        for shorter in 0..bytes.len() {
            assert!(Response::decode(&bytes[..shorter]).is_err(), "{response:?} in {shorter} bytes");
        }
        let longer = Response::decode(&[&bytes[..], &[0]].concat());
        let is_open_ended = matches!(response, Response::Error(Failure::Plain { .. }));
        assert_eq!(longer.is_ok(), is_open_ended, "{response:?} and a byte");
    }
}

/// Message, place, value: each makes a good message bad.
#[test]
fn fixed_and_reserved_fields_are_checked() {
    let bent = |mut bytes: Vec<u8>, at: usize, value: u8| {
        assert_ne!(bytes[at], value);
        bytes[at] = value;
        bytes
    };
    let requests = requests();
    for (which, at, value) in [
        (1, 0, 0x11), // version
        (1, 2, 1),    // parameters
        (1, 3, 1),
        (1, 4, 1),  // reserved
        (1, 5, 25), // CTExponent
        (1, 6, 1),  // reserved
        (1, 12, 9), // DataTransferSize is not MaxSPDMmsgSize
        (2, 2, 1),  // structure tables
        (2, 4, 33), // Length
        (2, 7, 2),  // OtherParamsSupport
        (2, 16, 1), // reserved
        (2, 28, 1), // ExtAsymCount
        (3, 3, 1),  // parameters
        (4, 2, 1),  // SlotID
        (4, 3, 1),  // reserved
        (5, 2, 1),  // SlotID
        (5, 3, 0),  // MeasurementSummaryHashType
        (6, 2, 0),  // unsigned
        (6, 3, 1),  // one measurement
        (6, 36, 1), // SlotID
        (7, 4, 1),  // RequesterInfoLength
        (7, 6, 1),  // OpaqueDataLength
        (8, 4, 3),  // StandardID
        (8, 6, 2),  // VendorIDLength
        (8, 7, 0),  // VendorID
        (8, 11, 4), // ReqLength
    ] {
        let bad = bent(requests[which].encode().unwrap(), at, value);
        assert!(Request::decode(&bad).is_err(), "{:?}, byte {at}", requests[which]);
    }
    let responses = responses();
    for (which, at, value) in [
        (0, 0, 0x12), // version of VERSION
        (0, 4, 1),    // reserved
        (0, 5, 0),    // count
        (0, 5, 3),
        (1, 4, 1),    // reserved
        (1, 12, 9),   // DataTransferSize is not MaxSPDMmsgSize
        (2, 4, 35),   // Length
        (2, 7, 1),    // OtherParamsSelection
        (2, 20, 1),   // reserved
        (2, 32, 1),   // ExtAsymSelCount
        (3, 2, 1),    // reserved
        (3, 3, 3),    // another slot
        (4, 2, 1),    // SlotID
        (4, 4, 0),    // PortionLength
        (5, 2, 0x80), // mutual authentication
        (5, 3, 2),    // another slot
        (5, 100, 1),  // OpaqueDataLength
        (6, 2, 1),    // reserved
        (6, 3, 1),    // SlotID
        (6, 4, 6),    // NumberOfBlocks
        (6, 5, 0),    // MeasurementRecordLength
        (7, 4, 0),    // CSRLength
        (7, 6, 1),    // reserved
        (8, 4, 0),    // StandardID
        (10, 3, 1),   // ErrorData
    ] {
        let bad = bent(responses[which].encode().unwrap(), at, value);
        assert!(Response::decode(&bad).is_err(), "{:?}, byte {at}", responses[which]);
    }
}

#[test]
fn what_does_not_fit_its_length_field_is_not_written() {
    let too_long = |result: Result<Vec<u8>, SpdmError>| matches!(result, Err(SpdmError::TooLong { .. }));
    assert!(Request::Vendor(vec![0; MAX_PAYLOAD]).encode().is_ok_and(|m| m.len() == crate::MAX_MESSAGE));
    assert!(too_long(Request::Vendor(vec![0; MAX_PAYLOAD + 1]).encode()));
    assert!(too_long(Response::Version(vec![0x1200; 17]).encode()));
    assert!(too_long(Response::Certificate { portion: vec![0; 65_536], remainder: 0 }.encode()));
    assert!(too_long(Response::Csr(vec![0; 9000]).encode()));
}

#[test]
fn requests_are_no_responses() {
    for request in requests() {
        assert!(Response::decode(&request.encode().unwrap()).is_err(), "{request:?}");
    }
    for response in responses() {
        assert!(Request::decode(&response.encode().unwrap()).is_err(), "{response:?}");
    }
}

/// There is one way to write a message: whatever is read is written the same again.
fn is_canonical(message: &[u8]) {
    if let Ok(request) = Request::decode(message) {
        let written = request.encode().unwrap();
        assert_eq!(written.get(1..), message.get(1..), "{request:?}");
    }
    match Response::decode(message) {
        // Extended data, version and the "changed" bits are passed over.
        Ok(Response::Error(_)) | Err(_) => {}
        Ok(response) => {
            let mut message = message.to_vec();
            if matches!(response, Response::Measurements(_)) {
                message[3] &= !0x30;
            }
            assert_eq!(response.encode().unwrap(), message, "{response:?}");
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_messages_never_panic(code in any::<u8>(), rest in proptest::collection::vec(any::<u8>(), 0..400)) {
        is_canonical(&rest);
        is_canonical(&[&[0x12, code][..], &rest].concat());
    }

    #[test]
    fn bent_messages_never_panic(
        which in any::<prop::sample::Index>(),
        bends in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let all: Vec<Vec<u8>> = requests().iter().map(Request::encode)
            .chain(responses().iter().map(Response::encode)).map(Result::unwrap).collect();
        let mut message = all[which.index(all.len())].clone();
        for (at, value) in bends {
            let at = at.index(message.len());
            message[at] = value;
        }
        is_canonical(&message);
    }
}
