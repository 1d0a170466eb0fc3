//! The sensor's thread: does one order after the other, and looks for the preview while there is none.
//!
//! It ends when the last handle is dropped or the sensor is lost; either way the sensor is closed here.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use biotrust_driver_api::{Cancel, DeviceError, DeviceErrorKind, DeviceEvent, SelfReport};
use biotrust_model::time::Clock;
use biotrust_model::{DeviceStatus, Modality, Score};

use crate::capture::Gathering;
use crate::device::{CaptureOrder, Order, Shared, locked};
use crate::files::{Pixels, Shot};
use crate::frames::{self, Frames};
use crate::{Seen, Sensor};

/// A look for the preview is back by then.
const PREVIEW_LOOK: Duration = Duration::from_secs(8);
/// How long one look waits, so that a preview shows in between that nothing is seen.
const GLIMPSE: Duration = Duration::from_millis(500);
/// How long a sensor that cannot work now is left alone.
const REST: Duration = Duration::from_millis(500);

/// Owns the sensor.
pub(crate) struct Worker<S> {
    sensor: S,
    shared: Arc<Shared>,
    orders: Receiver<Order>,
    clock: Arc<dyn Clock>,
    modality: Modality,
    frames: Frames,
    /// It was told to look since it last was told to rest.
    awake: bool,
}

/// What to do next.
enum Next {
    Do(Order),
    Preview(u8, Cancel),
    End,
}

impl<S: Sensor> Worker<S> {
    pub(crate) fn new(
        sensor: S,
        shared: Arc<Shared>,
        orders: Receiver<Order>,
        clock: Arc<dyn Clock>,
        modality: Modality,
    ) -> Self {
        Self { sensor, shared, orders, clock, modality, frames: Frames::new(modality), awake: false }
    }

    pub(crate) fn run(mut self) {
        let lost = loop {
            let done = match self.next() {
                Ok(Next::End) => break None,
                Ok(Next::Do(order)) => self.obey(order),
                Ok(Next::Preview(fps, cancel)) => self.preview(fps, &cancel),
                Err(lost) => Err(lost),
            };
            if let Err(lost) = done {
                break Some(lost);
            }
        };
        let Self { sensor, shared, .. } = self;
        // closed before anybody is told, so that whoever opens it again finds it free
        drop(sensor);
        if let Some(lost) = lost {
            shared.give_up(lost.kind, &lost.message);
        }
    }

    /// The next order; while there is none, the preview.
    fn next(&mut self) -> Result<Next, DeviceError> {
        loop {
            if self.shared.is_gone() {
                return Ok(Next::End);
            }
            // in this order: an order that comes after the second line calls off what begins after it
            let cancel = self.shared.interruptible();
            match self.orders.try_recv() {
                Ok(order) => return Ok(Next::Do(order)),
                Err(TryRecvError::Disconnected) => return Ok(Next::End),
                Err(TryRecvError::Empty) => {}
            }
            let streaming = *locked(&self.shared.stream);
            if let Some(job) = streaming {
                if !cancel.wait(self.frames.pause(job.fps, Instant::now())) {
                    return Ok(Next::Preview(job.fps, cancel));
                }
                continue;
            }
            self.frames.forget();
            if self.awake {
                self.awake = false;
                fatal(self.sensor.rest())?;
            }
            return Ok(self.orders.recv().map_or(Next::End, Next::Do));
        }
    }

    fn obey(&mut self, order: Order) -> Result<(), DeviceError> {
        match order {
            Order::Look => Ok(()),
            Order::Status(answer) => {
                let status = self.sensor.status();
                let lost = status.as_ref().err().and_then(same_if_fatal);
                if let Ok(report) = &status {
                    locked(&self.shared.report).clone_from(report);
                }
                let _ = answer.send(status);
                lost.map_or(Ok(()), Err)
            }
            Order::Capture(order) => {
                let gathered = self.capture(&order);
                let lost = gathered.as_ref().err().and_then(same_if_fatal);
                let _ = order.answer.send(gathered);
                lost.map_or(Ok(()), Err)
            }
        }
    }

