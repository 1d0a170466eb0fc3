//! The trust domains, as values (for messages and configuration) and as types (so that stores cannot be swapped).

/// Whose certificates are trusted for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Domain {
    /// Device providers: device certificates.
    Device,
    /// FTM providers: chip certificates.
    Ftm,
    /// The identity authority: signers of model metadata, certificates that captures are encrypted for. Our own word;
    /// the back ends have no such domain.
    Adopter,
}

impl Domain {
    /// `DEVICE` or `FTM`, as partner management and the key manager spell it; or `ADOPTER`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Device => "DEVICE",
            Self::Ftm => "FTM",
            Self::Adopter => "ADOPTER",
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

/// Type-level [`Domain::Adopter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adopter {}

/// A [`Domain`] as a type. Closed: only [`Device`], [`Ftm`] and [`Adopter`] are domains.
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

impl TrustDomain for Adopter {
    const DOMAIN: Domain = Domain::Adopter;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Device {}
    impl Sealed for super::Ftm {}
    impl Sealed for super::Adopter {}
}
