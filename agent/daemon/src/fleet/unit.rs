//! One device line: its state, its open session, its preview slot and its lanes.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use biotrust_driver_api::{Cancel, Description, Frame, Opened, SelfReport};
use biotrust_model::{DeviceId, DeviceStatus, Level, Problem};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::due::Cost;
use super::keys::Keys;
use super::lane::Lane;
use super::locked;
use super::management::Progress;
use super::roster::Spot;
use super::state::{Effect, Event, Lease, Machine};
use crate::fleet::info::Signed;

/// A place with a device, open or not.
pub(super) struct Unit {
    /// Where it is, and who drives it.
    pub(super) spot: Spot,
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
    /// The capture that holds the lease.
    capture: Mutex<Option<Running>>,
    /// Counts up with every try to open it and every loss: what an earlier driver says no longer counts.
    attempt: AtomicU64,
    /// The session that was abandoned last: as long as its driver hangs, it holds the port.
    abandoned: Mutex<Weak<Session>>,
    plug: Mutex<Plug>,
}

/// A capture that is under way.
struct Running {
    /// Its lease.
    lease: u64,
    /// Calls the driver off.
    cancel: Cancel,
    /// Tells whoever waits for it, who must not depend on the driver.
    lost: CancellationToken,
}

/// How long it took from the plug.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plug {
    at: Instant,
    /// Until the driver had opened it: without what the trust module needs.
    pub(super) opened: Option<Duration>,
    /// Until it was ready.
    pub(super) ready: Option<Duration>,
}

impl Plug {
    fn now() -> Self {
        Self { at: Instant::now(), opened: None, ready: None }
    }
}

/// The threads of one device.
pub(super) struct Lanes {
    /// Opening, appraisal, health, previews.
    pub(super) service: Arc<Lane>,
    /// Captures.
    pub(super) capture: Arc<Lane>,
    /// Signatures of the device's own FTM.
    pub(super) sign: Arc<Lane>,
}

impl Lanes {
    fn start(name: &str) -> Arc<Self> {
        Arc::new(Self {
            service: Arc::new(Lane::start(&format!("svc-{name}"), 32)),
            capture: Self::start_capture(name),
            sign: Arc::new(Lane::start(&format!("ftm-{name}"), 16)),
        })
    }

