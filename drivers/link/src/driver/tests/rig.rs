//! Lines in memory and on pseudo-terminals, and devices that follow a script.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, Mutex};
use std::thread::JoinHandle;

use biotrust_driver_api::{Cancel, DeviceEvent, Found, InfoJob, L0Device, L1Device, Port};
use biotrust_model::{BioSubType, DeviceStatus, Env, time::UtcMillis};
use biotrust_pipe::{SerialPipe, pty};

use super::super::*;
use crate::device::{DeviceRole, Incoming, SpdmTicket, Ticket};
use crate::message::{Captured, Event, Jws};
use crate::testing;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(100);

// --- lines ------------------------------------------------------------------------------------------------------

/// One direction of a pipe in memory: bounded, like a real one.
#[derive(Default)]
pub(super) struct Channel {
    pub(super) state: Mutex<(VecDeque<u8>, bool)>,
    pub(super) changed: Condvar,
}

pub(super) const CHANNEL_ROOM: usize = 64 * 1024;

#[derive(Clone)]
pub(super) struct MemoryPipe {
    pub(super) incoming: Arc<Channel>,
    pub(super) outgoing: Arc<Channel>,
    /// The last clone of an end closes both directions.
    pub(super) _end: Arc<End>,
}

pub(super) struct End(Arc<Channel>, Arc<Channel>);

impl Drop for End {
    fn drop(&mut self) {
        for channel in [&self.0, &self.1] {
            channel.state.lock().unwrap().1 = true;
            channel.changed.notify_all();
        }
    }
}

pub(super) fn memory_pair() -> Ends {
    let (a, b) = (Arc::new(Channel::default()), Arc::new(Channel::default()));
    let end = |incoming: &Arc<Channel>, outgoing: &Arc<Channel>| MemoryPipe {
        incoming: Arc::clone(incoming),
        outgoing: Arc::clone(outgoing),
        _end: Arc::new(End(Arc::clone(incoming), Arc::clone(outgoing))),
    };
    (Box::new(end(&a, &b)), Box::new(end(&b, &a)))
}

pub(super) fn pipe_error(kind: PipeErrorKind) -> PipeError {
    PipeError { kind, os: None, doing: "using memory".into() }
}

