//! Tests only: reads `tests/fixtures/known_answers.json`, which says where its values come from.
//!
//! The private keys in there are PUBLIC TEST VECTORS and protect nothing.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

static ANSWERS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../tests/fixtures/known_answers.json")).unwrap());

/// A section of the fixture.
pub(crate) fn section(name: &str) -> &'static Value {
    let section = &ANSWERS[name];
    assert!(!section.is_null(), "no section {name}");
    section
}

/// A section that is a table of names.
pub(crate) fn table(name: &str) -> &'static serde_json::Map<String, Value> {
    section(name).as_object().unwrap()
}

/// A string; an array of lines is one long string.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(lines) => lines.iter().map(text).collect(),
        other => panic!("not a text: {other}"),
    }
}

/// Bytes behind hex.
pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(text(value)).unwrap()
}

/// Bytes behind plain base64.
fn standard(value: &Value) -> Vec<u8> {
    STANDARD.decode(text(value)).unwrap()
}

/// PKCS#8 of a published test key.
pub(crate) fn private_key(name: &str) -> Vec<u8> {
    standard(&section("keys")[name])
}

/// DER of a certificate.
pub(crate) fn certificate(name: &str) -> Vec<u8> {
    standard(&section("certs")[name]["der"])
}

/// A JPEG 2000 file.
pub(crate) fn image(name: &str) -> Vec<u8> {
    standard(&section("images")[name]["jp2"])
}

/// An ISO record.
pub(crate) fn record(name: &str) -> Vec<u8> {
    let entry = &section("iso")[name];
    let mut record = bytes(&entry["header"]);
    record.extend(image(&text(&entry["image"])));
    record
}

/// The certificates of an `x5c`, given by name.
pub(crate) fn x5c(names: &Value) -> Vec<Vec<u8>> {
    names.as_array().unwrap().iter().map(|name| certificate(&text(name))).collect()
}

/// Payload of an entry of section `jwt` or `registration_packet`, its references resolved.
pub(crate) fn payload(entry: &Value) -> String {
    let mut payload = text(&entry["payload"]);
    for name in ["digitalId_ftm", "digitalId_device_key", "digitalId_slap_ftm"] {
        let reference = format!("${{{name}}}");
        if payload.contains(&reference) {
            payload = payload.replace(&reference, &jws(name));
        }
    }
    payload.replace("${bioValue}", &text(&section("auth_bio_encryption")[0]["bioValue"]))
}

/// A JWS of section `jwt`: header and payload as stated, with the stated signature.
pub(crate) fn jws(name: &str) -> String {
    let entry = &section("jwt")[name];
    let signature = crate::base64url::decode(&text(&entry["signature"])).unwrap();
    crate::jws::prepare(&x5c(&entry["x5c"]), &payload(entry)).attach(&signature)
}

/// RS256 with a published test key.
pub(crate) fn sign(key: &str, message: &[u8]) -> Vec<u8> {
    let pair = aws_lc_rs::rsa::KeyPair::from_pkcs8(&private_key(key)).unwrap();
    let mut signature = vec![0; pair.public_modulus_len()];
    let random = aws_lc_rs::rand::SystemRandom::new();
    pair.sign(&aws_lc_rs::signature::RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
    signature
}

/// Keys and certificates: every key is the one in its certificate, every issuer signed, every thumbprint is right.
mod public_key_infrastructure {
    use aws_lc_rs::signature::KeyPair as _;
    use x509_parser::prelude::*;

    use super::*;

    #[test]
    fn certificates_hold_the_stated_keys() {
        for (name, entry) in table("certs") {
            let der = certificate(name);
            assert_eq!(hex::encode_upper(crate::hash_chain::sha256(&der)), text(&entry["sha256"]), "{name}");
            let (_, parsed) = X509Certificate::from_der(&der).unwrap();
            let pair = aws_lc_rs::rsa::KeyPair::from_pkcs8(&private_key(&text(&entry["key"]))).unwrap();
            assert_eq!(&*parsed.public_key().subject_public_key.data, pair.public_key().as_ref(), "{name}");
        }
        assert_eq!((table("certs").len(), table("keys").len()), (10, 10));
    }

    #[test]
    fn issuers_signed() {
        for (name, entry) in table("certs") {
            let (subject, issuer) = (certificate(name), certificate(&text(&entry["issuer"])));
            let (_, subject) = X509Certificate::from_der(&subject).unwrap();
            let (_, issuer) = X509Certificate::from_der(&issuer).unwrap();
            assert_eq!(subject.issuer().as_raw(), issuer.subject().as_raw(), "{name}");
            subject.verify_signature(Some(issuer.public_key())).unwrap();
        }
        let (device, stranger) = (certificate("device"), certificate("ftm_ca"));
        let (_, device) = X509Certificate::from_der(&device).unwrap();
        let (_, stranger) = X509Certificate::from_der(&stranger).unwrap();
        assert!(device.verify_signature(Some(stranger.public_key())).is_err(), "negative control");
    }
}
