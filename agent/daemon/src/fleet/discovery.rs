//! Which devices are shown to whom, and the answer to MOSIPDISC (no cryptography, nothing that waits).
//!
//! Real clients drop a whole port, or the rest of its list, over one entry that they cannot read, so what cannot be
//! signed stays out of MOSIPDINFO, and why is told in status and log (docs/decisions.md).

use std::sync::Arc;

use biotrust_model::{DeviceStatus, Modality, Problem, ProblemKind, Purpose};
use biotrust_sbi::answer::{self, DeviceDescription};
use bytes::Bytes;

use super::state::Standing;
use super::unit::{Session, Unit};
use super::{Fleet, Inner};
use crate::catalog::SERVICE_VERSION;

/// How a device stands in the lists of clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Listing {
    /// In both lists.
    Full,
    /// In MOSIPDISC only; in MOSIPDINFO as an empty entry where that can hide nobody.
    DiscoveryOnly {
        /// Why, for status and log.
        why: String,
    },
    /// In no list.
    None {
        /// Why, for status and log.
        why: String,
    },
}

impl Inner {
    /// The devices that are served, in the order of the lists: authentication devices first, because the desktop client
    /// keeps the last device of a kind and only ever registers (R17).
    pub(super) fn listed(&self) -> Vec<(Arc<Unit>, Arc<Session>)> {
        let mut open = self.open_units();
        open.retain(|(unit, session)| self.twin(unit, session).is_none());
        open.sort_by(|(_, a), (_, b)| {
            let key = |s: &Session| {
                let d = &s.description;
                (
                    d.purpose == Purpose::Registration,
                    d.identity.modality,
                    d.identity.device_sub_type,
                    s.id.clone(),
                )
            };
            key(a).cmp(&key(b))
        });
        open
    }

    /// All open devices.
    pub(super) fn open_units(&self) -> Vec<(Arc<Unit>, Arc<Session>)> {
        let units = self.units();
        units.iter().filter_map(|unit| unit.session().map(|session| (Arc::clone(unit), session))).collect()
    }

    /// Whether the configuration keeps this device out of the lists of real clients.
    pub(super) fn filtered(&self, session: &Session) -> bool {
        self.settings.purpose.is_some_and(|only| only != session.description.purpose)
    }

    /// How a device stands in the lists. `developer`: whatever purpose the configuration serves.
    pub(super) fn listing(&self, unit: &Unit, session: &Session, developer: bool) -> Listing {
        if !developer && self.filtered(session) {
            let purpose = session.description.purpose;
            return Listing::None {
                why: format!("it is a device for {purpose}, and [sbi] purpose serves only the other"),
            };
        }
        let machine = unit.machine();
        match machine.standing() {
            Standing::Good if unit.status() == DeviceStatus::NotRegistered => {
                Listing::DiscoveryOnly { why: "it says that it is not registered".into() }
            }
            Standing::Good => Listing::Full,
            Standing::Pending => Listing::DiscoveryOnly { why: "its certificates are being checked".into() },
            Standing::NotRegistered { reason } => {
                Listing::DiscoveryOnly { why: format!("not registered, so it cannot sign: {reason}") }
            }
            Standing::Refused { check } => Listing::DiscoveryOnly { why: format!("refused: {check}") },
            Standing::Expired { reason } => {
                Listing::DiscoveryOnly { why: format!("certificate out of date: {reason}") }
            }
        }
    }

    /// The device as the wire describes it, now.
    pub(super) fn describe(&self, unit: &Unit, session: &Session) -> DeviceDescription {
        let status = unit.status();
        let registered = status != DeviceStatus::NotRegistered;
        DeviceDescription {
            device_id: session.id.clone(),
            identity: session.description.identity.clone(),
            level: session.level(),
            purpose: registered.then_some(session.description.purpose),
            status,
            sub_ids: session.description.sub_ids.clone(),
            service_version: SERVICE_VERSION.to_owned(),
            firmware: session.description.firmware.clone(),
            env: registered.then_some(self.settings.env),
            callback_id: self.settings.callback_id.clone(),
        }
    }

    /// The unit that a client means: by device id, else by serial number (R33), if only one device has it.
    pub(super) fn find(&self, device: &str) -> Result<Arc<Unit>, Problem> {
        let listed = self.listed();
        if let Some((unit, _)) = listed.iter().find(|(_, session)| session.id.as_str() == device) {
            return Ok(Arc::clone(unit));
        }
        let mut named = listed.into_iter().filter(|(_, s)| s.description.identity.serial_no == device);
        match (named.next(), named.next()) {
            (Some((unit, _)), None) => Ok(unit),
            (Some(_), Some(_)) => Err(Problem::about(
                ProblemKind::DeviceNotFound,
                "several devices have this serial number; use the deviceId",
            )),
            (None, _) => Err(ProblemKind::DeviceNotFound.into()),
        }
    }
}

impl Fleet {
    /// The answer to MOSIPDISC for devices of `modality`, or of any. `developer`: whatever purpose the configuration
    /// serves.
    #[must_use]
    pub fn discovery(&self, modality: Option<Modality>, developer: bool) -> Bytes {
        let inner = &self.0;
        let now = inner.clock.now();
        let entries: Vec<String> = inner
            .listed()
            .iter()
            .filter(|(_, session)| modality.is_none_or(|m| session.description.identity.modality == m))
            .filter(|(_, session)| developer || !inner.filtered(session))
            .map(|(unit, session)| {
                let problem = unit.problem();
                answer::discovery_entry(
                    &inner.describe(unit, session),
                    now,
                    problem.as_ref(),
                    inner.settings.language,
                )
            })
            .collect();
        Bytes::from(answer::discovery_answer(&entries))
    }
}
