//! What a biometric device can do.
//!
//! Level is a type: an [`L0Device`] delivers images that the host signs, an [`L1Device`] delivers blocks that its own
//! FTM has signed and, for authentication, encrypted. There is no way from one to the other.

use std::sync::Arc;
use std::time::Duration;

use biotrust_model::evidence::{Binding, KeySlot, Proof};
use biotrust_model::{
    BioSubType, DeviceIdentity, DeviceStatus, Env, Level, Purpose, Score, Secret, SubId, time::UtcMillis,
};

use crate::{Cancel, DeviceError};

/// What a device says of itself when it is opened. All of it is a claim until it has been appraised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Serial number, make, model, kind, provider.
    pub identity: DeviceIdentity,
    /// Claimed level; decides which of [`Opened`]'s variants the driver returns.
    pub level: Level,
    /// Registration or authentication device.
    pub purpose: Purpose,
    /// Exact firmware version.
    pub firmware: String,
    /// Sub-ids that can be asked for, ascending.
    pub sub_ids: Vec<SubId>,
}

/// State as the device itself sees it, with a reason where it is not `Ready`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfReport {
    /// The state.
    pub status: DeviceStatus,
    /// Why, where it is not `Ready`; empty otherwise.
    pub reason: String,
}

/// One preview frame: a complete baseline JPEG with the quality mark drawn in.
#[derive(Clone)]
pub struct Frame {
    /// Counts up from 1 per device; a gap means frames were dropped on the way.
    pub sequence: u64,
    /// The JPEG. Biometric data: never logged, freed with the last reader.
    pub jpeg: Arc<[u8]>,
    /// Quality of what is in view, where something is.
    pub score: Option<Score>,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame(#{}, {} bytes, score {:?})", self.sequence, self.jpeg.len(), self.score)
    }
}

/// What a device does unasked.
#[derive(Debug)]
pub enum DeviceEvent {
    /// A new preview frame (only while a stream is on).
    Frame(Frame),
    /// Its own state changed.
    Status(SelfReport),
    /// Its keys or certificates changed: read them and appraise again.
    KeysChanged,
    /// The line is closed or broken; nothing follows.
    Gone(DeviceError),
}

/// Where a driver puts events. Called from the driver's reading thread: must return at once and never block.
pub type EventSink = Box<dyn Fn(DeviceEvent) + Send + Sync>;

/// Live preview wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamJob {
    /// Part of the scanner to show.
    pub sub_id: SubId,
    /// Frames a second, 3..=30; the device may deliver fewer.
    pub fps: u8,
}

/// Which key signs the digital ID of an L1 registration capture (authentication is always the chip key).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DigitalIdKey {
    /// The chip key, as the specification says.
    #[default]
    Chip,
    /// The device key: for deployments whose clients trust digital IDs in domain DEVICE only.
    Device,
}

/// Members of an authentication request that go into the signed and encrypted blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthCapture {
    /// Echoed byte for byte.
    pub domain_uri: String,
}

/// A capture to make. The host has validated the request and resolved it to `parts`.
#[derive(Debug, Clone)]
pub struct CaptureJob {
    /// What to capture, in the order of the answer; empty for a face.
    pub parts: Vec<BioSubType>,
    /// Missing fingers and eyes: never captured; for a face they make it an exception photo.
    pub exceptions: Vec<BioSubType>,
    /// Part of the scanner.
    pub sub_id: SubId,
    /// Stop as soon as the average of all parts reaches this.
    pub requested_score: Score,
    /// Its text as it must be echoed.
    pub requested_score_text: String,
    /// Answer within this time: with the best frames so far, or with `Nothing`.
    pub finish_within: Duration,
    /// Registration or authentication; decides codec and, at L1, encryption.
    pub purpose: Purpose,
    /// Present exactly when `purpose` is `Auth`.
    pub auth: Option<AuthCapture>,
    /// Echoed byte for byte.
    pub transaction_id: String,
    /// Echoed.
    pub env: Env,
    /// Echoed.
    pub spec_version: String,
    /// Version of the device service, for the blocks.
    pub service_version: String,
    /// Start of the hash chain (32 raw bytes).
    pub previous_hash: [u8; 32],
    /// L1 registration: list the chip certificate as second `x5c` entry of each block.
    pub append_chip_certificate: bool,
    /// L1 registration: who signs the digital ID.
    pub digital_id_key: DigitalIdKey,
}

