//! The callers' side: hands orders to the sensor's thread and waits for it no longer than each caller may be kept.
//!
//! Where the sensor does not come back in time the caller gets `TimedOut`. One that stays away is given up by the next
//! caller who notices, such as a health check: the device is gone for everybody ([`DeviceEvent::Gone`]), and its thread is
//! left to the driver that holds it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use biotrust_driver_api::{
    Cancel, CaptureJob, CaptureOutcome, CapturedImage, Description, Device, DeviceError, DeviceErrorKind,
    DeviceEvent, EventSink, L0Device, SelfReport, StreamJob,
};
use biotrust_model::time::Clock;

use crate::Sensor;
use crate::capture::Gathered;
use crate::files::{self, Shot};
use crate::worker::Worker;

/// How long a sensor whose time is over may take to come back, and one that was called off.
const GRACE: Duration = Duration::from_millis(250);
const CALLED_OFF: Duration = Duration::from_millis(50);
/// A sensor that should have been back for so long hangs. Less may be a busy host.
const HANGS: Duration = Duration::from_secs(1);
/// How often a waiting caller looks whether it is called off.
const GLANCE: Duration = Duration::from_millis(10);
/// How long closing waits for the sensor.
const CLOSING: Duration = Duration::from_secs(2);

/// An open device around a sensor.
pub(crate) struct SensorDevice {
    description: Description,
    shared: Arc<Shared>,
    orders: Mutex<Sender<Order>>,
    /// Closed when the sensor's thread has ended.
    ended: Mutex<Receiver<()>>,
    capturing: AtomicBool,
}

/// What the callers and the sensor's thread share.
pub(crate) struct Shared {
    pub(crate) events: EventSink,
    /// The preview that is wanted.
    pub(crate) stream: Mutex<Option<StreamJob>>,
    /// Calls off the look that nobody waits for.
    interrupt: Mutex<Cancel>,
    /// The look under way should be over by then.
    pub(crate) due: Mutex<Option<Instant>>,
    /// What the sensor last said of itself.
    pub(crate) report: Mutex<SelfReport>,
    /// Why the device is gone.
    gone: Mutex<Option<(DeviceErrorKind, String)>>,
}

/// What the sensor's thread is asked to do.
pub(crate) enum Order {
    /// Say how it is.
    Status(Sender<Result<SelfReport, DeviceError>>),
    /// Capture.
    Capture(Box<CaptureOrder>),
    /// Look whether the preview is still as it is wanted.
    Look,
}

pub(crate) struct CaptureOrder {
    pub(crate) job: CaptureJob,
    pub(crate) deadline: Instant,
    pub(crate) stop: Cancel,
    pub(crate) answer: Sender<Result<Option<Gathered<Shot>>, DeviceError>>,
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // nothing here is left half-written by a panic
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// A flag for a look that nobody waits for; the next order sets it.
    pub(crate) fn interruptible(&self) -> Cancel {
        let fresh = Cancel::new();
        *locked(&self.interrupt) = fresh.clone();
        fresh
    }

    /// Gives the device up, once: tells why, whoever found it out first.
    pub(crate) fn give_up(&self, kind: DeviceErrorKind, why: &str) {
        let first = {
            let mut gone = locked(&self.gone);
            let first = gone.is_none();
            gone.get_or_insert_with(|| (kind, why.to_owned()));
            first
        };
        if first {
            (self.events)(DeviceEvent::Gone(DeviceError::new(kind, why)));
        }
    }

    /// Whether the device has been given up.
    pub(crate) fn is_gone(&self) -> bool {
        locked(&self.gone).is_some()
    }

    fn check(&self) -> Result<(), DeviceError> {
        match locked(&self.gone).as_ref() {
            None => Ok(()),
            Some((_, why)) => Err(DeviceError::new(DeviceErrorKind::Gone, why.clone())),
        }
    }
}

impl SensorDevice {
    pub(crate) fn start(
        description: Description,
        sensor: impl Sensor,
        clock: Arc<dyn Clock>,
        events: EventSink,
    ) -> Result<Self, DeviceError> {
        let ready = SelfReport { status: biotrust_model::DeviceStatus::Ready, reason: String::new() };
        let shared = Arc::new(Shared {
            events,
            stream: Mutex::default(),
            interrupt: Mutex::default(),
            due: Mutex::default(),
            report: Mutex::new(ready),
            gone: Mutex::default(),
        });
        let (orders, queue) = channel();
        let (end, ended) = channel();
        let modality = description.identity.modality;
        let worker = Worker::new(sensor, Arc::clone(&shared), queue, clock, modality);
        let name: String = format!("sns-{}", description.identity.serial_no).chars().take(15).collect();
        std::thread::Builder::new()
            .name(name)
            .spawn({
                let shared = Arc::clone(&shared);
                move || {
                    let _end: Sender<()> = end;
                    let _fault = Fault(shared);
                    worker.run();
                }
            })
            .map_err(|e| DeviceError::caused(DeviceErrorKind::Internal, "no thread for the sensor", e))?;
        Ok(Self {
            description,
            shared,
            orders: Mutex::new(orders),
            ended: Mutex::new(ended),
            capturing: AtomicBool::new(false),
        })
    }

    /// Queues an order and ends the look that stands in its way.
    fn order(&self, order: Order) -> Result<(), DeviceError> {
        self.shared.check()?;
        if locked(&self.orders).send(order).is_err() {
            self.shared.check()?;
            return Err(DeviceError::new(DeviceErrorKind::Gone, "the sensor's thread has ended"));
        }
        locked(&self.shared.interrupt).cancel();
        Ok(())
    }

