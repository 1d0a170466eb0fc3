//! Tests only: certificates of any shape, right or wrong, built byte by byte. Real certificates come from `test_pki`.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use biotrust_model::time::UtcMillis;

use crate::Certificate;

pub(crate) const CN: &[u64] = &[2, 5, 4, 3];
pub(crate) const O: &[u64] = &[2, 5, 4, 10];
pub(crate) const OU: &[u64] = &[2, 5, 4, 11];
pub(crate) const EMAIL: &[u64] = &[1, 2, 840, 113_549, 1, 9, 1];
pub(crate) const UTF8: u8 = 0x0C;
pub(crate) const PRINTABLE: u8 = 0x13;
pub(crate) const IA5: u8 = 0x16;

const SHA256_RSA: &[u64] = &[1, 2, 840, 113_549, 1, 1, 11];
pub(crate) const SHA384_RSA: &[u64] = &[1, 2, 840, 113_549, 1, 1, 12];
pub(crate) const PSS: &[u64] = &[1, 2, 840, 113_549, 1, 1, 10];
const SHA256: &[u64] = &[2, 16, 840, 1, 101, 3, 4, 2, 1];
const MGF1: &[u64] = &[1, 2, 840, 113_549, 1, 1, 8];
pub(crate) const SHA1_RSA: &[u64] = &[1, 2, 840, 113_549, 1, 1, 5];

/// The moment of all tests: 2030-01-01T00:00:00Z.
pub(crate) const NOW: UtcMillis = UtcMillis(1_893_456_000_000);
pub(crate) const DAY: i64 = 86_400_000;

/// One of four RSA-2048 keys that all tests of the process share (making one takes a tenth of a second).
pub(crate) fn key(index: usize) -> &'static RsaKeyPair {
    static KEYS: LazyLock<Vec<RsaKeyPair>> =
        LazyLock::new(|| (0..4).map(|_| RsaKeyPair::generate(KeySize::Rsa2048).unwrap()).collect());
    &KEYS[index]
}

pub(crate) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = match u32::try_from(body.len()).unwrap() {
        short @ 0..=0x7F => vec![short as u8],
        long @ 0x80..=0xFF => vec![0x81, long as u8],
        longer => vec![0x82, (longer >> 8) as u8, longer as u8],
    };
    [vec![tag], length, body].concat()
}

pub(crate) fn seq(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, parts)
}

pub(crate) fn oid(arcs: &[u64]) -> Vec<u8> {
    let mut body = vec![(arcs[0] * 40 + arcs[1]) as u8];
    for arc in &arcs[2..] {
        let mut groups = vec![(arc & 0x7F) as u8];
        let mut rest = arc >> 7;
        while rest > 0 {
            groups.push((rest & 0x7F) as u8 | 0x80);
            rest >>= 7;
        }
        body.extend(groups.iter().rev());
    }
    tlv(0x06, &[&body])
}

