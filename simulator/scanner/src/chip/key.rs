//! A private key in the memory of this process. It is made here, it signs, and there is no way to get it out.

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use rcgen::{CertificateParams, DistinguishedName, DnType, PKCS_RSA_SHA256, PublicKeyData, SigningKey};

use super::{ChipError, DeviceKey};

/// An RSA-2048 key.
pub(crate) struct SoftwareKey {
    pair: KeyPair,
    public: Vec<u8>,
}

impl SoftwareKey {
    /// Makes a new key: 50 to 150 ms of CPU.
    pub(crate) fn generate() -> Result<Self, ChipError> {
        let pair =
            KeyPair::generate(KeySize::Rsa2048).map_err(|_| ChipError::new("making a key", "no RSA key"))?;
        let mut key = Self { pair, public: Vec::new() };
        key.public = key.subject_public_key_info();
        Ok(key)
    }

    /// A PKCS#10 request for this key, DER.
    pub(crate) fn csr(&self, common_name: &str, organisation: &str) -> Result<Vec<u8>, ChipError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, organisation);
        params.distinguished_name.push(DnType::CommonName, common_name);
        let request =
            params.serialize_request(self).map_err(|_| ChipError::new("making a key", "no request"))?;
        Ok(request.der().to_vec())
    }
}

impl DeviceKey for SoftwareKey {
    fn public_key_der(&self) -> &[u8] {
        &self.public
    }

    fn sign_rs256(&self, message: &[u8]) -> Result<Vec<u8>, ChipError> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| ChipError::new("signing", "no signature"))?;
        Ok(signature)
    }

    fn sign_digest(&self, digest: &[u8; 32]) -> Result<Vec<u8>, ChipError> {
        let failed = || ChipError::new("signing", "no signature");
        let digest = Digest::import_less_safe(digest, &SHA256).map_err(|_| failed())?;
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign_digest(&RSA_PKCS1_SHA256, &digest, &mut signature).map_err(|_| failed())?;
        Ok(signature)
    }
}

impl PublicKeyData for SoftwareKey {
    fn der_bytes(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

impl SigningKey for SoftwareKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.sign_rs256(message).map_err(|_| rcgen::Error::RingUnspecified)
    }
}
