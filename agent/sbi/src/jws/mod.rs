//! Compact JWS with `x5c`, made in two steps around a signer and read strictly.
//!
//! The header is exactly `{"alg":"RS256","typ":"JWT","x5c":[...]}`, in this order: the registration packet stores its
//! text, and no back end needs more. `kid` is pointless beside `x5c`; `x5t#S256` is harmful, since one back end uses it
//! to pick a certificate from a cache without checking that it belongs to `x5c`.
//!
//! The first certificate is the signer's. Further ones need not be its chain: a registration answer of an L1 device
//! repeats the certificate of the FTM there (docs/decisions.md).

mod parse;

pub use parse::{JwsError, MAX_CERTIFICATES, MAX_LENGTH, Parsed, parse};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::base64url::{self, Encoder};
use zeroize::Zeroizing;

/// Header and payload, waiting for the signature.
pub struct Unsigned(String);

/// Lays out header and payload. `x5c` is DER, the signer first; it must not be empty, or nobody can verify the result.
#[must_use]
pub fn prepare(x5c: &[impl AsRef<[u8]>], payload: &str) -> Unsigned {
    let mut text = start(x5c, payload.len());
    base64url::append(payload.as_bytes(), &mut text);
    Unsigned(text)
}

/// As [`prepare`] with the payload `head`, base64url of `record`, `tail`; neither that text nor the payload is ever
/// written down, for both would be large and in the clear.
pub(crate) fn prepare_around(x5c: &[impl AsRef<[u8]>], head: &str, record: &[u8], tail: &str) -> Unsigned {
    let mut payload = Encoder::after(start(x5c, head.len() + record.len() * 4 / 3 + 2 + tail.len()));
    payload.push(head.as_bytes());
    let mut piece = Zeroizing::new(String::with_capacity(PIECE / 3 * 4));
    for bytes in record.chunks(PIECE) {
        piece.clear();
        base64url::append(bytes, &mut piece);
        payload.push(piece.as_bytes());
    }
    payload.push(tail.as_bytes());
    Unsigned(payload.finish())
}

/// Bytes of a record that are encoded at once: whole groups of three.
const PIECE: usize = 3 * 1024;