impl Pipe for MemoryPipe {
    fn read(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, PipeError> {
        let state = self.incoming.state.lock().unwrap();
        let wait = self
            .incoming
            .changed
            .wait_timeout_while(state, timeout, |(bytes, closed)| bytes.is_empty() && !*closed);
        let (mut state, _) = wait.unwrap();
        let length = state.0.len().min(buffer.len());
        match (length, state.1) {
            (0, true) => return Err(pipe_error(PipeErrorKind::Gone)),
            (0, false) => return Err(pipe_error(PipeErrorKind::TimedOut)),
            _ => {}
        }
        for (to, from) in buffer.iter_mut().zip(state.0.drain(..length)) {
            *to = from;
        }
        self.incoming.changed.notify_all();
        Ok(length)
    }

    fn write_all(&mut self, mut bytes: &[u8], timeout: Duration) -> Result<(), PipeError> {
        let deadline = Instant::now() + timeout;
        while !bytes.is_empty() {
            let state = self.outgoing.state.lock().unwrap();
            let left = deadline.saturating_duration_since(Instant::now());
            let full = |(queue, closed): &mut (VecDeque<u8>, bool)| queue.len() >= CHANNEL_ROOM && !*closed;
            let (mut state, waited) = self.outgoing.changed.wait_timeout_while(state, left, full).unwrap();
            if state.1 {
                return Err(pipe_error(PipeErrorKind::Gone));
            }
            if waited.timed_out() {
                return Err(pipe_error(PipeErrorKind::TimedOut));
            }
            let (now, later) = bytes.split_at(bytes.len().min(CHANNEL_ROOM - state.0.len()));
            state.0.extend(now);
            bytes = later;
            self.outgoing.changed.notify_all();
        }
        Ok(())
    }

    fn try_clone(&self) -> Result<Box<dyn Pipe>, PipeError> {
        Ok(Box::new(self.clone()))
    }

    fn name(&self) -> &str {
        "memory"
    }
}

pub(super) fn pty_pair() -> Ends {
    let device = pty::open_pair().unwrap();
    let host = SerialPipe::open(device.slave_path()).unwrap();
    (Box::new(host), Box::new(device))
}

/// Host's end and device's end of a line.
pub(super) type Ends = (Box<dyn Pipe>, Box<dyn Pipe>);

/// A line of each kind.
pub(super) const LINES: [fn() -> Ends; 2] = [memory_pair, pty_pair];

// --- devices ----------------------------------------------------------------------------------------------------

/// What a device does with a request: the bytes to send.
pub(super) type Script = Box<dyn FnMut(&mut DeviceRole, Ticket, Request) -> Vec<u8> + Send>;

/// A device on a thread.
pub(super) struct Running {
    pub(super) stop: Cancel,
    pub(super) thread: Option<JoinHandle<Vec<Request>>>,
}

impl Running {
    /// Lets it answer what has been sent, and ends with every request that came.
    pub(super) fn end(mut self) -> Vec<Request> {
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(super) fn device(pipe: Box<dyn Pipe>, script: Script) -> Running {
    device_with(pipe, script, Box::new(|role, ticket, _| role.refuse_spdm(ticket)))
}

/// What a device does with an SPDM message: the bytes to send.
pub(super) type SpdmScript = Box<dyn FnMut(&mut DeviceRole, SpdmTicket, &[u8]) -> Vec<u8> + Send>;

/// A device on a thread, with a trust module.
pub(super) fn device_with(mut pipe: Box<dyn Pipe>, mut script: Script, mut spdm: SpdmScript) -> Running {
    let stop = Cancel::new();
    let stopped = stop.clone();
    let thread = std::thread::spawn(move || {
        let (mut role, mut buffer, mut seen) = (DeviceRole::new(), [0; 4096], Vec::new());
        loop {
            let length = match pipe.read(&mut buffer, SHORT) {
                Ok(length) => length,
                Err(error) if error.kind == PipeErrorKind::TimedOut && !stopped.is_cancelled() => continue,
                Err(_) => return seen,
            };
            for incoming in role.receive(&buffer[..length]) {
                let bytes = match incoming {
                    Incoming::Request { ticket, request } => {
                        seen.push(request.clone());
                        script(&mut role, ticket, request)
                    }
                    Incoming::Spdm { ticket, message } => spdm(&mut role, ticket, &message),
                    Incoming::Reply(bytes) => bytes,
                };
                if pipe.write_all(&bytes, LONG).is_err() {
                    return seen;
                }
            }
        }
    });
    Running { stop, thread: Some(thread) }
}

/// A device that does as it is told.
pub(super) fn honest(level: Level) -> Script {
    Box::new(move |role, ticket, request| {
        let response = match request {
            Request::Hello(_) => Response::Hello(testing::description(level)),
            Request::Status => Response::Status(testing::report()),
            Request::Keys => Response::Keys(biotrust_driver_api::L1Keys {
                device_chain: vec![vec![1; 900]],
                chip_chain: vec![vec![2; 900], vec![3; 10]],
            }),
            Request::SignedInfo(job) => Response::SignedInfo(Jws(format!("signed.{}", job.device_id))),
            Request::InstallEncryptionCertificate { .. } => {
                return role.respond(ticket, Err((DeviceErrorKind::Unsupported, "another anchor".into())));
            }
            Request::StreamStart(_) => {
                let mut bytes = role.respond(ticket, Ok(Response::StreamStart));
                for sequence in 1..=3 {
                    bytes.extend(role.event(Event::Frame(testing::frame(sequence, 30_000))));
                }
                return bytes;
            }
            Request::StreamStop => Response::StreamStop,
            Request::Capture(job) => Response::Capture(captured(level, job.parts.len().max(1), 200_000)),
            Request::CaptureCancel { .. } => Response::CaptureCancel,
        };
        role.respond(ticket, Ok(response))
    })
}

pub(super) fn captured(level: Level, parts: usize, bytes: usize) -> Captured {
    match level {
        Level::L0 => Captured::Images {
            images: (0..parts).map(|_| testing::image(None, bytes)).collect(),
            reached: true,
        },
        Level::L1 => {
            Captured::Blocks { blocks: (0..parts).map(|_| testing::block(bytes)).collect(), reached: false }
        }
    }
}

/// An honest device, but for what `first` answers.
pub(super) fn honest_but(
    level: Level,
    mut first: impl FnMut(&Request) -> Option<Vec<u8>> + Send + 'static,
) -> Script {
    let mut honest = honest(level);
    Box::new(move |role, ticket, request| match first(&request) {
        Some(bytes) => bytes,
        None => honest(role, ticket, request),
    })
}

pub(super) struct Fixed;
impl Clock for Fixed {
    fn now(&self) -> UtcMillis {
        UtcMillis(1_000_000)
    }
}

pub(super) fn factory() -> LinkFactory {
    LinkFactory::new(Arc::new(Fixed))
}

pub(super) fn open(host: Box<dyn Pipe>) -> (Opened, Receiver<DeviceEvent>) {
    let (sender, events) = channel();
    (
        factory()
            .open(Port::pipe(host), &Found::line("test"), sink(sender), LONG)
            .map_err(|e| e.to_string())
            .unwrap(),
        events,
    )
}

pub(super) fn sink(sender: Sender<DeviceEvent>) -> EventSink {
    let sender = Mutex::new(sender);
    Box::new(move |event| drop(sender.lock().unwrap().send(event)))
}

pub(super) fn l0(host: Box<dyn Pipe>) -> (Arc<dyn L0Device>, Receiver<DeviceEvent>) {
    match open(host) {
        (Opened::L0(device), events) => (device, events),
        _ => panic!("not L0"),
    }
}

pub(super) fn l1(host: Box<dyn Pipe>) -> (Arc<dyn L1Device>, Receiver<DeviceEvent>) {
    match open(host) {
        (Opened::L1(device), events) => (device, events),
        _ => panic!("not L1"),
    }
}

pub(super) fn slap() -> biotrust_driver_api::CaptureJob {
    testing::capture_job(&BioSubType::LEFT_SLAP, Duration::from_secs(5))
}

pub(super) fn info() -> InfoJob {
    InfoJob {
        device_id: "BT0123456789".into(),
        status: DeviceStatus::Ready,
        env: Env::Staging,
        callback_id: "http://127.0.0.1:4501/".into(),
        service_version: "0.1.0".into(),
        digital_id_key: biotrust_driver_api::DigitalIdKey::Chip,
        level: Level::L1,
    }
}

pub(super) fn kind<T>(result: Result<T, DeviceError>) -> DeviceErrorKind {
    result.map(|_| ()).unwrap_err().kind
}

/// The one Gone that a line may report, and that nothing comes after it.
pub(super) fn gone(events: &Receiver<DeviceEvent>) -> DeviceErrorKind {
    let first = events.recv_timeout(LONG).unwrap();
    let DeviceEvent::Gone(error) = first else { panic!("{first:?}") };
    assert!(events.recv_timeout(SHORT).is_err(), "something follows Gone");
    error.kind
}
