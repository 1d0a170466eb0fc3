//! All virtual devices of one biosim, and what can be done to them from outside.
//!
//! With the daemon's control socket at hand an operation returns when its effect holds there; without it, when the
//! device has taken it. Without a management server biosim certifies the keys of L0 devices itself when they are plugged
//! in; with one, every device registers through the daemon.

mod building;
mod control;
mod enrol;
mod faults;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use biosim_image::Subject;
use biosim_scanner::{CalibratedSubject, Factory, Maker, Scene, Spec, VirtualDevice, Workshop};
use biotrust_certs::{Domain, TestPki};
use biotrust_driver_api::Cancel;
use biotrust_model::Level;
use biotrust_model::time::{Clock as _, SystemClock};
use serde::Serialize;

use crate::agent::{Agent, AgentDevice, Condition};
use crate::args::DeviceArgs;
use crate::jsonlines::CallError;

pub(crate) use building::{Building, Order};
use building::{Slot, chip_name};

/// From plugging in to Ready at the daemon: opening, reading keys, appraisal.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// The same where a device has to register first, with keys to be made and all others at it at the same time.
const REGISTERED_WITHIN: Duration = Duration::from_secs(60);
/// How long to wait for Ready before looking whether the device must be enrolled.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long to wait for Ready before looking whether the server refuses the device.
const LOOK_FOR_REFUSALS_EVERY: Duration = Duration::from_millis(500);
/// Id of the simulated provider with MOSIP.
const PROVIDER_ID: &str = "EXAMPLE-DEVICES";

/// Who certifies device keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Registrar {
    /// biosim, in the provider's name.
    Biosim,
    /// A management server, which the daemon asks.
    Server,
}

/// The devices and their surroundings.
pub(crate) struct Lab {
    workshop: Workshop,
    slots: RwLock<Vec<Slot>>,
    scene: Mutex<Scene>,
    links: PathBuf,
    agent: Option<Agent>,
    registrar: Registrar,
    /// Ids that the daemon gave, by serial number: an unplugged device still answers to its own.
    ids: Mutex<BTreeMap<String, String>>,
    clock: SystemClock,
}

/// Devices that are plugged in. Dropping it pulls all plugs and scraps the devices, so that no link and no TPM stays
/// behind: the control socket's threads keep the lab itself alive to the end of the process.
pub(crate) struct PluggedIn(Arc<Lab>);

impl Drop for PluggedIn {
    fn drop(&mut self) {
        let slots = std::mem::take(&mut *self.0.slots.write().unwrap_or_else(PoisonError::into_inner));
        slots.iter().for_each(|slot| slot.device.unplug());
    }
}

/// A device that has become Ready.
#[derive(Debug, Clone)]
pub(crate) struct Joined {
    /// Its serial number.
    pub(crate) serial: String,
    /// From plugging in to Ready.
    pub(crate) took: Duration,
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
    /// What its chip is, at L1.
    pub(crate) chip: Option<&'static str>,
    /// Purpose.
    pub(crate) purpose: String,
    /// Serial number.
    pub(crate) serial: String,
}

/// What devices are made from: the provider's factory, and the subject who will stand in front of them.
pub(crate) fn workshop(seed: u64, subject: Arc<CalibratedSubject>, pki: Arc<TestPki>) -> Workshop {
    let clock = Arc::new(SystemClock);
    Workshop {
        seed,
        maker: maker(&pki),
        subject,
        scene: Scene::default(),
        factory: Arc::new(Factory::new(Arc::clone(&pki), Arc::clone(&clock) as _)),
        pki,
        clock,
    }
}

/// Who makes the devices.
pub(crate) fn maker(pki: &TestPki) -> Maker {
    Maker { provider: pki.organisation(Domain::Device).to_owned(), provider_id: PROVIDER_ID.to_owned() }
}

impl Lab {
    /// A lab without devices.
    pub(crate) fn new(
        workshop: Workshop,
        links: PathBuf,
        agent: Option<Agent>,
        registrar: Registrar,
    ) -> Self {
        Self {
            scene: Mutex::new(workshop.scene.clone()),
            workshop,
            slots: RwLock::default(),
            links,
            agent,
            registrar,
            ids: Mutex::default(),
            clock: SystemClock,
        }
    }

    /// Begins to build devices; each makes its keys on a thread of its own.
    pub(crate) fn begin(&self, orders: Vec<Order>) -> anyhow::Result<Vec<Building>> {
        orders.into_iter().map(|order| Building::begin(&self.workshop, order)).collect()
    }

    /// What will be unplugged and scrapped when the answer is dropped: all devices of this lab.
    pub(crate) fn until_dropped(self: &Arc<Self>) -> PluggedIn {
        PluggedIn(Arc::clone(self))
    }

    /// Waits for devices and plugs them in.
    pub(crate) fn plug_in(&self, building: Vec<Building>) -> anyhow::Result<()> {
        let slots = building.into_iter().map(Building::finish).collect::<anyhow::Result<Vec<_>>>()?;
        self.add(slots.clone());
        slots.iter().try_for_each(|slot| slot.device.plug(&self.links)).map_err(Into::into)
    }

    /// Returns when the daemon reports every device Ready.
    pub(crate) fn make_ready(&self) -> anyhow::Result<()> {
        each(self.devices(), |device| self.make_device_ready(&device)).map(drop)
    }

