//! Proofs that hold, and every way that was thought of to make them hold for something else.

use proptest::prelude::*;

use super::*;
use crate::measurement::index;
use crate::testing::{Chip, Line, NONCE};

#[test]
fn a_proof_holds_and_says_what_was_proven() {
    let mut line = Line::new();
    let (authentication, measurements) = line.prove();
    let who = Authentication::parse(&authentication).unwrap();
    assert_eq!((who.nonce, who.certificates), (NONCE, line.chip.chain.certificates.clone()));
    assert_eq!(who.root_hash, line.chip.chain.root_hash);
    let what = Measurements::parse(&authentication, &measurements).unwrap();
    assert_eq!((what.nonce, &what.blocks), (NONCE, &line.chip.blocks));
    assert_eq!(what.summary, who.summary);
    assert_eq!(what.block(index::SVN).and_then(Block::as_svn), Some(7));
    assert_eq!(what.block(index::MANIFEST), None);

    let who = Authentication::parse(&authentication).unwrap();
    who.verify(&line.chip.spki()).unwrap();
    what.verify(&line.chip.spki()).unwrap();
    let stranger = Chip::new(1).spki();
    assert_eq!(who.verify(&stranger).unwrap_err(), SpdmError::Signature("CHALLENGE_AUTH"));
    assert_eq!(what.verify(&stranger).unwrap_err(), SpdmError::Signature("MEASUREMENTS"));
}

/// The same by hand: the standard's own words, without what this crate has for it.
#[test]
fn what_is_signed_is_what_the_standard_says() {
    let mut line = Line::new();
    let (authentication, measurements) = line.prove();
    let (m1, l1) =
        (authentication.concat(), [authentication[..VCA].concat(), measurements.concat()].concat());
    for (transcript, padding, context) in
        [(m1, 4, "responder-challenge_auth signing"), (l1, 6, "responder-measurements signing")]
    {
        let (transcript, signature) = transcript.split_at(transcript.len() - 256);
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, transcript);
        let version = "dmtf-spdm-v1.2.*".repeat(4);
        let signed = [version.as_bytes(), &vec![0; padding], context.as_bytes(), hash.as_ref()].concat();
        let scheme = &aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
        let key = aws_lc_rs::signature::UnparsedPublicKey::new(scheme, line.chip.spki());
        key.verify(&signed, signature).unwrap();
    }
    let nonce_at = authentication[authentication.len() - 2].len() - 32;
    assert_eq!(authentication[authentication.len() - 2][nonce_at..], NONCE);
}

fn holds(authentication: &[Vec<u8>], measurements: &[Vec<u8>], spki: &[u8]) -> (bool, bool) {
    let who = Authentication::parse(authentication).is_ok_and(|who| who.verify(spki).is_ok());
    let what = Measurements::parse(authentication, measurements).is_ok_and(|what| what.verify(spki).is_ok());
    (who, what)
}

#[test]
fn no_byte_of_a_proof_can_be_changed() {
    let mut line = Line::new();
    let (authentication, measurements) = line.prove();
    let spki = line.chip.spki();
    assert_eq!(holds(&authentication, &measurements, &spki), (true, true), "the control");
    for message in 0..authentication.len() {
        for at in 0..authentication[message].len() {
            let mut bent = authentication.clone();
            bent[message][at] ^= 1;
            let (who, what) = holds(&bent, &measurements, &spki);
            assert!(!who, "message {message}, byte {at}");
            assert!(!what || message >= VCA, "message {message}, byte {at}");
        }
    }
    for message in 0..measurements.len() {
        for at in 0..measurements[message].len() {
            let mut bent = measurements.clone();
            bent[message][at] ^= 1;
            assert!(!holds(&authentication, &bent, &spki).1, "message {message}, byte {at}");
        }
    }
}

