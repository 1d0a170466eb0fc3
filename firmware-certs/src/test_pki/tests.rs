//! The test PKI against the judges that real certificates meet: path building and request checks.

use std::sync::LazyLock;
use std::time::Duration;

use biotrust_model::time::UtcMillis;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_RSA_SHA256, PublicKeyData as _};

use super::*;
use crate::forge::NOW;
use crate::{Csr, Device, DeviceStore, Ftm, FtmStore, PathErrorKind, same_key};

const MONTH: Duration = Duration::from_secs(30 * 86_400);

static PKI: LazyLock<TestPki> = LazyLock::new(|| TestPki::mint(TestPki::DEFAULT_SPEC, NOW).unwrap());
static KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap());

fn csr() -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Somebody Else");
    params.distinguished_name.push(DnType::CommonName, "SN0123456789");
    params.serialize_request(&*KEY).unwrap().der().to_vec()
}

#[test]
fn a_device_certificate_is_trusted_in_its_domain_only() {
    let chain = PKI.issue_device_certificate(&csr(), NOW, MONTH).unwrap();
    let path = PKI.store::<Device>().unwrap().verify(&chain[0], NOW).unwrap();
    let leaf = path.leaf();
    assert_eq!(
        leaf.subject().organisation(),
        Some("Example Devices Ltd"),
        "the provider decides, not the request"
    );
    assert_eq!(leaf.subject().common_name(), Some("SN0123456789"));
    assert!(same_key(&Csr::verify(&csr()).unwrap(), leaf));
    assert!(!leaf.is_ca() && leaf.may_sign_data() && !leaf.may_sign_certificates());
    assert_eq!((leaf.not_before(), leaf.not_after()), (NOW, NOW.plus(MONTH)));
    assert_eq!(chain[1..], path.issuers().take(1).map(|ca| ca.der().to_vec()).collect::<Vec<_>>());
    assert!(PKI.store::<Ftm>().unwrap().verify(&chain[0], NOW).is_err());
}

#[test]
fn a_chip_certificate_lives_twenty_years_at_most() {
    let spki = KEY.subject_public_key_info();
    let chain = PKI.issue_chip_certificate(&spki, "FTM0001", NOW, MAX_CHIP_LIFETIME).unwrap();
    let path = PKI.store::<Ftm>().unwrap().verify(&chain[0], NOW.plus(MAX_CHIP_LIFETIME)).unwrap();
    assert_eq!(path.leaf().spki_der(), spki);
    assert_eq!(path.leaf().subject().common_name(), Some("FTM0001"));
    let longer = MAX_CHIP_LIFETIME + Duration::from_secs(1);
    let error = PKI.issue_chip_certificate(&spki, "FTM0001", NOW, longer).unwrap_err();
    assert!(matches!(error, TestPkiError::LifetimeTooLong(7305)), "{error}");
}

#[test]
fn orders_for_refusals_are_refused_for_the_right_reason() {
    let spki = KEY.subject_public_key_info();
    let store = PKI.store::<Device>().unwrap();
    let kind = |by, validity| {
        let subject = PKI.subject_of(Domain::Device, "SN0123456789");
        let chain = PKI.issue(&Order { by, spki_der: &spki, subject, validity }).unwrap();
        store.verify(&chain[0], NOW).map(drop).map_err(|e| e.kind)
    };
    let good = Validity::starting(NOW, MONTH);
    assert_eq!(kind(Authority::DeviceProvider, good), Ok(()));
    let expired = kind(Authority::DeviceProvider, Validity::expired(NOW));
    assert_eq!(expired, Err(PathErrorKind::Expired(UtcMillis(NOW.0 - 1000))));
    let early = kind(Authority::DeviceProvider, Validity::not_yet(NOW));
    assert_eq!(early, Err(PathErrorKind::NotYetValid(UtcMillis(NOW.0 + 60_000))));
    for by in [Authority::Stranger, Authority::FtmProvider] {
        assert!(matches!(kind(by, good), Err(PathErrorKind::NoIssuer { .. })), "{by:?}");
    }
}

