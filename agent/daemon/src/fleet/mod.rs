//! The devices of this host, from plug to answer: opening, appraisal, states, leases, previews, captures.
//!
//! HTTP and the control socket call [`Fleet`]; nothing in here knows either. Blocking work runs on the lanes of each
//! device (see [`lane`]) and on the FTM thread; async code only waits for it. The lists that clients ask for are built
//! from the published units without any cryptography, except the signed device info, which is cached for seconds.
//!
//! Trust: devices are hostile until appraised, and what an L1 device delivers is verified block by block.

mod attestation;
mod blocks;
mod capture;
mod clones;
mod device_keys;
mod discovery;
mod due;
mod firmware;
pub mod ftm;
mod host_keys;
mod info;
mod keys;
mod lane;
mod management;
mod module;
mod opening;
#[cfg(test)]
mod plug_tests;
mod policy;
mod recording;
mod report;
mod roster;
#[cfg(test)]
mod rotation_tests;
mod service;
mod settings;
mod sleep;
mod sources;
pub mod state;
mod stream;
mod supervise;
mod unit;
#[cfg(test)]
mod workshop;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use biotrust_attest::metadata::Metadata;
use biotrust_certs::{DeviceStore, FtmStore};
use biotrust_driver_api::{DriverFactory, Ftm};
use biotrust_model::time::Clock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use management::{ManageError, ManagedDevice, Presentation, Progress, Rotated};
pub use recording::{Begun, RecordError};
pub use settings::{Attestation, Encryption, EncryptionTarget, Settings, Trust};
pub use sources::{FixedPort, SourceError, Sources, known_driver};
pub use stream::FrameStream;

use crate::store::Store;
use ftm::FtmThread;
use unit::Unit;

/// Handle on all devices; clones are the same fleet.
#[derive(Clone)]
pub struct Fleet(Arc<Inner>);

/// Everything that the parts of the fleet share.
struct Inner {
    settings: Settings,
    /// Whom to believe.
    trust: Anchors,
    /// Whom to encrypt for, at this moment.
    encryption: ArcSwap<Encryption>,
    /// What the adopter says about models, at this moment.
    models: ArcSwapOption<Metadata>,
    /// Why the time of this host cannot be believed, where it cannot.
    untimed: watch::Sender<Option<String>>,
    clock: Arc<dyn Clock>,
    started: Instant,
    factories: Vec<Box<dyn DriverFactory>>,
    ftm: FtmThread,
    store: Mutex<Store>,
    units: ArcSwap<Vec<Arc<Unit>>>,
    /// Serialises changes of `units`.
    roster: Mutex<()>,
    /// Counts up with every change that a client could see.
    epoch: watch::Sender<u64>,
    /// Set once the devices that were there at the start have been tried.
    coldplugged: watch::Sender<bool>,
    /// Numbers for leases and sessions.
    numbers: AtomicU64,
    /// Sessions whose drivers are not closed yet.
    open_sessions: watch::Sender<usize>,
    /// One step with keys of this host at a time: request, switch-over, destruction, reconciliation.
    enrolling: Mutex<()>,
    sources: sources::Running,
    recordings: recording::Recordings,
    info: info::Cache,
    stop: CancellationToken,
}

/// Whom to believe.
struct Anchors {
    device: DeviceStore,
    ftm: FtmStore,
}

impl Fleet {
    /// Starts with no devices; see [`Fleet::watch`].
    ///
    /// # Errors
    /// When the FTM thread cannot be started.
    pub fn new(
        settings: Settings,
        trust: Trust,
        store: Store,
        ftm: Box<dyn Ftm>,
        factories: Vec<Box<dyn DriverFactory>>,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<Self> {
        let Trust { device, ftm: chips, encryption, models } = trust;
        Ok(Self(Arc::new(Inner {
            settings,
            trust: Anchors { device, ftm: chips },
            encryption: ArcSwap::from_pointee(encryption),
            models: ArcSwapOption::from_pointee(models),
            untimed: watch::Sender::new(None),
            clock,
            started: Instant::now(),
            factories,
            ftm: FtmThread::start(ftm)?,
            store: Mutex::new(store),
            units: ArcSwap::default(),
            roster: Mutex::default(),
            epoch: watch::Sender::new(0),
            coldplugged: watch::Sender::new(false),
            numbers: AtomicU64::new(1),
            open_sessions: watch::Sender::new(0),
            enrolling: Mutex::default(),
            sources: sources::Running::default(),
            recordings: recording::Recordings::default(),
            info: info::Cache::default(),
            stop: CancellationToken::new(),
        })))
    }

    /// Opens the devices of these sources, now and as they come, and keeps time for leases. Call once, inside the runtime.
    ///
    /// # Errors
    /// When a source cannot be had.
    pub fn watch(&self, sources: Sources) -> Result<(), SourceError> {
        self.watch_on(sources, sleep::ThisHost)
    }

    /// The same, on a host whose sleep is told by `host`.
    fn watch_on(&self, sources: Sources, host: impl sleep::Slept + 'static) -> Result<(), SourceError> {
        // before anything is opened: what is opened from now on must not outlast a sleep
        let sleep = sleep::Watch::new(host);
        sources::start(&self.0, sources)?;
        tokio::spawn(supervise::keep_time(Arc::downgrade(&self.0), sleep));
        Ok(())
    }

    /// Waits until every device that was there at the start has been opened and appraised, or `limit` is over.
    pub async fn coldplugged(&self, limit: Duration) {
        let mut done = self.0.coldplugged.subscribe();
        let _ = tokio::time::timeout(limit, done.wait_for(|done| *done)).await;
    }

    /// Waits until all drivers have closed their devices, those of vendors have ended, and the FTM has done what was asked of it, or `limit` is over.
    pub async fn closed(&self, limit: Duration) {
        let inner = Arc::clone(&self.0);
        let all = async {
            let mut open = self.0.open_sessions.subscribe();
            let _ = open.wait_for(|open| *open == 0).await;
            // a library that is torn out of its work at exit can take the process down with it
            let _ = tokio::task::spawn_blocking(move || {
                sources::end_vendors(&inner);
                inner.ftm.end();
            })
            .await;
        };
        let _ = tokio::time::timeout(limit, all).await;
    }

    /// Ends previews and captures with [`biotrust_model::ProblemKind::ShuttingDown`] and closes all devices.
    pub fn stop(&self) {
        self.0.stop.cancel();
        sources::stop(&self.0);
        for unit in self.0.units().iter() {
            unit.close();
        }
    }
}

impl Inner {
    fn units(&self) -> arc_swap::Guard<Arc<Vec<Arc<Unit>>>> {
        self.units.load()
    }

    /// Whether the unit is in the list, and not one that was unplugged or replaced.
    fn lists(&self, unit: &Arc<Unit>) -> bool {
        self.units().iter().any(|known| Arc::ptr_eq(known, unit))
    }

    /// The driver of this name.
    fn factory(&self, name: &str) -> Option<&dyn DriverFactory> {
        self.factories.iter().map(Box::as_ref).find(|factory| factory.name() == name)
    }

    /// Monotonic time since the start.
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Tells everybody who waits that something visible has changed.
    fn publish(&self) {
        self.epoch.send_modify(|epoch| *epoch += 1);
    }

    fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        locked(&self.store)
    }
}

/// Locks; a poisoned lock is as good as any, because nothing here leaves a value half-written.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
