//! What can go wrong with a device: a stable kind for the caller, a chain for the log.

use biotrust_model::ProblemKind;

/// Stable kind of a device error; the caller acts on this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceErrorKind {
    /// Unplugged, or its line is closed. Terminal for this handle.
    Gone,
    /// Not allowed to open it: a udev rule or group is missing.
    PermissionDenied,
    /// Another program holds it.
    InUse,
    /// It did not answer in time.
    TimedOut,
    /// It broke the protocol; the handle must be reset.
    Protocol,
    /// It refuses this job now.
    Busy,
    /// It is there but cannot work (cover open, warming up, no sensor).
    NotReady,
    /// It has no certificate.
    NotRegistered,
    /// It reports tampering.
    Tampered,
    /// It holds no usable certificate to encrypt for.
    NoEncryptionKey,
    /// The job asks for something this device does not have.
    Unsupported,
    /// Called off by [`crate::Cancel`].
    Cancelled,
    /// It failed inside.
    Internal,
}

impl DeviceErrorKind {
    /// How people and clients meet this kind.
    #[must_use]
    pub const fn problem(self) -> ProblemKind {
        match self {
            Self::Gone => ProblemKind::DeviceNotFound,
            Self::PermissionDenied | Self::InUse | Self::NotReady => ProblemKind::NotReady,
            Self::TimedOut | Self::Protocol | Self::Internal => ProblemKind::ExtractionFailed,
            Self::Busy => ProblemKind::Busy,
            Self::NotRegistered => ProblemKind::NotRegistered,
            Self::Tampered => ProblemKind::Tampered,
            Self::NoEncryptionKey => ProblemKind::EncryptionKeyMissing,
            Self::Unsupported => ProblemKind::CountNotSupported,
            Self::Cancelled => ProblemKind::Cancelled,
        }
    }
}

/// A device error. The message never holds keys, tokens or biometric data.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct DeviceError {
    /// Stable kind.
    pub kind: DeviceErrorKind,
    /// What happened, where.
    pub message: String,
    /// What lies below, for the log.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl DeviceError {
    /// An error without a cause below it.
    #[must_use]
    pub fn new(kind: DeviceErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// An error with its cause.
    #[must_use]
    pub fn caused(
        kind: DeviceErrorKind,
        message: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self { kind, message: message.into(), source: Some(Box::new(source)) }
    }
}
