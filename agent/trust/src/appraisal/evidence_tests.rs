//! Evidence and memory, each with the case that passes beside the one that fails.

use std::sync::LazyLock;
use std::time::Duration;

use biotrust_attest::metadata::{Document, Status, StatusReport};
use biotrust_attest::testing::{SpdmForge, World};
use biotrust_attest::{Challenge, Expected, Policy, Report, verify};
use biotrust_model::Level;
use biotrust_model::evidence::{EvidencePurpose, FtmKind};
use biotrust_model::time::UtcMillis;

use super::*;

/// 2030-01-01T00:00:00Z.
static WORLD: LazyLock<World> = LazyLock::new(|| World::new(UtcMillis(1_893_456_000_000)));

fn challenge() -> Challenge {
    WORLD.challenge(EvidencePurpose::DeviceKey)
}

/// What is found in `evidence` about the device's own key, under the rules of the adopter's list `document`.
fn judged(evidence: &str, document: Option<&Document>) -> Report {
    let (challenge, identity) = (challenge(), WORLD.identity());
    let models = document.map(|document| WORLD.metadata(document));
    let expected = Expected {
        challenge: Some(&challenge),
        now: WORLD.now,
        ftm: &WORLD.ftm,
        identity: Some(&identity),
        csr: None,
        device_key: Some(WORLD.device.spki()),
        models: models.as_ref(),
        known_chip: None,
        policy: Policy { l1_without_metadata: true, ..Policy::default() },
    };
    verify(evidence, &expected)
}

fn good() -> String {
    SpdmForge::new(&WORLD, &challenge()).evidence()
}

fn device_chain(spki: &[u8]) -> Vec<Vec<u8>> {
    let organisation = format!("O={}", WORLD.pki.organisation(biotrust_certs::Domain::Device));
    let order = biotrust_certs::Order::leaf(
        biotrust_certs::Authority::DeviceProvider,
        spki,
        vec![organisation, "CN=SN0000000001".to_owned()],
        biotrust_certs::Validity::starting(WORLD.now, Duration::from_secs(30 * 86_400)),
    );
    WORLD.pki.issue(&order).unwrap()
}

fn certified(device: &[u8], chip_chain: &[Vec<u8>]) -> Appraisal<AppraisedL1> {
    let store = WORLD.pki.store().unwrap();
    appraise_l1(&WORLD.identity(), &device_chain(device), chip_chain, &store, &WORLD.ftm, WORLD.now)
}

fn device() -> Appraisal<AppraisedL1> {
    certified(WORLD.device.spki(), &WORLD.chip_chain)
}

fn last<T>(appraisal: &Appraisal<T>) -> (CheckName, Outcome) {
    appraisal.checks().last().map(|check| (check.name, check.outcome)).unwrap()
}

#[test]
fn certificates_alone_are_worth_l0_and_evidence_makes_it_l1() {
    let bare = device().into_device().unwrap();
    assert_eq!(bare.granted(), Level::L0);
    assert!(bare.why_not_l1().unwrap().contains("nothing was proven"));

    let proven = device().with_evidence(&judged(&good(), Some(&WORLD.document(FtmKind::Spdm))));
    assert_eq!(proven.verdict(), Ok(()));
    assert_eq!(last(&proven), (CheckName::Granted, Outcome::Pass));
    let mut names: Vec<_> = proven.checks().iter().map(|check| check.name.as_str()).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "one name, one check: {names:?}");
    let proven = proven.into_device().unwrap();
    assert_eq!((proven.granted(), proven.why_not_l1()), (Level::L1, None));
}

#[test]
fn a_model_that_is_not_certified_l1_is_served_as_l0_with_the_reason() {
    let mut document = WORLD.document(FtmKind::Spdm);
    document.models[0].level = Level::L0;
    let appraisal = device().with_evidence(&judged(&good(), Some(&document)));
    assert_eq!(last(&appraisal), (CheckName::Granted, Outcome::Warning));
    let device = appraisal.into_device().unwrap();
    assert_eq!(device.granted(), Level::L0);
    assert!(device.why_not_l1().is_some_and(|why| !why.is_empty()));
}

#[test]
fn a_failed_check_of_the_evidence_refuses_the_device_by_its_name() {
    let mut forge = SpdmForge::new(&WORLD, &challenge());
    forge.statement = None;
    let failed = device().with_evidence(&judged(&forge.evidence(), None)).verdict().unwrap_err();
    assert_eq!(failed.name, CheckName::Evidence(biotrust_attest::CheckName::DeviceKey));
    assert!(failed.to_string().starts_with("device-key: "), "{failed}");
    let garbage = device().with_evidence(&judged("not evidence", None)).verdict().unwrap_err();
    assert_eq!(garbage.name, CheckName::Evidence(biotrust_attest::CheckName::EvidenceForm));
}

