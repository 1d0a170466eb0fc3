//! PKCS#10 requests that are signed in the TPM.

use std::cell::RefCell;

use biotrust_driver_api::FtmError;
use rcgen::{CertificateParams, DistinguishedName, DnType, PKCS_RSA_SHA256, PublicKeyData, SigningKey};

use crate::error::{Fault, Result};
use crate::spki::rsa_public_key;

/// A function that makes RS256 signatures.
type Sign<'s> = &'s mut dyn FnMut(&[u8]) -> Result<Vec<u8>>;

/// A request (DER) for the key `spki`, which `sign` signs with.
pub(crate) fn request(spki: &[u8], common_name: &str, organisation: &str, sign: Sign<'_>) -> Result<Vec<u8>> {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, organisation);
    subject.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    let key = Key { rsa: rsa_public_key(spki), sign: RefCell::new(sign), fault: RefCell::default() };
    match params.serialize_request(&key) {
        Ok(request) => Ok(request.der().to_vec()),
        Err(error) => Err(key.fault.take().unwrap_or_else(|| {
            Fault::Known(FtmError::Failed { doing: "making a certificate request", why: error.to_string() })
        })),
    }
}

/// The key as rcgen wants it. What the TPM said when it did not sign is kept: rcgen has no room for it.
struct Key<'k, 's> {
    rsa: &'k [u8],
    sign: RefCell<Sign<'s>>,
    fault: RefCell<Option<Fault>>,
}

impl PublicKeyData for Key<'_, '_> {
    fn der_bytes(&self) -> &[u8] {
        self.rsa
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

impl SigningKey for Key<'_, '_> {
    fn sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, rcgen::Error> {
        (self.sign.borrow_mut())(message).map_err(|fault| {
            self.fault.replace(Some(fault));
            rcgen::Error::RemoteKeyError
        })
    }
}
