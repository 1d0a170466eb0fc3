//! The task of one device: what happens goes into its machine, the machine's state is written down, and what it wants done
//! is done, one job at a time.

use std::sync::Arc;
use std::time::Duration;

use biotrust_mgmt::Sha256;
use biotrust_mgmt::client::{Answer, Effect, Event, Facts, Failure, Held, Job, State, Wish};
use biotrust_mgmt::message::RequestBody;
use biotrust_model::time::{Clock as _, UtcMillis};
use biotrust_model::{DeviceStatus, Level};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::hands::Hands;
use super::{Shared, jobs};
use crate::fleet::ManagedDevice;

/// The longest that a job may take, beside an update.
const JOB: Duration = Duration::from_secs(150);
/// The longest that an update may take.
const UPDATE: Duration = Duration::from_secs(3600);
/// Clocks that can be set are looked at so often at least.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// How far the clock of a device may be from the time before it is set again.
const DEVICE_SKEW_MS: i64 = 5_000;

/// What comes to the task.
pub(super) enum Order {
    /// How the device is now; `None`: it is not connected.
    Seen(Option<Box<ManagedDevice>>),
    /// Somebody wants something, and to hear how it went: the SHA-256 of a new certificate (nothing where the keys were to
    /// go), or why not.
    Wish(Wish, oneshot::Sender<Result<String, String>>),
    /// Look again.
    Tick,
    /// Begin anew, as with a device that was never seen.
    Forget,
}

/// A job under way.
struct Running {
    ticket: u64,
    /// Whether its failure is one of what somebody waits for.
    awaited: bool,
    task: JoinHandle<Result<Answer, Failure>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) struct Device<H> {
    shared: Arc<Shared<H>>,
    serial: String,
    state: State,
    /// As it was written down last.
    saved: Option<State>,
    /// As it was seen last; `None` while it is not connected or not yet appraised.
    device: Option<ManagedDevice>,
    /// Plug-in and certificate that the machine knows of.
    known: Option<(u64, Option<Sha256>)>,
    clock_set: bool,
    running: Option<Running>,
    wake: Option<UtcMillis>,
    waiting: Vec<oneshot::Sender<Result<String, String>>>,
}

/// Name of a machine's state in the ledger.
pub(super) fn name(serial: &str) -> String {
    format!("management/{serial}")
}

impl<H: Hands> Device<H> {
    pub(super) fn new(shared: Arc<Shared<H>>, serial: String) -> Self {
        Self {
            shared,
            serial,
            state: State::new(Level::L0),
            saved: None,
            device: None,
            known: None,
            clock_set: true,
            running: None,
            wake: None,
            waiting: Vec::new(),
        }
    }

