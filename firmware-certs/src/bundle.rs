//! Certificates out of the bytes of a file: PEM with any number of certificates and comments, or DER, one after another.

use x509_parser::pem::Pem;

use crate::certificate::read;
use crate::{Certificate, CertificateError};

const BOM: &[u8] = b"\xEF\xBB\xBF";
const BEGIN: &[u8] = b"-----BEGIN ";

/// What is wrong with a file of certificates, or with one certificate in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleProblem {
    /// Nothing in it looks like a certificate.
    #[error("no certificate in it; expected PEM (-----BEGIN CERTIFICATE-----) or DER")]
    NoCertificate,
    /// A PEM block that is not whole.
    #[error("broken PEM block ({0}); export the certificate again")]
    BrokenPem(String),
    /// Something secret that has no business here.
    #[error("a private key; keep only certificates in this file and move the key to a safe place")]
    PrivateKey,
    /// A PEM block of another kind.
    #[error("a block labelled {0:?}, not CERTIFICATE; convert it (PKCS#7: openssl pkcs7 -print_certs)")]
    OtherLabel(String),
    /// Not a usable certificate.
    #[error("{0}; export the certificate again")]
    Certificate(#[from] CertificateError),
    /// Not the certificate of a CA.
    #[error("{subject} is not a CA certificate; only root and intermediate CA certificates belong here")]
    NotCa {
        /// Its subject.
        subject: String,
    },
}

/// All certificates of `bytes` (PEM or DER) in order; nothing is checked but their form.
///
/// # Errors
/// Which one is bad (counted from 1) and why.
pub fn certificates(bytes: &[u8]) -> Result<Vec<Certificate>, (usize, BundleProblem)> {
    let bytes = bytes.strip_prefix(BOM).unwrap_or(bytes);
    let found = if is_pem(bytes) { from_pem(bytes)? } else { from_der(bytes)? };
    if found.is_empty() { Err((1, BundleProblem::NoCertificate)) } else { Ok(found) }
}

/// DER of a certificate starts with SEQUENCE and a two-byte length; `0` in a text would be followed by text.
fn is_pem(bytes: &[u8]) -> bool {
    !bytes.starts_with(&[0x30, 0x82]) && !bytes.starts_with(&[0x30, 0x81])
}

fn from_pem(bytes: &[u8]) -> Result<Vec<Certificate>, (usize, BundleProblem)> {
    let mut found = Vec::new();
    for (index, block) in Pem::iter_from_buffer(bytes).enumerate() {
        let at = |problem: BundleProblem| (index + 1, problem);
        let block = block.map_err(|e| at(BundleProblem::BrokenPem(e.to_string())))?;
        match block.label.as_str() {
            "CERTIFICATE" | "X509 CERTIFICATE" => {}
            label if label.ends_with("PRIVATE KEY") => return Err(at(BundleProblem::PrivateKey)),
            label => {
                return Err(at(BundleProblem::OtherLabel(label.chars().take(40).collect())));
            }
        }
        found.push(Certificate::parse(&block.contents).map_err(|e| at(e.into()))?);
    }
    // The reader passes over lines that it does not take for a beginning; an indented block must not vanish unseen.
    if bytes.windows(BEGIN.len()).filter(|window| *window == BEGIN).count() != found.len() {
        let problem = BundleProblem::BrokenPem("BEGIN does not stand at the start of its line".to_owned());
        return Err((found.len() + 1, problem));
    }
    Ok(found)
}

fn from_der(mut bytes: &[u8]) -> Result<Vec<Certificate>, (usize, BundleProblem)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let at = |error: CertificateError| (found.len() + 1, BundleProblem::from(error));
        let length = der_length(bytes).map_err(at)?;
        let (one, rest) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
        let certificate = Certificate::parse(one).map_err(at)?;
        found.push(certificate);
        bytes = rest;
    }
    Ok(found)
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
        assert_eq!(broken(&crate::pem::encode("PKCS7", b"x")), BundleProblem::OtherLabel("PKCS7".to_owned()));
        let no_end = a.to_pem().replace("-----END CERTIFICATE-----", "");
        assert!(matches!(broken(&no_end), BundleProblem::BrokenPem(_)));
        let indented = format!("{} {}", a.to_pem(), a.to_pem());
        assert!(matches!(broken(&indented), BundleProblem::BrokenPem(_)));
    }
}
