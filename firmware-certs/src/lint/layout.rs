//! Where the fields of a certificate lie in its DER: slices of it, from which a finding tells the offset.

use x509_parser::asn1_rs::{Any, Boolean, FromDer as _, Oid, Tag};

/// An attribute of the subject.
pub(super) struct Attribute<'a> {
    /// Which RDN it belongs to, from 0.
    pub(super) rdn: usize,
    /// Dotted type.
    pub(super) kind: String,
    pub(super) tag: Tag,
    pub(super) value: &'a [u8],
    /// All of it.
    pub(super) whole: &'a [u8],
}

/// An extension.
pub(super) struct Extension<'a> {
    /// Dotted.
    pub(super) oid: String,
    pub(super) critical: bool,
    pub(super) whole: &'a [u8],
}

/// A date as it is encoded.
#[derive(Clone, Copy)]
pub(super) struct Date<'a> {
    pub(super) tag: Tag,
    pub(super) text: &'a [u8],
    pub(super) whole: &'a [u8],
}

/// The parts of a certificate.
pub(super) struct Layout<'a> {
    pub(super) version: Option<&'a [u8]>,
    pub(super) serial: &'a [u8],
    pub(super) inner_algorithm: &'a [u8],
    pub(super) issuer: &'a [u8],
    pub(super) not_before: Date<'a>,
    pub(super) not_after: Date<'a>,
    pub(super) subject: &'a [u8],
    pub(super) attributes: Vec<Attribute<'a>>,
    pub(super) key: &'a [u8],
    pub(super) extensions: Vec<Extension<'a>>,
    pub(super) outer_algorithm: &'a [u8],
}

/// One element: all of it, and what is in it.
struct Element<'a> {
    whole: &'a [u8],
    any: Any<'a>,
}

impl<'a> Layout<'a> {
    /// `None` for what is no certificate; the parser has then said so already.
    pub(super) fn of(der: &'a [u8]) -> Option<Self> {
        let mut certificate = next(&mut &*der)?.any.data;
        let mut fields = next(&mut certificate)?.any.data;
        let outer_algorithm = next(&mut certificate)?.whole;
        let mut first = next(&mut fields)?;
        let mut version = None;
        if first.any.header.tag() != Tag::Integer {
            version = Some(first.whole);
            first = next(&mut fields)?;
        }
        let serial = first.whole;
        let inner_algorithm = next(&mut fields)?.whole;
        let issuer = next(&mut fields)?.whole;
        let mut validity = next(&mut fields)?.any.data;
        let (not_before, not_after) = (date(&mut validity)?, date(&mut validity)?);
        let subject = next(&mut fields)?;
        let attributes = attributes(subject.any.data)?;
        let key = next(&mut fields)?.whole;
        let mut found = Vec::new();
        while let Some(field) = next(&mut fields) {
            if field.any.header.tag() == Tag(3) {
                found = extensions(field.any.data)?;
            }
        }
        Some(Self {
            version,
            serial,
            inner_algorithm,
            issuer,
            not_before,
            not_after,
            subject: subject.whole,
            attributes,
            key,
            extensions: found,
            outer_algorithm,
        })
    }

    /// The first attribute of a type.
    pub(super) fn attribute(&self, kind: &str) -> Option<&'a [u8]> {
        self.attributes.iter().find(|attribute| attribute.kind == kind).map(|attribute| attribute.whole)
    }

    /// The first extension of a type.
    pub(super) fn extension(&self, oid: &str) -> Option<&'a [u8]> {
        self.extensions.iter().find(|extension| extension.oid == oid).map(|extension| extension.whole)
    }
}

/// The element at the start of `rest`, which then begins behind it.
fn next<'a>(rest: &mut &'a [u8]) -> Option<Element<'a>> {
    let bytes = *rest;
    let (behind, any) = Any::from_der(bytes).ok()?;
    let whole = bytes.get(..bytes.len() - behind.len())?;
    *rest = behind;
    Some(Element { whole, any })
}

fn date<'a>(rest: &mut &'a [u8]) -> Option<Date<'a>> {
    let element = next(rest)?;
    Some(Date { tag: element.any.header.tag(), text: element.any.data, whole: element.whole })
}

fn attributes(mut rdns: &[u8]) -> Option<Vec<Attribute<'_>>> {
    let mut found = Vec::new();
    let mut rdn = 0;
    while !rdns.is_empty() {
        let mut set = next(&mut rdns)?.any.data;
        while !set.is_empty() {
            let attribute = next(&mut set)?;
            let (mut value, kind) = Oid::from_der(attribute.any.data).ok()?;
            let value = next(&mut value)?;
            found.push(Attribute {
                rdn,
                kind: kind.to_id_string(),
                tag: value.any.header.tag(),
                value: value.any.data,
                whole: attribute.whole,
            });
        }
        rdn += 1;
    }
    Some(found)
}

fn extensions(mut tagged: &[u8]) -> Option<Vec<Extension<'_>>> {
    let mut list = next(&mut tagged)?.any.data;
    let mut found = Vec::new();
    while !list.is_empty() {
        let extension = next(&mut list)?;
        let (rest, oid) = Oid::from_der(extension.any.data).ok()?;
        let critical = Boolean::from_der(rest).is_ok_and(|(_, flag)| flag.bool());
        found.push(Extension { oid: oid.to_id_string(), critical, whole: extension.whole });
    }
    Some(found)
}
