//! Extensions: who may issue, what a key is for, what nobody understands.

use x509_parser::extensions::ParsedExtension;

use super::{Lint, Profile, Rule, Says, Severity};
use crate::{SignerPurpose, issue};

const KEY_USAGE: &str = "2.5.29.15";
const KEY_ID: &str = "2.5.29.14";
const BASIC_CONSTRAINTS: &str = "2.5.29.19";
const EXTENDED_KEY_USAGE: &str = "2.5.29.37";
const AUTHORITY_KEY_ID: &str = "2.5.29.35";

impl Lint<'_> {
    pub(super) fn extensions(&mut self) {
        self.ca_flag();
        self.key_usage();
        self.extended_key_usage();
        self.critical();
        self.repeated();
        self.key_identifiers();
    }

    fn ca_flag(&mut self) {
        let element = self.layout.extension(BASIC_CONSTRAINTS);
        let is_ca = self.certificate.is_ca();
        let says = match self.ask.profile {
            Profile::FtmProvider if !is_ca => Says {
                severity: Severity::Error,
                found: "not a CA".to_owned(),
                effect: "MOSIP does not sign it again: chip certificates below it are not trusted.",
                cure: "Have it issued with basic constraints CA TRUE (critical) and key usage keyCertSign.",
            },
            Profile::Provider if !is_ca => Says {
                severity: Severity::Warning,
                found: "not a CA".to_owned(),
                effect: "MOSIP makes it one when it signs it again; who holds yours alone cannot check device \
                         certificates.",
                cure: "Have it issued with basic constraints CA TRUE (critical) and key usage keyCertSign.",
            },
            Profile::Device | Profile::Chip | Profile::Encryption if is_ca => Says {
                severity: Severity::Error,
                found: "CA TRUE".to_owned(),
                effect: "Whoever holds this key could issue certificates of others.",
                cure: "Issue it with basic constraints CA FALSE.",
            },
            Profile::Device | Profile::Chip if element.is_none() => Says {
                severity: Severity::Note,
                found: "no basic constraints".to_owned(),
                effect: "The back ends take it.",
                cure: "Issue it with basic constraints CA FALSE, so that nobody has to know what absence means.",
            },
            _ => return,
        };
        self.find(Rule::CaFlag, "basicConstraints", element, says);
    }

    fn key_usage(&mut self) {
        let element = self.layout.extension(KEY_USAGE);
        let flags =
            self.parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::KeyUsage(usage) => Some(usage.flags),
                _ => None,
            });
        // Bits as x509-parser counts them: digitalSignature 0, keyEncipherment 2, dataEncipherment 3, keyCertSign 5.
        let has = |bit: u16| flags.is_some_and(|flags| flags & (1 << bit) != 0);
        let (severity, effect, cure) = match self.ask.profile {
            Profile::FtmProvider if !has(5) => (
                if flags.is_some() { Severity::Error } else { Severity::Warning },
                "An issuer whose key usage lacks keyCertSign carries no path: chip certificates are not trusted.",
                "Have it issued with key usage keyCertSign (critical).",
            ),
            Profile::Provider if !has(5) => (
                Severity::Warning,
                "MOSIP sets its own key usage when it signs again; who holds yours alone cannot check device \
                 certificates.",
                "Have it issued with key usage keyCertSign (critical).",
            ),
            Profile::Device | Profile::Chip if has(5) => (
                Severity::Error,
                "Whoever holds this key could issue certificates of others, were it not for the CA flag.",
                "Issue it with key usage digitalSignature and nothing else.",
            ),
            Profile::Device | Profile::Chip if !has(0) => (
                Severity::Warning,
                "The back ends do not look; readers of RFC 5280 refuse its signatures.",
                "Issue it with key usage digitalSignature (critical).",
            ),
            Profile::Encryption if flags.is_some() && !has(2) && !has(3) => (
                Severity::Warning,
                "By its own account the key is not for encryption.",
                "Fetch the certificate of the right application and reference (IDA, IDA-FIR).",
            ),
            _ => return,
        };
        let found = if flags.is_none() { "none" } else { "not the right one" };
        let says = Says { severity, found: found.to_owned(), effect, cure };
        self.find(Rule::KeyUsage, "keyUsage", element, says);
    }

    fn extended_key_usage(&mut self) {
        let usages = self.certificate.extended_key_usages();
        if usages.is_empty() || !self.signs_documents() {
            return;
        }
        let signer = SignerPurpose::ALL.into_iter().any(|purpose| self.certificate.has_purpose(purpose));
        let says = Says {
            severity: if signer { Severity::Error } else { Severity::Note },
            found: usages.join(", "),
            effect: if signer {
                "It would pass for a signer of management messages, firmware, metadata or attestations."
            } else {
                "The back ends do not look at it."
            },
            cure: "Issue device and chip certificates without an extended key usage.",
        };
        self.find(Rule::ExtendedKeyUsage, "extKeyUsage", self.layout.extension(EXTENDED_KEY_USAGE), says);
    }

    fn critical(&mut self) {
        let Some(oid) = self.certificate.unhandled_critical().map(str::to_owned) else { return };
        let says = Says {
            severity: Severity::Error,
            found: format!("extension {oid}"),
            effect: "Path building refuses every path with a critical extension that it does not know, and name \
                     constraints are obeyed by some and not by others.",
            cure: "Have it issued without this extension, or not critical.",
        };
        let element = self.layout.extensions.iter().find(|e| e.oid == oid && e.critical).map(|e| e.whole);
        let element = element.or_else(|| self.layout.extension(&oid));
        self.find(Rule::CriticalExtension, "extensions", element, says);
    }

    fn repeated(&mut self) {
        let all = &self.layout.extensions;
        let again =
            all.iter().enumerate().find(|(index, one)| all.iter().take(*index).any(|e| e.oid == one.oid));
        let Some((oid, element)) = again.map(|(_, one)| (one.oid.clone(), one.whole)) else { return };
        let says = Says {
            severity: Severity::Error,
            found: format!("a second {oid}"),
            effect: "Java refuses the certificate (duplicate extensions not allowed).",
            cure: "Issue it again with each extension once.",
        };
        self.find(Rule::RepeatedExtension, "extensions", Some(element), says);
    }

    fn key_identifiers(&mut self) {
        let own = self.certificate.key_id().map(<[u8]>::to_vec);
        if self.is_uploaded()
            && own.as_ref().is_some_and(|id| Some(id) != issue::key_id(self.certificate.spki_der()).as_ref())
        {
            let says = Says {
                severity: Severity::Note,
                found: hex::encode(own.unwrap_or_default()),
                effect: "MOSIP writes SHA-1 of the key when it signs again: an authority key identifier that fits yours \
                         will not fit that. Back ends do not look.",
                cure: "Use SHA-1 of the public key's bits, so that both have the same.",
            };
            self.find(Rule::KeyIdentifier, "subjectKeyIdentifier", self.layout.extension(KEY_ID), says);
        }
        let above = self.ask.issuer.and_then(crate::Certificate::key_id);
        let named =
            self.parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    id.key_identifier.as_ref().map(|id| id.0.to_vec())
                }
                _ => None,
            });
        if let (Some(above), Some(named)) = (above, named)
            && above != named
        {
            let says = Says {
                severity: Severity::Warning,
                found: format!("{}, the issuer's is {}", hex::encode(&named), hex::encode(above)),
                effect: "The back ends do not look; OpenSSL and what is built on it find no issuer.",
                cure: "Copy it from the subject key identifier of the issuing certificate, or leave it out.",
            };
            let element = self.layout.extension(AUTHORITY_KEY_ID);
            self.find(Rule::AuthorityKeyIdentifier, "authorityKeyIdentifier", element, says);
        }
    }
}
