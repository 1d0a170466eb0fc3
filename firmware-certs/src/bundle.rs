//! Certificates out of the bytes of a file, in every form that they are handed around in: PEM with any number of
//! certificates and comments, DER one after another, PKCS#7 chains (PEM, DER, or BER as MOSIP's key manager writes
//! them), and the bare base64 of any of the binary ones, standard or URL-safe.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use x509_parser::pem::Pem;

use crate::certificate::read;
use crate::pkcs7::{self, Pkcs7Error};
use crate::{Certificate, CertificateError};

const BOM: &[u8] = b"\xEF\xBB\xBF";
const BEGIN: &[u8] = b"-----BEGIN ";

/// What is wrong with a file of certificates, or with one certificate in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleProblem {
    /// Nothing in it looks like a certificate.
    #[error(
        "no certificate in it; expected PEM (-----BEGIN CERTIFICATE-----), DER, PKCS#7 or the base64 of these"
    )]
    NoCertificate,
    /// A PEM block that is not whole.
    #[error("broken PEM block ({0}); export the certificate again")]
    BrokenPem(String),
    /// Something secret that has no business here.
    #[error("a private key; keep only certificates in this file and move the key to a safe place")]
    PrivateKey,
    /// A PEM block of another kind.
    #[error("a block labelled {0:?}; expected CERTIFICATE or PKCS7")]
    OtherLabel(String),
    /// Not a usable certificate.
    #[error("{0}; export the certificate again")]
    Certificate(#[from] CertificateError),
    /// Not a usable PKCS#7 chain.
    #[error("{0}; fetch the chain again")]
    Pkcs7(#[from] Pkcs7Error),
    /// Not the certificate of a CA.
    #[error("{subject} is not a CA certificate; only root and intermediate CA certificates belong here")]
    NotCa {
        /// Its subject.
        subject: String,
    },
}

/// All certificates of `bytes`, in any form that the head of this module names, in order; nothing is checked but their
/// form.
///
/// # Errors
/// Which one is bad (counted from 1) and why.
pub fn certificates(bytes: &[u8]) -> Result<Vec<Certificate>, (usize, BundleProblem)> {
    let bytes = bytes.strip_prefix(BOM).unwrap_or(bytes);
    let mut found = Vec::new();
    if is_binary(bytes) {
        from_binary(bytes, &mut found)?;
    } else if has_begin(bytes) {
        from_pem(bytes, &mut found)?;
    } else if let Some(binary) = from_base64(bytes) {
        from_binary(&binary, &mut found)?;
    }
    if found.is_empty() { Err((1, BundleProblem::NoCertificate)) } else { Ok(found) }
}

/// A SEQUENCE with a long or an indefinite length; `0` in a text would be followed by text.
fn is_binary(bytes: &[u8]) -> bool {
    matches!(bytes, [0x30, 0x80..=0x84, ..])
}

fn has_begin(bytes: &[u8]) -> bool {
    bytes.windows(BEGIN.len()).any(|window| window == BEGIN)
}

/// Padding or none, standard or URL-safe (the key manager's), broken into lines or not.
fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let text: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let decode = |alphabet| GeneralPurpose::new(alphabet, config).decode(&text).ok();
    decode(&alphabet::STANDARD).or_else(|| decode(&alphabet::URL_SAFE)).filter(|binary| is_binary(binary))
}

fn from_pem(bytes: &[u8], found: &mut Vec<Certificate>) -> Result<(), (usize, BundleProblem)> {
    let mut blocks = 0;
    for block in Pem::iter_from_buffer(bytes) {
        let position = found.len() + 1;
        let block = block.map_err(|e| (position, BundleProblem::BrokenPem(e.to_string())))?;
        blocks += 1;
        match block.label.as_str() {
            "CERTIFICATE" | "X509 CERTIFICATE" => {
                found.push(Certificate::parse(&block.contents).map_err(|e| (position, e.into()))?);
            }
            "PKCS7" | "CMS" | "PKCS #7 SIGNED DATA" => from_pkcs7(&block.contents, found)?,
            label if label.ends_with("PRIVATE KEY") => return Err((position, BundleProblem::PrivateKey)),
            label => return Err((position, BundleProblem::OtherLabel(label.chars().take(40).collect()))),
        }
    }
    // The reader passes over lines that it does not take for a beginning; an indented block must not vanish unseen.
    if bytes.windows(BEGIN.len()).filter(|window| *window == BEGIN).count() != blocks {
        let problem = BundleProblem::BrokenPem("BEGIN does not stand at the start of its line".to_owned());
        return Err((found.len() + 1, problem));
    }
    Ok(())
}

fn from_binary(mut bytes: &[u8], found: &mut Vec<Certificate>) -> Result<(), (usize, BundleProblem)> {
    if pkcs7::looks_like(bytes) {
        return from_pkcs7(bytes, found);
    }
    while !bytes.is_empty() {
        let at = |error: CertificateError| (found.len() + 1, BundleProblem::from(error));
        let length = der_length(bytes).map_err(at)?;
        let (one, rest) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
        let certificate = Certificate::parse(one).map_err(at)?;
        found.push(certificate);
        bytes = rest;
    }
    Ok(())
}

