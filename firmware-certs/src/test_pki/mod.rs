//! Test PKI: every certificate that a simulated deployment needs, minted at start.
//!
//! For simulators, demonstrations and tests; nothing in it is trusted by a deployment that does not install its anchors.
//! Private keys live in memory only and end with the process. Cost: eight RSA-2048 keys for the default
//! specification, made in parallel; 0.3 to 1 s of CPU on a current core (see [`TestPki::mint`]).

mod issue;
mod mint;
mod signers;
mod spec;

use std::time::Duration;

use biotrust_model::Secret;
use rcgen::KeyPair;

pub use issue::{Authority, Order};
pub use signers::TestSigner;

use crate::issue::{IssueError, IssuerKey, IssuerKeyError};
use crate::{Certificate, CsrError, Domain, TrustDomain, TrustStore};

/// Longest life of a chip certificate: 20 years, leap days included.
pub const MAX_CHIP_LIFETIME: Duration = Duration::from_secs(7305 * 86_400);

/// Why the test PKI could not be minted, or would not issue.
#[derive(Debug, thiserror::Error)]
pub enum TestPkiError {
    /// The specification is not what it should be; the text names the line.
    #[error("test PKI specification: {0}")]
    Spec(String),
    /// A part of a subject.
    #[error("subject attribute {attribute:?}: {why}")]
    Subject {
        /// The attribute as written.
        attribute: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Key generation or encoding failed.
    #[error("cannot make {what}: {why}")]
    Mint {
        /// What was being made.
        what: String,
        /// What went wrong.
        why: String,
    },
    /// The request is not acceptable.
    #[error("certificate request: {0}")]
    Csr(#[from] CsrError),
    /// The certificate cannot be issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// A chip certificate for more than [`MAX_CHIP_LIFETIME`].
    #[error("{0} days are too many for a chip certificate; 20 years are the limit")]
    LifetimeTooLong(u64),
}

/// A CA: its certificate, and its key with the name that it issues under.
pub(crate) struct Ca {
    certificate: Certificate,
    issuer: rcgen::Issuer<'static, KeyPair>,
}

impl IssuerKey for Ca {
    fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    fn sign_rs256(&self, message: &[u8]) -> Result<Vec<u8>, IssuerKeyError> {
        rcgen::SigningKey::sign(self.issuer.key(), message).map_err(|error| IssuerKeyError(error.to_string()))
    }
}

/// A domain: root first, whoever issues last.
struct Branch {
    root: Ca,
    intermediates: Vec<Ca>,
}

/// All authorities of a simulated deployment, with their keys.
pub struct TestPki {
    adopter: Branch,
    encryption: Certificate,
    encryption_key: KeyPair,
    device: Branch,
    /// Another provider below the root of `device`.
    other_provider: Ca,
    ftm: Branch,
    stranger: Ca,
}

impl TestPki {
    /// The specification that is used unless another one is given: `test-pki.toml`.
    pub const DEFAULT_SPEC: &str = include_str!("../../test-pki.toml");

    /// Root and intermediate certificates of a domain, root first: what a relying party holds.
    #[must_use]
    pub fn anchors_pem(&self, domain: Domain) -> String {
        let other = (domain == Domain::Device).then_some(&self.other_provider);
        self.branch(domain).cas().chain(other).map(|ca| ca.certificate.to_pem()).collect()
    }

    /// The same as a store.
    ///
    /// # Errors
    /// Never for a PKI that was minted; the store reads the certificates anew.
    pub fn store<D: TrustDomain>(&self) -> Result<TrustStore<D>, crate::StoreError> {
        TrustStore::from_bytes("test PKI", self.anchors_pem(D::DOMAIN).as_bytes())
    }

    /// The adopter's root: what the encryption certificate is checked against.
    #[must_use]
    pub fn adopter_anchor_pem(&self) -> String {
        self.adopter.root.certificate.to_pem()
    }

    /// The certificate that captures are encrypted for (the back end's application IDA, reference IDA-FIR).
    #[must_use]
    pub const fn ida_certificate(&self) -> &Certificate {
        &self.encryption
    }

    /// The same in PEM.
    #[must_use]
    pub fn ida_certificate_pem(&self) -> String {
        self.encryption.to_pem()
    }

    /// Its private key: PKCS#8 in PEM. With it the stand-in for the back end opens captures.
    #[must_use]
    pub fn ida_key_pkcs8_pem(&self) -> Secret {
        Secret::new(self.encryption_key.serialize_pem().into_bytes())
    }

    /// Organisation of whoever issues leaves in `domain`: the legal name of the simulated provider.
    #[must_use]
    pub fn organisation(&self, domain: Domain) -> &str {
        self.branch(domain).issuing().certificate.subject().organisation().unwrap_or_default()
    }

    const fn branch(&self, domain: Domain) -> &Branch {
        match domain {
            Domain::Device => &self.device,
            Domain::Ftm => &self.ftm,
            Domain::Adopter => &self.adopter,
        }
    }
}

impl Branch {
    /// Root first.
    fn cas(&self) -> impl Iterator<Item = &Ca> {
        std::iter::once(&self.root).chain(&self.intermediates)
    }

    fn issuing(&self) -> &Ca {
        self.intermediates.last().unwrap_or(&self.root)
    }
}

impl std::fmt::Debug for TestPki {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.device.cas().chain(self.ftm.cas()).map(|ca| ca.certificate.subject());
        f.debug_set().entries(names).finish()
    }
}

#[cfg(test)]
mod tests;
