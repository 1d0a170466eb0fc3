//! Validity.

use x509_parser::asn1_rs::Tag;

use super::layout::Date;
use super::{Lint, Profile, Rule, Says, Severity};
use crate::MAX_CHIP_LIFETIME;

const DAY: i64 = 86_400_000;
/// Days that must be left at an upload: a year less 30 days of grace.
const FLOOR_DAYS: i64 = 335;
/// Days below which the chain of a partner certificate is not stored.
const YEAR_DAYS: i64 = 365;
/// Longest life of a device certificate without a remark; keys are to be rotated every 30 days or so.
const DEVICE_DAYS: i64 = 92;

impl Lint<'_> {
    pub(super) fn dates(&mut self) {
        let (from, to, now) = (self.certificate.not_before(), self.certificate.not_after(), self.ask.now);
        let (begins, ends) = (self.layout.not_before, self.layout.not_after);
        self.encoding(begins, from.to_wire());
        self.encoding(ends, to.to_wire());
        if to < from {
            let says = Says {
                severity: Severity::Error,
                found: format!("{} to {}", from.to_wire(), to.to_wire()),
                effect: "It is never valid.",
                cure: "Issue it again with an end after its beginning.",
            };
            self.find(Rule::DateOrder, "validity", Some(ends.whole), says);
        }
        if now < from {
            let says = Says {
                severity: Severity::Error,
                found: format!("valid from {}", from.to_wire()),
                effect: "Refused until then: uploads with KER-PMS-020 or KER-PCM-004, signatures with KER-JWS-107.",
                cure: "Check the clock of this host; else wait, or have it issued with an earlier beginning.",
            };
            self.find(Rule::NotYetValid, "notBefore", Some(begins.whole), says);
        } else if self.is_uploaded() && now.since(from) < DAY {
            let says = Says {
                severity: Severity::Warning,
                found: format!("valid from {}", from.to_wire()),
                effect: "A server that does not run in UTC may take it for one of the future and refuse the upload \
                         (KER-PMS-020).",
                cure: "Upload it tomorrow, or have it issued with a beginning one day back.",
            };
            self.find(Rule::FreshStart, "notBefore", Some(begins.whole), says);
        }
        if now > to {
            let says = Says {
                severity: Severity::Error,
                found: format!("expired {}", to.to_wire()),
                effect: "Refused everywhere: uploads with KER-PCM-004, signatures with KER-JWS-107, paths that lead \
                         through it without a code. Nothing is encrypted for it.",
                cure: "Renew it. A provider keeps its key and its name, so that device certificates stay good.",
            };
            self.find(Rule::Expired, "notAfter", Some(ends.whole), says);
        } else {
            self.remaining(to.since(now).div_euclid(DAY));
        }
        self.lifetime(to.since(from));
        if let Some(issuer) = self.ask.issuer.filter(|issuer| issuer.not_after() < to) {
            let says = Says {
                severity: Severity::Warning,
                found: format!("ends {}, its issuer {}", to.to_wire(), issuer.not_after().to_wire()),
                effect: "It looks valid and is trusted by nobody once its issuer has expired.",
                cure: "Issue it with an end that is not after that of its issuer (for devices: of the certificate that \
                       MOSIP signed again).",
            };
            self.find(Rule::BeyondIssuer, "notAfter", Some(ends.whole), says);
        }
    }

    fn remaining(&mut self, days: i64) {
        let (severity, effect) = match self.ask.profile {
            Profile::Provider | Profile::FtmProvider if days < FLOOR_DAYS => (
                Severity::Error,
                "Partner management refuses the upload: KER-KMS-021 from 1.3 on, before that KER-PCM-004 as if it had \
                 expired.",
            ),
            Profile::FtmProvider if days < YEAR_DAYS => (
                Severity::Warning,
                "Version 1.3 takes the upload but does not store the chain in its trust store (it wants 12 months): \
                 chips are then not trusted.",
            ),
            Profile::Provider if days < YEAR_DAYS => (
                Severity::Note,
                "Enough for an upload today: 335 days are the least (305 where a grace of 60 is set).",
            ),
            Profile::Encryption if days < 30 => (
                Severity::Warning,
                "The back end makes a new one before the end; from then on captures for the old one are refused.",
            ),
            _ => return,
        };
        let says = Says {
            severity,
            found: format!("{days} days left"),
            effect,
            cure: match self.ask.profile {
                Profile::Encryption => "Fetch the current certificate.",
                _ => "Have it issued for at least 13 months, and upload it soon after.",
            },
        };
        self.find(Rule::Remaining, "notAfter", Some(self.layout.not_after.whole), says);
    }

    fn lifetime(&mut self, millis: i64) {
        let chip_limit = i64::try_from(MAX_CHIP_LIFETIME.as_millis()).unwrap_or(i64::MAX);
        let says = match self.ask.profile {
            Profile::Chip if millis > chip_limit => Says {
                severity: Severity::Error,
                found: format!("{} days", millis.div_euclid(DAY)),
                effect: "The SBI allows 20 years; attestation refuses the chip.",
                cure: "Issue it for 20 years (7305 days) at most.",
            },
            Profile::Device if millis > DEVICE_DAYS * DAY => Says {
                severity: Severity::Warning,
                found: format!("{} days", millis.div_euclid(DAY)),
                effect: "Nobody refuses it, but the SBI asks for a new device key every 30 days or so, and there is no \
                         revocation: a lost key stays good until the end.",
                cure: "Issue device certificates for 30 to 90 days and rotate.",
            },
            _ => return,
        };
        self.find(Rule::Lifetime, "validity", Some(self.layout.not_after.whole), says);
    }

    /// UTCTime until 2049, GeneralizedTime from then on, both with seconds and a Z.
    fn encoding(&mut self, date: Date<'_>, wire: String) {
        let late = wire.get(..4).unwrap_or_default() >= "2050";
        let expected = if late { (Tag::GeneralizedTime, 15) } else { (Tag::UtcTime, 13) };
        if (date.tag, date.text.len()) == expected && date.text.ends_with(b"Z") {
            return;
        }
        let is_end = date.whole.as_ptr() == self.layout.not_after.whole.as_ptr();
        let (field, element) = if is_end {
            ("notAfter", self.layout.not_after.whole)
        } else {
            ("notBefore", self.layout.not_before.whole)
        };
        let says = Says {
            severity: Severity::Note,
            found: String::from_utf8_lossy(date.text)
                .chars()
                .filter(char::is_ascii_graphic)
                .take(40)
                .collect(),
            effect: "The back ends read it; strict readers do not (RFC 5280 4.1.2.5: UTCTime until 2049, GeneralizedTime \
                     from 2050 on).",
            cure: "Issue it with dates in the form that RFC 5280 asks for.",
        };
        self.find(Rule::DateEncoding, field, Some(element), says);
    }
}