fn from_pkcs7(bytes: &[u8], found: &mut Vec<Certificate>) -> Result<(), (usize, BundleProblem)> {
    for der in pkcs7::chain(bytes).map_err(|error| (found.len() + 1, error.into()))? {
        found.push(Certificate::parse(&der).map_err(|error| (found.len() + 1, error.into()))?);
    }
    Ok(())
}

/// Length of the first certificate of `bytes`.
fn der_length(bytes: &[u8]) -> Result<usize, CertificateError> {
    // Only as much as one certificate may have is shown to the parser: a file may be long, a certificate not.
    let head = bytes.get(..crate::MAX_CERTIFICATE_BYTES).unwrap_or(bytes);
    let (rest, _) = read(head)?;
    Ok(head.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forge::{Forge, key};

    fn two() -> [Certificate; 2] {
        ["A", "B"].map(|cn| Forge::ca(cn).sign(key(0)))
    }

    #[test]
    fn pem_with_comments_carriage_returns_and_a_byte_order_mark() {
        let [a, b] = two();
        let text =
            format!("\u{feff}{}# the other one\r\n\r\n{}", a.to_pem(), b.to_pem().replace('\n', "\r\n"));
        assert_eq!(certificates(text.as_bytes()).unwrap(), [a, b]);
    }

    #[test]
    fn der_one_after_another() {
        let [a, b] = two();
        assert_eq!(certificates(&[a.der(), b.der()].concat()).unwrap(), [a, b]);
    }

    #[test]
    fn chains_in_every_wrapping() {
        use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
        let [a, b] = two();
        let chain = pkcs7::as_key_manager(&[a.der(), b.der()]);
        let lines = STANDARD.encode(&chain).as_bytes().chunks(64).collect::<Vec<_>>().join(&b"\r\n"[..]);
        let pem = crate::pem::encode("PKCS7", &chain).into_bytes();
        let mixed = [pem.clone(), a.to_pem().into_bytes()].concat();
        let forms = [chain.clone(), pem, URL_SAFE_NO_PAD.encode(&chain).into_bytes(), lines];
        for (number, form) in forms.iter().enumerate() {
            assert_eq!(certificates(form).unwrap(), [a.clone(), b.clone()], "form {number}");
        }
        assert_eq!(certificates(&mixed).unwrap().len(), 3);
        assert_eq!(certificates(STANDARD.encode(a.der()).as_bytes()).unwrap(), [a]);
        let (_, problem) = certificates(&chain[..500]).unwrap_err();
        assert!(problem.to_string().starts_with("not PKCS#7: at byte"), "{problem}");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
            let _ = certificates(&bytes);
            let _ = certificates(&[&[0x30, 0x80, 0x06], bytes.as_slice()].concat());
            let _ = certificates(&[b"-----BEGIN CERTIFICATE-----\n", bytes.as_slice()].concat());
        }
    }

    #[test]
    fn the_bad_one_is_named() {
        let [a, b] = two();
        let cut = b.to_pem().replacen("\nMII", "\nMIA", 1);
        let (position, problem) = certificates(format!("{}{cut}", a.to_pem()).as_bytes()).unwrap_err();
        assert_eq!(position, 2);
        assert!(matches!(problem, BundleProblem::Certificate(_)), "{problem}");

        let (position, problem) = certificates(&[a.der(), &b.der()[..200]].concat()).unwrap_err();
        assert_eq!(position, 2);
        assert!(matches!(problem, BundleProblem::Certificate(_)), "{problem}");
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let [a, _] = two();
        let broken = |text: &str| certificates(text.as_bytes()).unwrap_err().1;
        assert_eq!(broken(""), BundleProblem::NoCertificate);
        assert_eq!(broken("hello\n"), BundleProblem::NoCertificate);
        assert_eq!(broken(&crate::pem::encode("RSA PRIVATE KEY", b"x")), BundleProblem::PrivateKey);
        assert_eq!(
            broken(&crate::pem::encode("X509 CRL", b"x")),
            BundleProblem::OtherLabel("X509 CRL".to_owned())
        );
        assert!(matches!(broken(&crate::pem::encode("PKCS7", b"x")), BundleProblem::Pkcs7(_)));
        assert_eq!(broken("aGVsbG8="), BundleProblem::NoCertificate, "base64 of something else");
        let no_end = a.to_pem().replace("-----END CERTIFICATE-----", "");
        assert!(matches!(broken(&no_end), BundleProblem::BrokenPem(_)));
        let indented = format!("{} {}", a.to_pem(), a.to_pem());
        assert!(matches!(broken(&indented), BundleProblem::BrokenPem(_)));
    }
}
