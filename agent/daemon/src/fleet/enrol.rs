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
