//! The chip certificate: path, life, key.

use biotrust_certs::{Certificate, Ftm, MAX_CHIP_LIFETIME, MIN_RSA_BITS, SignerPurpose, VerifiedPath};
use biotrust_model::evidence::FtmKind;
use biotrust_model::time::UtcMillis;

use super::{CheckName, Expected, Finding, Outcome, Report};
use crate::evidence::Payload;
use crate::shown;
use crate::signed::Parsed;

/// The certificate of the key that signed the evidence of a module.
pub(super) struct Chip {
    pub(super) certificate: Certificate,
    /// SHA-256 of the authorities on its path, the anchor last; empty where there is no path.
    pub(super) authorities: Vec<String>,
    /// When the first certificate of its path ends.
    pub(super) valid_until: Option<UtcMillis>,
}

impl Chip {
    /// Judges it. `None` for software, and where the evidence shows no certificate.
    pub(super) fn judge(
        report: &mut Report,
        parsed: &Parsed,
        payload: &Payload,
        expected: &Expected<'_>,
    ) -> Option<Self> {
        const CHECKS: [CheckName; 3] = [CheckName::ChipPath, CheckName::ChipLifetime, CheckName::ChipKey];
        if payload.kind() == FtmKind::Software {
            CHECKS.into_iter().for_each(|name| report.add(name, Outcome::NotChecked, "software has no chip"));
            return None;
        }
        let certificate = parsed.leaf()?.clone();
        let path = path(certificate.der(), expected);
        report.judge(CheckName::ChipPath, path.as_ref().map(describe).map_err(Clone::clone));
        report.judge(CheckName::ChipLifetime, lifetime(&certificate));
        report.judge(CheckName::ChipKey, not_attesting(&certificate).and_then(|()| key(&certificate)));
        let authorities = path.iter().flat_map(VerifiedPath::issuers).map(Certificate::sha256).collect();
        let valid_until = path.as_ref().ok().map(VerifiedPath::valid_until);
        Some(Self { certificate, authorities, valid_until })
    }
}

/// Path of a module's certificate to an anchor of domain FTM.
pub(super) fn path(der: &[u8], expected: &Expected<'_>) -> Result<VerifiedPath<Ftm>, String> {
    let path = expected.ftm.verify(der, expected.now);
    path.map_err(|error| shown::sentence(&error.to_string()))
}

fn describe(path: &VerifiedPath<Ftm>) -> String {
    let anchor = path.issuers().last().map(|anchor| anchor.subject().to_string()).unwrap_or_default();
    format!("trusted under \"{}\" until {}", shown::value(&anchor), path.valid_until().to_wire())
}

/// At most 20 years.
pub(super) fn lifetime(certificate: &Certificate) -> Finding {
    let span = certificate.not_after().since(certificate.not_before());
    let days = span / 86_400_000;
    if span > i64::try_from(MAX_CHIP_LIFETIME.as_millis()).unwrap_or(i64::MAX) {
        return Err(format!("the certificate lives {days} days; 20 years are allowed"));
    }
    Ok(format!("lives {days} days"))
}

/// Not the attestation key of a TPM. That one signs what it is given too, unless it looks like the TPM's own words: a host
/// could play a whole SPDM module with it.
fn not_attesting(certificate: &Certificate) -> Result<(), String> {
    match certificate.has_purpose(SignerPurpose::AttestationKey) {
        true => {
            Err("it is the certificate of a TPM's attestation key; a chip key needs one of its own"
                .to_owned())
        }
        false => Ok(()),
    }
}

/// RSA of 2048 bits or more, not a CA's, and to sign data.
pub(super) fn key(certificate: &Certificate) -> Finding {
    if certificate.is_ca() {
        return Err("it is the certificate of a CA; a chip needs one of its own".to_owned());
    }
    if !certificate.may_sign_data() {
        return Err("its key usage does not let it sign data".to_owned());
    }
    match certificate.rsa_bits() {
        None => Err("the key is not RSA; back ends verify nothing else".to_owned()),
        Some(bits) if bits < MIN_RSA_BITS => {
            Err(format!("RSA key of {bits} bits; {MIN_RSA_BITS} or more are needed"))
        }
        Some(bits) => Ok(format!("RSA key of {bits} bits")),
    }
}