    fn named(&self, what: &str) -> String {
        let identity = &self.description.identity;
        format!("{} {} {}: {what}", identity.make, identity.model, identity.serial_no)
    }

    /// Gives up a sensor that does not come back from a look, and says so.
    fn check_hanging(&self) -> Result<(), DeviceError> {
        if !locked(&self.shared.due).is_some_and(|due| Instant::now() > due + HANGS) {
            return Ok(());
        }
        let why = self.named("the sensor hangs; unplug it and plug it in again");
        self.shared.give_up(DeviceErrorKind::TimedOut, &why);
        Err(DeviceError::new(DeviceErrorKind::TimedOut, why))
    }

    fn refuse(&self, kind: DeviceErrorKind, why: &str) -> DeviceError {
        DeviceError::new(kind, self.named(why))
    }

    /// Waits for what the sensor's thread has gathered.
    fn gathered(
        &self,
        answers: &Receiver<Result<Option<Gathered<Shot>>, DeviceError>>,
        deadline: Instant,
        stop: &Cancel,
        cancel: &Cancel,
    ) -> Result<Option<Gathered<Shot>>, DeviceError> {
        let cancelled = || self.refuse(DeviceErrorKind::Cancelled, "the capture was called off");
        let mut last = deadline + GRACE;
        loop {
            let now = Instant::now();
            if cancel.is_cancelled() && !stop.is_cancelled() {
                stop.cancel();
                last = last.min(now + CALLED_OFF);
            }
            if now >= last {
                self.check_hanging()?;
                return Err(if stop.is_cancelled() {
                    cancelled()
                } else {
                    self.refuse(DeviceErrorKind::TimedOut, "the sensor is late")
                });
            }
            match answers.recv_timeout(GLANCE.min(last - now)) {
                Ok(_) if stop.is_cancelled() => return Err(cancelled()),
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.shared.check()?;
                    return Err(self.refuse(DeviceErrorKind::Internal, "the sensor's thread has failed"));
                }
            }
        }
    }
}

impl Device for SensorDevice {
    fn description(&self) -> &Description {
        &self.description
    }

    /// While the sensor looks, this is what it last said, unless it should have come back by now.
    fn status(&self, timeout: Duration) -> Result<SelfReport, DeviceError> {
        self.shared.check()?;
        self.check_hanging()?;
        if locked(&self.shared.due).is_some() {
            return Ok(locked(&self.shared.report).clone());
        }
        let (answer, report) = channel();
        self.order(Order::Status(answer))?;
        match report.recv_timeout(timeout) {
            Ok(report) => report,
            Err(RecvTimeoutError::Timeout) => {
                Err(self.refuse(DeviceErrorKind::TimedOut, "it does not say how it is"))
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.shared.check()?;
                Err(self.refuse(DeviceErrorKind::Internal, "the sensor's thread has failed"))
            }
        }
    }

    fn start_stream(&self, job: StreamJob, _timeout: Duration) -> Result<(), DeviceError> {
        if !self.description.sub_ids.contains(&job.sub_id) {
            return Err(self.refuse(DeviceErrorKind::Unsupported, "it has no part of this deviceSubId"));
        }
        *locked(&self.shared.stream) = Some(job);
        self.order(Order::Look)
    }

    fn stop_stream(&self, _timeout: Duration) -> Result<(), DeviceError> {
        *locked(&self.shared.stream) = None;
        self.order(Order::Look)
    }
}

impl L0Device for SensorDevice {
    fn capture(
        &self,
        job: &CaptureJob,
        cancel: &Cancel,
    ) -> Result<CaptureOutcome<CapturedImage>, DeviceError> {
        let deadline = Instant::now() + job.finish_within;
        if job.purpose != self.description.purpose {
            return Err(self.refuse(DeviceErrorKind::Unsupported, "it is a device for the other purpose"));
        }
        let _one = One::take(&self.capturing)
            .ok_or_else(|| self.refuse(DeviceErrorKind::Busy, "a capture is under way"))?;
        let stop = Cancel::new();
        let (answer, answers) = channel();
        self.order(Order::Capture(Box::new(CaptureOrder {
            job: job.clone(),
            deadline,
            stop: stop.clone(),
            answer,
        })))?;
        let gathered = self.gathered(&answers, deadline, &stop, cancel);
        // whatever it is doing for this capture: nobody waits for it any more
        stop.cancel();
        let Some(gathered) = gathered? else { return Ok(CaptureOutcome::Nothing) };
        let parts = gathered
            .parts
            .iter()
            .map(|(part, score, shot)| files::captured(*part, *score, shot, job.purpose))
            .collect::<Result<_, _>>()?;
        Ok(CaptureOutcome::Done { parts, reached: gathered.reached })
    }
}

/// Gives the device up when the sensor's thread panics: a fault in a driver costs this device and no other.
struct Fault(Arc<Shared>);

impl Drop for Fault {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.give_up(DeviceErrorKind::Internal, "the driver of this sensor has failed");
        }
    }
}

/// Held by the one capture that may be under way.
struct One<'a>(&'a AtomicBool);

impl<'a> One<'a> {
    fn take(held: &'a AtomicBool) -> Option<Self> {
        (!held.swap(true, Ordering::SeqCst)).then_some(Self(held))
    }
}

impl Drop for One<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Drop for SensorDevice {
    fn drop(&mut self) {
        *locked(&self.shared.stream) = None;
        // the thread ends when nobody can send it anything
        let (nobody, _) = channel();
        drop(std::mem::replace(&mut *locked(&self.orders), nobody));
        locked(&self.shared.interrupt).cancel();
        // a sensor that hangs keeps its thread until it comes back
        let _ = locked(&self.ended).recv_timeout(CLOSING);
    }
}
