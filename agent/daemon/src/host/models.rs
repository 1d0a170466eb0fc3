//! The adopter's list of models, while the daemon runs: a newer one is used as soon as it is in place; one that cannot be
//! used leaves the old one in use and becomes a notice.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use biotrust_model::time::Clock;

use crate::config::Config;
use crate::encryption::watch::Watch;
use crate::fleet::Fleet;
use crate::start;
use crate::store::{Floor, Store};

/// The file is looked at so often even when nothing tells of a change.
const LOOK: Duration = Duration::from_secs(30);

/// Follows the file.
pub(super) struct Models {
    config: crate::config::Metadata,
    state: PathBuf,
    last: Mutex<Option<Vec<u8>>>,
    complaint: Mutex<Option<String>>,
}

impl Models {
    /// Begins with what was read at the start.
    pub(super) fn new(config: &Config) -> Self {
        let last = config.metadata.file.as_ref().and_then(|file| std::fs::read(file).ok());
        Self {
            config: config.metadata.clone(),
            state: config.state.directory.clone(),
            last: Mutex::new(last),
            complaint: Mutex::default(),
        }
    }

    /// What somebody should know.
    pub(super) fn notice(&self) -> Option<String> {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks after every change and now and then, for ever.
    pub(super) async fn follow(self: std::sync::Arc<Self>, fleet: Fleet, clock: std::sync::Arc<dyn Clock>) {
        let Some(file) = self.config.file.clone() else { return };
        let mut watch = Watch::new(&[file]);
        loop {
            watch.changed(LOOK).await;
            let (models, fleet, clock) = (self.clone(), fleet.clone(), clock.clone());
            // files and the state block
            let _ = tokio::task::spawn_blocking(move || models.look(&fleet, clock.as_ref())).await;
        }
    }

    /// Takes a list that has changed, where it may be taken. Blocking.
    pub(super) fn look(&self, fleet: &Fleet, clock: &dyn Clock) {
        let Some(bytes) = self.config.file.as_ref().and_then(|file| std::fs::read(file).ok()) else { return };
        {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.as_ref() == Some(&bytes) {
                return;
            }
            *last = Some(bytes);
        }
        let taken = self.take(fleet, clock);
        let complaint = taken.err().map(|error| format!("a new list of models is not used: {error:#}"));
        if let Some(why) = &complaint {
            tracing::warn!(why);
        }
        *self.complaint.lock().unwrap_or_else(PoisonError::into_inner) = complaint;
    }

    fn take(&self, fleet: &Fleet, clock: &dyn Clock) -> anyhow::Result<()> {
        let Some(models) = start::models(&self.config, clock.now())? else { return Ok(()) };
        // written down before it is used: an older one never comes back
        Store::open(&self.state)?.raise(Floor::Models, models.number())?;
        tracing::info!(number = models.number(), "a new list of models is used");
        fleet.set_models(Some(models));
        Ok(())
    }
}
