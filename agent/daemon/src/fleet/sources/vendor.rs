//! Drivers of vendors, as processes: each is kept alive, and its devices come and go as those of a bus.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use biotrust_vendor_driver::host::{DRIVER, DriverConfig, DriverState, Supervisor, VendorEvent};
use serde_json::{Value, json};

use super::super::roster::{self, Origin, Spot};
use super::super::{Inner, locked};
use super::SourceError;

/// How the drivers are, by name.
#[derive(Default)]
pub(in super::super) struct States(Mutex<BTreeMap<String, DriverState>>);

impl States {
    /// For status.
    pub(in super::super) fn report(&self) -> Vec<Value> {
        locked(&self.0)
            .iter()
            .map(|(name, state)| match state {
                DriverState::Running { name: own, release } => {
                    json!({"name": name, "state": "running", "driver": own, "release": release, "reason": null})
                }
                DriverState::Restarting(why) => {
                    json!({"name": name, "state": "restarting", "driver": null, "release": null, "reason": why})
                }
                DriverState::Resting(why) => {
                    json!({"name": name, "state": "resting", "driver": null, "release": null, "reason": why})
                }
            })
            .collect()
    }

    pub(super) fn notices(&self) -> Vec<String> {
        let notice = |(name, state): (&String, &DriverState)| match state {
            DriverState::Resting(why) => Some(format!(
                "the vendor's driver \"{name}\" ends again and again and is left alone for a while: {why}"
            )),
            DriverState::Running { .. } | DriverState::Restarting(_) => None,
        };
        locked(&self.0).iter().filter_map(notice).collect()
    }
}

pub(super) fn start(inner: &Arc<Inner>, drivers: Vec<DriverConfig>) -> Result<(), SourceError> {
    for driver in drivers {
        let (weak, name) = (Arc::downgrade(inner), driver.name.clone());
        let sink = {
            let name = name.clone();
            move |event| {
                if let Some(inner) = weak.upgrade() {
                    follow(&inner, &name, event);
                }
            }
        };
        let supervisor =
            Supervisor::start(driver, sink).map_err(|source| SourceError::Vendor { name, source })?;
        locked(&inner.sources.supervisors).push(supervisor);
    }
    Ok(())
}

/// Runs on the supervisor's threads.
fn follow(inner: &Arc<Inner>, name: &str, event: VendorEvent) {
    if inner.stop.is_cancelled() {
        return;
    }
    match event {
        VendorEvent::Appeared(found) => {
            let driver = Some(DRIVER.to_owned());
            roster::appeared(inner, Spot { found, driver, origin: Origin::Vendor });
        }
        VendorEvent::Vanished { place } => roster::vanished(inner, Origin::Vendor, &place),
        VendorEvent::Listed => {}
        VendorEvent::State(state) => {
            match &state {
                DriverState::Running { name: own, release } => {
                    tracing::info!(driver = name, own, release, "a vendor's driver runs");
                }
                DriverState::Restarting(why) => tracing::warn!(driver = name, why, "a vendor's driver ended"),
                DriverState::Resting(why) => {
                    tracing::error!(
                        driver = name,
                        why,
                        "a vendor's driver ends again and again: left alone for a while"
                    );
                }
            }
            locked(&inner.sources.vendors.0).insert(name.to_owned(), state);
            inner.publish();
        }
        // what a stranger's program prints may be anything: never above debug
        VendorEvent::Said(line) => tracing::debug!(driver = name, line, "a vendor's driver says"),
    }
}
