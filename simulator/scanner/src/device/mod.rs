//! One virtual device: built once, plugged in and out, controlled from outside, isolated from all others.
//!
//! A device that is plugged in has one thread that reads; a preview and a capture each have one of their own for as long
//! as they last. An idle device costs nothing but its memory.

mod capture;
mod core;
mod line;
mod preview;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use biotrust_certs::{Certificate, TestPki};
use biotrust_driver_api::{Description, SelfReport};
use biotrust_model::Level;
use biotrust_model::time::Clock;

pub use line::PlugError;

use self::core::Core;
use self::line::Plugged;
use crate::calibration::CalibratedSubject;
use crate::ftm::{Ftm, FtmError};
use crate::kind::{Maker, Spec};
use crate::scene::Scene;
use crate::studio::Studio;

/// A virtual device.
pub struct VirtualDevice {
    core: Arc<Core>,
    plugged: Mutex<Option<Plugged>>,
}

/// What devices are made from and made for.
#[derive(Clone)]
pub struct Workshop {
    /// Decides over serial numbers.
    pub seed: u64,
    /// Who makes the devices.
    pub maker: Maker,
    /// Who will stand in front of them.
    pub subject: Arc<CalibratedSubject>,
    /// What is in front of them at first.
    pub scene: Scene,
    /// Certifies the keys of L1 devices; also holds the adopter's anchor.
    pub pki: Arc<TestPki>,
    /// Clock inside the L1 devices.
    pub clock: Arc<dyn Clock>,
}

impl VirtualDevice {
    /// Builds a device; it is not plugged in yet. At L1 this makes two RSA keys: a quarter of a second of CPU.
    ///
    /// # Errors
    /// When a key or a certificate cannot be made.
    pub fn build(spec: Spec, workshop: &Workshop) -> Result<Self, FtmError> {
        let description = spec.description(workshop.seed, &workshop.maker);
        let ftm = match spec.level {
            Level::L0 => None,
            Level::L1 => {
                Some(Ftm::manufacture(description.clone(), &workshop.pki, Arc::clone(&workshop.clock))?)
            }
        };
        let studio = Studio::new(spec.kind, spec.purpose, Arc::clone(&workshop.subject));
        let core = Core::new(spec, description, studio, ftm, workshop.scene.clone());
        Ok(Self { core: Arc::new(core), plugged: Mutex::new(None) })
    }

    /// What was built.
    #[must_use]
    pub fn spec(&self) -> Spec {
        self.core.spec
    }

    /// What it says of itself.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.core.description
    }

    /// Its serial number.
    #[must_use]
    pub fn serial(&self) -> &str {
        self.core.serial()
    }

    /// Its FTM, at L1.
    #[must_use]
    pub fn ftm(&self) -> Option<&Ftm> {
        self.core.ftm.as_ref()
    }

    /// Plugs it in: a link appears in the folder `links`. Nothing happens when it is plugged in already.
    ///
    /// # Errors
    /// No pseudo-terminal, no thread, or the link cannot be made.
    pub fn plug(&self, links: &Path) -> Result<(), PlugError> {
        let mut plugged = self.plugged();
        if plugged.is_none() {
            *plugged = Some(Plugged::insert(&self.core, links)?);
        }
        Ok(())
    }

    /// Pulls the plug: the link disappears, the line is hung up, whatever was going on ends.
    pub fn unplug(&self) {
        let pulled = self.plugged().take();
        drop(pulled);
    }

    /// Whether it is plugged in.
    #[must_use]
    pub fn is_plugged(&self) -> bool {
        self.plugged().is_some()
    }

    /// Changes what is in front of the sensor; holds when this returns.
    pub fn set_scene(&self, scene: Scene) {
        self.core.set_scene(scene);
    }

    /// Changes what it says of its own state, and tells the host.
    pub fn set_report(&self, report: SelfReport) {
        self.core.set_report(report);
        if self.core.ftm.is_some() {
            self.core.keys_changed();
        }
    }

    /// What it says of its own state.
    #[must_use]
    pub fn report(&self) -> SelfReport {
        self.core.report()
    }

    /// Gives an L1 device a new device key with a new certificate, and tells the host. `None` at L0: its key is the host's.
    ///
    /// # Errors
    /// When no key or certificate can be made; the old key stays.
    pub fn rotate_key(&self, pki: &TestPki) -> Result<Option<Certificate>, FtmError> {
        let Some(ftm) = &self.core.ftm else { return Ok(None) };
        let certificate = ftm.rotate(pki)?;
        self.core.keys_changed();
        Ok(Some(certificate))
    }

    fn plugged(&self) -> MutexGuard<'_, Option<Plugged>> {
        self.plugged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
