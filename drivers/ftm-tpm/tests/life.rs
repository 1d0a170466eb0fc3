//! The life of keys in a TPM: conformance, persistence, power cuts, crash points of rotation and destruction, counters.

#![allow(clippy::unwrap_used)] // helpers of tests fail like tests

mod common;

use biotrust_driver_api::conformance::{self, Verifier};
use biotrust_driver_api::{Ftm, FtmError, Sealer};
use biotrust_ftm_tpm::TpmFtm;
use biotrust_model::evidence::FtmKind;
use common::*;

fn current(ftm: &mut TpmFtm, name: &str) -> Vec<u8> {
    let mut key = ftm.load(name).unwrap();
    let signature = key.sign_rs256(b"it works").unwrap();
    assert!(AwsLc.verifies(key.public_key_der(), b"it works", &signature));
    key.public_key_der().to_vec()
}

#[test]
fn it_lives_the_life_of_an_ftm() {
    let bench = Bench::new();
    let mut ftm = bench.open();
    conformance::ftm_life_cycle(&mut ftm, &AwsLc).unwrap();
    assert_eq!(ftm.kind(), FtmKind::Tpm);
    drop(ftm);
    assert!(files(&bench.keys()).is_empty(), "no key is left");
    assert_eq!(
        held(&bench.tpm),
        Held { transient: 0, sessions: 0, persistent: 5 },
        "two EKs, SRK, IDevID, IAK"
    );
}

#[test]
fn keys_outlive_the_process_and_the_power() {
    let mut bench = Bench::new();
    let mut ftm = bench.open_provisioned();
    let chip = ftm.identity_public_key().unwrap();
    let key = enrol(&mut ftm, "SN1");
    drop(ftm);
    let mut ftm = bench.open();
    assert_eq!(current(&mut ftm, "SN1"), key);
    let mut loaded = ftm.load("SN1").unwrap();

    // The connection, the session and whatever was loaded are gone; the next command makes them again.
    bench.tpm.own().power_cycle().unwrap();
    assert!(AwsLc.verifies(&key, b"after", &loaded.sign_rs256(b"after").unwrap()));
    bench.tpm.own().power_cycle().unwrap();
    assert!(AwsLc.verifies(&chip, b"chip", &ftm.sign_identity_rs256(b"chip").unwrap()));
    assert_eq!(ftm.identity_chain().unwrap().len(), 2, "certificates stay in the TPM");

    bench.tpm.own().cut_power();
    let (is, next) = state(loaded.sign_rs256(b"without"));
    assert!(is.contains("no TPM answers") && next.contains("see that it is there"), "{is}: {next}");
    bench.tpm.own().power_on().unwrap();
    assert!(AwsLc.verifies(&key, b"again", &loaded.sign_rs256(b"again").unwrap()));
}

#[test]
fn power_cuts_lock_nothing() {
    // Each unannounced end counts as a wrong password for keys that are protected against guessing; ours are not.
    let mut bench = Bench::new();
    let mut ftm = bench.open();
    let key = enrol(&mut ftm, "SN1");
    for _ in 0..8 {
        bench.tpm.own().power_cycle().unwrap();
        assert_eq!(current(&mut ftm, "SN1"), key);
        ftm.sign_identity_rs256(b"chip").unwrap();
    }
    assert!(ftm.notices().iter().all(|notice| !notice.contains("lockout")), "{:?}", ftm.notices());
}

#[test]
fn a_key_lies_ready_for_the_next_rotation() {
    let bench = Bench::new();
    let mut ftm = bench.open();
    assert!(!ftm.idle().unwrap() && !ftm.idle().unwrap());
    assert_eq!(files(&bench.keys()), ["spare.key"]);
    let spare = std::fs::read(bench.keys().join("spare.key")).unwrap();
    let key = enrol(&mut ftm, "SN1");
    assert_eq!(std::fs::read(bench.keys().join("SN1.current.key")).unwrap(), spare, "it was taken");
    assert_eq!(files(&bench.keys()), ["SN1.current.key"]);
    // Nobody else gets the same.
    assert_ne!(enrol(&mut ftm, "SN2"), key);
    // A damaged one is no obstacle.
    std::fs::write(bench.keys().join("spare.key"), b"BTPM1").unwrap();
    enrol(&mut ftm, "SN3");
}