pub(crate) fn name(attributes: &[(&[u64], u8, &str)]) -> Vec<u8> {
    let rdns: Vec<Vec<u8>> = attributes
        .iter()
        .map(|(kind, tag, text)| tlv(0x31, &[&seq(&[&oid(kind), &tlv(*tag, &[text.as_bytes()])])]))
        .collect();
    seq(&rdns.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// `O=Acme, CN=<cn>`.
pub(crate) fn plain_name(cn: &str) -> Vec<u8> {
    name(&[(O, UTF8, "Acme"), (CN, UTF8, cn)])
}

/// An algorithm with the parameters that belong to it: those of RSASSA-PSS (SHA-256, 32 bytes of salt), else NULL.
fn algorithm(arcs: &[u64]) -> Vec<u8> {
    if arcs != PSS {
        return seq(&[&oid(arcs), &[0x05, 0x00]]);
    }
    let hash = tlv(0xA0, &[&algorithm(SHA256)]);
    let mask = tlv(0xA1, &[&seq(&[&oid(MGF1), &algorithm(SHA256)])]);
    let salt = tlv(0xA2, &[&[0x02, 0x01, 0x20]]);
    seq(&[&oid(arcs), &seq(&[&hash, &mask, &salt])])
}

fn time(at: UtcMillis, general: bool) -> Vec<u8> {
    let text: String = at.to_wire().chars().filter(|c| c.is_ascii_digit() || *c == 'Z').collect();
    match general || &text[..4] >= "2050" {
        true => tlv(0x18, &[text.as_bytes()]),
        false => tlv(0x17, &[&text.as_bytes()[2..]]),
    }
}

pub(crate) fn extension(arcs: &[u64], critical: bool, value: &[u8]) -> Vec<u8> {
    let flag: &[u8] = if critical { &[0x01, 0x01, 0xFF] } else { &[] };
    seq(&[&oid(arcs), flag, &tlv(0x04, &[value])])
}

pub(crate) fn basic_constraints(ca: bool, path_len: Option<u8>) -> Vec<u8> {
    let flag: &[u8] = if ca { &[0x01, 0x01, 0xFF] } else { &[] };
    let limit = path_len.map(|n| vec![0x02, 0x01, n]).unwrap_or_default();
    extension(&[2, 5, 29, 19], true, &seq(&[flag, &limit]))
}

/// Key usage with one byte of flags: 0x80 digitalSignature, 0x04 keyCertSign.
pub(crate) fn key_usage(flags: u8) -> Vec<u8> {
    extension(&[2, 5, 29, 15], true, &tlv(0x03, &[&[0x00, flags]]))
}

pub(crate) fn spki(key: &RsaKeyPair) -> Vec<u8> {
    AsDer::<PublicKeyX509Der<'_>>::as_der(key.public_key()).unwrap().as_ref().to_vec()
}

/// SubjectPublicKeyInfo of an RSA key with a modulus of `bytes` bytes; nobody knows its private half.
pub(crate) fn short_spki(bytes: usize) -> Vec<u8> {
    spki_of(bytes, &[1, 0, 1])
}

pub(crate) fn spki_of(bytes: usize, exponent: &[u8]) -> Vec<u8> {
    let modulus = [vec![0x00], vec![0xC5; bytes]].concat();
    let rsa = seq(&[&tlv(0x02, &[&modulus]), &tlv(0x02, &[exponent])]);
    seq(&[&algorithm(&[1, 2, 840, 113_549, 1, 1, 1]), &tlv(0x03, &[&[0x00], &rsa])])
}

/// SubjectPublicKeyInfo of a P-256 key: the curve's base point.
pub(crate) fn p256_spki() -> Vec<u8> {
    let point = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
                 4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
    let kind = seq(&[&oid(&[1, 2, 840, 10045, 2, 1]), &oid(&[1, 2, 840, 10045, 3, 1, 7])]);
    seq(&[&kind, &tlv(0x03, &[&[0x00], &hex::decode(point).unwrap()])])
}

/// SubjectPublicKeyInfo of an Ed25519 key: the curve's base point.
pub(crate) fn ed25519_spki() -> Vec<u8> {
    seq(&[&seq(&[&oid(&[1, 3, 101, 112])]), &tlv(0x03, &[&[0x00, 0x58], &[0x66; 31]])])
}

/// A certificate in the making.
#[derive(Clone)]
pub(crate) struct Forge {
    pub(crate) subject: Vec<u8>,
    pub(crate) issuer: Vec<u8>,
    pub(crate) serial: Vec<u8>,
    pub(crate) from: UtcMillis,
    pub(crate) to: UtcMillis,
    pub(crate) spki: Vec<u8>,
    pub(crate) extensions: Vec<Vec<u8>>,
    pub(crate) outer_algorithm: &'static [u64],
    pub(crate) inner_algorithm: &'static [u64],
    /// Version 1: neither a version nor extensions.
    pub(crate) v1: bool,
    /// Dates as GeneralizedTime in every century.
    pub(crate) general_time: bool,
}

impl Forge {
    fn new(cn: &str, extensions: Vec<Vec<u8>>) -> Self {
        Self {
            subject: plain_name(cn),
            issuer: plain_name(cn),
            serial: vec![0x01],
            from: UtcMillis(NOW.0 - 10 * DAY),
            to: UtcMillis(NOW.0 + 10 * DAY),
            spki: spki(key(0)),
            extensions,
            outer_algorithm: SHA256_RSA,
            inner_algorithm: SHA256_RSA,
            v1: false,
            general_time: false,
        }
    }

    /// A self-issued CA certificate for key 0; change what should be different.
    pub(crate) fn ca(cn: &str) -> Self {
        Self::new(cn, vec![basic_constraints(true, None), key_usage(0x04)])
    }

    /// A leaf for key 0 that names itself as its issuer; change what should be different.
    pub(crate) fn leaf(cn: &str) -> Self {
        Self::new(cn, vec![basic_constraints(false, None), key_usage(0x80)])
    }

    pub(crate) fn key(mut self, key: &RsaKeyPair) -> Self {
        self.spki = spki(key);
        self
    }

    pub(crate) fn issuer(mut self, issuer: &Certificate) -> Self {
        self.issuer = issuer.subject().raw().to_vec();
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(crate) fn der(&self, signer: &RsaKeyPair) -> Vec<u8> {
        let extensions = seq(&self.extensions.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let (version, extensions) = match self.v1 {
            false => (tlv(0xA0, &[&[0x02, 0x01, 0x02]]), tlv(0xA3, &[&extensions])),
            true => (Vec::new(), Vec::new()),
        };
        let body = seq(&[
            &version,
            &tlv(0x02, &[&self.serial]),
            &algorithm(self.inner_algorithm),
            &self.issuer,
            &seq(&[&time(self.from, self.general_time), &time(self.to, self.general_time)]),
            &self.subject,
            &self.spki,
            &extensions,
        ]);
        let scheme: &dyn RsaEncoding = match self.outer_algorithm {
            SHA384_RSA => &RSA_PKCS1_SHA384,
            PSS => &RSA_PSS_SHA256,
            _ => &RSA_PKCS1_SHA256,
        };
        let mut signature = vec![0; signer.public_modulus_len()];
        signer.sign(scheme, &aws_lc_rs::rand::SystemRandom::new(), &body, &mut signature).unwrap();
        seq(&[&body, &algorithm(self.outer_algorithm), &tlv(0x03, &[&[0x00], &signature])])
    }

    pub(crate) fn sign(&self, signer: &RsaKeyPair) -> Certificate {
        Certificate::parse(&self.der(signer)).unwrap()
    }
}
