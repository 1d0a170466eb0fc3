//! One device line: its state, its open session, its preview slot and its lanes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use biotrust_driver_api::{Description, Frame, Opened, SelfReport};
use biotrust_model::{DeviceId, DeviceStatus, Level, Problem};
use tokio::sync::watch;

use super::keys::Keys;
use super::lane::Lane;
use super::locked;
use super::state::{Effect, Event, Lease, Machine};
use crate::fleet::info::Signed;

/// A line to a device, open or not.
pub(super) struct Unit {
    /// Name of the link, unique on this host.
    pub(super) name: String,
    /// Path of the tty.
    pub(super) path: PathBuf,
    machine: Mutex<Machine>,
    session: Mutex<Option<Arc<Session>>>,
    /// The newest preview frame; older ones are gone.
    pub(super) frames: watch::Sender<Option<Frame>>,
    /// Open previews and what they show.
    pub(super) previews: Mutex<super::stream::Previews>,
    /// Signed device info that may still be served.
    pub(super) signed: Mutex<Option<Signed>>,
    lanes: Mutex<Arc<Lanes>>,
    pub(super) retry: Mutex<Retry>,
}

/// The threads of one device.
pub(super) struct Lanes {
    /// Opening, appraisal, health, previews.
    pub(super) service: Lane,
    /// Captures.
    pub(super) capture: Lane,
    /// Signatures of the device's own FTM.
    pub(super) sign: Lane,
}

impl Lanes {
    fn start(name: &str) -> Arc<Self> {
        Arc::new(Self {
            service: Lane::start(&format!("svc-{name}"), 32),
            capture: Lane::start(&format!("cap-{name}"), 4),
            sign: Lane::start(&format!("ftm-{name}"), 16),
        })
    }
}

/// An open device. Dropped on its service lane only, because that joins the driver's threads.
pub(super) struct Session {
    pub(super) opened: Opened,
    pub(super) description: Description,
    pub(super) id: DeviceId,
    /// Keys and certificates after the last appraisal.
    keys: Mutex<Option<Arc<Keys>>>,
    timing: Mutex<Option<Timing>>,
}

/// Where the time of the last capture went.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    /// From the request to the device until it had delivered.
    pub(super) device: Duration,
    /// From then until the answer was made: records, hashes, signatures or their verification.
    pub(super) host: Duration,
}

impl Session {
    pub(super) fn new(opened: Opened, id: DeviceId) -> Self {
        let description = opened.device().description().clone();
        Self { opened, description, id, keys: Mutex::default(), timing: Mutex::default() }
    }

    pub(super) fn keys(&self) -> Option<Arc<Keys>> {
        locked(&self.keys).clone()
    }

    pub(super) fn set_keys(&self, keys: Option<Arc<Keys>>) {
        *locked(&self.keys) = keys;
    }

    pub(super) fn timing(&self) -> Option<Timing> {
        *locked(&self.timing)
    }

    pub(super) fn set_timing(&self, timing: Timing) {
        *locked(&self.timing) = Some(timing);
    }

    pub(super) fn level(&self) -> Level {
        match self.opened {
            Opened::L0(_) => Level::L0,
            Opened::L1(_) => Level::L1,
        }
    }
}

/// When to try again to open a line that was lost.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Retry {
    /// Monotonic; `None` while there is nothing to try.
    pub(super) at: Option<Duration>,
    /// The last pause; doubles up to [`Retry::LONGEST`].
    pause: Duration,
}

impl Retry {
    const SHORTEST: Duration = Duration::from_millis(250);
    const LONGEST: Duration = Duration::from_secs(5);

    pub(super) fn schedule(&mut self, now: Duration) {
        self.pause = (self.pause * 2).clamp(Self::SHORTEST, Self::LONGEST);
        self.at = Some(now + self.pause);
    }
}

impl Unit {
    pub(super) fn new(name: String, path: PathBuf) -> Self {
        Self {
            lanes: Mutex::new(Lanes::start(&name)),
            name,
            path,
            machine: Mutex::default(),
            session: Mutex::default(),
            frames: watch::Sender::new(None),
            previews: Mutex::default(),
            signed: Mutex::default(),
            retry: Mutex::default(),
        }
    }

    pub(super) fn lanes(&self) -> Arc<Lanes> {
        locked(&self.lanes).clone()
    }

    pub(super) fn session(&self) -> Option<Arc<Session>> {
        locked(&self.session).clone()
    }

    pub(super) fn status(&self) -> DeviceStatus {
        locked(&self.machine).status()
    }

    pub(super) fn problem(&self) -> Option<Problem> {
        locked(&self.machine).problem()
    }

    pub(super) fn machine(&self) -> Machine {
        locked(&self.machine).clone()
    }

    /// Takes an event that cannot be refused; tells whether anything visible changed.
    pub(super) fn note(&self, event: Event) -> (bool, Option<Effect>) {
        let mut machine = locked(&self.machine);
        let before = machine.clone();
        // only Acquire is ever refused
        let effect = machine.apply(event).unwrap_or_default();
        (*machine != before, effect)
    }

    /// Takes the device for a capture.
    pub(super) fn acquire(&self, lease: Lease) -> Result<(), Problem> {
        locked(&self.machine).apply(Event::Acquire(lease)).map(drop)
    }

    /// Lets the clock end what has overstayed.
    pub(super) fn tick(&self, now: Duration) -> Option<Effect> {
        locked(&self.machine).tick(now)
    }

    /// Puts an opened device in place.
    pub(super) fn open(&self, session: Arc<Session>, report: SelfReport) {
        *locked(&self.retry) = Retry::default();
        *locked(&self.session) = Some(session);
        self.note(Event::Opened(report));
    }

    /// Forgets the session; it is dropped on the service lane, which may wait for the driver's threads.
    pub(super) fn close(&self) {
        let session = locked(&self.session).take();
        *locked(&self.signed) = None;
        self.frames.send_replace(None);
        if let Some(session) = session {
            // a lane that is full or wedged drops the job here and now; its driver is given up anyway
            let _ = self.lanes().service.submit(move || drop(session));
        }
    }

    /// Gives up the threads of this device and starts new ones.
    pub(super) fn abandon_lanes(&self) {
        let old = std::mem::replace(&mut *locked(&self.lanes), Lanes::start(&self.name));
        // the old lanes' last handle may be inside a wedged job: do not wait for it here
        drop(old);
        let session = locked(&self.session).take();
        if let Some(session) = session {
            // its driver does not come back: dropping it may block, so it gets a thread to block
            let _ = std::thread::Builder::new().name("abandoned".into()).spawn(move || drop(session));
        }
        *locked(&self.signed) = None;
        self.frames.send_replace(None);
    }
}
