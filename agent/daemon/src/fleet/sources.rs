//! Where devices come from: a directory of links, fixed lines, the buses of this host, processes of vendors.
//!
//! Each source tells [`super::roster`] what is there and what is gone, on a thread of its own; none decides anything about
//! devices, and none polls.

pub(super) mod hotplug;
mod links;
pub(super) mod vendor;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use biotrust_driver_api::{Bus, DriverFactory, Found, Node};
use biotrust_pipe::hotplug::{Hotplug, HotplugError};
use biotrust_pipe::links::{LinkWatcher, WatchError};
use biotrust_quirks::Loaded;
use biotrust_vendor_driver::host::{DriverConfig, Supervisor};

use super::roster::{self, Origin, Spot};
use super::{Inner, locked};

/// Where to look for devices.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// A directory of `NAME.tty`.
    pub links: Option<PathBuf>,
    /// Fixed lines.
    pub ports: Vec<FixedPort>,
    /// Buses to watch.
    pub buses: Vec<Bus>,
    /// What is known of device models; nothing that is found on a bus is opened without it.
    pub quirks: Option<Loaded>,
    /// Drivers of vendors, as processes.
    pub vendors: Vec<DriverConfig>,
}

/// A line that is always there.
#[derive(Debug, Clone)]
pub struct FixedPort {
    /// Its path; it need not be there yet.
    pub path: PathBuf,
    /// Who drives it; without a name, every driver that does no harm to a stranger is tried.
    pub driver: Option<String>,
}

/// A source cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The directory of links.
    #[error("[serial] links: {0}")]
    Links(#[from] WatchError),
    /// The buses.
    #[error("[buses] watch: {0}")]
    Buses(#[from] HotplugError),
    /// A driver of a vendor.
    #[error("[[vendor.driver]] {name}: {source}")]
    Vendor {
        /// Which.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// A fixed line names a driver that is not there.
    #[error("[[serial.port]] {}: there is no driver \"{driver}\"; there are {known}", path.display())]
    NoSuchDriver {
        /// The line.
        path: PathBuf,
        /// The name.
        driver: String,
        /// All names.
        known: String,
    },
}

/// The sources that are running.
#[derive(Default)]
pub(super) struct Running {
    links: Mutex<Option<PathBuf>>,
    link_watcher: Mutex<Option<LinkWatcher>>,
    pub(super) links_lost: AtomicBool,
    pub(super) buses: hotplug::Buses,
    hotplug: Mutex<Option<Hotplug>>,
    pub(super) vendors: vendor::States,
    supervisors: Mutex<Vec<Supervisor>>,
    /// Sources whose first look is not over.
    looking: Mutex<BTreeSet<Origin>>,
}

/// Starts all sources.
pub(super) fn start(inner: &Arc<Inner>, sources: Sources) -> Result<(), SourceError> {
    let Sources { links, ports, buses, quirks, vendors } = sources;
    let running = &inner.sources;
    for port in &ports {
        known_driver(&inner.factories, &port.path, port.driver.as_deref())?;
    }
    // all of them before the first begins: the first look is over when none is left
    let mut looking = BTreeSet::from([Origin::Fixed]);
    looking.extend(links.iter().map(|_| Origin::Link));
    looking.extend((!buses.is_empty()).then_some(Origin::Bus));
    *locked(&running.looking) = looking;

    running.buses.set(&buses, quirks);
    for port in ports {
        let node = Node { driver: port.driver, ..Node::line(port.path) };
        let driver = node.driver.clone();
        // of a line that is known by its path alone, nothing is known unless its driver is
        let known = running.buses.find(&node).filter(|_| driver.is_some());
        let found = Found { node, quirks: known.map(|known| known.quirks).unwrap_or_default() };
        roster::appeared(inner, Spot { found, driver, origin: Origin::Fixed });
    }
    looked(inner, Origin::Fixed);
    if let Some(directory) = links {
        links::watch(inner, &directory)?;
        *locked(&running.links) = Some(directory);
    }
    if !buses.is_empty() {
        hotplug::watch(inner)?;
    }
    vendor::start(inner, vendors)
}

/// Ends the watchers. May wait for a watcher's thread, but for no device.
pub(super) fn stop(inner: &Inner) {
    let running = &inner.sources;
    drop(locked(&running.link_watcher).take());
    drop(locked(&running.hotplug).take());
}

/// Ends the drivers of vendors, and waits until they have ended.
pub(super) fn end_vendors(inner: &Inner) {
    let supervisors = std::mem::take(&mut *locked(&inner.sources.supervisors));
    drop(supervisors);
}

/// Brings back sources that were lost. Called now and then.
pub(super) fn recover(inner: &Arc<Inner>) {
    if inner.sources.links_lost.load(Ordering::Relaxed) {
        links::watch_again(inner);
    }
    if inner.sources.buses.lost() {
        hotplug::watch_again(inner);
    }
}

/// What somebody should know who looks after this host.
pub(super) fn notices(inner: &Inner) -> Vec<String> {
    let running = &inner.sources;
    let mut notices = Vec::new();
    if running.links_lost.load(Ordering::Relaxed) {
        notices.push("the directory of device links is gone: make it again ([serial] links)".into());
    }
    notices.extend(running.buses.notices());
    notices.extend(running.vendors.notices());
    notices
}

/// The first look of this source is over.
fn looked(inner: &Arc<Inner>, origin: Origin) {
    let mut looking = locked(&inner.sources.looking);
    let last = looking.remove(&origin) && looking.is_empty();
    drop(looking);
    if last {
        roster::all_there(inner);
    }
}

/// Is the `driver` that the owner names for the line at `path` one of `factories`?
///
/// # Errors
/// It is not.
pub fn known_driver(
    factories: &[Box<dyn DriverFactory>],
    path: &Path,
    driver: Option<&str>,
) -> Result<(), SourceError> {
    let Some(driver) = driver else { return Ok(()) };
    if factories.iter().any(|factory| factory.name() == driver) {
        return Ok(());
    }
    let known = factories.iter().map(|factory| factory.name()).collect::<Vec<_>>().join(", ");
    Err(SourceError::NoSuchDriver { path: path.to_owned(), driver: driver.to_owned(), known })
}
