//! A private key inside the FTM. It is made here, it signs, and there is no way to get it out.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use rcgen::{CertificateParams, DistinguishedName, DnType, PKCS_RSA_SHA256, PublicKeyData, SigningKey};

use super::FtmError;

/// An RSA-2048 key.
pub(crate) struct FtmKey(KeyPair);

impl FtmKey {
    /// Makes a new key: 50 to 150 ms of CPU.
    pub(crate) fn generate() -> Result<Self, FtmError> {
        KeyPair::generate(KeySize::Rsa2048).map(Self).map_err(|_| FtmError::Internal("making an RSA key"))
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256.
    pub(crate) fn sign_rs256(&self, message: &[u8]) -> Result<Vec<u8>, FtmError> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| FtmError::Internal("signing"))?;
        Ok(signature)
    }

    /// SubjectPublicKeyInfo, DER.
    pub(crate) fn spki_der(&self) -> Vec<u8> {
        self.subject_public_key_info()
    }

    /// A PKCS#10 request for this key, DER.
    pub(crate) fn csr(&self, common_name: &str, organisation: &str) -> Result<Vec<u8>, FtmError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, organisation);
        params.distinguished_name.push(DnType::CommonName, common_name);
        let request = params.serialize_request(self).map_err(|_| FtmError::Internal("writing a request"))?;
        Ok(request.der().to_vec())
    }
}

impl PublicKeyData for FtmKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

impl SigningKey for FtmKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.sign_rs256(message).map_err(|_| rcgen::Error::RingUnspecified)
    }
}
