//! The controller of an L1 device: what starts it, and what stands between the host and its trust module.
//!
//! After a halted start it answers nothing but why. Faults can be switched on, so that there are devices to be refused.

mod measure;
mod module;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use biotrust_driver_api::{Description, DeviceErrorKind, FirmwareState, SelfReport};
use biotrust_model::{DeviceIdentity, DeviceStatus};

use crate::boot::{Board, Boot, Flash, Part, Rom, Running, Slot, UpdateError};
use crate::chip;
use crate::device::Workshop;
use crate::ftm::{Ftm, FtmError, Statement};
use crate::options::{Faults, Options};

/// What the host is told in place of an answer.
pub(crate) type Refusal = (DeviceErrorKind, String);

/// The controller.
pub(crate) struct Controller {
    identity: DeviceIdentity,
    ftm: Ftm,
    rom: Rom,
    flash: Flash,
    require_time: bool,
    boot: Mutex<Boot>,
    faults: Mutex<Faults>,
}

impl Controller {
    /// Makes chip, trust module and firmware of a device, and starts it.
    pub(crate) fn build(
        description: &Description,
        options: &Options,
        workshop: &Workshop,
    ) -> Result<Self, FtmError> {
        let identity = description.identity.clone();
        let clock = Arc::clone(&workshop.clock);
        let ftm = Ftm::manufacture(description.clone(), options, &workshop.pki, clock)?;
        let controller = Self {
            rom: workshop.factory.rom(&identity)?,
            flash: workshop.factory.flash(&identity, &options.release)?,
            identity,
            ftm,
            require_time: options.require_time,
            boot: Mutex::new(Boot::NoPower),
            faults: Mutex::default(),
        };
        controller.set_faults(options.faults);
        controller.start();
        Ok(controller)
    }

    /// Starts the device: it runs, or is halted.
    pub(crate) fn start(&self) {
        self.flash.power_on();
        let boot = match self.board().start() {
            Boot::Running(running) => self.run(running),
            other => other,
        };
        *lock(&self.boot) = boot;
    }

    fn run(&self, running: Running) -> Boot {
        match self.ftm.start(running.boot_count, &running.measured.version) {
            Ok(()) => Boot::Running(running),
            Err(error) => Boot::Halted(chip::ChipError::new("its start", error).into()),
        }
    }

    /// There is nothing else to do: makes the key for the next rotation. If that fails, the rotation makes it.
    pub(crate) fn idle(&self) {
        let _ = self.ftm.chip().make_ahead();
    }

    /// Its trust module, for whom it trusts: the bench.
    pub(crate) const fn bench_ftm(&self) -> &Ftm {
        &self.ftm
    }

    /// Its trust module, once it runs.
    pub(crate) fn ftm(&self) -> Result<&Ftm, Refusal> {
        self.running().map(|_| &self.ftm)
    }

    /// What runs.
    pub(crate) fn running(&self) -> Result<Running, Refusal> {
        match &*lock(&self.boot) {
            Boot::Running(running) => Ok(running.clone()),
            Boot::Halted(why) => Err((DeviceErrorKind::NotReady, format!("secure boot halted: {why}"))),
            Boot::NoPower => Err((DeviceErrorKind::NotReady, "the power went during the start".to_owned())),
        }
    }

    /// Version that runs, for HELLO; after a halt that is none, and it has to be a word.
    pub(crate) fn version(&self) -> String {
        self.running().map_or_else(|_| "none".to_owned(), |running| running.measured.version)
    }

    /// Why it cannot work, where it cannot.
    pub(crate) fn trouble(&self) -> Option<SelfReport> {
        let not_ready = |reason| Some(SelfReport { status: DeviceStatus::NotReady, reason });
        if let Err((_, reason)) = self.running() {
            return not_ready(reason);
        }
        if !self.ftm.is_registered() {
            let reason = "the device has no certificate".to_owned();
            return Some(SelfReport { status: DeviceStatus::NotRegistered, reason });
        }
        if self.require_time && self.ftm.time().trusted().is_none() {
            return not_ready("no management server has told the time since the start".to_owned());
        }
        None
    }

    /// Firmware and update.
    pub(crate) fn firmware(&self) -> Result<FirmwareState, Refusal> {
        let running = self.running()?;
        self.board().state(&running).map_err(refusal)
    }

    /// Begins an update, or goes on with it.
    pub(crate) fn begin_update(&self, manifest: &str) -> Result<FirmwareState, Refusal> {
        let running = self.running()?;
        let now = self.ftm.time().now();
        self.board().begin(&running, &self.identity, manifest, now).map_err(refusal)?;
        self.firmware()
    }

    /// Takes a block; gives how many bytes are safe.
    pub(crate) fn update_block(&self, offset: u64, bytes: &[u8]) -> Result<u64, Refusal> {
        let running = self.running()?;
        self.board().block(&running, offset, bytes).map_err(refusal)
    }

    /// The image is complete: whether it may be tried, at the next start.
    pub(crate) fn commit_update(&self) -> Result<(), Refusal> {
        let running = self.running()?;
        self.board().commit(&running).map_err(refusal)
    }

    /// What is wrong with it.
    pub(crate) fn faults(&self) -> Faults {
        *lock(&self.faults)
    }

    /// Changes what is wrong with it.
    pub(crate) fn set_faults(&self, faults: Faults) {
        self.ftm.time().stop(faults.stopped_clock);
        *lock(&self.faults) = faults;
    }

    /// Flips a bit in an image: of `slot`, or of the loader.
    pub(crate) fn flip_bit(&self, slot: Option<Slot>, bit: usize) -> bool {
        self.flash.flip_bit(slot.map_or(Part::Loader, Part::Slot), bit)
    }

    /// State of the device for a key statement.
    fn statement(&self, running: &Running) -> Statement<'static> {
        let measured = self.measured(running);
        Statement {
            svn: measured.svn,
            firmware_sha256: measured.firmware,
            boot_count: running.boot_count,
            device_mode: if self.faults().debug_mode { "debug" } else { "normal" },
        }
    }

    fn board(&self) -> Board<'_> {
        Board { rom: &self.rom, flash: &self.flash, counters: self.ftm.chip().counters() }
    }
}

fn refusal(error: UpdateError) -> Refusal {
    (error.kind(), error.to_string())
}

/// What is under these locks is replaced whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
