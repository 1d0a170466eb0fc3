//! Enrolment of the device keys that live in this host's FTM (L0): request, certificate, switch-over.
//!
//! The provider's management server asks for a request, certifies it, and hands the chain back. The chain is written
//! before the key slot is switched, so a kill at any instant leaves either the old pair or the new one; what was left
//! half-way is finished at the next start ([`reconcile`]).

use std::sync::Arc;

use biotrust_certs::Certificate;
use biotrust_driver_api::{FtmError, Opened};

use super::unit::{Session, Unit};
use super::{Fleet, Inner, keys};
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
        let provider = &session.description.identity.device_provider;
        let answer = self.0.ftm.begin_rotation(session.id.as_str(), serial, provider).await;
        Ok(answer.map_err(|_| EnrolError::NoAnswer)??)
    }

    /// Takes the certificate (leaf first, DER) for the key of the last request and switches to both, durably. Returns
    /// the certificate's SHA-256 in upper-case hex.
    ///
    /// # Errors
    /// [`EnrolError`]; nothing has changed then, unless only the last step failed, which the next start repeats.
    pub async fn enrol_finish(&self, serial: &str, chain: Vec<Vec<u8>>) -> Result<String, EnrolError> {
        let inner = &self.0;
        let (unit, session) = self.on_host(serial)?;
        let key = session.id.as_str();
        let refuse = |why: String| EnrolError::Certificate(why);
        let leaf = chain.first().ok_or_else(|| refuse("the chain is empty".into()))?;
        let path = inner.trust.device.verify(leaf, inner.clock.now()).map_err(|e| refuse(e.to_string()))?;
        let sha256 = path.leaf().sha256();
        let next = inner.ftm.next_public_key(key).await.map_err(|_| EnrolError::NoAnswer)??;
        if next.as_deref() != Some(path.leaf().spki_der()) {
            return Err(refuse(
                "it does not certify the key of the last request; ask for a request again".into(),
            ));
        }
        let (worker, key) = (Arc::clone(inner), key.to_owned());
        blocking(move || {
            worker.store().put_pending(&key, &chain)?;
            worker.ftm.finish_rotation(&key).blocking_recv().map_err(|_| EnrolError::NoAnswer)??;
            Ok(worker.store().confirm(&key)?)
        })
        .await?;
        tracing::info!(serial, certificate = sha256, "device enrolled");
        self.appraised(&unit).await;
        Ok(sha256)
    }

    /// Destroys the key of a device and forgets its certificate: it is no longer registered.
    ///
    /// # Errors
    /// [`EnrolError`].
    pub async fn destroy_key(&self, serial: &str) -> Result<(), EnrolError> {
        let inner = &self.0;
        let (unit, session) = self.on_host(serial)?;
        let (worker, key) = (Arc::clone(inner), session.id.to_string());
        blocking(move || {
            worker.store().forget(&key)?;
            Ok(worker.ftm.destroy(&key).blocking_recv().map_err(|_| EnrolError::NoAnswer)??)
        })
        .await?;
        tracing::info!(serial, "device key destroyed");
        self.appraised(&unit).await;
        Ok(())
    }

    fn on_host(&self, serial: &str) -> Result<(Arc<Unit>, Arc<Session>), EnrolError> {
        let found = self.0.listed().into_iter().find(|(_, s)| s.description.identity.serial_no == serial);
        let (unit, session) = found.ok_or_else(|| EnrolError::NoDevice(serial.to_owned()))?;
        match session.opened {
            Opened::L0(_) => Ok((unit, session)),
            Opened::L1(_) => Err(EnrolError::NotOnHost(serial.to_owned())),
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

/// Work that waits for the disk or the FTM, off the async threads. It runs to its end even when nobody waits any more.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EnrolError> + Send + 'static,
) -> Result<T, EnrolError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| EnrolError::NoAnswer)?
}

/// The chain of the key that is current in the FTM, finishing or dropping what a crash left half-way. `current` is
/// the public key in use, `next` the one of an unfinished rotation. Blocking.
pub(super) fn reconcile(
    inner: &Inner,
    key_name: &str,
    current: Option<&[u8]>,
) -> Result<Option<Vec<Vec<u8>>>, EnrolError> {
    let certifies = |enrolment: &Enrolment, key: &[u8]| {
        let leaf = enrolment.chain.first().and_then(|der| Certificate::parse(der).ok());
        leaf.is_some_and(|leaf| leaf.spki_der() == key)
    };
    let enrolments = inner.store().enrolments(key_name)?;
    if let Some(pending) = enrolments.iter().find(|e| !e.current) {
        // written, but did the key slot follow?
        let next =
            inner.ftm.next_public_key(key_name).blocking_recv().map_err(|_| EnrolError::NoAnswer)??;
        if next.is_some_and(|key| certifies(pending, &key)) {
            inner.ftm.finish_rotation(key_name).blocking_recv().map_err(|_| EnrolError::NoAnswer)??;
            inner.store().confirm(key_name)?;
            tracing::info!(key_name, "finished an enrolment that was cut short");
            return Ok(Some(pending.chain.clone()));
        }
        if current.is_some_and(|key| certifies(pending, key)) {
            inner.store().confirm(key_name)?;
            return Ok(Some(pending.chain.clone()));
        }
        inner.store().drop_pending(key_name)?;
    }
    let held = enrolments.into_iter().find(|e| e.current && current.is_some_and(|key| certifies(e, key)));
    Ok(held.map(|e| e.chain))
}
