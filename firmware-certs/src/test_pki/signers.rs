//! Signers with a purpose, TLS servers, and the provider's issuing key: what stand-ins for servers are made of.

use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::RsaKeyPair;
use biotrust_model::Secret;
use biotrust_model::time::UtcMillis;

use super::mint::mint_error;
use super::{Authority, Order, TestPki, TestPkiError};
use crate::SignerPurpose;
use crate::issue::{AltName, Validity, public_key_info, sign_rs256};

/// Extended key usage of a TLS server.
const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";

/// Life of what [`TestPki::signer`] and [`TestPki::tls_server`] make.
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// An RSA-2048 key that lives in memory, with its certificate.
pub struct TestSigner {
    /// Certificate chain without its root, leaf first.
    pub chain: Vec<Vec<u8>>,
    key: RsaKeyPair,
    pkcs8: Secret,
}

impl TestSigner {
    /// RSASSA-PKCS1-v1_5 with SHA-256 over `message`; empty if the library fails, which no verifier takes.
    #[must_use]
    pub fn sign_rs256(&self, message: &[u8]) -> Vec<u8> {
        sign_rs256(&self.key, message).unwrap_or_default()
    }

    /// The private key: PKCS#8, DER.
    #[must_use]
    pub fn pkcs8(&self) -> Secret {
        Secret::new(self.pkcs8.expose().to_vec())
    }
}

impl std::fmt::Debug for TestSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TestSigner({} certificates)", self.chain.len())
    }
}

impl TestPki {
    /// Issues a signer's certificate for the key in `spki_der`, by whoever issues for that purpose: the device provider
    /// (management messages, firmware), the identity authority (model metadata) or the FTM provider (attestation keys).
    ///
    /// Returns the chain without its root.
    ///
    /// # Errors
    /// When the key is not one that a certificate can hold.
    pub fn issue_signer(
        &self,
        purpose: SignerPurpose,
        spki_der: &[u8],
        now: UtcMillis,
        lifetime: Duration,
    ) -> Result<Vec<Vec<u8>>, TestPkiError> {
        self.issue_signer_by(usual_authority(purpose), purpose, spki_der, now, lifetime)
    }

    /// The same by anybody: a management signer of [`Authority::OtherProvider`], a metadata signer of a stranger …
    ///
    /// # Errors
    /// As [`Self::issue_signer`].
    pub fn issue_signer_by(
        &self,
        by: Authority,
        purpose: SignerPurpose,
        spki_der: &[u8],
        now: UtcMillis,
        lifetime: Duration,
    ) -> Result<Vec<Vec<u8>>, TestPkiError> {
        let subject = vec![format!("O={}", self.organisation_of(by)), format!("CN=Signer of {purpose}")];
        self.issue(&Order {
            extended_key_usages: vec![purpose.oid().to_owned()],
            ..Order::leaf(by, spki_der, subject, Validity::starting(now, lifetime))
        })
    }

    /// Makes a key and has its certificate issued, valid for a year from `now`. Blocking: some 100 ms of CPU.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn signer(&self, purpose: SignerPurpose, now: UtcMillis) -> Result<TestSigner, TestPkiError> {
        self.signer_by(usual_authority(purpose), purpose, now)
    }

    /// The same by anybody.
    ///
    /// # Errors
    /// As [`Self::signer`].
    pub fn signer_by(
        &self,
        by: Authority,
        purpose: SignerPurpose,
        now: UtcMillis,
    ) -> Result<TestSigner, TestPkiError> {
        make(|spki| self.issue_signer_by(by, purpose, spki, now, YEAR))
    }

    /// Key and chain of a TLS server that is reached by `names` (host names and addresses), of the device provider;
    /// valid for a year from `now`. The key is PKCS#8, DER. Blocking: some 100 ms of CPU.
    ///
    /// # Errors
    /// When a name cannot be encoded or no key can be made.
    pub fn tls_server(&self, names: &[&str], now: UtcMillis) -> Result<(Vec<Vec<u8>>, Secret), TestPkiError> {
        self.tls_server_by(Authority::DeviceProvider, names, now)
    }

    /// The same by anybody.
    ///
    /// # Errors
    /// As [`Self::tls_server`].
    pub fn tls_server_by(
        &self,
        by: Authority,
        names: &[&str],
        now: UtcMillis,
    ) -> Result<(Vec<Vec<u8>>, Secret), TestPkiError> {
        let alt_names: Vec<AltName> = names.iter().map(|name| AltName::of(name)).collect();
        let subject = vec![format!("O={}", self.organisation_of(by)), "CN=Server".to_owned()];
        let made = make(|spki_der| {
            let order = Order {
                extended_key_usages: vec![SERVER_AUTH.to_owned()],
                ..Order::leaf(by, spki_der, subject, Validity::starting(now, YEAR))
            };
            self.issue_with_names(&order, &alt_names)
        })?;
        Ok((made.chain, made.pkcs8))
    }

    /// The device provider's issuing key: PKCS#8, DER. For a management server that keeps its key in a file.
    #[must_use]
    pub fn provider_key_pkcs8(&self) -> Secret {
        Secret::new(self.device.issuing().issuer.key().serialize_der())
    }

    /// The certificate of [`Self::provider_key_pkcs8`], then the intermediates above it; the root is in the anchors.
    #[must_use]
    pub fn provider_chain_der(&self) -> Vec<Vec<u8>> {
        let (ca, above) = self.issuing(Authority::DeviceProvider);
        // A provider whose root issues has no intermediate: the root is then the certificate of the key.
        let chain = if above.is_empty() { vec![ca] } else { above };
        chain.iter().map(|ca| ca.certificate.der().to_vec()).collect()
    }

    /// Organisation of an authority.
    #[must_use]
    pub fn organisation_of(&self, by: Authority) -> &str {
        self.issuing(by).0.certificate.subject().organisation().unwrap_or_default()
    }

    /// Root and issuing certificates of the identity authority: what model metadata is checked against.
    ///
    /// # Errors
    /// Never for a PKI that was minted; the store reads the certificates anew.
    pub fn adopter_store(&self) -> Result<crate::AdopterStore, crate::StoreError> {
        self.store()
    }
}

const fn usual_authority(purpose: SignerPurpose) -> Authority {
    match purpose {
        SignerPurpose::Management | SignerPurpose::Firmware => Authority::DeviceProvider,
        SignerPurpose::Metadata => Authority::Adopter,
        SignerPurpose::AttestationKey => Authority::FtmProvider,
    }
}

fn make(issue: impl FnOnce(&[u8]) -> Result<Vec<Vec<u8>>, TestPkiError>) -> Result<TestSigner, TestPkiError> {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|error| mint_error("an RSA key", error))?;
    let pkcs8: Pkcs8V1Der<'_> = key.as_der().map_err(|error| mint_error("an RSA key", error))?;
    let pkcs8 = Secret::new(pkcs8.as_ref().to_vec());
    let spki = public_key_info(&key).map_err(|error| mint_error("an RSA key", error))?;
    Ok(TestSigner { chain: issue(&spki)?, key, pkcs8 })
}
