//! An RSA-2048 key in memory: making it, signing with it, asking for a certificate for it.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use biotrust_driver_api::{FtmError, KeyHandle};
use rcgen::{CertificateParams, DistinguishedName, DnType, PKCS_RSA_SHA256, PublicKeyData, SigningKey};
use zeroize::Zeroizing;

/// Bytes of the modulus, and of a signature.
const MODULUS: usize = 256;

/// A key that can sign. The library wipes the private part when it is dropped.
pub(crate) struct SoftKey {
    pair: RsaKeyPair,
    /// SubjectPublicKeyInfo.
    spki: Vec<u8>,
}

impl SoftKey {
    /// Makes a new key.
    pub(crate) fn generate() -> Result<Self, FtmError> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| failed("making an RSA key"))?;
        Self::new(pair)
    }

    /// Reads a key; refuses any that is not RSA-2048.
    pub(crate) fn from_pkcs8(name: &str, pkcs8: &[u8]) -> Result<Self, FtmError> {
        let unusable = |why: &str| FtmError::Unusable { name: name.to_owned(), why: why.to_owned() };
        let pair = RsaKeyPair::from_pkcs8(pkcs8)
            .map_err(|_| unusable("its file does not hold an RSA key in PKCS#8; enrol the device again"))?;
        if pair.public_modulus_len() != MODULUS {
            return Err(unusable("it is not an RSA key of 2048 bits; enrol the device again"));
        }
        Self::new(pair)
    }

    fn new(pair: RsaKeyPair) -> Result<Self, FtmError> {
        let spki: PublicKeyX509Der<'_> =
            pair.public_key().as_der().map_err(|_| failed("encoding a public key"))?;
        let spki = spki.as_ref().to_vec();
        Ok(Self { pair, spki })
    }

    /// The key for its file.
    pub(crate) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, FtmError> {
        let pkcs8: Pkcs8V1Der<'_> = self.pair.as_der().map_err(|_| failed("encoding a private key"))?;
        Ok(Zeroizing::new(pkcs8.as_ref().to_vec()))
    }

    /// A PKCS#10 request (DER), RS256 by this key.
    pub(crate) fn certificate_request(
        &self,
        common_name: &str,
        organisation: &str,
    ) -> Result<Vec<u8>, FtmError> {
        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationName, organisation);
        subject.push(DnType::CommonName, common_name);
        let mut params = CertificateParams::default();
        params.distinguished_name = subject;
        let request = params
            .serialize_request(&Signer(self))
            .map_err(|e| FtmError::Failed { doing: "making a certificate request", why: e.to_string() })?;
        Ok(request.der().to_vec())
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let mut signature = vec![0; MODULUS];
        self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).ok()?;
        Some(signature)
    }
}

impl KeyHandle for SoftKey {
    fn sign_rs256(&mut self, message: &[u8]) -> Result<Vec<u8>, FtmError> {
        self.sign(message).ok_or_else(|| failed("signing"))
    }

    fn public_key_der(&self) -> &[u8] {
        &self.spki
    }
}

/// The key as rcgen wants it.
struct Signer<'k>(&'k SoftKey);

impl PublicKeyData for Signer<'_> {
    /// RSAPublicKey: what stands inside the SubjectPublicKeyInfo.
    fn der_bytes(&self) -> &[u8] {
        self.0.pair.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

impl SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message).ok_or(rcgen::Error::RemoteKeyError)
    }
}

fn failed(doing: &'static str) -> FtmError {
    // The library gives no reasons, by design.
    FtmError::Failed { doing, why: "the cryptographic library failed".into() }
}
