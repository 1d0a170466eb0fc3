//! Documents: who may sign what, and what is no document.

use std::sync::LazyLock;

use biotrust_certs::{Adopter, Authority, Device, Order, SignerPurpose, TestPki, TrustStore, Validity};
use biotrust_model::time::UtcMillis;

use super::*;
use crate::testing::Key;

const NOW: UtcMillis = UtcMillis(1_893_456_000_000);

static PKI: LazyLock<TestPki> = LazyLock::new(|| TestPki::mint(TestPki::DEFAULT_SPEC, NOW).unwrap());
static KEY: LazyLock<Key> = LazyLock::new(Key::generate);

#[test]
fn a_bare_key_and_a_chain() {
    let by_key = KEY.document("x+jwt", &Signer::Key(KEY.spki()), "{}");
    let parsed = parse("x+jwt", &by_key, 10_000).unwrap();
    assert_eq!(parsed.signer, ParsedSigner::Key(KEY.spki().to_vec()));
    assert_eq!((parsed.spki(), parsed.payload.as_slice()), (KEY.spki(), b"{}".as_slice()));
    parsed.verify().unwrap();

    let signer = PKI.signer(SignerPurpose::Firmware, NOW).unwrap();
    let unsigned = prepare("x+jwt", &Signer::Chain(&signer.chain), "{}").unwrap();
    let signature = signer.sign_rs256(unsigned.signing_input());
    let parsed = parse("x+jwt", &unsigned.attach(&signature), 10_000).unwrap();
    assert_eq!(parsed.signer, ParsedSigner::Chain(signer.chain.clone()));
    parsed.verify().unwrap();
}

