//! Virtual L1 devices over a real pseudo-terminal prove themselves to the library that everybody judges evidence with;
//! each fault is stopped by the check that is there for it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    missing_docs,
    unreachable_pub,
    reason = "helpers of tests may panic, as tests may"
)]

mod bench;

use std::sync::LazyLock;
use std::time::Duration;

use bench::{Bench, PATIENCE, workshop};
use biosim_scanner::{ChipCertificate, ChipKind, Faults, Kind, Options, Release};
use biotrust_attest::metadata::{self, Document, Metadata};
use biotrust_attest::signed::{self, Signer};
use biotrust_attest::{Challenge, CheckName, Expected, Outcome, Policy, Report, evidence};
use biotrust_certs::{Certificate, Csr, Ftm, FtmStore, SignerPurpose};
use biotrust_driver_api::{ChipDocument, DeviceErrorKind, DeviceEvent, DigitalIdKey};
use biotrust_model::evidence::{EvidencePurpose, KeySlot, Proof};
use biotrust_model::time::{Clock, SystemClock};
use biotrust_model::{DeviceStatus, Level};

static CHIPS: LazyLock<FtmStore> = LazyLock::new(|| workshop().pki.store::<Ftm>().unwrap());

/// What the adopter says: the current release and the next, nothing below security version 1.
static MODELS: LazyLock<Metadata> = LazyLock::new(|| {
    let (now, pki) = (SystemClock.now(), &workshop().pki);
    let releases = [Release::outdated(), Release::current(), Release::next()];
    let model = |kind| {
        let identity = bench::identity(kind);
        workshop().factory.model(&identity, &releases, 1).unwrap()
    };
    let document = Document {
        number: 1,
        issued_at: now,
        next_update: now.plus(Duration::from_secs(86_400)),
        models: vec![model(Kind::Face), model(Kind::SingleIris)],
    };
    let signer = pki.signer(SignerPurpose::Metadata, now).unwrap();
    let unsigned =
        signed::prepare(metadata::TYP, &Signer::Chain(&signer.chain), &document.to_json()).unwrap();
    let signature = signer.sign_rs256(unsigned.signing_input());
    Metadata::verify(&unsigned.attach(&signature), &pki.adopter_store().unwrap(), now, 0).unwrap()
});

fn challenge(purpose: EvidencePurpose) -> Challenge {
    let mut nonce = [0; 32];
    nonce[..8].copy_from_slice(&SystemClock.now().0.to_le_bytes());
    Challenge::new(nonce, "manager.example", purpose, SystemClock.now())
}

/// Asks the device for a proof, has its chip sign the evidence around it, and judges that.
fn judged(bench: &Bench, key: KeySlot, csr: Option<&[u8]>) -> Report {
    let challenge = challenge(EvidencePurpose::DeviceKey);
    let proof = bench.host.prove(&challenge.binding(), Some(key), PATIENCE).unwrap();
    let evidence = signed_evidence(bench, &challenge, &proof).unwrap();
    let keys = bench.host.keys(PATIENCE).unwrap();
    let current = keys.device_chain.first().map(|der| Certificate::parse(der).unwrap().spki_der().to_vec());
    let expected = Expected {
        challenge: Some(&challenge),
        now: SystemClock.now(),
        ftm: &CHIPS,
        identity: Some(&bench.host.description().identity),
        csr,
        device_key: current.as_deref().filter(|_| key == KeySlot::Current),
        models: Some(&MODELS),
        known_chip: None,
        policy: Policy::default(),
    };
    biotrust_attest::verify(&evidence, &expected)
}

fn signed_evidence(
    bench: &Bench,
    challenge: &Challenge,
    proof: &Proof,
) -> Result<String, biotrust_driver_api::DeviceError> {
    let description = bench.host.description();
    let keys = bench.host.keys(PATIENCE)?;
    let chip = keys.chip_chain.first().map(Vec::as_slice);
    let claims = evidence::Claims::beside(
        &description.identity,
        description.level,
        &description.firmware,
        chip,
        proof,
    );
    let payload = evidence::payload(challenge, &claims, proof, SystemClock.now());
    bench.host.sign_as_chip(ChipDocument::Evidence, &payload, PATIENCE)
}

