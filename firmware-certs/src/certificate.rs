//! An X.509 certificate, read once into an owned view.
//!
//! Reading proves nothing: only [`crate::TrustStore::verify`] says whether a certificate is to be believed.

use biotrust_model::time::UtcMillis;
use x509_parser::asn1_rs::Oid;
use x509_parser::oid_registry::OID_X509_EXT_EXTENDED_KEY_USAGE;
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::{Name, sha256_hex};

/// Largest certificate that is read, in bytes. Real ones have one or two thousand.
pub const MAX_CERTIFICATE_BYTES: usize = 64 * 1024;

/// Smallest RSA key that is accepted anywhere (the back ends' JWS library and partner management both refuse less).
pub const MIN_RSA_BITS: u32 = 2048;

/// Critical extensions that path building understands or may pass over: key usage, subject alternative name, basic
/// constraints, certificate policies, policy mappings, extended key usage, inhibit any-policy (no policy is asked for).
const UNDERSTOOD: &[&str] =
    &["2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.32", "2.5.29.33", "2.5.29.37", "2.5.29.54"];

/// Why some bytes are not a certificate that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// More than [`MAX_CERTIFICATE_BYTES`].
    #[error("{0} bytes are too many for a certificate")]
    TooLarge(usize),
    /// Not the DER of a certificate.
    #[error("not a DER-encoded X.509 certificate ({0})")]
    NotACertificate(String),
    /// Bytes after the end.
    #[error("{0} bytes follow the end of the certificate")]
    TrailingBytes(usize),
    /// An extension that decides over trust is unreadable or stands there twice.
    #[error("extension {0} is unreadable or repeated")]
    BadExtension(&'static str),
}

/// Why a certificate does not carry its issuer's signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// SHA-1, MD5, or an algorithm that no back end checks.
    #[error("signature algorithm {0} is not accepted; SHA-256 with RSA is")]
    Algorithm(String),
    /// The two places that name the algorithm disagree.
    #[error("the certificate names two different signature algorithms")]
    AlgorithmMismatch,
    /// The signature was not made by this issuer over these bytes.
    #[error("the signature does not verify")]
    Wrong,
}

/// An X.509 certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    version: u32,
    signature_algorithm: String,
    subject: Name,
    issuer: Name,
    serial: Vec<u8>,
    not_before: UtcMillis,
    not_after: UtcMillis,
    spki: Vec<u8>,
    rsa_bits: Option<u32>,
    ca: bool,
    path_len: Option<u32>,
    key_usage: Option<KeyUse>,
    extended_key_usages: Vec<String>,
    key_id: Option<Vec<u8>>,
    unhandled_critical: Option<String>,
}

/// The two uses of a key that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KeyUse {
    digital_signature: bool,
    key_cert_sign: bool,
}

