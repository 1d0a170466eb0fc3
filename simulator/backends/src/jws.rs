//! A compact JWS with its certificates, taken apart and verified as keymanager's `jwtVerify` does.
//!
//! Stricter than one back end where another needs it: RS256 only (the compliance tool kit reads no certificate under
//! another algorithm), canonical base64url without padding (the registration processor rebuilds the text), no `x5t#S256` (a
//! certificate cache of keymanager trusts it blindly). backends-crypto, sections 4 and 8.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::hash_chain::sha256;

/// What is wrong with a JWS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwsFault {
    /// Not three parts of canonical base64url, or no JSON where JSON belongs.
    #[error("malformed JWS: {0}")]
    Malformed(String),
    /// The header asks for what some consumer does not do.
    #[error("header: {0}")]
    Header(String),
    /// The signer's certificate does not parse or is out of its time.
    #[error("signer's certificate: {0}")]
    Certificate(String),
    /// The signature does not fit.
    #[error("the signature does not verify under x5c[0]")]
    Signature,
    /// No path to an anchor.
    #[error("not trusted: {0}")]
    Untrusted(String),
}

impl JwsFault {
    /// Code of the desktop registration client: trust and signature are told apart, the rest is shape.
    #[must_use]
    pub const fn registration_code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "REG-MDS-005",
            Self::Header(_) | Self::Certificate(_) | Self::Signature => "REG-MDM-106",
            Self::Untrusted(_) => "REG-MDM-108",
        }
    }
}

/// A JWS that has been taken apart; nothing in it is verified yet.
#[derive(Clone)]
pub struct Jws {
    header_part: String,
    signing_input: String,
    signature_part: String,
    signature: Vec<u8>,
    header: Map<String, Value>,
    payload_text: String,
    x5c: Vec<String>,
}

impl std::fmt::Debug for Jws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Jws({} bytes of payload, {} certificates)", self.payload_text.len(), self.x5c.len())
    }
}

impl Jws {
    /// Takes the compact form apart.
    ///
    /// # Errors
    /// `Malformed`, or `Header` when `x5c` is no array of strings.
    pub fn parse(compact: &str) -> Result<Self, JwsFault> {
        let malformed = |what: &str| JwsFault::Malformed(what.to_owned());
        let parts: Vec<&str> = compact.split('.').collect();
        let [header_part, payload_part, signature_part] = parts.as_slice() else {
            return Err(JwsFault::Malformed(format!("{} parts instead of 3", parts.len())));
        };
        let decode = |what: &str, part: &str| {
            URL_SAFE_NO_PAD.decode(part).map_err(|e| JwsFault::Malformed(format!("{what}: {e}")))
        };
        let header: Value = serde_json::from_slice(&decode("header", header_part)?)
            .map_err(|_| malformed("the header is no JSON"))?;
        let Value::Object(header) = header else { return Err(malformed("the header is no JSON object")) };
        let payload_text = String::from_utf8(decode("payload", payload_part)?)
            .map_err(|_| malformed("the payload is not UTF-8"))?;
        let x5c = match header.get("x5c") {
            Some(Value::Array(entries)) if !entries.is_empty() => entries
                .iter()
                .map(|entry| entry.as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| JwsFault::Header("x5c holds something else than strings".to_owned()))?,
            Some(Value::Array(_)) => return Err(JwsFault::Header("x5c is empty".to_owned())),
            Some(_) => return Err(JwsFault::Header("x5c is no array".to_owned())),
            None => return Err(JwsFault::Header("x5c is missing".to_owned())),
        };
        Ok(Self {
            header_part: (*header_part).to_owned(),
            signing_input: format!("{header_part}.{payload_part}"),
            signature_part: (*signature_part).to_owned(),
            signature: decode("signature", signature_part)?,
            header,
            payload_text,
            x5c,
        })
    }

    /// The header's members.
    #[must_use]
    pub const fn header(&self) -> &Map<String, Value> {
        &self.header
    }

    /// `x5c`, verbatim; entry 0 is the signer.
    #[must_use]
    pub fn x5c(&self) -> &[String] {
        &self.x5c
    }

    /// The payload as text.
    #[must_use]
    pub fn payload_text(&self) -> &str {
        &self.payload_text
    }

