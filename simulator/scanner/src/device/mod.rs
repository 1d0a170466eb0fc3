//! One virtual device: built once, plugged in and out, controlled from outside, isolated from all others.
//!
//! A device that is plugged in has one thread that reads, and at L1 one that answers for its trust module; a preview and a capture each have one of their own for as long
//! as they last. An idle device costs nothing but its memory.

mod body;
mod capture;
mod core;
mod line;
mod preview;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use biotrust_certs::{Certificate, TestPki};
use biotrust_driver_api::{Description, FirmwareState, Pipe, PipeError, SelfReport};
use biotrust_link::Framing;
use biotrust_model::Level;
use biotrust_model::time::Clock;

pub use line::PlugError;

use self::body::Body;
use self::core::Core;
use self::line::Socket;
use crate::boot::{Factory, Slot};
use crate::calibration::CalibratedSubject;
use crate::controller::Controller;
use crate::ftm::{Ftm, FtmError};
use crate::kind::{Maker, Spec};
use crate::options::{Faults, Options};
use crate::scene::Scene;
use crate::studio::Studio;

/// A virtual device.
pub struct VirtualDevice {
    body: Arc<Body>,
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
    /// Certifies the keys of L1 devices; also holds the anchors that they are made with.
    pub pki: Arc<TestPki>,
    /// Battery clock inside the L1 devices.
    pub clock: Arc<dyn Clock>,
    /// Signs their firmware.
    pub factory: Arc<Factory>,
}

impl VirtualDevice {
    /// Builds a good device that was registered in the factory; it is not plugged in yet. At L1 this makes two RSA keys:
    /// a quarter of a second of CPU.
    ///
    /// # Errors
    /// When a key or a certificate cannot be made.
    pub fn build(spec: Spec, workshop: &Workshop) -> Result<Self, FtmError> {
        Self::build_with(spec, &Options::default(), workshop)
    }

    /// Builds a device as `options` say; they matter at L1 only.
    ///
    /// # Errors
    /// When a key or a certificate cannot be made, or there is no chip of that kind.
    pub fn build_with(spec: Spec, options: &Options, workshop: &Workshop) -> Result<Self, FtmError> {
        let description = spec.description(workshop.seed, &workshop.maker);
        let controller = match spec.level {
            Level::L0 => None,
            Level::L1 => Some(Controller::build(&description, options, workshop)?),
        };
        let studio = Studio::new(spec.kind, spec.purpose, Arc::clone(&workshop.subject));
        let core = Core::new(spec, description, studio, controller, workshop.scene.clone());
        Ok(Self { body: Body::new(core) })
    }

    /// What was built.
    #[must_use]
    pub fn spec(&self) -> Spec {
        self.core().spec
    }

    /// What it says of itself, with the firmware that runs.
    #[must_use]
    pub fn description(&self) -> Description {
        self.core().description()
    }

    /// Its serial number.
    #[must_use]
    pub fn serial(&self) -> &str {
        self.core().serial()
    }

    /// Its FTM, at L1.
    #[must_use]
    pub fn ftm(&self) -> Option<&Ftm> {
        self.core().controller.as_ref().map(Controller::bench_ftm)
    }

    /// Plugs it in: a link appears in the folder `links`. Nothing happens when it is plugged in already.
    ///
    /// # Errors
    /// No pseudo-terminal, no thread, or the link cannot be made.
    pub fn plug(&self, links: &Path) -> Result<(), PlugError> {
        self.body.plug(Socket::Links(links.to_owned()))
    }

    /// Plugs it into a bus of somebody else's. `connect` gives the device's end of a new line, which carries bytes in
    /// `framing`: each read brings one transfer (USB) or one report with its id (HID), each `write_all` is given one.
    /// Dropping all clones of that pipe is pulling the plug; `connect` is called again when the device has started anew.
    /// Nothing happens when it is plugged in already.
    ///
    /// # Errors
    /// What `connect` says, or no thread.
    pub fn attach_to(
        &self,
        framing: Framing,
        connect: impl Fn() -> Result<Box<dyn Pipe>, PipeError> + Send + Sync + 'static,
    ) -> Result<(), PlugError> {
        self.body.plug(Socket::Bus(framing, Arc::new(connect)))
    }

    /// Plugs it into `pipe`, as [`Self::attach_to`], for as long as the device lives or until [`Self::unplug`]: when it
    /// starts anew it falls silent for a moment and comes back on the same pipe.
    ///
    /// # Errors
    /// When the pipe cannot be cloned, or no thread.
    pub fn attach(&self, pipe: Box<dyn Pipe>, framing: Framing) -> Result<(), PlugError> {
        let pipe = Mutex::new(pipe);
        self.attach_to(framing, move || pipe.lock().unwrap_or_else(PoisonError::into_inner).try_clone())
    }

    /// Pulls the plug: the link disappears, the line is hung up, whatever was going on ends.
    pub fn unplug(&self) {
        self.body.unplug();
    }

    /// Whether it is plugged in.
    #[must_use]
    pub fn is_plugged(&self) -> bool {
        self.body.is_plugged()
    }

    /// Changes what is in front of the sensor; holds when this returns.
    pub fn set_scene(&self, scene: Scene) {
        self.core().set_scene(scene);
    }

    /// Changes what it says of its own state, and tells the host.
    pub fn set_report(&self, report: SelfReport) {
        self.core().set_report(report);
        if self.core().controller.is_some() {
            self.core().keys_changed();
        }
    }

    /// What it says of its own state.
    #[must_use]
    pub fn report(&self) -> SelfReport {
        self.core().report()
    }

    /// Gives an L1 device a new device key with a new certificate, and tells the host. `None` at L0: its key is the host's.
    ///
    /// # Errors
    /// When no key or certificate can be made; the old key stays.
    pub fn rotate_key(&self, pki: &TestPki) -> Result<Option<Certificate>, FtmError> {
        let Some(ftm) = self.ftm() else { return Ok(None) };
        let before = self.report();
        let certificate = ftm.rotate(pki)?;
        self.core().keys_changed();
        self.core().tell_change(&before);
        Ok(Some(certificate))
    }

    /// Starts it anew, as a power cut does: it forgets the time, keeps what is in its flash and its chip, and is gone from
    /// the line meanwhile.
    ///
    /// # Errors
    /// When it was plugged in and cannot be plugged in again.
    pub fn power_cycle(&self) -> Result<(), PlugError> {
        self.body.restart()
    }

    /// Its firmware, at L1; `None` also after a halted start.
    #[must_use]
    pub fn firmware(&self) -> Option<FirmwareState> {
        self.core().controller.as_ref()?.firmware().ok()
    }

    /// What is wrong with it; nothing at L0.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.core().controller.as_ref().map(Controller::faults).unwrap_or_default()
    }

    /// Changes what is wrong with it. It shows the next time that somebody asks.
    pub fn set_faults(&self, faults: Faults) {
        if let Some(controller) = &self.core().controller {
            controller.set_faults(faults);
        }
    }

    /// Flips a bit of its flash memory, as an attacker with a probe would: of a slot, or of the loader where none is named
    /// (bits are counted from the first byte on). Tells whether there is such a bit. It shows at the next start.
    pub fn flip_bit(&self, slot: Option<Slot>, bit: usize) -> bool {
        self.core().controller.as_ref().is_some_and(|controller| controller.flip_bit(slot, bit))
    }

    fn core(&self) -> &Core {
        &self.body.core
    }
}
