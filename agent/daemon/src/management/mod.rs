//! The client of the device provider's management server: registration at plug-in, rotation, time, orders, de-registration,
//! firmware.
//!
//! What is to be done is decided by the machine of `biotrust-mgmt`, one for each device; here it is carried out, by one
//! task for each device. Its state is written down before anything is done that it has decided, so that a kill at any
//! instant is made good at the next start. Raw proofs go to the server: this daemon never judges its own evidence for it.
//!
//! Trust: the server is believed under the pinned anchors only, in TLS and in the signature of every answer. Nothing here
//! blocks the runtime, and nothing waits for ever.

mod device;
mod firmware;
mod hands;
mod jobs;
mod server;
pub mod store;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use biotrust_mgmt::client::{Failure, Moment, Policy, Standing, State, Wish};
use biotrust_model::time::{Clock as _, SystemClock, UtcMillis};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config;
use crate::fleet::ManagedDevice;
use crate::https::Limits;
use crate::time::{Told, TrustedClock};
use device::{Device, Order};
pub use hands::Hands;
use server::Server;
use store::{Ledger, LedgerError};

/// How many orders may wait for a device that is being worked on.
const ORDERS: usize = 16;
/// How long somebody waits for a new certificate before he is told that it takes longer.
const PATIENCE: Duration = Duration::from_secs(90);
/// So many days before devices stop for want of word from the server it becomes a notice.
const COUNTDOWN: u32 = 10;
/// Name of the server's time in the ledger.
const TIME: &str = "time";

/// What all tasks share.
struct Shared<H> {
    hands: Arc<H>,
    server: Server,
    clock: Arc<TrustedClock>,
    ledger: Ledger,
    policy: Policy,
    devices: Mutex<BTreeMap<String, Entry>>,
}

/// A device that is or was connected.
struct Entry {
    orders: mpsc::Sender<Order>,
    shown: Shown,
}

/// What is shown of the machine of a device.
#[derive(Debug, Clone, Default)]
struct Shown {
    standing: Option<Standing>,
    /// The last sentence that it had to say, and when.
    told: Option<(UtcMillis, String)>,
}

/// Why an order of a person was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// No device of this serial number is managed.
    #[error("no device with serial number {0} is connected")]
    NoDevice(String),
    /// It was tried, and this went wrong.
    #[error("{0}")]
    Failed(String),
    /// It takes longer.
    #[error("it is not done after {} s, and goes on: see `biotrust status`", PATIENCE.as_secs())]
    Late,
}

/// The management client; clones are the same one.
pub struct Manager<H>(Arc<Shared<H>>);

impl<H> Clone for Manager<H> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// What the server told of the time in an earlier run of the daemon.
///
/// # Errors
/// When the ledger cannot be read.
pub fn told_time(ledger: &Ledger) -> Result<Option<Told>, LedgerError> {
    ledger.get(TIME)
}

