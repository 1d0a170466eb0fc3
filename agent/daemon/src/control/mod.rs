//! The control socket: status, waiting, enrolment and the care of devices, for `biotrust` and test rigs on this host.
//!
//! A Unix stream socket; one JSON object per line in, one line out. Trust: whoever may open the socket (mode 0660:
//! our user and group) may enrol devices, destroy keys and update firmware. Nothing here blocks; whatever a peer does, it costs one of
//! [`Limits::connections`] tasks and 64 KiB, and no longer than [`Limits::idle`] for nothing.

mod connection;
mod protocol;
mod socket;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use biotrust_attest::Challenge;
use biotrust_model::DeviceStatus;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use socket::{Claim, Socket, SocketError};

/// Pause after the system refused a connection, so that a lack of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the socket needs of the fleet.
pub trait Service: Send + Sync + 'static {
    /// The devices as an object with `devices` and `notices`.
    fn status(&self) -> serde_json::Value;

    /// Returns as soon as everything in `condition` holds at once.
    ///
    /// # Errors
    /// [`ControlErrorKind::Timeout`] with what is true instead.
    fn wait(
        &self,
        condition: WaitFor,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), ControlError>> + Send;

    /// A certificate signing request (DER) by the device key of `serial`; the key is made when there is none.
    ///
    /// # Errors
    /// No such device, or its keys are not kept by this host.
    fn enrol_begin(&self, serial: &str) -> impl Future<Output = Result<Vec<u8>, ControlError>> + Send;

    /// Installs the certificate for that key: leaf first, DER. Answers the leaf's SHA-256 in hex.
    ///
    /// # Errors
    /// No such device or key, or the chain is for another key or does not lead to an anchor.
    fn enrol_finish(
        &self,
        serial: &str,
        chain: Vec<Vec<u8>>,
    ) -> impl Future<Output = Result<String, ControlError>> + Send;

    /// Destroys the device key of `serial` and forgets its certificate.
    ///
    /// # Errors
    /// No such device or key.
    fn destroy_key(&self, serial: &str) -> impl Future<Output = Result<(), ControlError>> + Send;
}

/// What the socket needs of those who take care of devices. Each answer is an object for the peer; who cannot do something
/// refuses it.
pub trait Care: Service {
    /// Has a new device key certified by the management server, now.
    ///
    /// # Errors
    /// No such device, no server, or why there is no certificate.
    fn rotate(&self, serial: &str) -> impl Future<Output = Result<Value, ControlError>> + Send {
        let _ = serial;
        async { Err(ControlError::not_here()) }
    }

    /// The evidence of the last appraisal.
    ///
    /// # Errors
    /// No such device, or there is none.
    fn evidence(&self, serial: &str) -> Result<Value, ControlError> {
        let _ = serial;
        Err(ControlError::not_here())
    }

    /// Evidence that answers a challenge of the peer's own, about the device key that is in use: for a verifier who has to
    /// believe nobody.
    ///
    /// # Errors
    /// No such device, or it cannot prove anything.
    fn fresh_evidence(
        &self,
        serial: &str,
        challenge: Challenge,
    ) -> impl Future<Output = Result<Value, ControlError>> + Send {
        let _ = (serial, challenge);
        async { Err(ControlError::not_here()) }
    }

    /// Forgets what is remembered of devices with this serial number, so that the next one is taken as it comes.
    ///
    /// # Errors
    /// When the state cannot be written.
    fn forget(&self, serial: &str) -> impl Future<Output = Result<Value, ControlError>> + Send {
        let _ = serial;
        async { Err(ControlError::not_here()) }
    }

    /// Destroys the device keys and tells the management server so, where there is one.
    ///
    /// # Errors
    /// No such device or key.
    fn deregister(&self, serial: &str) -> impl Future<Output = Result<Value, ControlError>> + Send {
        let _ = serial;
        async { Err(ControlError::not_here()) }
    }

    /// What the time is, for this host and for the device.
    ///
    /// # Errors
    /// No such device.
    fn time(&self, serial: &str) -> impl Future<Output = Result<Value, ControlError>> + Send {
        let _ = serial;
        async { Err(ControlError::not_here()) }
    }

    /// Takes an update: verifies the manifest and makes room for an image.
    ///
    /// # Errors
    /// No such device, or the manifest is not for it.
    fn update_begin(
        &self,
        serial: &str,
        manifest: String,
    ) -> impl Future<Output = Result<Value, ControlError>> + Send {
        let _ = (serial, manifest);
        async { Err(ControlError::not_here()) }
    }

    /// Takes the next piece of the image.
    ///
    /// # Errors
    /// No such update, or the image is longer than its manifest says.
    fn update_data(&self, update: u64, data: Vec<u8>) -> Result<Value, ControlError> {
        let _ = (update, data);
        Err(ControlError::not_here())
    }

    /// The image is complete: hands it to the device.
    ///
    /// # Errors
    /// No such update, or the image or the device refuses.
    fn update_finish(&self, update: u64) -> impl Future<Output = Result<Value, ControlError>> + Send {
        let _ = update;
        async { Err(ControlError::not_here()) }
    }