#[test]
fn evidence_speaks_for_the_keys_of_both_certificates_or_for_nothing() {
    let report = judged(&good(), None);
    assert_eq!(report.verdict().map(drop), Ok(()), "the evidence itself is good");
    assert_eq!(device().with_evidence(&report).verdict(), Ok(()));
    let other_device = certified(WORLD.other.spki(), &WORLD.chip_chain).with_evidence(&report);
    assert_eq!(other_device.verdict().unwrap_err().name, CheckName::EvidenceKeys);
    let by = biotrust_certs::Authority::FtmProvider;
    let life = biotrust_certs::Validity::starting(WORLD.now, Duration::from_secs(86_400));
    let other_chip = WORLD.chip_chain_by(by, &WORLD.other, life);
    let relayed = certified(WORLD.device.spki(), &other_chip).with_evidence(&report);
    assert_eq!(relayed.verdict().unwrap_err().name, CheckName::EvidenceKeys);
}

#[test]
fn what_proves_nothing_is_l0_or_refused_and_never_silently_l1() {
    let served = device().without_evidence("it knows no attestation", false);
    assert_eq!(served.verdict(), Ok(()));
    let served = served.into_device().unwrap();
    assert_eq!(served.granted(), Level::L0);
    assert!(served.why_not_l1().unwrap().contains("it knows no attestation"));
    let refused = device().without_evidence("it knows no attestation", true).verdict().unwrap_err();
    assert_eq!(refused.name, CheckName::Granted);
}

#[test]
fn a_chip_has_one_device_and_a_device_one_chip() {
    let known = |chip: Option<&[u8]>, other: Option<&str>| {
        let history =
            History { chip_of_device: chip.map(<[u8]>::to_vec), chip_in_other: other.map(str::to_owned) };
        device().with_history(&history)
    };
    assert_eq!(last(&known(None, None)), (CheckName::ChipHistory, Outcome::Pass));
    assert_eq!(last(&known(Some(WORLD.chip.spki()), None)), (CheckName::ChipHistory, Outcome::Pass));
    let clone = known(Some(WORLD.other.spki()), None).verdict().unwrap_err();
    assert_eq!(clone.name, CheckName::ChipHistory);
    assert!(clone.text.contains("`biotrust device forget SN0000000001`"), "{clone}");
    let moved = known(None, Some("SN0000000002")).verdict().unwrap_err();
    assert!(moved.text.contains("seen in device SN0000000002"), "{moved}");
    assert!(moved.text.contains("forget SN0000000002"), "{moved}");
}

/// A chip certificate is public: what shows that of a device that proved itself here, and proves nothing, is a copy of it.
#[test]
fn what_proved_itself_before_and_proves_nothing_now_is_refused() {
    let known = |chip: Option<&[u8]>| {
        let history = History { chip_of_device: chip.map(<[u8]>::to_vec), chip_in_other: None };
        device().with_history(&history).without_evidence("it knows no attestation", false)
    };
    assert_eq!(known(None).verdict(), Ok(()), "control: nobody saw it prove anything");
    let copy = known(Some(WORLD.chip.spki())).verdict().unwrap_err();
    assert_eq!(copy.name, CheckName::Granted);
    assert!(copy.text.contains("it knows no attestation") && copy.text.contains("before"), "{copy}");
    assert!(copy.text.contains("`biotrust device forget SN0000000001`"), "{copy}");
}

#[test]
fn at_l0_the_hosts_module_is_worth_a_look_and_the_model_decides() {
    let store = WORLD.pki.store().unwrap();
    let l0 = || {
        appraise_l0(&WORLD.identity(), &device_chain(WORLD.device.spki()), &store, WORLD.now)
            .with_keys_in(FtmKind::Tpm)
    };
    let text = &l0().checks().last().unwrap().text.clone();
    assert!(text.contains("keys in the host's TPM; the level stays L0 because"), "{text}");
    let module = appraise_l0(&WORLD.identity(), &device_chain(WORLD.device.spki()), &store, WORLD.now)
        .with_keys_in(FtmKind::Spdm);
    let text = &module.checks().last().unwrap().text;
    assert!(text.starts_with("L0, key in a module beside the scanner; the level stays L0"), "{text}");
    let broken = l0().with_evidence(&judged("not evidence", None));
    assert_eq!(broken.verdict(), Ok(()));
    assert_eq!(last(&broken).1, Outcome::Warning);
    assert_eq!(last(&l0().without_evidence("the TPM is locked")).1, Outcome::Warning);

    let software = WORLD.software_evidence(&challenge(), Level::L0);
    let mut document = WORLD.document(FtmKind::Software);
    document.models[0].level = Level::L0;
    let listed = l0().with_evidence(&judged(&software, Some(&document)));
    assert_eq!(listed.verdict(), Ok(()));
    document.models[0].status = vec![revoked()];
    let revoked = l0().with_evidence(&judged(&software, Some(&document)));
    let failed = revoked.verdict().unwrap_err();
    assert_eq!(failed.name, CheckName::Evidence(biotrust_attest::CheckName::Model), "{failed}");
}

fn revoked() -> StatusReport {
    StatusReport {
        status: Status::Revoked,
        effective: UtcMillis(WORLD.now.0 - 86_400_000),
        below_svn: None,
        reason: "recalled".to_owned(),
    }
}
