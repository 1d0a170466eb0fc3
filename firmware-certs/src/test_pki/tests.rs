//! The test PKI against the judges that real certificates meet: path building and request checks.

use std::sync::LazyLock;
use std::time::Duration;

use biotrust_model::time::UtcMillis;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_RSA_SHA256, PublicKeyData as _};

use super::*;
use crate::forge::NOW;
use crate::{Csr, Device, DeviceStore, Ftm, FtmStore, PathErrorKind, SignerPurpose, Validity, same_key};

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
        let chain = PKI.issue(&Order::leaf(by, &spki, subject, validity)).unwrap();
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
    assert!(matches!(error, TestPkiError::Issue(IssueError::NoCommonName)), "{error}");
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

#[test]
fn signers_are_told_apart_by_purpose_and_organisation() {
    for (purpose, organisation) in [
        (SignerPurpose::Management, "Example Devices Ltd"),
        (SignerPurpose::Firmware, "Example Devices Ltd"),
        (SignerPurpose::Metadata, "Example Identity Authority"),
        (SignerPurpose::AttestationKey, "Example Silicon"),
    ] {
        let chain = PKI.issue_signer(purpose, &KEY.subject_public_key_info(), NOW, MONTH).unwrap();
        let leaf = match purpose {
            SignerPurpose::Metadata => {
                PKI.adopter_store().unwrap().verify(&chain[0], NOW).unwrap().leaf().clone()
            }
            SignerPurpose::AttestationKey => {
                PKI.store::<Ftm>().unwrap().verify(&chain[0], NOW).unwrap().leaf().clone()
            }
            _ => PKI.store::<Device>().unwrap().verify(&chain[0], NOW).unwrap().leaf().clone(),
        };
        assert_eq!(leaf.subject().organisation(), Some(organisation));
        let purposes: Vec<_> = SignerPurpose::ALL.into_iter().filter(|p| leaf.has_purpose(*p)).collect();
        assert_eq!(purposes, [purpose]);
        assert!(leaf.may_sign_data() && !leaf.is_ca());
    }
    let device = PKI.issue_device_certificate(&csr(), NOW, MONTH).unwrap();
    assert!(crate::Certificate::parse(&device[0]).unwrap().extended_key_usages().is_empty());
}

#[test]
fn the_other_provider_is_trusted_and_another() {
    let signer = PKI.signer_by(Authority::OtherProvider, SignerPurpose::Management, NOW).unwrap();
    let path = PKI.store::<Device>().unwrap();
    let path = path.verify(&signer.chain[0], NOW).unwrap();
    assert_eq!(path.leaf().subject().organisation(), Some("Other Devices Ltd"));
    assert_eq!(PKI.organisation_of(Authority::OtherProvider), "Other Devices Ltd");
    assert_eq!(signer.chain[1..], path.issuers().take(1).map(|ca| ca.der().to_vec()).collect::<Vec<_>>());
}

#[test]
fn a_signer_holds_the_key_of_its_certificate() {
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    let signer = PKI.signer(SignerPurpose::Metadata, NOW).unwrap();
    let leaf = crate::Certificate::parse(&signer.chain[0]).unwrap();
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, leaf.spki_der());
    assert!(key.verify(b"message", &signer.sign_rs256(b"message")).is_ok());
    assert!(key.verify(b"massage", &signer.sign_rs256(b"message")).is_err());
    let pair = KeyPair::from_der_and_sign_algo(
        &signer.pkcs8().expose().to_vec().try_into().unwrap(),
        &PKCS_RSA_SHA256,
    );
    assert_eq!(pair.unwrap().subject_public_key_info(), leaf.spki_der());
}

#[test]
fn a_tls_server_has_its_names() {
    let (chain, key) = PKI.tls_server(&["localhost", "127.0.0.1", "::1"], NOW).unwrap();
    let leaf = crate::Certificate::parse(&chain[0]).unwrap();
    assert_eq!(leaf.extended_key_usages(), ["1.3.6.1.5.5.7.3.1"]);
    let names: [&[u8]; 3] =
        [b"\x82\x09localhost", b"\x87\x04\x7f\0\0\x01", b"\x87\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"];
    let names = names.concat();
    assert!(chain[0].windows(names.len()).any(|window| window == names));
    assert!(PKI.store::<Device>().unwrap().verify(&chain[0], NOW).is_ok());
    assert!(key.len() > 1000);
    assert!(PKI.tls_server(&["Gerät"], NOW).is_err(), "a host name is ASCII");
}

#[test]
fn the_providers_key_issues_what_the_provider_issues() {
    let chain = PKI.provider_chain_der();
    let certificate = crate::Certificate::parse(&chain[0]).unwrap();
    let issuer = crate::issue::FileIssuer::new(certificate, &PKI.provider_key_pkcs8()).unwrap();
    let csr = Csr::verify(&csr()).unwrap();
    let made =
        crate::issue::device_certificate(&issuer, &csr, crate::Validity::starting(NOW, MONTH)).unwrap();
    assert!(PKI.store::<Device>().unwrap().verify(made.der(), NOW).is_ok());
    assert_eq!(chain[1..], [] as [Vec<u8>; 0]);
}

#[test]
fn sub_authorities_can_be_ordered() {
    let spki = KEY.subject_public_key_info();
    let order = |is_ca| {
        let subject = PKI.subject_of(Domain::Device, "Sub");
        let order =
            Order::leaf(Authority::DeviceProvider, &spki, subject, crate::Validity::starting(NOW, MONTH));
        let order = Order { is_ca, path_len: Some(0), ..order };
        crate::Certificate::parse(&PKI.issue(&order).unwrap()[0]).unwrap()
    };
    let (sub, leaf) = (order(true), order(false));
    assert_eq!((sub.is_ca(), sub.path_len(), sub.may_sign_certificates()), (true, Some(0), true));
    assert_eq!((leaf.is_ca(), leaf.path_len(), leaf.may_sign_certificates()), (false, None, false));
}
