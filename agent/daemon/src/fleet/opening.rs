//! From a place where something is to a device that is ready: who drives it, opening, appraisal; and its loss.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use biotrust_driver_api::{
    Bus, DeviceError, DeviceErrorKind, DeviceEvent, DriverFactory, EventSink, Node, Opened, PipeError,
    PipeErrorKind,
};
use biotrust_model::{DeviceId, DeviceIdentity};
use biotrust_pipe::{hotplug, ports};

use super::roster::{Origin, Spot};
use super::state::Event;
use super::unit::{Retry, Session, Unit};
use super::{Inner, clones, keys, locked, stream};

/// The longest that a stranger may take to say who it is.
const TRY: Duration = Duration::from_secs(2);
/// The longest that a device may take whose driver is known: it may have to find its speed or warm up.
const OPEN: Duration = Duration::from_secs(5);
/// The longest that a healthy device takes to say how it is.
pub(super) const HEALTH: Duration = Duration::from_secs(2);

/// Opens the device on its service lane, then appraises it.
pub(super) fn open(inner: &Arc<Inner>, unit: &Arc<Unit>) {
    let (weak, job_unit) = (Arc::downgrade(inner), Arc::clone(unit));
    let service = Arc::clone(&unit.lanes().service);
    let lane = Arc::downgrade(&service);
    let queued = service.submit(move || {
        let (Some(inner), unit) = (weak.upgrade(), job_unit) else { return };
        if inner.stop.is_cancelled() || unit.session().is_some() || !inner.lists(&unit) {
            return;
        }
        let before = unit.problem();
        let opened = open_now(&inner, &unit);
        if !unit.is_served_by(&lane) {
            // it took so long that its threads were given up meanwhile: others open the device now
            return;
        }
        match opened {
            Ok(session) => {
                if !inner.lists(&unit) {
                    // unplugged while it was being opened
                    unit.close();
                    return;
                }
                unit.opened_after();
                tracing::info!(device = %session.id, serial = session.description.identity.serial_no,
                    level = %session.level(), driver = session.driver, place = unit.place(), "device open");
                clones::warn(&inner, &unit, &session);
                keys::appraise(&inner, &unit);
                unit.settled_after();
                stream::settle(&unit);
            }
            Err(error) => {
                unit.note(Event::Lost(error.to_string()));
                locked(&unit.retry).schedule(inner.now(), longest_pause(&unit, &error));
                // once per reason: a device that stays dead is tried for ever
                if unit.last_fault(error.to_string()) {
                    tracing::warn!(place = unit.place(), error = chain(&error), "cannot open device");
                }
            }
        }
        if unit.problem() != before {
            inner.publish();
        }
    });
    if queued.is_err() {
        unit.note(Event::Lost("its worker is not keeping up".into()));
        locked(&unit.retry).schedule(inner.now(), Retry::SOON);
    }
}

/// A device on a bus that is there, may be opened and does not work is tried ever more seldom: whoever plugs it in again has
/// it opened at once. Of anything else nobody tells when it is worth a try.
fn longest_pause(unit: &Unit, error: &DeviceError) -> Duration {
    let may_go = matches!(error.kind, DeviceErrorKind::InUse | DeviceErrorKind::PermissionDenied);
    if unit.spot.origin == Origin::Bus && !may_go { Retry::SELDOM } else { Retry::SOON }
}

fn open_now(inner: &Arc<Inner>, unit: &Arc<Unit>) -> Result<Arc<Session>, DeviceError> {
    let opened = open_with(inner, &unit.spot, || events(inner, unit));
    let (opened, driver, attempt) = opened.map_err(|error| match error.kind {
        DeviceErrorKind::InUse if unit.is_held() => DeviceError {
            message: "its driver hangs and does not let go of it: unplug it and plug it in".into(),
            ..error
        },
        _ => error,
    })?;
    let report = opened.device().status(HEALTH)?;
    let id = device_id(&opened.device().description().identity);
    let session = Arc::new(Session::new(opened, driver, id, inner.next_number(), &inner.open_sessions));
    match unit.open(attempt, Arc::clone(&session), report) {
        true => Ok(session),
        false => Err(DeviceError::new(DeviceErrorKind::Gone, "it was lost while it was being opened")),
    }
}

