//! What a management client may ask of the devices of this host, for both levels alike: proofs, the next key and its
//! certificate, signatures on messages, time, firmware. Nothing here can start a capture.
//!
//! Everything is by serial number, because that is what a provider knows; two devices with the same one are refused until
//! one is unplugged. The calls
//! wait for devices and for the FTM without blocking the runtime, each within a bound.

use std::sync::Arc;

use biotrust_attest::Challenge;
use biotrust_certs::Certificate;
use biotrust_driver_api::{
    ChipDocument, DeviceClock, DeviceError, FirmwareState, FtmError, L1Device, Opened,
};
use biotrust_model::evidence::KeySlot;
use biotrust_model::{DeviceIdentity, DeviceStatus, Level, Problem, Purpose};
use tokio::sync::watch;

use super::unit::{Session, Unit};
use super::{Fleet, Inner, attestation, device_keys, host_keys, keys};
use crate::store::{Destruction, StoreError};

/// Why something could not be done with a device.
#[derive(Debug, thiserror::Error)]
pub enum ManageError {
    /// No open device has this serial number.
    #[error("no device with serial number {0} is connected")]
    NoDevice(String),
    /// Several have it.
    #[error("several devices with serial number {0} are connected: unplug all but one")]
    Ambiguous(String),
    /// The certificate cannot be used.
    #[error("the certificate is refused: {0}")]
    Certificate(String),
    /// The device has no key or no certificate for this.
    #[error("the device is not registered: {0}")]
    NotRegistered(&'static str),
    /// Not with this device.
    #[error("this device cannot do that: {0}")]
    Unsupported(&'static str),
    /// The firmware, or its manifest, cannot be used.
    #[error("the firmware is refused: {0}")]
    Firmware(String),
    /// The device failed or refused.
    #[error("the device: {0}")]
    Device(#[from] DeviceError),
    /// The FTM failed.
    #[error(transparent)]
    Ftm(#[from] FtmError),
    /// The state could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The FTM or its queue is gone.
    #[error("the host's FTM did not answer")]
    NoAnswer,
    /// Something inside.
    #[error("{0}")]
    Internal(String),
}

/// A device as its management client sees it.
#[derive(Debug, Clone)]
pub struct ManagedDevice {
    /// Who it is, by its own account.
    pub identity: DeviceIdentity,
    /// Where its keys are: in the device (L1) or on this host (L0).
    pub keys_at: Level,
    /// The level that it is served as.
    pub level: Level,
    /// What it is for.
    pub purpose: Purpose,
    /// Version of its firmware.
    pub firmware: String,
    /// Its state.
    pub status: DeviceStatus,
    /// Why it cannot be used, where it cannot.
    pub problem: Option<Problem>,
    /// Its certificate, where it has one.
    pub certificate: Option<Certificate>,
    /// Another number after every plug-in.
    pub session: u64,
}

/// A rotation that is through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// SHA-256 of the new certificate, upper-case hex.
    pub certificate_sha256: String,
    /// SHA-256 of the SubjectPublicKeyInfo of the key that was destroyed, upper-case hex; `None` at a first registration.
    pub destroyed_spki_sha256: Option<String>,
}

/// A digital ID of this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presentation {
    /// Compact JWS: by the chip key at L1, by the device key at L0.
    Signed(String),
    /// The JSON object: an L0 device that has no certificate yet has nothing to sign with.
    Plain(String),
}

/// How far an update is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that the device holds.
    pub received: u64,
    /// Bytes of the image.
    pub size: u64,
}

impl Fleet {
    /// The devices that are connected and served, with what a management client needs to know.
    #[must_use]
    pub fn managed(&self) -> Vec<ManagedDevice> {
        let listed = self.0.listed();
        listed.iter().map(|(unit, session)| managed(unit, session)).collect()
    }

    /// Counts up with every change that [`Fleet::managed`] may show.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.epoch.subscribe()
    }

    /// Makes the next device key and returns a PKCS#10 request (DER) for it. The present key stays in use. An unfinished
    /// earlier rotation is replaced.
    ///
    /// # Errors
    /// [`ManageError`].
    pub async fn begin_rotation(&self, serial: &str) -> Result<Vec<u8>, ManageError> {
        let (_, session) = self.by_serial(serial)?;
        self.blocking(move |inner| match opened(&session)? {
            Opened::L0(_) => host_keys::begin(inner, &session),
            Opened::L1(device) => device_keys::begin(&session, device.as_ref()),
        })
        .await
    }

