//! Provisioning: a TPM becomes a chip of a device provider.
//!
//! The provider's CA gets the publics of the keys with requests for certificates, sees by credential activation that the
//! attestation key lives in the TPM that the EK certificate speaks of, sees by its certification that the identity key
//! lives in the same TPM, and issues certificates for both.

use biotrust_driver_api::FtmError;
use biotrust_model::Secret;
use biotrust_model::evidence::Binding;
use tss_esapi::constants::SessionType;
use tss_esapi::handles::{AuthHandle, SessionHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{EncryptedSecret, IdObject, Nonce, SymmetricDefinition};

use crate::chip::Chip;
use crate::endorsement;
use crate::error::{Doing, Fault, Result};
use crate::proof::marshalled;
use crate::{certificates, csr, spki};

pub use biotrust_driver_api::IdentityRequest;

const ACTIVATING: &str = "activating a credential";

impl Chip {
    /// Requests certificates for subject `common_name`, `organisation`.
    pub(crate) fn identity_request(
        &mut self,
        common_name: &str,
        organisation: &str,
        binding: &Binding,
    ) -> Result<IdentityRequest> {
        let (idevid, iak) = (self.idevid.clone(), self.iak.clone());
        Ok(IdentityRequest {
            ek_certificate: self.endorsement.certificate.clone(),
            ek_public_key: spki::spki(&self.endorsement.public)?,
            attestation_public: marshalled(&iak.public)?,
            attestation_request: csr::request(&iak.spki, common_name, organisation, &mut |message| {
                self.sign_restricted(iak.handle, message)
            })?,
            identity: self.certified_identity(binding)?,
            identity_request: csr::request(&idevid.spki, common_name, organisation, &mut |message| {
                self.sign(idevid.handle, message)
            })?,
        })
    }

    /// Opens a secret that was protected for the attestation key in this TPM.
    pub(crate) fn activate(&mut self, credential: &[u8], secret: &[u8]) -> Result<Secret> {
        let credential = IdObject::try_from(credential).doing(ACTIVATING)?;
        let secret = EncryptedSecret::try_from(secret).doing(ACTIVATING)?;
        let (ek, public) = endorsement::derive(&mut self.context)?;
        let activated = if public == self.endorsement.public {
            self.with_ek_policy(|chip, policy| {
                let sessions = (Some(chip.session), Some(policy), None);
                let iak = chip.iak.handle;
                chip.context
                    .execute_with_sessions(sessions, |context| {
                        context.activate_credential(iak, ek, credential, secret)
                    })
                    .doing(ACTIVATING)
            })
        } else {
            Err(Fault::Known(FtmError::Failed {
                doing: ACTIVATING,
                why: "the endorsement key changed".into(),
            }))
        };
        let flushed = self.context.flush_context(ek.into()).doing(ACTIVATING);
        let activated = activated?;
        flushed?;
        Ok(Secret::new(activated.value().to_vec()))
    }

    /// Fulfils the policy of the endorsement key: the password of its hierarchy, which is usually none.
    fn with_ek_policy<T>(&mut self, work: impl FnOnce(&mut Self, AuthSession) -> Result<T>) -> Result<T> {
        let session = self.context.execute_without_session(|context| {
            context.start_auth_session(
                None,
                None,
                None,
                SessionType::Policy,
                SymmetricDefinition::AES_128_CFB,
                HashingAlgorithm::Sha256,
            )
        });
        let session = session.doing(ACTIVATING)?.ok_or_else(|| {
            Fault::Known(FtmError::Failed { doing: ACTIVATING, why: "there is no session".into() })
        })?;
        let fulfilled = PolicySession::try_from(session).and_then(|policy| {
            self.context.policy_secret(
                policy,
                AuthHandle::Endorsement,
                Nonce::default(),
                Default::default(),
                Nonce::default(),
                None,
            )
        });
        let done = fulfilled.doing(ACTIVATING).and_then(|_| work(self, session));
        // It is gone already where it did its work: a session of one use.
        let _ = self.context.flush_context(SessionHandle::from(session).into());
        done
    }

    /// Keeps the certificates of the identity and the attestation key with what leads to their anchors.
    pub(crate) fn install(&mut self, identity: &[Vec<u8>], attestation: &[Vec<u8>]) -> Result<()> {
        let mut bag: Vec<Vec<u8>> = Vec::new();
        for certificate in identity.iter().chain(attestation) {
            if !bag.contains(certificate) {
                bag.push(certificate.clone());
            }
        }
        for (what, key) in [("identity", &self.idevid), ("attestation", &self.iak)] {
            if certificates::chain(&bag, &key.spki).is_empty() {
                return Err(FtmError::Unusable {
                    name: format!("of the {what} certificate"),
                    why: "none of the certificates is for that key of this TPM".into(),
                }
                .into());
            }
        }
        certificates::write(&mut self.context, &bag)?;
        self.certificates = bag;
        Ok(())
    }
}
