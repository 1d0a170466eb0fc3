//! What a virtual device is and does, shared by its threads: state, and the answers that need no time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use biotrust_driver_api::{CaptureJob, Description, DeviceErrorKind, SelfReport, StreamJob};
use biotrust_link::Ticket;
use biotrust_link::message::{Event, Jws, Request, Response};
use biotrust_model::{DeviceStatus, Score};

use super::line::Line;
use super::{capture, preview};
use crate::controller::{Controller, Refusal};
use crate::ftm::{Certified, Ftm, FtmError};
use crate::kind::Spec;
use crate::scene::Scene;
use crate::sensor::{Gaze, Sensor, Sight};
use crate::studio::{Look, Studio, View};

/// The parts of a device that stay.
pub(super) struct Core {
    /// What was built.
    pub(super) spec: Spec,
    /// What it says of itself.
    pub(super) description: Description,
    /// Makes its images.
    pub(super) studio: Studio,
    /// Present at L1.
    pub(super) controller: Option<Controller>,
    /// How long signing and sending have taken lately.
    pub(super) delivery: Delivery,
    state: Mutex<State>,
    changed: Condvar,
    restart: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// How long it takes to sign and send an image, per byte of it, learnt from one capture for the next.
pub(super) struct Delivery(AtomicU64);

impl Delivery {
    /// What it is taken for at first, in nanoseconds a byte: slow, so that the first answer is not late.
    const UNKNOWN: u64 = 600;

    /// For so many bytes.
    pub(super) fn takes(&self, bytes: usize) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed).saturating_mul(bytes as u64))
    }

    /// So many bytes have taken so long. A quarter is added for the next time to be safe, and a bad experience is
    /// forgotten slowly.
    pub(super) fn learn(&self, bytes: usize, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if let Some(per_byte) = took.checked_div(bytes as u64) {
            let known = self.0.load(Ordering::Relaxed);
            let next = per_byte.saturating_add(per_byte / 4).max(known / 4 * 3);
            self.0.store(next.min(Self::UNKNOWN * 4), Ordering::Relaxed);
        }
    }
}

/// The parts that change.
pub(super) struct State {
    /// The sensor and the scene in front of it.
    sensor: Sensor,
    /// Counts changes of the scene.
    scene_no: u64,
    /// What it says of its state.
    report: SelfReport,
    /// The preview that is on.
    pub(super) stream: Option<Stream>,
    /// Whether a thread looks after the preview.
    pub(super) streaming: bool,
    /// The capture that is under way.
    pub(super) capture: Option<Capture>,
    /// Counts captures: another laying-down of the finger, another image.
    pub(super) take: u64,
    /// Counts preview frames.
    pub(super) frames: u64,
    line: Option<Arc<Line>>,
}

/// A preview that is on.
#[derive(Clone)]
pub(super) struct Stream {
    pub(super) job: StreamJob,
    pub(super) gaze: Gaze,
    /// Where the frames go.
    pub(super) line: Arc<Line>,
}

/// A capture that is under way.
#[derive(Clone)]
pub(super) struct Capture {
    /// Counts up; tells it from the one before and the one after.
    pub(super) number: u64,
    /// Id of its request.
    pub(super) request: u32,
    /// What it looks at.
    pub(super) view: View,
    pub(super) gaze: Gaze,
    /// For the mark in the preview.
    pub(super) wanted: Score,
    /// L1: key and certificate that it ends with, whatever happens meanwhile.
    pub(super) pair: Option<Arc<Certified>>,
}

impl Capture {
    /// The look that gives what was seen, at this quality.
    pub(super) fn look<'a>(&'a self, seen: &'a Seen, quality: u8) -> Look<'a> {
        Look { view: &self.view, scene: &seen.scene, quality, take: self.number, wanted: Some(self.wanted) }
    }
}

/// What somebody sees: all that is needed to make an image.
pub(super) struct Seen {
    pub(super) scene: Scene,
    pub(super) scene_no: u64,
    pub(super) sight: Sight,
    pub(super) take: u64,
}

impl State {
    /// Whether `capture` still has the sensor. One that was called off has lost it.
    pub(super) fn is_current(&self, capture: &Capture) -> bool {
        self.capture.as_ref().is_some_and(|current| current.number == capture.number)
    }

    /// What `gaze` sees now.
    pub(super) fn see(&self, gaze: Gaze, now: Instant) -> Seen {
        Seen {
            scene: self.sensor.scene().clone(),
            scene_no: self.scene_no,
            sight: self.sensor.sight(gaze, now),
            take: self.take,
        }
    }
}

