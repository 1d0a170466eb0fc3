//! What the tests of this crate share: a TPM per test, a CA for its keys, and checks of signatures and requests.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)] // each test file uses a part; helpers of tests fail like tests

use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use biosim_swtpm::{Model, Swtpm};
use biotrust_driver_api::conformance::Verifier;
use biotrust_driver_api::{Ftm, FtmError};
use biotrust_ftm_tpm::{Options, TpmFtm};
use biotrust_model::evidence::Binding;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

pub(crate) struct AwsLc;

impl Verifier for AwsLc {
    fn verifies(&self, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, spki).verify(message, signature).is_ok()
    }

    fn csr_key(&self, csr: &[u8]) -> Option<Vec<u8>> {
        let (rest, request) = X509CertificationRequest::from_der(csr).ok()?;
        request.verify_signature().ok().filter(|()| rest.is_empty())?;
        Some(request.certification_request_info.subject_pki.raw.to_vec())
    }
}

/// Where a TPM is that these tests are to use, in the spelling of tpm2-tss, instead of one of their own: the rig names
/// the kernel's device. What they leave in it stays there.
const GIVEN: &str = "BIOTRUST_TPM";
/// Beside it: file of the certificate (PEM) that issued its EK certificate.
const GIVEN_ISSUER: &str = "BIOTRUST_TPM_ISSUER";

/// The TPM of a test.
pub(crate) enum Chip {
    Own(Swtpm),
    Given { tcti: String, issuer: String },
}

impl Chip {
    fn given() -> Option<Self> {
        let tcti = std::env::var(GIVEN).ok()?;
        let issuer = std::fs::read_to_string(std::env::var(GIVEN_ISSUER).unwrap()).unwrap();
        Some(Self::Given { tcti, issuer })
    }

    pub(crate) fn tcti(&self) -> String {
        match self {
            Self::Own(tpm) => tpm.tcti(),
            Self::Given { tcti, .. } => tcti.clone(),
        }
    }

    fn issuer_pem(&self) -> String {
        match self {
            Self::Own(tpm) => tpm.ek_ca_pem().unwrap(),
            Self::Given { issuer, .. } => issuer.clone(),
        }
    }

    /// The power of a TPM of one's own.
    pub(crate) fn own(&mut self) -> &mut Swtpm {
        match self {
            Self::Own(tpm) => tpm,
            Self::Given { tcti, .. } => panic!("the power of {tcti} cannot be cut by a test"),
        }
    }
}

/// A TPM with the directory of an FTM.
pub(crate) struct Bench {
    pub(crate) tpm: Chip,
    pub(crate) directory: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::of(Model::Certified)
    }

    pub(crate) fn of(model: Model) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let given = Some(model).filter(|model| *model == Model::Certified).and_then(|_| Chip::given());
        let own = || Chip::Own(Swtpm::manufacture_model(&directory.path().join("tpm"), model).unwrap());
        let tpm = given.unwrap_or_else(own);
        Self { tpm, directory }
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.directory.path().join("keys")
    }

    /// Options with the EK's issuer as anchor.
    pub(crate) fn options(&self) -> Options {
        Options { ek_anchors: vec![der(&self.tpm.issuer_pem())], ..Options::new(self.tpm.tcti()) }
    }

    pub(crate) fn open(&self) -> TpmFtm {
        TpmFtm::open(self.options(), &self.keys()).unwrap()
    }

    pub(crate) fn open_provisioned(&self) -> TpmFtm {
        let mut ftm = self.open();
        provision(&mut ftm);
        ftm
    }
}

pub(crate) fn der(pem: &str) -> Vec<u8> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    pem.contents
}

/// Certificates by a throw-away CA: own ones of the two keys, and that of the CA.
pub(crate) struct Certificates {
    pub(crate) identity: Vec<Vec<u8>>,
    pub(crate) attestation: Vec<Vec<u8>>,
}

pub(crate) fn certificates(ftm: &mut TpmFtm) -> Certificates {
    let request = ftm.identity_request("FTM 1", "Conformance", &Binding([1; 32])).unwrap();
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::default();
    ca.distinguished_name.push(rcgen::DnType::CommonName, "FTM CA");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_der = ca.self_signed(&ca_key).unwrap().der().to_vec();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let issue = |request: Vec<u8>| {
        let request = rcgen::CertificateSigningRequestParams::from_der(&request.into()).unwrap();
        request.signed_by(&issuer).unwrap().der().to_vec()
    };
    Certificates {
        identity: vec![issue(request.identity_request), ca_der.clone()],
        attestation: vec![issue(request.attestation_request), ca_der],
    }
}

pub(crate) fn provision(ftm: &mut TpmFtm) {
    let certificates = certificates(ftm);
    ftm.install_certificates(&certificates.identity, &certificates.attestation).unwrap();
}

/// Makes a device key the current one and returns its public key.
pub(crate) fn enrol(ftm: &mut TpmFtm, name: &str) -> Vec<u8> {
    let csr = ftm.begin_rotation(name, name, "Conformance").unwrap();
    ftm.finish_rotation(name).unwrap();
    AwsLc.csr_key(&csr).unwrap()
}

pub(crate) fn files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// State and advice of an error that must be a state.
pub(crate) fn state<T>(result: Result<T, FtmError>) -> (String, String) {
    match result {
        Err(FtmError::State { state, next }) => (state, next),
        Err(other) => panic!("not a state: {other}"),
        Ok(_) => panic!("not an error"),
    }
}

/// A connection without a session, as any other program would make one.
pub(crate) fn raw(tpm: &Chip) -> tss_esapi::Context {
    tss_esapi::Context::new(tpm.tcti().parse().unwrap()).unwrap()
}

/// What a TPM holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) transient: usize,
    pub(crate) sessions: usize,
    pub(crate) persistent: usize,
}

pub(crate) fn held(tpm: &Chip) -> Held {
    use tss_esapi::constants::CapabilityType;
    use tss_esapi::structures::CapabilityData;
    let mut context = raw(tpm);
    let [transient, sessions, persistent] =
        [0x8000_0000, 0x0200_0000, 0x8100_0000].map(|first| {
            match context.get_capability(CapabilityType::Handles, first, 64).unwrap().0 {
                CapabilityData::Handles(list) => list.len(),
                _ => usize::MAX,
            }
        });
    Held { transient, sessions, persistent }
}
