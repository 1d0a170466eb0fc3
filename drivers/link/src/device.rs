//! The device's end of a link: bytes to requests, responses and events to bytes.
//!
//! Pure: the caller does the I/O. It trusts nothing that the host sends; a request that cannot be read is refused, a
//! frame that cannot be read is dropped. A [`Ticket`] stands for one open request and is used up by answering.

use std::collections::HashMap;

use biotrust_driver_api::DeviceErrorKind;
use zeroize::Zeroizing;

use biotrust_spdm::{Responder, message::ErrorCode};

use crate::LinkError;
use crate::mctp::{self, Assembled, DEVICE_EID, Framing, HOST_EID, Receiver, Route, Tag};
use crate::message::{self, Event, Header, Kind, Op, Parsed, Request, Response, VERSION};

/// Requests that may be open at once; more are refused as Busy.
const MAX_OPEN: usize = 16;

/// The right to answer one request, once.
#[derive(Debug)]
pub struct Ticket {
    id: u32,
    session: u64,
}

impl Ticket {
    /// Id of the request, as CAPTURE_CANCEL names it.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }
}

/// The right to answer one SPDM message, once.
#[derive(Debug)]
pub struct SpdmTicket {
    session: u64,
}

/// What came from the host.
#[derive(Debug)]
pub enum Incoming {
    /// A request to be answered with [`DeviceRole::respond`]. After HELLO all earlier tickets are void: stop the
    /// preview and cancel the capture.
    Request {
        /// For the answer.
        ticket: Ticket,
        /// What is asked.
        request: Request,
    },
    /// An SPDM message, to be answered with [`DeviceRole::respond_spdm`] and what `biotrust_spdm::Responder` says. Until
    /// then others are refused as busy.
    Spdm {
        /// For the answer.
        ticket: SpdmTicket,
        /// The SPDM message.
        message: Zeroizing<Vec<u8>>,
    },
    /// Bytes to send now: the refusal of a request that could not be passed on.
    Reply(Vec<u8>),
}

struct Open {
    op: Op,
    tag: u8,
}

/// The device's end of a link.
pub struct DeviceRole {
    framing: Framing,
    receiver: Receiver,
    open: HashMap<u32, Open>,
    /// Tag of the SPDM message that is being answered.
    spdm: Option<u8>,
    session: u64,
    next_event_tag: u8,
}

impl Default for DeviceRole {
    fn default() -> Self {
        Self::new()
    }
}

impl DeviceRole {
    /// A role before the first HELLO.
    #[must_use]
    pub fn new() -> Self {
        Self::over(Framing::Serial)
    }

    /// As [`Self::new`], over another bus than a serial line.
    #[must_use]
    pub fn over(framing: Framing) -> Self {
        Self {
            framing,
            receiver: Receiver::new(framing, DEVICE_EID),
            open: HashMap::new(),
            spdm: None,
            session: 0,
            next_event_tag: 0,
        }
    }

    /// Takes in what one read brought from the line. Noise and messages that are too long are dropped: the host will ask again.
    #[must_use]
    pub fn receive(&mut self, bytes: &[u8]) -> Vec<Incoming> {
        let messages = self.receiver.push(bytes);
        messages.into_iter().filter_map(|message| self.accept(&message.ok()?)).collect()
    }

    fn accept(&mut self, message: &Assembled) -> Option<Incoming> {
        if message.route.source != HOST_EID {
            return None;
        }
        if let Some(message_of_spdm) = mctp::as_spdm(&message.bytes) {
            return self.accept_spdm(message.route.tag, message_of_spdm);
        }
        let Ok(Some(Parsed { header: Header { kind: Kind::Request, op, id }, body })) =
            message::parse(&message.bytes)
        else {
            return None;
        };
        if self.open.contains_key(&id) {
            // An answer could not be told from that of the first request with this id.
            return None;
        }
        let tag = message.route.tag.value;
        match message::decode_request(op, body) {
            Ok(Some(Request::Hello(version))) if version != VERSION => {
                let why = format!("this device speaks version {VERSION} of the link protocol");
                Some(Incoming::Reply(self.refusal(op, id, tag, DeviceErrorKind::Unsupported, &why)))
            }
            Ok(Some(request)) => {
                if request.op() == Op::Hello {
                    self.session += 1;
                    self.open.clear();
                    self.spdm = None;
                }
                if self.open.len() >= MAX_OPEN {
                    let why = "too many requests are open";
                    return Some(Incoming::Reply(self.refusal(op, id, tag, DeviceErrorKind::Busy, why)));
                }
                self.open.insert(id, Open { op: request.op(), tag });
                Some(Incoming::Request { ticket: Ticket { id, session: self.session }, request })
            }
            Ok(None) => {
                let why = format!("operation {op:#04x} is not known");
                Some(Incoming::Reply(self.refusal(op, id, tag, DeviceErrorKind::Unsupported, &why)))
            }
            Err(error) => {
                let why = error.to_string();
                Some(Incoming::Reply(self.refusal(op, id, tag, DeviceErrorKind::Protocol, &why)))
            }
        }
    }