#[test]
fn every_crash_point_of_a_rotation_leaves_the_state_before_or_after_it() {
    let bench = Bench::new();
    let old = enrol(&mut bench.open(), "SN1");
    let path = |name: &str| bench.keys().join(name);

    // While the next key was written, and after it was made and before it was taken.
    std::fs::write(path("spare.key.tmp"), b"half").unwrap();
    bench.open().idle().unwrap();
    let mut ftm = bench.open();
    assert_eq!(ftm.next_public_key("SN1").unwrap(), None);
    assert_eq!(current(&mut ftm, "SN1"), old);

    // After it was taken.
    let csr = ftm.begin_rotation("SN1", "SN1", "Org").unwrap();
    drop(ftm);
    let mut ftm = bench.open();
    let next = AwsLc.csr_key(&csr).unwrap();
    assert_eq!(ftm.next_public_key("SN1").unwrap(), Some(next.clone()));
    assert!(AwsLc.verifies(&next, b"x", &ftm.sign_next_rs256("SN1", b"x").unwrap()));
    assert_eq!(current(&mut ftm, "SN1"), old);

    // After the old key got its second name, before it was replaced.
    drop(ftm);
    std::fs::hard_link(path("SN1.current.key"), path("SN1.current.key.gone")).unwrap();
    let mut ftm = bench.open();
    assert_eq!(current(&mut ftm, "SN1"), old);
    ftm.finish_rotation("SN1").unwrap();
    assert_eq!(current(&mut ftm, "SN1"), next);
    assert!(matches!(ftm.finish_rotation("SN1"), Err(FtmError::NoKey(_))));

    // A next key that the TPM does not load replaces nothing.
    ftm.begin_rotation("SN1", "SN1", "Org").unwrap();
    let mut damaged = std::fs::read(path("SN1.next.key")).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(path("SN1.next.key"), damaged).unwrap();
    assert!(ftm.finish_rotation("SN1").is_err());
    assert_eq!(current(&mut ftm, "SN1"), next);

    // Destroyed: the next key first, then the current one; a name on its way out is no key any more.
    drop(ftm);
    std::fs::remove_file(path("SN1.next.key")).unwrap();
    assert_eq!(current(&mut bench.open(), "SN1"), next);
    std::fs::rename(path("SN1.current.key"), path("SN1.current.key.gone")).unwrap();
    assert!(matches!(bench.open().load("SN1"), Err(FtmError::NoKey(_))));
    assert!(files(&bench.keys()).is_empty());
}

#[test]
fn a_destroyed_key_cannot_be_had_from_what_its_file_was() {
    let bench = Bench::new();
    let mut ftm = bench.open();
    enrol(&mut ftm, "SN1");
    let mut held = std::fs::File::open(bench.keys().join("SN1.current.key")).unwrap();
    ftm.destroy("SN1").unwrap();
    let mut left = Vec::new();
    std::io::Read::read_to_end(&mut held, &mut left).unwrap();
    assert!(left.len() > 300 && left.iter().all(|b| *b == 0));
}

#[test]
fn keys_of_another_tpm_are_worthless() {
    let (one, other) = (Bench::new(), Bench::new());
    enrol(&mut one.open(), "SN1");
    let mut ftm = other.open();
    std::fs::copy(one.keys().join("SN1.current.key"), other.keys().join("SN1.current.key")).unwrap();
    assert!(state(ftm.load("SN1")).0.contains("cleared or replaced"));
    // Also where somebody writes the other storage key's name into the file: the TPM refuses.
    enrol(&mut ftm, "SN2");
    let ours = std::fs::read(other.keys().join("SN2.current.key")).unwrap();
    let mut theirs = std::fs::read(one.keys().join("SN1.current.key")).unwrap();
    theirs[..41].copy_from_slice(&ours[..41]);
    std::fs::write(other.keys().join("SN1.current.key"), theirs).unwrap();
    let (is, _) = state(ftm.load("SN1"));
    assert!(is.contains("cleared or replaced") && is.contains("0x"), "{is}");
}

#[test]
fn floors_and_failures_only_grow_and_outlive_power_cuts() {
    let mut bench = Bench::new();
    let mut ftm = bench.open();
    assert_eq!((ftm.svn_floor().unwrap(), ftm.failures().unwrap()), (0, 0));
    ftm.raise_svn_floor(3).unwrap();
    ftm.raise_svn_floor(2).unwrap();
    assert_eq!(ftm.svn_floor().unwrap(), 3, "never back");
    assert!(matches!(ftm.raise_svn_floor(1_000_000), Err(FtmError::Unusable { .. })));
    assert_eq!((1..=10).map(|_| ftm.count_failure().unwrap()).last(), Some(10));
    bench.tpm.own().power_cycle().unwrap();
    drop(ftm);
    let mut ftm = bench.open();
    assert_eq!((ftm.svn_floor().unwrap(), ftm.failures().unwrap()), (3, 10));
    ftm.clear_failures().unwrap();
    assert_eq!((ftm.svn_floor().unwrap(), ftm.failures().unwrap()), (3, 0));
    assert_eq!(ftm.count_failure().unwrap(), 1);
}

#[test]
fn the_clock_counts_resets() {
    let mut bench = Bench::new();
    let mut ftm = bench.open();
    let (first, second) = (ftm.clock().unwrap(), ftm.clock().unwrap());
    assert!(second.clock_ms >= first.clock_ms && second.resets == first.resets);
    bench.tpm.own().power_cycle().unwrap();
    assert_ne!(ftm.clock().unwrap().resets, first.resets);
}

#[test]
fn a_sealed_secret_opens_in_this_tpm_alone() {
    let (one, other) = (Bench::new(), Bench::new());
    let mut ftm = one.open();
    let sealed = ftm.seal(&[7; 32]).unwrap();
    assert_eq!(ftm.unseal(&sealed).unwrap().expose(), [7; 32]);
    assert!(!sealed.windows(8).any(|window| window == [7; 8]));
    assert!(state(other.open().unseal(&sealed)).0.contains("cleared or replaced"));
    assert!(matches!(ftm.unseal(b"nothing"), Err(FtmError::Unusable { .. })));
}
