//! Chains in PKCS#7: the certificates of a SignedData without signers ("p7b", "certs-only"), in BER or DER.
//!
//! Nothing is verified here; whatever signatures there are are passed over. The order is the file's.

use x509_parser::asn1_rs::{Any, Class, FromDer as _, Header, Oid, Tag};

use crate::ber::{self, BerError};

/// Most certificates in one chain; more are somebody's whole store, which belongs into a trust store.
pub const MAX_CHAIN: usize = 64;

/// 1.2.840.113549.1.7.2, id-signedData.
const SIGNED_DATA: &str = "1.2.840.113549.1.7.2";

/// Why some bytes are not a chain in PKCS#7.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Pkcs7Error {
    /// Not BER.
    #[error("not PKCS#7: {0}")]
    Ber(#[from] BerError),
    /// Bytes after the end.
    #[error("{0} bytes follow the end of the PKCS#7 data")]
    TrailingBytes(usize),
    /// Another content type.
    #[error("PKCS#7 of type {0}; a chain of certificates is of type {SIGNED_DATA} (signed data)")]
    OtherContent(String),
    /// Something is missing or in the wrong place.
    #[error("PKCS#7 signed data without its {0}")]
    Missing(&'static str),
    /// A member of another kind, an attribute certificate say.
    #[error("member {0} of the PKCS#7 chain is no X.509 certificate")]
    OtherMember(usize),
    /// More than [`MAX_CHAIN`].
    #[error("more than {MAX_CHAIN} certificates in one PKCS#7 chain")]
    TooMany,
}

/// Whether `bytes` begin like PKCS#7: a sequence whose first member is an object identifier.
pub(crate) fn looks_like(bytes: &[u8]) -> bool {
    let inside = match bytes {
        [0x30, 0x81, _, rest @ ..] | [0x30, 0x82, _, _, rest @ ..] | [0x30, 0x83, _, _, _, rest @ ..] => rest,
        [0x30, _, rest @ ..] => rest,
        _ => return false,
    };
    inside.first() == Some(&0x06)
}

/// DER of the certificates of exactly one chain, in the order of the file.
///
/// # Errors
/// When `bytes` are anything else.
pub fn chain(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Pkcs7Error> {
    let (der, taken) = ber::to_der(bytes)?;
    if taken < bytes.len() {
        return Err(Pkcs7Error::TrailingBytes(bytes.len() - taken));
    }
    // ContentInfo: type, [0] content.
    let (_, info) = member(&der, Tag::Sequence, "content information")?;
    let (content, kind) = Oid::from_der(info).map_err(|_| Pkcs7Error::Missing("content type"))?;
    if kind.to_id_string() != SIGNED_DATA {
        return Err(Pkcs7Error::OtherContent(kind.to_id_string()));
    }
    let content = tagged(content, 0).ok_or(Pkcs7Error::Missing("content"))?;
    // SignedData: version, digest algorithms, what was signed, [0] certificates, ...
    let (_, signed) = member(content, Tag::Sequence, "content")?;
    let (rest, _) = member(signed, Tag::Integer, "version")?;
    let (rest, _) = member(rest, Tag::Set, "digest algorithms")?;
    let (rest, _) = member(rest, Tag::Sequence, "signed content")?;
    let mut members = tagged(rest, 0).ok_or(Pkcs7Error::Missing("certificates"))?;
    let mut certificates = Vec::new();
    while !members.is_empty() {
        if certificates.len() == MAX_CHAIN {
            return Err(Pkcs7Error::TooMany);
        }
        let other = || Pkcs7Error::OtherMember(certificates.len() + 1);
        let (rest, any) = Any::from_der(members).map_err(|_| other())?;
        if any.header.tag() != Tag::Sequence || any.header.class() != Class::Universal {
            return Err(other());
        }
        let one = members.get(..members.len() - rest.len()).unwrap_or_default();
        certificates.push(one.to_vec());
        members = rest;
    }
    if certificates.is_empty() { Err(Pkcs7Error::Missing("certificates")) } else { Ok(certificates) }
}

/// Content of the element at the start of `bytes`, which must have this tag, and what follows it.
fn member<'a>(bytes: &'a [u8], tag: Tag, what: &'static str) -> Result<(&'a [u8], &'a [u8]), Pkcs7Error> {
    match Any::from_der(bytes) {
        Ok((rest, any)) if any.header.tag() == tag && any.header.class() == Class::Universal => {
            Ok((rest, any.data))
        }
        _ => Err(Pkcs7Error::Missing(what)),
    }
}

/// Content of the context-specific element `[number]` at the start of `bytes`.
fn tagged(bytes: &[u8], number: u32) -> Option<&[u8]> {
    let (_, any) = Any::from_der(bytes).ok()?;
    let fits = |header: &Header<'_>| {
        header.class() == Class::ContextSpecific && header.tag() == Tag(number) && header.is_constructed()
    };
    fits(&any.header).then_some(any.data)
}

