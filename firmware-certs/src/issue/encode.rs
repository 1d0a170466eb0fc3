//! DER of a certificate: the signed part, with the issuer's name as it stands in the issuer's certificate.

use std::net::IpAddr;

use biotrust_model::time::UtcMillis;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;
use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, DERWriterSeq, Tag, construct_der};

use super::{IssueError, Template};
use crate::Certificate;

const SHA256_WITH_RSA: &[u64] = &[1, 2, 840, 113_549, 1, 1, 11];
const SUBJECT_KEY_ID: &[u64] = &[2, 5, 29, 14];
const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
const ALT_NAME: &[u64] = &[2, 5, 29, 17];
const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const AUTHORITY_KEY_ID: &[u64] = &[2, 5, 29, 35];
const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];

/// A name that a server is reached by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AltName {
    /// Host name.
    Dns(String),
    /// Address.
    Ip(IpAddr),
}

impl AltName {
    /// An address where it is one, else a host name.
    #[must_use]
    pub fn of(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Dns(text.to_owned()), Self::Ip)
    }
}

/// Why an attribute of a subject cannot be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SubjectError {
    UnknownType,
    Empty,
    Repeated,
}

impl SubjectError {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownType => "the type is none of C, ST, L, O, OU, CN, serialNumber",
            Self::Empty => "the value is empty",
            Self::Repeated => "the type stands there twice; partner management keeps only the first",
        }
    }
}

/// DER of a subject, one attribute per RDN, in the given order. Countries and serial numbers are PrintableString, all
/// else UTF8String, as in the certificates that MOSIP re-signs.
pub(crate) fn subject(attributes: &[(&str, &str)]) -> Result<Vec<u8>, (SubjectError, usize)> {
    let mut encoded = Vec::new();
    for (index, (kind, value)) in attributes.iter().enumerate() {
        let (arc, printable) = match *kind {
            "C" => (6, true),
            "ST" => (8, false),
            "L" => (7, false),
            "O" => (10, false),
            "OU" => (11, false),
            "CN" => (3, false),
            "serialNumber" => (5, true),
            _ => return Err((SubjectError::UnknownType, index)),
        };
        if value.is_empty() {
            return Err((SubjectError::Empty, index));
        }
        if attributes.iter().take(index).any(|(earlier, _)| earlier == kind) {
            return Err((SubjectError::Repeated, index));
        }
        let tag = if printable && is_printable(value) {
            yasna::tags::TAG_PRINTABLESTRING
        } else {
            yasna::tags::TAG_UTF8STRING
        };
        encoded.push(construct_der(|writer| {
            writer.write_set(|writer| {
                writer.next().write_sequence(|writer| {
                    writer.next().write_oid(&ObjectIdentifier::from_slice(&[2, 5, 4, arc]));
                    text(writer.next(), tag, value.as_bytes());
                });
            });
        }));
    }
    Ok(construct_der(|writer| {
        writer.write_sequence(|writer| encoded.iter().for_each(|rdn| writer.next().write_der(rdn)));
    }))
}

fn is_printable(value: &str) -> bool {
    value.bytes().all(|b| b.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&b))
}

fn text(writer: DERWriter<'_>, tag: Tag, bytes: &[u8]) {
    writer.write_tagged_implicit(tag, |writer| writer.write_bytes(bytes));
}

