//! The list of units: one for each place at which there is something to open.
//!
//! A place has one unit at a time. What appears where something was replaces it; what vanishes takes its unit along, with
//! the capture and the previews on it, whatever its driver is doing at that moment.

use std::path::Path;
use std::sync::Arc;

use biotrust_driver_api::{Bus, Found, Node};

use super::state::{Event, Hold};
use super::unit::Unit;
use super::{Inner, locked, opening};

/// Who told of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// The directory of links.
    Link,
    /// The configuration.
    Fixed,
    /// A bus of this host.
    Bus,
    /// A vendor's driver.
    Vendor,
}

/// A place with something to open, and by whom.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    /// Where it is and what is known of it.
    pub(super) found: Found,
    /// Who drives it; without a name, every driver that does no harm to a stranger is tried.
    pub(super) driver: Option<String>,
    /// Who told of it.
    pub(super) origin: Origin,
}

/// Something is there: opens it.
pub(super) fn appeared(inner: &Arc<Inner>, spot: Spot) {
    let node = &spot.found.node;
    tracing::info!(place = node.place, bus = node.bus.name(), path = %node.path.display(),
        driver = spot.driver, "device appeared");
    let roster = locked(&inner.roster);
    let mut units = Vec::clone(&inner.units());
    let mut replaced = take(&mut units, |unit| unit.place() == node.place);
    if spot.origin != Origin::Bus {
        // what is named by hand goes before what was found
        replaced.extend(take(&mut units, |unit| unit.spot.origin == Origin::Bus && is_line(unit, node)));
    }
    let unit = Arc::new(Unit::new(spot));
    units.push(Arc::clone(&unit));
    inner.units.store(Arc::new(units));
    drop(roster);
    for old in replaced {
        end(inner, &old, "replaced");
    }
    // after it is listed, so that a change meanwhile is not missed
    unit.note(Event::Held(Hold::HostTime, inner.untimed.borrow().clone()));
    inner.publish();
    opening::open(inner, &unit);
}

/// What was at this place is gone.
pub(super) fn vanished(inner: &Arc<Inner>, origin: Origin, place: &str) {
    let roster = locked(&inner.roster);
    let mut units = Vec::clone(&inner.units());
    let gone = take(&mut units, |unit| unit.spot.origin == origin && unit.place() == place);
    inner.units.store(Arc::new(units));
    drop(roster);
    for unit in gone {
        end(inner, &unit, "unplugged");
        tracing::info!(place, "device gone");
        inner.publish();
    }
}

/// The line of a fixed port or of a link that this node is, where it is one. A line that could not be opened so far is
/// tried again: it has just been plugged in.
pub(super) fn named_by_hand(inner: &Arc<Inner>, node: &Node) -> Option<String> {
    let units = inner.units();
    let named = units.iter().find(|unit| unit.spot.origin != Origin::Bus && is_line(unit, node))?;
    if named.session().is_none() {
        opening::open(inner, named);
    }
    Some(named.path().display().to_string())
}

/// The first look of every source is over: tells when the last device that it found has been tried.
pub(super) fn all_there(inner: &Arc<Inner>) {
    let weak = Arc::downgrade(inner);
    let units = inner.units.load_full();
    // each service lane has its opening queued before this
    let (done, all) = std::sync::mpsc::channel::<()>();
    for unit in units.iter() {
        let done = done.clone();
        let _ = unit.lanes().service.submit(move || drop(done));
    }
    drop(done);
    let _ = std::thread::Builder::new().name("coldplug".into()).spawn(move || {
        let _ = all.recv();
        if let Some(inner) = weak.upgrade() {
            inner.coldplugged.send_replace(true);
        }
    });
}

/// A unit that is no longer in the list ends.
fn end(inner: &Arc<Inner>, unit: &Arc<Unit>, reason: &str) {
    opening::lost(inner, unit, reason);
}

fn take(units: &mut Vec<Arc<Unit>>, which: impl Fn(&Unit) -> bool) -> Vec<Arc<Unit>> {
    units.extract_if(.., |unit| which(unit)).collect()
}

/// Whether the unit and the node are one serial line under two names.
fn is_line(unit: &Unit, node: &Node) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let both = [unit.spot.found.node.bus, node.bus] == [Bus::Serial; 2];
    both && real(unit.path()).is_some_and(|path| real(&node.path) == Some(path))
}
