//! Whom authentication captures are encrypted for: one certificate per `domainUri`, from a watched file or fetched from the
//! authentication server, handed to the fleet whenever one is replaced. No restart, and no capture without a certificate
//! while there is a usable one.
//!
//! Trust: files belong to root; what is fetched comes over pinned TLS; and where the adopter's anchors are configured,
//! either must lead to one of them. A certificate that does not stand up never replaces one that does.

mod check;
mod fetch;
mod slots;
pub(crate) mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use biotrust_certs::AdopterStore;
use biotrust_model::time::Clock;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::fleet::Encryption;
use crate::management::store::Ledger;
use fetch::Fetcher;
use slots::Slots;

/// Files are looked at so often even when nothing tells of a change: a certificate becomes valid without one.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Where new certificates go.
pub type Sink = Arc<dyn Fn(Encryption) + Send + Sync>;

/// Keeps the certificates; clones are the same keeper.
#[derive(Clone)]
pub struct Keeper(Arc<Inner>);

struct Inner {
    slots: Mutex<Slots>,
    fetcher: Option<Fetcher>,
    clock: Arc<dyn Clock>,
    ledger: Option<Ledger>,
}

impl Keeper {
    /// Reads the files and what is left from earlier fetches. Blocking. Without a `ledger` nothing is remembered.
    ///
    /// # Errors
    /// The first file that cannot be used, and why.
    pub fn open(
        config: &config::Encryption,
        clock: Arc<dyn Clock>,
        ledger: Option<Ledger>,
    ) -> anyhow::Result<Self> {
        let anchors = AdopterStore::load(&config.anchors).context("[encryption] anchors")?;
        let fetcher = config.fetch.as_ref().map(|fetch| Fetcher::new(fetch, Arc::clone(&clock)));
        let fetcher = fetcher.transpose().context("[encryption.fetch]")?;
        let mut slots = Slots::new(config, anchors);
        slots.read_files(clock.now())?;
        if let Some(ledger) = &ledger {
            slots.recall(ledger, clock.now());
        }
        Ok(Self(Arc::new(Inner { slots: Mutex::new(slots), fetcher, clock, ledger })))
    }

    /// The certificates that are in use.
    #[must_use]
    pub fn current(&self) -> Encryption {
        self.0.slots().current()
    }

    /// Follows the files and fetches, until `stop`. Each change goes to `sink`.
    pub async fn run(&self, sink: Sink, stop: CancellationToken) {
        let both = async { tokio::join!(self.follow(&sink), self.fetch(&sink)) };
        let _ = stop.run_until_cancelled(both).await;
    }

    /// What somebody should know.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        self.0.slots().notices()
    }

    /// Each `domainUri` with where its certificate comes from and how it is.
    #[must_use]
    pub fn report(&self) -> Value {
        self.0.slots().report()
    }

    async fn follow(&self, sink: &Sink) {
        let files = self.0.slots().files();
        if files.is_empty() {
            return;
        }
        let mut watch = watch::Watch::new(&files);
        loop {
            watch.changed(LOOK_AGAIN).await;
            let (keeper, sink) = (self.clone(), Arc::clone(sink));
            // reading files blocks
            let looked = tokio::task::spawn_blocking(move || keeper.look(&sink)).await;
            if let Err(error) = looked {
                tracing::error!(%error, "the encryption certificates could not be looked at");
            }
        }
    }

    fn look(&self, sink: &Sink) {
        let mut slots = self.0.slots();
        let changed = slots.look_at_files(self.0.clock.now());
        let current = changed.then(|| slots.current());
        drop(slots);
        if let Some(current) = current {
            sink(current);
        }
    }

    async fn fetch(&self, sink: &Sink) {
        let Some(fetcher) = &self.0.fetcher else { return };
        let mut failures = 0;
        loop {
            let mut failed = false;
            for (domain, url) in fetcher.targets() {
                let fetched = fetcher.fetch(url, self.0.clock.now()).await;
                let now = self.0.clock.now();
                let mut slots = self.0.slots();
                let outcome = fetched.map_err(|error| error.to_string());
                failed |= outcome.is_err();
                let changed = slots.fetched(domain, outcome, self.0.ledger.as_ref(), now);
                let current = changed.then(|| slots.current());
                drop(slots);
                if let Some(current) = current {
                    sink(current);
                }
            }
            failures = if failed { failures + 1 } else { 0 };
            let left = self.0.slots().life_left(self.0.clock.now());
            tokio::time::sleep(fetch::pause(fetcher.interval(), left, failures)).await;
        }
    }
}

impl Inner {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        // every change of the slots is a single assignment
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