/// Codec of a captured image, always in a JP2 file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageCodec {
    /// Reversible 5/3 (registration).
    Jpeg2000Lossless,
    /// Irreversible 9/7, 15:1 at most (authentication).
    Jpeg2000Lossy,
}

/// One captured image of an L0 device. The host builds the ISO record around it.
#[derive(Debug)]
pub struct CapturedImage {
    /// Which part; `None` for a face.
    pub part: Option<BioSubType>,
    /// JP2 file.
    pub image: Secret,
    /// Codec.
    pub codec: ImageCodec,
    /// Pixels.
    pub width: u16,
    /// Pixels.
    pub height: u16,
    /// Pixels per inch; 0 where it has no meaning (iris, face).
    pub dpi: u16,
    /// Quality by the device's own measure.
    pub score: Score,
    /// When, by the host's clock.
    pub captured_at: UtcMillis,
    /// Iris: centre x, centre y, diameter in pixels, where known.
    pub iris_geometry: Option<[u16; 3]>,
}

/// One signed block of an L1 device, ready to be verified and passed on.
pub struct SignedBlock {
    /// Compact JWS of the data object, by the device key. Registration: holds a clear biometric.
    pub data: Secret,
    /// Hash of the chain after this block, 64 upper-case hex characters.
    pub hash: String,
    /// Authentication only: wrapped session key, base64url.
    pub session_key: Option<String>,
    /// Authentication only: SHA-256 of the encryption certificate, 64 upper-case hex characters.
    pub thumbprint: Option<String>,
}

impl std::fmt::Debug for SignedBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sealed = if self.session_key.is_some() { "sealed" } else { "clear" };
        write!(f, "SignedBlock({sealed}, {} bytes)", self.data.len())
    }
}

/// How a capture ended.
#[derive(Debug)]
pub enum CaptureOutcome<T> {
    /// All parts, in the order asked for; `reached` tells whether the requested score was.
    Done {
        /// One per part (one for a face).
        parts: Vec<T>,
        /// Whether the average reached the requested score.
        reached: bool,
    },
    /// Nothing (or not everything) was presented in time.
    Nothing,
}

/// Certificates of an L1 device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct L1Keys {
    /// Device certificate first, then what leads to its anchor; DER. Empty while the device is not registered.
    pub device_chain: Vec<Vec<u8>>,
    /// Chip certificate first, then what leads to its anchor; DER.
    pub chip_chain: Vec<Vec<u8>>,
}

/// What the host wants in the signed device info.
#[derive(Debug, Clone)]
pub struct InfoJob {
    /// `deviceId`.
    pub device_id: String,
    /// State to report.
    pub status: DeviceStatus,
    /// Environment.
    pub env: Env,
    /// Base URL of the service, with a slash at the end.
    pub callback_id: String,
    /// Version of the device service.
    pub service_version: String,
    /// Who signs the digital ID in it.
    pub digital_id_key: DigitalIdKey,
    /// Level to report: the device's own, or L0 where the host does not grant it L1. A device never claims more than it is.
    pub level: Level,
}

/// What a chip key signs beside digital IDs. The chip writes header and signature; it refuses a payload that is not of
/// the kind, not about itself, or could be taken for a digital ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChipDocument {
    /// Evidence: type `eat+jwt`.
    Evidence,
    /// A message to the management server: type `mgmt+jwt`.
    Management,
}

impl ChipDocument {
    /// `typ` of the header.
    #[must_use]
    pub const fn typ(self) -> &'static str {
        match self {
            Self::Evidence => "eat+jwt",
            Self::Management => "mgmt+jwt",
        }
    }
}

/// The clock of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceClock {
    /// To be in the next time token; a new one after each token.
    pub nonce: [u8; 32],
    /// What it takes for the time, once a token has told it since its last start.
    pub now: Option<UtcMillis>,
    /// Starts of the device so far: an offset holds for one of them.
    pub boot_count: u64,
}

