//! Distinguished names, and when two of them are the same.
//!
//! The back ends compare names as the JDK does: the order of the RDNs matters and none may be missing; letter case and
//! runs of spaces do not matter in PrintableString and UTF8String; any other type of string must be equal byte for byte.
//! Unlike the JDK we do not apply Unicode NFKD first: two encodings of one accented name that differ are refused here,
//! and are cured like every other mismatch, by copying the issuer's subject byte for byte.

use x509_parser::asn1_rs::Tag;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Longest attribute value that a message shows, in characters.
const MAX_SHOWN: usize = 128;

/// Attribute types with a common short name, by their dotted OID.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// A distinguished name. Equality and hashing are those that decide whether an issuer is a subject.
#[derive(Clone)]
pub struct Name {
    raw: Vec<u8>,
    rdns: Vec<Rdn>,
    text: String,
    organisation: Option<String>,
    common_name: Option<String>,
}

/// One RDN: its attributes, sorted (the order inside a set has no meaning).
type Rdn = Vec<(Vec<u8>, Value)>;

/// An attribute value in the form that is compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Value {
    /// Folded to one case, spaces collapsed.
    Text(String),
    /// Tag and content of anything that is not folded.
    Exact(u32, Vec<u8>),
}

/// The attributes of a name without their order: what two names share that differ in order only.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Attributes(Rdn);

/// How the name of an issuer misses a subject that was probably meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameMismatch {
    /// Same attributes, other order.
    #[error("has the same attributes in another order as")]
    Reordered,
    /// Same common name; other attributes, or attributes of another string type.
    #[error("resembles")]
    OtherAttributes,
}

impl Name {
    /// Reads a name out of a parsed certificate or request.
    pub(crate) fn read(name: &X509Name<'_>) -> Self {
        let rdns = name
            .iter_rdn()
            .map(|rdn| {
                let mut attributes: Rdn = rdn.iter().map(canonical).collect();
                attributes.sort();
                attributes
            })
            .collect();
        Self {
            raw: name.as_raw().to_vec(),
            rdns,
            text: show(name),
            organisation: name.iter_organization().next().and_then(text_of),
            common_name: name.iter_common_name().next().and_then(text_of),
        }
    }

    /// DER as it stands in the certificate.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// First organisation (O).
    #[must_use]
    pub fn organisation(&self) -> Option<&str> {
        self.organisation.as_deref()
    }

    /// First common name (CN).
    #[must_use]
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }

    /// Its attributes without their order.
    pub(crate) fn attributes(&self) -> Attributes {
        let mut all: Rdn = self.rdns.iter().flatten().cloned().collect();
        all.sort();
        Attributes(all)
    }

    /// Whether `self`, an issuer that is not `subject`, was probably meant to be it.
    pub(crate) fn near_miss(&self, subject: &Self) -> Option<NameMismatch> {
        if self == subject {
            return None;
        }
        if self.attributes() == subject.attributes() {
            return Some(NameMismatch::Reordered);
        }
        (self.common_name.is_some() && self.common_name == subject.common_name)
            .then_some(NameMismatch::OtherAttributes)
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.rdns == other.rdns
    }
}

impl Eq for Name {}

impl std::hash::Hash for Name {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.rdns.hash(state);
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Name({})", self.text)
    }
}

fn canonical(attribute: &AttributeTypeAndValue<'_>) -> (Vec<u8>, Value) {
    let value = attribute.attr_value();
    let folded = match value.tag() {
        Tag::PrintableString | Tag::Utf8String => std::str::from_utf8(value.data).ok().map(fold),
        _ => None,
    };
    let value = folded.map_or_else(|| Value::Exact(value.tag().0, value.data.to_vec()), Value::Text);
    (attribute.attr_type().as_bytes().to_vec(), value)
}

/// One case, no space at the ends, one space between words.
fn fold(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    words.join(" ").to_uppercase().to_lowercase()
}

