//! `test-pki.toml`, read and checked.

use rcgen::{DistinguishedName, DnType};
use serde::Deserialize;

use super::TestPkiError;
use crate::issue::{self, SubjectError};

/// Everything that is minted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec {
    pub(super) adopter: Adopter,
    pub(super) device: Branch,
    pub(super) ftm: Branch,
    pub(super) other_provider: Entity,
    pub(super) stranger: Entity,
}

/// The identity authority.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Adopter {
    pub(super) root: Entity,
    pub(super) encryption: Entity,
}

/// A trust domain: a root, and CAs below it, each issued by the one before. The last one issues leaves.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Branch {
    pub(super) root: Entity,
    #[serde(default)]
    pub(super) intermediate: Vec<Entity>,
}

/// One certificate.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entity {
    /// `C=`, `ST=`, `L=`, `O=`, `OU=`, `CN=`, `serialNumber=`, in the order of the encoding.
    pub(super) subject: Vec<String>,
    pub(super) days: Days,
    /// Most CA certificates below, for a CA that limits it.
    pub(super) path_len: Option<u8>,
}

/// Validity in whole days from the moment of minting.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Days {
    pub(super) from: i32,
    pub(super) to: i32,
}

impl Spec {
    pub(super) fn parse(text: &str) -> Result<Self, TestPkiError> {
        toml::from_str(text).map_err(|error| TestPkiError::Spec(error.to_string()))
    }
}

/// DER of a subject from `C=XX`-like attributes, in their order.
pub(super) fn subject<S: AsRef<str>>(attributes: &[S]) -> Result<Vec<u8>, TestPkiError> {
    let bad = |index: usize, why| TestPkiError::Subject {
        attribute: attributes.get(index).map(|a| a.as_ref().to_owned()).unwrap_or_default(),
        why,
    };
    let split = |(index, attribute): (usize, &'_ S)| {
        attribute
            .as_ref()
            .split_once('=')
            .ok_or_else(|| bad(index, "expected TYPE=value"))
            .map(|(kind, value)| (kind.to_owned(), value.to_owned()))
    };
    let pairs: Vec<_> = attributes.iter().enumerate().map(split).collect::<Result<_, _>>()?;
    let pairs: Vec<_> = pairs.iter().map(|(kind, value)| (kind.as_str(), value.as_str())).collect();
    issue::subject(&pairs).map_err(|(error, index)| bad(index, error.as_str()))
}

/// The same for the library that makes the authorities.
pub(super) fn distinguished_name<S: AsRef<str>>(attributes: &[S]) -> Result<DistinguishedName, TestPkiError> {
    let mut name = DistinguishedName::new();
    for attribute in attributes.iter().map(AsRef::as_ref) {
        let bad = |why| TestPkiError::Subject { attribute: attribute.to_owned(), why };
        let (kind, value) = attribute.split_once('=').ok_or_else(|| bad("expected TYPE=value"))?;
        let kind = match kind {
            "C" => DnType::CountryName,
            "ST" => DnType::StateOrProvinceName,
            "L" => DnType::LocalityName,
            "O" => DnType::OrganizationName,
            "OU" => DnType::OrganizationalUnitName,
            "CN" => DnType::CommonName,
            "serialNumber" => DnType::CustomDnType(vec![2, 5, 4, 5]),
            _ => return Err(bad(SubjectError::UnknownType.as_str())),
        };
        if value.is_empty() {
            return Err(bad(SubjectError::Empty.as_str()));
        }
        if name.get(&kind).is_some() {
            return Err(bad(SubjectError::Repeated.as_str()));
        }
        name.push(kind, value);
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_spec_reads() {
        let spec = Spec::parse(super::super::TestPki::DEFAULT_SPEC).unwrap();
        assert_eq!(spec.device.intermediate.len(), 1);
    }

    #[test]
    fn mistakes_are_named() {
        let misspelt = super::super::TestPki::DEFAULT_SPEC.replacen("days =", "dayz =", 1);
        let error = Spec::parse(&misspelt).unwrap_err().to_string();
        assert!(error.contains("dayz") && error.contains("line 10"), "{error}");
        for (attribute, why) in [("CN", "TYPE=value"), ("X=1", "none of"), ("CN=", "empty")] {
            let error = distinguished_name(&[attribute]).unwrap_err().to_string();
            assert!(error.contains(attribute) && error.contains(why), "{error}");
        }
        assert!(distinguished_name(&["O=a", "O=b"]).unwrap_err().to_string().contains("twice"));
    }
}
