//! Issuing leaves: device and chip certificates, and what refusals are tested with.

use std::time::Duration;

use biotrust_model::time::UtcMillis;
use rcgen::{CertificateParams, IsCa, KeyUsagePurpose, SubjectPublicKeyInfo};

use super::mint::{mint_error, serial_number, set_validity};
use super::spec::distinguished_name;
use super::{Branch, Ca, MAX_CHIP_LIFETIME, TestPki, TestPkiError};
use crate::{Certificate, Csr, Domain};

/// Who issues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// The device provider.
    DeviceProvider,
    /// The FTM provider.
    FtmProvider,
    /// A root that nobody trusts, for negative tests.
    Stranger,
}

/// First and last second of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Not before.
    pub from: UtcMillis,
    /// Not after.
    pub to: UtcMillis,
}

impl Validity {
    /// From `now` for `lifetime`.
    #[must_use]
    pub fn starting(now: UtcMillis, lifetime: Duration) -> Self {
        Self { from: now, to: now.plus(lifetime) }
    }

    /// A validity of a day that ended a second before `now`.
    #[must_use]
    pub const fn expired(now: UtcMillis) -> Self {
        Self { from: UtcMillis(now.0 - 86_400_000), to: UtcMillis(now.0 - 1000) }
    }

    /// A validity of a day that begins a minute after `now`.
    #[must_use]
    pub const fn not_yet(now: UtcMillis) -> Self {
        Self { from: UtcMillis(now.0 + 60_000), to: UtcMillis(now.0 + 86_460_000) }
    }
}

/// A leaf certificate to issue, whatever its sense: for tests of every check.
#[derive(Debug, Clone)]
pub struct Order<'a> {
    /// Who issues.
    pub by: Authority,
    /// SubjectPublicKeyInfo of the subject, DER; RSA.
    pub spki_der: &'a [u8],
    /// `TYPE=value`, in the order of the encoding.
    pub subject: Vec<String>,
    /// When it is valid.
    pub validity: Validity,
}

impl TestPki {
    /// What the device provider's management server does: verifies the request and issues a device certificate, valid
    /// from `now`. The common name is the request's; the organisation is the provider's own, whatever was asked for.
    ///
    /// Returns the chain without its root: the certificate, then the provider's intermediates.
    ///
    /// # Errors
    /// When the request is not acceptable.
    pub fn issue_device_certificate(
        &self,
        csr_der: &[u8],
        now: UtcMillis,
        lifetime: Duration,
    ) -> Result<Vec<Vec<u8>>, TestPkiError> {
        let csr = Csr::verify(csr_der)?;
        let common_name = csr.subject().common_name().ok_or(TestPkiError::NoCommonName)?;
        self.issue(&Order {
            by: Authority::DeviceProvider,
            spki_der: csr.spki_der(),
            subject: self.subject_of(Domain::Device, common_name),
            validity: Validity::starting(now, lifetime),
        })
    }

    /// What the FTM provider does when a chip is made: issues a chip certificate for the public key in `spki_der`, with
    /// `ftm_serial` as its common name, valid from `now` for at most [`MAX_CHIP_LIFETIME`].
    ///
    /// Returns the chain without its root: the certificate, then the provider's intermediates.
    ///
    /// # Errors
    /// When the lifetime is too long or the key is not RSA.
    pub fn issue_chip_certificate(
        &self,
        spki_der: &[u8],
        ftm_serial: &str,
        now: UtcMillis,
        lifetime: Duration,
    ) -> Result<Vec<Vec<u8>>, TestPkiError> {
        if lifetime > MAX_CHIP_LIFETIME {
            return Err(TestPkiError::LifetimeTooLong(lifetime.as_secs() / 86_400));
        }
        self.issue(&Order {
            by: Authority::FtmProvider,
            spki_der,
            subject: self.subject_of(Domain::Ftm, ftm_serial),
            validity: Validity::starting(now, lifetime),
        })
    }

    /// Issues exactly what `order` says, sensible or not.
    ///
    /// Returns the chain without its root: the certificate, then the intermediates of whoever issued it.
    ///
    /// # Errors
    /// When a subject cannot be encoded or the key is not one that a certificate can hold.
    pub fn issue(&self, order: &Order<'_>) -> Result<Vec<Vec<u8>>, TestPkiError> {
        let (ca, above): (&Ca, &[Ca]) = match order.by {
            Authority::DeviceProvider => issuing(&self.device),
            Authority::FtmProvider => issuing(&self.ftm),
            Authority::Stranger => (&self.stranger, &[]),
        };
        let what = || format!("a certificate for {}", order.subject.join(", "));
        let key =
            SubjectPublicKeyInfo::from_der(order.spki_der).map_err(|error| mint_error(&what(), error))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(&order.subject)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial_number()?);
        set_validity(&mut params, order.validity.from, order.validity.to)?;
        let made = params.signed_by(&key, &ca.issuer).map_err(|error| mint_error(&what(), error))?;
        let made = Certificate::parse(made.der()).map_err(|error| mint_error(&what(), error))?;
        // Back ends follow the name, not the key: it must be the very bytes of the issuer's subject.
        if made.issuer().raw() != ca.certificate.subject().raw() {
            return Err(mint_error(&what(), "its issuer is not a copy of the CA's subject"));
        }
        let chain = std::iter::once(&made).chain(above.iter().rev().map(|ca| &ca.certificate));
        Ok(chain.map(|certificate| certificate.der().to_vec()).collect())
    }

    /// The organisation of whoever issues in `domain`, and this common name.
    #[must_use]
    pub fn subject_of(&self, domain: Domain, common_name: &str) -> Vec<String> {
        vec![format!("O={}", self.organisation(domain)), format!("CN={common_name}")]
    }
}

/// Whoever issues leaves, and the intermediates up to it, root's first.
fn issuing(branch: &Branch) -> (&Ca, &[Ca]) {
    (branch.issuing(), &branch.intermediates)
}
