//! Updates of a device's firmware: verified here, handed over block by block, verified again by the device.
//!
//! What a device has received survives an update that is cut short, by a cable or by the end of this daemon: asking for
//! the same update again goes on where it ended. Captures go on meanwhile; they and the blocks share the line.

use std::sync::Arc;
use std::time::Duration;

use biotrust_attest::manifest::{self, Manifest, Target};
use biotrust_driver_api::{FirmwareState, L1Device};
use bytes::Bytes;

use super::device_keys::CALL;
use super::management::{ManageError, Progress};
use super::unit::Session;
use super::{Fleet, Inner, locked};

/// Bytes of a block.
const BLOCK: usize = 16 * 1024;
/// The longest that a device may take to verify an image before it starts anew.
const VERIFY: Duration = Duration::from_secs(30);

impl Fleet {
    /// Verifies a manifest (compact JWS) for this device: signed by its provider for firmware, for this make and model,
    /// and not older than what it runs or takes. The version that it brings.
    ///
    /// # Errors
    /// [`ManageError::Firmware`] with the rule that does not hold.
    pub async fn check_update(&self, serial: &str, manifest: String) -> Result<String, ManageError> {
        let (_, session) = self.by_serial(serial)?;
        let of = Arc::clone(&session);
        self.in_device(&session, move |inner, device| {
            Ok(announced(inner, &of, &device.firmware(CALL)?, &manifest)?.version)
        })
        .await
    }

    /// Brings the image that `manifest` (compact JWS) announces to the device, and has it start with it. `progress` hears
    /// of every block, on a thread where it may block. Returns what the device ran until then; it is gone for the time of
    /// its start.
    ///
    /// # Errors
    /// [`ManageError::Firmware`] where manifest or image is no good, before the device hears of either; `Device` where the
    /// device refuses or is lost. Asking again goes on where it ended.
    pub async fn update(
        &self,
        serial: &str,
        manifest: String,
        image: Bytes,
        progress: impl Fn(Progress) + Send + 'static,
    ) -> Result<FirmwareState, ManageError> {
        let (_, session) = self.by_serial(serial)?;
        let of = Arc::clone(&session);
        self.in_device(&session, move |inner, device| {
            update(inner, &of, device, &manifest, &image, &progress)
        })
        .await
    }
}

/// The place of the one update that a device takes at a time.
struct Slot<'s>(&'s Session);

impl<'s> Slot<'s> {
    fn take(session: &'s Session, size: u64) -> Result<Self, ManageError> {
        let mut update = locked(&session.update);
        if update.is_some() {
            return Err(ManageError::Unsupported("an update of it is under way"));
        }
        *update = Some(Progress { received: 0, size });
        Ok(Self(session))
    }

    fn tell(&self, progress: Progress) {
        *locked(&self.0.update) = Some(progress);
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *locked(&self.0.update) = None;
    }
}

fn update(
    inner: &Inner,
    session: &Session,
    device: &dyn L1Device,
    manifest: &str,
    image: &[u8],
    progress: &dyn Fn(Progress),
) -> Result<FirmwareState, ManageError> {
    let size = u64::try_from(image.len()).unwrap_or(u64::MAX);
    let slot = Slot::take(session, size)?;
    let running = device.firmware(CALL)?;
    let announced = announced(inner, session, &running, manifest)?;
    announced.check_image(image).map_err(|error| ManageError::Firmware(error.to_string()))?;

    let state = device.begin_update(manifest, CALL)?;
    let mut received = state.pending.as_ref().map_or(0, |pending| pending.received);
    tracing::info!(device = %session.id, from = state.version, to = announced.version, received, size, "firmware update");
    while received < size {
        if inner.stop.is_cancelled() {
            return Err(ManageError::Internal(
                "this service is stopping; the update goes on when it is asked for again".into(),
            ));
        }
        let rest = usize::try_from(received).ok().and_then(|at| image.get(at..)).unwrap_or_default();
        let block = rest.get(..BLOCK).unwrap_or(rest);
        let now = device.update_block(received, block, CALL)?;
        if now <= received || now > size {
            let why = format!("the device counts {now} bytes after {received} of {size}");
            return Err(ManageError::Firmware(why));
        }
        received = now;
        slot.tell(Progress { received, size });
        progress(Progress { received, size });
    }
    device.finish_update(VERIFY)?;
    tracing::info!(device = %session.id, version = announced.version, "firmware handed over; the device starts anew");
    Ok(state)
}

/// The manifest, once it is known to be one for this device as it is.
fn announced(
    inner: &Inner,
    session: &Session,
    running: &FirmwareState,
    manifest: &str,
) -> Result<Manifest, ManageError> {
    if running.locked {
        return Err(ManageError::Firmware(format!(
            "the device took {} failed attempts and is locked against updates: send it to its provider",
            running.failed_attempts
        )));
    }
    let identity = &session.description.identity;
    let target = Target {
        vendor: &identity.device_provider,
        make: &identity.make,
        model: &identity.model,
        running: &running.version,
        svn_floor: running.svn_floor.max(running.svn),
        sequence: None,
        loader_svn: None,
        capacity: None,
    };
    manifest::verify(manifest, &inner.trust.device, &target, inner.clock.now())
        .map_err(|error| ManageError::Firmware(error.to_string()))
}
