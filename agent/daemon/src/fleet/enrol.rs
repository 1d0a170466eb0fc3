//! Enrolment of the device keys that live in this host's FTM (L0): request, certificate, switch-over.
//!
//! The provider's management server asks for a request, certifies it, and hands the chain back. The chain is written
//! before the key slot is switched, so a kill at any instant leaves either the old pair or the new one; what was left
//! half-way is finished at the next start ([`reconcile`]).

use std::sync::Arc;

use biotrust_certs::Certificate;
use biotrust_driver_api::FtmError;
use biotrust_model::Level;
use biotrust_trust::appraise_l0;

use super::unit::{Session, Unit};
use super::{Fleet, Inner, keys, locked};
use crate::store::{Enrolment, StoreError};

/// Why a device could not be enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// No open device has this serial number.
    #[error("no device with serial number {0} is connected")]
    NoDevice(String),
    /// The device has an FTM of its own.
    #[error(
        "device {0} keeps its keys itself (L1): its provider's management server talks to it, not to this host"
    )]
    NotOnHost(String),
    /// Several have it.
    #[error("several devices with serial number {0} are connected: unplug all but one")]
    Ambiguous(String),
    /// The certificate cannot be used.
    #[error("the certificate is refused: {0}")]
    Certificate(String),
    /// The FTM failed.
    #[error(transparent)]
    Ftm(#[from] FtmError),
    /// The state could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The FTM or its queue is gone.
    #[error("the host's FTM did not answer")]
    NoAnswer,
}

impl Fleet {
    /// Makes a new key for the device and returns a PKCS#10 request (DER) for it. The present key stays in use.
    ///
    /// # Errors
    /// [`EnrolError`].
    pub async fn enrol_begin(&self, serial: &str) -> Result<Vec<u8>, EnrolError> {
        let (_, session) = self.on_host(serial)?;
        let provider = session.description.identity.device_provider.clone();
        let (key, common_name) = (session.id.to_string(), serial.to_owned());
        self.step(move |inner| {
            let answer = inner.ftm.begin_rotation(&key, &common_name, &provider).blocking_recv();
            Ok(answer.map_err(|_| EnrolError::NoAnswer)??)
        })
        .await
    }

    /// Takes the certificate (leaf first, DER) for the key of the last request and switches to both, durably. Returns
    /// the certificate's SHA-256 in upper-case hex.
    ///
    /// # Errors
    /// [`EnrolError`]; nothing has changed then, unless only the last step failed, which the next start repeats.
    pub async fn enrol_finish(&self, serial: &str, chain: Vec<Vec<u8>>) -> Result<String, EnrolError> {
        let (unit, session) = self.on_host(serial)?;
        let sha256 = self.step(move |inner| switch(inner, &session, &chain)).await?;
        tracing::info!(serial, certificate = sha256, "device enrolled");
        self.appraised(&unit).await;
        Ok(sha256)
    }

    /// Destroys the key of a device and forgets its certificate: it is no longer registered.
    ///
    /// # Errors
    /// [`EnrolError`].
    pub async fn destroy_key(&self, serial: &str) -> Result<(), EnrolError> {
        let (unit, session) = self.on_host(serial)?;
        let key = session.id.to_string();
        self.step(move |inner| {
            inner.store().forget(&key)?;
            Ok(inner.ftm.destroy(&key).blocking_recv().map_err(|_| EnrolError::NoAnswer)??)
        })
        .await?;
        tracing::info!(serial, "device key destroyed");
        self.appraised(&unit).await;
        Ok(())
    }

