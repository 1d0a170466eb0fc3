//! A line to a trust module beside a sensor: it carries SPDM and nothing else, one question at a time.
//!
//! [`ModuleRole`] is the host's end without I/O; [`ModuleLine`] puts it on a port. The module's end is the
//! [`DeviceRole`](crate::DeviceRole), which answers SPDM without a HELLO. Nothing that comes is trusted beyond being the
//! answer to the question that is open; [`ModuleLine::ask`] blocks within its time limit.

use std::time::{Duration, Instant};

use biotrust_driver_api::{DeviceError, DeviceErrorKind, Found, PipeErrorKind, Port};
use biotrust_pipe::recover::Resets;
use zeroize::Zeroizing;

use crate::LinkError;
use crate::driver::{READ_ROOM, Transport, from_pipe, write};
use crate::mctp::{self, DEVICE_EID, Framing, HOST_EID, Receiver, Route, Tag, hid};

/// Tags that questions take in turn, so that a late answer is not taken for the next one.
const TAGS: u8 = 8;
/// Bytes of an earlier session that are thrown away at most when a line is opened.
const MAX_LEFT_OVER: usize = 256 * 1024;

/// The host's end, without I/O.
pub struct ModuleRole {
    framing: Framing,
    receiver: Receiver,
    /// Tag of the last question.
    tag: u8,
    is_open: bool,
}

impl ModuleRole {
    /// Before the first question.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self { framing, receiver: Receiver::new(framing, HOST_EID), tag: 0, is_open: false }
    }

    /// The bytes to send for an SPDM message. The answer to an earlier one is not waited for any more.
    ///
    /// # Errors
    /// [`LinkError::TooLong`].
    pub fn ask(&mut self, message: &[u8]) -> Result<Vec<u8>, LinkError> {
        check_length(message)?;
        self.tag = (self.tag + 1) % TAGS;
        self.is_open = true;
        let tag = Tag { value: self.tag, owner: true };
        let route = Route { source: HOST_EID, destination: DEVICE_EID, tag };
        Ok(mctp::encode(self.framing, route, &mctp::spdm(message)))
    }

    /// Takes in what one read brought; gives the answer when it is complete. Whatever else comes is dropped.
    ///
    /// # Errors
    /// The first breach of the protocol; the line is then to be closed.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, LinkError> {
        let mut answer = None;
        for message in self.receiver.push(bytes) {
            let message = message?;
            let Route { source, tag, .. } = message.route;
            let is_it = self.is_open && source == DEVICE_EID && !tag.owner && tag.value == self.tag;
            if let Some(spdm) = mctp::as_spdm(&message.bytes).filter(|_| is_it) {
                check_length(spdm)?;
                self.is_open = false;
                answer = Some(Zeroizing::new(spdm.to_vec()));
            }
        }
        Ok(answer)
    }
}

fn check_length(message: &[u8]) -> Result<(), LinkError> {
    let limit = biotrust_spdm::MAX_MESSAGE;
    if message.len() > limit { Err(LinkError::TooLong { limit }) } else { Ok(()) }
}

/// An open line to a module.
pub struct ModuleLine {
    transport: Transport,
    role: ModuleRole,
}

impl ModuleLine {
    /// Makes one of `port`; `found` tells the speed of a serial line. Nothing is said yet.
    ///
    /// # Errors
    /// `Unsupported` when no module can be behind the port; `Gone`.
    pub fn open(port: Port, found: &Found) -> Result<Self, DeviceError> {
        let mut transport = Transport::over(port, found, &Resets::default(), hid::USAGE_MODULE)?;
        let mut buffer = [0; READ_ROOM];
        let mut left_over = 0;
        while left_over < MAX_LEFT_OVER {
            match transport.pipe.read(&mut buffer, Duration::ZERO) {
                Ok(length) => left_over += length,
                Err(error) if error.kind == PipeErrorKind::TimedOut => break,
                Err(error) => return Err(from_pipe(error)),
            }
        }
        let role = ModuleRole::new(transport.framing);
        Ok(Self { transport, role })
    }

    /// Name of the port.
    #[must_use]
    pub fn name(&self) -> &str {
        self.transport.pipe.name()
    }