    fn start_capture(name: &str) -> Arc<Lane> {
        Arc::new(Lane::start(&format!("cap-{name}"), 4))
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
    /// Who opened it.
    pub(super) driver: &'static str,
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
    pub(super) fn new(
        opened: Opened,
        driver: &'static str,
        id: DeviceId,
        order: u64,
        open: &watch::Sender<usize>,
    ) -> Self {
        let description = opened.device().description().clone();
        let (keys, timing, cost) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (managing, judging, update) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (settling, stale) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self {
            opened: Some(opened),
            count: Counted::one_more(open),
            order,
            description,
            driver,
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
    at: Option<Duration>,
    /// The last pause.
    pause: Duration,
}

impl Retry {
    const SHORTEST: Duration = Duration::from_millis(250);
    /// The longest pause where what is in the way may go without a plug: other programs, rights, a line that is not there.
    pub(super) const SOON: Duration = Duration::from_secs(5);
    /// The longest pause of a device that is there and does not work.
    pub(super) const SELDOM: Duration = Duration::from_secs(60);

    /// A device that works starts with a short pause again; one that flaps does not.
    pub(super) fn works(&mut self) {
        self.pause = Duration::ZERO;
    }

    /// Whether it is time; says so once.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        self.at.take_if(|at| now >= *at).is_some()
    }

    /// Tries again after twice the last pause, but no longer than `longest`.
    pub(super) fn schedule(&mut self, now: Duration, longest: Duration) {
        self.pause = (self.pause * 2).clamp(Self::SHORTEST, longest);
        self.at = Some(now + self.pause);
    }
}

impl Unit {
    pub(super) fn new(spot: Spot) -> Self {
        Self {
            lanes: Mutex::new(Lanes::start(&spot.found.node.place)),
            spot,
            machine: Mutex::default(),
            session: Mutex::default(),
            frames: watch::Sender::new(None),
            previews: Mutex::default(),
            signed: Mutex::default(),
            retry: Mutex::default(),
            wants_appraisal: AtomicBool::new(false),
            fault: Mutex::default(),
            capture: Mutex::default(),
            attempt: AtomicU64::new(0),
            abandoned: Mutex::default(),
            plug: Mutex::new(Plug::now()),
        }
    }

    /// Its place: unique on this host, and the same at the next plug.
    pub(super) fn place(&self) -> &str {
        &self.spot.found.node.place
    }

    /// Path of its node.
    pub(super) fn path(&self) -> &Path {
        &self.spot.found.node.path
    }

    /// How long it took from the plug, as far as it has got.
    pub(super) fn plug(&self) -> Plug {
        *locked(&self.plug)
    }

    /// A driver has opened it.
    pub(super) fn opened_after(&self) {
        let mut plug = locked(&self.plug);
        let after = plug.at.elapsed();
        plug.opened.get_or_insert(after);
    }

    /// It has been appraised for the first time.
    pub(super) fn settled_after(&self) {
        let ready = self.status() == DeviceStatus::Ready;
        let mut plug = locked(&self.plug);
        let after = plug.at.elapsed();
        if ready {
            plug.ready.get_or_insert(after);
        }
    }

    /// As good as unplugged and plugged in.
    pub(super) fn plugged_in_again(&self) {
        *locked(&self.retry) = Retry::default();
        *locked(&self.plug) = Plug::now();
    }

    /// A new try to open it; the answer names it for [`Self::is_current`].
    pub(super) fn begins_attempt(&self) -> u64 {
        self.attempt.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Whether this is the latest try, and nothing was lost since.
    pub(super) fn is_current(&self, attempt: u64) -> bool {
        self.attempt.load(Ordering::SeqCst) == attempt
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
            self.call_off(lease);
        }
        changed
    }

    /// The device under this capture is lost: the driver is called off, whoever waits is told at once, and the next capture
    /// does not queue up behind this one, which may be stuck in the driver.
    fn call_off(&self, lease: u64) {
        let Some(running) = locked(&self.capture).take_if(|running| running.lease == lease) else { return };
        running.cancel.cancel();
        running.lost.cancel();
        let mut lanes = locked(&self.lanes);
        *lanes = Arc::new(Lanes {
            service: Arc::clone(&lanes.service),
            capture: Lanes::start_capture(self.place()),
            sign: Arc::clone(&lanes.sign),
        });
    }

    /// Takes the device for a capture; when the device is lost, `cancel` calls off the driver and `lost` whoever waits.
    pub(super) fn acquire(
        &self,
        lease: Lease,
        cancel: &Cancel,
        lost: &CancellationToken,
    ) -> Result<(), Problem> {
        // the flags are in place before the lease can be lost
        let mut capture = locked(&self.capture);
        locked(&self.machine).apply(Event::Acquire(lease))?;
        *capture = Some(Running { lease: lease.id, cancel: cancel.clone(), lost: lost.clone() });
        Ok(())
    }

    /// Gives the device back; tells whether anything visible changed.
    pub(super) fn release(&self, lease: Lease) -> bool {
        locked(&self.capture).take_if(|running| running.lease == lease.id);
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

    /// Puts an opened device in place; false where the try that opened it no longer counts.
    pub(super) fn open(&self, attempt: u64, session: Arc<Session>, report: SelfReport) -> bool {
        // held to the end: a loss comes before all of this or after it
        let mut slot = locked(&self.session);
        if !self.is_current(attempt) {
            return false;
        }
        locked(&self.retry).at = None;
        locked(&self.fault).clear();
        locked(&self.previews).reset();
        *slot = Some(session);
        self.note(Event::Opened(report));
        true
    }

    /// The device is lost: forgets the session; tells whether there was one.
    pub(super) fn lose(&self, reason: &str) -> bool {
        let mut slot = locked(&self.session);
        self.attempt.fetch_add(1, Ordering::SeqCst);
        let session = slot.take();
        self.note(Event::Lost(reason.to_owned()));
        drop(slot);
        *locked(&self.signed) = None;
        self.frames.send_replace(None);
        session.is_some()
    }

    /// Forgets the session.
    pub(super) fn close(&self) {
        let mut slot = locked(&self.session);
        self.attempt.fetch_add(1, Ordering::SeqCst);
        let session = slot.take();
        drop(slot);
        drop(session);
        *locked(&self.signed) = None;
        self.frames.send_replace(None);
    }

    /// Whether jobs of this lane still count: not once its threads were given up.
    pub(super) fn is_served_by(&self, service: &Weak<Lane>) -> bool {
        Weak::ptr_eq(service, &Arc::downgrade(&self.lanes().service))
    }

    /// Gives up the threads of this device and starts new ones; the old ones end when their present job does. The driver is
    /// told by the flag of its capture, and closed as soon as that lets it go.
    pub(super) fn abandon(&self) {
        if let Some(running) = locked(&self.capture).take() {
            running.cancel.cancel();
            running.lost.cancel();
        }
        *locked(&self.lanes) = Lanes::start(self.place());
        if let Some(session) = self.session() {
            *locked(&self.abandoned) = Arc::downgrade(&session);
        }
        self.close();
    }

    /// Whether a driver that was given up has still not let go of the port.
    pub(super) fn is_held(&self) -> bool {
        locked(&self.abandoned).strong_count() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_between_tries_grow_up_to_their_limit_and_begin_anew_with_a_device_that_works() {
        let mut retry = Retry::default();
        let pauses = |retry: &mut Retry, longest| {
            retry.schedule(Duration::ZERO, longest);
            let at = retry.at.unwrap();
            assert!(!retry.is_due(at - Duration::from_millis(1)));
            assert!(retry.is_due(at) && !retry.is_due(at), "due once");
            at.as_millis()
        };
        let soon: Vec<u128> = (0..7).map(|_| pauses(&mut retry, Retry::SOON)).collect();
        assert_eq!(soon, [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000]);
        let seldom: Vec<u128> = (0..5).map(|_| pauses(&mut retry, Retry::SELDOM)).collect();
        assert_eq!(seldom, [10_000, 20_000, 40_000, 60_000, 60_000]);
        retry.works();
        assert_eq!(pauses(&mut retry, Retry::SOON), 250);
    }
}
