//! One start of a device.

use biotrust_attest::manifest::Component;
use biotrust_attest::metadata::{FirmwareRange, ReferenceValues};
use biotrust_spdm::measurement::index;

use super::flash::{Flash, Part, PowerLost, Slot};
use super::record::{Record, Trial};
use super::rom::{Rom, Verified};
use super::{Halt, hex};
use crate::chip::{ChipError, Counters};

/// Starts that a new image gets to come up.
pub(super) const TRIES: u8 = 3;

/// What a start measures: digests are SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// The ROM, its anchors included.
    pub rom: [u8; 32],
    /// Image of the loader.
    pub loader: [u8; 32],
    /// Image of the firmware: the digest of its manifest.
    pub firmware: [u8; 32],
    /// Anchors and rules of the secure boot.
    pub policy: [u8; 32],
    /// Security version number of the firmware.
    pub svn: u64,
    /// Version of the firmware.
    pub version: String,
}

impl Measured {
    /// As reference values of model metadata.
    #[must_use]
    pub fn to_metadata(&self) -> FirmwareRange {
        let digests = [
            (index::ROM, &self.rom),
            (index::LOADER, &self.loader),
            (index::FIRMWARE, &self.firmware),
            (index::POLICY, &self.policy),
        ];
        let values = digests.map(|(index, digest)| (index, vec![hex(digest)]));
        FirmwareRange {
            svn_from: self.svn,
            svn_to: self.svn,
            version: Some(self.version.clone()),
            reference: ReferenceValues(values.into()),
        }
    }
}

/// A device that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) slot: Slot,
    pub(crate) sequence: u64,
    pub(crate) loader_svn: u64,
    pub(crate) boot_count: u64,
    /// SHA-256 of the manifest of what runs, as it was signed.
    pub(crate) manifest: [u8; 32],
    pub(crate) measured: Measured,
}

/// How a start ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Boot {
    /// Well.
    Running(Running),
    /// In a halt.
    Halted(Halt),
    /// The power went.
    NoPower,
}

/// What is soldered together: ROM, flash, and the chip's counters.
pub(crate) struct Board<'a> {
    pub(crate) rom: &'a Rom,
    pub(crate) flash: &'a Flash,
    pub(crate) counters: &'a dyn Counters,
}

enum Stop {
    Halt(Halt),
    NoPower,
}

impl From<Halt> for Stop {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}

impl From<ChipError> for Stop {
    fn from(error: ChipError) -> Self {
        Self::Halt(error.into())
    }
}

impl From<PowerLost> for Stop {
    fn from(_: PowerLost) -> Self {
        Self::NoPower
    }
}

impl Board<'_> {
    /// Starts the device.
    pub(crate) fn start(&self) -> Boot {
        match self.run() {
            Ok(running) => Boot::Running(running),
            Err(Stop::Halt(halt)) => Boot::Halted(halt),
            Err(Stop::NoPower) => Boot::NoPower,
        }
    }

    fn run(&self) -> Result<Running, Stop> {
        let boot_count = self.counters.count_boot()?;
        let loader = self.rom.verify(self.flash, Part::Loader, Component::Loader, 0)?;
        if !loader.header.starts {
            return Err(Halt::DoesNotStart.into());
        }
        let (slot, firmware) = self.load()?;
        // Only now, after a good start, is there no way back.
        self.counters.raise_svn_floor(firmware.manifest.svn)?;
        Ok(Running {
            slot,
            sequence: firmware.manifest.sequence,
            loader_svn: loader.manifest.svn,
            boot_count,
            manifest: firmware.document,
            measured: Measured {
                rom: self.rom.digest(),
                loader: loader.manifest.sha256,
                firmware: firmware.manifest.sha256,
                policy: self.rom.policy(),
                svn: firmware.manifest.svn,
                version: firmware.manifest.version,
            },
        })
    }

    /// The loader: a new image first, while it has tries left; else the one that runs.
    fn load(&self) -> Result<(Slot, Verified), Stop> {
        let mut record = Record::read(self.flash).ok_or(Halt::Record)?;
        while let Some(trial) = record.trial {
            let slot = record.active.other();
            let Some(tries) = trial.tries.checked_sub(1) else {
                self.give_up(&mut record)?;
                break;
            };
            // Written before the image runs: one that hangs the device has had its try.
            record.trial = Some(Trial { tries });
            record.write(self.flash)?;
            match self.firmware(slot) {
                Err(_) => self.give_up(&mut record)?,
                Ok(image) if image.header.starts => {
                    record = Record {
                        active: slot,
                        sequence: image.manifest.sequence,
                        trial: None,
                        download: None,
                    };
                    record.write(self.flash)?;
                    self.counters.clear_failed_attempts()?;
                    return Ok((slot, image));
                }
                // It did not come up; the watchdog starts the loader again.
                Ok(_) => {}
            }
        }
        let image = self.firmware(record.active)?;
        if image.header.starts { Ok((record.active, image)) } else { Err(Halt::DoesNotStart.into()) }
    }

    fn firmware(&self, slot: Slot) -> Result<Verified, Halt> {
        self.rom.verify(self.flash, Part::Slot(slot), Component::Firmware, self.counters.svn_floor()?)
    }

    /// The new image is no good. Counted first: a power cut may count it twice, but never not at all.
    fn give_up(&self, record: &mut Record) -> Result<(), Stop> {
        self.counters.count_failed_attempt()?;
        record.trial = None;
        record.write(self.flash)?;
        Ok(())
    }
}
