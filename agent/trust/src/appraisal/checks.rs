//! The checks, each with the sentence that it leaves in the report.

use std::time::Duration;

use biotrust_certs::{Certificate, MAX_CHIP_LIFETIME, MIN_RSA_BITS, TrustDomain, TrustStore, VerifiedPath};
use biotrust_model::{DeviceIdentity, time::UtcMillis};

use super::{Appraisal, Check, CheckName, Outcome};

/// Longest RSA key that our own verifier and the back ends' take.
const MAX_RSA_BITS: u32 = 8192;

/// A device certificate is renewed every month or so: a week before its end is time to look.
const DEVICE_WARNING: Duration = Duration::from_secs(7 * 86_400);

/// A chip certificate cannot be renewed at a desk: a quarter of a year before its end is time to look.
const CHIP_WARNING: Duration = Duration::from_secs(90 * 86_400);

/// Characters of the beginning, and of the end, of what is shown about a bad certificate: enough for two usual names.
const MAX_SHOWN_END: usize = 300;

/// The first certificate of a chain, and whether it is trusted.
pub(super) struct Leaf<D> {
    certificate: Option<Certificate>,
    pub(super) path: Result<VerifiedPath<D>, String>,
}

impl<D: TrustDomain> Leaf<D> {
    pub(super) fn judge(chain: &[Vec<u8>], store: &TrustStore<D>, now: UtcMillis) -> Self {
        let Some(der) = chain.first() else {
            return Self { certificate: None, path: Err("the device shows no certificate".to_owned()) };
        };
        let path = store.verify(der, now).map_err(|error| in_short(&error.to_string()));
        Self { certificate: Certificate::parse(der).ok(), path }
    }

    pub(super) fn valid_until(&self) -> Option<UtcMillis> {
        self.path.as_ref().ok().map(VerifiedPath::valid_until)
    }
}

/// The checks so far.
#[derive(Default)]
pub(super) struct Report(Vec<Check>);

impl Report {
    pub(super) fn into_appraisal<T>(self, device: Option<T>, expires: Option<UtcMillis>) -> Appraisal<T> {
        Appraisal { checks: self.0, admitted: device, expires }
    }

    fn add(&mut self, name: CheckName, outcome: Outcome, text: impl Into<String>) {
        self.0.push(Check { name, outcome, text: text.into() });
    }

    pub(super) fn identity(&mut self, claims: &DeviceIdentity) {
        let empty = [
            ("serial number", &claims.serial_no),
            ("make", &claims.make),
            ("model", &claims.model),
            ("provider", &claims.device_provider),
            ("provider id", &claims.device_provider_id),
        ]
        .into_iter()
        .find(|(_, value)| value.trim().is_empty());
        let (outcome, text) = match empty {
            Some((what, _)) => (Outcome::Fail, format!("the device gives no {what}")),
            None if !claims.device_sub_type.fits(claims.modality) => (
                Outcome::Fail,
                format!(
                    "the device claims to be {} and {}, which does not exist",
                    claims.modality, claims.device_sub_type
                ),
            ),
            None => (
                Outcome::Pass,
                format!("{} {} {}", shown(&claims.make), shown(&claims.model), shown(&claims.serial_no)),
            ),
        };
        self.add(CheckName::Identity, outcome, text);
    }

    /// Everything about the device certificate. `other_provider` is how bad another organisation is.
    pub(super) fn device<D: TrustDomain>(
        &mut self,
        leaf: &Leaf<D>,
        claims: &DeviceIdentity,
        other_provider: Outcome,
        now: UtcMillis,
    ) {
        self.path(CheckName::DevicePath, leaf);
        if let Some(certificate) = &leaf.certificate {
            self.key(CheckName::DeviceKey, certificate);
            self.organisation(certificate, claims, other_provider);
        }
        self.expiry(CheckName::DeviceExpiry, leaf, DEVICE_WARNING, now);
    }

    /// Everything about the chip certificate.
    pub(super) fn chip<D: TrustDomain>(&mut self, leaf: &Leaf<D>, now: UtcMillis) {
        self.path(CheckName::ChipPath, leaf);
        if let Some(certificate) = &leaf.certificate {
            self.key(CheckName::ChipKey, certificate);
            self.lifetime(certificate);
        }
        self.expiry(CheckName::ChipExpiry, leaf, CHIP_WARNING, now);
    }

    fn path<D: TrustDomain>(&mut self, name: CheckName, leaf: &Leaf<D>) {
        match &leaf.path {
            Ok(path) => {
                let anchor = path.issuers().last().map(|anchor| anchor.subject().to_string());
                self.add(name, Outcome::Pass, format!("trusted under \"{}\"", anchor.unwrap_or_default()));
            }
            Err(text) => self.add(name, Outcome::Fail, text),
        }
    }