    /// One step of an enrolment, off the async threads, while no other runs. It runs to its end even when nobody waits
    /// any more.
    async fn step<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, EnrolError> + Send + 'static,
    ) -> Result<T, EnrolError> {
        let inner = Arc::clone(&self.0);
        let task = tokio::task::spawn_blocking(move || {
            let _one = locked(&inner.enrolling);
            work(&inner)
        });
        task.await.map_err(|_| EnrolError::NoAnswer)?
    }

    /// The L0 device with this serial number.
    fn on_host(&self, serial: &str) -> Result<(Arc<Unit>, Arc<Session>), EnrolError> {
        let mut named: Vec<_> =
            self.0.listed().into_iter().filter(|(_, s)| s.description.identity.serial_no == serial).collect();
        if named.is_empty() {
            return Err(EnrolError::NoDevice(serial.to_owned()));
        }
        named.retain(|(_, session)| session.level() == Level::L0);
        match (named.pop(), named.is_empty()) {
            (Some(found), true) => Ok(found),
            (Some(_), false) => Err(EnrolError::Ambiguous(serial.to_owned())),
            (None, _) => Err(EnrolError::NotOnHost(serial.to_owned())),
        }
    }

    /// Appraises the device again and waits for it.
    async fn appraised(&self, unit: &Arc<Unit>) {
        let (done, waiting) = tokio::sync::oneshot::channel::<()>();
        let (inner, job_unit) = (Arc::clone(&self.0), Arc::clone(unit));
        let queued = unit.lanes().service.submit(move || {
            keys::appraise(&inner, &job_unit);
            inner.publish();
            let _ = done.send(());
        });
        if queued.is_ok() {
            let _ = waiting.await;
        }
    }
}

/// Holds the chain against everything that the device will be held against, and switches to it.
fn switch(inner: &Inner, session: &Session, chain: &[Vec<u8>]) -> Result<String, EnrolError> {
    let (key, identity) = (session.id.as_str(), &session.description.identity);
    let refuse = |why: String| EnrolError::Certificate(why);
    let appraisal = appraise_l0(identity, chain, &inner.trust.device, inner.clock.now());
    let device = appraisal.into_device().map_err(|failed| refuse(failed.to_string()))?;
    let next = inner.ftm.next_public_key(key).blocking_recv().map_err(|_| EnrolError::NoAnswer)??;
    if next.as_deref() != Some(device.certificate().spki_der()) {
        return Err(refuse(
            "it does not certify the key of the last request; ask for a request again".into(),
        ));
    }
    inner.store().put_pending(key, chain)?;
    inner.ftm.finish_rotation(key).blocking_recv().map_err(|_| EnrolError::NoAnswer)??;
    inner.store().confirm(key)?;
    Ok(device.certificate().sha256())
}

