//! The two trust domains, as values (for messages and configuration) and as types (so that stores cannot be swapped).

/// Whose certificates are trusted for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Domain {
    /// Device providers: device certificates.
    Device,
    /// FTM providers: chip certificates.
    Ftm,
}

impl Domain {
    /// `DEVICE` or `FTM`, as partner management and the key manager spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Device => "DEVICE",
            Self::Ftm => "FTM",
        }
    }
}

impl std::fmt::Display for Domain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Type-level [`Domain::Device`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {}

/// Type-level [`Domain::Ftm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ftm {}

/// A [`Domain`] as a type. Closed: only [`Device`] and [`Ftm`] are domains.
pub trait TrustDomain: sealed::Sealed + Send + Sync + 'static {
    /// The value that stands for this type.
    const DOMAIN: Domain;
}

impl TrustDomain for Device {
    const DOMAIN: Domain = Domain::Device;
}

impl TrustDomain for Ftm {
    const DOMAIN: Domain = Domain::Ftm;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Device {}
    impl Sealed for super::Ftm {}
}