/// Has the driver of the place open it; where none is named, each that may be tried on a stranger, on a fresh port. The
/// last one's error is told.
fn open_with(
    inner: &Inner,
    spot: &Spot,
    events: impl Fn() -> (u64, EventSink),
) -> Result<(Opened, &'static str, u64), DeviceError> {
    let Spot { found, driver, origin } = spot;
    let limit = if driver.is_some() { OPEN } else { TRY };
    let mut last = DeviceError::new(DeviceErrorKind::Unsupported, "no driver for it");
    for factory in candidates(inner, spot) {
        let port = ports::open(&found.node).and_then(|port| match origin {
            // Asked now that it is open: what is open is what was found, or is gone and will say so.
            Origin::Bus if hotplug::is_another(&found.node) => Err(PipeError {
                kind: PipeErrorKind::Gone,
                os: None,
                doing: format!("opening {}, which is another device's by now,", found.node.path.display()),
            }),
            _ => Ok(port),
        });
        let port = port.and_then(|port| inner.recordings.wrap(factory.name(), found, port));
        let port = port.map_err(|error| closed(*origin, &found.node, error))?;
        let (attempt, events) = events();
        match factory.open(port, found, events, limit) {
            Ok(opened) => return Ok((opened, factory.name(), attempt)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The drivers that may open what is at this place, in the order in which they are tried.
fn candidates<'f>(inner: &'f Inner, spot: &'f Spot) -> impl Iterator<Item = &'f dyn DriverFactory> {
    inner.factories.iter().map(Box::as_ref).filter(|factory| match &spot.driver {
        Some(name) => factory.name() == name,
        None => spot.found.node.bus == Bus::Serial && factory.tries_unknown_lines(),
    })
}

/// The driver of the unit: who has opened it, or who would first.
pub(super) fn driver(inner: &Inner, unit: &Unit) -> String {
    let first = || candidates(inner, &unit.spot).next().map(|factory| factory.name());
    let driver = unit.session().map(|session| session.driver).or_else(first);
    driver.unwrap_or_default().to_owned()
}

/// Closes the device and opens it again at once.
pub(super) fn reopen(inner: &Arc<Inner>, unit: &Arc<Unit>, reason: &str) {
    lost(inner, unit, reason);
    unit.note(Event::Reopening);
    open(inner, unit);
    inner.publish();
}

/// A port that could not be opened, and what to do where that is known.
fn closed(origin: Origin, node: &Node, error: PipeError) -> DeviceError {
    let kind = match error.kind {
        PipeErrorKind::Gone => DeviceErrorKind::Gone,
        PipeErrorKind::TimedOut => DeviceErrorKind::TimedOut,
        PipeErrorKind::PermissionDenied => DeviceErrorKind::PermissionDenied,
        PipeErrorKind::InUse => DeviceErrorKind::InUse,
        PipeErrorKind::Os | PipeErrorKind::Stalled => DeviceErrorKind::Internal,
    };
    let message = match (error.kind, origin) {
        (PipeErrorKind::PermissionDenied, Origin::Bus) => format!(
            "the service may not open {}: its udev rule is missing or out of date; `biotrust udev check` tells which",
            node.path.display()
        ),
        _ => error.to_string(),
    };
    DeviceError::caused(kind, message, error)
}

/// Where the driver of this unit puts its events, for a new try to open it. Runs on the driver's thread: must not block, must not drop a session.
fn events(inner: &Arc<Inner>, unit: &Arc<Unit>) -> (u64, EventSink) {
    let attempt = unit.begins_attempt();
    let (inner, unit) = (Arc::downgrade(inner), Arc::downgrade(unit));
    let sink = Box::new(move |event| {
        let (Some(inner), Some(unit)) = (inner.upgrade(), unit.upgrade()) else { return };
        if !unit.is_current(attempt) {
            // a driver that is being closed: what it says must not end the one that came after it
            return;
        }
        match event {
            DeviceEvent::Frame(frame) => {
                if locked(&unit.previews).open > 0 {
                    unit.frames.send_replace(Some(frame));
                }
            }
            DeviceEvent::Status(report) => {
                if unit.note(Event::Reported(report)) {
                    inner.publish();
                }
            }
            DeviceEvent::KeysChanged => {
                // one appraisal for however many events; a queue that is full is tried again by the clock
                if !unit.wants_appraisal.swap(true, Ordering::Relaxed) {
                    appraise_soon(&inner, &unit);
                }
            }
            DeviceEvent::Gone(error) => {
                tracing::warn!(place = unit.place(), error = chain(&error), "device gone");
                let reason = error.to_string();
                // looked at first: losing it ends the attempt
                if unit.session().is_none() || !lost(&inner, &unit, &reason) {
                    // it went while it was being opened: look again when that is through
                    let (weak, job_unit) = (Arc::downgrade(&inner), Arc::clone(&unit));
                    let _ = unit.lanes().service.submit(move || {
                        if let Some(inner) = weak.upgrade()
                            && job_unit.is_current(attempt)
                        {
                            lost(&inner, &job_unit, &reason);
                            inner.publish();
                        }
                    });
                }
                inner.publish();
            }
        }
    });
    (attempt, sink)
}

/// Has the keys looked at again on the service lane, if that is still wanted when its turn comes.
pub(super) fn appraise_soon(inner: &Arc<Inner>, unit: &Arc<Unit>) {
    let (weak, job_unit) = (Arc::downgrade(inner), Arc::clone(unit));
    let _ = unit.lanes().service.submit(move || {
        if let Some(inner) = weak.upgrade()
            && job_unit.wants_appraisal.swap(false, Ordering::Relaxed)
        {
            keys::appraise(&inner, &job_unit);
            inner.publish();
        }
    });
}

/// The device is dead: forgets the session, tells the capture on it at once, and tries again later. Tells whether there
/// was a session.
pub(super) fn lost(inner: &Arc<Inner>, unit: &Arc<Unit>, reason: &str) -> bool {
    let had_session = unit.lose(reason);
    if had_session {
        locked(&unit.retry).schedule(inner.now(), Retry::SOON);
    }
    had_session
}

/// `deviceId` on the wire: a name for this make, model and serial number that is the same after a restart and at every
/// place.
pub(super) fn device_id(identity: &DeviceIdentity) -> DeviceId {
    let text = format!("{}\n{}\n{}", identity.make, identity.model, identity.serial_no);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    DeviceId::from_digest(digest.as_ref())
}

/// An error with its causes, for the log.
pub(super) fn chain(error: &DeviceError) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use biotrust_model::{DeviceSubType, Modality};

    use super::*;

    #[test]
    fn a_device_that_may_not_be_opened_names_the_udev_rule() {
        let node = Node { bus: Bus::Usb, ..Node::line("/dev/bus/usb/001/004") };
        let error = |kind| PipeError { kind, os: Some(13), doing: "opening it".into() };
        let refused = closed(Origin::Bus, &node, error(PipeErrorKind::PermissionDenied));
        assert_eq!(refused.kind, DeviceErrorKind::PermissionDenied);
        let text = refused.to_string();
        assert!(text.contains("/dev/bus/usb/001/004") && text.contains("`biotrust udev check`"), "{text}");
        let gone = closed(Origin::Bus, &node, error(PipeErrorKind::Gone)).to_string();
        assert!(gone.contains("opening it") && !gone.contains("udev"), "{gone}");
    }

    #[test]
    fn device_ids_differ_by_serial_and_stay_the_same() {
        let identity = |serial: &str| DeviceIdentity {
            serial_no: serial.into(),
            make: "M".into(),
            model: "X".into(),
            modality: Modality::Iris,
            device_sub_type: DeviceSubType::Double,
            device_provider: "P".into(),
            device_provider_id: "1".into(),
        };
        assert_eq!(device_id(&identity("A")), device_id(&identity("A")));
        assert_ne!(device_id(&identity("A")), device_id(&identity("B")));
    }
}
