//! What the strict reader refuses, and that it never panics.

use proptest::prelude::*;

use super::*;
use crate::jws::prepare;
use crate::known_answers;

fn with_header(header: &str) -> String {
    format!("{}.e30.AA", base64url::encode(header))
}

fn signed(certificate: &[u8], key: &str) -> String {
    let unsigned = prepare(&[certificate], "{}");
    let signature = known_answers::sign(key, unsigned.signing_input());
    unsigned.attach(&signature)
}

#[test]
fn refuses_every_other_header() {
    let header = |alg: &str, typ: &str, x5c: &str| format!(r#"{{"alg":"{alg}","typ":"{typ}","x5c":{x5c}}}"#);
    assert!(parse(&with_header(&header("RS256", "JWT", r#"["AA=="]"#))).is_ok(), "the control");
    for alg in ["none", "HS256", "PS256", "ES256", "rs256", ""] {
        let error = parse(&with_header(&header(alg, "JWT", r#"["AA=="]"#))).unwrap_err();
        assert!(matches!(error, JwsError::Unexpected { member: "alg", .. }), "{alg}: {error}");
    }
    let error = parse(&with_header(&header("RS256", "jose", r#"["AA=="]"#))).unwrap_err();
    assert!(matches!(error, JwsError::Unexpected { member: "typ", .. }), "{error}");

    let nine = format!("[{}]", ["\"AA==\""; 9].join(","));
    for (x5c, expected) in [("[]", JwsError::Certificates(0)), (nine.as_str(), JwsError::Certificates(9))] {
        assert_eq!(parse(&with_header(&header("RS256", "JWT", x5c))).unwrap_err(), expected);
    }
    for x5c in [r#"["AA==","A_=="]"#, r#"["AA==","AA"]"#, r#"["AA==","AA==\n"]"#] {
        let error = parse(&with_header(&header("RS256", "JWT", x5c))).unwrap_err();
        assert_eq!(error, JwsError::CertificateEncoding(1), "{x5c}");
    }
    for text in [
        header("RS256", "JWT", r#""AA==""#),
        r#"{"typ":"JWT","x5c":["AA=="]}"#.into(),
        r#"{"alg":"RS256","typ":"JWT"}"#.into(),
        r#"{"alg":"RS256","alg":"none","typ":"JWT","x5c":["AA=="]}"#.into(),
        r#"{"alg":"RS256","typ":"JWT","x5c":["AA=="],"x5t#S256":"AA"}"#.into(),
        r#"{"alg":"RS256","typ":"JWT","x5c":["AA=="],"crit":["b64"]}"#.into(),
        r#"{"alg":"RS256","typ":"JWT","x5c":["AA=="]} {}"#.into(),
        "[]".into(),
    ] {
        assert!(matches!(parse(&with_header(&text)), Err(JwsError::Header(_))), "{text}");
    }
}

/// The reader of JSON quotes names of members as they are; a log has one line for one error.
#[test]
fn what_a_device_writes_in_a_header_cannot_write_lines_of_a_log() {
    for member in [r"x\ninfo: all is well", r"\u001b[2J", r"\u2028", r"\u202e", &"x".repeat(10_000)] {
        let error = parse(&with_header(&format!(r#"{{"{member}":1}}"#))).unwrap_err();
        assert!(matches!(error, JwsError::Header(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.is_ascii() && !text.contains(|c: char| c.is_control()), "{text:?}");
        assert!(text.contains("unknown field") && text.len() < 300, "{text}");
    }
    let error = parse(&with_header(r#"{"alg":"RS\n256","typ":"JWT","x5c":[]}"#)).unwrap_err();
    assert_eq!(error.to_string(), r#"JWS header has alg "RS\n256", not "RS256""#);
}

#[test]
fn refuses_every_other_shape() {
    let good = known_answers::jws("digitalId_ftm");
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!() };
    assert_eq!(parse(header).unwrap_err(), JwsError::Parts(1));
    assert_eq!(parse(&format!("{good}.")).unwrap_err(), JwsError::Parts(4));
    for (text, part) in [
        (format!("{header}=.{payload}.{signature}"), "the header"),
        (format!("{header}.{payload}=.{signature}"), "the payload"),
        (format!("{header}..{signature}"), "the payload"),
        (format!("{header}.{payload}."), "the signature"),
        (format!("{header}.{payload}.{signature}=="), "the signature"),
        (format!("{header}.{payload}.{signature}\n"), "the signature"),
    ] {
        assert_eq!(parse(&text).unwrap_err(), JwsError::Encoding(part), "{text}");
    }
    let long = "A".repeat(MAX_LENGTH + 1);
    assert_eq!(parse(&long).unwrap_err(), JwsError::TooLong { length: MAX_LENGTH + 1 });
    let long = format!("{}.e30.AA", "A".repeat(MAX_HEADER + 1));
    assert_eq!(parse(&long).unwrap_err(), JwsError::TooLong { length: MAX_HEADER + 1 });
}

#[test]
fn verifies_with_the_first_certificate_only() {
    let certificate = known_answers::certificate("device");
    parse(&signed(&certificate, "device")).unwrap().verify().unwrap();

    assert_eq!(parse(&signed(&certificate, "ftm_chip")).unwrap().verify(), Err(JwsError::Signature));
    let unsigned = prepare(&[known_answers::certificate("ftm_chip"), certificate.clone()], "{}");
    let signature = known_answers::sign("device", unsigned.signing_input());
    assert_eq!(parse(&unsigned.attach(&signature)).unwrap().verify(), Err(JwsError::Signature));

    let trailing = [certificate.as_slice(), &[0]].concat();
    assert_eq!(parse(&signed(&trailing, "device")).unwrap().verify(), Err(JwsError::Certificate));
    assert_eq!(parse(&signed(b"not DER", "device")).unwrap().verify(), Err(JwsError::Certificate));
}

#[test]
fn refuses_keys_that_back_ends_cannot_use() {
    // The same certificate with its SubjectPublicKeyInfo replaced; nobody looks at the issuer's signature here.
    let short = [&[0x30, 0x09, 0x02, 0x02, 0x00, 0xff, 0x02, 0x03, 0x01, 0x00, 0x01][..]].concat();
    let certificate = with_spki(&rsa_spki(&short));
    assert_eq!(parse(&signed(&certificate, "device")).unwrap().verify(), Err(JwsError::KeySize(8)));

    let mut point = vec![4];
    point.extend([1; 64]);
    let p256 = [
        0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1,
        7,
    ];
    let certificate = with_spki(&spki(&p256, &point));
    assert_eq!(parse(&signed(&certificate, "device")).unwrap().verify(), Err(JwsError::KeyType));
}

/// DER: tag, length in the long form of two bytes, content.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82, length[0], length[1]], content].concat()
}

fn spki(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let key = tlv(3, &[&[0], key].concat());
    tlv(0x30, &[tlv(0x30, algorithm), key].concat())
}

fn rsa_spki(key: &[u8]) -> Vec<u8> {
    spki(&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00], key)
}

/// The device certificate around another key.
fn with_spki(spki: &[u8]) -> Vec<u8> {
    let der = known_answers::certificate("device");
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let old = certificate.public_key().raw;
    let tbs = certificate.tbs_certificate.as_ref();
    let at = tbs.windows(old.len()).position(|window| window == old).unwrap();
    let tbs_content = [&tbs[4..at], spki, &tbs[at + old.len()..]].concat();
    let after_tbs = &der[4 + tbs.len()..];
    tlv(0x30, &[&tlv(0x30, &tbs_content), after_tbs].concat())
}

#[test]
fn debug_tells_no_payload() {
    let unsigned = prepare(&[b"certificate"], "canary");
    let shown = format!("{:?}", parse(&unsigned.attach(b"signature")).unwrap());
    assert_eq!(shown, "Parsed(1 certificates, 6 bytes of payload)");
}

proptest! {
    #[test]
    fn never_panics_on_text(text in any::<String>()) {
        let _ = parse(&text).and_then(|parsed| parsed.verify());
    }

    #[test]
    fn never_panics_on_dotted_base64url(text in "[A-Za-z0-9_-]{0,80}(\\.[A-Za-z0-9_=-]{0,40}){0,4}") {
        let _ = parse(&text).and_then(|parsed| parsed.verify());
    }

    /// One character changed anywhere in a good JWS: refused by the reader or by the signature.
    #[test]
    fn every_changed_character_is_noticed(at in any::<prop::sample::Index>(), with in "[A-Za-z0-9_.-]") {
        let good = known_answers::jws("digitalId_ftm");
        let at = at.index(good.len());
        let bad = format!("{}{with}{}", &good[..at], &good[at + 1..]);
        prop_assume!(bad != good);
        prop_assert!(parse(&bad).and_then(|parsed| parsed.verify()).is_err());
    }

    #[test]
    fn certificates_of_any_bytes_are_no_danger(der in prop::collection::vec(any::<u8>(), 0..400)) {
        let jws = prepare(&[der], "{}").attach(b"signature");
        prop_assert!(parse(&jws).unwrap().verify().is_err());
    }

    #[test]
    fn mutated_certificates_are_no_danger(at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let mut der = known_answers::certificate("device");
        let at = at.index(der.len());
        der[at] ^= flip;
        let _ = parse(&signed(&der, "device")).unwrap().verify();
    }

    #[test]
    fn round_trip(x5c in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..80), 1..=8),
                  payload in ".{1,200}", signature in prop::collection::vec(any::<u8>(), 1..300)) {
        let parsed = parse(&prepare(&x5c, &payload).attach(&signature)).unwrap();
        prop_assert_eq!(parsed.payload.as_slice(), payload.as_bytes());
        prop_assert_eq!((&parsed.x5c, parsed.signature()), (&x5c, signature.as_slice()));
    }
}
