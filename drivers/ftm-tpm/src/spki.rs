//! Public keys of the TPM in DER.

use biotrust_driver_api::FtmError;
use tss_esapi::structures::Public;

use crate::error::Result;

/// What stands before the modulus in the SubjectPublicKeyInfo of every RSA-2048 key.
const HEAD: [u8; 33] = [
    0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
    0x05, 0x00, 0x03, 0x82, 0x01, 0x0f, 0x00, 0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00,
];
/// And what follows it: the exponent 65537.
const TAIL: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];

/// Where RSAPublicKey begins in a SubjectPublicKeyInfo.
const RSA_PUBLIC_KEY: usize = 24;

/// SubjectPublicKeyInfo of an RSA-2048 key with the usual exponent.
pub(crate) fn spki(public: &Public) -> Result<Vec<u8>> {
    let Public::Rsa { parameters, unique, .. } = public else { return Err(unusual()) };
    let modulus = unique.value();
    // Zero stands for 65537.
    let exponent = parameters.exponent().value();
    if modulus.len() != 256 || modulus.first().is_none_or(|b| *b < 0x80) || !matches!(exponent, 0 | 65537) {
        return Err(unusual());
    }
    Ok([HEAD.as_slice(), modulus, &TAIL].concat())
}

/// RSAPublicKey inside of what [`spki`] made.
pub(crate) fn rsa_public_key(spki: &[u8]) -> &[u8] {
    spki.get(RSA_PUBLIC_KEY..).unwrap_or_default()
}

fn unusual() -> crate::error::Fault {
    FtmError::Unusable {
        name: "of the TPM".into(),
        why: "it is not an RSA-2048 key with the exponent 65537".into(),
    }
    .into()
}
