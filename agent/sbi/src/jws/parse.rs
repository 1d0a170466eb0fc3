//! Reading a JWS that a device or a test made: strict, within limits, and only then the signature.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;

use crate::base64url;
use crate::json::message;

/// Longest JWS that is read: a lossless 1080p face, twice in base64, fits four times.
pub const MAX_LENGTH: usize = 16 << 20;

/// Most certificates in an `x5c`.
pub const MAX_CERTIFICATES: usize = 8;

/// Longest header: eight certificates of 8 KiB each, in base64 twice.
const MAX_HEADER: usize = 128 << 10;

/// Why a text is no JWS of ours, or its signature no signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwsError {
    /// Over the limit.
    #[error("JWS of {length} characters is over the limit of {MAX_LENGTH}, or its header over {MAX_HEADER}")]
    TooLong {
        /// Characters.
        length: usize,
    },
    /// Not `header.payload.signature`.
    #[error("JWS has {0} parts separated by dots, not 3")]
    Parts(usize),
    /// A part is padded, has a foreign character, or is empty.
    #[error("{0} of the JWS is not unpadded base64url")]
    Encoding(&'static str),
    /// The header is not the three members that it must be.
    #[error("JWS header is not {{\"alg\",\"typ\",\"x5c\"}}: {0}")]
    Header(String),
    /// Another algorithm or type.
    #[error("JWS header has {member} {found:?}, not {expected:?}")]
    Unexpected {
        /// Member of the header.
        member: &'static str,
        /// The start of what is there.
        found: String,
        /// What must be there.
        expected: &'static str,
    },
    /// None, or too many.
    #[error("x5c has {0} certificates, not 1 to {MAX_CERTIFICATES}")]
    Certificates(usize),
    /// An entry of `x5c` is not base64.
    #[error("x5c[{0}] is not plain base64")]
    CertificateEncoding(usize),
    /// The signer's certificate cannot be read.
    #[error("x5c[0] is not an X.509 certificate in DER")]
    Certificate,
    /// The signer's key is not RSA.
    #[error("the key of x5c[0] is not RSA")]
    KeyType,
    /// The signer's key is too short or too long.
    #[error("the RSA key of x5c[0] has {0} bits, not 2048 to 8192")]
    KeySize(usize),
    /// The signature is not the signer's over this header and payload.
    #[error("the signature does not verify with the key of x5c[0]")]
    Signature,
}

/// A JWS taken apart. Nothing in it may be believed before [`Self::verify`], and the signer not before its certificate
/// has been appraised (crate `biotrust-certs`).
pub struct Parsed {
    /// Certificates, DER, the signer's first.
    pub x5c: Vec<Vec<u8>>,
    /// Payload.
    pub payload: Vec<u8>,
    signing_input: String,
    signature: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    x5c: Vec<String>,
}

/// Takes a compact JWS apart without judging its signature.
///
/// # Errors
/// Every deviation from the form that [`super::prepare`] writes, within [`MAX_LENGTH`] and [`MAX_CERTIFICATES`].
pub fn parse(compact: &str) -> Result<Parsed, JwsError> {
    if compact.len() > MAX_LENGTH {
        return Err(JwsError::TooLong { length: compact.len() });
    }
    let mut parts = compact.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(JwsError::Parts(compact.split('.').count()));
    };
    if header.len() > MAX_HEADER {
        return Err(JwsError::TooLong { length: header.len() });
    }
    let x5c = read_header(&part(header, "the header")?)?;
    Ok(Parsed {
        x5c,
        payload: part(payload, "the payload")?,
        signature: part(signature, "the signature")?,
        signing_input: format!("{header}.{payload}"),
    })
}

fn part(text: &str, name: &'static str) -> Result<Vec<u8>, JwsError> {
    base64url::decode(text).filter(|bytes| !bytes.is_empty()).ok_or(JwsError::Encoding(name))
}

fn read_header(json: &[u8]) -> Result<Vec<Vec<u8>>, JwsError> {
    let header: Header = serde_json::from_slice(json).map_err(|error| JwsError::Header(message(&error)))?;
    expect("alg", &header.alg, "RS256")?;
    expect("typ", &header.typ, "JWT")?;
    if header.x5c.is_empty() || header.x5c.len() > MAX_CERTIFICATES {
        return Err(JwsError::Certificates(header.x5c.len()));
    }
    let decode = |(index, text): (usize, &String)| {
        STANDARD.decode(text).map_err(|_| JwsError::CertificateEncoding(index))
    };
    header.x5c.iter().enumerate().map(decode).collect()
}

fn expect(member: &'static str, found: &str, expected: &'static str) -> Result<(), JwsError> {
    if found == expected {
        return Ok(());
    }
    Err(JwsError::Unexpected { member, found: found.chars().take(80).collect(), expected })
}

impl Parsed {
    /// Checks the signature with the key of the first certificate, which must be RSA of 2048 bits or more.
    ///
    /// Says nothing about the certificate itself: dates, issuer and domain are `biotrust-certs`' to judge.
    ///
    /// # Errors
    /// The certificate cannot be read, its key does not fit, or the signature is not its.
    pub fn verify(&self) -> Result<(), JwsError> {
        let der = self.x5c.first().ok_or(JwsError::Certificates(0))?;
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| JwsError::Certificate)?;
        if !rest.is_empty() {
            return Err(JwsError::Certificate);
        }
        let key = certificate.public_key();
        let Ok(PublicKey::RSA(rsa)) = key.parsed() else { return Err(JwsError::KeyType) };
        if !(2048..=8192).contains(&rsa.key_size()) {
            return Err(JwsError::KeySize(rsa.key_size()));
        }
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key.subject_public_key.data)
            .verify(self.signing_input.as_bytes(), &self.signature)
            .map_err(|_| JwsError::Signature)
    }

    /// Whether every certificate of `digital_id` also stands in this header.
    ///
    /// The registration processor refuses a packet whose data does not repeat the certificates of its digital ID.
    #[must_use]
    pub fn repeats_certificates_of(&self, digital_id: &Self) -> bool {
        digital_id.x5c.iter().all(|certificate| self.x5c.contains(certificate))
    }

    /// The two signed parts as they stand in the JWS, `header.payload`.
    #[must_use]
    pub fn signing_input(&self) -> &str {
        &self.signing_input
    }

    /// The signature.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

impl std::fmt::Debug for Parsed {
    /// Counts only: the payload may hold biometric data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Parsed({} certificates, {} bytes of payload)", self.x5c.len(), self.payload.len())
    }
}

#[cfg(test)]
mod tests;