/// The header and its dot, with room for a payload of `length` bytes and the signature.
fn start(x5c: &[impl AsRef<[u8]>], length: usize) -> String {
    let mut header = String::from(r#"{"alg":"RS256","typ":"JWT","x5c":["#);
    for (index, certificate) in x5c.iter().enumerate() {
        header.push_str(if index == 0 { "\"" } else { ",\"" });
        STANDARD.encode_string(certificate, &mut header);
        header.push('"');
    }
    header.push_str("]}");
    let mut text = String::with_capacity((header.len() + length) * 4 / 3 + 384);
    base64url::append(header.as_bytes(), &mut text);
    text.push('.');
    text
}

impl AsRef<[u8]> for Unsigned {
    fn as_ref(&self) -> &[u8] {
        self.signing_input()
    }
}

impl Unsigned {
    /// What has to be signed: RSA PKCS#1 v1.5 with SHA-256 over these bytes.
    #[must_use]
    pub fn signing_input(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The finished JWS. Whether `signature` is one is for [`Parsed::verify`] to say.
    #[must_use]
    pub fn attach(self, signature: &[u8]) -> String {
        let mut text = self.0;
        text.push('.');
        base64url::append(signature, &mut text);
        text
    }
}

impl std::fmt::Debug for Unsigned {
    /// The length only: the payload may hold biometric data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Unsigned({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::known_answers::{self, section, table, text};

    #[test]
    fn known_signing_inputs_and_signatures() {
        for (name, entry) in table("jwt") {
            let key = text(&entry["x5c"][0]);
            let unsigned = prepare(&known_answers::x5c(&entry["x5c"]), &known_answers::payload(entry));
            let digest = crate::hash_chain::sha256(unsigned.signing_input());
            assert_eq!(hex::encode_upper(digest), text(&entry["signingInputSha256"]), "{name}");
            let signature = known_answers::sign(&key, unsigned.signing_input());
            assert_eq!(
                base64url::encode(&signature),
                text(&entry["signature"]),
                "{name}: RS256 is deterministic"
            );
            parse(&unsigned.attach(&signature)).unwrap().verify().unwrap();
        }
        assert_eq!(table("jwt").len(), 5);
    }

    /// An independent reader accepts what we make, and refuses it after one byte has changed.
    #[test]
    fn jsonwebtoken_verifies_what_we_make() {
        use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
        use x509_parser::prelude::*;

        let certificates = [known_answers::certificate("device"), known_answers::certificate("ftm_chip")];
        let unsigned = prepare(&certificates, r#"{"a":"1"}"#);
        let signature = known_answers::sign("device", unsigned.signing_input());
        let jws = unsigned.attach(&signature);

        let header = decode_header(&jws).unwrap();
        assert_eq!((header.alg, header.typ.as_deref()), (Algorithm::RS256, Some("JWT")));
        let x5c = header.x5c.unwrap();
        assert_eq!(x5c, certificates.map(|der| STANDARD.encode(der)));

        let der = STANDARD.decode(&x5c[0]).unwrap();
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        let key = DecodingKey::from_rsa_der(&certificate.public_key().subject_public_key.data);
        let mut validation = Validation::new(Algorithm::RS256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        assert_eq!(decode::<serde_json::Value>(&jws, &key, &validation).unwrap().claims["a"], "1");

        let mut parts: Vec<String> = jws.split('.').map(str::to_owned).collect();
        parts[1] = base64url::encode(r#"{"a":"2"}"#);
        assert!(decode::<serde_json::Value>(parts.join("."), &key, &validation).is_err(), "negative control");
    }

    #[test]
    fn debug_tells_no_payload() {
        let shown = format!("{:?}", prepare(&[b"certificate"], "canary"));
        assert!(!shown.contains("canary") && !shown.contains(&base64url::encode("canary")), "{shown}");
    }

    /// The registration processor keeps `header..signature` and the payload text with its bioValue cut out, and later
    /// puts the record back as unpadded base64url. It also wants the digital ID's certificates among the data's.
    #[test]
    fn known_registration_packets() {
        for (name, packet) in table("registration_packet") {
            let record = known_answers::record(&text(&packet["record"]));
            let others = known_answers::payload(packet);
            let written = if packet["padded"] == true {
                base64::engine::general_purpose::URL_SAFE.encode(&record)
            } else {
                base64url::encode(&record)
            };
            let payload = others.replace("<bioValue>", &written);
            let unsigned = prepare(&known_answers::x5c(&packet["x5c"]), &payload);
            let signature = known_answers::sign("device", unsigned.signing_input());
            assert_eq!(base64url::encode(&signature), text(&packet["signature"]), "{name}");
            let jws = unsigned.attach(&signature);
            assert_eq!(
                hex::encode_upper(crate::hash_chain::sha256(jws.as_bytes())),
                text(&packet["jwtSha256"]),
                "{name}"
            );

            let [header, _, signature] = jws.split('.').collect::<Vec<_>>()[..] else { panic!("{name}") };
            let back = others.replace("<bioValue>", &base64url::encode(&record));
            let rebuilt = format!("{header}.{}.{signature}", base64url::encode(back));
            assert_eq!(rebuilt == jws, packet["rebuiltEqualsOriginal"], "{name}");
            let rebuilt = parse(&rebuilt).unwrap();
            assert_eq!(rebuilt.verify().is_ok(), packet["rebuiltEqualsOriginal"], "{name}");

            let data: serde_json::Value = serde_json::from_str(&payload).unwrap();
            let digital_id = parse(data["digitalId"].as_str().unwrap()).unwrap();
            assert_eq!(rebuilt.repeats_certificates_of(&digital_id), packet["x5cSubset"], "{name}");
        }
        assert_eq!(section("registration_packet").as_object().unwrap().len(), 4);
    }
}
