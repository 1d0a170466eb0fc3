//! Reading a compact JWS: strict, within limits; the signature comes after that, and trust in the signer last.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use biotrust_certs::{Certificate, CertificateError, MIN_RSA_BITS, SignerPurpose};
use biotrust_sbi::base64url;

use super::Header;
use crate::rsa::{self, RsaPublic};
use crate::shown;

/// Most certificates of a signer.
pub const MAX_CERTIFICATES: usize = 8;

/// Longest RSA key that is accepted.
const MAX_RSA_BITS: usize = 8192;

/// Why a text is no document of the wanted type, or its signature no signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignedError {
    /// Over the limit.
    #[error("{length} characters are over the limit of {limit}")]
    TooLong {
        /// Characters.
        length: usize,
        /// Most that are read.
        limit: usize,
    },
    /// Not `header.payload.signature`.
    #[error("it has {0} parts separated by dots; a compact JWS has 3")]
    Parts(usize),
    /// A part is padded, has a foreign character, or is empty.
    #[error("{0} is not unpadded base64url")]
    Encoding(&'static str),
    /// The header is not what it must be.
    #[error("the header is not {{\"alg\",\"typ\"}} with either \"x5c\" or \"jwk\": {0}")]
    Header(String),
    /// Another algorithm or type.
    #[error("the header has {member} \"{found}\" where \"{expected}\" must stand")]
    Unexpected {
        /// Member of the header.
        member: &'static str,
        /// The start of what is there.
        found: String,
        /// What must be there.
        expected: String,
    },
    /// None, or too many.
    #[error("x5c has {0} certificates; 1 to {MAX_CERTIFICATES} are allowed")]
    Certificates(usize),
    /// An entry of `x5c` is not base64.
    #[error("x5c[{0}] is not plain base64")]
    CertificateEncoding(usize),
    /// The signer's certificate cannot be read.
    #[error("x5c[0] is no certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// The signer's key is not RSA.
    #[error("the signer's key is not RSA")]
    KeyType,
    /// The signer's key is too short or too long.
    #[error("the signer's RSA key has {0} bits; {MIN_RSA_BITS} to {MAX_RSA_BITS} are accepted")]
    KeySize(usize),
    /// The signature is not the signer's over this header and payload.
    #[error("the signature does not verify with the signer's key")]
    Signature,
    /// The signer is not trusted.
    #[error("the signer is not trusted: {0}")]
    Untrusted(String),
    /// The signer's certificate is not for this purpose.
    #[error(
        "the certificate \"{subject}\" is not for a signer of {purpose}: it lacks the extended key usage {}",
        .purpose.oid()
    )]
    Purpose {
        /// Subject of the certificate.
        subject: String,
        /// What the certificate must be for.
        purpose: SignerPurpose,
    },
    /// The signer belongs to somebody else.
    #[error("the certificate is of organisation \"{found}\"; \"{expected}\" must sign this")]
    Organisation {
        /// Organisation of the certificate, or of whoever issued it; empty where there is none.
        found: String,
        /// Whose signature is needed.
        expected: String,
    },
}

/// Who signed, by the document's own account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParsedSigner {
    /// `x5c`: DER, the signer's certificate first.
    Chain(Vec<Vec<u8>>),
    /// `jwk`, as SubjectPublicKeyInfo in DER.
    Key(Vec<u8>),
}

/// A document taken apart. Nothing in it may be believed before [`Self::verify`], and the signer not before its
/// certificate has been judged ([`super::verify_by_purpose`], or the caller).
#[derive(Debug, Clone)]
pub struct Parsed {
    /// Who signed.
    pub signer: ParsedSigner,
    /// Payload.
    pub payload: Vec<u8>,
    leaf: Option<Certificate>,
    signing_input: String,
    signature: Vec<u8>,
}