    /// Sends an SPDM message and waits for its answer.
    ///
    /// # Errors
    /// `TimedOut`: the next question may be asked all the same, unless the module does not even read; after any other
    /// error the line is to be closed.
    pub fn ask(&mut self, message: &[u8], deadline: Instant) -> Result<Zeroizing<Vec<u8>>, DeviceError> {
        let Self { transport: Transport { pipe, framing, rescue }, role } = self;
        let name = pipe.name().to_owned();
        let question = role.ask(message).map_err(|e| e.on(&name))?;
        write(pipe.as_mut(), *framing, &question, deadline).map_err(from_pipe)?;
        let mut buffer = Zeroizing::new([0; READ_ROOM]);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let length = match pipe.read(buffer.as_mut(), left) {
                Ok(length) => length,
                Err(error) if error.kind == PipeErrorKind::TimedOut => {
                    rescue.no_answer().map_err(from_pipe)?;
                    let why = format!("{name}: no answer of the trust module in time");
                    return Err(DeviceError::new(DeviceErrorKind::TimedOut, why));
                }
                Err(error) => return Err(from_pipe(error)),
            };
            let read = buffer.get(..length).unwrap_or_default();
            if let Some(answer) = role.receive(read).map_err(|e| e.on(&name))? {
                return Ok(answer);
            }
            if left.is_zero() {
                // Something keeps coming, and it is not the answer.
                let why = format!("{name}: no answer of the trust module in time");
                return Err(DeviceError::new(DeviceErrorKind::TimedOut, why));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{DeviceRole, Incoming, SpdmTicket};
    use crate::host::HostRole;
    use crate::message::{Request, VERSION};
    use biotrust_driver_api::Pipe as _;
    use biotrust_pipe::{SerialPipe, pty};
    use proptest::prelude::*;

    fn question(incoming: Vec<Incoming>) -> (SpdmTicket, Vec<u8>) {
        match incoming.into_iter().next() {
            Some(Incoming::Spdm { ticket, message }) => (ticket, message.to_vec()),
            other => panic!("{other:?}"),
        }
    }

    /// What `role` makes of the bytes of the device, unit by unit.
    fn receive(role: &mut ModuleRole, framing: Framing, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut answer = None;
        for transfer in framing.transfers(bytes) {
            answer = role.receive(&transfer).unwrap().or(answer);
        }
        answer.map(|answer| answer.to_vec())
    }

    #[test]
    fn questions_and_answers_of_all_sizes_in_all_framings() {
        for framing in [Framing::Serial, Framing::Usb, Framing::Hid] {
            let (mut host, mut module) = (ModuleRole::new(framing), DeviceRole::over(framing));
            for length in [1, 4, 246, 247, 251, 5000, biotrust_spdm::MAX_MESSAGE] {
                let message: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
                let line = host.ask(&message).unwrap();
                let mut came = Vec::new();
                for transfer in framing.transfers(&line) {
                    came.extend(module.receive(&transfer));
                }
                let (ticket, asked) = question(came);
                assert_eq!(asked, message);
                let answer = module.respond_spdm(ticket, &message);
                assert_eq!(receive(&mut host, framing, &answer), Some(message), "{framing:?} {length}");
                assert_eq!(receive(&mut host, framing, &answer), None, "it is answered");
            }
            let long = vec![0; biotrust_spdm::MAX_MESSAGE + 1];
            assert!(matches!(host.ask(&long), Err(LinkError::TooLong { .. })));
        }
    }

    #[test]
    fn a_late_answer_is_not_the_next_one() {
        let (mut host, mut module) = (ModuleRole::new(Framing::Serial), DeviceRole::new());
        let (ticket, _) = question(module.receive(&host.ask(b"first").unwrap()));
        let late = module.respond_spdm(ticket, b"one");
        let (ticket, _) = question(module.receive(&host.ask(b"second").unwrap()));
        assert_eq!(receive(&mut host, Framing::Serial, &late), None);
        let answer = module.respond_spdm(ticket, b"two");
        assert_eq!(receive(&mut host, Framing::Serial, &answer), Some(b"two".to_vec()));
    }

    #[test]
    fn answers_of_others_and_questions_are_passed_over() {
        let mut host = ModuleRole::new(Framing::Serial);
        host.ask(b"asked").unwrap();
        let from = |source, value, owner| {
            let route = Route { source, destination: HOST_EID, tag: Tag { value, owner } };
            mctp::encode(Framing::Serial, route, &mctp::spdm(b"x"))
        };
        for other in [from(77, 1, false), from(DEVICE_EID, 2, false), from(DEVICE_EID, 1, true)] {
            assert_eq!(receive(&mut host, Framing::Serial, &other), None);
        }
        assert_eq!(receive(&mut host, Framing::Serial, &from(DEVICE_EID, 1, false)), Some(b"x".to_vec()));
    }

    #[test]
    fn a_module_that_is_greeted_as_a_device_says_what_it_is() {
        let (mut host, mut module) = (HostRole::new(1), DeviceRole::new());
        let (_, hello) = host.request(Request::Hello(VERSION)).unwrap();
        let Some(Incoming::Request { ticket, .. }) = module.receive(&hello).pop() else { panic!() };
        let refusal = module.respond(ticket, Err((DeviceErrorKind::Unsupported, "a trust module".into())));
        let mut received = Vec::new();
        host.receive(&refusal, &mut received).unwrap();
        assert!(matches!(&received[..], [crate::Received::Response { result: Err(_), .. }]));
    }

    #[test]
    fn a_line_is_emptied_when_it_is_opened_and_a_silent_module_costs_its_time_limit() {
        let mut end = pty::open_pair().unwrap();
        let host = SerialPipe::open(end.slave_path()).unwrap();
        let mut stale = DeviceRole::new();
        let (ticket, _) = question(stale.receive(&ModuleRole::new(Framing::Serial).ask(b"before").unwrap()));
        end.write_all(&stale.respond_spdm(ticket, b"stale"), Duration::from_secs(1)).unwrap();
        let mut line =
            ModuleLine::open(Port::Serial(Box::new(host)), &Found::line(end.slave_path())).unwrap();
        let start = Instant::now();
        let error = line.ask(b"now", start + Duration::from_millis(100)).unwrap_err();
        assert_eq!(error.kind, DeviceErrorKind::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(2));
        // The line is good for the next question, and the late answer is not taken for its answer.
        let mut module = DeviceRole::new();
        let mut answer = move |text: &'static [u8]| {
            let mut buffer = [0; 100];
            let length = end.read(&mut buffer, Duration::from_secs(5)).unwrap();
            let (ticket, _) = question(module.receive(&buffer[..length]));
            end.write_all(&module.respond_spdm(ticket, text), Duration::from_secs(5)).unwrap();
        };
        answer(b"late");
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            answer(b"yes");
            // Until then the line is not hung up.
            let _ = wait.recv();
        });
        assert_eq!(&line.ask(b"again", Instant::now() + Duration::from_secs(5)).unwrap()[..], b"yes");
        drop(done);
        thread.join().unwrap();
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            for framing in [Framing::Serial, Framing::Usb, Framing::Hid] {
                let mut host = ModuleRole::new(framing);
                host.ask(b"x").unwrap();
                let _ = host.receive(&bytes);
            }
        }
    }
}
