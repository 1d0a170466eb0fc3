//! One open line: who waits for which answer, who may write, and whether it is still good.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use biotrust_driver_api::{
    Cancel, CaptureJob, DeviceError, DeviceErrorKind, DeviceEvent, EventSink, Pipe, PipeErrorKind,
};

use zeroize::Zeroizing;

use super::timing::Timing;
use super::transport::{Rescue, Transport};
use super::{from_pipe, turn::Turn};
use crate::LinkError;
use crate::host::{HostRole, Received, Refusal};
use crate::mctp::Framing;
use crate::message::{Captured, Event, Op, Request, Response};

/// A call that gives the device less time than this says nothing about its health.
const FAIR: Duration = Duration::from_millis(500);
/// How often a capture looks whether it was called off.
const CANCEL_LOOK: Duration = Duration::from_millis(10);
/// Time to write a request around a capture: with [`CANCEL_LOOK`] less than the 100 ms that a cancelled one may take.
const URGENT_WRITE: Duration = Duration::from_millis(80);

/// What a device said to something that it was asked.
enum Answer {
    Link(Result<Response, Refusal>),
    Spdm(Zeroizing<Vec<u8>>),
}

struct Session {
    role: HostRole,
    waiting: HashMap<u32, SyncSender<Answer>>,
    /// Why the line is no longer used.
    closed: Option<(DeviceErrorKind, String)>,
}

/// An open line, shared by the handles of a device and its reading thread.
pub(super) struct Line {
    name: String,
    framing: Framing,
    rescue: Rescue,
    /// Speed of the line, where it is known and matters.
    baud: Option<u32>,
    writer: Turn<Box<dyn Pipe>>,
    session: Mutex<Session>,
    /// Whether frames are wanted; others were on their way when the preview ended.
    streaming: AtomicBool,
    /// Tells the reading thread to end.
    pub(super) stop: Cancel,
    events: EventSink,
}

impl Line {
    pub(super) fn new(transport: Transport, baud: Option<u32>, role: HostRole, events: EventSink) -> Self {
        let Transport { pipe, framing, rescue } = transport;
        Self {
            name: pipe.name().to_owned(),
            framing,
            rescue,
            baud,
            writer: Turn::new(pipe),
            session: Mutex::new(Session { role, waiting: HashMap::new(), closed: None }),
            streaming: AtomicBool::new(false),
            stop: Cancel::new(),
            events,
        }
    }

