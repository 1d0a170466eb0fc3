//! The driver against devices made of [`DeviceRole`], over a pipe in memory and over a real pseudo-terminal.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, Mutex};
use std::thread::JoinHandle;

use biotrust_driver_api::{Cancel, CaptureOutcome, DeviceEvent, InfoJob, L0Device, L1Device, StreamJob};
use biotrust_model::{BioSubType, DeviceStatus, Env, SubId, time::UtcMillis};
use biotrust_pipe::{SerialPipe, pty};

use super::*;
use crate::device::{DeviceRole, Incoming, Ticket};
use crate::mctp::{self, DEVICE_EID, HOST_EID, Route, Tag};
use crate::message::{Captured, ENTERPRISE_NUMBER, Event, Jws, Op};
use crate::testing;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(100);

// --- lines ------------------------------------------------------------------------------------------------------

/// One direction of a pipe in memory: bounded, like a real one.
#[derive(Default)]
struct Channel {
    state: Mutex<(VecDeque<u8>, bool)>,
    changed: Condvar,
}

const CHANNEL_ROOM: usize = 64 * 1024;

#[derive(Clone)]
struct MemoryPipe {
    incoming: Arc<Channel>,
    outgoing: Arc<Channel>,
    /// The last clone of an end closes both directions.
    _end: Arc<End>,
}

struct End(Arc<Channel>, Arc<Channel>);

impl Drop for End {
    fn drop(&mut self) {
        for channel in [&self.0, &self.1] {
            channel.state.lock().unwrap().1 = true;
            channel.changed.notify_all();
        }
    }
}

fn memory_pair() -> Ends {
    let (a, b) = (Arc::new(Channel::default()), Arc::new(Channel::default()));
    let end = |incoming: &Arc<Channel>, outgoing: &Arc<Channel>| MemoryPipe {
        incoming: Arc::clone(incoming),
        outgoing: Arc::clone(outgoing),
        _end: Arc::new(End(Arc::clone(incoming), Arc::clone(outgoing))),
    };
    (Box::new(end(&a, &b)), Box::new(end(&b, &a)))
}

