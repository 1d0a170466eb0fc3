//! Tests only: a test PKI, and an enrolled L1 device that signs blocks as a real one does.

use std::sync::LazyLock;
use std::time::Duration;

use biotrust_certs::{Authority, DeviceStore, Domain, FtmStore, MAX_CHIP_LIFETIME, Order, TestPki, Validity};
use biotrust_model::time::UtcMillis;
use biotrust_model::{DeviceIdentity, DeviceSubType, Modality};
use biotrust_sbi::jws;
use rcgen::{KeyPair, PKCS_RSA_SHA256, PublicKeyData as _, SigningKey as _};

/// The moment of all tests: 2030-01-01T00:00:00Z.
pub(crate) const NOW: UtcMillis = UtcMillis(1_893_456_000_000);
pub(crate) const MONTH: Duration = Duration::from_secs(30 * 86_400);

pub(crate) static PKI: LazyLock<TestPki> =
    LazyLock::new(|| TestPki::mint(TestPki::DEFAULT_SPEC, NOW).unwrap());
/// Key of the device.
pub(crate) static DEVICE_KEY: LazyLock<KeyPair> = LazyLock::new(new_key);
/// Key of its chip.
pub(crate) static CHIP_KEY: LazyLock<KeyPair> = LazyLock::new(new_key);

fn new_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap()
}

pub(crate) fn identity() -> DeviceIdentity {
    DeviceIdentity {
        serial_no: "SLP000000000001".to_owned(),
        make: "Example".to_owned(),
        model: "Slap One".to_owned(),
        modality: Modality::Finger,
        device_sub_type: DeviceSubType::Slap,
        device_provider: PKI.organisation(Domain::Device).to_owned(),
        device_provider_id: "example-devices".to_owned(),
    }
}

pub(crate) fn device_store() -> DeviceStore {
    PKI.store().unwrap()
}

pub(crate) fn ftm_store() -> FtmStore {
    PKI.store().unwrap()
}

/// A certificate for `key`, issued by `by` for `subject`.
pub(crate) fn certificate(
    by: Authority,
    key: &KeyPair,
    subject: &[&str],
    validity: Validity,
) -> Vec<Vec<u8>> {
    let subject = subject.iter().map(|attribute| (*attribute).to_owned()).collect();
    PKI.issue(&Order::leaf(by, &key.subject_public_key_info(), subject, validity)).unwrap()
}

/// The device certificate that enrolment would give.
pub(crate) fn device_chain() -> Vec<Vec<u8>> {
    static CHAIN: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let organisation = format!("O={}", PKI.organisation(Domain::Device));
        let subject = [organisation.as_str(), "CN=SLP000000000001"];
        certificate(Authority::DeviceProvider, &DEVICE_KEY, &subject, Validity::starting(NOW, MONTH))
    });
    CHAIN.clone()
}

/// The chip certificate that the factory would give.
pub(crate) fn chip_chain() -> Vec<Vec<u8>> {
    static CHAIN: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let spki = CHIP_KEY.subject_public_key_info();
        PKI.issue_chip_certificate(&spki, "FTM000000000001", NOW, MAX_CHIP_LIFETIME).unwrap()
    });
    CHAIN.clone()
}

/// A compact JWS over `payload`.
pub(crate) fn sign(key: &KeyPair, x5c: &[Vec<u8>], payload: &str) -> String {
    let unsigned = jws::prepare(x5c, payload);
    let signature = key.sign(unsigned.signing_input()).unwrap();
    unsigned.attach(&signature)
}
