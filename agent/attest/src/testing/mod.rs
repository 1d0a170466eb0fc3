//! For tests, benches and fuzz seeds: makes good evidence, and lets any one thing in it be wrong.
//!
//! A [`World`] has the authorities, the keys and the metadata of a small deployment. A [`TpmForge`] or a [`SpdmForge`] is a
//! good device in it, with every ingredient in the open: change one, and [`TpmForge::evidence`] signs what comes of it.
//! Keys are software; what is proven about them is made up, byte by byte.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)] // tests, and what tests are made of

mod spdm;
mod tpm;

pub use spdm::SpdmForge;
pub use tpm::{AttestForge, OWNER, PublicForge, TpmForge};

use std::collections::BTreeMap;
use std::time::Duration;

use biotrust_certs::{
    AdopterStore, Authority, Domain, FtmStore, Order, SignerPurpose, TestPki, TestSigner, Validity,
};
use biotrust_model::evidence::{EvidencePurpose, FtmKind, Proof};
use biotrust_model::time::UtcMillis;
use biotrust_model::{DeviceIdentity, DeviceSubType, Level, Modality};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_RSA_SHA256, PublicKeyData as _, SigningKey as _};

use crate::evidence::{self, Claims};
use crate::metadata::{self, Document, FirmwareRange, Metadata, Model, ReferenceValues};
use crate::signed::{self, Signer};
use crate::{Challenge, Expected, Policy};

/// Serial number of the chip of every good device.
pub const FTM_SERIAL: &str = "FTM0000000001";

/// Ten years.
pub const CHIP_LIFE: Duration = Duration::from_secs(3650 * 86_400);

/// Age of the signer of metadata: 20 days, in milliseconds.
const SIGNER_AGE_MS: i64 = 20 * 86_400_000;

/// An RSA-2048 key in memory.
pub struct Key {
    pair: KeyPair,
    spki: Vec<u8>,
}

impl Key {
    /// Makes one. Blocking: some 100 ms of CPU.
    #[must_use]
    pub fn generate() -> Self {
        let pair = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        Self { spki: pair.subject_public_key_info(), pair }
    }

    /// SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// RS256.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).unwrap()
    }

    /// A certificate request for it, PKCS#10 in DER.
    #[must_use]
    pub fn csr(&self, common_name: &str) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.serialize_request(&self.pair).unwrap().der().to_vec()
    }

    /// A document of type `typ` signed by it.
    #[must_use]
    pub fn document(&self, typ: &str, signer: &Signer<'_>, payload: &str) -> String {
        let unsigned = signed::prepare(typ, signer, payload).unwrap();
        let signature = self.sign(unsigned.signing_input());
        unsigned.attach(&signature)
    }
}

/// Authorities, keys, metadata and a moment.
pub struct World {
    /// Authorities.
    pub pki: TestPki,
    /// The moment of everything.
    pub now: UtcMillis,
    /// Anchors of domain FTM.
    pub ftm: FtmStore,
    /// Anchors of the adopter.
    pub adopter: AdopterStore,
    /// Chip key of the good device.
    pub chip: Key,
    /// Attestation key of the good TPM.
    pub attestation: Key,
    /// Device key of the good device.
    pub device: Key,
    /// A key of somebody else.
    pub other: Key,
    /// Certificate chain of the chip key.
    pub chip_chain: Vec<Vec<u8>>,
    /// Certificate chain of the attestation key.
    pub attestation_chain: Vec<Vec<u8>>,
    metadata_signer: TestSigner,
}

impl World {
    /// Makes one. Blocking: a dozen RSA keys, some seconds of CPU at worst.
    #[must_use]
    pub fn new(now: UtcMillis) -> Self {
        let pki = TestPki::mint(TestPki::DEFAULT_SPEC, now).unwrap();
        let [chip, attestation, device, other] = std::array::from_fn(|_| Key::generate());
        let chip_chain = pki.issue_chip_certificate(chip.spki(), FTM_SERIAL, now, CHIP_LIFE).unwrap();
        let attestation_chain =
            pki.issue_attestation_certificate(attestation.spki(), FTM_SERIAL, now, CHIP_LIFE).unwrap();
        Self {
            ftm: pki.store().unwrap(),
            adopter: pki.store().unwrap(),
            // for some time already, so that there can be metadata that is out of date
            metadata_signer: pki.signer(SignerPurpose::Metadata, UtcMillis(now.0 - SIGNER_AGE_MS)).unwrap(),
            pki,
            now,
            chip,
            attestation,
            device,
            other,
            chip_chain,
            attestation_chain,
        }
    }