impl<H: Hands> Manager<H> {
    /// Reads the anchors; blocking. `None` where no server is configured.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn new(
        config: &config::Management,
        hands: Arc<H>,
        clock: Arc<TrustedClock>,
        ledger: Ledger,
    ) -> anyhow::Result<Option<Self>> {
        Self::with_limits(config, hands, clock, ledger, Limits::default())
    }

    fn with_limits(
        config: &config::Management,
        hands: Arc<H>,
        clock: Arc<TrustedClock>,
        ledger: Ledger,
        limits: Limits,
    ) -> anyhow::Result<Option<Self>> {
        let Some(server) = Server::new(config, limits, Arc::clone(&clock) as _)? else { return Ok(None) };
        let policy = Policy {
            renew_at_percent: u8::try_from(config.renew_at_percent).unwrap_or(80),
            offline_days: u32::try_from(config.offline.as_secs() / 86_400).unwrap_or(30),
            poll_every: config.poll,
            ..Policy::default()
        };
        let devices = Mutex::default();
        Ok(Some(Self(Arc::new(Shared { hands, server, clock, ledger, policy, devices }))))
    }

    /// Whether what is configured could be used. Blocking.
    ///
    /// # Errors
    /// The first thing that could not.
    pub fn check(config: &config::Management) -> anyhow::Result<()> {
        Server::new(config, Limits::default(), Arc::new(SystemClock)).map(drop)
    }

    /// Follows the devices until `stop`; then ends all tasks.
    pub async fn run(&self, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let mut changes = self.0.hands.changes();
        tracing::info!(server = self.0.server.name(), "devices are managed");
        loop {
            changes.borrow_and_update();
            self.look(&tasks, &stop).await;
            tokio::select! {
                () = stop.cancelled() => break,
                changed = changes.changed() => if changed.is_err() { break },
            }
        }
        tasks.close();
        tasks.wait().await;
    }

    /// Tells each device's task how it is now.
    async fn look(&self, tasks: &TaskTracker, stop: &CancellationToken) {
        let mut there = by_serial(self.0.hands.devices());
        let known: Vec<String> = self.0.devices().keys().cloned().collect();
        for serial in known {
            let seen = there.remove(&serial);
            self.0.tell(&serial, Order::Seen(seen.map(Box::new))).await;
        }
        for (serial, device) in there {
            let (orders, receiver) = mpsc::channel(ORDERS);
            self.0.devices().insert(serial.clone(), Entry { orders, shown: Shown::default() });
            let task = Device::new(Arc::clone(&self.0), serial.clone());
            let stop = stop.clone();
            tasks.spawn(async move { task.run(receiver, stop).await });
            self.0.tell(&serial, Order::Seen(Some(Box::new(device)))).await;
        }
    }

    /// The time was lost or found: lets every device look at what that means.
    pub async fn tick(&self) {
        let known: Vec<String> = self.0.devices().keys().cloned().collect();
        for serial in known {
            self.0.tell(&serial, Order::Tick).await;
        }
    }

    /// Has a new device key certified, now; the SHA-256 of its certificate.
    ///
    /// # Errors
    /// [`OrderError`].
    pub async fn rotate(&self, serial: &str) -> Result<String, OrderError> {
        self.wish(serial, Wish::Rotate).await
    }

    async fn wish(&self, serial: &str, wish: Wish) -> Result<String, OrderError> {
        let (done, waiting) = oneshot::channel();
        if !self.0.tell(serial, Order::Wish(wish, done)).await {
            return Err(OrderError::NoDevice(serial.to_owned()));
        }
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(Ok(outcome)) => outcome.map_err(OrderError::Failed),
            Ok(Err(_)) => Err(OrderError::Failed("biotrustd stops".into())),
            Err(_) => Err(OrderError::Late),
        }
    }

    /// Destroys the device keys, and tells the server so.
    ///
    /// # Errors
    /// [`OrderError`].
    pub async fn deregister(&self, serial: &str) -> Result<(), OrderError> {
        self.wish(serial, Wish::Deregister).await.map(drop)
    }

    /// Forgets what is known of a device; where it is connected it is looked at anew. Tells whether anything was known.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn forget(&self, serial: &str) -> Result<bool, OrderError> {
        let (ledger, name) = (self.0.ledger.clone(), device::name(serial));
        let forget = move || {
            let known = ledger.names(&name)?.contains(&name);
            // how long the server has been silent is not forgotten, unless it cannot be read
            match ledger.get::<State>(&name) {
                Ok(Some(state)) => ledger.put(&name, &state.anew())?,
                _ => ledger.remove(&name)?,
            }
            Ok(known)
        };
        let known = off_thread(forget).await.map_err(|failure| OrderError::Failed(failure.to_string()))?;
        self.0.tell(serial, Order::Forget).await;
        Ok(known)
    }

    /// Where the server is.
    #[must_use]
    pub fn server(&self) -> String {
        self.0.server.name().to_owned()
    }

    /// What `status` shows of a device.
    #[must_use]
    pub fn report(&self, serial: &str) -> Option<Value> {
        let shown = self.0.devices().get(serial)?.shown.clone();
        let standing = shown.standing?;
        Some(json!({
            "registered": standing.registered,
            "doing": standing.doing,
            "offline_days_left": standing.offline_days_left,
            "blocked": standing.blocked,
            "refusal": standing.refusal.map(|refusal| json!({
                "check": refusal.check, "text": refusal.text, "next": refusal.next
            })),
            "renewal": standing.renewal.map(UtcMillis::to_wire),
            "last": shown.told.map(|(at, text)| json!({"at": at.to_wire(), "text": text})),
        }))
    }

    /// What somebody should know before it hurts.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        let devices = self.0.devices();
        let one = |(serial, entry): (&String, &Entry)| {
            let standing = entry.shown.standing.as_ref()?;
            if let Some(refusal) = &standing.refusal {
                let (text, check, next) = (&refusal.text, &refusal.check, &refusal.next);
                return Some(format!(
                    "device {serial}: the management server certifies nothing: {text} ({check}); {next}"
                ));
            }
            let left = standing.offline_days_left.filter(|left| *left <= COUNTDOWN)?;
            Some(format!(
                "device {serial}: no word from the management server {}; it works for {left} more days: connect this \
                 host to it",
                self.0.server.name()
            ))
        };
        devices.iter().filter_map(one).collect()
    }
}

impl<H: Hands> Shared<H> {
    fn devices(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        // every change is a single assignment
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whether there was somebody to be told.
    async fn tell(&self, serial: &str, order: Order) -> bool {
        let orders = self.devices().get(serial).map(|entry| entry.orders.clone());
        match orders {
            Some(orders) => orders.send(order).await.is_ok(),
            None => false,
        }
    }

    fn show(&self, serial: &str, change: impl FnOnce(&mut Shown)) {
        if let Some(entry) = self.devices().get_mut(serial) {
            change(&mut entry.shown);
        }
    }

    /// The device as it is now.
    fn device(&self, serial: &str) -> Option<ManagedDevice> {
        by_serial(self.hands.devices()).remove(serial)
    }

    fn moment(&self, device_clock_set: bool) -> Moment<'_> {
        jobs::moment(self.clock.now(), self.clock.trusted().is_ok() && device_clock_set, &self.policy)
    }

    /// Writes down what the server told, then goes by it.
    async fn remember_time(&self, told: Told) -> Result<(), Failure> {
        let (ledger, kept) = (self.ledger.clone(), told.clone());
        off_thread(move || ledger.put(TIME, &kept)).await?;
        self.clock.adopt(told);
        Ok(())
    }

    /// Writes the state of a machine down.
    async fn save(&self, serial: &str, state: &State) -> Result<(), Failure> {
        let (ledger, name, state) = (self.ledger.clone(), device::name(serial), state.clone());
        off_thread(move || ledger.put(&name, &state)).await
    }
}

/// Blocking work with the ledger.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LedgerError> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(|error| Failure::Device(error.to_string())),
        Err(error) => Err(Failure::Device(error.to_string())),
    }
}

/// Those that are there once: of two devices with one serial number, neither is managed.
fn by_serial(devices: Vec<ManagedDevice>) -> BTreeMap<String, ManagedDevice> {
    let mut found: BTreeMap<String, Option<ManagedDevice>> = BTreeMap::new();
    for device in devices {
        let serial = device.identity.serial_no.clone();
        found.entry(serial).and_modify(|twice| *twice = None).or_insert(Some(device));
    }
    found.into_iter().filter_map(|(serial, device)| Some((serial, device?))).collect()
}

#[cfg(test)]
mod tests;
