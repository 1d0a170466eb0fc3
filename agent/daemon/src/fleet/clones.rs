//! Two devices that claim one identity: one of them is a clone. One is served, and everybody is told.

use std::sync::Arc;

use biotrust_model::{DeviceId, Level, Problem, ProblemKind};

use super::Inner;
use super::state::Standing;
use super::unit::{Session, Unit};

impl Inner {
    /// The device that is served instead of this one, where two claim the same identity: one that stood up to appraisal
    /// before one that did not, one that proved its level before one that only says who it is, else the one that was there
    /// first.
    pub(super) fn twin(&self, unit: &Unit, session: &Session) -> Option<Arc<Unit>> {
        let own = rank(unit, session);
        self.open_units()
            .into_iter()
            .find(|(other, twin)| twin.id == session.id && rank(other, twin) < own)
            .map(|(other, _)| other)
    }

    /// All open devices of this identity, the one that is served first.
    fn claimants(&self, id: &DeviceId) -> Vec<(Arc<Unit>, Arc<Session>)> {
        let mut all = self.open_units();
        all.retain(|(_, session)| session.id == *id);
        all.sort_by_key(|(unit, session)| rank(unit, session));
        all
    }

    /// What is to be said of a device that has a twin; the problem is for the one that is not served.
    pub(super) fn clone_of(&self, unit: &Unit, session: &Session) -> Option<(String, Option<Problem>)> {
        let all = self.claimants(&session.id);
        let (served, _) = all.first()?;
        if std::ptr::eq(&**served, unit) {
            let (other, _) = all.get(1)?;
            return Some((
                format!(
                    "the device at {} has the same make, model and serial number: one of the two is a clone; this one is \
                     served. {NEXT}",
                    other.place()
                ),
                None,
            ));
        }
        let why = format!(
            "the device at {} has the same make, model and serial number: one of the two is a clone, and that one is \
             served. {NEXT}",
            served.place()
        );
        Some((why.clone(), Some(Problem::about(ProblemKind::DeviceRefused, why))))
    }

    /// A sentence for each identity that is claimed twice.
    pub(super) fn clones(&self) -> Vec<String> {
        let mut ids: Vec<DeviceId> =
            self.open_units().into_iter().map(|(_, session)| session.id.clone()).collect();
        ids.sort();
        ids.dedup();
        ids.iter().filter_map(|id| sentence(&self.claimants(id))).collect()
    }
}

/// What somebody should do about it.
const NEXT: &str =
    "Unplug the one that does not belong here, compare the numbers printed on them, and tell the provider.";

/// Less is served.
fn rank(unit: &Unit, session: &Session) -> (bool, bool, u64) {
    (*unit.machine().standing() != Standing::Good, session.level() == Level::L0, session.order)
}

fn sentence(claimants: &[(Arc<Unit>, Arc<Session>)]) -> Option<String> {
    let [(served, session), others @ ..] = claimants else { return None };
    if others.is_empty() {
        return None;
    }
    let identity = &session.description.identity;
    let others: Vec<&str> = others.iter().map(|(unit, _)| unit.place()).collect();
    Some(format!(
        "one device {} {} with the serial number {} is plugged in at {} and at {}: all but one are clones; the one at {} is \
         served. {NEXT}",
        identity.make,
        identity.model,
        identity.serial_no,
        served.place(),
        others.join(", "),
        served.place(),
    ))
}

/// Tells the log that a device was plugged in whose identity another has already.
pub(super) fn warn(inner: &Inner, unit: &Unit, session: &Session) {
    if inner.clone_of(unit, session).is_some()
        && let Some(sentence) = sentence(&inner.claimants(&session.id))
    {
        tracing::error!(device = %session.id, "{sentence}");
    }
}
