//! A trust module beside a sensor: device keys of this host that live in an FTM of its own, reached by SPDM over a
//! serial line, HID or USB (docs/developers/spdm.md, section 5).
//!
//! **Level L0.** The keys cannot be copied off this host, and the module proves that they were born in it. The sensor is
//! another part: its images cross the host in the clear, and whoever is on the host can have anything signed. Only a
//! module *in* a device, which sees what the sensor sees, makes that device L1.
//!
//! Trust: none in the module or the line beyond what is proven to whoever asks ([`Ftm::prove`] hands on the raw proofs).
//! Signatures are checked against the public key before they are given out, so that a module that is exchanged behind
//! our back gives an error and no bad signature. Every call blocks, some hundred milliseconds for a new key, each within
//! a time limit; a module that was unplugged is opened again at the next call.

mod document;
mod module;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use biotrust_driver_api::{Found, Ftm, FtmError, KeyHandle, PipeError, Port};
use biotrust_model::Level;
use biotrust_model::evidence::{Binding, FtmKind, KeySlot, Proof, SpdmProof};
use biotrust_spdm::command::{Answer, Command, HostKeys, KeyName, KeyOrder};
use biotrust_spdm::{Job, Outcome};

use module::Module;

/// Opens the port of the module.
pub type Connect = Box<dyn FnMut() -> Result<Port, PipeError> + Send>;

/// What a technician is told, always: nobody shall take the module for more than it is.
const NOTICE: &str = "the key module of this host protects keys, not sensors: devices that use it are level L0 (L0, key in a module)";

/// An FTM behind a line. Keys are told apart by the name of their device.
pub struct FtmLink {
    module: Shared,
}

/// The module, for this FTM and the keys that it has loaded. Callers take turns.
type Shared = Arc<Mutex<Module>>;

impl FtmLink {
    /// The only level that a module beside a sensor gives.
    pub const LEVEL: Level = Level::L0;

    /// Opens the module at the port that `connect` opens, now and whenever it was unplugged; `found` says where that is,
    /// and how fast.
    ///
    /// # Errors
    /// `State` when it is not there, or does not speak as a module: with what to do.
    pub fn open(connect: Connect, found: Found) -> Result<Self, FtmError> {
        let mut module = Module::new(connect, found);
        module.identify()?;
        Ok(Self { module: Arc::new(Mutex::new(module)) })
    }

    fn module(&self) -> MutexGuard<'_, Module> {
        lock(&self.module)
    }
}