/// Firmware of a device and of an update that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareState {
    /// Version that runs.
    pub version: String,
    /// Its security version number.
    pub svn: u64,
    /// Images below this number are refused.
    pub svn_floor: u64,
    /// Failed attempts to update since the last success; ten lock the update path.
    pub failed_attempts: u32,
    /// Whether it is locked.
    pub locked: bool,
    /// The update under way.
    pub pending: Option<PendingFirmware>,
}

/// An update under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingFirmware {
    /// Version that it brings.
    pub version: String,
    /// Bytes of the image.
    pub size: u64,
    /// Bytes that the device holds safely: go on from here.
    pub received: u64,
}

/// What any device can do. Called from several threads at once: a preview is started, or device info signed, while
/// a capture runs. Events come from a thread of the driver's own.
pub trait Device: Send + Sync {
    /// What it said of itself when it was opened.
    fn description(&self) -> &Description;

    /// Its state now; also serves as the health check.
    ///
    /// # Errors
    /// `Gone`, `TimedOut`, `Protocol`.
    fn status(&self, timeout: Duration) -> Result<SelfReport, DeviceError>;

    /// Starts (or changes) the live preview; frames come as [`DeviceEvent::Frame`].
    ///
    /// # Errors
    /// `NotReady`, `Unsupported`, `Gone`.
    fn start_stream(&self, job: StreamJob, timeout: Duration) -> Result<(), DeviceError>;

    /// Ends the live preview.
    ///
    /// # Errors
    /// `Gone`, `TimedOut`.
    fn stop_stream(&self, timeout: Duration) -> Result<(), DeviceError>;
}

/// A device whose keys live on the host.
pub trait L0Device: Device {
    /// Captures images. Returns within `job.finish_within` plus the time of the transfer, at once when cancelled.
    ///
    /// # Errors
    /// `Cancelled`, `Busy`, `NotReady`, `Gone`, `Protocol` …
    fn capture(
        &self,
        job: &CaptureJob,
        cancel: &Cancel,
    ) -> Result<CaptureOutcome<CapturedImage>, DeviceError>;
}

/// A device with an FTM of its own. Signing device info must not wait for a capture.
pub trait L1Device: Device {
    /// Captures blocks, signed and (for authentication) encrypted inside the device.
    ///
    /// # Errors
    /// As [`L0Device::capture`], and `NoEncryptionKey`.
    fn capture(&self, job: &CaptureJob, cancel: &Cancel) -> Result<CaptureOutcome<SignedBlock>, DeviceError>;

    /// The certificates it holds now.
    ///
    /// # Errors
    /// `Gone`, `TimedOut`, `Protocol`.
    fn keys(&self, timeout: Duration) -> Result<L1Keys, DeviceError>;

    /// Device info signed by the device key, with a digital ID of this moment inside: a compact JWS.
    ///
    /// # Errors
    /// `NotRegistered` when it has no certificate.
    fn signed_info(&self, job: &InfoJob, timeout: Duration) -> Result<String, DeviceError>;

    /// Gives it the certificate to encrypt for in `domain_uri` ("" is the default), leaf first, DER. The device
    /// accepts it only under the adopter's anchor that it was made with: a host cannot redirect biometrics.
    ///
    /// # Errors
    /// `Unsupported` when the device refuses the certificate.
    fn install_encryption_certificate(
        &self,
        domain_uri: &str,
        chain: &[Vec<u8>],
        timeout: Duration,
    ) -> Result<(), DeviceError>;

    /// Proves, bound to `binding`, who it is and what runs in it, and where `key` is given, that this device key was
    /// born in it.
    ///
    /// # Errors
    /// `Unsupported` when it cannot, `NotRegistered` when it has no such key.
    fn prove(&self, binding: &Binding, key: Option<KeySlot>, timeout: Duration)
    -> Result<Proof, DeviceError>;

    /// A compact JWS by the chip key over `payload` (JSON), the chip certificate first in `x5c`.
    ///
    /// # Errors
    /// `Unsupported` when the chip will not sign this.
    fn sign_as_chip(
        &self,
        document: ChipDocument,
        payload: &str,
        timeout: Duration,
    ) -> Result<String, DeviceError>;