#[test]
fn no_message_can_be_left_out_repeated_moved_or_cut() {
    let (authentication, measurements) = Line::new().prove();
    let last = authentication.len() - 1;
    for at in 0..=last {
        let mut less = authentication.clone();
        less.remove(at);
        assert!(Authentication::parse(&less).is_err(), "without {at}");
        let mut twice = authentication.clone();
        twice.insert(at, authentication[at].clone());
        assert!(Authentication::parse(&twice).is_err(), "{at} twice");
        if at < last {
            let mut moved = authentication.clone();
            moved.swap(at, at + 1);
            assert!(Authentication::parse(&moved).is_err(), "{at} moved");
        }
        let mut cut = authentication.clone();
        cut[at].pop();
        assert!(Authentication::parse(&cut).is_err(), "{at} cut");
    }
    for wrong in [&[][..], &measurements[..1], &measurements[1..], &authentication[..2]] {
        assert!(Measurements::parse(&authentication, wrong).is_err());
    }
    assert!(Measurements::parse(&authentication[..5], &measurements).is_err());
    let both = [&authentication[..], &measurements[..]].concat();
    let error = Authentication::parse(&both).unwrap_err();
    assert_eq!(error, SpdmError::Sequence { at: last + 1, expected: "the end" });
    assert!(matches!(Authentication::parse(&vec![vec![]; 1000]), Err(SpdmError::TooLong { .. })));
}

#[test]
fn the_error_says_which_message_is_out_of_place() {
    let (mut authentication, _) = Line::new().prove();
    authentication.remove(6);
    assert_eq!(
        Authentication::parse(&authentication).unwrap_err().to_string(),
        "malformed DIGESTS: its code is not known"
    );
    authentication.remove(6);
    assert_eq!(
        Authentication::parse(&authentication).unwrap_err().to_string(),
        "message 6 of the exchange is not GET_DIGESTS"
    );
}

#[test]
fn measurements_of_one_challenge_do_not_pass_for_another() {
    let mut line = Line::new();
    let (first, _) = line.prove();
    line.chip.blocks[4] = Block::svn(8);
    let (second, measurements) = line.prove();
    let summary = |messages: &[Vec<u8>]| Authentication::parse(messages).unwrap().summary;
    let what = Measurements::parse(&first, &measurements).unwrap();
    assert_ne!(what.summary, summary(&first), "the caller compares them");
    assert_eq!(what.summary, summary(&second), "the control");
}

#[test]
fn a_device_of_another_suite_proves_nothing() {
    let (good, measurements) = Line::new().prove();
    // Message, byte, value: capabilities and algorithms that a relay, or the device itself, would like better.
    for (message, at, value) in [
        (1, 7, 0x11),  // VERSION 1.1 only
        (3, 8, 0x14),  // no certificates
        (3, 8, 0x12),  // no challenge
        (3, 8, 0x0E),  // measurements without signature
        (3, 10, 0x14), // alias certificates
        (4, 8, 4),     // RSASSA-3072 offered
        (4, 12, 2),    // SHA-384 offered
        (5, 8, 1),     // raw measurements
        (5, 12, 4),    // RSASSA-3072 selected
        (5, 16, 2),    // SHA-384 selected
    ] {
        let mut bent = good.clone();
        bent[message][at] = value;
        let is_downgrade = |result: Result<(), SpdmError>| matches!(result, Err(SpdmError::Downgrade(_)));
        assert!(is_downgrade(Authentication::parse(&bent).map(drop)), "message {message}, byte {at}");
        assert!(is_downgrade(Measurements::parse(&bent, &measurements).map(drop)));
    }
}

proptest! {
    #[test]
    fn arbitrary_transcripts_never_panic(
        messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..16),
        kept in 0usize..14,
    ) {
        let _ = Authentication::parse(&messages);
        let (good, _) = Line::new().prove();
        let mixed: Vec<Vec<u8>> = good.into_iter().take(kept).chain(messages).collect();
        let _ = Authentication::parse(&mixed);
        let _ = Measurements::parse(&mixed, &mixed[mixed.len().min(6)..]);
    }
}
