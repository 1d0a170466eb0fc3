//! Whether a certificate is what MOSIP's partner management, key manager and compliance tests will take, before they see
//! it: they answer with a code, or accept what fails months later; a finding here says where, why, and what to do.
//!
//! Nothing is proven by a lint: a clean certificate may still be anybody's. Trust is [`crate::TrustStore::verify`].

mod dates;
mod extensions;
mod key;
mod layout;
mod profile;
mod rule;
mod subject;

use biotrust_model::time::UtcMillis;
use x509_parser::prelude::X509Certificate;

use crate::certificate::read;
use crate::{Certificate, CertificateError};
use layout::Layout;
pub use profile::{Guess, Profile, guess};
pub use rule::Rule;

/// Most bytes of a certificate that a finding shows.
const MAX_SHOWN: usize = 48;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A back end refuses it, or what it issues.
    Error,
    /// Some version or setting of a back end refuses it, or it will fail later.
    Warning,
    /// Works, and could be better.
    Note,
}

impl Severity {
    /// `error`, `warning`, `note`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where in the DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Offset of the first byte, from 0.
    pub offset: usize,
    /// Length of the element.
    pub length: usize,
    /// Its first bytes.
    pub bytes: Vec<u8>,
}

impl Place {
    /// The bytes in lower-case hexadecimal, with an ellipsis where there are more.
    #[must_use]
    pub fn hex(&self) -> String {
        let more = if self.length > self.bytes.len() { "…" } else { "" };
        format!("{}{more}", hex::encode(&self.bytes))
    }
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// How bad it is for this profile.
    pub severity: Severity,
    /// Field of the certificate, in the words of RFC 5280.
    pub field: &'static str,
    /// Its bytes; nothing for a field that is missing.
    pub place: Option<Place>,
    /// What was found.
    pub found: String,
    /// What a back end does with it.
    pub effect: &'static str,
    /// What to do.
    pub cure: &'static str,
}

/// What a certificate is held against.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// What it is to be.
    pub profile: Profile,
    /// The moment of judgement.
    pub now: UtcMillis,
    /// The organisation as registered in partner management, where it is known.
    pub organisation: Option<&'a str>,
    /// Whoever issued it, where that is known. For a device: the certificate that MOSIP signed again.
    pub issuer: Option<&'a Certificate>,
}

/// Holds the certificate in `der` against its profile. The findings come worst first, then in the order of the bytes.
///
/// # Errors
/// When `der` is not exactly one certificate.
pub fn lint(der: &[u8], question: &Question<'_>) -> Result<Vec<Finding>, CertificateError> {
    let certificate = Certificate::parse(der)?;
    let (_, parsed) = read(der)?;
    let layout = Layout::of(der)
        .ok_or_else(|| CertificateError::NotACertificate("its fields cannot be found".to_owned()))?;
    let mut lint = Lint { der, certificate, parsed, layout, ask: *question, findings: Vec::new() };
    lint.key_and_signature();
    lint.dates();
    lint.names();
    lint.extensions();
    let mut findings = lint.findings;
    findings.sort_by_key(|f| (f.severity, f.place.as_ref().map_or(usize::MAX, |place| place.offset)));
    Ok(findings)
}

/// One lint at work.
struct Lint<'a> {
    der: &'a [u8],
    certificate: Certificate,
    parsed: X509Certificate<'a>,
    layout: Layout<'a>,
    ask: Question<'a>,
    findings: Vec<Finding>,
}

/// What a rule has to say, without the place.
struct Says {
    severity: Severity,
    found: String,
    effect: &'static str,
    cure: &'static str,
}

impl<'a> Lint<'a> {
    /// Adds a finding; `element` is a part of the DER.
    fn find(&mut self, rule: Rule, field: &'static str, element: Option<&'a [u8]>, says: Says) {
        let place = element.and_then(|element| {
            let offset = (element.as_ptr() as usize).checked_sub(self.der.as_ptr() as usize)?;
            let inside = offset.checked_add(element.len())? <= self.der.len();
            let bytes = element.get(..MAX_SHOWN).unwrap_or(element).to_vec();
            inside.then_some(Place { offset, length: element.len(), bytes })
        });
        let Says { severity, found, effect, cure } = says;
        self.findings.push(Finding { rule, severity, field, place, found, effect, cure });
    }

    /// Whether the certificate is one that partner management is handed.
    const fn is_uploaded(&self) -> bool {
        matches!(self.ask.profile, Profile::Provider | Profile::FtmProvider)
    }

    /// Whether the certificate signs JWS.
    const fn signs_documents(&self) -> bool {
        matches!(self.ask.profile, Profile::Device | Profile::Chip)
    }
}

#[cfg(test)]
mod tests;