impl Core {
    pub(super) fn new(
        spec: Spec,
        description: Description,
        studio: Studio,
        controller: Option<Controller>,
        scene: Scene,
    ) -> Self {
        let state = State {
            sensor: Sensor::new(scene, Instant::now()),
            scene_no: 0,
            report: SelfReport { status: DeviceStatus::Ready, reason: String::new() },
            stream: None,
            streaming: false,
            capture: None,
            take: 0,
            frames: 0,
            line: None,
        };
        let delivery = Delivery(AtomicU64::new(Delivery::UNKNOWN));
        Self {
            spec,
            description,
            studio,
            controller,
            delivery,
            state: Mutex::new(state),
            changed: Condvar::new(),
            restart: OnceLock::new(),
        }
    }

    pub(super) fn serial(&self) -> &str {
        &self.description.identity.serial_no
    }

    /// The state, for as long as the guard lives.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Each change of the state is complete in itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until something changes, `until` at the latest.
    pub(super) fn wait<'a>(&self, guard: MutexGuard<'a, State>, until: Instant) -> MutexGuard<'a, State> {
        let patience = until.saturating_duration_since(Instant::now());
        self.changed.wait_timeout(guard, patience).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Wakes everybody who waits for a change.
    pub(super) fn wake(&self) {
        self.changed.notify_all();
    }

    /// How the device starts anew.
    pub(super) fn on_restart(&self, restart: Box<dyn Fn() + Send + Sync>) {
        let _ = self.restart.set(restart);
    }

    /// The device starts anew, in a moment.
    pub(super) fn restart(&self) {
        if let Some(restart) = self.restart.get() {
            restart();
        }
    }

    /// The device is plugged in.
    pub(super) fn attach(&self, line: Arc<Line>) {
        self.state().line = Some(line);
    }

    /// The plug is pulled: preview and capture end.
    pub(super) fn detach(&self) {
        self.state().line = None;
        self.reset();
    }

    /// Ends whatever a host had started.
    fn reset(&self) {
        let mut state = self.state();
        state.stream = None;
        state.capture = None;
        drop(state);
        self.wake();
    }

    /// Whether a capture has been called off.
    pub(super) fn is_off(&self, capture: &Capture) -> bool {
        !self.state().is_current(capture)
    }

    /// A capture is over; its successor, if there is one, stays.
    pub(super) fn release(&self, capture: &Capture) {
        self.state().capture.take_if(|current| current.number == capture.number);
        self.wake();
    }

    /// The scene changes; holds when this returns.
    pub(super) fn set_scene(&self, scene: Scene) {
        let mut state = self.state();
        state.sensor.change(scene, Instant::now());
        state.scene_no += 1;
        drop(state);
        self.wake();
    }

    /// What it says of itself, with the firmware that runs.
    pub(super) fn description(&self) -> Description {
        let mut description = self.description.clone();
        if let Some(controller) = &self.controller {
            description.firmware = controller.version();
        }
        description
    }

    /// What the device says of itself changes; the host is told.
    pub(super) fn set_report(&self, report: SelfReport) {
        let line = {
            let mut state = self.state();
            state.report = report;
            state.line.clone()
        };
        if let Some(line) = line {
            line.event(Event::Status(self.report()));
        }
    }

    /// What the device says of itself: its trouble, or else what it was told to say.
    pub(super) fn report(&self) -> SelfReport {
        self.controller.as_ref().and_then(Controller::trouble).unwrap_or_else(|| self.state().report.clone())
    }

    /// Tells the host if the state is another one than `before`.
    pub(super) fn tell_change(&self, before: &SelfReport) {
        let now = self.report();
        let line = self.state().line.clone();
        if let Some(line) = line.filter(|_| now != *before) {
            line.event(Event::Status(now));
        }
    }

    /// Tells the host to read the keys again.
    pub(super) fn keys_changed(&self) {
        let line = self.state().line.clone();
        if let Some(line) = line {
            line.event(Event::KeysChanged);
        }
    }

    /// Answers a request, or starts what will.
    pub(super) fn handle(self: &Arc<Self>, line: &Arc<Line>, ticket: Ticket, request: Request) {
        let answer = match request {
            Request::Capture(job) => return self.start_capture(line, ticket, *job),
            Request::Hello(_) => {
                self.reset();
                Ok(Response::Hello(self.description()))
            }
            Request::Status => Ok(Response::Status(self.report())),
            Request::Keys => self.keys(),
            Request::SignedInfo(job) => {
                self.with_ftm(|ftm| Ok(Response::SignedInfo(Jws(ftm.signed_info(&job)?))))
            }
            Request::InstallEncryptionCertificate { domain_uri, chain } => self.with_ftm(|ftm| {
                ftm.install_encryption_certificate(&domain_uri, &chain)?;
                Ok(Response::InstallEncryptionCertificate)
            }),
            Request::StreamStart(job) => self.start_stream(line, job),
            Request::StreamStop => {
                self.state().stream = None;
                self.wake();
                Ok(Response::StreamStop)
            }
            Request::CaptureCancel { request } => {
                self.cancel(request);
                Ok(Response::CaptureCancel)
            }
        };
        line.respond(ticket, answer);
    }

    /// Calls off the capture that `request` asked for, if it is still under way.
    fn cancel(&self, request: u32) {
        self.state().capture.take_if(|capture| capture.request == request);
        self.wake();
    }

    fn with_ftm(&self, act: impl FnOnce(&Ftm) -> Result<Response, FtmError>) -> Result<Response, Refusal> {
        act(self.ftm()?).map_err(|error| (error.kind(), error.to_string()))
    }

    /// The trust module of a device that has one and runs.
    pub(super) fn ftm(&self) -> Result<&Ftm, Refusal> {
        let none = || (DeviceErrorKind::Unsupported, "this device has no FTM".to_owned());
        self.controller.as_ref().ok_or_else(none)?.ftm()
    }

    /// The certificates; a device that plays unregistered has lost the provider's.
    fn keys(&self) -> Result<Response, Refusal> {
        let unregistered = self.report().status == DeviceStatus::NotRegistered;
        self.with_ftm(|ftm| {
            let mut keys = ftm.keys();
            if unregistered {
                keys.device_chain.clear();
            }
            Ok(Response::Keys(keys))
        })
    }

    /// Whether it can work at all.
    fn require_ready(&self) -> Result<(), Refusal> {
        let report = self.report();
        let kind = match report.status {
            DeviceStatus::Ready => return Ok(()),
            DeviceStatus::Busy => DeviceErrorKind::Busy,
            DeviceStatus::NotReady => DeviceErrorKind::NotReady,
            DeviceStatus::NotRegistered => DeviceErrorKind::NotRegistered,
        };
        Err((kind, report.reason))
    }

    fn start_stream(self: &Arc<Self>, line: &Arc<Line>, job: StreamJob) -> Result<Response, Refusal> {
        if !self.description.sub_ids.contains(&job.sub_id) {
            return Err((
                DeviceErrorKind::Unsupported,
                format!("there is no part {} of this device", job.sub_id),
            ));
        }
        self.require_ready()?;
        let mut state = self.state();
        // The same view goes on; another one has to be found anew.
        let same = state.stream.as_ref().filter(|stream| stream.job.sub_id == job.sub_id);
        let gaze = same.map_or(Gaze { since: Instant::now() }, |stream| stream.gaze);
        if !state.streaming {
            let core = Arc::clone(self);
            std::thread::Builder::new()
                .name(format!("preview {}", self.serial()))
                .spawn(move || preview::run(&core))
                .map_err(|error| {
                    (DeviceErrorKind::Internal, format!("no thread for the preview: {error}"))
                })?;
            state.streaming = true;
        }
        state.stream = Some(Stream { job, gaze, line: Arc::clone(line) });
        drop(state);
        self.wake();
        Ok(Response::StreamStart)
    }

    fn start_capture(self: &Arc<Self>, line: &Arc<Line>, ticket: Ticket, job: CaptureJob) {
        let started = Instant::now();
        match self.reserve(&ticket, &job, started) {
            Err(refusal) => line.respond(ticket, Err(refusal)),
            Ok(capture) => {
                let (core, answer_on) = (Arc::clone(self), Arc::clone(line));
                let spawned = std::thread::Builder::new()
                    .name(format!("capture {}", self.serial()))
                    .spawn(move || capture::run(&core, &answer_on, ticket, &job, &capture, started));
                if spawned.is_err() {
                    // The ticket is gone with the closure; the host's deadline ends its wait.
                    self.state().capture = None;
                    self.wake();
                }
            }
        }
    }

    /// Takes the sensor for a capture.
    fn reserve(&self, ticket: &Ticket, job: &CaptureJob, now: Instant) -> Result<Capture, Refusal> {
        let modality = self.description.identity.modality;
        let foreign = |part: &&biotrust_model::BioSubType| part.modality().is_some_and(|m| m != modality);
        if let Some(part) = job.parts.iter().find(foreign) {
            return Err((DeviceErrorKind::Unsupported, format!("{part} is not for this device")));
        }
        if job.purpose != self.spec.purpose {
            return Err((
                DeviceErrorKind::Unsupported,
                format!("this device is not meant for {}", job.purpose),
            ));
        }
        self.require_ready()?;
        let pair = match &self.controller {
            Some(controller) => {
                Some(controller.ftm()?.pair().map_err(|error| (error.kind(), error.to_string()))?)
            }
            None => None,
        };
        let mut state = self.state();
        if state.capture.is_some() {
            return Err((DeviceErrorKind::Busy, "a capture is under way".to_owned()));
        }
        // Somebody who is being previewed there has settled already, or is about to.
        let previewed = state.stream.as_ref().filter(|stream| stream.job.sub_id == job.sub_id);
        let gaze = previewed.map_or(Gaze { since: now }, |stream| stream.gaze);
        state.take += 1;
        let capture = Capture {
            number: state.take,
            request: ticket.id(),
            view: View::of_capture(self.spec.kind, job),
            gaze,
            wanted: job.requested_score,
            pair,
        };
        state.capture = Some(capture.clone());
        Ok(capture)
    }
}
