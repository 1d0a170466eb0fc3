//! The module over a real pseudo-terminal and over HID reports: a whole life of keys, proofs that hold, and everything
//! that may happen to a cable.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests fail like tests

mod bench;

use biosim_scanner::{Kind, ModuleDevice, Spec, VirtualDevice};
use biotrust_attest::evidence::{self, Claims};
use biotrust_attest::signed::{Signer, prepare};
use biotrust_attest::{Challenge, CheckName, Expected, Outcome, Policy, verify};
use biotrust_certs::Ftm as FtmDomain;
use biotrust_driver_api::{Ftm, FtmError, conformance};
use biotrust_ftm_link::FtmLink;
use biotrust_model::evidence::{EvidencePurpose, FtmKind, KeySlot};
use biotrust_model::time::{Clock as _, SystemClock};
use biotrust_model::{Level, Purpose};

use bench::*;

const NAME: &str = "BT0123456789";

#[test]
fn a_whole_life_of_a_key_over_a_serial_line() {
    let bench = Bench::new("FTM-M1");
    conformance::ftm_life_cycle(&mut bench.open().unwrap(), &AwsLc).unwrap();
    assert!(bench.module.key_names().is_empty(), "destroyed in the module too");
}

#[test]
fn a_whole_life_of_a_key_over_hid_reports() {
    let module = ModuleDevice::build("FTM-M2", pki(), &SystemClock).unwrap();
    let mut ftm = FtmLink::open(hid_connect(&module), hid_found()).unwrap();
    conformance::ftm_life_cycle(&mut ftm, &AwsLc).unwrap();
}

#[test]
fn a_whole_life_of_a_key_over_usb() {
    let module = ModuleDevice::build("FTM-M9", pki(), &SystemClock).unwrap();
    let (connect, _cable) = usb_connect(&module);
    let mut ftm = FtmLink::open(connect, usb_found()).unwrap();
    conformance::ftm_life_cycle(&mut ftm, &AwsLc).unwrap();
}

#[test]
fn names_have_keys_of_their_own_and_a_handle_signs_beside_everything_else() {
    let bench = Bench::new("FTM-M3");
    let mut ftm = bench.open().unwrap();
    for name in ["one", "two"] {
        ftm.begin_rotation(name, name, "Provider").unwrap();
        ftm.finish_rotation(name).unwrap();
    }
    let (mut one, mut two) = (ftm.load("one").unwrap(), ftm.load("two").unwrap());
    assert_ne!(one.public_key_der(), two.public_key_der());
    ftm.begin_rotation("one", "one", "Provider").unwrap();
    let [by_one, by_two] = [&mut one, &mut two].map(|key| key.sign_rs256(b"message").unwrap());
    assert!(AwsLc.verifies(one.public_key_der(), b"message", &by_one));
    assert!(AwsLc.verifies(two.public_key_der(), b"message", &by_two));
    assert!(!AwsLc.verifies(one.public_key_der(), b"message", &by_two));
    let next = ftm.next_public_key("one").unwrap().unwrap();
    assert!(AwsLc.verifies(&next, b"first", &ftm.sign_next_rs256("one", b"first").unwrap()));
    // A handle on a key that is replaced meanwhile gives an error, and no signature by another key.
    ftm.finish_rotation("one").unwrap();
    let error = one.sign_rs256(b"message").unwrap_err();
    assert!(matches!(&error, FtmError::Unusable { why, .. } if why.contains("not by the key")), "{error}");
    ftm.destroy("two").unwrap();
    assert!(matches!(two.sign_rs256(b"x"), Err(FtmError::NoKey(name)) if name == "two"));
    assert!(matches!(ftm.load("../two"), Err(FtmError::Unusable { .. })));
}

#[test]
fn evidence_about_a_sensor_with_a_module_beside_it_is_good_and_level_0() {
    let bench = Bench::new("FTM-M4");
    let mut ftm = bench.open().unwrap();
    assert_eq!((ftm.kind(), FtmLink::LEVEL), (FtmKind::Spdm, Level::L0));
    assert!(ftm.notices().iter().any(|notice| notice.contains("L0, key in a module")));
    let csr = ftm.begin_rotation(NAME, "SN-1", "Provider").unwrap();
    let challenge =
        Challenge::new([7; 32], "https://verifier.example", EvidencePurpose::DeviceKey, SystemClock.now());
    let proof = ftm.prove(&challenge.binding(), Some((NAME, KeySlot::Next))).unwrap();
    let chain = ftm.identity_chain().unwrap();
    let spec = Spec { kind: Kind::SingleFinger, level: Level::L0, purpose: Purpose::Registration };
    let identity = spec.description(7, &maker()).identity;
    let mut claims =
        Claims::beside(&identity, Level::L0, "sensor 1.0", chain.first().map(Vec::as_slice), &proof);
    let document = |claims: &Claims, ftm: &mut FtmLink| {
        let payload = evidence::payload(&challenge, claims, &proof, SystemClock.now());
        let unsigned = prepare("eat+jwt", &Signer::Chain(&chain), &payload).unwrap();
        let signature = ftm.sign_identity_rs256(unsigned.signing_input())?;
        Ok::<_, FtmError>(unsigned.attach(&signature))
    };
    let jws = document(&claims, &mut ftm).unwrap();
    let store = pki().store::<FtmDomain>().unwrap();
    let expected = Expected {
        challenge: Some(&challenge),
        now: SystemClock.now(),
        ftm: &store,
        identity: Some(&identity),
        csr: Some(&csr),
        device_key: None,
        models: None,
        known_chip: None,
        policy: Policy::default(),
    };
    let report = verify(&jws, &expected);
    let attested = report.verdict().unwrap_or_else(|check| panic!("{check:?}"));
    assert_eq!(attested.level, Level::L0);
    assert!(attested.why_not_l1.as_ref().unwrap().contains("key in a module"), "{attested:?}");
    let failed = report.checks().iter().filter(|check| check.outcome == Outcome::Fail).count();
    assert_eq!(failed, 0, "{:#?}", report.checks());
    // Negative control: the same evidence for another key.
    let other = ftm.begin_rotation("other", "SN-2", "Provider").unwrap();
    let report = verify(&jws, &Expected { csr: Some(&other), ..expected });
    assert!(report.failed().any(|check| check.name == CheckName::DeviceKey), "{:#?}", report.checks());
    // And the chip signs no evidence that claims more, and nothing that is no evidence.
    claims.level = Level::L1;
    let refused = document(&claims, &mut ftm).unwrap_err();
    assert!(matches!(&refused, FtmError::Unusable { why, .. } if why.contains("is L0")), "{refused}");
    let anything = prepare("JWT", &Signer::Chain(&chain), "{}").unwrap();
    assert!(matches!(ftm.sign_identity_rs256(anything.signing_input()), Err(FtmError::Unsupported(_))));
}

