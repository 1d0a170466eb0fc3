//! The recorded device on a USB bus.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use biosim_usbip::{Control, Descriptors, Identity, Reply, Speed, UsbDevice};
use biotrust_driver_api::EndpointKind;
use biotrust_pipe::record::{Op, Recording, Request};

use super::script::{Progress, ReplayError, Script, same};

/// How far ahead a question is looked for that comes sooner than it did.
const AHEAD: usize = 64;

/// Plays a recording of a USB device.
pub struct UsbReplay {
    script: Script,
    descriptors: Descriptors,
    /// What the device has said and the host has not fetched yet, by endpoint.
    ready: BTreeMap<u8, VecDeque<Said>>,
    /// Endpoints at which a transfer has ended that is a whole number of packets: an empty one tells the host so.
    ended: BTreeSet<u8>,
    /// The last control request and its answer, for a host that asks again.
    last: Option<(Request, Reply)>,
    /// A step that was never answered, and until when it is not.
    silent: Option<Instant>,
}

enum Said {
    Data(Vec<u8>),
    Stall,
    Gone,
}

/// What the host does.
enum Done<'a> {
    Out { endpoint: u8, data: &'a [u8] },
    ControlIn(Request),
    ControlOut(Request, &'a [u8]),
}

impl Done<'_> {
    fn is(&self, step: &super::script::Step) -> bool {
        match (self, &step.entry.op) {
            (Self::Out { endpoint, data }, Op::Out { endpoint: e, data: recorded }) => {
                endpoint == e && same(&step.entry, data, &recorded.0)
            }
            (Self::ControlIn(request), Op::ControlIn { setup, .. }) => request == setup,
            (Self::ControlOut(request, data), Op::ControlOut { setup, data: recorded }) => {
                request == setup && same(&step.entry, data, &recorded.0)
            }
            _ => false,
        }
    }

    fn told(&self) -> String {
        match self {
            Self::Out { endpoint, data } => format!("the host wrote {} bytes to {endpoint:02x}h", data.len()),
            Self::ControlIn(request) => format!("the host asked for {request:?}"),
            Self::ControlOut(request, data) => {
                format!("the host sent {request:?} with {}", super::script::some(data))
            }
        }
    }
}

impl UsbReplay {
    /// At the beginning of `recording`.
    ///
    /// # Errors
    /// When it is of another bus, without contents, or does not say what the device is.
    pub fn new(recording: Recording) -> Result<Self, ReplayError> {
        let usb = recording.header.usb.clone();
        let usb = usb.ok_or_else(|| ReplayError::Identity("there are no ids".into()))?;
        let interfaces = recording.header.interfaces();
        if interfaces.is_empty() {
            return Err(ReplayError::Identity("there are no interfaces".into()));
        }
        let fits_full_speed = |e: &biotrust_driver_api::Endpoint| e.max_packet <= 64;
        let full = interfaces.iter().flat_map(|i| &i.endpoints).all(fits_full_speed);
        let is_bulk = |e: &biotrust_driver_api::Endpoint| e.kind == EndpointKind::Bulk && e.max_packet == 512;
        let high = interfaces.iter().flat_map(|i| &i.endpoints).any(is_bulk);
        let speed = if full && !high { Speed::Full } else { Speed::High };
        let identity = Identity {
            vendor: usb.vendor,
            product: usb.product,
            release: usb.release,
            class: [0; 3],
            manufacturer: usb.manufacturer,
            name: usb.name,
            serial: "REPLAY".into(),
        };
        let functions: Vec<_> = interfaces.into_iter().map(Into::into).collect();
        let descriptors = Descriptors::new(speed, &identity, &functions);
        let script = Script::new(recording, "usb")?;
        Ok(Self {
            script,
            descriptors,
            ready: BTreeMap::new(),
            ended: BTreeSet::new(),
            last: None,
            silent: None,
        })
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.script.progress.clone()
    }

    /// The device says what is due, or all that comes before the host's next turn.
    fn speak(&mut self, now: Instant, hurried: bool) {
        while self.script.due().is_some_and(|due| hurried || due <= now) {
            let Some(step) = self.script.done(now) else { return };
            let said = match step.failed() {
                None => None,
                Some("stalled") => Some(Said::Stall),
                Some("gone") => Some(Said::Gone),
                // What else went wrong on the wire cannot be done again.
                Some(_) => continue,
            };
            if let Op::In { endpoint, data } = step.entry.op {
                self.ready.entry(endpoint).or_default().push_back(said.unwrap_or(Said::Data(data.0)));
            }
        }
    }

