//! The clock of the fleet: ends what has overstayed, tries again what was lost, asks idle devices how they are, and notices
//! that the host has slept.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use biotrust_driver_api::DeviceErrorKind;

use super::opening::{self, HEALTH};
use super::sleep::{self, Slept};
use super::state::{Effect, Event, QUARANTINE, Standing};
use super::unit::{Retry, Unit};
use super::{Inner, keys, locked, sources};

/// How often an idle device is asked how it is.
const HEALTH_EVERY: Duration = Duration::from_secs(10);
/// How often leases, retries and the clocks are looked at.
const TICK: Duration = Duration::from_millis(100);

/// Runs as long as the fleet.
pub(super) async fn keep_time(inner: Weak<Inner>, mut sleep: sleep::Watch<impl Slept>) {
    let mut tick = tokio::time::interval(TICK);
    let mut next_health = HEALTH_EVERY;
    loop {
        tick.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        if inner.stop.is_cancelled() {
            return;
        }
        if let Some(slept) = sleep.woken() {
            woke_up(&inner, slept);
        }
        let now = inner.now();
        inner.recordings.tick(now);
        let health = now >= next_health;
        if health {
            next_health = now + HEALTH_EVERY;
            sources::recover(&inner);
        }
        for unit in inner.units().iter() {
            look_after(&inner, unit, now, health);
        }
    }
}

fn look_after(inner: &Arc<Inner>, unit: &Arc<Unit>, now: Duration, health: bool) {
    if unit.tick(now) == Some(Effect::Abandon) {
        tracing::error!(place = unit.place(), "a capture did not come back: its worker is abandoned");
        unit.abandon();
        locked(&unit.retry).schedule(now + QUARANTINE, Retry::SOON);
        inner.publish();
    }
    if locked(&unit.retry).is_due(now) {
        unit.note(Event::Reopening);
        opening::open(inner, unit);
    } else if health {
        check(inner, unit);
    } else if unit.wants_appraisal.load(Ordering::Relaxed) || is_due(inner, unit) {
        unit.wants_appraisal.store(true, Ordering::Relaxed);
        opening::appraise_soon(inner, unit);
    }
}

/// After sleep no handle can be trusted: hubs lose power, devices start anew, and what is asked of an old handle may hang.
/// Everything is opened again as if it had just been plugged in, on threads of its own; what is gone for good is told by
/// its source.
fn woke_up(inner: &Arc<Inner>, slept: Duration) {
    tracing::info!(seconds = slept.as_secs(), "the host has slept: all devices are opened again");
    for unit in inner.units().iter() {
        unit.note(Event::Lost("the host has slept".into()));
        unit.abandon();
        unit.plugged_in_again();
        unit.note(Event::Reopening);
        opening::open(inner, unit);
    }
    inner.publish();
}

/// Whether a device that stood up has to be looked at again: a certificate has ended since, or it is time for new
/// evidence and nobody waits for a capture of it.
fn is_due(inner: &Inner, unit: &Unit) -> bool {
    let machine = unit.machine();
    let due = |keys: Arc<keys::Keys>| {
        keys.expired(inner.clock.now()).is_some()
            || (machine.lease().is_none() && keys.evidence_is_due(inner))
    };
    matches!(machine.standing(), Standing::Good)
        && unit.session().and_then(|session| session.keys()).is_some_and(due)
}

/// Asks an open, idle device how it is, and looks at its keys again where they did not stand up: a
/// clock that was wrong, a disk that was full, an answer that came too late need not last.
fn check(inner: &Arc<Inner>, unit: &Arc<Unit>) {
    let (weak, job_unit) = (Arc::downgrade(inner), Arc::clone(unit));
    let _ = unit.lanes().service.submit(move || {
        let (Some(inner), unit) = (weak.upgrade(), job_unit) else { return };
        let Some(session) = unit.session() else { return };
        let leased = || unit.machine().lease().is_some();
        if leased() {
            return;
        }
        let Some(opened) = session.opened() else { return };
        let mut changed = match opened.device().status(HEALTH) {
            Ok(report) => {
                locked(&unit.retry).works();
                unit.note(Event::Reported(report))
            }
            // a capture has begun meanwhile: firmware with one thread may answer nothing else then
            Err(error) if error.kind == DeviceErrorKind::TimedOut && leased() => false,
            Err(error) => {
                tracing::warn!(
                    place = unit.place(),
                    error = opening::chain(&error),
                    "no answer to the health check"
                );
                // it may have been lost and opened again while it was asked
                if unit.session().is_some_and(|now| Arc::ptr_eq(&now, &session)) {
                    opening::lost(&inner, &unit, &error.to_string());
                    inner.publish();
                }
                return;
            }
        };
        if !matches!(unit.machine().standing(), Standing::Good) {
            changed |= keys::appraise(&inner, &unit);
        }
        if changed {
            inner.publish();
        }
    });
}
