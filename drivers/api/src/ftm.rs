//! A foundational trust module: where private keys live and never leave.

use biotrust_model::Secret;
use biotrust_model::evidence::{Binding, CertifiedKey, FtmKind, KeySlot, Proof};

/// Why an FTM could not do it.
#[derive(Debug, thiserror::Error)]
pub enum FtmError {
    /// No key under this name; the device has not been enrolled, or its key was destroyed.
    #[error("no key {0}")]
    NoKey(String),
    /// The key is there but unusable: wrong owner or mode, unreadable, not an RSA-2048 key.
    #[error("key {name} is unusable: {why}")]
    Unusable {
        /// Name of the key.
        name: String,
        /// What is wrong with it and what to do.
        why: String,
    },
    /// The module cannot work until somebody does something: locked out, cleared, not provisioned, no EK certificate …
    #[error("{state}: {next}")]
    State {
        /// What state it is in, in one sentence.
        state: String,
        /// What to do about it.
        next: String,
    },
    /// This kind of module cannot do that.
    #[error("this trust module cannot {0}")]
    Unsupported(&'static str),
    /// The module failed.
    #[error("{doing}: {why}")]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// What went wrong.
        why: String,
    },
}

/// A device key that is loaded and can sign. Dropping it unloads it.
pub trait KeyHandle: Send {
    /// RS256: RSASSA-PKCS1-v1_5 over SHA-256 of `message`, as long as the modulus (256 bytes for RSA-2048).
    ///
    /// # Errors
    /// When the module fails.
    fn sign_rs256(&mut self, message: &[u8]) -> Result<Vec<u8>, FtmError>;

    /// SubjectPublicKeyInfo, DER.
    fn public_key_der(&self) -> &[u8];
}

/// An FTM that holds device keys by name. Keys are RSA-2048, made inside, not exportable through this trait.
///
/// Blocking; one thread per FTM calls it.
pub trait Ftm: Send {
    /// Makes a new key in the `next` slot of `name`, replacing an unfinished one, and returns a PKCS#10 request (DER)
    /// for it with common name `common_name` and organisation `organisation`. The current key stays in use.
    ///
    /// # Errors
    /// When the module fails or its store cannot be written.
    fn begin_rotation(
        &mut self,
        name: &str,
        common_name: &str,
        organisation: &str,
    ) -> Result<Vec<u8>, FtmError>;

    /// Makes the `next` key of `name` the current one and forgets the old one, durably.
    ///
    /// # Errors
    /// `NoKey` when no rotation was begun.
    fn finish_rotation(&mut self, name: &str) -> Result<(), FtmError>;

    /// Loads the current key of `name`.
    ///
    /// # Errors
    /// `NoKey` when there is none.
    fn load(&mut self, name: &str) -> Result<Box<dyn KeyHandle>, FtmError>;

    /// SubjectPublicKeyInfo (DER) of the `next` key of `name`, where a rotation was begun.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn next_public_key(&mut self, name: &str) -> Result<Option<Vec<u8>>, FtmError>;

    /// Destroys all keys of `name`, so that a restart cannot bring them back.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn destroy(&mut self, name: &str) -> Result<(), FtmError>;

    /// What kind of module it is.
    fn kind(&self) -> FtmKind;

    /// Signs with the key of a rotation that has begun: a first registration has no other key to sign with.
    ///
    /// # Errors
    /// `NoKey` when no rotation was begun.
    fn sign_next_rs256(&mut self, name: &str, message: &[u8]) -> Result<Vec<u8>, FtmError>;

    /// Proves, bound to `binding`, what the module can prove: its identity, its state, and where `key` is given, that
    /// this device key was born in it. Software has nothing to prove and says so ([`Proof::Software`]).
    ///
    /// # Errors
    /// `NoKey` where there is no such key, `State` where the module is not provisioned.
    fn prove(&mut self, binding: &Binding, key: Option<(&str, KeySlot)>) -> Result<Proof, FtmError>;

    /// Certificate of the chip key and what leads to its anchor, DER; empty where the module has none.
    ///
    /// # Errors
    /// When the module fails.
    fn identity_chain(&mut self) -> Result<Vec<Vec<u8>>, FtmError> {
        Ok(Vec::new())
    }

