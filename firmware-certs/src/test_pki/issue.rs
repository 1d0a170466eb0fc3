//! Issuing leaves: device and chip certificates, and what refusals are tested with.

use std::time::Duration;

use biotrust_model::time::UtcMillis;

use super::spec::subject;
use super::{Ca, MAX_CHIP_LIFETIME, TestPki, TestPkiError};
use crate::issue::{self, AltName, CERTIFICATE_SIGNING, DIGITAL_SIGNATURE, Template, Validity};
use crate::{Certificate, Csr, Domain, SignerPurpose};

/// Who issues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// The device provider.
    DeviceProvider,
    /// Another device provider, as trusted as the first: for attacks across providers.
    OtherProvider,
    /// The FTM provider.
    FtmProvider,
    /// The identity authority.
    Adopter,
    /// A root that nobody trusts, for negative tests.
    Stranger,
}

/// A certificate to issue, whatever its sense: for tests of every check.
#[derive(Debug, Clone)]
pub struct Order<'a> {
    /// Who issues.
    pub by: Authority,
    /// SubjectPublicKeyInfo of the subject, DER.
    pub spki_der: &'a [u8],
    /// `TYPE=value`, in the order of the encoding.
    pub subject: Vec<String>,
    /// When it is valid.
    pub validity: Validity,
    /// Dotted object identifiers; without any there is no such extension.
    pub extended_key_usages: Vec<String>,
    /// A CA that may sign certificates, and nothing else.
    pub is_ca: bool,
    /// Its limit, where it is a CA.
    pub path_len: Option<u8>,
}

impl<'a> Order<'a> {
    /// A leaf that may sign data, without an extended key usage.
    #[must_use]
    pub const fn leaf(by: Authority, spki_der: &'a [u8], subject: Vec<String>, validity: Validity) -> Self {
        Self {
            by,
            spki_der,
            subject,
            validity,
            extended_key_usages: Vec::new(),
            is_ca: false,
            path_len: None,
        }
    }
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
        let (ca, above) = self.issuing(Authority::DeviceProvider);
        let made = issue::device_certificate(ca, &csr, Validity::starting(now, lifetime))?;
        Ok(chain(&made, &above))
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
        let subject = self.subject_of(Domain::Ftm, ftm_serial);
        let validity = Validity::starting(now, lifetime);
        self.issue(&Order::leaf(Authority::FtmProvider, spki_der, subject, validity))
    }

    /// The certificate of the attestation key of the TPM that is the chip `ftm_serial`: under its name, as
    /// [`Self::issue_chip_certificate`], and for nothing but that.
    ///
    /// # Errors
    /// When the key is not one that a certificate can hold.
    pub fn issue_attestation_certificate(
        &self,
        spki_der: &[u8],
        ftm_serial: &str,
        now: UtcMillis,
        lifetime: Duration,
    ) -> Result<Vec<Vec<u8>>, TestPkiError> {
        let subject = self.subject_of(Domain::Ftm, ftm_serial);
        self.issue(&Order {
            extended_key_usages: vec![SignerPurpose::AttestationKey.oid().to_owned()],
            ..Order::leaf(Authority::FtmProvider, spki_der, subject, Validity::starting(now, lifetime))
        })
    }

    /// Issues exactly what `order` says, sensible or not.
    ///
    /// Returns the chain without its root: the certificate, then the intermediates of whoever issued it.
    ///
    /// # Errors
    /// When a subject cannot be encoded or the key is not one that a certificate can hold.
    pub fn issue(&self, order: &Order<'_>) -> Result<Vec<Vec<u8>>, TestPkiError> {
        self.issue_with_names(order, &[])
    }

    pub(super) fn issue_with_names(
        &self,
        order: &Order<'_>,
        alt_names: &[AltName],
    ) -> Result<Vec<Vec<u8>>, TestPkiError> {
        let (ca, above) = self.issuing(order.by);
        let made = issue::certificate(
            ca,
            &Template {
                subject: subject(&order.subject)?,
                spki_der: order.spki_der,
                validity: order.validity,
                is_ca: order.is_ca,
                path_len: order.path_len.filter(|_| order.is_ca),
                key_usage: if order.is_ca { CERTIFICATE_SIGNING } else { DIGITAL_SIGNATURE },
                extended_key_usages: &order.extended_key_usages,
                alt_names,
            },
        )?;
        Ok(chain(&made, &above))
    }

    /// The organisation of whoever issues in `domain`, and this common name.
    #[must_use]
    pub fn subject_of(&self, domain: Domain, common_name: &str) -> Vec<String> {
        vec![format!("O={}", self.organisation(domain)), format!("CN={common_name}")]
    }

    /// Whoever issues leaves for `by`, and the intermediates up to it, its own first.
    pub(super) fn issuing(&self, by: Authority) -> (&Ca, Vec<&Ca>) {
        let branch = match by {
            Authority::DeviceProvider => &self.device,
            Authority::FtmProvider => &self.ftm,
            Authority::Adopter => &self.adopter,
            Authority::OtherProvider => return (&self.other_provider, vec![&self.other_provider]),
            Authority::Stranger => return (&self.stranger, Vec::new()),
        };
        (branch.issuing(), branch.intermediates.iter().rev().collect())
    }
}

fn chain(leaf: &Certificate, above: &[&Ca]) -> Vec<Vec<u8>> {
    let chain = std::iter::once(leaf).chain(above.iter().map(|ca| &ca.certificate));
    chain.map(|certificate| certificate.der().to_vec()).collect()
}