    /// Evidence that answers `challenge`, a compact JWS: who the device is and what runs in it, and where `key` is given,
    /// that this device key was born in its trust module.
    ///
    /// # Errors
    /// [`ManageError`].
    pub async fn evidence_for(
        &self,
        serial: &str,
        challenge: Challenge,
        key: Option<KeySlot>,
    ) -> Result<String, ManageError> {
        let (_, session) = self.by_serial(serial)?;
        self.blocking(move |inner| attestation::evidence(inner, &session, &challenge, key)).await
    }

    /// Signs a message to the management server (JSON): a compact JWS of type `mgmt+jwt`. By the chip key at L1; at L0 by
    /// the device key with its certificate, or by the next key where there is no certificate yet.
    ///
    /// # Errors
    /// [`ManageError`]; `NotRegistered` where an L0 device has no key at all.
    pub async fn sign_management(&self, serial: &str, payload: String) -> Result<String, ManageError> {
        let (_, session) = self.by_serial(serial)?;
        self.blocking(move |inner| match opened(&session)? {
            Opened::L0(_) => host_keys::sign_message(inner, &session, &payload),
            Opened::L1(device) => {
                Ok(device.sign_as_chip(ChipDocument::Management, &payload, device_keys::SIGN)?)
            }
        })
        .await
    }

    /// A digital ID of this moment.
    ///
    /// # Errors
    /// [`ManageError`].
    pub async fn digital_id(&self, serial: &str) -> Result<Presentation, ManageError> {
        let (_, session) = self.by_serial(serial)?;
        self.blocking(move |inner| match opened(&session)? {
            Opened::L0(_) => host_keys::digital_id(inner, &session),
            Opened::L1(device) => device_keys::digital_id(device.as_ref()),
        })
        .await
    }

    /// Takes the certificate (leaf first, DER) for the next key and switches to both, durably; the old key is destroyed,
    /// and that is recorded. What began with the old pair of key and certificate ends with it.
    ///
    /// # Errors
    /// [`ManageError`]; nothing has changed then, unless only the last step failed, which the next appraisal repeats.
    pub async fn finish_rotation(&self, serial: &str, chain: Vec<Vec<u8>>) -> Result<Rotated, ManageError> {
        let (unit, session) = self.by_serial(serial)?;
        let rotated = {
            let (unit, session) = (Arc::clone(&unit), Arc::clone(&session));
            self.blocking(move |inner| match opened(&session)? {
                Opened::L0(_) => host_keys::switch(inner, &session, &chain),
                Opened::L1(device) => device_keys::switch(inner, &unit, &session, device.as_ref(), &chain),
            })
            .await?
        };
        tracing::info!(
            serial,
            certificate = rotated.certificate_sha256,
            destroyed = rotated.destroyed_spki_sha256.as_deref().unwrap_or("nothing"),
            "device key in use"
        );
        self.appraised(&unit).await;
        Ok(rotated)
    }

    /// Destroys the device keys and forgets their certificates: the device is no longer registered. The SHA-256 (lower-case
    /// hex) of the SubjectPublicKeyInfo of the key that was in use, where there was one.
    ///
    /// # Errors
    /// [`ManageError`]. The order is written down first: one that could not be carried out is carried out when the device
    /// is next appraised.
    pub async fn destroy_key(&self, serial: &str) -> Result<Option<String>, ManageError> {
        let (unit, session) = self.by_serial(serial)?;
        let destroyed = {
            let session = Arc::clone(&session);
            self.blocking(move |inner| match opened(&session)? {
                Opened::L0(_) => host_keys::destroy(inner, session.id.as_str()),
                Opened::L1(device) => device_keys::destroy(inner, &session, device.as_ref()),
            })
            .await
        };
        self.appraised(&unit).await;
        let destroyed = destroyed?;
        tracing::info!(serial, key = destroyed.as_deref().unwrap_or("none"), "device key destroyed");
        Ok(destroyed)
    }

    /// Keys of this device that are destroyed, oldest first.
    ///
    /// # Errors
    /// [`ManageError`].
    pub async fn destroyed_keys(&self, serial: &str) -> Result<Vec<Destruction>, ManageError> {
        let (_, session) = self.by_serial(serial)?;
        self.blocking(move |inner| Ok(inner.store().destroyed_keys(session.id.as_str())?)).await
    }

    /// The clock of the device; `None` where it uses this host's.
    ///
    /// # Errors
    /// [`ManageError`].
    pub async fn clock(&self, serial: &str) -> Result<Option<DeviceClock>, ManageError> {
        let (_, session) = self.by_serial(serial)?;
        self.blocking(move |_| match opened(&session)? {
            Opened::L0(_) => Ok(None),
            Opened::L1(device) => Ok(Some(device.clock(device_keys::CALL)?)),
        })
        .await
    }