#[test]
fn the_encryption_certificate_fits_its_key_and_its_anchor() {
    let anchor = DeviceStore::from_bytes("adopter", PKI.adopter_anchor_pem().as_bytes()).unwrap();
    let path = anchor.verify(PKI.ida_certificate().der(), NOW).unwrap();
    assert_eq!(path.leaf().rsa_bits(), Some(2048), "the back end opens nothing else");
    assert_eq!(path.leaf().subject().common_name(), Some("IDA-FIR"));
    assert!(!path.leaf().may_sign_data());
    let secret = PKI.ida_key_pkcs8_pem();
    let pem = std::str::from_utf8(secret.expose()).unwrap();
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    assert_eq!(KeyPair::from_pem(pem).unwrap().subject_public_key_info(), path.leaf().spki_der());
}

#[test]
fn anchors_hold_what_a_relying_party_holds() {
    let store = FtmStore::from_bytes("x", PKI.anchors_pem(Domain::Ftm).as_bytes()).unwrap();
    let roles: Vec<_> = store.entries().map(|entry| entry.role).collect();
    assert_eq!(roles, [crate::Role::Anchor, crate::Role::Helper]);
    assert_eq!(PKI.organisation(Domain::Ftm), "Example Silicon");
}

#[test]
fn requests_are_verified_before_anything_is_issued() {
    let mut bad = csr();
    *bad.last_mut().unwrap() ^= 1;
    let error = PKI.issue_device_certificate(&bad, NOW, MONTH).unwrap_err();
    assert!(matches!(error, TestPkiError::Csr(crate::CsrError::BadSignature)), "{error}");
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let nameless = params.serialize_request(&*KEY).unwrap();
    let error = PKI.issue_device_certificate(nameless.der(), NOW, MONTH).unwrap_err();
    assert!(matches!(error, TestPkiError::NoCommonName), "{error}");
}

#[test]
fn a_branch_may_be_a_root_alone_or_deep() {
    let mut flat: toml::Table = TestPki::DEFAULT_SPEC.parse().unwrap();
    flat["device"].as_table_mut().unwrap().remove("intermediate");
    let mut deeper = flat["ftm"]["intermediate"].as_array().unwrap().clone();
    let mut second = deeper[0].clone();
    second["subject"] = toml::Value::Array(vec!["O=Example Silicon".into(), "CN=Example FTM CA 2".into()]);
    deeper.push(second);
    flat["ftm"].as_table_mut().unwrap()["intermediate"] = toml::Value::Array(deeper);
    let pki = TestPki::mint(&flat.to_string(), NOW).unwrap();

    let chain = pki.issue_device_certificate(&csr(), NOW, MONTH).unwrap();
    assert_eq!(chain.len(), 1, "no intermediate to hand out");
    assert!(pki.store::<Device>().unwrap().verify(&chain[0], NOW).is_ok());
    let chain = pki.issue_chip_certificate(&KEY.subject_public_key_info(), "FTM0001", NOW, MONTH).unwrap();
    assert_eq!(chain.len(), 3);
    let path = pki.store::<Ftm>().unwrap().verify(&chain[0], NOW).unwrap();
    let above: Vec<_> = path.issuers().take(2).map(|ca| ca.der().to_vec()).collect();
    assert_eq!(chain[1..], above, "nearest issuer first");
}

#[test]
fn a_validity_that_ends_before_it_begins_is_a_mistake() {
    let spec = TestPki::DEFAULT_SPEC.replacen("from = -30, to = 3650", "from = 5, to = 5", 1);
    let error = TestPki::mint(&spec, NOW).unwrap_err().to_string();
    assert!(error.contains("Example Identity Authority Root") && error.contains("before"), "{error}");
}

#[test]
fn serial_numbers_are_positive_and_differ() {
    let serials: Vec<String> = (0..2)
        .map(|_| PKI.issue_device_certificate(&csr(), NOW, MONTH).unwrap())
        .map(|chain| crate::Certificate::parse(&chain[0]).unwrap().serial_hex())
        .collect();
    assert_ne!(serials[0], serials[1]);
    assert!(serials.iter().all(|serial| serial.len() == 32 && serial.as_bytes()[0] < b'8'), "{serials:?}");
}
