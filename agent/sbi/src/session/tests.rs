//! Known answers of the session encryption, its round trip, and what must not decrypt.

use std::sync::OnceLock;

use num_bigint::BigUint;
use proptest::prelude::*;

use super::*;
use crate::known_answers::{self, bytes, section, text};

/// Read once: checking a private key takes milliseconds, and property tests ask for it often.
fn ida_key() -> &'static DecryptionKey {
    static KEY: OnceLock<DecryptionKey> = OnceLock::new();
    KEY.get_or_init(|| DecryptionKey::from_pkcs8(&known_answers::private_key("ida_enc")).unwrap())
}

fn ida_certificate() -> EncryptionCertificate {
    EncryptionCertificate::from_der(&known_answers::certificate("ida_enc")).unwrap()
}

#[test]
fn known_iv_and_aad() {
    let rows = section("iv_aad").as_array().unwrap();
    for row in rows {
        let derived = derive(&text(&row["timestamp"]), &text(&row["transactionId"]));
        assert_eq!(derived.iv.as_slice(), bytes(&row["iv"]), "{row}");
        assert_eq!(derived.aad.as_slice(), bytes(&row["aad"]), "{row}");
        assert!(bytes(&row["xor"]).ends_with(&derived.aad), "{row}");
    }
    assert_eq!(rows.len(), 8);
}

#[test]
fn known_ciphertexts() {
    let rows = section("auth_bio_encryption").as_array().unwrap();
    for row in rows {
        let record = match row["record"].as_str() {
            Some(name) => known_answers::record(name),
            None => bytes(&row["plaintext"]),
        };
        let key: [u8; 32] = bytes(&row["sessionKey"]).try_into().unwrap();
        let (timestamp, transaction_id) = (text(&row["timestamp"]), text(&row["transactionId"]));
        let sealed = seal(&key, &derive(&timestamp, &transaction_id), &record).unwrap();
        assert_eq!(base64url::encode(&sealed), text(&row["bioValue"]));
        assert!(sealed.ends_with(&bytes(&row["tag"])));
        assert_eq!(hex::encode_upper(crate::hash_chain::sha256(&sealed)), text(&row["sealedSha256"]));

        let wrapped = text(&section("session_key_wrap")["wrapped"]);
        let opened =
            decrypt(&text(&row["bioValue"]), &wrapped, &timestamp, &transaction_id, ida_key()).unwrap();
        assert_eq!(opened.expose(), record);
    }
    assert_eq!(rows.len(), 5);
}

/// EME-OAEP of RFC 8017 7.1.1 with SHA-256 throughout and an empty label; the seed is an argument only in here.
fn eme_oaep(message: &[u8], seed: &[u8; 32], length: usize) -> Vec<u8> {
    let mgf1 = |seed: &[u8], length: usize| -> Vec<u8> {
        let block = |counter: u32| crate::hash_chain::sha256(&[seed, &counter.to_be_bytes()].concat());
        (0..).flat_map(block).take(length).collect()
    };
    let xor = |a: &[u8], b: &[u8]| -> Vec<u8> { a.iter().zip(b).map(|(a, b)| a ^ b).collect() };
    let zeros = vec![0; length - message.len() - 2 * 32 - 2];
    let block = [&crate::hash_chain::EMPTY[..], &zeros, &[1], message].concat();
    let masked_block = xor(&block, &mgf1(seed, block.len()));
    let masked_seed = xor(seed, &mgf1(&masked_block, 32));
    [&[0], &masked_seed[..], &masked_block].concat()
}

#[test]
fn known_wrap_with_a_fixed_seed() {
    use x509_parser::prelude::*;

    let wrap = section("session_key_wrap");
    let encoded = eme_oaep(&bytes(&wrap["sessionKey"]), &bytes(&wrap["seed"]).try_into().unwrap(), 256);
    assert_eq!(encoded, bytes(&wrap["encodedMessage"]));

    let der = known_answers::certificate(&text(&wrap["key"]));
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let Ok(x509_parser::public_key::PublicKey::RSA(rsa)) = certificate.public_key().parsed() else {
        panic!()
    };
    let wrapped = BigUint::from_bytes_be(&encoded)
        .modpow(&BigUint::from_bytes_be(rsa.exponent), &BigUint::from_bytes_be(rsa.modulus));
    assert_eq!(base64url::encode(wrapped.to_bytes_be()), text(&wrap["wrapped"]));

    let unwrapped = ida_key().unwrap_key(&text(&wrap["wrapped"])).unwrap();
    assert_eq!(unwrapped.as_slice(), bytes(&wrap["sessionKey"]));
}

#[test]
fn known_wraps_that_must_be_refused() {
    let refused = section("session_key_wrap")["refused"].as_object().unwrap();
    for (name, wrapped) in refused {
        assert_eq!(ida_key().unwrap_key(&text(wrapped)), Err(SessionError::Unwrap), "{name}");
    }
    assert_eq!(refused.len(), 3);
    // The control: the last one is sound, only for another key.
    let other = DecryptionKey::from_pkcs8(&known_answers::private_key("other_enc")).unwrap();
    assert!(other.unwrap_key(&text(&refused["wrong_public_key"])).is_ok());
}

