//! From a line that appears to a device that is ready, and back: opening, appraisal, health, retries.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use biotrust_driver_api::{
    DeviceError, DeviceErrorKind, DeviceEvent, DriverFactory, EventSink, Found, Opened, Port,
};
use biotrust_model::{DeviceId, DeviceIdentity};
use biotrust_pipe::SerialPipe;
use biotrust_pipe::links::{LinkEvent, LinkWatcher, WatchError};

use super::state::{Effect, Event, Hold, Standing};
use super::unit::{Session, Unit};
use super::{Inner, keys, locked, stream};

/// The longest that a device may take to say who it is.
const OPEN: Duration = Duration::from_secs(2);
/// The longest that a healthy device takes to say how it is.
const HEALTH: Duration = Duration::from_secs(2);
/// How often an idle device is asked how it is.
const HEALTH_EVERY: Duration = Duration::from_secs(10);
/// How often leases and retries are looked at.
const TICK: Duration = Duration::from_millis(100);

/// Starts the watcher of links and the clock of the fleet.
pub(super) fn start(
    inner: &Arc<Inner>,
    links: Option<PathBuf>,
    ports: Vec<PathBuf>,
) -> Result<(), WatchError> {
    for path in ports {
        // a path is no name of a link, so the two never replace each other
        appeared(inner, &path.to_string_lossy(), &path);
    }
    match links {
        Some(directory) => {
            watch_links(inner, &directory)?;
            *locked(&inner.links) = Some(directory);
        }
        None => scanned(inner),
    }
    tokio::spawn(keep_time(Arc::downgrade(inner)));
    Ok(())
}

fn watch_links(inner: &Arc<Inner>, directory: &Path) -> Result<(), WatchError> {
    let weak = Arc::downgrade(inner);
    let watcher = LinkWatcher::start(directory, move |event| {
        if let Some(inner) = weak.upgrade() {
            follow(&inner, event);
        }
    })?;
    *locked(&inner.watcher) = Some(watcher);
    Ok(())
}

/// The directory was gone; looks whether it is there again.
fn watch_links_again(inner: &Arc<Inner>) {
    let Some(directory) = locked(&inner.links).clone() else { return };
    // before, so that a loss that is noticed at once is not forgotten
    inner.links_lost.store(false, Ordering::Relaxed);
    match watch_links(inner, &directory) {
        Ok(()) => tracing::info!(directory = %directory.display(), "the directory of links is there again"),
        Err(_) => inner.links_lost.store(true, Ordering::Relaxed),
    }
    inner.publish();
}

/// Runs on the watcher's thread.
fn follow(inner: &Arc<Inner>, event: LinkEvent) {
    if inner.stop.is_cancelled() {
        return;
    }
    match event {
        LinkEvent::Appeared { name, path } => appeared(inner, &name, &path),
        LinkEvent::Vanished { name } => vanished(inner, &name),
        LinkEvent::Scanned => scanned(inner),
        LinkEvent::Lost(reason) => {
            tracing::error!(
                reason,
                "the directory of links is gone: no device is found until it is there again"
            );
            inner.links_lost.store(true, Ordering::Relaxed);
            inner.publish();
        }
    }
}

