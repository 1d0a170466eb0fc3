//! Devices with something wrong: what must be refused can be made, shown and taken back.
//!
//! What can go wrong while a device runs is switched on in it. What a device is made with (its chip certificate, the
//! firmware it was sold with) needs another one: it takes the place and the serial number of the good one, which is kept
//! for later.

use std::sync::Arc;

use biosim_scanner::{ChipCertificate, Faults, Options, Release, VirtualDevice};
use biotrust_model::Level;
use serde_json::{Value, json};

use super::Lab;
use super::building::Slot;
use super::control::{Refusal, failed};
use crate::agent::Condition;
use crate::args::Fault;

impl Lab {
    /// Makes something wrong with a device, or nothing any more. What was wrong before is put right first. Returns when
    /// the daemon refuses the device, or has it Ready again.
    pub(super) fn set_fault(&self, id: &str, fault: Fault) -> Result<Value, Refusal> {
        let device = self.l1(id)?;
        let serial = device.serial().to_owned();
        let was_plugged = device.is_plugged();
        device.unplug();
        self.until(&device, Condition { present: Some(false), ..Condition::default() })?;

        let good = self.put_back(&serial)?;
        let twin = twin(fault).map(|options| self.build_twin(&good, &options)).transpose()?;
        let swapped = twin.is_some() || !Arc::ptr_eq(&good, &device);
        let device = twin.unwrap_or_else(|| {
            good.set_faults(running(fault));
            Arc::clone(&good)
        });
        if let (true, Some(agent)) = (swapped, &self.agent) {
            agent.forget(&serial)?; // it is to be judged by what it shows, not by the chip of the one before
        }
        if !was_plugged {
            return Ok(json!({"serial": serial, "fault": fault}));
        }
        device.plug(&self.links).map_err(failed)?;
        if self.agent.is_none() {
            return Ok(json!({"serial": serial, "fault": fault}));
        }
        if fault == Fault::None {
            self.make_device_ready(&device)?;
            return Ok(json!({"serial": serial, "fault": fault}));
        }
        let seen = self.until_refused(&serial)?;
        let (check, text) = seen.failed_check().unwrap_or_default();
        Ok(json!({"serial": serial, "fault": fault, "check": check, "text": text}))
    }

    /// Stops the clock of a device.
    pub(super) fn stop_clock(&self, id: &str) -> Result<Value, Refusal> {
        let device = self.l1(id)?;
        device.set_faults(Faults { stopped_clock: true, ..device.faults() });
        Ok(json!({"serial": device.serial(), "clock": "stopped"}))
    }

    fn l1(&self, id: &str) -> Result<Arc<VirtualDevice>, Refusal> {
        let device = self.find(id)?;
        if device.spec().level == Level::L1 {
            return Ok(device);
        }
        let why =
            format!("{} is a plain scanner (L0): it has no trust module that could fail", device.serial());
        Err(Refusal("unsupported", why))
    }

    /// A device that is like the good one, but for what is wrong with it; it takes its place.
    fn build_twin(&self, good: &VirtualDevice, options: &Options) -> Result<Arc<VirtualDevice>, Refusal> {
        let twin = VirtualDevice::build_with(good.spec(), options, &self.workshop).map_err(failed)?;
        twin.set_scene(self.scene().clone());
        let twin = Arc::new(twin);
        self.change(good.serial(), |slot| {
            slot.parked = Some(std::mem::replace(&mut slot.device, Arc::clone(&twin)));
        })?;
        Ok(twin)
    }

    /// The good device is in its place again, without faults.
    fn put_back(&self, serial: &str) -> Result<Arc<VirtualDevice>, Refusal> {
        let good = self.change(serial, |slot| {
            if let Some(good) = slot.parked.take() {
                slot.device = good;
            }
            Arc::clone(&slot.device)
        })?;
        good.set_faults(Faults::default());
        good.set_scene(self.scene().clone());
        Ok(good)
    }

    fn change<R>(&self, serial: &str, change: impl FnOnce(&mut Slot) -> R) -> Result<R, Refusal> {
        let mut slots = self.slots.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let slot = slots.iter_mut().find(|slot| slot.device.serial() == serial);
        slot.map(change).ok_or_else(|| Refusal("not_found", format!("{serial} is gone")))
    }
}

/// Whether a device with these faults is to be refused.
pub(super) const fn is_refused(faults: Faults) -> bool {
    faults.debug_mode || faults.tampered_firmware || faults.no_attestation
}

/// What is wrong with a device that runs.
const fn running(fault: Fault) -> Faults {
    let debug_mode = matches!(fault, Fault::Debug);
    let tampered_firmware = matches!(fault, Fault::Tampered);
    Faults { debug_mode, tampered_firmware, no_attestation: false, stopped_clock: false }
}

/// How a device is made that has this fault from the factory on.
fn twin(fault: Fault) -> Option<Options> {
    let certified = |certificate| Some(Options { certificate, ..Options::default() });
    match fault {
        Fault::Svn => Some(Options { release: Release::outdated(), ..Options::default() }),
        Fault::Clone => certified(ChipCertificate::Cloned),
        Fault::Foreign => certified(ChipCertificate::Foreign),
        Fault::Debug | Fault::Tampered | Fault::None => None,
    }
}