#[test]
fn known_thumbprint() {
    let known = section("thumbprint");
    let certificate =
        EncryptionCertificate::from_der(&known_answers::certificate(&text(&known["cert"]))).unwrap();
    assert_eq!(certificate.thumbprint(), text(&known["thumbprint"]));
}

/// What the authentication server hands to the key manager: thumbprint, wrapped key, splitter, sealed record.
#[test]
fn known_key_manager_blob() {
    let known = section("keymanager_blob");
    let blob = [
        hex::decode(ida_certificate().thumbprint()).unwrap(),
        base64url::decode(&text(&section("session_key_wrap")["wrapped"])).unwrap(),
        text(&known["splitter"]).into_bytes(),
        base64url::decode(&text(&section("auth_bio_encryption")[0]["bioValue"])).unwrap(),
    ]
    .concat();
    assert_eq!(
        (blob.len() as u64, hex::encode_upper(crate::hash_chain::sha256(&blob))),
        (known["length"].as_u64().unwrap(), text(&known["sha256"]))
    );
    let splitter = text(&known["splitter"]).into_bytes();
    let at = blob.windows(splitter.len()).position(|window| window == splitter).unwrap();
    assert_eq!(at as u64, known["splitterOffset"].as_u64().unwrap());
}

#[test]
fn certificate_is_kept_with_its_dates() {
    let certificate = ida_certificate();
    assert_eq!(certificate.not_before().to_wire(), "2024-01-01T00:00:00Z");
    let second = std::time::Duration::from_secs(1);
    assert!(
        certificate.is_valid_at(certificate.not_before()) && certificate.is_valid_at(certificate.not_after())
    );
    assert!(!certificate.is_valid_at(certificate.not_after().plus(second)));
    assert!(!certificate.is_valid_at(biotrust_model::time::UtcMillis(certificate.not_before().0 - 1)));
}

#[test]
fn refuses_what_is_no_encryption_certificate() {
    let der = known_answers::certificate("ida_enc");
    let trailing = [der.as_slice(), &[0]].concat();
    for bad in [&b"not DER"[..], &trailing, &der[..der.len() - 1], b""] {
        assert_eq!(EncryptionCertificate::from_der(bad).unwrap_err(), SessionError::Certificate);
    }
    let pem = |label: &str, der: &[u8]| {
        use base64::Engine as _;
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    };
    let file = format!("# comment\n{}{}", pem("PRIVATE KEY", b"x"), pem("CERTIFICATE", &der));
    assert_eq!(
        EncryptionCertificate::from_pem(file.as_bytes()).unwrap().thumbprint(),
        ida_certificate().thumbprint()
    );
    assert!(EncryptionCertificate::from_pem(pem("PRIVATE KEY", &der).as_bytes()).is_err());
    assert_eq!(DecryptionKey::from_pkcs8(&der).unwrap_err(), SessionError::PrivateKey);
}

#[test]
fn every_call_has_a_key_of_its_own() {
    let certificate = ida_certificate();
    let seal = || encrypt(b"record", "2024-05-17T09:41:27Z", "a1B2c3D4e5", &certificate).unwrap();
    let (first, second) = (seal(), seal());
    assert_ne!(first.bio_value, second.bio_value, "same key, same IV: the ciphertexts would be equal");
    assert_eq!((first.session_key.len(), first.thumbprint.as_str()), (342, certificate.thumbprint()));
}

#[test]
fn debug_tells_no_key() {
    let shown = format!("{:?} {:?}", ida_key(), ida_certificate());
    assert!(shown.len() < 400, "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn round_trip_and_every_input_counts(record in prop::collection::vec(any::<u8>(), 0..2000),
                                         timestamp in "[ -~]{0,40}", transaction_id in "[A-Za-z0-9-]{0,60}") {
        let (certificate, key) = (ida_certificate(), ida_key());
        let sealed = encrypt(&record, &timestamp, &transaction_id, &certificate).unwrap();
        let open = |bio: &str, timestamp: &str| decrypt(bio, &sealed.session_key, timestamp, &transaction_id, key);
        let opened = open(&sealed.bio_value, &timestamp).unwrap();
        prop_assert_eq!(opened.expose(), record.as_slice());

        prop_assert_eq!(open(&sealed.bio_value, &format!("{timestamp}!")).unwrap_err(), SessionError::Open);
        let mut bytes = base64url::decode(&sealed.bio_value).unwrap();
        bytes[0] ^= 1;
        prop_assert_eq!(open(&base64url::encode(&bytes), &timestamp).unwrap_err(), SessionError::Open);
        prop_assert_eq!(open(&format!("{}=", sealed.bio_value), &timestamp).unwrap_err(),
                        SessionError::Encoding("bioValue"));
    }

    #[test]
    fn derivation_is_total(timestamp in "\\PC{0,80}", transaction_id in "\\PC{0,80}") {
        let derived = derive(&timestamp, &transaction_id);
        prop_assert_eq!(derived, derive(&transaction_id, &timestamp), "XOR has no order");
        prop_assert!(derived.aad.ends_with(&derived.iv));
    }
}
