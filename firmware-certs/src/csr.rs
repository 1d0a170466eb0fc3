//! Certificate requests (PKCS#10): who asks, for which key, and proof that they hold it.

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::certificate::{reason, rsa_bits};
use crate::{Certificate, MAX_CERTIFICATE_BYTES, MIN_RSA_BITS, Name};

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Not the DER of exactly one request.
    #[error("not a DER-encoded PKCS#10 request ({0})")]
    NotARequest(String),
    /// The key in it did not sign it.
    #[error("the request is not signed by the key that it asks a certificate for")]
    BadSignature,
    /// Not RSA, or too short.
    #[error("the request is for {0}; an RSA key of {MIN_RSA_BITS} bits or more is required")]
    Key(String),
}

/// A certificate request whose signature has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Csr {
    subject: Name,
    spki: Vec<u8>,
    rsa_bits: u32,
}

impl Csr {
    /// Reads a request and verifies that the key in it signed it.
    ///
    /// # Errors
    /// When `der` is not exactly one request, its signature is wrong, or its key is not RSA of at least
    /// [`MIN_RSA_BITS`].
    pub fn verify(der: &[u8]) -> Result<Self, CsrError> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(CsrError::NotARequest(format!("{} bytes", der.len())));
        }
        let (rest, request) =
            X509CertificationRequest::from_der(der).map_err(|e| CsrError::NotARequest(reason(&e)))?;
        if !rest.is_empty() {
            return Err(CsrError::NotARequest(format!("{} bytes follow its end", rest.len())));
        }
        let info = &request.certification_request_info;
        let bits = match rsa_bits(&info.subject_pki) {
            Some(bits) if bits >= MIN_RSA_BITS => bits,
            Some(bits) => return Err(CsrError::Key(format!("an RSA key of {bits} bits"))),
            None => return Err(CsrError::Key("a key that is not RSA".to_owned())),
        };
        request.verify_signature().map_err(|_| CsrError::BadSignature)?;
        Ok(Self { subject: Name::read(&info.subject), spki: info.subject_pki.raw.to_vec(), rsa_bits: bits })
    }

    /// Who asks.
    #[must_use]
    pub const fn subject(&self) -> &Name {
        &self.subject
    }

    /// SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// Length of the modulus in bits.
    #[must_use]
    pub const fn rsa_bits(&self) -> u32 {
        self.rsa_bits
    }
}

/// Whether `certificate` is for the key of `csr`.
#[must_use]
pub fn same_key(csr: &Csr, certificate: &Certificate) -> bool {
    csr.spki == certificate.spki_der()
}

/// Tests only: a request for `spki` in the name of SN0123456789, signed by anybody.
#[cfg(test)]
pub(crate) fn request(spki: &[u8], signer: &aws_lc_rs::signature::RsaKeyPair) -> Vec<u8> {
    use crate::forge::{oid, plain_name, seq, tlv};
    let info = seq(&[&[0x02, 0x01, 0x00], &plain_name("SN0123456789"), spki, &tlv(0xA0, &[])]);
    let signature = crate::issue::sign_rs256(signer, &info).unwrap();
    let algorithm = seq(&[&oid(&[1, 2, 840, 113_549, 1, 1, 11]), &[0x05, 0x00]]);
    seq(&[&info, &algorithm, &tlv(0x03, &[&[0x00], &signature])])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forge::{self, key, seq, tlv};

    #[test]
    fn a_good_request_tells_who_and_which_key() {
        let csr = Csr::verify(&request(&forge::spki(key(0)), key(0))).unwrap();
        assert_eq!(csr.subject().common_name(), Some("SN0123456789"));
        assert_eq!(csr.subject().organisation(), Some("Acme"));
        assert_eq!(csr.rsa_bits(), 2048);
        assert!(same_key(&csr, &forge::Forge::leaf("x").key(key(0)).sign(key(1))));
        assert!(!same_key(&csr, &forge::Forge::leaf("x").key(key(1)).sign(key(1))));
    }

    #[test]
    fn whoever_does_not_hold_the_key_gets_nothing() {
        assert_eq!(Csr::verify(&request(&forge::spki(key(0)), key(1))), Err(CsrError::BadSignature));
    }

    #[test]
    fn only_strong_rsa_keys() {
        let error = Csr::verify(&request(&forge::short_spki(128), key(0))).unwrap_err();
        assert_eq!(error, CsrError::Key("an RSA key of 1024 bits".to_owned()));
        let curve = seq(&[
            &seq(&[&forge::oid(&[1, 2, 840, 10045, 2, 1]), &forge::oid(&[1, 2, 840, 10045, 3, 1, 7])]),
            &tlv(0x03, &[&[0x00, 0x04], &[0x11; 64]]),
        ]);
        let error = Csr::verify(&request(&curve, key(0))).unwrap_err();
        assert_eq!(error, CsrError::Key("a key that is not RSA".to_owned()));
    }

    #[test]
    fn exactly_one_request() {
        let good = request(&forge::spki(key(0)), key(0));
        for end in 0..good.len() {
            assert!(Csr::verify(&good[..end]).is_err());
        }
        let error = Csr::verify(&[good.as_slice(), b"x"].concat()).unwrap_err();
        assert!(matches!(error, CsrError::NotARequest(_)), "{error}");
        assert!(matches!(Csr::verify(&vec![0x30; 70_000]), Err(CsrError::NotARequest(_))));
    }
}
