//! Keys that live in a device (L1): the device makes and switches them, this host proves what it can and keeps the record.
//!
//! Blocking. A destruction is written down before the device is told; whether it came about is read off the device at the
//! next appraisal where its answer was lost ([`reconcile`]).

use std::time::Duration;

use biotrust_certs::{Certificate, sha256_hex};
use biotrust_driver_api::{DigitalIdKey, L1Device, L1Keys};
use biotrust_model::evidence::KeySlot;

use super::management::{ManageError, Presentation, Rotated};
use super::state::Standing;
use super::unit::{Session, Unit};
use super::{Inner, keys, locked};
use crate::store::{Cause, Destruction};

/// The longest that a device may take to hand out certificates or take one in.
pub(super) const CALL: Duration = Duration::from_secs(2);
/// The longest that a chip may take for one signature.
pub(super) const SIGN: Duration = Duration::from_secs(3);
/// The longest that a device may take to make a key: a chip takes seconds where it has made none ahead of time.
const MAKE_KEY: Duration = Duration::from_secs(30);

/// Has the device make its next key; a PKCS#10 request (DER) for it.
pub(super) fn begin(session: &Session, device: &dyn L1Device) -> Result<Vec<u8>, ManageError> {
    let _one = locked(&session.managing);
    let identity = &session.description.identity;
    Ok(device.begin_rotation(&identity.serial_no, &identity.device_provider, MAKE_KEY)?)
}

/// Proves that the next key was born in this chip, holds its chain against everything that the device is held against,
/// and only then has the device switch.
pub(super) fn switch(
    inner: &Inner,
    unit: &Unit,
    session: &Session,
    device: &dyn L1Device,
    chain: &[Vec<u8>],
) -> Result<Rotated, ManageError> {
    let (_one, _judging) = (locked(&session.managing), locked(&session.judging));
    let next = L1Keys { device_chain: chain.to_vec(), chip_chain: device.keys(CALL)?.chip_chain };
    let (keys, standing) = keys::judge(inner, session, &next, KeySlot::Next);
    match standing {
        Standing::Good => {}
        Standing::Refused { check: why } | Standing::Expired { reason: why } => {
            return Err(ManageError::Certificate(why));
        }
        Standing::Pending | Standing::NotRegistered { .. } => {
            return Err(ManageError::Certificate("there is none".into()));
        }
    }
    let destroyed = session.keys().and_then(|keys| keys.certificate.as_ref().map(key_name));
    if let Some(spki_sha256) = &destroyed {
        let planned =
            Destruction { spki_sha256: spki_sha256.clone(), cause: Cause::Rotated, at: inner.clock.now() };
        inner.store().plan_destruction(session.id.as_str(), &planned)?;
    }
    let certificate_sha256 = keys.sha256();
    {
        // whoever holds a block by the new key meanwhile waits for the new certificate
        let _settling = session.settle();
        device.finish_rotation(chain, CALL)?;
        session.set_keys(Some(std::sync::Arc::new(keys)));
    }
    *locked(&unit.signed) = None;
    inner.store().destruction_done(session.id.as_str())?;
    Ok(Rotated { certificate_sha256, destroyed_spki_sha256: destroyed })
}

/// Has the device destroy its keys; the chip key stays.
pub(super) fn destroy(
    inner: &Inner,
    session: &Session,
    device: &dyn L1Device,
) -> Result<Option<String>, ManageError> {
    let _one = locked(&session.managing);
    let held = device.keys(CALL)?;
    let current = held.device_chain.first().and_then(|der| Certificate::parse(der).ok());
    let destroyed = current.as_ref().map(key_name);
    if let Some(spki_sha256) = &destroyed {
        let planned = Destruction {
            spki_sha256: spki_sha256.clone(),
            cause: Cause::Deregistered,
            at: inner.clock.now(),
        };
        inner.store().plan_destruction(session.id.as_str(), &planned)?;
    }
    device.destroy_device_key(CALL)?;
    inner.store().destruction_done(session.id.as_str())?;
    Ok(destroyed)
}

/// Carries out an order to destroy whose end is not known, or records how it ended. `held` is what the device shows; what
/// it holds afterwards comes back.
pub(super) fn reconcile(
    inner: &Inner,
    session: &Session,
    device: &dyn L1Device,
    mut held: L1Keys,
) -> Result<L1Keys, ManageError> {
    // a rotation that is under way in this process will see to its own record
    let Ok(_one) = session.managing.try_lock() else { return Ok(held) };
    let id = session.id.as_str();
    let planned = inner.store().planned_destructions(id)?;
    let current = held.device_chain.first().and_then(|der| Certificate::parse(der).ok());
    let current = current.as_ref().map(key_name);
    match planned.iter().find(|planned| Some(&planned.spki_sha256) == current.as_ref()) {
        Some(planned) if planned.cause == Cause::Deregistered => {
            device.destroy_device_key(CALL)?;
            held.device_chain.clear();
            inner.store().destruction_done(id)?;
        }
        // the device never switched
        Some(_) => inner.store().drop_planned(id)?,
        None if planned.is_empty() => {}
        None => inner.store().destruction_done(id)?,
    }
    Ok(held)
}

/// A digital ID of this moment, by the chip.
pub(super) fn digital_id(device: &dyn L1Device) -> Result<Presentation, ManageError> {
    Ok(Presentation::Signed(device.digital_id(DigitalIdKey::Chip, SIGN)?))
}

/// How a key is named in the record: SHA-256 of its SubjectPublicKeyInfo, upper-case hex.
fn key_name(certificate: &Certificate) -> String {
    sha256_hex(certificate.spki_der())
}
