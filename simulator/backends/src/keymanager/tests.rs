//! The table of path-building experiments with the JDK, and headers that some consumer does not take.

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{DnType, Issuer};
use serde_json::json;

use super::*;
use crate::testkit::{Holder, Kind, NOW, issue, issue_named, key_manager, pki};

fn verify(domains: &[Domain], holder: &Holder) -> Result<Jws, JwsFault> {
    key_manager().verify_jws(domains, &holder.sign("{\"a\":1}", &[]), NOW)
}

/// A leaf whose issuer name is `name`, signed with the key of `issuer`.
fn leaf_under_name(issuer: &Holder, name: &[(DnType, &str)]) -> Vec<u8> {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for (kind, value) in name {
        params.distinguished_name.push(kind.clone(), *value);
    }
    let issuer = Issuer::new(params, &issuer.key);
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::default().signed_by(&key, &issuer).unwrap().der().to_vec()
}

#[test]
fn each_domain_trusts_its_own() {
    let pki = pki();
    assert!(verify(&[Domain::Device], &pki.device).is_ok());
    assert!(verify(&[Domain::Ftm], &pki.chip).is_ok(), "directly under the root");
    assert!(matches!(verify(&[Domain::Ftm], &pki.device), Err(JwsFault::Untrusted(_))));
    assert!(matches!(verify(&[Domain::Device], &pki.chip), Err(JwsFault::Untrusted(_))));
    assert!(verify(&[Domain::Device, Domain::Ftm], &pki.chip).is_ok());
    assert!(matches!(verify(&[Domain::Device], &pki.stranger), Err(JwsFault::Untrusted(_))));
    for holder in [&pki.expired_device, &pki.future_device] {
        assert!(matches!(verify(&[Domain::Device], holder), Err(JwsFault::Certificate(_))));
    }
}

#[test]
fn authorities_must_be_stored_valid_and_allowed() {
    let pki = pki();
    let with = |device: &str| KeyManager::from_pem(device, &pki.ftm_root.pem).unwrap();
    let jws = |holder: &Holder, more: &[&Holder]| holder.sign("{}", more);
    let only_root = with(&pki.device_root.pem);
    let sent_along = jws(&pki.device, &[&pki.device_ca]);
    assert!(only_root.verify_jws(&[Domain::Device], &sent_along, NOW).is_err(), "x5c does not help");
    let only_ca = with(&pki.device_ca.pem);
    let why = only_ca.verify_jws(&[Domain::Device], &jws(&pki.device, &[]), NOW).unwrap_err();
    assert!(why.to_string().contains("no self-signed root"), "{why}");
    for kind in [Kind::Leaf, Kind::Expired, Kind::CaWithoutCertSign] {
        let ca = issue("Weak provider", kind, Some(&pki.device_root));
        let leaf = issue("Device", Kind::Leaf, Some(&ca));
        let store = with(&format!("{}{}", pki.device_root.pem, ca.pem));
        assert!(store.verify_jws(&[Domain::Device], &jws(&leaf, &[]), NOW).is_err());
    }
    assert!(
        KeyManager::from_pem("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "").is_err()
    );
    assert!(KeyManager::from_pem("-----BEGIN CERTIFICATE-----\nAAAA", "").is_err());
}

#[test]
fn issuer_names_are_compared_in_order_without_case() {
    let pki = pki();
    let own = [
        (DnType::CountryName, "FR"),
        (DnType::OrganizationName, "Judges"),
        (DnType::CommonName, "Device provider"),
    ];
    let store = Store::new(vec![pki.device_root.der.clone(), pki.device_ca.der.clone()]).unwrap();
    let now_s = NOW.0 / 1000;
    let path = |name: &[(DnType, &str)]| store.path(&leaf_under_name(&pki.device_ca, name), now_s);
    assert_eq!(path(&own).unwrap().len(), 3);
    let mut other_case = own.clone();
    other_case[2].1 = "DEVICE  provider";
    assert!(path(&other_case).is_ok(), "letter case and runs of spaces");
    let reversed: Vec<_> = own.iter().rev().cloned().collect();
    assert!(path(&reversed).is_err(), "reversed order");
    let mut more = own.to_vec();
    more.push((DnType::OrganizationalUnitName, "Extra"));
    assert!(path(&more).is_err(), "one attribute more");
    let twin = issue_named(&own, Kind::Ca, None);
    assert!(store.path(&leaf_under_name(&twin, &own), now_s).is_err(), "same name, other key");
}

#[test]
fn headers_and_forms_that_some_consumer_refuses() {
    let device = &pki().device;
    let x5c = STANDARD.encode(&device.der);
    let fault = |header: serde_json::Value| {
        let compact = device.sign_with_header(&header.to_string(), "{}");
        key_manager().verify_jws(&[Domain::Device], &compact, NOW).err()
    };
    assert_eq!(fault(json!({"alg": "RS256", "typ": "JWT", "x5c": [x5c]})), None);
    for header in [
        json!({"alg": "PS256", "x5c": [x5c]}),
        json!({"alg": "none", "x5c": [x5c]}),
        json!({"x5c": [x5c]}),
        json!({"alg": "RS256", "x5c": x5c}),
        json!({"alg": "RS256", "x5c": []}),
        json!({"alg": "RS256", "x5c": [1]}),
        json!({"alg": "RS256"}),
        json!({"alg": "RS256", "x5c": [x5c], "x5t#S256": "AAAA"}),
        json!({"alg": "RS256", "x5c": [x5c], "kid": "1"}),
    ] {
        assert!(matches!(fault(header.clone()), Some(JwsFault::Header(_))), "{header}");
    }
    let url_safe = URL_SAFE_NO_PAD.encode(&device.der);
    assert!(matches!(fault(json!({"alg": "RS256", "x5c": [url_safe]})), Some(JwsFault::Certificate(_))));
    let good = device.sign("{\"a\":1}", &[]);
    let (head, signature) = good.rsplit_once('.').unwrap();
    for bad in [
        head.to_owned(),
        format!("{good}."),
        format!("{good}="),
        format!("{head}.{signature}\n"),
        String::new(),
    ] {
        assert!(matches!(Jws::parse(&bad), Err(JwsFault::Malformed(_))), "{bad:.20}");
    }
    assert!(Jws::parse(&good).unwrap().detached().contains(".."));
    assert!(Jws::parse(&device.sign("[]", &[])).unwrap().payload().is_err());
}
