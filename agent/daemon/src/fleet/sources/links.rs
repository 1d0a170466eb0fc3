//! A directory of `NAME.tty`: virtual devices, and lines that an administrator links by hand.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use biotrust_driver_api::{Bus, Found, Node, Quirks};
use biotrust_pipe::links::{LinkEvent, LinkWatcher, WatchError};

use super::super::roster::{self, Origin, Spot};
use super::super::{Inner, locked};
use super::looked;

pub(super) fn watch(inner: &Arc<Inner>, directory: &Path) -> Result<(), WatchError> {
    let weak = Arc::downgrade(inner);
    let watcher = LinkWatcher::start(directory, move |event| {
        if let Some(inner) = weak.upgrade() {
            follow(&inner, event);
        }
    })?;
    *locked(&inner.sources.link_watcher) = Some(watcher);
    Ok(())
}

/// The directory was gone; looks whether it is there again.
pub(super) fn watch_again(inner: &Arc<Inner>) {
    let sources = &inner.sources;
    let Some(directory) = locked(&sources.links).clone() else { return };
    // before, so that a loss that is noticed at once is not forgotten
    sources.links_lost.store(false, Ordering::Relaxed);
    match watch(inner, &directory) {
        Ok(()) => tracing::info!(directory = %directory.display(), "the directory of links is there again"),
        Err(_) => sources.links_lost.store(true, Ordering::Relaxed),
    }
    inner.publish();
}

/// Runs on the watcher's thread.
fn follow(inner: &Arc<Inner>, event: LinkEvent) {
    if inner.stop.is_cancelled() {
        return;
    }
    match event {
        LinkEvent::Appeared { name, path } => {
            // the link's name is its place: what it points to may change from one plug to the next
            let node = Node { bus: Bus::Serial, place: name, path, usb: None, driver: None };
            let found = Found { node, quirks: Quirks::default() };
            roster::appeared(inner, Spot { found, driver: None, origin: Origin::Link });
        }
        LinkEvent::Vanished { name } => roster::vanished(inner, Origin::Link, &name),
        LinkEvent::Scanned => looked(inner, Origin::Link),
        LinkEvent::Lost(reason) => {
            tracing::error!(
                reason,
                "the directory of links is gone: no device is found until it is there again"
            );
            inner.sources.links_lost.store(true, Ordering::Relaxed);
            inner.publish();
        }
    }
}