#[test]
fn a_signature_is_for_these_bytes_by_this_key() {
    let good = KEY.document("x+jwt", &Signer::Key(KEY.spki()), "{}");
    let other = KEY.document("x+jwt", &Signer::Key(KEY.spki()), r#"{"a":1}"#);
    let [header, payload, _] = good.split('.').collect::<Vec<_>>()[..] else { unreachable!() };
    let (_, signature) = other.rsplit_once('.').unwrap();
    let mixed = parse("x+jwt", &format!("{header}.{payload}.{signature}"), 10_000).unwrap();
    assert_eq!(mixed.verify(), Err(SignedError::Signature));
    let stranger = Key::generate();
    let forged = stranger.document("x+jwt", &Signer::Key(KEY.spki()), "{}");
    assert_eq!(parse("x+jwt", &forged, 10_000).unwrap().verify(), Err(SignedError::Signature));
}

#[test]
fn what_is_no_document_is_said() {
    let good = KEY.document("x+jwt", &Signer::Key(KEY.spki()), "{}");
    let error = |text: &str| parse("x+jwt", text, 10_000).unwrap_err();
    assert!(matches!(error("a.b"), SignedError::Parts(2)));
    assert!(matches!(error(&format!("{good}=")), SignedError::Encoding("the signature")));
    assert!(matches!(parse("x+jwt", &good, 10), Err(SignedError::TooLong { limit: 10, .. })));
    assert!(matches!(parse("y+jwt", &good, 10_000), Err(SignedError::Unexpected { member: "typ", .. })));
    let (_, rest) = good.split_once('.').unwrap();
    for (header, expected) in [
        (r#"{"alg":"RS256","typ":"x+jwt"}"#, "neither"),
        (r#"{"alg":"RS256","typ":"x+jwt","x5c":[]}"#, "0 certificates"),
        (r#"{"alg":"RS256","typ":"x+jwt","x5c":["!"]}"#, "x5c[0] is not plain base64"),
        (r#"{"alg":"RS256","typ":"x+jwt","x5c":["AAAA"]}"#, "x5c[0] is no certificate"),
        (r#"{"alg":"RS256","typ":"x+jwt","crit":["b64"],"x5c":["AAAA"]}"#, "crit"),
        (r#"{"alg":"none","typ":"x+jwt"}"#, "alg"),
        (r#"{"alg":"RS256","typ":"x+jwt","jwk":{"kty":"EC","n":"","e":""}}"#, "kty"),
    ] {
        let found = error(&format!("{}.{rest}", base64url::encode(header))).to_string();
        assert!(found.contains(expected), "{found}");
    }
    assert_eq!(prepare("x", &Signer::Chain(&[]), "").unwrap_err(), SignedError::Certificates(0));
    assert_eq!(prepare("x", &Signer::Key(b"no key"), "").unwrap_err(), SignedError::KeyType);
}

#[test]
fn a_short_key_is_refused_before_its_signature() {
    let modulus = Bytes([[0x80].as_slice(), &[1; 127]].concat());
    let jwk = Jwk { kty: "RSA".to_owned(), n: modulus, e: Bytes(vec![1, 0, 1]) };
    let header = Header { alg: "RS256".to_owned(), typ: "x".to_owned(), x5c: None, jwk: Some(jwk) };
    let header = base64url::encode(serde_json::to_string(&header).unwrap());
    let parsed = parse("x", &format!("{header}.e30.AAAA"), 10_000).unwrap();
    assert_eq!(parsed.verify(), Err(SignedError::KeySize(1024)));
}

/// Every purpose against every other, and against a device certificate that has none.
#[test]
fn purposes_do_not_stand_in_for_each_other() {
    let device: TrustStore<Device> = PKI.store().unwrap();
    let sign = |purpose| {
        let signer = PKI.signer_by(Authority::DeviceProvider, purpose, NOW).unwrap();
        let unsigned = prepare("x", &Signer::Chain(&signer.chain), "{}").unwrap();
        let signature = signer.sign_rs256(unsigned.signing_input());
        parse("x", &unsigned.attach(&signature), 10_000).unwrap()
    };
    for signed in SignerPurpose::ALL {
        let parsed = sign(signed);
        for wanted in SignerPurpose::ALL {
            let judged = verify_by_purpose(&parsed, &device, wanted, Some("Example Devices Ltd"), NOW);
            assert_eq!(judged.is_ok(), signed == wanted, "{signed} for {wanted}");
        }
    }
    let chain =
        PKI.issue_device_certificate(&KEY.csr("SN1"), NOW, std::time::Duration::from_secs(86_400)).unwrap();
    let parsed = parse("x", &KEY.document("x", &Signer::Chain(&chain), "{}"), 10_000).unwrap();
    let judged = verify_by_purpose(&parsed, &device, SignerPurpose::Management, None, NOW);
    assert!(matches!(judged, Err(SignedError::Purpose { .. })), "{judged:?}");
    let bare = parse("x", &KEY.document("x", &Signer::Key(KEY.spki()), "{}"), 10_000).unwrap();
    let judged = verify_by_purpose(&bare, &device, SignerPurpose::Management, None, NOW);
    assert!(matches!(judged, Err(SignedError::Untrusted(_))), "{judged:?}");
    let adopter: TrustStore<Adopter> = PKI.store().unwrap();
    let parsed = sign(SignerPurpose::Metadata);
    let judged = verify_by_purpose(&parsed, &adopter, SignerPurpose::Metadata, None, NOW);
    assert!(matches!(judged, Err(SignedError::Untrusted(_))), "the wrong domain: {judged:?}");
}

/// Providers share a root. What one of them writes into a certificate says nothing about another.
#[test]
fn an_authority_speaks_for_its_own_organisation_only() {
    let device: TrustStore<Device> = PKI.store().unwrap();
    let judge = |by| {
        let order = Order {
            extended_key_usages: vec![SignerPurpose::Management.oid().to_owned()],
            ..Order::leaf(
                by,
                KEY.spki(),
                vec!["O=Example Devices Ltd".to_owned(), "CN=Signer".to_owned()],
                Validity::starting(NOW, std::time::Duration::from_secs(86_400)),
            )
        };
        let chain = PKI.issue(&order).unwrap();
        let parsed = parse("x", &KEY.document("x", &Signer::Chain(&chain), "{}"), 10_000).unwrap();
        verify_by_purpose(&parsed, &device, SignerPurpose::Management, Some("Example Devices Ltd"), NOW)
    };
    assert!(judge(Authority::DeviceProvider).is_ok());
    let impostor = judge(Authority::OtherProvider);
    assert!(
        matches!(&impostor, Err(SignedError::Organisation { found, .. }) if found == "Other Devices Ltd"),
        "{impostor:?}"
    );
}