impl Certificate {
    /// Reads exactly one certificate.
    ///
    /// # Errors
    /// When `der` is anything else, or an extension that decides over trust cannot be read.
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        let (rest, parsed) = read(der)?;
        if !rest.is_empty() {
            return Err(CertificateError::TrailingBytes(rest.len()));
        }
        let basic = parsed
            .basic_constraints()
            .map_err(|_| CertificateError::BadExtension("basic constraints"))?
            .map(|extension| extension.value);
        if basic.is_none() && parsed.extensions().iter().any(is_unread_basic_constraints) {
            return Err(CertificateError::BadExtension("basic constraints"));
        }
        let key_usage =
            parsed.key_usage().map_err(|_| CertificateError::BadExtension("key usage"))?.map(|extension| {
                KeyUse {
                    digital_signature: extension.value.digital_signature(),
                    key_cert_sign: extension.value.key_cert_sign(),
                }
            });
        let extended_key_usages = extended_key_usages(&parsed)?;
        Ok(Self {
            der: der.to_vec(),
            version: parsed.version().0.saturating_add(1),
            signature_algorithm: parsed.signature_algorithm.algorithm.to_id_string(),
            subject: Name::read(parsed.subject()),
            issuer: Name::read(parsed.issuer()),
            serial: parsed.raw_serial().to_vec(),
            not_before: UtcMillis(parsed.validity().not_before.timestamp().saturating_mul(1000)),
            not_after: UtcMillis(parsed.validity().not_after.timestamp().saturating_mul(1000)),
            spki: parsed.public_key().raw.to_vec(),
            rsa_bits: rsa_bits(parsed.public_key()),
            ca: basic.is_some_and(|b| b.ca),
            path_len: basic.and_then(|b| b.path_len_constraint),
            key_usage,
            extended_key_usages,
            key_id: key_id(&parsed),
            unhandled_critical: unhandled_critical(&parsed),
        })
    }

    /// The certificate itself.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// 1, 2 or 3.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Dotted object identifier of the algorithm that it is signed with.
    #[must_use]
    pub fn signature_algorithm(&self) -> &str {
        &self.signature_algorithm
    }

    /// Who it is for.
    #[must_use]
    pub const fn subject(&self) -> &Name {
        &self.subject
    }

    /// Who issued it, by its own account.
    #[must_use]
    pub const fn issuer(&self) -> &Name {
        &self.issuer
    }

    /// Serial number, upper-case hexadecimal, as encoded (a leading `80` or above means negative; tolerated).
    #[must_use]
    pub fn serial_hex(&self) -> String {
        hex::encode_upper(&self.serial)
    }

    /// First instant of validity.
    #[must_use]
    pub const fn not_before(&self) -> UtcMillis {
        self.not_before
    }

    /// Last instant of validity.
    #[must_use]
    pub const fn not_after(&self) -> UtcMillis {
        self.not_after
    }

    /// SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// Length of the RSA modulus in bits; `None` for any other kind of key.
    #[must_use]
    pub const fn rsa_bits(&self) -> Option<u32> {
        self.rsa_bits
    }

    /// SHA-256 of the DER, 64 upper-case hexadecimal characters.
    #[must_use]
    pub fn sha256(&self) -> String {
        sha256_hex(&self.der)
    }

    /// Basic constraints say CA.
    #[must_use]
    pub const fn is_ca(&self) -> bool {
        self.ca
    }

    /// Most CA certificates that may stand between this one and a leaf, where limited.
    #[must_use]
    pub const fn path_len(&self) -> Option<u32> {
        self.path_len
    }

    /// Whether the key usage, where there is one, lets the key sign data.
    #[must_use]
    pub fn may_sign_data(&self) -> bool {
        self.key_usage.is_none_or(|usage| usage.digital_signature)
    }

    /// Whether the key usage, where there is one, lets the key sign certificates.
    #[must_use]
    pub fn may_sign_certificates(&self) -> bool {
        self.key_usage.is_none_or(|usage| usage.key_cert_sign)
    }

    /// Dotted object identifiers of the extended key usage, in their order; empty where there is none.
    #[must_use]
    pub fn extended_key_usages(&self) -> &[String] {
        &self.extended_key_usages
    }

    /// Subject key identifier, where there is one.
    #[must_use]
    pub fn key_id(&self) -> Option<&[u8]> {
        self.key_id.as_deref()
    }

    /// Dotted OID of a critical extension that path building does not understand, or of name constraints.
    #[must_use]
    pub fn unhandled_critical(&self) -> Option<&str> {
        self.unhandled_critical.as_deref()
    }

    /// Subject and issuer are the same name.
    #[must_use]
    pub fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    /// Signed with its own key.
    #[must_use]
    pub fn is_self_signed(&self) -> bool {
        self.is_self_issued() && self.check_signature(self).is_ok()
    }

    /// Checks that `issuer`'s key signed this certificate. Names, dates and rights of the issuer are not looked at.
    ///
    /// # Errors
    /// When it did not, or with an algorithm that is not accepted.
    pub fn check_signature(&self, issuer: &Self) -> Result<(), SignatureFault> {
        let (_, parsed) = X509Certificate::from_der(&self.der).map_err(|_| SignatureFault::Wrong)?;
        if parsed.signature_algorithm != parsed.tbs_certificate.signature {
            return Err(SignatureFault::AlgorithmMismatch);
        }
        let algorithm = parsed.signature_algorithm.algorithm.to_id_string();
        if is_weak(&algorithm) {
            return Err(SignatureFault::Algorithm(algorithm));
        }
        if parsed.signature_value.unused_bits != 0 {
            return Err(SignatureFault::Wrong); // the one bit of a certificate that no signature protects
        }
        let (_, key) = SubjectPublicKeyInfo::from_der(&issuer.spki).map_err(|_| SignatureFault::Wrong)?;
        parsed.verify_signature(Some(&key)).map_err(|error| match error {
            x509_parser::error::X509Error::SignatureUnsupportedAlgorithm => {
                SignatureFault::Algorithm(algorithm)
            }
            _ => SignatureFault::Wrong,
        })
    }

    /// The certificate in PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        crate::pem::certificate(&self.der)
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Certificate({}, {})", self.subject, self.sha256())
    }
}