/// The chain of the key that is current in the FTM, finishing or dropping what a crash left half-way. Blocking.
///
/// # Errors
/// `Ftm(NoKey)` where there is no key at all.
pub(super) fn reconcile(inner: &Inner, key: &str) -> Result<Option<Vec<Vec<u8>>>, EnrolError> {
    let _one = locked(&inner.enrolling);
    let certifies = |enrolment: &Enrolment, key: &[u8]| {
        let leaf = enrolment.chain.first().and_then(|der| Certificate::parse(der).ok());
        leaf.is_some_and(|leaf| leaf.spki_der() == key)
    };
    let enrolments = inner.store().enrolments(key)?;
    if let Some(pending) = enrolments.iter().find(|enrolment| !enrolment.current) {
        // written, but did the key slot follow?
        let next = inner.ftm.next_public_key(key).blocking_recv().map_err(|_| EnrolError::NoAnswer)??;
        if next.is_some_and(|next| certifies(pending, &next)) {
            inner.ftm.finish_rotation(key).blocking_recv().map_err(|_| EnrolError::NoAnswer)??;
            tracing::info!(key, "finished an enrolment that was cut short");
        }
    }
    let current = inner.ftm.public_key(key).blocking_recv().map_err(|_| EnrolError::NoAnswer)??;
    match enrolments.into_iter().find(|enrolment| certifies(enrolment, &current)) {
        Some(held) => {
            if !held.current {
                inner.store().confirm(key)?;
            }
            Ok(Some(held.chain))
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use biotrust_certs::{Device, Ftm as FtmDomain, TestPki};
    use biotrust_model::time::{Clock, SystemClock};
    use biotrust_model::{Env, Language};

    use super::*;
    use crate::fleet::{Encryption, Settings, Trust};
    use crate::store::Store;

    const KEY: &str = "BT0123456789";

    /// A daemon without devices over what `state` holds; dropping it is the crash.
    fn started(state: &Path, pki: &TestPki) -> Fleet {
        let settings = Settings {
            purpose: None,
            env: Env::Developer,
            language: Language::En,
            allow_l0_auth: false,
            digital_id_key: Default::default(),
            append_chip_certificate: true,
            finish_margin: Duration::from_millis(400),
            answer_early: Duration::ZERO,
            info_reuse: Duration::from_secs(5),
            hard_ceiling: None,
            streams_per_device: 1,
            callback_id: "http://127.0.0.1:4501/".into(),
        };
        let trust = Trust {
            device: pki.store::<Device>().unwrap(),
            ftm: pki.store::<FtmDomain>().unwrap(),
            encryption: Encryption::default(),
        };
        let (store, ftm) = (Store::open(state).unwrap(), crate::catalog::host_ftm(state).unwrap());
        Fleet::new(settings, trust, store, ftm, Vec::new(), Arc::new(SystemClock)).unwrap()
    }

    /// A request, and a certificate for it.
    fn certified(fleet: &Fleet, pki: &TestPki) -> Vec<Vec<u8>> {
        let request = fleet.0.ftm.begin_rotation(KEY, "S", "P").blocking_recv().unwrap().unwrap();
        pki.issue_device_certificate(&request, SystemClock.now(), Duration::from_secs(86_400)).unwrap()
    }

    fn whole(fleet: &Fleet, chain: &[Vec<u8>]) {
        fleet.0.store().put_pending(KEY, chain).unwrap();
        fleet.0.ftm.finish_rotation(KEY).blocking_recv().unwrap().unwrap();
        fleet.0.store().confirm(KEY).unwrap();
    }

    /// The chain that a daemon starts with, which must be the one of the key that it starts with.
    fn after_a_restart(state: &Path, pki: &TestPki) -> Option<Vec<Vec<u8>>> {
        let fleet = started(state, pki);
        let chain = reconcile(&fleet.0, KEY).unwrap();
        if let Some(chain) = &chain {
            let key = fleet.0.ftm.public_key(KEY).blocking_recv().unwrap().unwrap();
            assert_eq!(Certificate::parse(&chain[0]).unwrap().spki_der(), key);
            let held = fleet.0.store().enrolments(KEY).unwrap();
            assert!(held.iter().any(|e| e.current && e.chain == *chain), "and it is settled");
        }
        chain
    }

    #[test]
    fn a_crash_between_any_two_steps_leaves_a_key_with_its_certificate() {
        let pki = TestPki::mint(TestPki::DEFAULT_SPEC, SystemClock.now()).unwrap();
        for steps in 0..=3 {
            let state = tempfile::tempdir().unwrap();
            let fleet = started(state.path(), &pki);
            let old = certified(&fleet, &pki);
            whole(&fleet, &old);
            let new = certified(&fleet, &pki);
            assert_ne!(old, new);
            if steps >= 1 {
                fleet.0.store().put_pending(KEY, &new).unwrap();
            }
            if steps >= 2 {
                fleet.0.ftm.finish_rotation(KEY).blocking_recv().unwrap().unwrap();
            }
            if steps >= 3 {
                fleet.0.store().confirm(KEY).unwrap();
            }
            drop(fleet);
            let expected = if steps == 0 { &old } else { &new };
            for _ in 0..2 {
                assert_eq!(
                    after_a_restart(state.path(), &pki).as_ref(),
                    Some(expected),
                    "crash after step {steps}"
                );
            }
        }
    }

    #[test]
    fn a_certificate_of_a_key_that_is_not_there_is_none() {
        let pki = TestPki::mint(TestPki::DEFAULT_SPEC, SystemClock.now()).unwrap();
        let state = tempfile::tempdir().unwrap();
        let fleet = started(state.path(), &pki);
        assert!(matches!(reconcile(&fleet.0, KEY), Err(EnrolError::Ftm(FtmError::NoKey(_)))));
        let lost = certified(&fleet, &pki);
        let chain = certified(&fleet, &pki);
        whole(&fleet, &chain);
        fleet.0.store().put_pending(KEY, &lost).unwrap();
        drop(fleet);
        assert_eq!(
            after_a_restart(state.path(), &pki),
            Some(chain),
            "the pending one belongs to a key that was replaced"
        );
    }
}