    fn accept_spdm(&mut self, tag: Tag, message: &[u8]) -> Option<Incoming> {
        if !tag.owner {
            // An answer, and a device asks nothing.
            return None;
        }
        let refuse = |code| {
            Some(Incoming::Reply(self.to_host(tag.value, false, &mctp::spdm(&Responder::error(code)))))
        };
        if message.len() > biotrust_spdm::MAX_MESSAGE {
            return refuse(ErrorCode::REQUEST_TOO_LARGE);
        }
        if self.spdm.is_some() {
            return refuse(ErrorCode::BUSY);
        }
        self.spdm = Some(tag.value);
        let message = Zeroizing::new(message.to_vec());
        Some(Incoming::Spdm { ticket: SpdmTicket { session: self.session }, message })
    }

    /// The bytes of the answer to the SPDM message of `ticket`; none when a HELLO came since. An answer over the size
    /// limit becomes an ERROR, so that the host is never left waiting.
    #[must_use]
    pub fn respond_spdm(&mut self, ticket: SpdmTicket, answer: &[u8]) -> Vec<u8> {
        if ticket.session != self.session {
            return Vec::new();
        }
        let Some(tag) = self.spdm.take() else { return Vec::new() };
        if answer.len() > biotrust_spdm::MAX_MESSAGE {
            let error = Responder::error(ErrorCode::RESPONSE_TOO_LARGE);
            return self.to_host(tag, false, &mctp::spdm(&error));
        }
        self.to_host(tag, false, &mctp::spdm(answer))
    }

    /// The bytes that say that this device has no trust module.
    #[must_use]
    pub fn refuse_spdm(&mut self, ticket: SpdmTicket) -> Vec<u8> {
        self.respond_spdm(ticket, &Responder::error(ErrorCode::UNSUPPORTED_REQUEST))
    }

    /// The bytes of the answer to the request of `ticket`; none when a HELLO came since. A response that does not fit
    /// the request or the size limit becomes an error of kind Internal, so that the host is never left waiting.
    #[must_use]
    pub fn respond(
        &mut self,
        ticket: Ticket,
        result: Result<Response, (DeviceErrorKind, String)>,
    ) -> Vec<u8> {
        if ticket.session != self.session {
            return Vec::new();
        }
        let Some(Open { op, tag }) = self.open.remove(&ticket.id) else { return Vec::new() };
        let (kind, why) = match result {
            Ok(response) if response.op() == op => match message::encode_response(ticket.id, response) {
                Ok(message) => return self.to_host(tag, false, &message),
                Err(error) => (DeviceErrorKind::Internal, error.to_string()),
            },
            Ok(response) => (
                DeviceErrorKind::Internal,
                format!("the device tried to answer {op:?} with a response to {:?}", response.op()),
            ),
            Err(refused) => refused,
        };
        self.refusal(op.code(), ticket.id, tag, kind, &why)
    }

    /// The bytes of an event. A frame that is too long gives none.
    #[must_use]
    pub fn event(&mut self, event: Event) -> Vec<u8> {
        let Ok(message) = message::encode_event(event) else { return Vec::new() };
        self.next_event_tag = (self.next_event_tag + 1) & 7;
        self.to_host(self.next_event_tag, true, &message)
    }

    fn refusal(&self, op: u8, id: u32, tag: u8, kind: DeviceErrorKind, why: &str) -> Vec<u8> {
        message::encode_error(op, id, kind, why)
            .map_or_else(|_: LinkError| Vec::new(), |message| self.to_host(tag, false, &message))
    }

