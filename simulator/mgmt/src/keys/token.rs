//! The issuing key in a PKCS#11 token: an HSM, or SoftHSM in tests. The key never leaves it.

use std::sync::{Mutex, PoisonError};

use biotrust_certs::Certificate;
use biotrust_certs::issue::{IssuerKey, IssuerKeyError};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as Pkcs11Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;

use super::file::owner_only;
use crate::config::TokenConfig;

/// Why a token is not usable.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The module did not do it.
    #[error("PKCS#11, {doing}: {why}")]
    Module {
        /// What was tried.
        doing: &'static str,
        /// What the module said.
        why: Pkcs11Error,
    },
    /// No such token.
    #[error("the PKCS#11 module has no token labelled {0:?}; is it plugged in and initialised?")]
    NoToken(String),
    /// Not exactly one such key.
    #[error("the token has {found} RSA keys labelled {label:?} that may sign; it must have one")]
    Keys {
        /// The label.
        label: String,
        /// How many there are.
        found: usize,
    },
    /// The PIN file.
    #[error("{0:#}")]
    Pin(anyhow::Error),
    /// The key is not the certificate's.
    #[error("the key in the token does not belong to the issuing certificate")]
    WrongKey,
}

fn module(doing: &'static str) -> impl FnOnce(Pkcs11Error) -> TokenError {
    move |why| TokenError::Module { doing, why }
}

/// An issuing key in a token.
pub struct TokenIssuer {
    certificate: Certificate,
    token: Token,
    open: Mutex<Option<(Session, ObjectHandle)>>,
}

/// How to get a session.
struct Token {
    context: Pkcs11,
    label: String,
    key: String,
    pin: AuthPin,
}

impl TokenIssuer {
    /// Opens the token and finds the key, which must be the one of `certificate`. Blocking, as everything here.
    ///
    /// # Errors
    /// What is missing.
    pub fn open(config: &TokenConfig, certificate: Certificate) -> Result<Self, TokenError> {
        let context = Pkcs11::new(&config.module).map_err(module("loading the module"))?;
        match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // Another part of this process uses the same module.
            Ok(()) | Err(Pkcs11Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(why) => return Err(module("starting the module")(why)),
        }
        let pin = owner_only(&config.pin_file).map_err(TokenError::Pin)?;
        let pin = String::from_utf8_lossy(&pin).trim_end_matches(['\r', '\n']).to_owned();
        let token =
            Token { context, label: config.label.clone(), key: config.key.clone(), pin: AuthPin::from(pin) };
        let opened = token.session()?;
        let issuer = Self { certificate, token, open: Mutex::new(Some(opened)) };
        issuer.check_key()?;
        Ok(issuer)
    }

    /// A key of another certificate would issue certificates that nobody trusts: sign something and look.
    fn check_key(&self) -> Result<(), TokenError> {
        const PROBE: &[u8] = b"does this key belong to the issuing certificate?";
        let signature = self.sign(PROBE)?;
        let spki = self.certificate.spki_der();
        // The public key of a SubjectPublicKeyInfo as the library wants it.
        aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256, spki)
            .verify(PROBE, &signature)
            .map_err(|_| TokenError::WrongKey)
    }

    /// Signs; opens a new session once where the old one has ended (a token that was unplugged, an HSM that restarted).
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TokenError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((session, key)) = open.as_ref() {
            match session.sign(&Mechanism::Sha256RsaPkcs, *key, message) {
                Ok(signature) => return Ok(signature),
                Err(why) => {
                    tracing::warn!(error = %why, "the session with the token has ended; a new one is opened")
                }
            }
        }
        *open = None; // logs out before the new session logs in
        let (session, key) = self.token.session()?;
        let signature = session.sign(&Mechanism::Sha256RsaPkcs, key, message).map_err(module("signing"));
        *open = Some((session, key));
        signature
    }
}

impl Token {
    fn session(&self) -> Result<(Session, ObjectHandle), TokenError> {
        let slots = self.context.get_slots_with_token().map_err(module("listing the tokens"))?;
        let slot = slots
            .into_iter()
            .find(|slot| self.context.get_token_info(*slot).is_ok_and(|info| info.label() == self.label))
            .ok_or_else(|| TokenError::NoToken(self.label.clone()))?;
        let session = self.context.open_ro_session(slot).map_err(module("opening a session"))?;
        match session.login(UserType::User, Some(&self.pin)) {
            // One login counts for all sessions of a process.
            Ok(()) | Err(Pkcs11Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(why) => return Err(module("logging in")(why)),
        }
        let wanted = [
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::KeyType(KeyType::RSA),
            Attribute::Sign(true),
            Attribute::Label(self.key.as_bytes().to_vec()),
        ];
        let found = session.find_objects(&wanted).map_err(module("finding the key"))?;
        match found.as_slice() {
            [key] => Ok((session, *key)),
            others => Err(TokenError::Keys { label: self.key.clone(), found: others.len() }),
        }
    }
}

impl IssuerKey for TokenIssuer {
    fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    fn sign_rs256(&self, message: &[u8]) -> Result<Vec<u8>, IssuerKeyError> {
        self.sign(message).map_err(|error| IssuerKeyError(error.to_string()))
    }
}

impl std::fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenIssuer({:?}, {})", self.token.label, self.certificate.subject())
    }
}