/// Reads the first certificate of `bytes`; returns what follows it.
pub(crate) fn read(bytes: &[u8]) -> Result<(&[u8], X509Certificate<'_>), CertificateError> {
    if bytes.len() > MAX_CERTIFICATE_BYTES {
        return Err(CertificateError::TooLarge(bytes.len()));
    }
    X509Certificate::from_der(bytes).map_err(|error| CertificateError::NotACertificate(reason(&error)))
}

/// The parser's reason without its bytes.
pub(crate) fn reason(error: &x509_parser::asn1_rs::Err<x509_parser::error::X509Error>) -> String {
    match error {
        x509_parser::asn1_rs::Err::Incomplete(_) => "it ends early".to_owned(),
        x509_parser::asn1_rs::Err::Error(e) | x509_parser::asn1_rs::Err::Failure(e) => e.to_string(),
    }
}

/// Bits of an RSA modulus, leading zeros not counted.
pub(crate) fn rsa_bits(key: &SubjectPublicKeyInfo<'_>) -> Option<u32> {
    let Ok(PublicKey::RSA(rsa)) = key.parsed() else { return None };
    let mut modulus = rsa.modulus.iter().skip_while(|byte| **byte == 0);
    let first = modulus.next()?;
    let rest = u32::try_from(modulus.count()).ok()?;
    rest.checked_mul(8)?.checked_add(8 - first.leading_zeros())
}

/// SHA-1 and MD5 with RSA; every other algorithm that the verifier knows uses SHA-256 or better.
fn is_weak(algorithm: &str) -> bool {
    matches!(algorithm, "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.3.14.3.2.29")
}

/// Unreadable or repeated purposes are refused: nobody may choose which of two lists counts.
fn extended_key_usages(parsed: &X509Certificate<'_>) -> Result<Vec<String>, CertificateError> {
    let bad = || CertificateError::BadExtension("extended key usage");
    let mut found = None;
    for extension in parsed.extensions().iter().filter(|e| e.oid == OID_X509_EXT_EXTENDED_KEY_USAGE) {
        if found.is_some() {
            return Err(bad());
        }
        let (_, list) = <Vec<Oid<'_>>>::from_der(extension.value).map_err(|_| bad())?;
        found = Some(list.iter().map(Oid::to_id_string).collect());
    }
    Ok(found.unwrap_or_default())
}

fn key_id(parsed: &X509Certificate<'_>) -> Option<Vec<u8>> {
    parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    })
}

fn is_unread_basic_constraints(extension: &x509_parser::extensions::X509Extension<'_>) -> bool {
    extension.oid == x509_parser::oid_registry::OID_X509_EXT_BASIC_CONSTRAINTS
        && !matches!(extension.parsed_extension(), ParsedExtension::BasicConstraints(_))
}

/// Name constraints count even where they are not marked critical: the JDK enforces them, we cannot.
fn unhandled_critical(parsed: &X509Certificate<'_>) -> Option<String> {
    parsed.extensions().iter().find_map(|extension| {
        let oid = extension.oid.to_id_string();
        let names = matches!(extension.parsed_extension(), ParsedExtension::NameConstraints(_));
        (names || (extension.critical && !UNDERSTOOD.contains(&oid.as_str()))).then_some(oid)
    })
}