fn failed(report: &Report) -> Vec<CheckName> {
    report.failed().map(|check| check.name).collect()
}

fn assert_proven(report: &Report) {
    let shown = format!("{:#?}", report.checks());
    let attested = report.verdict().unwrap_or_else(|failed| panic!("{failed}\n{shown}"));
    assert_eq!((attested.level, attested.svn), (Level::L1, Some(1)), "{shown}");
    let passed = |name| report.checks().iter().any(|c| c.name == name && c.outcome == Outcome::Pass);
    for name in [CheckName::ChipModel, CheckName::DeviceKey, CheckName::Measurements, CheckName::DeviceMode] {
        assert!(passed(name), "{name}: {shown}");
    }
}

#[test]
fn a_good_device_is_l1() {
    let bench = Bench::new(Kind::Face, &Options::default());
    assert_proven(&judged(&bench, KeySlot::Current, None));
}

#[test]
fn a_device_whose_chip_is_a_tpm_is_l1_and_its_keys_are_born_there() {
    let options = Options { chip: ChipKind::Swtpm, registered: false, ..Options::default() };
    let mut bench = Bench::new(Kind::Face, &options);
    let serial = bench.host.description().identity.serial_no.clone();
    let csr = bench.host.begin_rotation(&serial, "Example Devices Ltd", PATIENCE).unwrap();
    assert_proven(&judged(&bench, KeySlot::Next, Some(&csr)));
    let hour = Duration::from_secs(3600);
    let chain = workshop().pki.issue_device_certificate(&csr, SystemClock.now(), hour).unwrap();
    bench.host.finish_rotation(&chain, PATIENCE).unwrap();
    assert_proven(&judged(&bench, KeySlot::Current, Some(&csr)));

    let starts = bench.host.clock(PATIENCE).unwrap().boot_count;
    bench.power_cycle();
    assert_eq!(bench.host.clock(PATIENCE).unwrap().boot_count, starts + 1, "the TPM counts them");
    assert_proven(&judged(&bench, KeySlot::Current, Some(&csr)));
    assert_eq!(bench.host.keys(PATIENCE).unwrap().device_chain, chain);
}

#[test]
fn each_fault_is_stopped_by_its_check() {
    let faulty = |faults| Options { faults, ..Options::default() };
    let certified = |certificate| Options { certificate, ..Options::default() };
    for (options, check) in [
        (faulty(Faults { debug_mode: true, ..Faults::default() }), CheckName::DeviceMode),
        (faulty(Faults { tampered_firmware: true, ..Faults::default() }), CheckName::Measurements),
        (Options { release: Release::outdated(), ..Options::default() }, CheckName::Svn),
        (certified(ChipCertificate::Cloned), CheckName::ChipModel),
        (certified(ChipCertificate::Foreign), CheckName::ChipPath),
    ] {
        let bench = Bench::new(Kind::Face, &options);
        let report = judged(&bench, KeySlot::Current, None);
        assert!(failed(&report).contains(&check), "{options:?}: {:#?}", report.checks());
        assert!(report.verdict().is_err());
    }
}

#[test]
fn a_fault_is_switched_on_and_off_while_the_device_runs() {
    let bench = Bench::new(Kind::SingleIris, &Options::default());
    assert_proven(&judged(&bench, KeySlot::Current, None));
    bench.device.set_faults(Faults { tampered_firmware: true, ..Faults::default() });
    assert_eq!(failed(&judged(&bench, KeySlot::Current, None)), [CheckName::Measurements]);
    bench.device.set_faults(Faults::default());
    assert_proven(&judged(&bench, KeySlot::Current, None));
}