    /// Sets the clock of the device by a time token for the nonce of its [`DeviceClock`].
    ///
    /// # Errors
    /// [`ManageError`]; `Unsupported` where it has no clock of its own.
    pub async fn set_clock(&self, serial: &str, token: String) -> Result<(), ManageError> {
        let (unit, session) = self.by_serial(serial)?;
        self.in_device(&session, move |_, device| Ok(device.set_clock(&token, device_keys::CALL)?)).await?;
        self.appraised(&unit).await;
        Ok(())
    }

    /// The firmware of the device; `None` where it has none that could be updated from here.
    ///
    /// # Errors
    /// [`ManageError`].
    pub async fn firmware(&self, serial: &str) -> Result<Option<FirmwareState>, ManageError> {
        let (_, session) = self.by_serial(serial)?;
        self.blocking(move |_| match opened(&session)? {
            Opened::L0(_) => Ok(None),
            Opened::L1(device) => Ok(Some(device.firmware(device_keys::CALL)?)),
        })
        .await
    }

    /// Forgets which chip devices with this serial number have, so that the next one is taken as it comes: for a
    /// technician who knows why the chip of a device is another one. Tells whether any was known.
    ///
    /// # Errors
    /// [`ManageError`].
    pub async fn forget(&self, serial: &str) -> Result<bool, ManageError> {
        let name = serial.to_owned();
        let known = self.blocking(move |inner| Ok(inner.store().forget_chip(&name)?)).await?;
        if known {
            tracing::warn!(serial, "the chip of this device was forgotten");
        }
        for (unit, session) in self.0.open_units() {
            if session.description.identity.serial_no == serial {
                self.appraised(&unit).await;
            }
        }
        Ok(known)
    }

    /// The evidence of the last appraisal of this device, a compact JWS, where there was any.
    ///
    /// # Errors
    /// [`ManageError::NoDevice`] and `Ambiguous`.
    pub fn evidence(&self, serial: &str) -> Result<Option<String>, ManageError> {
        let (_, session) = self.by_serial(serial)?;
        Ok(session.keys().and_then(|keys| keys.evidence().map(str::to_owned)))
    }

    /// The served device with this serial number.
    pub(super) fn by_serial(&self, serial: &str) -> Result<(Arc<Unit>, Arc<Session>), ManageError> {
        let listed = self.0.listed();
        let mut named = listed.into_iter().filter(|(_, s)| s.description.identity.serial_no == serial);
        match (named.next(), named.next()) {
            (Some(found), None) => Ok(found),
            (Some(_), Some(_)) => Err(ManageError::Ambiguous(serial.to_owned())),
            (None, _) => Err(ManageError::NoDevice(serial.to_owned())),
        }
    }

    /// Work with a device that keeps its keys itself.
    pub(super) async fn in_device<T: Send + 'static>(
        &self,
        session: &Arc<Session>,
        work: impl FnOnce(&Inner, &dyn L1Device) -> Result<T, ManageError> + Send + 'static,
    ) -> Result<T, ManageError> {
        let session = Arc::clone(session);
        self.blocking(move |inner| match opened(&session)? {
            Opened::L0(_) => Err(ManageError::Unsupported("it is a plain scanner, run by this host")),
            Opened::L1(device) => work(inner, device.as_ref()),
        })
        .await
    }

    /// Work off the async threads. It runs to its end even when nobody waits any more.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, ManageError> + Send + 'static,
    ) -> Result<T, ManageError> {
        let inner = Arc::clone(&self.0);
        let task = tokio::task::spawn_blocking(move || work(&inner));
        task.await.map_err(|_| ManageError::Internal("a step of device management broke down".into()))?
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
        match queued {
            Ok(()) => drop(waiting.await),
            // the clock of the fleet sees to it
            Err(_) => unit.wants_appraisal.store(true, std::sync::atomic::Ordering::Relaxed),
        }
    }
}

/// The driver's handle.
fn opened(session: &Session) -> Result<&Opened, ManageError> {
    session.opened().ok_or_else(|| ManageError::NoDevice(session.description.identity.serial_no.clone()))
}

fn managed(unit: &Unit, session: &Session) -> ManagedDevice {
    let description = &session.description;
    ManagedDevice {
        identity: description.identity.clone(),
        keys_at: description.level,
        level: session.level(),
        purpose: description.purpose,
        firmware: description.firmware.clone(),
        status: unit.status(),
        problem: unit.problem(),
        certificate: session.keys().and_then(|keys| keys.certificate.clone()),
        session: session.order,
    }
}
