//! Compact JWS of any type, by a certified key or by one that has no certificate yet.
//!
//! The header is exactly `{"alg":"RS256","typ":…,"x5c":[…]}` or `{"alg":"RS256","typ":…,"jwk":{…}}`. The type is the
//! first thing that is looked at: what was signed as one kind of document is never read as another. Digital IDs and
//! captures have their own writer (`biotrust-sbi`), whose type is `JWT`; no document here has that type.

mod parse;
mod purpose;

pub use parse::{MAX_CERTIFICATES, Parsed, ParsedSigner, SignedError, parse};
pub use purpose::verify_by_purpose;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use biotrust_sbi::base64url;
use serde::{Deserialize, Serialize};

use crate::rsa::RsaPublic;
use crate::wire::Bytes;

/// Who signs.
#[derive(Debug, Clone, Copy)]
pub enum Signer<'a> {
    /// The key of the first certificate (DER); the others lead to its anchor.
    Chain(&'a [Vec<u8>]),
    /// A key that has no certificate yet: SubjectPublicKeyInfo, DER; RSA.
    Key(&'a [u8]),
}

/// Header and payload, waiting for the signature.
#[derive(Debug)]
pub struct Unsigned(String);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    x5c: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwk: Option<Jwk>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Jwk {
    kty: String,
    n: Bytes,
    e: Bytes,
}

/// Lays out header and payload (JSON) of a document of type `typ`.
///
/// # Errors
/// The chain is empty or too long, or the key is not RSA.
pub fn prepare(typ: &str, signer: &Signer<'_>, payload: &str) -> Result<Unsigned, SignedError> {
    let mut header = Header { alg: "RS256".to_owned(), typ: typ.to_owned(), x5c: None, jwk: None };
    match signer {
        Signer::Chain(chain) if chain.is_empty() || chain.len() > MAX_CERTIFICATES => {
            return Err(SignedError::Certificates(chain.len()));
        }
        Signer::Chain(chain) => header.x5c = Some(chain.iter().map(|der| STANDARD.encode(der)).collect()),
        Signer::Key(spki) => {
            let RsaPublic { modulus, exponent } = RsaPublic::from_spki(spki).ok_or(SignedError::KeyType)?;
            header.jwk = Some(Jwk { kty: "RSA".to_owned(), n: Bytes(modulus), e: Bytes(exponent) });
        }
    }
    let header = serde_json::to_string(&header).map_err(|error| SignedError::Header(error.to_string()))?;
    Ok(Unsigned(format!("{}.{}", base64url::encode(header), base64url::encode(payload))))
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
        format!("{}.{}", self.0, base64url::encode(signature))
    }
}

#[cfg(test)]
mod tests;