    /// Begins to record what goes between a device (serial number, device id or place) and its driver.
    ///
    /// # Errors
    /// No such device, or another recording is under way.
    fn record_begin(&self, device: &str) -> Result<Value, ControlError> {
        let _ = device;
        Err(ControlError::not_here())
    }

    /// A piece of a recording.
    ///
    /// # Errors
    /// No such recording.
    fn record_data(&self, recording: u64, offset: usize) -> Result<Value, ControlError> {
        let _ = (recording, offset);
        Err(ControlError::not_here())
    }

    /// Ends a recording; what is left of it can still be fetched.
    ///
    /// # Errors
    /// No such recording, or it has failed.
    fn record_end(&self, recording: u64) -> Result<Value, ControlError> {
        let _ = recording;
        Err(ControlError::not_here())
    }

    /// The trust module of this host.
    ///
    /// # Errors
    /// When it does not answer.
    fn ftm_status(&self) -> impl Future<Output = Result<Value, ControlError>> + Send {
        async { Err(ControlError::not_here()) }
    }

    /// What its provider needs to certify it.
    ///
    /// # Errors
    /// When it cannot be provisioned, and what to do.
    fn ftm_request(
        &self,
        challenge: FtmChallenge,
    ) -> impl Future<Output = Result<Value, ControlError>> + Send {
        let _ = challenge;
        async { Err(ControlError::not_here()) }
    }

    /// Opens a secret that its provider protected for it: the proof that it is the chip of the request.
    ///
    /// # Errors
    /// When it is not for this module.
    fn ftm_activate(
        &self,
        credential: Vec<u8>,
        secret: Vec<u8>,
    ) -> impl Future<Output = Result<Value, ControlError>> + Send {
        let _ = (credential, secret);
        async { Err(ControlError::not_here()) }
    }

    /// Installs the certificates of its identity and its attestation key: own one first, DER.
    ///
    /// # Errors
    /// When they are not for its keys.
    fn ftm_install(
        &self,
        identity: Vec<Vec<u8>>,
        attestation: Vec<Vec<u8>>,
    ) -> impl Future<Output = Result<Value, ControlError>> + Send {
        let _ = (identity, attestation);
        async { Err(ControlError::not_here()) }
    }
}

/// For what a trust module is to be certified.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FtmChallenge {
    /// Common name of the chip certificate: the serial number of the module.
    pub common_name: String,
    /// Organisation of the FTM provider.
    pub organisation: String,
    /// The provider's challenge, 32 bytes in hex; absent: none is needed.
    #[serde(default)]
    pub binding: Option<String>,
}

/// What to wait for, on one device. What is absent does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WaitFor {
    /// The device.
    pub serial: String,
    /// Whether it is plugged in.
    #[serde(default)]
    pub present: Option<bool>,
    /// Its status.
    #[serde(default)]
    pub status: Option<DeviceStatus>,
    /// SHA-256 of its certificate, in hex.
    #[serde(default)]
    pub certificate_sha256: Option<String>,
}

/// Stable kind of a refusal; `code` on the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlErrorKind {
    /// The line is no request.
    BadRequest,
    /// No device of this serial number is known.
    NoSuchDevice,
    /// What was waited for did not come.
    Timeout,
    /// It cannot be done as things are.
    Refused,
    /// Too many connections.
    Busy,
    /// A fault of ours.
    Internal,
}

impl ControlErrorKind {
    /// Spelling on the socket.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::NoSuchDevice => "no_such_device",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Busy => "busy",
            Self::Internal => "internal",
        }
    }
}

/// A refusal. The message says what was wrong and what to do; it never holds keys or biometric data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ControlError {
    /// Kind.
    pub kind: ControlErrorKind,
    /// For people.
    pub message: String,
}

impl ControlError {
    /// A refusal.
    #[must_use]
    pub fn new(kind: ControlErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    fn not_here() -> Self {
        Self::new(ControlErrorKind::Refused, "this service does not take care of that")
    }
}

/// What status says of the daemon itself.
#[derive(Debug, Clone)]
pub struct About {
    /// Base URL of the service.
    pub url: String,
    /// Its port.
    pub port: u16,
    /// State directory.
    pub state_directory: std::path::PathBuf,
}

/// What peers may use up.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at one time; the next one is told so and closed.
    pub connections: usize,
    /// How long a connection may take for its next request, or for reading an answer, before it is closed.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 32, idle: Duration::from_secs(60) }
    }
}

/// Answers on `socket` until `stop`; then waits for requests that are being carried out.
pub async fn serve<S: Care>(
    socket: Socket,
    service: Arc<S>,
    about: About,
    limits: Limits,
    stop: CancellationToken,
) {
    let about = Arc::new(about);
    let places = Arc::new(Semaphore::new(limits.connections));
    let tasks = TaskTracker::new();
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = socket.accept() => match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the control socket");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => {
                let (service, about, stop) = (Arc::clone(&service), Arc::clone(&about), stop.clone());
                tasks.spawn(async move {
                    connection::run(stream, &*service, &about, limits.idle, &stop).await;
                    drop(place);
                });
            }
            Err(_) => connection::refuse(&stream),
        }
    }
    tasks.close();
    tasks.wait().await;
}
