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
    /// The open units in the order of the lists: authentication devices first, because the desktop client keeps the
    /// last device of a kind and only ever registers (R17).
    pub(super) fn listed(&self) -> Vec<(Arc<Unit>, Arc<Session>)> {
        let mut open: Vec<_> = self
            .units()
            .iter()
            .filter_map(|unit| unit.session().map(|session| (Arc::clone(unit), session)))
            .collect();
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

    /// How a device stands in the lists.
    pub(super) fn listing(&self, unit: &Unit, session: &Session) -> Listing {
        let purpose = session.description.purpose;
        if self.settings.purpose.is_some_and(|only| only != purpose) {
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

    /// The unit that a client means: by device id, or by serial number (R33).
    pub(super) fn find(&self, device: &str) -> Result<Arc<Unit>, Problem> {
        self.listed()
            .into_iter()
            .find(|(_, session)| {
                session.id.as_str() == device || session.description.identity.serial_no == device
            })
            .filter(|(unit, session)| !matches!(self.listing(unit, session), Listing::None { .. }))
            .map(|(unit, _)| unit)
            .ok_or_else(|| ProblemKind::DeviceNotFound.into())
    }
}

impl Fleet {
    /// The answer to MOSIPDISC for devices of `modality`, or of any.
    #[must_use]
    pub fn discovery(&self, modality: Option<Modality>) -> Bytes {
        let inner = &self.0;
        let now = inner.clock.now();
        let entries: Vec<String> = inner
            .listed()
            .iter()
            .filter(|(_, session)| modality.is_none_or(|m| session.description.identity.modality == m))
            .filter(|(unit, session)| !matches!(inner.listing(unit, session), Listing::None { .. }))
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
