//! What the device measures of itself, and what it reports when something is wrong with it.

use biotrust_spdm::measurement::{Block, DeviceMode, Kind, index};

use super::Controller;
use crate::boot::{Measured, Running};

impl Controller {
    /// As measured at the start, unless a fault is switched on.
    pub(super) fn measured(&self, running: &Running) -> Measured {
        let mut measured = running.measured.clone();
        if self.faults().tampered_firmware {
            measured.firmware.iter_mut().for_each(|byte| *byte = !*byte);
        }
        measured
    }

    /// The same as measurement blocks.
    pub(super) fn blocks(&self, running: &Running) -> Vec<Block> {
        let measured = self.measured(running);
        let mode = match self.faults().debug_mode {
            false => DeviceMode::normal(),
            true => DeviceMode { debug: DeviceMode::INVASIVE_DEBUG, ..DeviceMode::normal() },
        };
        vec![
            Block::digest(index::ROM, Kind::Rom, measured.rom),
            Block::digest(index::LOADER, Kind::Firmware, measured.loader),
            Block::digest(index::FIRMWARE, Kind::Firmware, measured.firmware),
            Block::digest(index::POLICY, Kind::FirmwareConfiguration, measured.policy),
            Block::svn(measured.svn),
            Block::version(&measured.version),
            Block::digest(index::MANIFEST, Kind::Manifest, running.manifest),
            Block::device_mode(mode),
        ]
    }
}