#[test]
fn a_device_without_attestation_proves_nothing() {
    let faults = Faults { no_attestation: true, ..Faults::default() };
    let bench = Bench::new(Kind::Face, &Options { faults, ..Options::default() });
    assert_eq!(bench.host.description().level, Level::L1, "what it claims");
    let binding = challenge(EvidencePurpose::Identity).binding();
    let error = bench.host.prove(&binding, None, PATIENCE).unwrap_err();
    assert_eq!(error.kind, DeviceErrorKind::Unsupported, "{error}");
    assert!(bench.host.status(PATIENCE).is_ok(), "and works all the same");
}

#[test]
fn a_device_registers_rotates_and_is_deregistered() {
    let pki = &workshop().pki;
    let bench = Bench::new(Kind::Face, &Options { registered: false, ..Options::default() });
    let serial = bench.host.description().identity.serial_no.clone();
    let report = bench.host.status(PATIENCE).unwrap();
    assert_eq!(report.status, DeviceStatus::NotRegistered);
    assert!(bench.host.keys(PATIENCE).unwrap().device_chain.is_empty());
    assert_eq!(
        bench.host.digital_id(DigitalIdKey::Device, PATIENCE).unwrap_err().kind,
        DeviceErrorKind::NotRegistered
    );
    assert!(bench.host.digital_id(DigitalIdKey::Chip, PATIENCE).is_ok());
    let unbegun = bench.host.finish_rotation(&[vec![1]], PATIENCE).unwrap_err();
    assert_eq!(unbegun.kind, DeviceErrorKind::Unsupported, "{unbegun}");

    for (name, organisation) in
        [("BSM000000000", "Example Devices Ltd"), (serial.as_str(), "Other Devices Ltd")]
    {
        let error = bench.host.begin_rotation(name, organisation, PATIENCE).unwrap_err();
        assert_eq!(error.kind, DeviceErrorKind::Unsupported, "in another name: {error}");
    }

    let mut before: Option<Vec<u8>> = None;
    for _ in 0..2 {
        let csr = bench.host.begin_rotation(&serial, "Example Devices Ltd", PATIENCE).unwrap();
        assert_proven(&judged(&bench, KeySlot::Next, Some(&csr)));
        assert_eq!(bench.host.keys(PATIENCE).unwrap().device_chain.first(), before.as_ref(), "not yet");
        let chain = pki.issue_device_certificate(&csr, SystemClock.now(), Duration::from_secs(3600)).unwrap();
        bench.events.try_iter().for_each(drop);
        bench.host.finish_rotation(&chain, PATIENCE).unwrap();
        assert!(matches!(bench.events.recv_timeout(PATIENCE).unwrap(), DeviceEvent::KeysChanged));
        assert_eq!(bench.host.keys(PATIENCE).unwrap().device_chain, chain);
        assert_eq!(bench.host.status(PATIENCE).unwrap().status, DeviceStatus::Ready);
        assert_proven(&judged(&bench, KeySlot::Current, Some(&csr)));
        before = chain.first().cloned();
    }
    bench.host.destroy_device_key(PATIENCE).unwrap();
    assert!(bench.host.keys(PATIENCE).unwrap().device_chain.is_empty());
    assert_eq!(bench.host.status(PATIENCE).unwrap().status, DeviceStatus::NotRegistered);
    let binding = challenge(EvidencePurpose::DeviceKey).binding();
    let error = bench.host.prove(&binding, Some(KeySlot::Current), PATIENCE).unwrap_err();
    assert_eq!(error.kind, DeviceErrorKind::NotRegistered, "{error}");
    assert!(bench.host.prove(&binding, None, PATIENCE).is_ok(), "the chip key stays");
}

