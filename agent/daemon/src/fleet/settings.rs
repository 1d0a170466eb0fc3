//! What the fleet is told at the start: policy, trust stores, certificates to encrypt for.

use std::collections::BTreeMap;
use std::time::Duration;

use biotrust_attest::Policy;
use biotrust_attest::metadata::Metadata;
use biotrust_certs::{DeviceStore, FtmStore};
use biotrust_driver_api::DigitalIdKey;
use biotrust_model::{Env, Language, Purpose};
use biotrust_sbi::session::EncryptionCertificate;

/// Policy; see docs/users/configuration.md for each.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Serve only devices of this purpose.
    pub purpose: Option<Purpose>,
    /// Environment that devices are reported in.
    pub env: Env,
    /// Language of `errorInfo`.
    pub language: Language,
    /// Let L0 devices answer CAPTURE (tests only; MOSIP's back end refuses them).
    pub allow_l0_auth: bool,
    /// Who signs the digital ID of L1 registration captures.
    pub digital_id_key: DigitalIdKey,
    /// List the chip certificate in the data block's `x5c` of L1 registration captures.
    pub append_chip_certificate: bool,
    /// How long before the deadline a device must be done, so that the answer is never late.
    pub finish_margin: Duration,
    /// How long before a request's timeout its answer is due, for clients that give up at the timeout itself.
    pub answer_early: Duration,
    /// How long a signed device info may be served again.
    pub info_reuse: Duration,
    /// Upper bound on a capture, whatever the client asks for.
    pub hard_ceiling: Option<Duration>,
    /// Live previews of one device at a time.
    pub streams_per_device: usize,
    /// Base URL of the service, with a slash at the end.
    pub callback_id: String,
    /// What devices must prove.
    pub attestation: Attestation,
    /// Whether a device that does not know the time is Not Ready.
    pub require_time: bool,
}

/// What devices must prove, and how often.
#[derive(Debug, Clone)]
pub struct Attestation {
    /// How often a device that stood up is asked again.
    pub interval: Duration,
    /// Refuse an L1 device that cannot prove anything, instead of serving it as L0.
    pub required: bool,
    /// How evidence is judged. The floor of the security version is raised to what was seen of a chip.
    pub policy: Policy,
}

impl Default for Attestation {
    /// Once a day; what proves nothing is served as L0; without metadata, a proven trust module makes L1.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(86_400),
            required: false,
            policy: Policy { l1_without_metadata: true, ..Policy::default() },
        }
    }
}

/// Whom to believe and whom to encrypt for.
#[derive(Debug)]
pub struct Trust {
    /// Anchors of device certificates.
    pub device: DeviceStore,
    /// Anchors of chip certificates.
    pub ftm: FtmStore,
    /// Certificates of authentication servers; replaced by [`super::Fleet::set_encryption`].
    pub encryption: Encryption,
    /// What the adopter says about models; replaced by [`super::Fleet::set_models`]. None where there is no such metadata.
    pub models: Option<Metadata>,
}

/// A certificate to encrypt for, with what leads to its anchor.
#[derive(Debug)]
pub struct EncryptionTarget {
    /// The certificate.
    pub certificate: EncryptionCertificate,
    /// The same, with its chain; leaf first, DER.
    pub chain: Vec<Vec<u8>>,
}

/// Which certificate to encrypt for, by `domainUri`.
#[derive(Debug, Default)]
pub struct Encryption {
    /// Where no other fits.
    pub default: Option<EncryptionTarget>,
    /// By exact `domainUri`.
    pub domains: BTreeMap<String, EncryptionTarget>,
}

impl Encryption {
    /// The certificate for `domain_uri`.
    #[must_use]
    pub fn target(&self, domain_uri: &str) -> Option<&EncryptionTarget> {
        self.domains.get(domain_uri).or(self.default.as_ref())
    }

    /// Everything there is, by domain; the default under "".
    pub fn all(&self) -> impl Iterator<Item = (&str, &EncryptionTarget)> {
        let default = self.default.iter().map(|target| ("", target));
        default.chain(self.domains.iter().map(|(domain, target)| (domain.as_str(), target)))
    }
}
