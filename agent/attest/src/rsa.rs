//! RSA signatures, and RSA keys in the three shapes that they come in: SubjectPublicKeyInfo, JWK, TPM.

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// The only exponent that a trust module's key may have.
pub(crate) const EXPONENT: &[u8] = &[0x01, 0x00, 0x01];

/// `rsaEncryption` with its NULL.
const RSA_ENCRYPTION: &[u8] =
    &[0x30, 0x0D, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01, 0x05, 0x00];

/// Modulus and exponent, big endian, without leading zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RsaPublic {
    pub(crate) modulus: Vec<u8>,
    pub(crate) exponent: Vec<u8>,
}

impl RsaPublic {
    /// Out of a SubjectPublicKeyInfo; `None` unless it is exactly one RSA key.
    pub(crate) fn from_spki(der: &[u8]) -> Option<Self> {
        let (rest, spki) = SubjectPublicKeyInfo::from_der(der).ok()?;
        let PublicKey::RSA(rsa) = spki.parsed().ok()? else { return None };
        rest.is_empty().then(|| Self { modulus: trimmed(rsa.modulus), exponent: trimmed(rsa.exponent) })
    }

    /// As SubjectPublicKeyInfo, in the one DER that there is for it.
    pub(crate) fn to_spki(&self) -> Vec<u8> {
        let numbers = [integer(&self.modulus), integer(&self.exponent)].concat();
        let mut bits = vec![0x00];
        bits.extend(tlv(0x30, &numbers));
        tlv(0x30, &[RSA_ENCRYPTION, &tlv(0x03, &bits)].concat())
    }

    /// Length of the modulus in bits.
    pub(crate) fn bits(&self) -> usize {
        self.modulus.first().map_or(0, |first| self.modulus.len() * 8 - first.leading_zeros() as usize)
    }
}

/// A key that several signatures are verified with: RSASSA-PKCS1-v1_5 with SHA-256, 2048 to 8192 bits.
pub(crate) struct RsaKey(ParsedPublicKey);

impl RsaKey {
    pub(crate) fn from_spki(spki: &[u8]) -> Option<Self> {
        ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, spki).ok().map(Self)
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify_sig(message, signature).is_ok()
    }
}

/// Whether `signature` is RSASSA-PKCS1-v1_5 with SHA-256 over `message` by the key of `spki`, of 2048 to 8192 bits.
pub(crate) fn verifies(spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, spki).verify(message, signature).is_ok()
}

fn trimmed(number: &[u8]) -> Vec<u8> {
    number.iter().copied().skip_while(|byte| *byte == 0).collect()
}

fn integer(number: &[u8]) -> Vec<u8> {
    let mut body = trimmed(number);
    if body.first().is_none_or(|first| *first >= 0x80) {
        body.insert(0, 0x00);
    }
    tlv(0x02, &body)
}

fn tlv(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(body.len()) {
        Ok(short @ 0..=0x7F) => out.push(short),
        _ => {
            let length: Vec<u8> =
                body.len().to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            out.push(0x80 | u8::try_from(length.len()).unwrap_or_default());
            out.extend(length);
        }
    }
    out.extend_from_slice(body);
    out
}
