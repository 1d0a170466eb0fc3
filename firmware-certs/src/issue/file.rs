//! An issuing key that lies in a file: for a management server without a token, and for tests.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use biotrust_model::Secret;

use super::{IssueError, IssuerKey, IssuerKeyError};
use crate::Certificate;

/// A CA certificate and its private key in memory.
pub struct FileIssuer {
    certificate: Certificate,
    key: RsaKeyPair,
}

impl FileIssuer {
    /// Of a certificate and its key, PKCS#8 in DER.
    ///
    /// # Errors
    /// When the key is not an RSA key, or not the key of the certificate.
    pub fn new(certificate: Certificate, pkcs8: &Secret) -> Result<Self, IssueError> {
        let key = RsaKeyPair::from_pkcs8(pkcs8.expose())
            .map_err(|error| IssuerKeyError(format!("not a PKCS#8 RSA key ({error})")))?;
        if public_key_info(&key)? != certificate.spki_der() {
            return Err(IssueError::WrongKey(crate::SignatureFault::Wrong));
        }
        Ok(Self { certificate, key })
    }
}

impl IssuerKey for FileIssuer {
    fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    fn sign_rs256(&self, message: &[u8]) -> Result<Vec<u8>, IssuerKeyError> {
        sign_rs256(&self.key, message)
    }
}

impl std::fmt::Debug for FileIssuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileIssuer({})", self.certificate.subject())
    }
}

pub(crate) fn public_key_info(key: &RsaKeyPair) -> Result<Vec<u8>, IssuerKeyError> {
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    use aws_lc_rs::signature::KeyPair as _;
    let der: Result<PublicKeyX509Der<'_>, _> = key.public_key().as_der();
    der.map(|der| der.as_ref().to_vec())
        .map_err(|_| IssuerKeyError("the public key cannot be written".to_owned()))
}

pub(crate) fn sign_rs256(key: &RsaKeyPair, message: &[u8]) -> Result<Vec<u8>, IssuerKeyError> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
        .map_err(|_| IssuerKeyError("the key cannot sign".to_owned()))?;
    Ok(signature)
}