/// Tests only: a chain in PKCS#7 as the key manager writes it, with indefinite lengths.
#[cfg(test)]
pub(crate) fn as_key_manager(certificates: &[&[u8]]) -> Vec<u8> {
    use crate::forge::{oid, tlv};
    let open = |tag: u8, parts: &[&[u8]]| [&[tag, 0x80], parts.concat().as_slice(), &[0, 0]].concat();
    let data = open(0x30, &[&oid(&[1, 2, 840, 113_549, 1, 7, 1])]);
    let signed =
        open(0x30, &[&[2, 1, 1], &tlv(0x31, &[]), &data, &open(0xA0, certificates), &tlv(0x31, &[])]);
    open(0x30, &[&oid(&[1, 2, 840, 113_549, 1, 7, 2]), &open(0xA0, &[&signed])])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ber::BerErrorKind;
    use crate::forge::{Forge, key, oid, seq, tlv};
    use proptest::prelude::*;

    fn two() -> [Vec<u8>; 2] {
        let root = Forge::ca("Root").sign(key(0));
        [Forge::leaf("Device").key(key(1)).issuer(&root).der(key(0)), root.der().to_vec()]
    }

    fn signed(kind: &[u64], content: &[&[u8]]) -> Vec<u8> {
        seq(&[&oid(kind), &tlv(0xA0, &[&seq(content)])])
    }

    const SIGNED: &[u64] = &[1, 2, 840, 113_549, 1, 7, 2];

    #[test]
    fn as_the_key_manager_writes_it_and_in_der() {
        let [leaf, root] = two();
        let ber = as_key_manager(&[&leaf, &root]);
        assert!(looks_like(&ber) && !looks_like(&leaf));
        assert_eq!(chain(&ber).unwrap(), [leaf.clone(), root.clone()]);
        let (der, _) = ber::to_der(&ber).unwrap();
        assert!(looks_like(&der) && der.len() < ber.len());
        assert_eq!(chain(&der).unwrap(), [leaf, root]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let [leaf, _] = two();
        let (set, data) = (tlv(0x31, &[]), seq(&[&oid(&[1, 2, 840, 113_549, 1, 7, 1])]));
        let version = [2, 1, 1];
        let certificates = tlv(0xA0, &[&leaf]);
        let good: [&[u8]; 5] = [&version, &set, &data, &certificates, &set];
        assert_eq!(chain(&signed(SIGNED, &good)).unwrap(), std::slice::from_ref(&leaf));
        let error = |parts: &[&[u8]]| chain(&signed(SIGNED, parts)).unwrap_err();
        assert_eq!(error(&good[1..]), Pkcs7Error::Missing("version"));
        assert_eq!(error(&[&version, &data]), Pkcs7Error::Missing("digest algorithms"));
        assert_eq!(error(&[&version, &set, &set]), Pkcs7Error::Missing("signed content"));
        assert_eq!(error(&[&version, &set, &data, &set]), Pkcs7Error::Missing("certificates"));
        assert_eq!(error(&[&version, &set, &data, &tlv(0xA0, &[])]), Pkcs7Error::Missing("certificates"));
        let attribute = tlv(0xA0, &[&leaf, &tlv(0xA2, &[])]);
        assert_eq!(error(&[&version, &set, &data, &attribute]), Pkcs7Error::OtherMember(2));
        let other = chain(&signed(&[1, 2, 840, 113_549, 1, 7, 3], &good)).unwrap_err();
        assert_eq!(other, Pkcs7Error::OtherContent("1.2.840.113549.1.7.3".to_owned()));
        assert_eq!(chain(&leaf).unwrap_err(), Pkcs7Error::Missing("content type"));
        let trailing = [signed(SIGNED, &good), vec![0, 0]].concat();
        assert_eq!(chain(&trailing).unwrap_err(), Pkcs7Error::TrailingBytes(2));
        let many = tlv(0xA0, &vec![[0x30, 0x00].as_slice(); MAX_CHAIN + 1]);
        assert_eq!(error(&[&version, &set, &data, &many]), Pkcs7Error::TooMany);
    }

    #[test]
    fn a_cut_chain_tells_where() {
        let [leaf, root] = two();
        let ber = as_key_manager(&[&leaf, &root]);
        for end in 0..ber.len() {
            let error = chain(&ber[..end]).unwrap_err();
            let Pkcs7Error::Ber(BerError { offset, kind: BerErrorKind::Truncated }) = error else {
                panic!("{end}: {error}");
            };
            assert!(offset <= end);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

        #[test]
        fn no_damage_panics(at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let [leaf, root] = two();
            let mut ber = as_key_manager(&[&leaf, &root]);
            let at = at.index(ber.len());
            ber[at] = to;
            let _ = chain(&ber);
        }
    }
}