/// TBSCertificate.
pub(super) fn signed_part(
    issuer: &Certificate,
    template: &Template<'_>,
    serial: &[u8],
) -> Result<Vec<u8>, IssueError> {
    let usages: Vec<ObjectIdentifier> = template
        .extended_key_usages
        .iter()
        .map(|dotted| object_identifier(dotted))
        .collect::<Result<_, _>>()?;
    if let Some(AltName::Dns(name)) =
        template.alt_names.iter().find(|name| matches!(name, AltName::Dns(name) if !name.is_ascii()))
    {
        return Err(IssueError::NotEncodable(name.clone()));
    }
    let own_id =
        key_id(template.spki_der).ok_or_else(|| IssueError::NotEncodable("the public key".to_owned()))?;
    let issuer_id =
        issuer.key_id().map(<[u8]>::to_vec).or_else(|| key_id(issuer.spki_der())).unwrap_or_default();
    Ok(construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_tagged(Tag::context(0), |writer| writer.write_u8(2));
            writer.next().write_bigint_bytes(serial, true);
            algorithm(writer.next());
            writer.next().write_der(issuer.subject().raw());
            writer.next().write_sequence(|writer| {
                time(writer.next(), template.validity.from);
                time(writer.next(), template.validity.to);
            });
            writer.next().write_der(&template.subject);
            writer.next().write_der(template.spki_der);
            writer.next().write_tagged(Tag::context(3), |writer| {
                writer.write_sequence(|writer| {
                    extension(writer, AUTHORITY_KEY_ID, false, |writer| {
                        writer.write_sequence(|writer| text(writer.next(), Tag::context(0), &issuer_id));
                    });
                    extension(writer, SUBJECT_KEY_ID, false, |writer| writer.write_bytes(&own_id));
                    extension(writer, KEY_USAGE, true, |writer| {
                        let bits = 8 - template.key_usage.trailing_zeros().min(7) as usize;
                        writer.write_bitvec_bytes(&[template.key_usage], bits);
                    });
                    extension(writer, BASIC_CONSTRAINTS, true, |writer| {
                        writer.write_sequence(|writer| {
                            if template.is_ca {
                                writer.next().write_bool(true);
                            }
                            if let Some(limit) = template.path_len {
                                writer.next().write_u8(limit);
                            }
                        });
                    });
                    if !usages.is_empty() {
                        extension(writer, EXTENDED_KEY_USAGE, false, |writer| {
                            writer.write_sequence(|writer| {
                                usages.iter().for_each(|u| writer.next().write_oid(u))
                            });
                        });
                    }
                    if !template.alt_names.is_empty() {
                        extension(writer, ALT_NAME, false, |writer| {
                            writer.write_sequence(|writer| {
                                template.alt_names.iter().for_each(|name| alt_name(writer.next(), name));
                            });
                        });
                    }
                });
            });
        });
    }))
}

/// Certificate: the signed part, the algorithm again, and the signature.
pub(super) fn with_signature(signed_part: &[u8], signature: &[u8]) -> Vec<u8> {
    construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_der(signed_part);
            algorithm(writer.next());
            writer.next().write_bitvec_bytes(signature, signature.len() * 8);
        });
    })
}

fn algorithm(writer: DERWriter<'_>) {
    writer.write_sequence(|writer| {
        writer.next().write_oid(&ObjectIdentifier::from_slice(SHA256_WITH_RSA));
        writer.next().write_null();
    });
}

fn extension(writer: &mut DERWriterSeq<'_>, oid: &[u64], critical: bool, value: impl FnOnce(DERWriter<'_>)) {
    writer.next().write_sequence(|writer| {
        writer.next().write_oid(&ObjectIdentifier::from_slice(oid));
        if critical {
            writer.next().write_bool(true);
        }
        writer.next().write_bytes(&construct_der(value));
    });
}

fn alt_name(writer: DERWriter<'_>, name: &AltName) {
    match name {
        AltName::Dns(name) => text(writer, Tag::context(2), name.as_bytes()),
        AltName::Ip(IpAddr::V4(address)) => text(writer, Tag::context(7), &address.octets()),
        AltName::Ip(IpAddr::V6(address)) => text(writer, Tag::context(7), &address.octets()),
    }
}

/// RFC 5280 4.1.2.5: UTCTime until 2049, GeneralizedTime from 2050 on.
fn time(writer: DERWriter<'_>, at: UtcMillis) {
    let digits: String = at.to_wire().chars().filter(|c| c.is_ascii_digit() || *c == 'Z').collect();
    match digits.get(2..).filter(|_| ("1950".."2050").contains(&digits.get(..4).unwrap_or_default())) {
        Some(short) => text(writer, yasna::tags::TAG_UTCTIME, short.as_bytes()),
        None => text(writer, yasna::tags::TAG_GENERALIZEDTIME, digits.as_bytes()),
    }
}

/// RFC 5280 4.2.1.2, method 1: SHA-1 of the key's bits, as MOSIP makes it.
pub(crate) fn key_id(spki_der: &[u8]) -> Option<Vec<u8>> {
    let (_, key) = SubjectPublicKeyInfo::from_der(spki_der).ok()?;
    let hash = &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY;
    Some(aws_lc_rs::digest::digest(hash, &key.subject_public_key.data).as_ref().to_vec())
}

fn object_identifier(dotted: &str) -> Result<ObjectIdentifier, IssueError> {
    let bad = || IssueError::NotEncodable(dotted.to_owned());
    let arcs: Vec<u64> =
        dotted.split('.').map(|arc| arc.parse().map_err(|_| bad())).collect::<Result<_, _>>()?;
    match *arcs.as_slice() {
        [0 | 1, 0..40, ..] | [2, 0..=39, ..] => Ok(ObjectIdentifier::new(arcs)),
        [2, second, ..] if second < 1 << 32 => Ok(ObjectIdentifier::new(arcs)),
        _ => Err(bad()),
    }
}
