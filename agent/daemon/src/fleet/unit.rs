//! One device line: its state, its open session, its preview slot and its lanes.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use biotrust_driver_api::{Cancel, Description, Frame, Opened, SelfReport};
use biotrust_model::{DeviceId, DeviceStatus, Level, Problem};
use tokio::sync::watch;

use super::due::Cost;
use super::keys::Keys;
use super::lane::Lane;
use super::locked;
use super::management::Progress;
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
    /// Its keys have to be looked at again; survives a full queue.
    pub(super) wants_appraisal: AtomicBool,
    /// Why it could last not be opened, so that the log tells it once.
    fault: Mutex<String>,
    /// The flag of the capture that holds the lease of this id.
    capture: Mutex<Option<(u64, Cancel)>>,
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

/// An open device.
pub(super) struct Session {
    /// Taken only by drop, which hands it to a thread of its own: closing a driver waits for the driver's threads.
    opened: Option<Opened>,
    /// Counts open sessions; gone when this one is closed.
    count: Arc<Counted>,
    /// Counts up with every session: of two devices that claim one identity, the first is served.
    pub(super) order: u64,
    pub(super) description: Description,
    pub(super) id: DeviceId,
    /// Keys and certificates after the last appraisal.
    keys: Mutex<Option<Arc<Keys>>>,
    timing: Mutex<Option<Timing>>,
    cost: Mutex<Cost>,
    /// Held while keys in the device are made, switched or destroyed: one such step at a time.
    pub(super) managing: Mutex<()>,
    /// Held while keys are appraised and put in place, and while they are switched: an appraisal that began with the old
    /// keys must not put them back. Taken after `managing` where both are.
    pub(super) judging: Mutex<()>,
    /// How many are about to put other keys in place.
    settling: AtomicUsize,
    /// What was found out about its trust module no longer counts.
    stale: AtomicBool,
    /// How far an update of its firmware is.
    pub(super) update: Mutex<Option<Progress>>,
}

/// While it lives, other keys of the session may be on their way.
pub(super) struct Settling<'s>(&'s Session);

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        self.0.settling.fetch_sub(1, Ordering::SeqCst);
    }
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
    pub(super) fn new(opened: Opened, id: DeviceId, order: u64, open: &watch::Sender<usize>) -> Self {
        let description = opened.device().description().clone();
        let (keys, timing, cost) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (managing, judging, update) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (settling, stale) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self {
            opened: Some(opened),
            count: Counted::one_more(open),
            order,
            description,
            id,
            keys,
            timing,
            cost,
            managing,
            judging,
            settling,
            stale,
            update,
        }
    }

    /// The driver's handle; always there while the session is.
    pub(super) fn opened(&self) -> Option<&Opened> {
        self.opened.as_ref()
    }

    pub(super) fn keys(&self) -> Option<Arc<Keys>> {
        locked(&self.keys).clone()
    }

    pub(super) fn set_keys(&self, keys: Option<Arc<Keys>>) {
        *locked(&self.keys) = keys;
    }

    /// Says that other keys may be put in place until the answer is dropped.
    pub(super) fn settle(&self) -> Settling<'_> {
        self.settling.fetch_add(1, Ordering::SeqCst);
        Settling(self)
    }

    /// Whether other keys may be on their way.
    pub(super) fn is_settling(&self) -> bool {
        self.settling.load(Ordering::SeqCst) > 0
    }

    /// From now on only new evidence counts.
    pub(super) fn forget_evidence(&self) {
        self.stale.store(true, Ordering::SeqCst);
    }

    /// Whether new evidence has to be asked for; who asks this asks for it.
    pub(super) fn takes_fresh_evidence(&self) -> bool {
        self.stale.swap(false, Ordering::SeqCst)
    }

    /// What this device needs once time is up.
    pub(super) fn cost(&self) -> Cost {
        *locked(&self.cost)
    }

    pub(super) fn learn(&self, took: Duration) {
        locked(&self.cost).learn(took);
    }

    pub(super) fn timing(&self) -> Option<Timing> {
        *locked(&self.timing)
    }

    pub(super) fn set_timing(&self, timing: Timing) {
        *locked(&self.timing) = Some(timing);
    }

    /// The level that it is served as: the one that it was granted, or while that is not known, the one that it claims.
    pub(super) fn level(&self) -> Level {
        let granted = locked(&self.keys).as_ref().and_then(|keys| keys.granted());
        granted.unwrap_or(self.description.level)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let (opened, count) = (self.opened.take(), Arc::clone(&self.count));
        // where no thread can be had, it is closed here and now
        let _ = std::thread::Builder::new().name("close".into()).spawn(move || drop((opened, count)));
    }
}

/// One of the open sessions; counted until its driver has closed the device.
struct Counted(watch::Sender<usize>);

impl Counted {
    fn one_more(count: &watch::Sender<usize>) -> Arc<Self> {
        count.send_modify(|count| *count += 1);
        Arc::new(Self(count.clone()))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
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

    /// A device that works starts with a short pause again; one that flaps does not.
    pub(super) fn works(&mut self) {
        self.pause = Duration::ZERO;
    }

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
            wants_appraisal: AtomicBool::new(false),
            fault: Mutex::default(),
            capture: Mutex::default(),
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

    /// Takes an event that cannot be refused, and calls off the capture that it ends; tells whether anything visible
    /// changed.
    pub(super) fn note(&self, event: Event) -> bool {
        let mut machine = locked(&self.machine);
        let before = machine.clone();
        // only Acquire is ever refused
        let effect = machine.apply(event).unwrap_or_default();
        let changed = *machine != before;
        drop(machine);
        if let Some(Effect::Cancel(lease)) = effect {
            let capture = locked(&self.capture).take_if(|(id, _)| *id == lease);
            if let Some((_, cancel)) = capture {
                cancel.cancel();
            }
        }
        changed
    }

    /// Takes the device for a capture, which `cancel` calls off when the device is lost.
    pub(super) fn acquire(&self, lease: Lease, cancel: &Cancel) -> Result<(), Problem> {
        // the flag is in place before the lease can be lost
        let mut capture = locked(&self.capture);
        locked(&self.machine).apply(Event::Acquire(lease))?;
        *capture = Some((lease.id, cancel.clone()));
        Ok(())
    }

    /// Gives the device back; tells whether anything visible changed.
    pub(super) fn release(&self, lease: Lease) -> bool {
        locked(&self.capture).take_if(|(id, _)| *id == lease.id);
        self.note(Event::Release(lease.id))
    }

    /// Lets the clock end what has overstayed.
    pub(super) fn tick(&self, now: Duration) -> Option<Effect> {
        locked(&self.machine).tick(now)
    }

    /// Remembers why the line could not be opened; tells whether that is news.
    pub(super) fn last_fault(&self, fault: String) -> bool {
        let mut last = locked(&self.fault);
        let news = *last != fault;
        *last = fault;
        news
    }

    /// Puts an opened device in place.
    pub(super) fn open(&self, session: Arc<Session>, report: SelfReport) {
        locked(&self.retry).at = None;
        locked(&self.fault).clear();
        locked(&self.previews).reset();
        *locked(&self.session) = Some(session);
        self.note(Event::Opened(report));
    }

    /// Forgets the session.
    pub(super) fn close(&self) {
        drop(locked(&self.session).take());
        *locked(&self.signed) = None;
        self.frames.send_replace(None);
    }

    /// Gives up the threads of this device and starts new ones; the old ones end when their present job does.
    pub(super) fn abandon_lanes(&self) {
        *locked(&self.lanes) = Lanes::start(&self.name);
        self.close();
    }
}
