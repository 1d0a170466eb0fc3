//! Version, serial number, key and signature.

use x509_parser::public_key::PublicKey;

use super::{Lint, Profile, Rule, Says, Severity};
use crate::MIN_RSA_BITS;

const SHA256_RSA: &str = "1.2.840.113549.1.1.11";
const SHA224_RSA: &str = "1.2.840.113549.1.1.14";
const SHA224_ECDSA: &str = "1.2.840.10045.4.3.1";
const SHA256_ECDSA: &str = "1.2.840.10045.4.3.2";
/// MD5 and SHA-1, with RSA and ECDSA.
const BROKEN: &[&str] =
    &["1.2.840.113549.1.1.4", "1.2.840.113549.1.1.5", "1.3.14.3.2.29", "1.2.840.10045.4.1"];

impl Lint<'_> {
    pub(super) fn key_and_signature(&mut self) {
        self.version();
        self.serial();
        self.key();
        self.signature();
    }

    fn version(&mut self) {
        let version = self.parsed.version().0.saturating_add(1);
        if version == 3 {
            return;
        }
        let severity =
            if self.ask.profile == Profile::Encryption { Severity::Warning } else { Severity::Error };
        let says = Says {
            severity,
            found: format!("version {version}"),
            effect: "Partner management refuses the upload (KER-PCM-007). Without extensions it can say neither that it \
                     is a CA nor what its key is for.",
            cure: "Issue it as X.509 version 3, with basic constraints and key usage.",
        };
        self.find(Rule::Version, "version", self.layout.version, says);
    }

    fn serial(&mut self) {
        let serial = self.parsed.raw_serial();
        let (length, first) = (serial.len(), serial.first().copied().unwrap_or_default());
        let element = Some(self.layout.serial);
        if first & 0x80 != 0 || serial.iter().all(|byte| *byte == 0) {
            let found = if first & 0x80 == 0 { "zero" } else { "a negative number" };
            let says = Says {
                severity: Severity::Note,
                found: found.to_owned(),
                effect: "The back ends take it (MOSIP itself gives negative ones to half of what it signs); other \
                         libraries may refuse it.",
                cure: "Nothing for a certificate that MOSIP made. Your own CA should give positive numbers.",
            };
            self.find(Rule::SerialSign, "serialNumber", element, says);
        }
        if length > 20 {
            let says = Says {
                severity: if self.is_uploaded() { Severity::Error } else { Severity::Warning },
                found: format!("{length} bytes"),
                effect: "RFC 5280 allows 20; the key manager's column for the decimal number has 50 places, and a longer \
                         one fails without a useful code.",
                cure: "Issue it again with a random serial number of 16 bytes.",
            };
            self.find(Rule::SerialLength, "serialNumber", element, says);
        }
    }

    fn key(&mut self) {
        let element = Some(self.layout.key);
        let Some(bits) = self.certificate.rsa_bits() else {
            let (severity, effect) = if self.is_uploaded() {
                (
                    Severity::Warning,
                    "The upload is not refused, but nobody has tried it, and device certificates must \
                                     be signed with SHA-256 and RSA.",
                )
            } else if self.ask.profile == Profile::Encryption {
                (
                    Severity::Error,
                    "Session keys are wrapped with RSA-OAEP: no capture can be encrypted for it.",
                )
            } else {
                (Severity::Error, "The compliance tests take RS256 only; no JWS of this key passes them.")
            };
            let found =
                format!("a key of type {}", self.parsed.public_key().algorithm.algorithm.to_id_string());
            let says = Says {
                severity,
                found,
                effect,
                cure: "Make an RSA-2048 key and have a certificate issued for it.",
            };
            self.find(Rule::KeyType, "subjectPublicKeyInfo", element, says);
            return;
        };
        let wrong = if bits < MIN_RSA_BITS {
            Some(
                "Refused everywhere: by partner management (KER-PCM-013) and by the library that checks signatures.",
            )
        } else if bits > 2048 && !self.is_uploaded() {
            Some(match self.ask.profile {
                Profile::Encryption => {
                    "The back end opens session keys of 256 bytes only: no capture could be opened."
                }
                _ => "The SBI asks for RSA-2048, and the compliance tests take nothing else.",
            })
        } else {
            None
        };
        if let Some(effect) = wrong {
            let says = Says {
                severity: Severity::Error,
                found: format!("RSA-{bits}"),
                effect,
                cure: "Make an RSA-2048 key (a provider may also use 3072 or 4096) and have a certificate issued for it.",
            };
            self.find(Rule::KeySize, "subjectPublicKeyInfo", element, says);
        }
        let exponent = match self.parsed.public_key().parsed() {
            Ok(PublicKey::RSA(key)) => key
                .exponent
                .iter()
                .try_fold(0u64, |sum, byte| sum.checked_mul(256)?.checked_add(u64::from(*byte))),
            _ => None,
        };
        if exponent != Some(65_537) {
            let weak = exponent.is_some_and(|e| e < 3 || e % 2 == 0);
            let says = Says {
                severity: if weak { Severity::Error } else { Severity::Warning },
                found: exponent.map_or_else(|| "more than 64 bits".to_owned(), |e| format!("exponent {e}")),
                effect: "Hardware and some libraries refuse other exponents than 65537; small ones have a history of \
                         forgeries.",
                cure: "Make the key again with the exponent 65537.",
            };
            self.find(Rule::KeyExponent, "subjectPublicKeyInfo", element, says);
        }
    }

    fn signature(&mut self) {
        let algorithm = self.parsed.signature_algorithm.algorithm.to_id_string();
        let outer = Some(self.layout.outer_algorithm);
        if self.parsed.signature_algorithm != self.parsed.tbs_certificate.signature {
            let inner = self.parsed.tbs_certificate.signature.algorithm.to_id_string();
            let says = Says {
                severity: Severity::Error,
                found: format!("{inner} inside, {algorithm} outside"),
                effect: "Every library refuses it: the two must be the same.",
                cure: "Issue it again; the program that made it is faulty.",
            };
            self.find(Rule::SignatureMismatch, "signatureAlgorithm", Some(self.layout.inner_algorithm), says);
        }
        if algorithm != SHA256_RSA {
            let severity = match algorithm.as_str() {
                broken if BROKEN.contains(&broken) => Severity::Error,
                SHA224_RSA | SHA224_ECDSA | SHA256_ECDSA => Severity::Warning,
                _ if self.is_uploaded() => Severity::Error,
                _ => Severity::Warning,
            };
            let effect = if self.is_uploaded() {
                "Partner management refuses the upload (KER-PCM-014): up to 1.3.0 everything but SHA-224 and SHA-256 \
                 with PKCS#1 or ECDSA, later by default everything but SHA-256 with RSA."
            } else {
                "Path building takes SHA-2 with RSA, RSASSA-PSS and ECDSA, but nobody promises it; SHA-1 and MD5 are \
                 refused."
            };
            let says = Says {
                severity,
                found: format!("algorithm {algorithm}"),
                effect,
                cure: "Have it signed with SHA-256 and RSA (sha256WithRSAEncryption).",
            };
            self.find(Rule::SignatureAlgorithm, "signatureAlgorithm", outer, says);
        }
        if self.certificate.is_self_signed() && self.ask.profile != Profile::Encryption {
            let says = Says {
                severity: Severity::Error,
                found: "signed with its own key".to_owned(),
                effect: "Partner management refuses it as a partner certificate (KER-PCM-015), and no back end trusts it \
                         as a leaf. (A root is uploaded as a CA certificate instead.)",
                cure: "Have it issued by your CA; upload that CA's root first.",
            };
            self.find(Rule::SelfSigned, "issuer", Some(self.layout.issuer), says);
        }
    }
}