fn text_of(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    attribute.as_str().ok().map(str::to_owned)
}

/// The name for people, in the order of the encoding. The text comes from whoever made the certificate: it is
/// shortened, and control characters are escaped, so that it can stand in a log.
fn show(name: &X509Name<'_>) -> String {
    let rdns = name.iter_rdn().map(|rdn| rdn.iter().map(show_attribute).collect::<Vec<_>>().join("+"));
    let text = rdns.collect::<Vec<_>>().join(", ");
    if text.is_empty() { "(no name)".to_owned() } else { text }
}

fn show_attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let short = short_name(&oid).unwrap_or(&oid);
    let value = match attribute.as_str() {
        Ok(text) => text.chars().take(MAX_SHOWN).map(show_char).collect(),
        Err(_) => format!(
            "#{}",
            attribute.attr_value().data.iter().take(32).map(|b| format!("{b:02x}")).collect::<String>()
        ),
    };
    format!("{short}={value}")
}

/// The common short name of an attribute type.
pub(crate) fn short_name(oid: &str) -> Option<&'static str> {
    SHORT_NAMES.iter().find(|(dotted, _)| *dotted == oid).map(|(_, short)| *short)
}

fn show_char(c: char) -> String {
    match c {
        ',' | '+' | '"' | '\\' | '<' | '>' | ';' => format!("\\{c}"),
        c if c.is_control() => c.escape_unicode().to_string(),
        c => c.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forge::{self, CN, EMAIL, IA5, O, OU, PRINTABLE, UTF8};

    fn name(attributes: &[(&[u64], u8, &str)]) -> Name {
        let der = forge::name(attributes);
        let (rest, parsed) = <X509Name<'_> as x509_parser::prelude::FromDer<_>>::from_der(&der).unwrap();
        assert!(rest.is_empty());
        Name::read(&parsed)
    }

    #[test]
    fn case_spaces_and_string_type_do_not_matter() {
        let a = name(&[(O, UTF8, "Acme  Sensors"), (CN, PRINTABLE, "Root")]);
        let b = name(&[(O, PRINTABLE, " ACME sensors "), (CN, UTF8, "rOOT")]);
        assert_eq!(a, b);
        assert_ne!(
            a,
            name(&[(O, UTF8, "Acme Sensors"), (CN, UTF8, "Root 2")]),
            "another name is another name"
        );
    }

    #[test]
    fn order_and_completeness_matter() {
        let subject = name(&[(O, UTF8, "Acme"), (CN, UTF8, "CA")]);
        let reversed = name(&[(CN, UTF8, "CA"), (O, UTF8, "Acme")]);
        let more = name(&[(O, UTF8, "Acme"), (OU, UTF8, "Lab"), (CN, UTF8, "CA")]);
        assert_ne!(subject, reversed);
        assert_ne!(subject, more);
        assert_eq!(reversed.near_miss(&subject), Some(NameMismatch::Reordered));
        assert_eq!(more.near_miss(&subject), Some(NameMismatch::OtherAttributes));
        assert_eq!(subject.near_miss(&subject), None);
        assert_eq!(name(&[(CN, UTF8, "Other")]).near_miss(&subject), None);
    }

    #[test]
    fn other_string_types_are_compared_exactly() {
        let a = name(&[(EMAIL, IA5, "ca@example.org")]);
        assert_ne!(a, name(&[(EMAIL, IA5, "CA@example.org")]));
        assert_eq!(a, name(&[(EMAIL, IA5, "ca@example.org")]));
    }

    #[test]
    fn what_is_shown_cannot_forge_a_log_line() {
        let text = name(&[(CN, UTF8, "a\nERROR b, c"), (O, UTF8, &"x".repeat(500))]).to_string();
        assert!(text.starts_with("CN=a\\u{a}ERROR b\\, c, O=xxx"), "{text}");
        assert!(text.len() < 200);
    }
}