    /// Signs with the chip key (RS256).
    ///
    /// # Errors
    /// `Unsupported` where the module has no chip key.
    fn sign_identity_rs256(&mut self, message: &[u8]) -> Result<Vec<u8>, FtmError> {
        let _ = message;
        Err(FtmError::Unsupported("sign as a chip: it has no chip key"))
    }

    /// What a CA needs to issue certificates for the module's identity and attestation keys, in the name of `common_name`
    /// and `organisation`; `binding` is of the CA's challenge.
    ///
    /// # Errors
    /// `Unsupported` where the module has no chip key.
    fn identity_request(
        &mut self,
        common_name: &str,
        organisation: &str,
        binding: &Binding,
    ) -> Result<IdentityRequest, FtmError> {
        let _ = (common_name, organisation, binding);
        Err(FtmError::Unsupported("be certified: it has no chip key"))
    }

    /// Opens a secret that a CA protected for the attestation key of this very module: contents of TPM2B_ID_OBJECT and
    /// TPM2B_ENCRYPTED_SECRET, without their outer sizes. To answer with it proves both.
    ///
    /// # Errors
    /// `Unsupported` where the module has no chip key; otherwise when it was protected for another module or key.
    fn activate(&mut self, credential: &[u8], secret: &[u8]) -> Result<Secret, FtmError> {
        let _ = (credential, secret);
        Err(FtmError::Unsupported("be certified: it has no chip key"))
    }

    /// Keeps the certificates (DER, own one first) of the identity and the attestation key, in the place of those that
    /// were there.
    ///
    /// # Errors
    /// `Unsupported` where the module has no chip key, `Unusable` where they are not for its keys.
    fn install_certificates(
        &mut self,
        identity: &[Vec<u8>],
        attestation: &[Vec<u8>],
    ) -> Result<(), FtmError> {
        let _ = (identity, attestation);
        Err(FtmError::Unsupported("be certified: it has no chip key"))
    }

    /// How often the module forgot its volatile state (`resetCount` of a TPM): a clock offset holds for as long as it
    /// stays. `None` where the module does not count.
    ///
    /// # Errors
    /// When the module fails.
    fn reset_count(&mut self) -> Result<Option<u32>, FtmError> {
        Ok(None)
    }

    /// Called when there is nothing else to do: makes the next key ahead of time, so that a rotation never waits for it.
    /// Tells whether there is more to do.
    ///
    /// # Errors
    /// When the module fails; harmless, [`Self::begin_rotation`] makes a key then.
    fn idle(&mut self) -> Result<bool, FtmError> {
        Ok(false)
    }

    /// What a technician should know about the module, one sentence each; empty where all is well.
    fn notices(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// What a CA needs to issue certificates for the keys of a TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityRequest {
    /// Certificate of the endorsement key, DER.
    pub ek_certificate: Vec<u8>,
    /// The endorsement key, SubjectPublicKeyInfo, DER.
    pub ek_public_key: Vec<u8>,
    /// TPMT_PUBLIC of the attestation key.
    pub attestation_public: Vec<u8>,
    /// PKCS#10 request (DER) for the attestation key.
    pub attestation_request: Vec<u8>,
    /// The identity key, certified by the attestation key for the binding that was given.
    pub identity: CertifiedKey,
    /// PKCS#10 request (DER) for the identity key.
    pub identity_request: Vec<u8>,
}

/// Keeps a small secret of this host so that its files alone do not give it away: a TPM.
pub trait Sealer: Send {
    /// Seals up to 128 bytes; the answer may be stored anywhere.
    ///
    /// # Errors
    /// When the module fails or is in a state that forbids it.
    fn seal(&mut self, secret: &[u8]) -> Result<Vec<u8>, FtmError>;

    /// Opens what [`Self::seal`] made in this very module.
    ///
    /// # Errors
    /// `Unusable` where the blob is of another module or damaged; `State` and `Failed` as everywhere.
    fn unseal(&mut self, sealed: &[u8]) -> Result<Secret, FtmError>;
}
