//! All virtual devices of one biosim, and what can be done to them from outside.
//!
//! With the daemon's control socket at hand an operation returns when its effect holds there; without it, when the
//! device has taken it. L0 devices are enrolled when they are plugged in: biosim plays their provider's management server.

mod control;
mod enrol;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use biosim_image::Subject;
use biosim_scanner::{CalibratedSubject, Factory, Maker, Scene, Spec, VirtualDevice, Workshop};
use biotrust_certs::{Domain, TestPki};
use biotrust_driver_api::Cancel;
use biotrust_model::Level;
use biotrust_model::time::{Clock, SystemClock};
use serde::Serialize;

use crate::agent::{Agent, AgentDevice, Condition};
use crate::args::DeviceArgs;
use crate::jsonlines::CallError;

/// From plugging in to Ready at the daemon: opening, reading keys, appraisal.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// How long to wait for Ready before looking whether the device must be enrolled.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Id of the simulated provider with MOSIP.
const PROVIDER_ID: &str = "EXAMPLE-DEVICES";

/// The devices and their surroundings.
pub(crate) struct Lab {
    devices: Vec<VirtualDevice>,
    scene: Mutex<Scene>,
    links: PathBuf,
    pki: Arc<TestPki>,
    agent: Option<Agent>,
    /// Ids that the daemon gave, by serial number: an unplugged device still answers to its own.
    ids: Mutex<BTreeMap<String, String>>,
    clock: SystemClock,
}

/// Devices that are plugged in. Dropping it pulls all plugs, so that no link stays behind: the control socket's threads
/// keep the lab itself alive to the end of the process.
pub(crate) struct PluggedIn(Arc<Lab>);

impl Drop for PluggedIn {
    fn drop(&mut self) {
        self.0.devices.iter().for_each(VirtualDevice::unplug);
    }
}

/// A device as the ready file lists it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Listed {
    /// `deviceId` on the wire, where the daemon has told it.
    pub(crate) id: Option<String>,
    /// Modality.
    #[serde(rename = "type")]
    pub(crate) modality: String,
    /// Build.
    pub(crate) sub_type: String,
    /// Level.
    pub(crate) level: String,
    /// Purpose.
    pub(crate) purpose: String,
    /// Serial number.
    pub(crate) serial: String,
}

impl Lab {
    /// Builds the devices; those of level L1 make their keys meanwhile, each on a thread of its own.
    pub(crate) fn build(
        specs: &[Spec],
        seed: u64,
        subject: Arc<CalibratedSubject>,
        pki: Arc<TestPki>,
        links: PathBuf,
        agent: Option<Agent>,
    ) -> anyhow::Result<Self> {
        let clock = SystemClock;
        let workshop = Workshop {
            seed,
            maker: Maker {
                provider: pki.organisation(Domain::Device).to_owned(),
                provider_id: PROVIDER_ID.to_owned(),
            },
            subject,
            scene: Scene::default(),
            pki: Arc::clone(&pki),
            clock: Arc::new(clock),
            factory: Arc::new(Factory::new(Arc::clone(&pki), Arc::new(clock))),
        };
        let devices = std::thread::scope(|scope| {
            let building: Vec<_> =
                specs.iter().map(|spec| scope.spawn(|| VirtualDevice::build(*spec, &workshop))).collect();
            building
                .into_iter()
                .map(|device| {
                    device
                        .join()
                        .map_err(|_| anyhow!("a thread that builds a device has failed"))?
                        .map_err(Into::into)
                })
                .collect::<anyhow::Result<Vec<_>>>()
        })
        .context("building the devices")?;
        Ok(Self {
            devices,
            scene: Mutex::new(workshop.scene),
            links,
            pki,
            agent,
            ids: Mutex::default(),
            clock,
        })
    }

    /// Plugs all devices in, for as long as the answer lives.
    pub(crate) fn plug_all(self: &Arc<Self>) -> anyhow::Result<PluggedIn> {
        let plugged = PluggedIn(Arc::clone(self));
        self.devices.iter().try_for_each(|device| device.plug(&self.links))?;
        Ok(plugged)
    }

    /// Enrols what needs it and returns when the daemon reports every device Ready.
    pub(crate) fn make_ready(&self) -> anyhow::Result<()> {
        for device in &self.devices {
            self.make_device_ready(device)?;
        }
        Ok(())
    }

    fn make_device_ready(&self, device: &VirtualDevice) -> anyhow::Result<()> {
        let Some(agent) = &self.agent else { return Ok(()) };
        let serial = device.serial();
        let ready = Condition { present: Some(true), status: Some("Ready"), ..Condition::default() };
        let deadline = Instant::now() + READY_WITHIN;
        let mut enrolled = device.spec().level == Level::L1;
        loop {
            // The state that needs us may come at any moment, and `wait` waits for one state only.
            let why = match agent.wait(serial, ready, LOOK_EVERY) {
                Ok(()) => return Ok(()),
                Err(CallError::Refused { code, message }) if code == "timeout" => message,
                Err(error) => return Err(error).with_context(|| format!("waiting for {serial}")),
            };
            if !enrolled && enrol::is_needed(agent, serial)? {
                enrol::certify_first(agent, &self.pki, serial, self.clock.now())?;
                enrolled = true;
            } else if Instant::now() > deadline {
                bail!("{serial} does not become Ready at the daemon: {why}");
            }
        }
    }

    /// All devices, with the ids that the daemon gave them.
    pub(crate) fn listed(&self) -> anyhow::Result<Vec<Listed>> {
        self.known()?;
        let ids = self.ids();
        Ok(self
            .devices
            .iter()
            .map(|device| {
                let description = device.description();
                Listed {
                    id: ids.get(device.serial()).cloned(),
                    modality: description.identity.modality.to_string(),
                    sub_type: description.identity.device_sub_type.to_string(),
                    level: description.level.to_string(),
                    purpose: description.purpose.to_string(),
                    serial: device.serial().to_owned(),
                }
            })
            .collect())
    }

    /// What the daemon knows; nothing without one.
    fn known(&self) -> Result<Vec<AgentDevice>, CallError> {
        let known = self.agent.as_ref().map_or(Ok(Vec::new()), Agent::devices)?;
        let named = known.iter().filter_map(|device| device.serial.clone().zip(device.id.clone()));
        self.ids().extend(named);
        Ok(known)
    }

    fn ids(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn scene(&self) -> MutexGuard<'_, Scene> {
        // Replaced whole, so never half a scene.
        self.scene.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Draws the subject that the devices will see (a second or two), so that the first capture is as fast as the next.
pub(crate) fn prepare(subject: &CalibratedSubject, specs: &[Spec], cancel: &Cancel) {
    std::thread::scope(|scope| {
        for spec in specs {
            scope.spawn(|| subject.prepare(*spec, &|| cancel.is_cancelled()));
        }
    });
}

/// The subject of a seed, with its cache.
pub(crate) fn subject(args: &DeviceArgs) -> Arc<CalibratedSubject> {
    Arc::new(CalibratedSubject::new(Subject::new(args.seed, cache_folder(args.cache.as_deref()))))
}

/// Where grown fingers are kept: as asked, else the user's cache folder; "none" for nowhere.
fn cache_folder(asked: Option<&Path>) -> Option<PathBuf> {
    match asked {
        Some(path) if path == Path::new("none") => None,
        Some(path) => Some(path.to_owned()),
        None => {
            let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
            let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
            Some(base.join("biosim"))
        }
    }
}