    /// Works until `stop`, or nobody gives orders any more. What is under way then is left; the next start goes on.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>, stop: CancellationToken) {
        self.recall().await;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                order = orders.recv() => match order {
                    Some(order) => self.take(order).await,
                    None => return,
                },
                (running, result) = finished(&mut self.running) => self.finish(running, result).await,
                () = sleep_until(self.wake, &self.shared) => {
                    self.wake = None;
                    self.step(Event::Tick).await;
                }
            }
        }
    }

    /// What an earlier run of the daemon knew.
    async fn recall(&mut self) {
        let (ledger, name) = (self.shared.ledger.clone(), name(&self.serial));
        match super::off_thread(move || ledger.get::<State>(&name)).await {
            Ok(Some(state)) => {
                self.state = state.clone();
                self.saved = Some(state);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(serial = self.serial, %error, "what was known of the device is lost; it begins anew");
            }
        }
    }

    async fn take(&mut self, order: Order) {
        match order {
            Order::Seen(seen) => self.seen(seen.map(|seen| *seen)).await,
            Order::Wish(wish, waiting) => {
                if self.device.is_none() {
                    let _ = waiting.send(Err("the device is not connected, or still being looked at".into()));
                    return;
                }
                self.waiting.push(waiting);
                self.step(Event::Wished(wish)).await;
            }
            Order::Tick => self.step(Event::Tick).await,
            Order::Forget => {
                self.unplugged().await;
                (self.state, self.saved) = (self.state.anew(), None);
                let seen = self.shared.device(&self.serial);
                self.seen(seen).await;
            }
        }
    }

    /// Tells the machine of a plug-in, of an unplugging, and of a certificate that came by another way.
    async fn seen(&mut self, seen: Option<ManagedDevice>) {
        // one that is not yet appraised may have a certificate that we do not know of
        let appraised = |device: &ManagedDevice| {
            device.certificate.is_some() || device.status == DeviceStatus::NotRegistered
        };
        let Some(device) = seen else {
            self.device = None;
            return self.unplugged().await;
        };
        if self.known.as_ref().is_some_and(|(session, _)| *session != device.session) {
            self.unplugged().await;
        }
        if !appraised(&device) {
            return;
        }
        let now = (device.session, certificate(&device));
        let plugged = self.known.is_none();
        self.device = Some(device);
        if self.known == Some(now) || (self.running.is_some() && !plugged) {
            return; // looked at again when the job is done
        }
        if plugged {
            self.clock_set = self.device_clock_is_set().await;
        }
        self.known = Some(now);
        if let Some(facts) = self.device.as_ref().map(facts) {
            self.step(Event::Plugged(facts)).await;
        }
    }

    async fn unplugged(&mut self) {
        if self.known.take().is_some() {
            self.running = None;
            self.wake = None;
            self.answer(Err("the device was unplugged".into()));
            self.step(Event::Unplugged).await;
        }
    }

    /// Whether the device needs no time: it has no clock, or one that is right.
    async fn device_clock_is_set(&self) -> bool {
        match self.shared.hands.clock(&self.serial).await {
            Ok(None) => true,
            Ok(Some(clock)) => clock.now.is_some_and(|now| {
                now.since(self.shared.clock.now()).unsigned_abs() <= DEVICE_SKEW_MS as u64
            }),
            Err(error) => {
                tracing::warn!(serial = self.serial, %error, "the clock of the device");
                false
            }
        }
    }

    /// A job has ended.
    async fn finish(&mut self, running: Running, result: Result<Answer, Failure>) {
        if result == Ok(Answer::TimeSet) {
            self.clock_set = true;
        }
        // what it did to the certificate is no news to the machine
        if matches!(result, Ok(Answer::Installed | Answer::Destroyed))
            && let Some(device) = self.shared.device(&self.serial)
        {
            self.known = Some((device.session, certificate(&device)));
            self.device = Some(device);
        }
        let done = match &result {
            Ok(Answer::Installed) => self.certificate(),
            Ok(Answer::Destroyed) => Some(String::new()),
            _ => None,
        };
        let failed = result.as_ref().err().filter(|_| running.awaited).map(ToString::to_string);
        self.step(Event::Done { ticket: running.ticket, result }).await;
        if let Some(done) = done {
            self.answer(Ok(done));
        } else if let Some(why) = failed {
            self.answer(Err(format!("{why}; it is tried again")));
        } else if let Some(refusal) = self.state.standing(&self.shared.moment(true)).refusal {
            self.answer(Err(format!("{} ({}); {}", refusal.text, refusal.check, refusal.next)));
        }
        if self.running.is_none() {
            // what was seen meanwhile
            let seen = self.shared.device(&self.serial);
            self.seen(seen).await;
        }
    }

    fn certificate(&self) -> Option<String> {
        certificate(self.device.as_ref()?).map(|sha256| sha256.to_string())
    }

    fn answer(&mut self, outcome: Result<String, String>) {
        for waiting in self.waiting.drain(..) {
            let _ = waiting.send(outcome.clone());
        }
    }

    /// One step of the machine, written down before its effects.
    async fn step(&mut self, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let effects = self.state.step(event, &self.shared.moment(self.clock_set));
            let saved = self.save().await;
            for effect in effects {
                match (effect, &saved) {
                    (Effect::Tell(text), _) => self.tell(text),
                    (Effect::Wake(at), _) => self.wake = Some(at),
                    (Effect::Do { ticket, job }, Ok(())) => self.begin(ticket, *job),
                    // not written down, not done
                    (Effect::Do { ticket, .. }, Err(failure)) => {
                        tracing::error!(serial = self.serial, %failure, "nothing is done that cannot be written down");
                        self.answer(Err(format!("{failure}; it is tried again")));
                        next = Some(Event::Done { ticket, result: Err(failure.clone()) });
                    }
                }
            }
        }
        let standing = self.state.standing(&self.shared.moment(self.clock_set));
        if self.device.is_some() {
            self.shared.hands.set_held(&self.serial, standing.blocked.as_deref());
        }
        self.shared.show(&self.serial, |shown| shown.standing = Some(standing));
    }

    async fn save(&mut self) -> Result<(), Failure> {
        if self.saved.as_ref() == Some(&self.state) {
            return Ok(());
        }
        self.shared.save(&self.serial, &self.state).await?;
        self.saved = Some(self.state.clone());
        Ok(())
    }

    fn tell(&self, text: String) {
        tracing::info!(serial = self.serial, text, "management");
        let at = self.shared.clock.now();
        self.shared.show(&self.serial, |shown| shown.told = Some((at, text)));
    }

    fn begin(&mut self, ticket: u64, job: Job) {
        self.wake = None;
        let Some(device) = self.device.clone() else { return };
        let awaited = is_awaited(&job);
        let limit = if matches!(job, Job::Update { .. }) { UPDATE } else { JOB };
        let shared = Arc::clone(&self.shared);
        let task = tokio::spawn(async move {
            let done = tokio::time::timeout(limit, jobs::carry_out(&shared, &device, job)).await;
            done.unwrap_or_else(|_| Err(Failure::Device("it took too long".into())))
        });
        self.running = Some(Running { ticket, awaited, task });
    }
}