/// Takes a compact JWS of type `typ` apart, without judging its signature.
///
/// # Errors
/// Every deviation from the form that [`super::prepare`] writes, or more than `max_length` characters.
pub fn parse(typ: &str, compact: &str, max_length: usize) -> Result<Parsed, SignedError> {
    if compact.len() > max_length {
        return Err(SignedError::TooLong { length: compact.len(), limit: max_length });
    }
    let mut parts = compact.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(SignedError::Parts(compact.split('.').count()));
    };
    let (signer, leaf) = read_header(typ, &part(header, "the header")?)?;
    Ok(Parsed {
        signer,
        leaf,
        payload: part(payload, "the payload")?,
        signature: part(signature, "the signature")?,
        signing_input: compact.get(..header.len() + 1 + payload.len()).unwrap_or_default().to_owned(),
    })
}

fn part(text: &str, name: &'static str) -> Result<Vec<u8>, SignedError> {
    base64url::decode(text).filter(|bytes| !bytes.is_empty()).ok_or(SignedError::Encoding(name))
}

fn read_header(typ: &str, json: &[u8]) -> Result<(ParsedSigner, Option<Certificate>), SignedError> {
    let header: Header = serde_json::from_slice(json)
        .map_err(|error| SignedError::Header(shown::value(&error.to_string())))?;
    expect("alg", &header.alg, "RS256")?;
    expect("typ", &header.typ, typ)?;
    match (header.x5c, header.jwk) {
        (Some(x5c), None) => {
            if x5c.is_empty() || x5c.len() > MAX_CERTIFICATES {
                return Err(SignedError::Certificates(x5c.len()));
            }
            let decode = |(index, text): (usize, &String)| {
                STANDARD.decode(text).map_err(|_| SignedError::CertificateEncoding(index))
            };
            let chain: Vec<Vec<u8>> = x5c.iter().enumerate().map(decode).collect::<Result<_, _>>()?;
            let leaf = chain.first().map(|der| Certificate::parse(der)).transpose()?;
            Ok((ParsedSigner::Chain(chain), leaf))
        }
        (None, Some(jwk)) => {
            expect("jwk.kty", &jwk.kty, "RSA")?;
            let key = RsaPublic { modulus: jwk.n.0, exponent: jwk.e.0 };
            Ok((ParsedSigner::Key(key.to_spki()), None))
        }
        (Some(_), Some(_)) => Err(SignedError::Header("both are there".to_owned())),
        (None, None) => Err(SignedError::Header("neither is there".to_owned())),
    }
}

fn expect(member: &'static str, found: &str, expected: &str) -> Result<(), SignedError> {
    if found == expected {
        return Ok(());
    }
    Err(SignedError::Unexpected { member, found: shown::value(found), expected: expected.to_owned() })
}

impl Parsed {
    /// Checks the signature with the signer's key, which must be RSA of 2048 bits or more.
    ///
    /// Says nothing about who holds that key.
    ///
    /// # Errors
    /// The key does not fit, or the signature is not its.
    pub fn verify(&self) -> Result<(), SignedError> {
        let spki = self.spki();
        let bits = RsaPublic::from_spki(spki).ok_or(SignedError::KeyType)?.bits();
        if !(MIN_RSA_BITS as usize..=MAX_RSA_BITS).contains(&bits) {
            return Err(SignedError::KeySize(bits));
        }
        if !rsa::verifies(spki, self.signing_input.as_bytes(), &self.signature) {
            return Err(SignedError::Signature);
        }
        Ok(())
    }

    /// The signer's key: SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        match (&self.leaf, &self.signer) {
            (Some(leaf), _) => leaf.spki_der(),
            (None, ParsedSigner::Key(spki)) => spki,
            (None, ParsedSigner::Chain(_)) => &[],
        }
    }

    /// The signer's certificate, where it has one.
    #[must_use]
    pub const fn leaf(&self) -> Option<&Certificate> {
        self.leaf.as_ref()
    }
}