    fn capture(
        &mut self,
        order: &CaptureOrder,
    ) -> Result<Option<crate::capture::Gathered<Shot>>, DeviceError> {
        let CaptureOrder { job, deadline, stop, .. } = order;
        let mut gathering = Gathering::new(&job.parts, job.requested_score, Instant::now(), *deadline);
        loop {
            let now = Instant::now();
            gathering.settle(now);
            if gathering.is_over(now) || stop.is_cancelled() {
                return Ok(gathering.finish());
            }
            if gathering.must_clear() {
                if self.looking(*deadline, |sensor| sensor.is_clear(*deadline, stop))? && !stop.is_cancelled()
                {
                    gathering.cleared();
                }
                continue;
            }
            let wait = gathering.patience(now).min(GLIMPSE);
            let Some((seen, score)) = self.look(wait, *deadline, stop, Some(job.requested_score))? else {
                continue;
            };
            let captured_at = self.clock.now();
            if let (Some(pixels), Some(score)) = (pixels(seen), score) {
                gathering.offer(score, Shot { pixels, captured_at }, Instant::now());
            }
        }
    }

    fn preview(&mut self, fps: u8, cancel: &Cancel) -> Result<(), DeviceError> {
        let wait = (Duration::from_secs(1) / u32::from(fps.max(1))).max(GLIMPSE);
        let looked = self.look(wait, Instant::now() + PREVIEW_LOOK, cancel, None);
        match looked {
            Ok(_) => {
                self.report(SelfReport { status: DeviceStatus::Ready, reason: String::new() });
                Ok(())
            }
            Err(error) => fatal(Err(error)).inspect(|()| {
                let _ = cancel.wait(REST);
            }),
        }
    }

    /// Looks once; shows what was seen where a preview is wanted.
    fn look(
        &mut self,
        wait: Duration,
        until: Instant,
        cancel: &Cancel,
        wanted: Option<Score>,
    ) -> Result<Option<(Seen, Option<Score>)>, DeviceError> {
        let looked = self.looking(until, |sensor| sensor.look(wait, until, cancel));
        let seen = looked.inspect_err(|error| {
            if !is_fatal(error.kind) {
                self.report(SelfReport { status: DeviceStatus::NotReady, reason: error.message.clone() });
            }
        })?;
        let streaming = *locked(&self.shared.stream);
        let now = Instant::now();
        let Some(seen) = seen else {
            if streaming.is_some() && !cancel.is_cancelled() {
                self.frames.nothing(now, &self.shared.events);
            }
            return Ok(None);
        };
        if seen.modality().is_some_and(|modality| modality != self.modality) {
            let why = format!("a driver of a {} sensor has seen something else", self.modality);
            return Err(DeviceError::new(DeviceErrorKind::Internal, why));
        }
        let score = frames::score(&seen);
        if streaming.is_some_and(|job| self.frames.pause(job.fps, now).is_zero()) {
            self.frames.show(&seen, score, wanted, now, &self.shared.events);
        }
        Ok(Some((seen, score)))
    }

    /// While it lasts, everybody can see when the sensor should be back.
    fn looking<T>(&mut self, until: Instant, look: impl FnOnce(&mut S) -> T) -> T {
        self.awake = true;
        *locked(&self.shared.due) = Some(until);
        let seen = look(&mut self.sensor);
        *locked(&self.shared.due) = None;
        seen
    }

    /// Tells of a state that is new.
    fn report(&self, report: SelfReport) {
        let changed = {
            let mut last = locked(&self.shared.report);
            let changed = *last != report;
            last.clone_from(&report);
            changed
        };
        if changed {
            (self.shared.events)(DeviceEvent::Status(report));
        }
    }
}

/// After these a sensor is of no use any more.
const fn is_fatal(kind: DeviceErrorKind) -> bool {
    matches!(kind, DeviceErrorKind::Gone | DeviceErrorKind::TimedOut | DeviceErrorKind::Protocol)
}

/// Lets the errors through that end the sensor.
fn fatal(outcome: Result<(), DeviceError>) -> Result<(), DeviceError> {
    outcome.or_else(|error| if is_fatal(error.kind) { Err(error) } else { Ok(()) })
}

/// The error once more, where it ends the sensor: its cause goes to whoever asked.
fn same_if_fatal(error: &DeviceError) -> Option<DeviceError> {
    is_fatal(error.kind).then(|| DeviceError::new(error.kind, error.message.clone()))
}

/// The pixels of what can be captured.
fn pixels(seen: Seen) -> Option<Pixels> {
    match seen {
        Seen::Finger { image, density } => Some(Pixels::Finger(image, density)),
        Seen::Face { image, .. } => Some(Pixels::Face(image)),
        Seen::Iris { image, geometry } => {
            let limbus = geometry?.limbus;
            let rounded = |value: f32| value.round() as u16;
            let circle = [rounded(limbus.x), rounded(limbus.y), rounded(2.0 * limbus.radius)];
            Some(Pixels::Iris(image, circle))
        }
        Seen::Unusable { .. } => None,
    }
}
