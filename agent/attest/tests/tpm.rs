//! Evidence of a real TPM 2.0 (swtpm) through the real driver: what the forge makes up is what a TPM says.

// Helpers of tests are tests too, which clippy does not see in a test crate.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use biosim_swtpm::Swtpm;
use biotrust_attest::testing::FTM_SERIAL;
use biotrust_attest::tpm::{make_credential, name};
use biotrust_attest::{Challenge, CheckName, Expected, Outcome, Policy, Report, evidence, signed, verify};
use biotrust_certs::{Csr, Domain, Ftm as FtmDomain, TestPki, TrustStore};
use biotrust_driver_api::Ftm as _;
use biotrust_ftm_tpm::{Options, TpmFtm};
use biotrust_model::evidence::{Binding, EvidencePurpose, KeySlot};
use biotrust_model::time::UtcMillis;
use biotrust_model::{DeviceIdentity, DeviceSubType, Level, Modality, Secret};

/// 2030-01-01T00:00:00Z.
const NOW: UtcMillis = UtcMillis(1_893_456_000_000);
const LIFE: Duration = Duration::from_secs(3650 * 86_400);

struct Bench {
    _tpm: Swtpm,
    _directory: tempfile::TempDir,
    ftm: TpmFtm,
    store: TrustStore<FtmDomain>,
    csr: Vec<u8>,
}

/// A TPM that its maker has provisioned: the attestation key only after it has proven to be in the TPM of the
/// endorsement key.
fn bench() -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let tpm = Swtpm::manufacture(&directory.path().join("tpm")).unwrap();
    let (_, anchor) = x509_parser::pem::parse_x509_pem(tpm.ek_ca_pem().unwrap().as_bytes()).unwrap();
    let options = Options { ek_anchors: vec![anchor.contents], ..Options::new(tpm.tcti()) };
    let mut ftm = TpmFtm::open(options, &directory.path().join("keys")).unwrap();
    let request = ftm.identity_request(FTM_SERIAL, "Example Silicon", &Binding([1; 32])).unwrap();

    let secret = b"only that TPM can read this one!";
    let protect =
        |name: &[u8]| make_credential(&request.ek_public_key, name, &Secret::new(secret.to_vec())).unwrap();
    let (credential, seed) = protect(&name(&request.attestation_public));
    assert_eq!(ftm.activate(&credential, &seed).unwrap().expose(), secret);
    let (credential, seed) = protect(&name(&request.identity.public));
    assert!(ftm.activate(&credential, &seed).is_err(), "negative control: another key of the same TPM");

    let pki = TestPki::mint(TestPki::DEFAULT_SPEC, NOW).unwrap();
    let key = |csr: &[u8]| Csr::verify(csr).unwrap().spki_der().to_vec();
    let identity =
        pki.issue_chip_certificate(&key(&request.identity_request), FTM_SERIAL, NOW, LIFE).unwrap();
    let attestation =
        pki.issue_attestation_certificate(&key(&request.attestation_request), FTM_SERIAL, NOW, LIFE).unwrap();
    ftm.install_certificates(&identity, &attestation).unwrap();
    let csr = ftm.begin_rotation("SN0000000001", "SN0000000001", "Example Devices Ltd").unwrap();
    let store = TrustStore::from_bytes("test", pki.anchors_pem(Domain::Ftm).as_bytes()).unwrap();
    Bench { _tpm: tpm, _directory: directory, ftm, store, csr }
}

impl Bench {
    fn evidence(&mut self, challenge: &Challenge) -> String {
        let identity = DeviceIdentity {
            serial_no: "SN0000000001".to_owned(),
            make: "ACME".to_owned(),
            model: "Slap-4".to_owned(),
            modality: Modality::Finger,
            device_sub_type: DeviceSubType::Slap,
            device_provider: "Example Devices Ltd".to_owned(),
            device_provider_id: "EXAMPLE.DEVICES".to_owned(),
        };
        let chain = self.ftm.identity_chain().unwrap();
        let proof = self.ftm.prove(&challenge.binding(), Some(("SN0000000001", KeySlot::Next))).unwrap();
        let chip = chain.first().map(Vec::as_slice);
        let claims = evidence::Claims::beside(&identity, Level::L0, "1.2.3", chip, &proof);
        let payload = evidence::payload(challenge, &claims, &proof, NOW);
        let unsigned = signed::prepare(evidence::TYP, &signed::Signer::Chain(&chain), &payload).unwrap();
        let signature = self.ftm.sign_identity_rs256(unsigned.signing_input()).unwrap();
        unsigned.attach(&signature)
    }

    fn judge(&self, evidence: &str, challenge: &Challenge) -> Report {
        verify(
            evidence,
            &Expected {
                challenge: Some(challenge),
                now: NOW,
                ftm: &self.store,
                identity: None,
                csr: Some(&self.csr),
                device_key: None,
                models: None,
                known_chip: None,
                policy: Policy::default(),
            },
        )
    }
}

fn outcome(report: &Report, name: CheckName) -> Option<Outcome> {
    report.checks().iter().find(|check| check.name == name).map(|check| check.outcome)
}

#[test]
fn a_real_tpm_proves_what_the_verifier_asks_for() {
    let mut bench = bench();
    let challenge = Challenge::new([9; 32], "test", EvidencePurpose::DeviceKey, NOW);
    let evidence = bench.evidence(&challenge);
    let report = bench.judge(&evidence, &challenge);
    let attested = report.verdict().unwrap();
    for name in [CheckName::ChipModel, CheckName::Binding, CheckName::DeviceKey, CheckName::CsrKey] {
        assert_eq!(outcome(&report, name), Some(Outcome::Pass), "{name}: {:#?}", report.checks());
    }
    assert_eq!(attested.level, Level::L0);
    assert_eq!(attested.device_key.as_deref(), Some(Csr::verify(&bench.csr).unwrap().spki_der()));

    let other = Challenge::new([8; 32], "test", EvidencePurpose::DeviceKey, NOW);
    let replayed = bench.judge(&evidence, &other);
    let failed: Vec<_> = replayed.failed().map(|check| check.name).collect();
    assert_eq!(failed, [CheckName::Challenge, CheckName::Binding], "negative control");
}
