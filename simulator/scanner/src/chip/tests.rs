//! What every chip does, and what the FTM provider does not certify.

use std::sync::LazyLock;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use biotrust_certs::{Certificate, Csr, Ftm};
use biotrust_model::time::{Clock as _, SystemClock};

use super::*;

static PKI: LazyLock<TestPki> =
    LazyLock::new(|| TestPki::mint(TestPki::DEFAULT_SPEC, SystemClock.now()).unwrap());

fn chip(kind: ChipKind) -> Box<dyn Chip> {
    make(kind, &PKI, "FTM-1", SystemClock.now()).unwrap()
}

fn is_signature(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key).verify(message, signature).is_ok()
}

fn conforms(chip: &dyn Chip) {
    let path = PKI.store::<Ftm>().unwrap().verify(&chip.chain()[0], SystemClock.now()).unwrap();
    assert_eq!(path.leaf().spki_der(), chip.public_key_der());
    assert_eq!(path.leaf().subject().common_name(), Some("FTM-1"));
    let signature = chip.sign_rs256(b"message").unwrap();
    assert!(is_signature(chip.public_key_der(), b"message", &signature));
    assert!(!is_signature(chip.public_key_der(), b"another", &signature), "control");

    chip.make_ahead().unwrap();
    let first = chip.make_key("SN1", "Example").unwrap();
    let second = chip.make_key("SN1", "Example").unwrap();
    for made in [&first, &second] {
        let csr = Csr::verify(&made.csr).unwrap();
        assert_eq!(csr.spki_der(), made.key.public_key_der());
        let signature = made.key.sign_rs256(b"capture").unwrap();
        assert!(is_signature(csr.spki_der(), b"capture", &signature));
    }
    assert_ne!(first.key.public_key_der(), second.key.public_key_der());
    let kept = first.key;
    drop(second.key);
    assert!(kept.sign_rs256(b"x").is_ok(), "the end of one key is not that of another");

    let counters = chip.counters();
    let started = counters.count_boot().unwrap();
    assert_eq!((counters.svn_floor(), counters.failed_attempts()), (Ok(0), Ok(0)));
    counters.raise_svn_floor(3).unwrap();
    counters.raise_svn_floor(1).unwrap();
    counters.count_failed_attempt().unwrap();
    counters.count_failed_attempt().unwrap();
    assert_eq!(counters.count_boot(), Ok(started + 1));
    assert_eq!((counters.svn_floor(), counters.failed_attempts()), (Ok(3), Ok(2)), "they outlive a start");
    counters.clear_failed_attempts().unwrap();
    assert_eq!((counters.svn_floor(), counters.failed_attempts()), (Ok(3), Ok(0)));
    assert!(kept.sign_rs256(b"x").is_ok(), "and so do keys");
}

#[test]
fn a_chip_in_software_conforms() {
    conforms(chip(ChipKind::Software).as_ref());
}

#[test]
fn a_chip_that_is_a_tpm_conforms() {
    conforms(chip(ChipKind::Swtpm).as_ref());
}

#[test]
fn chips_differ() {
    let chips = [chip(ChipKind::Software), chip(ChipKind::Software)];
    let leaf = |chip: &dyn Chip| Certificate::parse(&chip.chain()[0]).unwrap().spki_der().to_vec();
    assert_ne!(leaf(chips[0].as_ref()), leaf(chips[1].as_ref()));
}
