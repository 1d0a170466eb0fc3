//! How a device is built beyond its kind: its chip, how it leaves the factory, and what may be wrong with it.

use crate::boot::Release;

/// What an L1 device's chip is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChipKind {
    /// A key and counters in this process.
    #[default]
    Software,
    /// A TPM 2.0 (swtpm), a process of its own: chip key and counters are in there.
    Swtpm,
}

/// How an L1 device is built; the default is a good device that was registered in the factory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Its chip.
    pub chip: ChipKind,
    /// Whether it leaves the factory with a device key and its certificate, or has to register with a management server.
    pub registered: bool,
    /// Whether it works only once a token of its management server has told it the time since its last start.
    pub require_time: bool,
    /// What runs in it.
    pub release: Release,
    /// Whose chip certificate it has.
    pub certificate: ChipCertificate,
    /// What else is wrong with it.
    pub faults: Faults,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            chip: ChipKind::default(),
            registered: true,
            require_time: false,
            release: Release::current(),
            certificate: ChipCertificate::default(),
            faults: Faults::default(),
        }
    }
}

/// Where the chip certificate of a device comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChipCertificate {
    /// From the FTM provider, for the key of its chip.
    #[default]
    Own,
    /// It is that of another chip, whose key this one does not have.
    Cloned,
    /// From a root that nobody trusts.
    Foreign,
}

/// What can go wrong with a device while it runs; the default is nothing. (Firmware that is too old is no fault of these:
/// build the device with [`Release::outdated`].)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// Its debug port is open, and it says so.
    pub debug_mode: bool,
    /// It measures firmware that nobody released.
    pub tampered_firmware: bool,
    /// It claims L1 and cannot prove anything.
    pub no_attestation: bool,
    /// Its clock stands still.
    pub stopped_clock: bool,
}
