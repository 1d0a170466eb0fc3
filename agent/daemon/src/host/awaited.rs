//! A trust module that cannot be used yet: locked, switched off, without certificate, not believed.
//!
//! A host whose TPM is not well still has devices that need no TPM, and somebody who asks what is wrong. So the daemon
//! runs; every use of the module answers with its state and what to do, and nothing takes its place: no key of another
//! kind is made. It is tried again whenever somebody wants something of it, so that a cure needs no restart.
//!
//! Blocking, as every module. One thread calls it.

use std::time::{Duration, Instant};

use biotrust_driver_api::{Ftm, FtmError, IdentityRequest, KeyHandle};
use biotrust_model::Secret;
use biotrust_model::evidence::{Binding, FtmKind, KeySlot, Proof};

/// How long after a try the next one is made: a TPM that is not well may be slow to say so.
const AGAIN: Duration = Duration::from_secs(5);

type Open = Box<dyn Fn() -> Result<Box<dyn Ftm>, FtmError> + Send>;

/// A module, or why there is none now.
pub(super) struct Awaited {
    kind: FtmKind,
    open: Open,
    module: Result<Box<dyn Ftm>, State>,
    tried: Instant,
}

/// As [`FtmError::State`].
struct State {
    state: String,
    next: String,
}

impl State {
    fn error(&self) -> FtmError {
        FtmError::State { state: self.state.clone(), next: self.next.clone() }
    }
}

impl Awaited {
    /// Opens a module of kind `kind`, now or later.
    ///
    /// # Errors
    /// When it fails in a way that waiting for somebody does not mend.
    pub(super) fn open(
        kind: FtmKind,
        open: impl Fn() -> Result<Box<dyn Ftm>, FtmError> + Send + 'static,
    ) -> Result<Self, FtmError> {
        let module = tried(open())?;
        if let Err(why) = &module {
            tracing::error!(state = why.state, next = why.next, "the keys of this host cannot be used");
        }
        Ok(Self { kind, open: Box::new(open), module, tried: Instant::now() })
    }

    fn module(&mut self) -> Result<&mut dyn Ftm, FtmError> {
        if self.module.is_err() && self.tried.elapsed() >= AGAIN {
            let opened = (self.open)();
            self.tried = Instant::now();
            self.module = tried(opened)?;
            if self.module.is_ok() {
                tracing::info!("the keys of this host can be used");
            }
        }
        match &mut self.module {
            Ok(module) => Ok(module.as_mut()),
            Err(why) => Err(why.error()),
        }
    }
}

/// Tells a state, which may end, from a failure.
fn tried(opened: Result<Box<dyn Ftm>, FtmError>) -> Result<Result<Box<dyn Ftm>, State>, FtmError> {
    match opened {
        Ok(module) => Ok(Ok(module)),
        Err(FtmError::State { state, next }) => Ok(Err(State { state, next })),
        Err(other) => Err(other),
    }
}

impl Ftm for Awaited {
    fn begin_rotation(
        &mut self,
        name: &str,
        common_name: &str,
        organisation: &str,
    ) -> Result<Vec<u8>, FtmError> {
        self.module()?.begin_rotation(name, common_name, organisation)
    }

    fn finish_rotation(&mut self, name: &str) -> Result<(), FtmError> {
        self.module()?.finish_rotation(name)
    }

    fn load(&mut self, name: &str) -> Result<Box<dyn KeyHandle>, FtmError> {
        self.module()?.load(name)
    }

    fn next_public_key(&mut self, name: &str) -> Result<Option<Vec<u8>>, FtmError> {
        self.module()?.next_public_key(name)
    }

    fn destroy(&mut self, name: &str) -> Result<(), FtmError> {
        self.module()?.destroy(name)
    }

    fn kind(&self) -> FtmKind {
        self.kind
    }

    fn sign_next_rs256(&mut self, name: &str, message: &[u8]) -> Result<Vec<u8>, FtmError> {
        self.module()?.sign_next_rs256(name, message)
    }

    fn prove(&mut self, binding: &Binding, key: Option<(&str, KeySlot)>) -> Result<Proof, FtmError> {
        self.module()?.prove(binding, key)
    }

    fn identity_chain(&mut self) -> Result<Vec<Vec<u8>>, FtmError> {
        self.module()?.identity_chain()
    }

    fn sign_identity_rs256(&mut self, message: &[u8]) -> Result<Vec<u8>, FtmError> {
        self.module()?.sign_identity_rs256(message)
    }

    fn identity_request(
        &mut self,
        common_name: &str,
        organisation: &str,
        binding: &Binding,
    ) -> Result<IdentityRequest, FtmError> {
        self.module()?.identity_request(common_name, organisation, binding)
    }

    fn activate(&mut self, credential: &[u8], secret: &[u8]) -> Result<Secret, FtmError> {
        self.module()?.activate(credential, secret)
    }

    fn install_certificates(
        &mut self,
        identity: &[Vec<u8>],
        attestation: &[Vec<u8>],
    ) -> Result<(), FtmError> {
        self.module()?.install_certificates(identity, attestation)
    }

    fn reset_count(&mut self) -> Result<Option<u32>, FtmError> {
        self.module()?.reset_count()
    }

    fn idle(&mut self) -> Result<bool, FtmError> {
        match &mut self.module {
            Ok(module) => module.idle(),
            // not worth a line in the log: it is a notice already
            Err(_) => Ok(false),
        }
    }

    fn notices(&mut self) -> Vec<String> {
        match self.module() {
            Ok(module) => module.notices(),
            Err(error) => vec![error.to_string()],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::catalog;

    fn locked() -> FtmError {
        FtmError::State { state: "locked".into(), next: "wait".into() }
    }

    #[test]
    fn what_needs_somebody_is_told_and_tried_again_and_what_failed_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let (state, asked) = (directory.path().to_owned(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&asked);
        let mut ftm = Awaited::open(FtmKind::Software, move || match count.fetch_add(1, Ordering::Relaxed) {
            0 => Err(locked()),
            _ => catalog::host_ftm(&state, &catalog::FtmSettings::Software { seal: None }),
        })
        .unwrap();
        assert_eq!(ftm.notices(), ["locked: wait"]);
        assert!(matches!(ftm.begin_rotation("SN1", "SN1", "P"), Err(FtmError::State { .. })));
        assert!(!ftm.idle().unwrap(), "nothing to do for it");
        assert_eq!(asked.load(Ordering::Relaxed), 1, "it is not asked at every use");
        ftm.tried = Instant::now().checked_sub(AGAIN).unwrap();
        ftm.begin_rotation("SN1", "SN1", "P").unwrap();
        assert_eq!((ftm.notices(), asked.load(Ordering::Relaxed)), (vec![], 2));

        let broken = || Err(FtmError::Failed { doing: "opening", why: "no disk".into() });
        assert!(matches!(Awaited::open(FtmKind::Tpm, broken), Err(FtmError::Failed { .. })));
    }
}
