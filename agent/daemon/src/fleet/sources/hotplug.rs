//! The buses of this host: what is plugged in, who drives it, and what is left alone and why.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use biotrust_driver_api::{Bus, Found, Node};
use biotrust_pipe::hotplug::{Hotplug, HotplugError, HotplugEvent};
use biotrust_quirks::{Loaded, Match};
use serde_json::{Value, json};

use super::super::roster::{self, Origin, Spot};
use super::super::{Inner, locked};
use super::looked;
use crate::catalog;

/// What is watched, and what is known about it.
#[derive(Default)]
pub(in super::super) struct Buses {
    watched: Mutex<Vec<Bus>>,
    quirks: Mutex<Option<Loaded>>,
    lost: AtomicBool,
    /// What is plugged in and not opened, by place.
    left_alone: Mutex<BTreeMap<String, LeftAlone>>,
}

/// Something that is plugged in and not opened.
struct LeftAlone {
    node: Node,
    why: Why,
}

/// Why.
enum Why {
    /// Nobody knows it.
    Unknown,
    /// A quirk file knows it, but.
    Known(String),
}

impl Buses {
    pub(super) fn set(&self, watched: &[Bus], quirks: Option<Loaded>) {
        *locked(&self.watched) = watched.to_vec();
        *locked(&self.quirks) = quirks;
    }

    /// What the quirk files say of a device.
    pub(super) fn find(&self, node: &Node) -> Option<Match> {
        locked(&self.quirks).as_ref()?.book.find(node)
    }

    pub(super) fn lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    pub(super) fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        if self.lost() {
            notices.push(
                "devices that are plugged in are not noticed: the kernel's messages cannot be heard (see the log)"
                    .into(),
            );
        }
        let quirks = locked(&self.quirks);
        let skipped = quirks.iter().flat_map(|quirks| &quirks.skipped);
        notices.extend(skipped.map(|error| format!("a quirk file is left out whole: {error}")));
        notices
    }

    /// What is plugged in and left alone, for status.
    pub(in super::super) fn left_alone(&self) -> Vec<Value> {
        let left_alone = locked(&self.left_alone);
        left_alone
            .values()
            .map(|LeftAlone { node, why }| {
                let usb = node.usb.as_ref();
                let (known, why) = match why {
                    Why::Unknown => (false, "no quirk file knows it"),
                    Why::Known(why) => (true, why.as_str()),
                };
                json!({
                    "place": node.place,
                    "bus": node.bus.name(),
                    "path": node.path,
                    "usb": usb.map(|usb| format!("{:04x}:{:04x}", usb.vendor, usb.product)),
                    "name": usb.map(|usb| format!("{} {}", usb.manufacturer, usb.name).trim().to_owned()),
                    "known": known,
                    "why": why,
                })
            })
            .collect()
    }
}

pub(super) fn watch(inner: &Arc<Inner>) -> Result<(), HotplugError> {
    let weak = Arc::downgrade(inner);
    let watched = locked(&inner.sources.buses.watched).clone();
    let watcher = Hotplug::start(&watched, move |event| {
        if let Some(inner) = weak.upgrade() {
            follow(&inner, event);
        }
    })?;
    *locked(&inner.sources.hotplug) = Some(watcher);
    Ok(())
}

/// The kernel could not be heard any more; tries again. What is there is reported anew.
pub(super) fn watch_again(inner: &Arc<Inner>) {
    let buses = &inner.sources.buses;
    // before, so that a loss that is noticed at once is not forgotten
    buses.lost.store(false, Ordering::Relaxed);
    match watch(inner) {
        Ok(()) => tracing::info!("the kernel's messages about devices are heard again"),
        Err(_) => buses.lost.store(true, Ordering::Relaxed),
    }
    inner.publish();
}

/// Runs on the watcher's thread.
pub(in super::super) fn follow(inner: &Arc<Inner>, event: HotplugEvent) {
    if inner.stop.is_cancelled() {
        return;
    }
    match event {
        HotplugEvent::Appeared(node) => appeared(inner, node),
        HotplugEvent::Vanished { place } => {
            if locked(&inner.sources.buses.left_alone).remove(&place).is_none() {
                roster::vanished(inner, Origin::Bus, &place);
            }
        }
        HotplugEvent::Scanned => looked(inner, Origin::Bus),
        HotplugEvent::Lost(reason) => {
            tracing::error!(
                reason,
                "devices that are plugged in are not noticed until the kernel is heard again"
            );
            inner.sources.buses.lost.store(true, Ordering::Relaxed);
            inner.publish();
        }
    }
}

fn appeared(inner: &Arc<Inner>, node: Node) {
    match choose(inner, &node) {
        Ok(Match { driver, quirks, .. }) => {
            let found = Found { node, quirks };
            roster::appeared(inner, Spot { found, driver: Some(driver), origin: Origin::Bus });
        }
        Err(why) => {
            if let Why::Known(why) = &why {
                tracing::info!(place = node.place, path = %node.path.display(), why, "device left alone");
            }
            locked(&inner.sources.buses.left_alone).insert(node.place.clone(), LeftAlone { node, why });
        }
    }
}

/// Who drives the device; or why nobody does.
fn choose(inner: &Arc<Inner>, node: &Node) -> Result<Match, Why> {
    let matched = inner.sources.buses.find(node).ok_or(Why::Unknown)?;
    if !matched.enabled {
        let name = &matched.quirks.name;
        return Err(Why::Known(format!(
            "its entry takes devices of any maker and is off; [quirks] enable = [\"{name}\"] would open it"
        )));
    }
    match matched.driver.as_str() {
        "vendor" => {
            let process = matched.quirks.text("process").unwrap_or("of its vendor");
            return Err(Why::Known(format!("it is left to the driver {process} ([[vendor.driver]])")));
        }
        "ftm-link" => return Err(Why::Known("it is a trust module, for [ftm] backend = \"module\"".into())),
        _ => {}
    }
    if let Some(why) = catalog::no_sensor(&matched.driver) {
        return Err(Why::Known(why.to_owned()));
    }
    if inner.factory(&matched.driver).is_none() {
        return Err(Why::Known(format!("its driver \"{}\" is not part of this version", matched.driver)));
    }
    match roster::named_by_hand(inner, node) {
        Some(line) => Err(Why::Known(format!("it is the line {line}, which is named by hand"))),
        None => Ok(matched),
    }
}