fn pipe_error(kind: PipeErrorKind) -> PipeError {
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

fn pty_pair() -> Ends {
    let device = pty::open_pair().unwrap();
    let host = SerialPipe::open(device.slave_path()).unwrap();
    (Box::new(host), Box::new(device))
}

/// Host's end and device's end of a line.
type Ends = (Box<dyn Pipe>, Box<dyn Pipe>);

/// A line of each kind.
const LINES: [fn() -> Ends; 2] = [memory_pair, pty_pair];

// --- devices ----------------------------------------------------------------------------------------------------

/// What a device does with a request: the bytes to send.
type Script = Box<dyn FnMut(&mut DeviceRole, Ticket, Request) -> Vec<u8> + Send>;

/// A device on a thread.
struct Running {
    stop: Cancel,
    thread: Option<JoinHandle<Vec<Request>>>,
}

impl Running {
    /// Lets it answer what has been sent, and ends with every request that came.
    fn end(mut self) -> Vec<Request> {
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn device(mut pipe: Box<dyn Pipe>, mut script: Script) -> Running {
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
fn honest(level: Level) -> Script {
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

fn captured(level: Level, parts: usize, bytes: usize) -> Captured {
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
fn honest_but(level: Level, mut first: impl FnMut(&Request) -> Option<Vec<u8>> + Send + 'static) -> Script {
    let mut honest = honest(level);
    Box::new(move |role, ticket, request| match first(&request) {
        Some(bytes) => bytes,
        None => honest(role, ticket, request),
    })
}

struct Fixed;
impl Clock for Fixed {
    fn now(&self) -> UtcMillis {
        UtcMillis(1_000_000)
    }
}

fn factory() -> LinkFactory {
    LinkFactory::new(Arc::new(Fixed))
}

fn open(host: Box<dyn Pipe>) -> (Opened, Receiver<DeviceEvent>) {
    let (sender, events) = channel();
    (factory().open(host, sink(sender), LONG).map_err(|e| e.to_string()).unwrap(), events)
}

fn sink(sender: Sender<DeviceEvent>) -> EventSink {
    let sender = Mutex::new(sender);
    Box::new(move |event| drop(sender.lock().unwrap().send(event)))
}

fn l0(host: Box<dyn Pipe>) -> (Arc<dyn L0Device>, Receiver<DeviceEvent>) {
    match open(host) {
        (Opened::L0(device), events) => (device, events),
        _ => panic!("not L0"),
    }
}

fn l1(host: Box<dyn Pipe>) -> (Arc<dyn L1Device>, Receiver<DeviceEvent>) {
    match open(host) {
        (Opened::L1(device), events) => (device, events),
        _ => panic!("not L1"),
    }
}

fn slap() -> biotrust_driver_api::CaptureJob {
    testing::capture_job(&BioSubType::LEFT_SLAP, Duration::from_secs(5))
}

fn info() -> InfoJob {
    InfoJob {
        device_id: "BT0123456789".into(),
        status: DeviceStatus::Ready,
        env: Env::Staging,
        callback_id: "http://127.0.0.1:4501/".into(),
        service_version: "0.1.0".into(),
        digital_id_key: biotrust_driver_api::DigitalIdKey::Chip,
    }
}

fn kind<T>(result: Result<T, DeviceError>) -> DeviceErrorKind {
    result.map(|_| ()).unwrap_err().kind
}

/// The one Gone that a line may report, and that nothing comes after it.
fn gone(events: &Receiver<DeviceEvent>) -> DeviceErrorKind {
    let first = events.recv_timeout(LONG).unwrap();
    let DeviceEvent::Gone(error) = first else { panic!("{first:?}") };
    assert!(events.recv_timeout(SHORT).is_err(), "something follows Gone");
    error.kind
}

// --- tests ------------------------------------------------------------------------------------------------------

#[test]
fn an_l1_device_does_everything() {
    for line in LINES {
        let (host, end) = line();
        let thread = device(end, honest(Level::L1));
        let (device, events) = l1(host);
        assert_eq!(*device.description(), testing::description(Level::L1));
        assert_eq!(device.status(LONG).unwrap(), testing::report());
        assert_eq!(device.keys(LONG).unwrap().chip_chain.len(), 2);
        assert_eq!(device.signed_info(&info(), LONG).unwrap(), "signed.BT0123456789");
        let refused = device.install_encryption_certificate("", &[vec![1]], LONG).unwrap_err();
        assert_eq!(refused.kind, DeviceErrorKind::Unsupported);
        assert!(refused.message.contains("another anchor"), "{refused}");

        device.start_stream(StreamJob { sub_id: SubId(1), fps: 15 }, LONG).unwrap();
        for expected in 1..=3 {
            let event = events.recv_timeout(LONG).unwrap();
            assert!(
                matches!(&event, DeviceEvent::Frame(f) if f.sequence == expected && f.jpeg.len() == 30_000),
                "{event:?}"
            );
        }
        device.stop_stream(LONG).unwrap();

        let outcome = device.capture(&slap(), &Cancel::new()).unwrap();
        let CaptureOutcome::Done { parts, reached: false } = outcome else { panic!("{outcome:?}") };
        assert!(parts.len() == 4 && parts.iter().all(|p| p.data.expose() == vec![b'x'; 200_000]));
        drop(device);
        assert_eq!(events.iter().count(), 0);
        assert_eq!(thread.end().len(), 8);
    }
}

#[test]
fn images_of_an_l0_device_are_dated_by_the_host() {
    for line in LINES {
        let (host, end) = line();
        let _thread = device(
            end,
            Box::new(|role, ticket, request| match request {
                Request::Hello(_) => honest(Level::L0)(role, ticket, request),
                _ => {
                    let mut images = [0, 1, u32::MAX]
                        .map(|age_ms| crate::message::Image { age_ms, ..testing::image(None, 9) });
                    // Long enough that an age of one millisecond is not cut.
                    assert!(!Cancel::new().wait(Duration::from_millis(20)));
                    images[0].part = Some(BioSubType::Left);
                    role.respond(
                        ticket,
                        Ok(Response::Capture(Captured::Images { images: images.into(), reached: true })),
                    )
                }
            }),
        );
        let (device, _events) = l0(host);
        let job = testing::capture_job(&BioSubType::LEFT_SLAP[..3], LONG);
        let outcome = device.capture(&job, &Cancel::new()).unwrap();
        let CaptureOutcome::Done { parts, reached: true } = outcome else { panic!("{outcome:?}") };
        let times: Vec<i64> = parts.iter().map(|p| p.captured_at.0).collect();
        assert_eq!(times[..2], [1_000_000, 999_999]);
        assert!(
            (1..20_000).contains(&(1_000_000 - times[2])),
            "no image is older than its capture: {times:?}"
        );
        assert_eq!(parts[0].part, Some(BioSubType::Left));
    }
}

#[test]
fn signing_and_status_do_not_wait_for_a_capture() {
    for line in LINES {
        let (host, end) = line();
        let mut capture = None;
        let mut honest = honest(Level::L1);
        // Answers the capture after the third request that came later.
        let script: Script = Box::new(move |role, ticket, request| {
            if matches!(request, Request::Capture(_)) {
                capture = Some((ticket, 3));
                return Vec::new();
            }
            let mut bytes = honest(role, ticket, request);
            if let Some((_, left)) = &mut capture {
                *left -= 1;
            }
            if let Some((ticket, _)) = capture.take_if(|(_, left)| *left == 0) {
                bytes.extend(role.respond(ticket, Ok(Response::Capture(captured(Level::L1, 4, 100)))));
            }
            bytes
        });
        let _thread = device(end, script);
        let (device, _events) = l1(host);
        let capturing = Arc::clone(&device);
        let capture = std::thread::spawn(move || capturing.capture(&slap(), &Cancel::new()));
        // Until the capture has been sent there is nothing to overtake.
        let mut rounds = 0;
        while !capture.is_finished() {
            assert_eq!(device.status(LONG).unwrap(), testing::report());
            assert!(device.signed_info(&info(), LONG).is_ok());
            rounds += 1;
            assert!(rounds < 10_000);
        }
        assert!(matches!(capture.join().unwrap(), Ok(CaptureOutcome::Done { .. })));
    }
}

#[test]
fn a_line_on_which_nobody_answers() {
    for line in LINES {
        let (host, _end) = line();
        let start = Instant::now();
        let error = factory().open(host, Box::new(|_| {}), SHORT).err().unwrap();
        assert_eq!(error.kind, DeviceErrorKind::TimedOut);
        assert!(error.message.contains("says nothing"), "{error}");
        assert!(start.elapsed() < LONG);
    }
}

#[test]
fn a_device_that_falls_silent_costs_each_call_its_time_limit() {
    for line in LINES {
        let (host, end) = line();
        let thread = device(end, honest_but(Level::L1, |r| (!matches!(r, Request::Hello(_))).then(Vec::new)));
        let (device, events) = l1(host);
        assert_eq!(kind(device.status(SHORT)), DeviceErrorKind::TimedOut);
        assert_eq!(kind(device.signed_info(&info(), SHORT)), DeviceErrorKind::TimedOut);
        let start = Instant::now();
        let job = testing::capture_job(&[], SHORT);
        assert_eq!(kind(device.capture(&job, &Cancel::new())), DeviceErrorKind::TimedOut);
        let took = start.elapsed();
        assert!(took >= SHORT + Duration::from_millis(1500) && took < Duration::from_secs(5), "{took:?}");
        drop(device);
        assert_eq!(events.iter().count(), 0, "silence is not the end of a line");
        let seen = thread.end();
        assert!(matches!(seen.last(), Some(Request::CaptureCancel { .. })), "{seen:?}");
    }
}

#[test]
fn a_capture_is_cancelled_at_once_even_when_the_device_is_silent() {
    for line in LINES {
        let (host, end) = line();
        let (captures, started) = channel();
        let thread = device(
            end,
            honest_but(Level::L0, move |request| match request {
                Request::Capture(_) => captures.send(()).ok().map(|()| Vec::new()),
                Request::CaptureCancel { .. } => Some(Vec::new()),
                _ => None,
            }),
        );
        let (device, _events) = l0(host);
        let rounds = [(); 3].map(|()| {
            let cancel = Cancel::new();
            let (capturing, flag) = (Arc::clone(&device), cancel.clone());
            let capture =
                std::thread::spawn(move || (kind(capturing.capture(&slap(), &flag)), Instant::now()));
            started.recv_timeout(LONG).unwrap();
            let start = Instant::now();
            cancel.cancel();
            let (result, end) = capture.join().unwrap();
            assert_eq!(result, DeviceErrorKind::Cancelled);
            assert_eq!(kind(device.capture(&slap(), &cancel)), DeviceErrorKind::Cancelled, "set already");
            end - start
        });
        // One of three, because a busy machine may hold up a thread for longer than that.
        assert!(rounds.iter().min() < Some(&Duration::from_millis(100)), "{rounds:?}");
        assert_eq!(device.status(LONG).unwrap(), testing::report(), "the line is as good as before");
        drop(device);
        let seen = thread.end();
        let cancels = seen.iter().filter(|r| matches!(r, Request::CaptureCancel { .. })).count();
        assert_eq!(cancels, 3, "{seen:?}");
    }
}

#[test]
fn a_device_that_does_not_read_is_given_up_in_time() {
    for line in LINES {
        let (host, mut end) = line();
        let opening = std::thread::spawn(move || {
            let (mut role, mut buffer) = (DeviceRole::new(), [0; 4096]);
            let length = end.read(&mut buffer, LONG).unwrap();
            let Some(Incoming::Request { ticket, .. }) = role.receive(&buffer[..length]).pop() else {
                panic!("no HELLO")
            };
            let answer = role.respond(ticket, Ok(Response::Hello(testing::description(Level::L1))));
            end.write_all(&answer, LONG).unwrap();
            end
        });
        let (device, events) = l1(host);
        let _deaf = opening.join().unwrap();
        let start = Instant::now();
        let certificate = vec![vec![0; 1_000_000]];
        assert_eq!(
            kind(device.install_encryption_certificate("", &certificate, SHORT)),
            DeviceErrorKind::TimedOut
        );
        assert!(start.elapsed() < LONG / 4);
        assert_eq!(gone(&events), DeviceErrorKind::TimedOut);
        assert_eq!(kind(device.status(LONG)), DeviceErrorKind::Gone);
    }
}

#[test]
fn what_is_left_on_the_line_is_passed_over() {
    for line in LINES {
        let (host, mut end) = line();
        // Half a frame of an earlier session, one of its answers and one of its events.
        let mut old = DeviceRole::new();
        let mut stale = old.event(Event::Frame(testing::frame(7, 1000)));
        let half = stale.split_off(stale.len() - 40);
        let mut line = half;
        line.extend(&stale);
        line.extend(old.event(Event::KeysChanged));
        end.write_all(&line, LONG).unwrap();
        let _thread = device(end, honest(Level::L1));
        let (device, events) = l1(host);
        assert_eq!(device.status(LONG).unwrap(), testing::report());
        assert!(events.try_recv().is_err());
    }
}

#[test]
fn something_else_at_the_other_end_is_not_a_device() {
    let (host, mut end) = pty_pair();
    end.write_all(b"login: ", LONG).unwrap();
    let chatter = std::thread::spawn(move || {
        while end.write_all(b"\r\nlogin: ", SHORT).is_ok() {
            assert!(!Cancel::new().wait(Duration::from_millis(5)));
        }
    });
    let error = factory().open(host, Box::new(|_| {}), SHORT).err().unwrap();
    assert!(
        error.kind == DeviceErrorKind::TimedOut && error.message.contains("is this a biotrust device"),
        "{error}"
    );
    drop(chatter);
}

#[test]
fn a_device_that_refuses_hello_says_why() {
    let (host, end) = memory_pair();
    let _thread = device(
        end,
        Box::new(|role, ticket, _| role.respond(ticket, Err((DeviceErrorKind::Tampered, "opened".into())))),
    );
    let error = factory().open(host, Box::new(|_| {}), LONG).err().unwrap();
    assert!(error.kind == DeviceErrorKind::Tampered && error.message.contains("opened"), "{error}");
}

#[test]
fn a_hello_that_was_lost_is_said_again() {
    let (host, end) = memory_pair();
    let mut hellos = 0;
    let thread = device(
        end,
        honest_but(Level::L0, move |request| {
            hellos += u32::from(matches!(request, Request::Hello(_)));
            (hellos == 1).then(Vec::new)
        }),
    );
    let (device, _events) = l0(host);
    assert_eq!(device.status(LONG).unwrap(), testing::report());
    drop(device);
    assert_eq!(thread.end().len(), 3);
}

#[test]
fn a_line_that_is_cut_in_the_middle_of_a_message_is_reported_once() {
    for line in LINES {
        let (host, end) = line();
        let mut honest = honest(Level::L0);
        let (mut pipe, mut role) = (end, DeviceRole::new());
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = pipe.read(&mut buffer, LONG) {
                for incoming in role.receive(&buffer[..length]) {
                    let Incoming::Request { ticket, request } = incoming else { panic!("refused") };
                    let capture = matches!(request, Request::Capture(_));
                    let bytes = honest(&mut role, ticket, request);
                    if capture {
                        pipe.write_all(&bytes[..bytes.len() / 2], LONG).unwrap();
                        return;
                    }
                    pipe.write_all(&bytes, LONG).unwrap();
                }
            }
        });
        let (device, events) = l0(host);
        assert_eq!(kind(device.capture(&slap(), &Cancel::new())), DeviceErrorKind::Gone);
        thread.join().unwrap();
        assert_eq!(gone(&events), DeviceErrorKind::Gone);
        assert_eq!(kind(device.status(LONG)), DeviceErrorKind::Gone);
    }
}

#[test]
fn a_device_that_answers_as_the_other_level_loses_its_line_and_no_other_does() {
    for (claimed, real) in [(Level::L0, Level::L1), (Level::L1, Level::L0)] {
        for line in LINES {
            let (host, end) = line();
            let mut as_real = honest(real);
            let script: Script = Box::new(move |role, ticket, request| match request {
                Request::Hello(_) => honest(claimed)(role, ticket, request),
                _ => as_real(role, ticket, request),
            });
            let _liar = device(end, script);
            let (neighbour_host, neighbour_end) = line();
            let _neighbour = device(neighbour_end, honest(Level::L0));
            let (neighbour, neighbour_events) = l0(neighbour_host);

            let (opened, events) = open(host);
            let refused = match &opened {
                Opened::L0(device) => kind(device.capture(&slap(), &Cancel::new())),
                Opened::L1(device) => kind(device.capture(&slap(), &Cancel::new())),
            };
            assert_eq!(refused, DeviceErrorKind::Protocol);
            assert_eq!(gone(&events), DeviceErrorKind::Protocol);
            assert_eq!(kind(opened.device().status(LONG)), DeviceErrorKind::Gone);
            assert!(neighbour.capture(&slap(), &Cancel::new()).is_ok());
            assert!(neighbour_events.try_recv().is_err());
        }
    }
}

#[test]
fn a_late_answer_is_not_taken_for_the_next_one() {
    let (host, end) = memory_pair();
    let mut late = None;
    let script: Script = Box::new(move |role, ticket, request| match request {
        Request::Status if late.is_none() => {
            late = Some(ticket);
            Vec::new()
        }
        Request::Status => {
            let wrong = biotrust_driver_api::SelfReport { status: DeviceStatus::Busy, reason: "late".into() };
            let mut bytes =
                late.take().map_or_else(Vec::new, |old| role.respond(old, Ok(Response::Status(wrong))));
            bytes.extend(role.respond(ticket, Ok(Response::Status(testing::report()))));
            bytes
        }
        _ => honest(Level::L0)(role, ticket, request),
    });
    let _thread = device(end, script);
    let (device, _events) = l0(host);
    assert_eq!(kind(device.status(SHORT)), DeviceErrorKind::TimedOut);
    assert_eq!(device.status(LONG).unwrap(), testing::report());
}

#[test]
fn a_flood_is_held_back_and_answers_still_come() {
    // Longer than the driver ever pauses.
    const PATIENCE: Duration = Duration::from_secs(3);
    for line in LINES {
        let (host, mut end) = line();
        let thread = std::thread::spawn(move || {
            let (mut role, mut buffer, mut honest, mut flooding) =
                (DeviceRole::new(), [0; 4096], honest(Level::L0), false);
            let mut sent = 0u64;
            loop {
                match end.read(&mut buffer, if flooding { Duration::ZERO } else { LONG }) {
                    Ok(length) => {
                        for incoming in role.receive(&buffer[..length]) {
                            let Incoming::Request { ticket, request } = incoming else { panic!("refused") };
                            flooding |= matches!(request, Request::StreamStart(_));
                            let answer = honest(&mut role, ticket, request);
                            if end.write_all(&answer, PATIENCE).is_err() {
                                return sent;
                            }
                        }
                    }
                    Err(error) if error.kind == PipeErrorKind::TimedOut && flooding => {}
                    Err(_) => return sent,
                }
                if flooding {
                    sent += 1;
                    let frame = role.event(Event::Frame(testing::frame(sent, 2000)));
                    if end.write_all(&frame, PATIENCE).is_err() {
                        return sent;
                    }
                }
            }
        });
        let (device, events) = l0(host);
        device.start_stream(StreamJob { sub_id: SubId(1), fps: 30 }, LONG).unwrap();
        let start = Instant::now();
        assert_eq!(device.status(LONG).unwrap(), testing::report());
        assert!(!Cancel::new().wait(Duration::from_millis(500)));
        let seconds = start.elapsed().as_secs_f64().ceil() as usize + 1;
        let came = events.try_iter().count();
        drop(device);
        let sent = thread.join().unwrap();
        // What was sent and has not come must be what the line itself holds, about 64 kB each way: nothing is queued.
        assert!(came <= seconds * 250, "{came} events in {seconds} s");
        assert!(sent < came as u64 + 250, "{sent} sent, {came} came");
    }
}

/// One of each that a device can send without end and that is no event: a kilobyte that makes sense to nobody.
fn nonsense() -> Vec<(&'static str, Vec<u8>)> {
    let line = |vendor: u32, kind, op, owner| {
        let header = [&[0x7F][..], &vendor.to_be_bytes(), &[VERSION, kind, op, 0, 0xEE, 0xEE, 0, 0]].concat();
        let tag = Tag { value: 3, owner };
        let route = Route { source: DEVICE_EID, destination: HOST_EID, tag };
        mctp::encode(route, &[header.as_slice(), &[0; 1000]].concat())
    };
    let whole = line(ENTERPRISE_NUMBER, 1, Op::Status.code(), false);
    let first_packet = 2 + whole[1..].iter().position(|byte| *byte == 0x7E).unwrap();
    vec![
        ("an event of no known kind", line(ENTERPRISE_NUMBER, 3, 0x99, true)),
        ("a request", line(ENTERPRISE_NUMBER, 0, Op::Status.code(), true)),
        ("a message of another vendor", line(1, 3, 1, true)),
        ("the beginning of a message", whole[..first_packet].to_vec()),
        ("an answer to nobody", whole),
    ]
}

/// Answers until the first STATUS, then sends `flood` for as long as somebody takes it; ends with how often.
fn flooding(mut end: Box<dyn Pipe>, flood: Vec<u8>) -> JoinHandle<usize> {
    std::thread::spawn(move || {
        let (mut role, mut buffer, mut honest) = (DeviceRole::new(), [0; 4096], honest(Level::L0));
        let mut asked = false;
        while !asked {
            let length = end.read(&mut buffer, LONG).unwrap();
            for incoming in role.receive(&buffer[..length]) {
                let Incoming::Request { ticket, request } = incoming else { panic!("refused") };
                asked = matches!(request, Request::Status);
                end.write_all(&honest(&mut role, ticket, request), LONG).unwrap();
            }
        }
        std::iter::from_fn(|| end.write_all(&flood, LONG).ok()).count()
    })
}

#[test]
fn a_flood_of_nonsense_is_held_back_too() {
    for (what, message) in nonsense() {
        let (host, end) = memory_pair();
        let length = message.len();
        let thread = flooding(end, message);
        let (device, events) = l0(host);
        device.status(LONG).unwrap();
        let start = Instant::now();
        assert!(!Cancel::new().wait(Duration::from_millis(500)));
        drop(device);
        let sent = thread.join().unwrap();
        let seconds = start.elapsed().as_secs_f64().ceil() as usize + 1;
        // What is taken in a second, what is read at once, and what the line holds.
        let most = seconds * (150 + 4096 / length) + CHANNEL_ROOM / length + 1;
        assert!((150..=most).contains(&sent), "{what}: {sent} were taken in {seconds} s, not {most}");
        assert_eq!(events.iter().count(), 0);
    }
}

#[test]
fn a_flood_in_place_of_a_hello_is_held_back_until_the_time_limit() {
    for (what, message) in nonsense() {
        let (host, mut end) = memory_pair();
        let length = message.len();
        let thread =
            std::thread::spawn(move || std::iter::from_fn(|| end.write_all(&message, LONG).ok()).count());
        let start = Instant::now();
        let error = factory().open(host, Box::new(|_| {}), Duration::from_millis(500)).err().unwrap();
        assert_eq!(error.kind, DeviceErrorKind::TimedOut);
        let sent = thread.join().unwrap();
        let seconds = start.elapsed().as_secs_f64().ceil() as usize + 1;
        let most = seconds * (150 + 4096 / length) + CHANNEL_ROOM / length + 1;
        assert!((150..=most).contains(&sent), "{what}: {sent} were taken in {seconds} s, not {most}");
    }
}

#[test]
fn a_flood_of_packets_for_somebody_else_is_held_back_by_its_bytes() {
    let route = Route { source: DEVICE_EID, destination: 77, tag: Tag { value: 0, owner: true } };
    let flood = mctp::encode(route, &[0; 30_000]);
    let (host, end) = memory_pair();
    let length = flood.len();
    let thread = flooding(end, flood);
    let (device, _events) = l0(host);
    device.status(LONG).unwrap();
    let start = Instant::now();
    assert!(!Cancel::new().wait(Duration::from_millis(1500)));
    drop(device);
    let sent = length * thread.join().unwrap();
    let seconds = start.elapsed().as_secs_f64().ceil() as usize + 1;
    let most = seconds * 16 * 1024 * 1024 + 2 * CHANNEL_ROOM;
    assert!(sent <= most, "{sent} bytes were taken in {seconds} s, not {most}");
}

#[test]
fn frames_that_nobody_wants_are_not_passed_on() {
    let (host, end) = memory_pair();
    let mut honest = honest(Level::L0);
    let script: Script = Box::new(move |role, ticket, request| {
        let mut bytes = role.event(Event::Frame(testing::frame(1, 10)));
        bytes.extend(role.event(Event::Status(testing::report())));
        bytes.extend(role.event(Event::KeysChanged));
        bytes.extend(honest(role, ticket, request));
        bytes
    });
    let _thread = device(end, script);
    let (device, events) = l0(host);
    device.status(LONG).unwrap();
    let seen: Vec<DeviceEvent> = events.try_iter().collect();
    assert!(matches!(seen[..], [DeviceEvent::Status(_), DeviceEvent::KeysChanged]), "{seen:?}");
}

#[test]
fn dropping_the_handle_ends_the_thread_quiets_the_device_and_frees_the_line() {
    for line in LINES {
        let (host, end) = line();
        let thread = device(end, honest(Level::L1));
        let (device, events) = l1(host);
        device.start_stream(StreamJob { sub_id: SubId(1), fps: 15 }, LONG).unwrap();
        drop(device);
        // The sink is dropped with the line, and the line with the thread.
        assert!(events.iter().all(|event| matches!(event, DeviceEvent::Frame(_))));
        let seen = thread.end();
        assert!(matches!(seen.last(), Some(Request::StreamStop)), "{seen:?}");
    }
}

#[test]
fn a_pseudo_terminal_is_opened_again_while_the_device_still_streams() {
    let end = pty::open_pair().unwrap();
    let path = end.slave_path().to_owned();
    let mut pusher = end.try_clone().unwrap();
    let thread = device(Box::new(end), honest(Level::L0));
    let first = l0(Box::new(SerialPipe::open(&path).unwrap()));
    first.0.start_stream(StreamJob { sub_id: SubId(1), fps: 15 }, LONG).unwrap();
    drop(first);
    // As after a host that was killed: the device has filled the line with frames that nobody took.
    let frames = DeviceRole::new().event(Event::Frame(testing::frame(1, 1_000_000)));
    assert!(pusher.write_all(&frames, SHORT).is_err());
    let (second, events) = l0(Box::new(SerialPipe::open(&path).unwrap()));
    assert_eq!(second.status(LONG).unwrap(), testing::report());
    assert!(events.try_recv().is_err());
    drop(thread);
}