    /// The host's turn.
    fn turn(&mut self, done: &Done<'_>, now: Instant) -> Reply {
        self.speak(now, false);
        // The same question again: more of them than there were.
        let request = match done {
            Done::ControlIn(request) | Done::ControlOut(request, _) => Some(*request),
            Done::Out { .. } => None,
        };
        if let Some((last, answer)) = &self.last
            && request == Some(*last)
            && matches!(done, Done::ControlIn(_))
            && !self.upcoming().any(|step| done.is(step))
        {
            return answer.clone();
        }
        if self.script.progress != Progress::Running {
            self.script.diverged(done.told());
            return Reply::Stall;
        }
        if !self.upcoming().any(|step| done.is(step)) {
            self.script.diverged(done.told());
            return Reply::Stall;
        }
        self.pass_over_to(done, now)
    }

    /// The host's steps among which its next one is: those that only ask, or failed for want of an answer, may be left
    /// out.
    fn upcoming(&self) -> impl Iterator<Item = &super::script::Step> {
        let mut over = false;
        self.script.ahead().take(AHEAD).filter(|step| !step.is_of_device()).take_while(move |step| {
            let here = !over;
            over |= !matches!(step.entry.op, Op::ControlIn { .. }) && step.failed() != Some("timed-out");
            here
        })
    }

    fn pass_over_to(&mut self, done: &Done<'_>, now: Instant) -> Reply {
        loop {
            self.speak(now, true);
            let Some(step) = self.script.next() else { return Reply::Nak };
            if !done.is(step) {
                self.script.done(now);
                continue;
            }
            if step.failed() == Some("timed-out") {
                // Not answered, for about as long as the host waited then.
                let until = *self.silent.get_or_insert(now + Duration::from_millis(50));
                if now < until {
                    return Reply::Nak;
                }
                self.silent = None;
                self.script.done(now);
                continue;
            }
            let Some(step) = self.script.done(now) else { return Reply::Nak };
            let reply = match (step.failed(), &step.entry.op) {
                (Some("gone"), _) => {
                    self.script.progress = Progress::Gone;
                    Reply::Disconnect
                }
                (Some(_), _) => Reply::Stall,
                (None, Op::ControlIn { data, .. }) => Reply::Data(data.0.clone()),
                (None, _) => Reply::Ack,
            };
            if let Done::ControlIn(request) | Done::ControlOut(request, _) = done {
                self.last = Some((*request, reply.clone()));
            }
            return reply;
        }
    }
}

impl UsbDevice for UsbReplay {
    fn descriptors(&self) -> &Descriptors {
        &self.descriptors
    }

    fn control(&mut self, request: Control<'_>, now: Instant) -> Reply {
        let setup = Request::from(request.setup());
        match request {
            Control::In { .. } => self.turn(&Done::ControlIn(setup), now),
            Control::Out { data, .. } => self.turn(&Done::ControlOut(setup, data), now),
        }
    }

    fn write(&mut self, endpoint: u8, data: &[u8], now: Instant) -> Reply {
        self.turn(&Done::Out { endpoint, data }, now)
    }

    fn read(&mut self, endpoint: u8, room: usize, now: Instant) -> Reply {
        if self.ended.remove(&endpoint) {
            return Reply::Ack;
        }
        self.speak(now, false);
        let packet = self.descriptors.endpoint(endpoint).map_or(64, |e| usize::from(e.max_packet).max(1));
        let Some(queue) = self.ready.get_mut(&endpoint) else { return Reply::Nak };
        match queue.pop_front() {
            None => Reply::Nak,
            Some(Said::Stall) => Reply::Stall,
            Some(Said::Gone) => {
                self.script.progress = Progress::Gone;
                Reply::Disconnect
            }
            Some(Said::Data(mut data)) => {
                if data.len() > room {
                    let rest = data.split_off(room);
                    queue.push_front(Said::Data(rest));
                }
                if data.is_empty() {
                    return Reply::Ack;
                }
                if data.len() < room && data.len().is_multiple_of(packet) {
                    self.ended.insert(endpoint);
                }
                Reply::Data(data)
            }
        }
    }

    fn reset(&mut self, now: Instant) {
        self.ended.clear();
        self.script.begin(now);
    }

    fn next_event(&self) -> Option<Instant> {
        self.script.due().into_iter().chain(self.silent).min()
    }
}
