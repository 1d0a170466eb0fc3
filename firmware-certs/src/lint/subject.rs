//! Names: what partner management makes of the subject, and whether the issuer is a copy.

use x509_parser::asn1_rs::Tag;

use super::{Lint, Profile, Rule, Says, Severity};
use crate::name;

/// The attributes that MOSIP keeps when it signs again, in its order.
const KEPT: [(&str, &str); 6] = [
    ("2.5.4.6", "C"),
    ("2.5.4.8", "ST"),
    ("2.5.4.7", "L"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.3", "CN"),
];
const ORGANISATION: &str = "2.5.4.10";

const COPY: &str = "Copy the issuer of device certificates from the certificate that MOSIP returns, never from your own; \
                    or have yours issued with C, ST, L, O, OU, CN in this order, once each, and nothing else.";

impl Lint<'_> {
    pub(super) fn names(&mut self) {
        self.common_name();
        self.organisation();
        self.issuer_name();
        if self.is_uploaded() {
            self.lengths();
            self.rebuilt();
        }
    }

    fn common_name(&mut self) {
        if self.certificate.subject().common_name().is_some() {
            return;
        }
        let says = Says {
            severity: if self.ask.profile == Profile::Provider { Severity::Error } else { Severity::Warning },
            found: "no CN".to_owned(),
            effect: "Partner management fails at signing a provider's certificate again, with an error without a code. \
                     For devices and chips it is the serial number that people look for.",
            cure: "Issue it with a common name.",
        };
        self.find(Rule::CommonName, "subject", Some(self.layout.subject), says);
    }

    fn organisation(&mut self) {
        if self.ask.profile == Profile::Encryption {
            return;
        }
        let found = self.certificate.subject().organisation().map(str::to_owned);
        let expected = self.ask.organisation;
        let severity = match (&found, expected) {
            (None, _) if self.ask.profile == Profile::Chip => return,
            (Some(_), None) => return,
            (Some(found), Some(expected)) if found == expected => return,
            // The compliance tests compare without case, and chips by nobody.
            (Some(found), Some(expected)) if found.eq_ignore_ascii_case(expected) && !self.is_uploaded() => {
                Severity::Note
            }
            (Some(_), Some(_)) if self.ask.profile == Profile::Chip => Severity::Note,
            _ => Severity::Error,
        };
        let text = match (found, expected) {
            (None, _) => "no O".to_owned(),
            (Some(found), expected) => format!("O={found}, expected {}", expected.unwrap_or_default()),
        };
        let says = Says {
            severity,
            found: text,
            effect: if self.is_uploaded() {
                "Partner management compares it with the registered organisation, letter by letter, and refuses the \
                 upload (KER-PCM-008)."
            } else {
                "The compliance tests compare it with the partner's organisation (SIGNATURE_VALIDATOR_010), letter case \
                 aside."
            },
            cure: "Issue it with the organisation exactly as it is registered, blanks and dots included.",
        };
        let element = self.layout.attribute(ORGANISATION).unwrap_or(self.layout.subject);
        self.find(Rule::Organisation, "subject", Some(element), says);
    }

    fn issuer_name(&mut self) {
        let Some(issuer) = self.ask.issuer else { return };
        let (own, above) = (self.certificate.issuer(), issuer.subject());
        if own.raw() == above.raw() {
            return;
        }
        let same = own == above;
        let says = Says {
            severity: if same { Severity::Note } else { Severity::Error },
            found: format!("\"{own}\", the issuer is \"{above}\""),
            effect: if same {
                "The back ends take the two names for the same; other libraries compare bytes."
            } else {
                "Back ends follow the name: they find no issuer, and no signature of this key is trusted."
            },
            cure: "Issue it again with the issuer copied byte for byte from the subject of the issuing certificate.",
        };
        self.find(Rule::IssuerName, "issuer", Some(self.layout.issuer), says);
    }

    fn lengths(&mut self) {
        let length = self.certificate.subject().organisation().map_or(0, |o| o.chars().count());
        if length > 120 {
            let says = Says {
                severity: Severity::Error,
                found: format!("{length} characters"),
                effect: "Partner management lets 128 pass, the key manager's column has 120: the upload fails there.",
                cure: "Register and use a shorter organisation.",
            };
            let element = self.layout.attribute(ORGANISATION);
            self.find(Rule::OrganisationLength, "subject", element, says);
        }
        let text: usize = self.layout.attributes.iter().map(|a| a.value.len() + 4).sum();
        if text >= 500 {
            let says = Says {
                severity: Severity::Error,
                found: format!("about {text} characters as text"),
                effect: "The key manager's column for the subject has 500 characters: the upload fails.",
                cure: "Issue it with a shorter subject.",
            };
            self.find(Rule::SubjectLength, "subject", Some(self.layout.subject), says);
        }
    }

    /// MOSIP rebuilds the subject of what it signs again. A device certificate that names the original as its issuer is
    /// then an orphan.
    fn rebuilt(&mut self) {
        // An FTM provider's certificate is signed again only where it is uploaded for domain DEVICE as well.
        let severity =
            if self.ask.profile == Profile::Provider { Severity::Error } else { Severity::Warning };
        let says = |found: String, effect| Says { severity, found, effect, cure: COPY };
        let position = |kind: &str| KEPT.iter().position(|(oid, _)| *oid == kind);
        let mut findings = Vec::new();
        let mut last = 0;
        for (index, attribute) in self.layout.attributes.iter().enumerate() {
            let earlier = || self.layout.attributes.iter().take(index);
            if earlier().any(|other| other.rdn == attribute.rdn) {
                let effect = "MOSIP takes the set apart when it signs again: the name becomes another one.";
                findings.push((
                    Rule::SubjectJoined,
                    attribute.whole,
                    says("two attributes in one RDN".to_owned(), effect),
                ));
            }
            let Some(place) = position(&attribute.kind) else {
                let found =
                    format!("attribute {}", name::short_name(&attribute.kind).unwrap_or(&attribute.kind));
                let effect = "MOSIP drops it when it signs again: device certificates that keep it in their issuer are \
                              not trusted.";
                findings.push((Rule::SubjectDropped, attribute.whole, says(found, effect)));
                continue;
            };
            let short = KEPT.get(place).map_or("", |(_, short)| short);
            if earlier().any(|other| other.kind == attribute.kind) {
                let effect = "MOSIP keeps the first only when it signs again: device certificates that keep both in \
                              their issuer are not trusted.";
                findings.push((
                    Rule::SubjectRepeated,
                    attribute.whole,
                    says(format!("a second {short}"), effect),
                ));
                continue;
            }
            if place < last {
                let effect = "MOSIP writes C, ST, L, O, OU, CN when it signs again; the order of a name matters, so \
                              device certificates with this one in their issuer are not trusted.";
                findings.push((
                    Rule::SubjectOrder,
                    attribute.whole,
                    says(format!("{short} after a later attribute"), effect),
                ));
            }
            last = last.max(place);
            if !matches!(attribute.tag, Tag::Utf8String | Tag::PrintableString) {
                let found = format!("{short} as {}", attribute.tag);
                let effect = "MOSIP writes UTF8String when it signs again; names in other types than UTF8String and \
                              PrintableString are compared byte for byte, so the two differ.";
                findings.push((Rule::SubjectString, attribute.whole, says(found, effect)));
            }
        }
        for (rule, element, says) in findings {
            self.find(rule, "subject", Some(element), says);
        }
    }
}