    /// The payload as a JSON object.
    ///
    /// # Errors
    /// `Malformed` when it is none.
    pub fn payload(&self) -> Result<Map<String, Value>, JwsFault> {
        match serde_json::from_str(&self.payload_text) {
            Ok(Value::Object(map)) => Ok(map),
            _ => Err(JwsFault::Malformed("the payload is no JSON object".to_owned())),
        }
    }

    /// What the registration client keeps beside the record: `header..signature`.
    #[must_use]
    pub fn detached(&self) -> String {
        format!("{}..{}", self.header_part, self.signature_part)
    }

    /// Entry `index` of `x5c` as DER.
    ///
    /// # Errors
    /// `Certificate` when there is none or it is no plain base64 without line breaks.
    pub fn certificate(&self, index: usize) -> Result<Vec<u8>, JwsFault> {
        let text =
            self.x5c.get(index).ok_or_else(|| JwsFault::Certificate(format!("there is no x5c[{index}]")))?;
        STANDARD
            .decode(text)
            .map_err(|e| JwsFault::Certificate(format!("x5c[{index}] is no plain base64: {e}")))
    }

    /// Upper-case hex SHA-256 of the signer's certificate.
    #[must_use]
    pub fn signer_sha256(&self) -> String {
        self.certificate(0).map(|der| hex::encode_upper(sha256(&der))).unwrap_or_default()
    }

    /// First organisation name (O) in the subject of the signer's certificate.
    #[must_use]
    pub fn signer_organisation(&self) -> Option<String> {
        let der = self.certificate(0).ok()?;
        let certificate = parse_certificate(&der).ok()?;
        let name = certificate.subject().iter_organization().next()?.as_str().ok()?.to_owned();
        Some(name)
    }

    /// Start of the time of the signer's certificate, in seconds since 1970.
    #[must_use]
    pub fn signer_not_before(&self) -> Option<i64> {
        let der = self.certificate(0).ok()?;
        let certificate = parse_certificate(&der).ok()?;
        Some(certificate.validity().not_before.timestamp())
    }

    /// Verifies header, the signer's validity at `now_s` (seconds since 1970) and the signature. Not trust.
    ///
    /// # Errors
    /// The first fault in that order.
    pub fn verify(&self, now_s: i64) -> Result<(), JwsFault> {
        let header = |what: String| Err(JwsFault::Header(what));
        match self.header.get("alg").and_then(Value::as_str) {
            Some("RS256") => {}
            other => return header(format!("alg is {other:?}, only RS256 passes everywhere")),
        }
        if let Some(extra) = crate::members::unknown(&self.header, &["alg", "typ", "x5c"]) {
            return header(format!("members beside alg, typ, x5c: {extra}"));
        }
        let der = self.certificate(0)?;
        let certificate = parse_certificate(&der).map_err(JwsFault::Certificate)?;
        check_validity(&certificate, now_s).map_err(JwsFault::Certificate)?;
        let key = &certificate.public_key().subject_public_key.data;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)
            .verify(self.signing_input.as_bytes(), &self.signature)
            .map_err(|_| JwsFault::Signature)
    }

    /// Whether the same header and signature verify over another payload: the registration processor's test.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn verify_rebuilt(&self, payload: &str, now_s: i64) -> Result<(), JwsFault> {
        let signing_input = format!("{}.{}", self.header_part, URL_SAFE_NO_PAD.encode(payload));
        Self { signing_input, ..self.clone() }.verify(now_s)
    }
}

/// Reads one DER certificate with nothing behind it.
pub(crate) fn parse_certificate(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err("bytes follow the certificate".to_owned()),
        Err(e) => Err(format!("no X.509 certificate: {e}")),
    }
}

/// Whether `now_s` lies within the certificate's time.
pub(crate) fn check_validity(certificate: &X509Certificate<'_>, now_s: i64) -> Result<(), String> {
    let validity = certificate.validity();
    if now_s < validity.not_before.timestamp() {
        return Err(format!("{} is not valid before {}", certificate.subject(), validity.not_before));
    }
    if now_s > validity.not_after.timestamp() {
        return Err(format!("{} expired {}", certificate.subject(), validity.not_after));
    }
    Ok(())
}
