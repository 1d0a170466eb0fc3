//! Structures that a forge makes, cut and changed.

use proptest::prelude::*;

use super::*;
use crate::testing::{Key, PublicForge};

/// TPMS_ATTEST of a GetTime, byte by byte after the specification.
fn time() -> Vec<u8> {
    [
        &[0xFF, b'T', b'C', b'G', 0x80, 0x19][..],
        &[0, 2, 0xAA, 0xBB],             // qualifiedSigner
        &[0, 3, 1, 2, 3],                // extraData
        &[0, 0, 0, 0, 0, 0, 1, 0],       // clock
        &[0, 0, 0, 4, 0, 0, 0, 5, 1],    // resetCount, restartCount, safe
        &[0x20, 0x19, 0, 0, 0, 0, 0, 1], // firmwareVersion
        &[0, 0, 0, 0, 0, 0, 0, 9],       // time
        &[0, 0, 0, 0, 0, 0, 1, 0],
        &[0, 0, 0, 4, 0, 0, 0, 5, 1],
        &[0x20, 0x19, 0, 0, 0, 0, 0, 1],
    ]
    .concat()
}

#[test]
fn every_field_is_where_it_belongs() {
    let attest = Attest::parse(&time()).unwrap();
    assert_eq!((attest.qualified_signer, attest.extra_data), (vec![0xAA, 0xBB], vec![1, 2, 3]));
    assert_eq!(attest.clock, Clock { clock: 256, reset_count: 4, restart_count: 5, safe: true });
    assert_eq!(attest.firmware_version, 0x2019_0000_0000_0001);
    assert_eq!(attest.content, Content::Time { time: 9 });
}

#[test]
fn nothing_may_be_missing_or_too_much() {
    let good = time();
    for end in 0..good.len() {
        assert!(Attest::parse(&good[..end]).is_err(), "{end}");
    }
    let error = Attest::parse(&[good.as_slice(), &[0]].concat()).unwrap_err().to_string();
    assert_eq!(error, "TPMS_ATTEST: 1 bytes follow its end");
    let public = PublicForge::of(&Key::generate(), Attributes::SIGN).bytes();
    assert!(Public::parse(&public).is_ok());
    for end in 0..public.len() {
        assert!(Public::parse(&public[..end]).is_err(), "{end}");
    }
}

#[test]
fn what_it_says_of_the_tpm_must_be_one_story() {
    for (at, value, why) in [
        (6 + 4 + 5 + 16, 2, "safe is 2"),
        (time().len() - 14, 9, "two different things"),
        (time().len() - 1, 9, "two different things"),
        (5, 0x1A, "type 801A"),
        (0, 0xFE, "no TPM made this"),
    ] {
        let mut changed = time();
        changed[at] = value;
        let error = Attest::parse(&changed).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_public_area_is_the_key_of_its_certificate() {
    let key = Key::generate();
    let public = Public::parse(&PublicForge::of(&key, Attributes::SIGN).bytes()).unwrap();
    assert_eq!(public.spki, key.spki());
    assert!(public.usual_exponent && public.fixed_scheme && public.key_bits == 2048);
    let mut other = PublicForge::of(&key, Attributes::SIGN);
    other.modulus[0] &= 0x7F;
    assert!(Public::parse(&other.bytes()).unwrap_err().to_string().contains("no modulus of 2048 bits"));
    assert_eq!(
        format!("{:?}", Attributes(0x0005_0472)),
        "fixedTPM|fixedParent|sensitiveDataOrigin|userWithAuth|noDA|restricted|sign"
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0_usize..80, value: u8) {
        let _ = (Public::parse(&bytes), signature(&bytes), Attest::parse(&bytes));
        let mut near = time();
        if let Some(byte) = near.get_mut(at) {
            *byte = value;
        }
        let _ = Attest::parse(&near);
    }
}