    fn to_host(&self, value: u8, owner: bool, message: &[u8]) -> Vec<u8> {
        let route = Route { source: DEVICE_EID, destination: HOST_EID, tag: Tag { value, owner } };
        mctp::encode(self.framing, route, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{HostRole, Received};
    use crate::message::Captured;
    use crate::testing;
    use biotrust_model::Level;
    use proptest::prelude::*;

    fn request(host: &mut HostRole, request: Request) -> (u32, Vec<u8>) {
        host.request(request).unwrap()
    }

    fn only(mut incoming: Vec<Incoming>) -> Incoming {
        assert_eq!(incoming.len(), 1);
        incoming.remove(0)
    }

    fn ticket(incoming: Vec<Incoming>) -> Ticket {
        match only(incoming) {
            Incoming::Request { ticket, .. } => ticket,
            other => panic!("{other:?}"),
        }
    }

    /// A host and a device after HELLO.
    fn pair(level: Level) -> (HostRole, DeviceRole) {
        let (mut host, mut device) = (HostRole::new(1), DeviceRole::new());
        let (_, line) = request(&mut host, Request::Hello(VERSION));
        let hello = ticket(device.receive(&line));
        let answer = device.respond(hello, Ok(Response::Hello(testing::description(level))));
        assert!(matches!(received(&mut host, &answer)[..], [Received::Response { result: Ok(_), .. }]));
        (host, device)
    }

    fn received(host: &mut HostRole, line: &[u8]) -> Vec<Received> {
        let mut out = Vec::new();
        host.receive(line, &mut out).unwrap();
        out
    }

    fn refusal_in(host: &mut HostRole, line: &[u8]) -> DeviceErrorKind {
        match &received(host, line)[..] {
            [Received::Response { result: Err(refusal), .. }] => refusal.kind,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_examples_of_the_manual_are_what_is_sent() {
        let manual = include_str!("../../../docs/developers/link-protocol.md");
        let (mut host, mut device) = (HostRole::new(1), DeviceRole::new());
        let (_, hello) = request(&mut host, Request::Hello(VERSION));
        let (_, status) = request(&mut host, Request::Status);
        let asked = ticket(device.receive(&status));
        let refused = device.respond(asked, Err((DeviceErrorKind::Busy, "capturing".into())));
        for line in [hello, status, refused] {
            let hex: Vec<String> = line.iter().map(|b| format!("{b:02X}")).collect();
            assert!(manual.contains(&hex.join(" ")), "{}", hex.join(" "));
        }
    }

    #[test]
    fn an_operation_of_the_future_is_refused_and_the_link_stays() {
        let (mut host, mut device) = pair(Level::L0);
        let message =
            [&[0x7F][..], &message::ENTERPRISE_NUMBER.to_be_bytes(), &[1, 0, 0x7A, 0, 9, 0, 0, 0]].concat();
        let tag = Tag { value: 3, owner: true };
        let line =
            mctp::encode(Framing::Serial, Route { source: HOST_EID, destination: DEVICE_EID, tag }, &message);
        assert!(matches!(only(device.receive(&line)), Incoming::Reply(_)));
        let (_, line) = request(&mut host, Request::Status);
        let _ = ticket(device.receive(&line));
    }

    #[test]
    fn an_id_that_is_open_is_not_opened_again() {
        let (mut host, mut device) = pair(Level::L0);
        let (_, line) = request(&mut host, Request::Status);
        let first = ticket(device.receive(&line));
        assert!(device.receive(&line).is_empty());
        let answer = device.respond(first, Ok(Response::Status(testing::report())));
        assert_eq!(received(&mut host, &answer).len(), 1);
        let _ = ticket(device.receive(&line));
    }

    #[test]
    fn hello_voids_the_tickets_of_the_session_before() {
        let (mut host, mut device) = pair(Level::L0);
        let (_, line) = request(&mut host, Request::Status);
        let old = ticket(device.receive(&line));
        let (_, line) = request(&mut HostRole::new(100), Request::Hello(VERSION));
        let hello = ticket(device.receive(&line));
        assert!(device.respond(old, Ok(Response::Status(testing::report()))).is_empty());
        assert!(!device.respond(hello, Ok(Response::Hello(testing::description(Level::L0)))).is_empty());
    }

    #[test]
    fn another_version_is_told_which_one_is_spoken() {
        let (mut host, mut device) = (HostRole::new(1), DeviceRole::new());
        let (_, line) = request(&mut host, Request::Hello(VERSION + 1));
        let Incoming::Reply(reply) = only(device.receive(&line)) else { panic!("accepted") };
        assert_eq!(refusal_in(&mut host, &reply), DeviceErrorKind::Unsupported);
    }

    #[test]
    fn an_answer_to_another_question_becomes_an_error() {
        let (mut host, mut device) = pair(Level::L0);
        let (_, line) = request(&mut host, Request::Status);
        let status = ticket(device.receive(&line));
        let answer = device.respond(status, Ok(Response::StreamStop));
        assert_eq!(refusal_in(&mut host, &answer), DeviceErrorKind::Internal);
    }

    #[test]
    fn a_response_over_the_limit_becomes_an_error() {
        let (mut host, mut device) = pair(Level::L0);
        let job = testing::capture_job(&[], std::time::Duration::from_secs(1));
        let (_, line) = request(&mut host, Request::Capture(Box::new(job)));
        let capture = ticket(device.receive(&line));
        let images = vec![testing::image(None, crate::MAX_MESSAGE)];
        let answer =
            device.respond(capture, Ok(Response::Capture(Captured::Images { images, reached: true })));
        assert_eq!(refusal_in(&mut host, &answer), DeviceErrorKind::Internal);
        assert!(device.event(Event::Frame(testing::frame(1, crate::MAX_MESSAGE))).is_empty());
    }

    #[test]
    fn a_host_that_never_waits_is_told_to() {
        let mut device = DeviceRole::new();
        let mut replies = 0;
        for id in 0..100 {
            let (_, line) = request(&mut HostRole::new(id), Request::Status);
            replies += device.receive(&line).into_iter().filter(|i| matches!(i, Incoming::Reply(_))).count();
        }
        assert_eq!((device.open.len(), replies), (MAX_OPEN, 100 - MAX_OPEN));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_do_no_lasting_harm(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..20),
        ) {
            let (mut host, mut device) = pair(Level::L0);
            for chunk in &chunks {
                let _ = device.receive(chunk);
            }
            // The first frame after garbage may be lost with it.
            let (_, lost) = request(&mut host, Request::Status);
            let (id, line) = request(&mut host, Request::StreamStop);
            let _ = device.receive(&lost);
            let found = device.receive(&line);
            let is_it = matches!(&found[..], [Incoming::Request { ticket, request: Request::StreamStop }] if ticket.id() == id);
            prop_assert!(is_it, "{found:?}");
        }

        #[test]
        fn chunks_do_not_matter(cuts in proptest::collection::vec(1usize..700, 1..40)) {
            let mut host = HostRole::new(1);
            let line: Vec<u8> = testing::requests().into_iter()
                .flat_map(|r| { let (id, line) = request(&mut host, r); host.forget(id); line }).collect();
            let whole = format!("{:?}", DeviceRole::new().receive(&line));
            let mut device = DeviceRole::new();
            let mut parts = Vec::new();
            let (mut rest, mut cuts) = (&line[..], cuts.into_iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                parts.extend(device.receive(now));
                rest = later;
            }
            prop_assert_eq!(format!("{parts:?}"), whole);
        }

        #[test]
        fn a_corrupt_byte_costs_one_request(at in any::<prop::sample::Index>(), flip in 1u8..) {
            let (mut host, mut device) = pair(Level::L0);
            let (first, mut line) = request(&mut host, Request::Capture(Box::new(
                testing::capture_job(&biotrust_model::BioSubType::LEFT_SLAP, std::time::Duration::from_secs(1)))));
            let at = at.index(line.len());
            line[at] ^= flip;
            let (second, next) = request(&mut host, Request::Status);
            line.extend(next);
            let ids: Vec<u32> = device.receive(&line).into_iter().filter_map(|i| match i {
                Incoming::Request { ticket, .. } => Some(ticket.id()),
                Incoming::Spdm { .. } | Incoming::Reply(_) => None,
            }).collect();
            // A flag at either end may be hit without harm: frames share flags.
            prop_assert!(ids == [second] || (ids == [first, second] && (at == 0 || line[at] ^ flip == 0x7E)), "{ids:?}");
        }
    }
}