    /// A digital ID of this moment: a compact JWS.
    ///
    /// # Errors
    /// `NotRegistered` when the device key is asked for and has no certificate.
    fn digital_id(&self, key: DigitalIdKey, timeout: Duration) -> Result<String, DeviceError>;

    /// Makes the next device key (or takes the one made ahead) and returns a PKCS#10 request (DER) for it. The current
    /// key stays in use. An unfinished earlier rotation is replaced.
    ///
    /// # Errors
    /// `Unsupported`, `Gone`, `TimedOut`.
    fn begin_rotation(
        &self,
        common_name: &str,
        organisation: &str,
        timeout: Duration,
    ) -> Result<Vec<u8>, DeviceError>;

    /// Gives it the certificate of its next key, leaf first, DER. Between two captures the device switches to key and
    /// certificate at once and destroys the old key; what was begun with the old pair ends with it.
    ///
    /// # Errors
    /// `Unsupported` when the certificate is not for that key or not under the anchor that the device was made with.
    fn finish_rotation(&self, chain: &[Vec<u8>], timeout: Duration) -> Result<(), DeviceError>;

    /// Destroys its device keys and forgets their certificates; the chip key stays.
    ///
    /// # Errors
    /// `Gone`, `TimedOut`.
    fn destroy_device_key(&self, timeout: Duration) -> Result<(), DeviceError>;

    /// Its clock.
    ///
    /// # Errors
    /// `Gone`, `TimedOut`.
    fn clock(&self, timeout: Duration) -> Result<DeviceClock, DeviceError>;

    /// Sets its clock by a token of its provider's management server that holds the nonce of [`Self::clock`].
    ///
    /// # Errors
    /// `Unsupported` when the device refuses the token.
    fn set_clock(&self, token: &str, timeout: Duration) -> Result<(), DeviceError>;

    /// Its firmware.
    ///
    /// # Errors
    /// `Gone`, `TimedOut`.
    fn firmware(&self, timeout: Duration) -> Result<FirmwareState, DeviceError>;

    /// Begins an update, or goes on with the one of the same manifest (a compact JWS). Send blocks from
    /// `pending.received` on.
    ///
    /// # Errors
    /// `Unsupported` with the reason when the device refuses the manifest.
    fn begin_update(&self, manifest: &str, timeout: Duration) -> Result<FirmwareState, DeviceError>;

    /// Hands over `block` of the image at `offset`, 16 KiB at most; returns the bytes that the device holds now.
    ///
    /// # Errors
    /// `Protocol` when the offset is not the one that is next.
    fn update_block(&self, offset: u64, block: &[u8], timeout: Duration) -> Result<u64, DeviceError>;

    /// The image is complete: the device verifies it and starts anew with it, or goes on with what runs. It is gone for
    /// the time of its start.
    ///
    /// # Errors
    /// `Unsupported` with the reason when the image is not what the manifest says.
    fn finish_update(&self, timeout: Duration) -> Result<(), DeviceError>;
}

/// A device that has been opened, by level. Dropping the last handle closes it and joins the driver's threads.
#[derive(Clone)]
pub enum Opened {
    /// Keys on the host.
    L0(Arc<dyn L0Device>),
    /// Keys in the device.
    L1(Arc<dyn L1Device>),
}

impl Opened {
    /// What both levels can do.
    #[must_use]
    pub fn device(&self) -> &dyn Device {
        match self {
            Self::L0(device) => device.as_ref(),
            Self::L1(device) => device.as_ref(),
        }
    }
}

/// Opens devices of one kind.
pub trait DriverFactory: Send + Sync {
    /// Name in quirk files, configuration, status and log.
    fn name(&self) -> &'static str;

    /// Whether it may be tried on a serial line that nothing is known of: it must do no harm to a stranger.
    fn tries_unknown_lines(&self) -> bool {
        false
    }

    /// Opens whatever is at the other end of `port`, of which `found` tells what is known.
    ///
    /// # Errors
    /// `Protocol` when it does not speak this driver's language, `TimedOut` when it says nothing, `Unsupported` when
    /// this driver cannot use a port of this kind.
    fn open(
        &self,
        port: crate::Port,
        found: &crate::Found,
        events: EventSink,
        timeout: Duration,
    ) -> Result<Opened, DeviceError>;
}
