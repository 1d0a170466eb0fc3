//! What the management client needs of the devices: proofs, keys, signatures, clocks, firmware. Nothing here, and so nothing
//! that a management server could order, starts a capture.

use std::future::Future;

use biotrust_attest::Challenge;
use biotrust_driver_api::{DeviceClock, FirmwareState};
use biotrust_model::evidence::KeySlot;
use bytes::Bytes;
use tokio::sync::watch;

use crate::fleet::{Fleet, ManageError, ManagedDevice, Presentation, Rotated};

/// The devices of this host. Calls wait within a bound; none blocks the runtime. See [`Fleet`] for each.
pub trait Hands: Send + Sync + 'static {
    /// The devices that are connected.
    fn devices(&self) -> Vec<ManagedDevice>;

    /// Counts up with every change that [`Self::devices`] may show.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Keeps a device Not Ready, with the reason, or lets it be used again.
    fn set_held(&self, serial: &str, why: Option<&str>);

    /// What somebody should know who looks after this host.
    fn notices(&self) -> Vec<String>;

    /// Makes the next key; a PKCS#10 request for it, DER.
    fn begin_rotation(&self, serial: &str) -> impl Future<Output = Result<Vec<u8>, ManageError>> + Send;

    /// Evidence that answers the challenge and speaks for the next key.
    fn prove_next_key(
        &self,
        serial: &str,
        challenge: Challenge,
    ) -> impl Future<Output = Result<String, ManageError>> + Send;

    /// Signs a message to the server.
    fn sign(&self, serial: &str, payload: String)
    -> impl Future<Output = Result<String, ManageError>> + Send;

    /// A digital ID of this moment.
    fn digital_id(&self, serial: &str) -> impl Future<Output = Result<Presentation, ManageError>> + Send;

    /// Switches to the next key and this certificate of it.
    fn finish_rotation(
        &self,
        serial: &str,
        chain: Vec<Vec<u8>>,
    ) -> impl Future<Output = Result<Rotated, ManageError>> + Send;

    /// Destroys all device keys.
    fn destroy_key(&self, serial: &str) -> impl Future<Output = Result<Option<String>, ManageError>> + Send;

    /// The device's own clock, where it has one.
    fn clock(&self, serial: &str) -> impl Future<Output = Result<Option<DeviceClock>, ManageError>> + Send;

    /// Sets it.
    fn set_clock(&self, serial: &str, token: String) -> impl Future<Output = Result<(), ManageError>> + Send;

    /// Its firmware, where that can be updated.
    fn firmware(
        &self,
        serial: &str,
    ) -> impl Future<Output = Result<Option<FirmwareState>, ManageError>> + Send;

    /// Verifies a manifest for this device; the version that it brings.
    fn check_update(
        &self,
        serial: &str,
        manifest: String,
    ) -> impl Future<Output = Result<String, ManageError>> + Send;

    /// Verifies manifest and image and hands both over; the device then starts with the image. Goes on where an earlier
    /// attempt was cut short.
    fn update(
        &self,
        serial: &str,
        manifest: String,
        image: Bytes,
    ) -> impl Future<Output = Result<(), ManageError>> + Send;
}

impl Hands for Fleet {
    fn devices(&self) -> Vec<ManagedDevice> {
        self.managed()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        Self::changes(self)
    }

    fn set_held(&self, serial: &str, why: Option<&str>) {
        Self::set_held(self, serial, why);
    }

    fn notices(&self) -> Vec<String> {
        Self::notices(self)
    }

    async fn begin_rotation(&self, serial: &str) -> Result<Vec<u8>, ManageError> {
        Self::begin_rotation(self, serial).await
    }

    async fn prove_next_key(&self, serial: &str, challenge: Challenge) -> Result<String, ManageError> {
        self.evidence_for(serial, challenge, Some(KeySlot::Next)).await
    }

    async fn sign(&self, serial: &str, payload: String) -> Result<String, ManageError> {
        self.sign_management(serial, payload).await
    }

    async fn digital_id(&self, serial: &str) -> Result<Presentation, ManageError> {
        Self::digital_id(self, serial).await
    }

    async fn finish_rotation(&self, serial: &str, chain: Vec<Vec<u8>>) -> Result<Rotated, ManageError> {
        Self::finish_rotation(self, serial, chain).await
    }

    async fn destroy_key(&self, serial: &str) -> Result<Option<String>, ManageError> {
        Self::destroy_key(self, serial).await
    }

    async fn clock(&self, serial: &str) -> Result<Option<DeviceClock>, ManageError> {
        Self::clock(self, serial).await
    }

    async fn set_clock(&self, serial: &str, token: String) -> Result<(), ManageError> {
        Self::set_clock(self, serial, token).await
    }

    async fn firmware(&self, serial: &str) -> Result<Option<FirmwareState>, ManageError> {
        Self::firmware(self, serial).await
    }

    async fn check_update(&self, serial: &str, manifest: String) -> Result<String, ManageError> {
        Self::check_update(self, serial, manifest).await
    }

    async fn update(&self, serial: &str, manifest: String, image: Bytes) -> Result<(), ManageError> {
        Fleet::update(self, serial, manifest, image, |_| {}).await.map(drop)
    }
}
