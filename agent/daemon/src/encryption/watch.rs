//! Waits for changes of files.
//!
//! The directories are watched, not the files: a new file takes the place of the old one by its name, or by a link further
//! up. What exactly happened does not matter; whoever waits looks for himself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use inotify::{EventStream, Inotify, WatchMask};

/// A change is often several events: look once, when they are through.
const SETTLE: Duration = Duration::from_millis(100);

pub(crate) struct Watch(Option<EventStream<[u8; 4096]>>);

impl Watch {
    /// Watches what can be watched; where the system has no watch left, [`Self::changed`] still returns after its time.
    pub(crate) fn new(files: &[PathBuf]) -> Self {
        let directories: BTreeSet<&Path> = files.iter().filter_map(|file| file.parent()).collect();
        let watch = || {
            let inotify = Inotify::init()?;
            let changes = WatchMask::CREATE | WatchMask::CLOSE_WRITE | WatchMask::MOVE | WatchMask::DELETE;
            for directory in &directories {
                inotify.watches().add(directory, changes)?;
            }
            inotify.into_event_stream([0; 4096])
        };
        match watch() {
            Ok(watch) => Self(Some(watch)),
            Err(error) => {
                tracing::warn!(%error, "files are looked at twice a minute only: no watch is left");
                Self(None)
            }
        }
    }

    /// Returns after a change, or after `at_most`.
    pub(crate) async fn changed(&mut self, at_most: Duration) {
        let events = async {
            let Some(stream) = &mut self.0 else { return std::future::pending().await };
            match stream.next().await {
                Some(Ok(_)) => tokio::time::sleep(SETTLE).await,
                // no use in asking it again soon
                Some(Err(_)) | None => std::future::pending().await,
            }
        };
        let _ = tokio::time::timeout(at_most, events).await;
    }
}