    /// The device that all evidence is about.
    #[must_use]
    pub fn identity(&self) -> DeviceIdentity {
        DeviceIdentity {
            serial_no: "SN0000000001".to_owned(),
            make: "ACME".to_owned(),
            model: "Slap-4".to_owned(),
            modality: Modality::Finger,
            device_sub_type: DeviceSubType::Slap,
            device_provider: self.pki.organisation(Domain::Device).to_owned(),
            device_provider_id: "EXAMPLE.DEVICES".to_owned(),
        }
    }

    /// A challenge of this moment.
    #[must_use]
    pub fn challenge(&self, purpose: EvidencePurpose) -> Challenge {
        Challenge::new([0x5A; 32], "test", purpose, self.now)
    }

    /// What a verifier with all its knowledge expects: this challenge, this device, this device key, its request, and
    /// metadata. Change what should be different.
    #[must_use]
    pub fn expected<'a>(
        &'a self,
        challenge: &'a Challenge,
        identity: &'a DeviceIdentity,
        csr: &'a [u8],
        models: &'a Metadata,
    ) -> Expected<'a> {
        Expected {
            challenge: Some(challenge),
            now: self.now.plus(Duration::from_secs(2)),
            ftm: &self.ftm,
            identity: Some(identity),
            csr: Some(csr),
            device_key: Some(self.device.spki()),
            models: Some(models),
            known_chip: Some(self.chip.spki()),
            policy: Policy::default(),
        }
    }

    /// What the adopter says: the device's model is certified L1 with a trust module of this kind, and its firmware 1.2.3
    /// with security version 3 measures to what the forges make.
    #[must_use]
    pub fn document(&self, kind: FtmKind) -> Document {
        let identity = self.identity();
        let values: BTreeMap<u8, Vec<String>> = match kind {
            FtmKind::Spdm => (1..=4).map(|index| (index, vec![hex::encode([index; 32])])).collect(),
            FtmKind::Tpm | FtmKind::Software => {
                [0, 7].into_iter().map(|index| (index, vec![hex::encode([index; 32])])).collect()
            }
        };
        let anchor = self.pki.store::<biotrust_certs::Ftm>().unwrap();
        let anchors = anchor.entries().filter(|entry| entry.role == biotrust_certs::Role::Anchor);
        Document {
            number: 7,
            issued_at: self.now,
            next_update: self.now.plus(Duration::from_secs(7 * 86_400)),
            models: vec![Model {
                provider: identity.device_provider,
                make: identity.make,
                model: identity.model,
                level: Level::L1,
                ftm: kind,
                anchors: anchors.map(|entry| entry.certificate.sha256()).collect(),
                certifications: Vec::new(),
                status: Vec::new(),
                minimum_svn: 3,
                firmware: vec![FirmwareRange {
                    svn_from: 3,
                    svn_to: 5,
                    version: Some("1.2.3".to_owned()),
                    reference: ReferenceValues(values),
                }],
            }],
        }
    }

    /// `document`, signed.
    #[must_use]
    pub fn publish(&self, document: &Document) -> String {
        publish(&self.metadata_signer, document)
    }

    /// `document`, signed and verified.
    #[must_use]
    pub fn metadata(&self, document: &Document) -> Metadata {
        Metadata::verify(&self.publish(document), &self.adopter, self.now, 0).unwrap()
    }

    /// A chip certificate as somebody else would issue it, or for another time.
    #[must_use]
    pub fn chip_chain_by(&self, by: Authority, key: &Key, validity: Validity) -> Vec<Vec<u8>> {
        let subject = self.pki.subject_of(Domain::Ftm, FTM_SERIAL);
        self.pki.issue(&Order::leaf(by, key.spki(), subject, validity)).unwrap()
    }

    /// Evidence of a device key in files.
    #[must_use]
    pub fn software_evidence(&self, challenge: &Challenge, level: Level) -> String {
        let claims = Claims::beside(&self.identity(), level, "1.2.3", None, &Proof::Software);
        let payload = evidence::payload(challenge, &claims, &Proof::Software, self.now);
        self.device.document(evidence::TYP, &Signer::Key(self.device.spki()), &payload)
    }
}

/// `document`, signed by `signer`.
#[must_use]
pub fn publish(signer: &TestSigner, document: &Document) -> String {
    let unsigned =
        signed::prepare(metadata::TYP, &Signer::Chain(&signer.chain), &document.to_json()).unwrap();
    let signature = signer.sign_rs256(unsigned.signing_input());
    unsigned.attach(&signature)
}