/// Whether somebody who waits for a new certificate, or for the end of the keys, waits for this.
const fn is_awaited(job: &Job) -> bool {
    matches!(
        job,
        Job::MakeKey
            | Job::Prove(_)
            | Job::Install { .. }
            | Job::SyncTime
            | Job::Sign(_)
            | Job::DestroyKeys
            | Job::Send(
                RequestBody::Challenge { .. } | RequestBody::Register { .. } | RequestBody::Rotate { .. }
            )
    )
}

fn certificate(device: &ManagedDevice) -> Option<Sha256> {
    device.certificate.as_ref().map(|certificate| Sha256::of(certificate.der()))
}

fn facts(device: &ManagedDevice) -> Facts {
    let certificate = device.certificate.as_ref().and_then(|certificate| Held::read(certificate.der()).ok());
    Facts { level: device.keys_at, certificate }
}

/// The job that is under way, once it has ended; never where there is none.
async fn finished(running: &mut Option<Running>) -> (Running, Result<Answer, Failure>) {
    let Some(now) = running else { return std::future::pending().await };
    let result = (&mut now.task).await;
    let result = result.unwrap_or_else(|error| Err(Failure::Device(format!("a step broke down: {error}"))));
    match running.take() {
        Some(ended) => (ended, result),
        None => std::future::pending().await,
    }
}

/// Until `at`, by a clock that may be set meanwhile; never where there is nothing to wake up for.
async fn sleep_until<H: Hands>(at: Option<UtcMillis>, shared: &Shared<H>) {
    let Some(at) = at else { return std::future::pending().await };
    loop {
        match u64::try_from(at.since(shared.clock.now())) {
            Ok(left) if left > 0 => tokio::time::sleep(Duration::from_millis(left).min(LONGEST_SLEEP)).await,
            _ => return,
        }
    }
}