/// The links that were there at the start are known: tells when the last of them has been tried.
fn scanned(inner: &Arc<Inner>) {
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

fn appeared(inner: &Arc<Inner>, name: &str, path: &Path) {
    let roster = locked(&inner.roster);
    let mut units = Vec::clone(&inner.units());
    if let Some(at) = units.iter().position(|unit| unit.name == name) {
        // the link was replaced without a gap: the old line is dead
        lost(inner, &units.remove(at), "replaced");
    }
    let unit = Arc::new(Unit::new(name.to_owned(), path.to_owned()));
    units.push(Arc::clone(&unit));
    inner.units.store(Arc::new(units));
    drop(roster);
    // after it is listed, so that a change meanwhile is not missed
    unit.note(Event::Held(Hold::HostTime, inner.untimed.borrow().clone()));
    inner.publish();
    tracing::info!(link = name, path = %path.display(), "line appeared");
    open(inner, &unit);
}

fn vanished(inner: &Arc<Inner>, name: &str) {
    let roster = locked(&inner.roster);
    let mut units = Vec::clone(&inner.units());
    if let Some(at) = units.iter().position(|unit| unit.name == name) {
        let unit = units.remove(at);
        inner.units.store(Arc::new(units));
        drop(roster);
        lost(inner, &unit, "unplugged");
        *locked(&unit.retry) = super::unit::Retry::default();
        tracing::info!(link = name, "line vanished");
        inner.publish();
    }
}

/// Opens the line on its service lane, then appraises what is there.
fn open(inner: &Arc<Inner>, unit: &Arc<Unit>) {
    let (weak, job_unit) = (Arc::downgrade(inner), Arc::clone(unit));
    let queued = unit.lanes().service.submit(move || {
        let (Some(inner), unit) = (weak.upgrade(), job_unit) else { return };
        if inner.stop.is_cancelled() || unit.session().is_some() {
            return;
        }
        let before = unit.problem();
        match open_now(&inner, &unit) {
            Ok(session) => {
                if !inner.units().iter().any(|known| Arc::ptr_eq(known, &unit)) {
                    // unplugged while it was being opened
                    unit.close();
                    return;
                }
                tracing::info!(device = %session.id, serial = session.description.identity.serial_no,
                    level = %session.level(), "device open");
                keys::appraise(&inner, &unit);
                stream::settle(&unit);
            }
            Err(error) => {
                unit.note(Event::Lost(error.to_string()));
                locked(&unit.retry).schedule(inner.now());
                // once per reason: a line that stays dead is tried for ever
                if unit.last_fault(error.to_string()) {
                    tracing::warn!(link = unit.name, error = chain(&error), "cannot open device");
                }
            }
        }
        if unit.problem() != before {
            inner.publish();
        }
    });
    if queued.is_err() {
        unit.note(Event::Lost("its worker is not keeping up".into()));
        locked(&unit.retry).schedule(inner.now());
    }
}

fn open_now(inner: &Arc<Inner>, unit: &Arc<Unit>) -> Result<Arc<Session>, DeviceError> {
    let opened = open_with(&inner.factories, &unit.path, || events(inner, unit))?;
    let report = opened.device().status(HEALTH)?;
    let id = device_id(&opened.device().description().identity);
    let session = Arc::new(Session::new(opened, id, inner.next_number(), &inner.open_sessions));
    unit.open(Arc::clone(&session), report);
    Ok(session)
}

/// Tries each driver on a fresh pipe; the last one's error is told.
fn open_with(
    factories: &[Box<dyn DriverFactory>],
    path: &Path,
    events: impl Fn() -> EventSink,
) -> Result<Opened, DeviceError> {
    let mut last = DeviceError::new(DeviceErrorKind::Unsupported, "no driver for serial lines");
    let found = Found::line(path);
    for factory in factories {
        let pipe = SerialPipe::open(path)
            .map_err(|error| DeviceError::caused(pipe_kind(error.kind), error.to_string(), error))?;
        match factory.open(Port::Serial(Box::new(pipe)), &found, events(), OPEN) {
            Ok(opened) => return Ok(opened),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn pipe_kind(kind: biotrust_driver_api::PipeErrorKind) -> DeviceErrorKind {
    use biotrust_driver_api::PipeErrorKind as Pipe;
    match kind {
        Pipe::Gone => DeviceErrorKind::Gone,
        Pipe::TimedOut => DeviceErrorKind::TimedOut,
        Pipe::PermissionDenied => DeviceErrorKind::PermissionDenied,
        Pipe::InUse => DeviceErrorKind::InUse,
        Pipe::Os | Pipe::Stalled => DeviceErrorKind::Internal,
    }
}

/// Where the driver of this unit puts its events. Runs on the driver's thread: must not block, must not drop a session.
fn events(inner: &Arc<Inner>, unit: &Arc<Unit>) -> EventSink {
    let (inner, unit) = (Arc::downgrade(inner), Arc::downgrade(unit));
    Box::new(move |event| {
        let (Some(inner), Some(unit)) = (inner.upgrade(), unit.upgrade()) else { return };
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
                tracing::warn!(link = unit.name, error = chain(&error), "device gone");
                let reason = error.to_string();
                if !lost(&inner, &unit, &reason) {
                    // it went while it was being opened: look again when that is through
                    let (weak, job_unit) = (Arc::downgrade(&inner), Arc::clone(&unit));
                    let _ = unit.lanes().service.submit(move || {
                        if let Some(inner) = weak.upgrade() {
                            lost(&inner, &job_unit, &reason);
                            inner.publish();
                        }
                    });
                }
                inner.publish();
            }
        }
    })
}

/// Has the keys looked at again on the service lane, if that is still wanted when its turn comes.
fn appraise_soon(inner: &Arc<Inner>, unit: &Arc<Unit>) {
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

/// The line is dead: forget the session and try again later. Tells whether there was a session.
fn lost(inner: &Arc<Inner>, unit: &Arc<Unit>, reason: &str) -> bool {
    let had_session = unit.session().is_some();
    unit.note(Event::Lost(reason.to_owned()));
    unit.close();
    if had_session {
        locked(&unit.retry).schedule(inner.now());
    }
    had_session
}

/// Ends leases and quarantines that are over, retries lost lines, asks idle devices how they are.
async fn keep_time(inner: Weak<Inner>) {
    let mut tick = tokio::time::interval(TICK);
    let mut next_health = HEALTH_EVERY;
    loop {
        tick.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        if inner.stop.is_cancelled() {
            return;
        }
        let now = inner.now();
        let health = now >= next_health;
        if health {
            next_health = now + HEALTH_EVERY;
            if inner.links_lost.load(Ordering::Relaxed) {
                watch_links_again(&inner);
            }
        }
        for unit in inner.units().iter() {
            if unit.tick(now) == Some(Effect::Abandon) {
                tracing::error!(link = unit.name, "a capture did not come back: its worker is abandoned");
                unit.abandon_lanes();
                let mut retry = locked(&unit.retry);
                retry.schedule(now + super::state::QUARANTINE);
                drop(retry);
                inner.publish();
            }
            let due = {
                let mut retry = locked(&unit.retry);
                let due = retry.at.is_some_and(|at| now >= at);
                if due {
                    retry.at = None;
                }
                due
            };
            if due {
                unit.note(Event::Reopening);
                open(&inner, unit);
            } else if health {
                check(&inner, unit);
            } else if unit.wants_appraisal.load(Ordering::Relaxed) || is_due(&inner, unit) {
                unit.wants_appraisal.store(true, Ordering::Relaxed);
                appraise_soon(&inner, unit);
            }
        }
    }
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
                tracing::warn!(link = unit.name, error = chain(&error), "no answer to the health check");
                lost(&inner, &unit, &error.to_string());
                inner.publish();
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

/// `deviceId` on the wire: a name for this make, model and serial number that is the same after a restart.
pub(super) fn device_id(identity: &DeviceIdentity) -> DeviceId {
    let text = format!("{}\n{}\n{}", identity.make, identity.model, identity.serial_no);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    DeviceId::from_digest(digest.as_ref())
}

/// An error with its causes, for the log.
fn chain(error: &DeviceError) -> String {
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