#[test]
fn a_module_that_is_pulled_and_plugged_in_again_goes_on_with_its_keys() {
    let bench = Bench::new("FTM-M5");
    let mut ftm = bench.open().unwrap();
    ftm.begin_rotation(NAME, NAME, "Provider").unwrap();
    ftm.finish_rotation(NAME).unwrap();
    let mut key = ftm.load(NAME).unwrap();
    bench.module.unplug();
    let error = key.sign_rs256(b"while it is away").unwrap_err();
    assert!(matches!(&error, FtmError::State { next, .. } if next.contains("plug the module in")), "{error}");
    assert!(matches!(ftm.begin_rotation(NAME, NAME, "Provider"), Err(FtmError::State { .. })));
    bench.plug();
    let signature = key.sign_rs256(b"again").unwrap();
    assert!(AwsLc.verifies(key.public_key_der(), b"again", &signature));
    // Pulled and plugged in again while nobody looked: the next call notices, and nobody else.
    bench.module.unplug();
    bench.plug();
    key.sign_rs256(b"at once").unwrap();
    assert_eq!(ftm.identity_chain().unwrap().len(), 2, "asked anew: its own certificate and its issuer's");
}

#[test]
fn another_module_at_the_same_port_has_no_such_key() {
    let bench = Bench::new("FTM-M6");
    let mut ftm = bench.open().unwrap();
    ftm.begin_rotation(NAME, NAME, "Provider").unwrap();
    ftm.finish_rotation(NAME).unwrap();
    let mut key = ftm.load(NAME).unwrap();
    bench.module.unplug();
    let other = ModuleDevice::build("FTM-M6", pki(), &SystemClock).unwrap();
    other.plug(bench.links.path()).unwrap();
    assert!(matches!(key.sign_rs256(b"x"), Err(FtmError::NoKey(_))));
    assert!(matches!(ftm.load(NAME), Err(FtmError::NoKey(_))));
    // Even when it makes one of that name.
    ftm.begin_rotation(NAME, NAME, "Provider").unwrap();
    ftm.finish_rotation(NAME).unwrap();
    assert!(matches!(key.sign_rs256(b"x"), Err(FtmError::Unusable { .. })));
}

#[test]
fn what_is_no_module_is_told_with_what_to_do() {
    let bench = Bench::new("FTM-M7");
    bench.module.unplug();
    let absent = bench.open().err().unwrap();
    assert!(matches!(&absent, FtmError::State { next, .. } if next.contains("[ftm] port")), "{absent}");
    // A biometric device without a trust module at the same place.
    let spec = Spec { kind: Kind::SingleFinger, level: Level::L0, purpose: Purpose::Registration };
    let device = VirtualDevice::build(spec, workshop()).unwrap();
    device.plug(bench.links.path()).unwrap();
    let place = bench.links.path().join(format!("{}.tty", device.serial()));
    let stranger = FtmLink::open(serial_connect(&place), serial_found(&place)).err().unwrap();
    assert!(
        matches!(&stranger, FtmError::State { state, .. } if state.contains("no trust module")),
        "{stranger}"
    );
    // A line on which nobody answers.
    let silent = biotrust_pipe::pty::open_pair().unwrap();
    let place = silent.slave_path().to_owned();
    let start = std::time::Instant::now();
    let nobody = FtmLink::open(serial_connect(&place), serial_found(&place)).err().unwrap();
    assert!(matches!(&nobody, FtmError::State { state, .. } if state.contains("no answer")), "{nobody}");
    assert!(start.elapsed().as_secs() < 10);
}

#[test]
fn a_module_has_room_for_so_many_names() {
    let bench = Bench::new("FTM-M8");
    let mut ftm = bench.open().unwrap();
    for number in 0..32 {
        ftm.begin_rotation(&format!("n{number}"), "CN", "O").unwrap();
    }
    let full = ftm.begin_rotation("n32", "CN", "O").unwrap_err();
    assert!(full.to_string().contains("kept already"), "{full}");
    ftm.destroy("n0").unwrap();
    ftm.begin_rotation("n32", "CN", "O").unwrap();
}