    fn key(&mut self, name: CheckName, certificate: &Certificate) {
        let (outcome, text) = match certificate.rsa_bits() {
            _ if certificate.is_ca() => {
                (Outcome::Fail, "is the certificate of a CA; a device needs one of its own".to_owned())
            }
            None => (Outcome::Fail, "the key is not RSA; back ends verify nothing else".to_owned()),
            Some(bits) if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) => (
                Outcome::Fail,
                format!("RSA key of {bits} bits; {MIN_RSA_BITS} to {MAX_RSA_BITS} are accepted"),
            ),
            Some(_) if !certificate.may_sign_data() => (
                Outcome::Warning,
                "the key usage does not include digitalSignature; back ends do not look at it yet".to_owned(),
            ),
            Some(bits) => (Outcome::Pass, format!("RSA key of {bits} bits")),
        };
        self.add(name, outcome, text);
    }

    fn organisation(&mut self, certificate: &Certificate, claims: &DeviceIdentity, other: Outcome) {
        let claimed = shown(&claims.device_provider);
        let (outcome, text) = match certificate.subject().organisation() {
            None => {
                (other, format!("the device certificate has no organisation; \"{claimed}\" was expected"))
            }
            Some(name) if !same_words(name, &claims.device_provider) => (
                other,
                format!(
                    "the device certificate is for organisation \"{}\", the device says \"{claimed}\"",
                    shown(name)
                ),
            ),
            Some(name) => (Outcome::Pass, format!("organisation \"{}\"", shown(name))),
        };
        self.add(CheckName::Organisation, outcome, text);
    }

    fn lifetime(&mut self, chip: &Certificate) {
        let span = chip.not_after().since(chip.not_before());
        let days = span / 86_400_000;
        let limit = i64::try_from(MAX_CHIP_LIFETIME.as_millis()).unwrap_or(i64::MAX);
        let (outcome, text) = if span > limit {
            (Outcome::Fail, format!("the chip certificate lives {days} days; 20 years are allowed"))
        } else {
            (Outcome::Pass, format!("lives {days} days"))
        };
        self.add(CheckName::ChipLifetime, outcome, text);
    }

    /// A path that ends soon is a warning; one that has ended was none.
    fn expiry<D: TrustDomain>(&mut self, name: CheckName, leaf: &Leaf<D>, early: Duration, now: UtcMillis) {
        let Ok(path) = &leaf.path else { return };
        let end = path.valid_until();
        // Short-lived certificates are not in danger all their life: only in its last quarter.
        let quarter = end.since(path.leaf().not_before()) / 4;
        let early = i64::try_from(early.as_millis()).unwrap_or(i64::MAX).min(quarter);
        let whose =
            if end < path.leaf().not_after() { "its issuer's certificate" } else { "the certificate" };
        let text = format!("{whose} is valid until {}", end.to_wire());
        if end.since(now) < early {
            self.add(name, Outcome::Warning, format!("{text}; renew it"));
        } else {
            self.add(name, Outcome::Pass, text);
        }
    }

    pub(super) fn keys_differ<D: TrustDomain, F: TrustDomain>(&mut self, device: &Leaf<D>, chip: &Leaf<F>) {
        let (Some(device), Some(chip)) = (&device.certificate, &chip.certificate) else { return };
        if device.spki_der() == chip.spki_der() {
            self.add(
                CheckName::KeysDiffer,
                Outcome::Fail,
                "device key and chip key are one and the same key",
            );
        } else {
            self.add(CheckName::KeysDiffer, Outcome::Pass, "device key and chip key differ");
        }
    }
}

/// What a device says, fit for a log: short, and without control characters.
fn shown(text: &str) -> String {
    text.chars().take(100).flat_map(char::escape_debug).collect()
}

/// What is wrong with a certificate, which names its subject and issuer at any length: beginning and end, in one line.
fn in_short(text: &str) -> String {
    let escape = |c: char| match c {
        '"' | '\'' | '\\' => c.to_string(),
        c => c.escape_debug().to_string(),
    };
    let length = text.chars().count();
    if length <= 2 * MAX_SHOWN_END {
        return text.chars().map(escape).collect();
    }
    let start: String = text.chars().take(MAX_SHOWN_END).map(escape).collect();
    let end: String = text.chars().skip(length - MAX_SHOWN_END).map(escape).collect();
    format!("{start} ... {end}")
}

/// Equal but for letter case and runs of spaces.
fn same_words(a: &str, b: &str) -> bool {
    let words = |text: &str| text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>();
    words(a) == words(b)
}