/// A module is whole between two calls, and a panic ends a call.
fn lock(module: &Mutex<Module>) -> MutexGuard<'_, Module> {
    module.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ftm for FtmLink {
    fn begin_rotation(
        &mut self,
        name: &str,
        common_name: &str,
        organisation: &str,
    ) -> Result<Vec<u8>, FtmError> {
        let (common_name, organisation) = (common_name.to_owned(), organisation.to_owned());
        match self.module().order(name, KeyOrder::Generate { common_name, organisation })? {
            Answer::Csr(csr) => Ok(csr),
            other => Err(out_of_place(&other)),
        }
    }

    fn finish_rotation(&mut self, name: &str) -> Result<(), FtmError> {
        self.module().done(name, KeyOrder::Use)
    }

    fn load(&mut self, name: &str) -> Result<Box<dyn KeyHandle>, FtmError> {
        let keys = self.module().keys(name)?;
        let spki = keys.current.ok_or_else(|| FtmError::NoKey(name.to_owned()))?;
        Ok(Box::new(Key { module: Arc::clone(&self.module), name: name.to_owned(), spki }))
    }

    fn next_public_key(&mut self, name: &str) -> Result<Option<Vec<u8>>, FtmError> {
        self.module().keys(name).map(|keys| keys.next)
    }

    fn destroy(&mut self, name: &str) -> Result<(), FtmError> {
        self.module().done(name, KeyOrder::Destroy)
    }

    fn kind(&self) -> FtmKind {
        FtmKind::Spdm
    }

    fn sign_next_rs256(&mut self, name: &str, message: &[u8]) -> Result<Vec<u8>, FtmError> {
        let mut module = self.module();
        let spki = module.keys(name)?.next.ok_or_else(|| FtmError::NoKey(name.to_owned()))?;
        module.sign(name, KeySlot::Next, &spki, message)
    }

    fn prove(&mut self, binding: &Binding, key: Option<(&str, KeySlot)>) -> Result<Proof, FtmError> {
        let mut module = self.module();
        let statement =
            |(name, slot)| match module.order(name, KeyOrder::Attest { slot, binding: *binding })? {
                Answer::Jws(statement) => Ok(statement),
                other => Err(out_of_place(&other)),
            };
        let key_statement = key.map(statement).transpose()?;
        match module.run(Job::Prove { nonce: binding.0 })? {
            Outcome::Proof { authentication, measurements } => {
                Ok(Proof::Spdm(SpdmProof { authentication, measurements, key_statement }))
            }
            _ => Err(failed("proving itself", "it answered something else")),
        }
    }

    fn identity_chain(&mut self) -> Result<Vec<Vec<u8>>, FtmError> {
        self.module().identify()
    }

    /// Evidence only: the module writes the header itself, and what it signs must be what was asked for.
    fn sign_identity_rs256(&mut self, message: &[u8]) -> Result<Vec<u8>, FtmError> {
        let (document, payload) = document::taken_apart(message)?;
        match self.module().command(Command::ChipSign { document, payload })? {
            Answer::Jws(jws) => document::signature(&jws, message),
            other => Err(out_of_place(&other)),
        }
    }

    fn notices(&mut self) -> Vec<String> {
        vec![NOTICE.to_owned()]
    }
}

/// A key in the module.
struct Key {
    module: Shared,
    name: String,
    spki: Vec<u8>,
}

impl KeyHandle for Key {
    fn sign_rs256(&mut self, message: &[u8]) -> Result<Vec<u8>, FtmError> {
        lock(&self.module).sign(&self.name, KeySlot::Current, &self.spki, message)
    }

    fn public_key_der(&self) -> &[u8] {
        &self.spki
    }
}

impl Module {
    fn order(&mut self, name: &str, order: KeyOrder) -> Result<Answer, FtmError> {
        let name = KeyName::new(name).map_err(|error| FtmError::Unusable {
            name: name.chars().take(64).flat_map(char::escape_default).collect(),
            why: error.to_string(),
        })?;
        self.command(Command::HostKey { name, order })
    }

    fn done(&mut self, name: &str, order: KeyOrder) -> Result<(), FtmError> {
        match self.order(name, order)? {
            Answer::Done => Ok(()),
            other => Err(out_of_place(&other)),
        }
    }

    fn keys(&mut self, name: &str) -> Result<HostKeys, FtmError> {
        match self.order(name, KeyOrder::Status)? {
            Answer::HostKeys(keys) => Ok(keys),
            other => Err(out_of_place(&other)),
        }
    }

    /// RS256 over `message` by the key in `slot`, which must be `spki`.
    fn sign(&mut self, name: &str, slot: KeySlot, spki: &[u8], message: &[u8]) -> Result<Vec<u8>, FtmError> {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, message).as_ref());
        let signature = match self.order(name, KeyOrder::Sign { slot, digest: hash })? {
            Answer::Signature(signature) => signature,
            other => return Err(out_of_place(&other)),
        };
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, spki).verify(message, &signature).map_err(
            |_| {
                let why = "its signature is not by the key that it showed; was the module exchanged?";
                FtmError::Unusable { name: name.to_owned(), why: why.into() }
            },
        )?;
        Ok(signature)
    }
}

fn failed(doing: &'static str, why: &str) -> FtmError {
    FtmError::Failed { doing, why: why.to_owned() }
}

/// An answer to another command: the requester lets none pass.
fn out_of_place(answer: &Answer) -> FtmError {
    failed("asking the trust module", &format!("it answered {answer:?}"))
}
