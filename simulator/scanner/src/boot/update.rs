//! Taking an update: manifest, blocks, commit. Whatever is interrupted goes on, or the running image stays.

use biotrust_attest::manifest::{Component, Manifest, ManifestError, Target};
use biotrust_driver_api::{DeviceErrorKind, FirmwareState, PendingFirmware};
use biotrust_model::DeviceIdentity;
use biotrust_model::time::UtcMillis;

use super::flash::{Part, PowerLost};
use super::image::{CAPACITY, Stored};
use super::record::{Download, Record, Trial};
use super::start::{Board, Running, TRIES};
use super::{hex, sha256};
use crate::chip::{ChipError, MAX_FAILED_ATTEMPTS};

/// Longest block.
pub(crate) const MAX_BLOCK: usize = 16 * 1024;

/// Why an update does not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UpdateError {
    /// Too many attempts have failed.
    #[error("the update path is locked after {MAX_FAILED_ATTEMPTS} failed attempts")]
    Locked,
    /// The manifest or the image is refused.
    #[error("update refused: {0}")]
    Refused(#[from] ManifestError),
    /// The image is signed, but its program says something else than its manifest.
    #[error("update refused: the program is not the one of the manifest")]
    NotThisProgram,
    /// No update was begun.
    #[error("no update is under way")]
    NotBegun,
    /// The previous image waits for its first start.
    #[error("an update waits for its first start")]
    Waiting,
    /// Not the block that is next.
    #[error("block at {offset} of {length} bytes; the next one is at {expected} of {size}")]
    Block {
        /// Where it was to go.
        offset: u64,
        /// Its length.
        length: usize,
        /// Where the next one goes.
        expected: u64,
        /// Bytes of the image.
        size: u64,
    },
    /// Not all bytes are there.
    #[error("{received} of {size} bytes have been received")]
    Incomplete {
        /// So many are there.
        received: u64,
        /// Bytes of the image.
        size: u64,
    },
    /// The boot record is damaged, or the power went.
    #[error("the flash memory failed")]
    Flash,
    /// The chip failed.
    #[error(transparent)]
    Chip(#[from] ChipError),
}

impl UpdateError {
    /// How the host is told.
    pub(crate) const fn kind(&self) -> DeviceErrorKind {
        match self {
            Self::Locked | Self::Refused(_) | Self::NotThisProgram | Self::Waiting => {
                DeviceErrorKind::Unsupported
            }
            Self::NotBegun | Self::Block { .. } | Self::Incomplete { .. } => DeviceErrorKind::Protocol,
            Self::Flash | Self::Chip(_) => DeviceErrorKind::Internal,
        }
    }
}

impl From<PowerLost> for UpdateError {
    fn from(_: PowerLost) -> Self {
        Self::Flash
    }
}

impl Board<'_> {
    /// Versions, counters, and the update that is under way.
    pub(crate) fn state(&self, running: &Running) -> Result<FirmwareState, UpdateError> {
        let failed_attempts = self.counters.failed_attempts()?;
        let download = Record::read(self.flash).and_then(|record| record.download);
        Ok(FirmwareState {
            version: running.measured.version.clone(),
            svn: running.measured.svn,
            svn_floor: self.counters.svn_floor()?,
            failed_attempts,
            locked: failed_attempts >= MAX_FAILED_ATTEMPTS,
            pending: download.map(|Download { version, size, received, .. }| PendingFirmware {
                version,
                size,
                received,
            }),
        })
    }

    /// Begins an update, or goes on with the one of the same manifest.
    pub(crate) fn begin(
        &self,
        running: &Running,
        identity: &DeviceIdentity,
        manifest: &str,
        now: UtcMillis,
    ) -> Result<(), UpdateError> {
        self.unlocked()?;
        let mut record = self.record()?;
        if record.trial.is_some() {
            return Err(UpdateError::Waiting);
        }
        let name = hex(&sha256(manifest.as_bytes()));
        if record.download.as_ref().is_some_and(|download| download.manifest == name) {
            return Ok(());
        }
        let judged = self.judge(running, identity, manifest, now)?;
        // The old download is forgotten before its bytes go.
        record.download = None;
        record.write(self.flash)?;
        Stored::begin(self.flash, Part::Slot(running.slot.other()), manifest)?;
        record.download =
            Some(Download { manifest: name, version: judged.version, size: judged.size, received: 0 });
        Ok(record.write(self.flash)?)
    }

    fn judge(
        &self,
        running: &Running,
        identity: &DeviceIdentity,
        manifest: &str,
        now: UtcMillis,
    ) -> Result<Manifest, UpdateError> {
        let target = Target {
            vendor: &identity.device_provider,
            make: &identity.make,
            model: &identity.model,
            running: &running.measured.version,
            svn_floor: self.counters.svn_floor()?.max(running.measured.svn),
            sequence: Some(running.sequence),
            loader_svn: Some(running.loader_svn),
            capacity: Some(CAPACITY),
        };
        let judged = biotrust_attest::manifest::verify(manifest, self.rom.anchors(), &target, now);
        judged.map_err(|refused| self.failed(refused.into()))
    }

    /// Takes a block of the image; gives how many bytes are safe now.
    pub(crate) fn block(&self, running: &Running, offset: u64, bytes: &[u8]) -> Result<u64, UpdateError> {
        self.unlocked()?;
        let mut record = self.record()?;
        let download = record.download.as_mut().ok_or(UpdateError::NotBegun)?;
        let (expected, size, length) = (download.received, download.size, bytes.len());
        let end = u64::try_from(length).ok().and_then(|length| expected.checked_add(length));
        let end = end.filter(|end| offset == expected && *end <= size && (1..=MAX_BLOCK).contains(&length));
        let (Some(end), Ok(at)) = (end, usize::try_from(expected)) else {
            return Err(UpdateError::Block { offset, length, expected, size });
        };
        // First the bytes, then the word that they are there.
        Stored::write(self.flash, Part::Slot(running.slot.other()), at, bytes)?;
        download.received = end;
        record.write(self.flash)?;
        Ok(end)
    }

    /// The image is complete: verifies it and has it tried at the next start.
    pub(crate) fn commit(&self, running: &Running) -> Result<(), UpdateError> {
        self.unlocked()?;
        let mut record = self.record()?;
        let Download { received, size, .. } = record.download.as_ref().ok_or(UpdateError::NotBegun)?;
        if received != size {
            return Err(UpdateError::Incomplete { received: *received, size: *size });
        }
        let checked = self.check(running);
        record.download = None;
        if let Err(refused) = checked {
            let refused = self.failed(refused);
            record.write(self.flash)?;
            return Err(refused);
        }
        record.trial = Some(Trial { tries: TRIES });
        Ok(record.write(self.flash)?)
    }

    fn check(&self, running: &Running) -> Result<(), UpdateError> {
        let part = Part::Slot(running.slot.other());
        let floor = self.counters.svn_floor()?;
        match self.rom.verify(self.flash, part, Component::Firmware, floor) {
            Ok(_) => Ok(()),
            Err(super::Halt::Refused { why, .. }) => Err(why.into()),
            Err(super::Halt::Chip(error)) => Err(error.into()),
            Err(_) => Err(UpdateError::NotThisProgram),
        }
    }

    fn unlocked(&self) -> Result<(), UpdateError> {
        if self.counters.failed_attempts()? >= MAX_FAILED_ATTEMPTS {
            Err(UpdateError::Locked)
        } else {
            Ok(())
        }
    }

    fn record(&self) -> Result<Record, UpdateError> {
        Record::read(self.flash).ok_or(UpdateError::Flash)
    }

    /// Counts a failed attempt; what is told is why, unless it cannot even be counted.
    fn failed(&self, why: UpdateError) -> UpdateError {
        match self.counters.count_failed_attempt() {
            Ok(()) => why,
            Err(error) => error.into(),
        }
    }
}