#[test]
fn only_the_providers_certificate_for_the_very_key_is_installed() {
    use biotrust_certs::{Authority, Domain, Order, Validity};
    let pki = &workshop().pki;
    let bench = Bench::new(Kind::Face, &Options::default());
    let before = bench.host.keys(PATIENCE).unwrap();
    let serial = bench.host.description().identity.serial_no.clone();
    let hour = Duration::from_secs(3600);
    let old = bench.host.begin_rotation(&serial, "Example Devices Ltd", PATIENCE).unwrap();
    let csr = bench.host.begin_rotation(&serial, "Example Devices Ltd", PATIENCE).unwrap();
    let spki = Csr::verify(&csr).unwrap().spki_der().to_vec();
    let ordered = |by, name: &str, validity| {
        pki.issue(&Order::leaf(by, &spki, pki.subject_of(Domain::Device, name), validity)).unwrap()
    };
    let now = SystemClock.now();
    let good = Validity::starting(now, hour);
    let refused = [
        pki.issue_device_certificate(&old, now, hour).unwrap(),
        ordered(Authority::DeviceProvider, "BSM999999999", good),
        ordered(Authority::DeviceProvider, &serial, Validity::expired(now)),
        ordered(Authority::DeviceProvider, &serial, Validity::not_yet(now)),
        ordered(Authority::Stranger, &serial, good),
        ordered(Authority::FtmProvider, &serial, good),
        vec![],
        vec![b"not a certificate".to_vec()],
    ];
    for chain in &refused {
        assert!(bench.host.finish_rotation(chain, PATIENCE).is_err());
        assert_eq!(bench.host.keys(PATIENCE).unwrap(), before);
    }
    let other = vec!["O=Other Devices Ltd".to_owned(), format!("CN={serial}")];
    let other = pki.issue(&Order::leaf(Authority::OtherProvider, &spki, other, good)).unwrap();
    assert!(bench.host.finish_rotation(&other, PATIENCE).is_err(), "another provider under the same root");
    let chain = ordered(Authority::DeviceProvider, &serial, good);
    bench.host.finish_rotation(&chain, PATIENCE).unwrap();
    assert_eq!(bench.host.keys(PATIENCE).unwrap().device_chain, chain);
}

#[test]
fn the_chip_signs_nothing_that_is_not_about_itself() {
    let bench = Bench::new(Kind::Face, &Options::default());
    let serial = &bench.host.description().identity.serial_no;
    let challenge = challenge(EvidencePurpose::Identity);
    let proof = bench.host.prove(&challenge.binding(), None, PATIENCE).unwrap();
    let good = signed_evidence(&bench, &challenge, &proof).unwrap();
    let parsed = signed::parse(evidence::TYP, &good, good.len()).unwrap();
    let payload = String::from_utf8(parsed.payload).unwrap();
    let sign = |document, payload: &str| bench.host.sign_as_chip(document, payload, PATIENCE);
    assert!(sign(ChipDocument::Evidence, &payload).is_ok(), "control");
    let message = format!(r#"{{"mgmt":1,"kind":"poll","serial":"{serial}"}}"#);
    let signed_message = sign(ChipDocument::Management, &message).unwrap();
    assert!(signed::parse("mgmt+jwt", &signed_message, 60_000).unwrap().verify().is_ok());
    let digital_id = format!(
        r#"{{"serialNo":"{serial}","make":"Biosim","model":"FACE-1080","type":"Face","deviceSubType":"Full face","deviceProvider":"Example Devices Ltd","deviceProviderId":"EXAMPLE","dateTime":"2026-11-24T14:00:00Z"}}"#
    );
    for (document, payload) in [
        (ChipDocument::Evidence, payload.replace(serial.as_str(), "BSM000000000")),
        (ChipDocument::Evidence, payload.replace(evidence::PROFILE, "tag:else")),
        (ChipDocument::Evidence, payload.replace("FTM-BSM", "FTM-XXX")),
        (ChipDocument::Evidence, message.clone()),
        (ChipDocument::Evidence, digital_id.clone()),
        (ChipDocument::Management, digital_id),
        (ChipDocument::Management, payload.clone()),
        (ChipDocument::Management, message.replace(r#""mgmt":1"#, r#""mgmt":2"#)),
        (ChipDocument::Management, message.replace(serial.as_str(), "BSM000000000")),
        (ChipDocument::Management, message.replace('{', r#"{"serial":"BSM000000000","#)),
        (ChipDocument::Management, "[]".to_owned()),
    ] {
        let error = sign(document, &payload).unwrap_err();
        assert_eq!(error.kind, DeviceErrorKind::Unsupported, "{document:?} {payload}: {error}");
    }
}