    /// Plugs devices in, each as soon as it is built, and returns when the daemon reports all of them Ready.
    pub(crate) fn bring_in(&self, building: Vec<Building>) -> anyhow::Result<Vec<Joined>> {
        let brought = each(building, |building| {
            let slot = building.finish()?;
            slot.device.plug(&self.links)?;
            let plugged = Instant::now();
            self.make_device_ready(&slot.device)?;
            let joined = Joined { serial: slot.device.serial().to_owned(), took: plugged.elapsed() };
            Ok((slot, joined))
        })?;
        let (slots, joined) = brought.into_iter().unzip();
        self.add(slots);
        Ok(joined)
    }

    /// Plugs in a device that the daemon is expected to refuse, and waits until it does; gives the device (which is not
    /// one of the lab), how the daemon sees it, and how long that took.
    pub(crate) fn bring_suspect(
        &self,
        building: Building,
    ) -> anyhow::Result<(Arc<VirtualDevice>, AgentDevice, Duration)> {
        let device = building.finish()?.device;
        device.plug(&self.links)?;
        let plugged = Instant::now();
        let seen = self.until_refused(device.serial())?;
        Ok((device, seen, plugged.elapsed()))
    }

    /// Waits until the daemon has found something that keeps the device from being used.
    fn until_refused(&self, serial: &str) -> anyhow::Result<AgentDevice> {
        let agent = self.agent.as_ref().context("without a daemon nobody refuses a device")?;
        let deadline = Instant::now() + REGISTERED_WITHIN;
        let never = Cancel::new();
        loop {
            let seen = agent.device(serial).with_context(|| format!("looking at {serial}"))?;
            let refused = seen.filter(|seen| seen.failed_check().is_some());
            if let Some(refused) = refused {
                return Ok(refused);
            }
            if Instant::now() > deadline {
                bail!("nobody refuses {serial}, although something is wrong with it");
            }
            let _ = never.wait(LOOK_EVERY);
        }
    }

    /// Waits until the device is Ready at the daemon; certifies its key where that is biosim's task.
    fn make_device_ready(&self, device: &VirtualDevice) -> anyhow::Result<()> {
        let Some(agent) = &self.agent else { return Ok(()) };
        let serial = device.serial();
        let ready = Condition { present: Some(true), status: Some("Ready"), ..Condition::default() };
        let (within, look_every) = match self.registrar {
            Registrar::Biosim => (READY_WITHIN, LOOK_EVERY),
            Registrar::Server => (REGISTERED_WITHIN, LOOK_FOR_REFUSALS_EVERY),
        };
        let deadline = Instant::now() + within;
        let mut enrolled = device.spec().level == Level::L1 || self.registrar == Registrar::Server;
        loop {
            // The state that needs us may come at any moment, and `wait` waits for one state only.
            let why = match agent.wait(serial, ready, look_every) {
                Ok(()) => return Ok(()),
                Err(CallError::Refused { code, message }) if code == "timeout" => message,
                Err(error) => return Err(error).with_context(|| format!("waiting for {serial}")),
            };
            if !enrolled && enrol::is_needed(agent, serial)? {
                enrol::certify_first(agent, &self.workshop.pki, serial, self.clock.now())?;
                enrolled = true;
            } else if Instant::now() > deadline {
                let seen = agent.device(serial)?;
                let failed = seen.as_ref().and_then(AgentDevice::failed_check);
                let failed = failed.map(|(check, text)| format!("; {check}: {text}")).unwrap_or_default();
                bail!("{serial} does not become Ready at the daemon: {why}{failed}");
            }
        }
    }

    /// All devices, with the ids that the daemon gave them.
    pub(crate) fn listed(&self) -> anyhow::Result<Vec<Listed>> {
        self.known()?;
        let ids = self.ids();
        Ok(self
            .slots()
            .iter()
            .map(|slot| {
                let description = slot.device.description();
                Listed {
                    id: ids.get(slot.device.serial()).cloned(),
                    modality: description.identity.modality.to_string(),
                    sub_type: description.identity.device_sub_type.to_string(),
                    level: description.level.to_string(),
                    chip: slot.chip.map(chip_name),
                    purpose: description.purpose.to_string(),
                    serial: slot.device.serial().to_owned(),
                }
            })
            .collect())
    }

    /// The device of this serial number.
    pub(crate) fn device(&self, serial: &str) -> Option<Arc<VirtualDevice>> {
        self.devices().into_iter().find(|device| device.serial() == serial)
    }

    /// All devices as they are now.
    fn slots(&self) -> Vec<Slot> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn devices(&self) -> Vec<Arc<VirtualDevice>> {
        self.slots().into_iter().map(|slot| slot.device).collect()
    }

    fn add(&self, slots: Vec<Slot>) {
        self.slots.write().unwrap_or_else(PoisonError::into_inner).extend(slots);
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

/// Does something with each, all at the same time; the results are in the order of what they are for.
fn each<T: Send, R: Send>(
    all: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<R>> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = all.into_iter().map(|one| scope.spawn(move || work(one))).collect();
        let done: Vec<_> = threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        let done = done.into_iter().map(|one| one.unwrap_or_else(|_| Err(anyhow!("a thread has failed"))));
        done.collect()
    })
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
pub(crate) fn cache_folder(asked: Option<&Path>) -> Option<PathBuf> {
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