    /// Name of the pipe.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Asks and waits for the answer, `timeout` for both.
    pub(super) fn call(&self, request: Request, timeout: Duration) -> Result<Response, DeviceError> {
        let op = request.op();
        let deadline = Instant::now() + timeout;
        let (id, answer) = self.send(request, deadline)?;
        match answer.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(answer) => self.accepted(op, answer),
            Err(RecvTimeoutError::Disconnected) => Err(self.was_closed()),
            Err(RecvTimeoutError::Timeout) => {
                self.forget(id);
                self.no_answer(timeout);
                let why = format!("{}: no answer to {op:?} within {} ms", self.name, timeout.as_millis());
                Err(DeviceError::new(DeviceErrorKind::TimedOut, why))
            }
        }
    }

    /// Sends one SPDM message and waits for its answer. One at a time: the caller has the only requester.
    pub(super) fn spdm(&self, message: &[u8], deadline: Instant) -> Result<Zeroizing<Vec<u8>>, DeviceError> {
        let (id, answer) = self.send_by(deadline, |role| role.spdm(message))?;
        match answer.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Answer::Spdm(message)) => Ok(message),
            Ok(Answer::Link(_)) => {
                let why = format!("{}: a response of the link came for an SPDM message", self.name);
                Err(DeviceError::new(DeviceErrorKind::Protocol, why))
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.was_closed()),
            Err(RecvTimeoutError::Timeout) => {
                self.forget(id);
                let why = format!("{}: no answer to an SPDM message in time", self.name);
                Err(DeviceError::new(DeviceErrorKind::TimedOut, why))
            }
        }
    }

    /// Captures until the device has finished, `cancel` is set, or the device should long have finished.
    pub(super) fn capture(&self, job: &CaptureJob, cancel: &Cancel) -> Result<Captured, DeviceError> {
        let called_off =
            || DeviceError::new(DeviceErrorKind::Cancelled, format!("{}: capture cancelled", self.name));
        if cancel.is_cancelled() {
            return Err(called_off());
        }
        let Timing { finish_within, wait } = Timing::of(job, self.baud);
        let deadline = Instant::now() + wait;
        let job = CaptureJob { finish_within, ..job.clone() };
        let (id, answer) = self.send(Request::Capture(Box::new(job)), Instant::now() + URGENT_WRITE)?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match answer.recv_timeout(left.min(CANCEL_LOOK)) {
                Ok(answer) => match self.accepted(Op::Capture, answer)? {
                    Response::Capture(captured) => return Ok(captured),
                    other => return Err(self.out_of_place(other.op())),
                },
                Err(RecvTimeoutError::Disconnected) => return Err(self.was_closed()),
                Err(RecvTimeoutError::Timeout) if cancel.is_cancelled() => {
                    self.call_off(id);
                    return Err(called_off());
                }
                Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                    self.call_off(id);
                    self.no_answer(wait);
                    let why = format!("{}: the capture did not end in time", self.name);
                    return Err(DeviceError::new(DeviceErrorKind::TimedOut, why));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// The device has not answered within `given`. One that goes on so is reset where that is possible, and the line with
    /// it is closed.
    fn no_answer(&self, given: Duration) {
        if given < FAIR {
            return;
        }
        if let Err(error) = self.rescue.no_answer() {
            self.close(from_pipe(error));
        }
    }

    /// Tells the device to end a capture. Its answer, and the capture's, are not waited for.
    fn call_off(&self, capture: u32) {
        let sent = self.send(Request::CaptureCancel { request: capture }, Instant::now() + URGENT_WRITE);
        self.forget(capture);
        if let Ok((id, _)) = sent {
            self.forget(id);
        }
    }

    /// Sends a request; the answer comes over the channel, which is cut when the line is closed.
    fn send(&self, request: Request, deadline: Instant) -> Result<(u32, Receiver<Answer>), DeviceError> {
        self.send_by(deadline, |role| role.request(request))
    }

    /// Sends what `ask` makes.
    fn send_by(
        &self,
        deadline: Instant,
        ask: impl FnOnce(&mut HostRole) -> Result<(u32, Vec<u8>), LinkError>,
    ) -> Result<(u32, Receiver<Answer>), DeviceError> {
        let (sender, answer) = sync_channel(1);
        let (id, bytes) = {
            let mut session = self.session();
            if let Some((_, why)) = &session.closed {
                return Err(DeviceError::new(DeviceErrorKind::Gone, why.clone()));
            }
            let (id, bytes) = ask(&mut session.role).map_err(|e| e.on(&self.name))?;
            session.waiting.insert(id, sender);
            (id, bytes)
        };
        let written =
            self.writer.with(deadline, |pipe| super::write(pipe.as_mut(), self.framing, &bytes, deadline));
        match written {
            Some(Ok(())) => Ok((id, answer)),
            Some(Err(error)) => {
                // Part of a message may be on the line: nothing that follows would be understood.
                let why = match error.kind {
                    PipeErrorKind::TimedOut => {
                        let why = format!("{}: the device does not read what is written to it", self.name);
                        DeviceError::caused(DeviceErrorKind::TimedOut, why, error)
                    }
                    _ => from_pipe(error),
                };
                self.close(why);
                Err(self.was_closed())
            }
            None => {
                self.forget(id);
                let why = format!("{}: the line was busy with another request for too long", self.name);
                Err(DeviceError::new(DeviceErrorKind::TimedOut, why))
            }
        }
    }

    fn accepted(&self, op: Op, answer: Answer) -> Result<Response, DeviceError> {
        let Answer::Link(result) = answer else { return Err(self.out_of_place(op)) };
        result.map_err(|refusal| {
            DeviceError::new(refusal.kind, format!("{}: the device refuses: {}", self.name, refusal.message))
        })
    }

    /// A response of the right operation and the wrong type: the role lets none pass.
    pub(super) fn out_of_place(&self, op: Op) -> DeviceError {
        let why = format!("{}: unexpected response to {op:?}", self.name);
        DeviceError::new(DeviceErrorKind::Protocol, why)
    }

    /// Whether frames are passed on from now on.
    pub(super) fn set_streaming(&self, on: bool) {
        self.streaming.store(on, Ordering::Release);
    }

    pub(super) fn is_streaming(&self) -> bool {
        self.streaming.load(Ordering::Acquire)
    }

    /// Takes in bytes that were read, appending what they complete to `received`; answers how many messages came that
    /// nobody asked for.
    pub(super) fn receive(&self, bytes: &[u8], received: &mut Vec<Received>) -> Result<u32, LinkError> {
        let role = &mut self.session().role;
        role.receive(bytes, received)?;
        Ok(role.take_unasked())
    }

    /// Passes on what came.
    pub(super) fn deliver(&self, received: Received) {
        let event = match received {
            Received::Response { id, result } => return self.hand_over(id, Answer::Link(result)),
            Received::Spdm { id, message } => return self.hand_over(id, Answer::Spdm(message)),
            Received::Event(Event::Frame(_)) if !self.is_streaming() => return,
            Received::Event(Event::Frame(frame)) => DeviceEvent::Frame(frame),
            Received::Event(Event::Status(report)) => DeviceEvent::Status(report),
            Received::Event(Event::KeysChanged) => DeviceEvent::KeysChanged,
        };
        (self.events)(event);
    }

    fn hand_over(&self, id: u32, answer: Answer) {
        let waiting = self.session().waiting.remove(&id);
        if let Some(waiting) = waiting {
            // One that has given up in this moment is gone, which is as well.
            let _ = waiting.try_send(answer);
        }
    }

    /// Gives the line up: wakes all who wait, ends the reading thread, and says so, once.
    pub(super) fn close(&self, why: DeviceError) {
        let first = {
            let mut session = self.session();
            session.waiting.clear();
            let first = session.closed.is_none();
            session.closed.get_or_insert_with(|| (why.kind, why.message.clone()));
            first
        };
        self.stop.cancel();
        if first {
            (self.events)(DeviceEvent::Gone(why));
        }
    }

    /// What a call hears whose line was closed while it waited. Later ones hear [`DeviceErrorKind::Gone`].
    fn was_closed(&self) -> DeviceError {
        let closed = self.session().closed.clone();
        let (kind, why) = closed.unwrap_or_else(|| (DeviceErrorKind::Gone, format!("{}: closed", self.name)));
        DeviceError::new(kind, why)
    }

    fn forget(&self, id: u32) {
        let mut session = self.session();
        session.role.forget(id);
        session.waiting.remove(&id);
    }

    /// What happens under this lock does not panic, so a poisoned one is as good as any.
    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
