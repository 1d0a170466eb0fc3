//! An update that the server ordered: its image comes from the server over the same pinned TLS, the fleet verifies manifest
//! and image and hands them over, and the device verifies both again. An attempt that is cut short goes on where it ended.

use std::time::Duration;

use biotrust_attest::manifest::{self, MAX_IMAGE, Manifest};
use biotrust_attest::signed;
use biotrust_driver_api::FirmwareState;
use biotrust_mgmt::Sha256;
use biotrust_mgmt::client::Failure;
use bytes::Bytes;
use reqwest::Url;

use super::hands::Hands;
use super::jobs::by_device;
use super::server::failure;
use super::{Shared, off_thread};
use crate::fleet::ManagedDevice;

/// How long a device may take to start with its new firmware.
const START: Duration = Duration::from_secs(120);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(500);

/// Brings `device` to the firmware of `manifest`, whose image is at `image` on the server.
pub(super) async fn update<H: Hands>(
    shared: &Shared<H>,
    device: &ManagedDevice,
    manifest: &str,
    image: &str,
) -> Result<(), Failure> {
    let serial = device.identity.serial_no.as_str();
    let url = shared.server.image(image)?;
    shared.hands.check_update(serial, manifest.to_owned()).await.map_err(by_device)?;
    let announced = read(manifest)?;
    let attempt = Attempt { shared, serial, id: Sha256::of(manifest.as_bytes()) };
    let before = attempt.firmware().await?;
    if before.version == announced.version {
        return attempt.forget().await;
    }
    // an image that is still being received was cut off, not refused
    if before.pending.is_none() && attempt.was_handed_over().await? {
        attempt.forget().await?;
        return Err(Failure::Device(
            "the device did not stay with the new firmware and went back to what it had".into(),
        ));
    }
    let image = attempt.download(&url, announced.size).await?;
    // the restart of the device, with the whole image, may cut us off
    attempt.remember().await?;
    let handed_over = shared.hands.update(serial, manifest.to_owned(), image).await;
    if let Err(error) = handed_over {
        attempt.forget().await?;
        return Err(by_device(error));
    }
    attempt.wait_for(&announced.version).await?;
    attempt.forget().await
}

/// What a verified manifest says.
fn read(jws: &str) -> Result<Manifest, Failure> {
    let refused = |why: String| Failure::Distrusted(format!("the manifest of the update: {why}"));
    let parsed = signed::parse(manifest::TYP, jws, manifest::MAX_LENGTH)
        .map_err(|error| refused(error.to_string()))?;
    let manifest = Manifest::from_json(&parsed.payload).map_err(|error| refused(error.to_string()))?;
    match manifest.size {
        1..=MAX_IMAGE => Ok(manifest),
        size => Err(refused(format!("an image of {size} bytes"))),
    }
}

struct Attempt<'a, H> {
    shared: &'a Shared<H>,
    serial: &'a str,
    id: Sha256,
}

impl<H: Hands> Attempt<'_, H> {
    /// Fetches the image, no more of it than was announced.
    async fn download(&self, url: &Url, size: u64) -> Result<Bytes, Failure> {
        let mut download = self.shared.server.https().download(url).await.map_err(failure)?;
        let mut image = Vec::new();
        while let Some(piece) = download.next().await.map_err(failure)? {
            image.extend_from_slice(&piece);
            if image.len() as u64 > size {
                return Err(Failure::Distrusted(format!(
                    "the image is longer than the {size} bytes announced"
                )));
            }
        }
        match image.len() as u64 {
            got if got < size => {
                Err(Failure::Unreachable(format!("the image broke off after {got} of {size} bytes")))
            }
            _ => Ok(image.into()),
        }
    }

    async fn firmware(&self) -> Result<FirmwareState, Failure> {
        let firmware = self.shared.hands.firmware(self.serial).await.map_err(by_device)?;
        firmware.ok_or_else(|| Failure::Device("its firmware cannot be updated from here".into()))
    }

    /// Waits until the device has started with it. It is gone meanwhile.
    async fn wait_for(&self, wanted: &str) -> Result<(), Failure> {
        let started = async {
            loop {
                tokio::time::sleep(LOOK).await;
                if self.firmware().await.is_ok_and(|firmware| firmware.version == wanted) {
                    return;
                }
            }
        };
        tokio::time::timeout(START, started)
            .await
            .map_err(|_| Failure::Device("it does not run the new firmware; see its own state".into()))
    }

    async fn was_handed_over(&self) -> Result<bool, Failure> {
        let (ledger, name) = (self.shared.ledger.clone(), self.name());
        Ok(off_thread(move || ledger.get::<Sha256>(&name)).await? == Some(self.id))
    }

    async fn remember(&self) -> Result<(), Failure> {
        let (ledger, name, id) = (self.shared.ledger.clone(), self.name(), self.id);
        off_thread(move || ledger.put(&name, &id)).await
    }

    async fn forget(&self) -> Result<(), Failure> {
        let (ledger, name) = (self.shared.ledger.clone(), self.name());
        off_thread(move || ledger.remove(&name)).await
    }

    fn name(&self) -> String {
        format!("update/{}", self.serial)
    }
}
