//! The host's end of a link: requests to bytes, bytes to responses and events.
//!
//! Pure: the caller does the I/O and keeps the time. It trusts nothing: an answer must be to a question that is open,
//! of its operation, of the device's level, and complete; anything else is a [`LinkError`] that ends the link.

mod tags;

use std::collections::HashMap;

use biotrust_model::Level;
use zeroize::Zeroizing;

use crate::LinkError;
use crate::mctp::{self, Assembled, DEVICE_EID, Framing, HOST_EID, Receiver, Route, Tag};
use crate::message::{self, Captured, Event, Header, Kind, Op, Parsed, Request, Response};
use tags::Tags;

/// An error response.
pub type Refusal = message::ErrorBody;

/// What came from the device.
#[derive(Debug)]
pub enum Received {
    /// The answer to an open request.
    Response {
        /// Id that [`HostRole::request`] gave.
        id: u32,
        /// The response, or the device's refusal.
        result: Result<Response, Refusal>,
    },
    /// The answer to an open SPDM message.
    Spdm {
        /// Id that [`HostRole::spdm`] gave.
        id: u32,
        /// The SPDM message, for `biotrust_spdm::Requester`.
        message: Zeroizing<Vec<u8>>,
    },
    /// Something unasked.
    Event(Event),
}

struct Open {
    question: Question,
    tag: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    Link {
        op: Op,
        /// How many parts a capture must bring.
        parts: usize,
    },
    /// An SPDM message. It has no id: its answer is known by its tag.
    Spdm,
}

/// The host's end of a link to one device.
pub struct HostRole {
    framing: Framing,
    receiver: Receiver,
    open: HashMap<u32, Open>,
    tags: Tags,
    next_id: u32,
    /// Known since the response to HELLO; until then everything else is left over from an earlier session.
    level: Option<Level>,
    unasked: u32,
}

impl HostRole {
    /// A role whose ids count up from `first_id`. Sessions should start at different ids, so that an answer left on the
    /// line by an earlier one is not taken for an answer of this one.
    #[must_use]
    pub fn new(first_id: u32) -> Self {
        Self::over(Framing::Serial, first_id)
    }

    /// As [`Self::new`], over another bus than a serial line.
    #[must_use]
    pub fn over(framing: Framing, first_id: u32) -> Self {
        Self {
            framing,
            receiver: Receiver::new(framing, HOST_EID),
            open: HashMap::new(),
            tags: Tags::new(),
            next_id: first_id,
            level: None,
            unasked: 0,
        }
    }

    /// The bytes to send for `request`, and the id of its answer.
    ///
    /// # Errors
    /// [`LinkError::TooManyRequests`]; [`LinkError::TooLong`].
    pub fn request(&mut self, request: Request) -> Result<(u32, Vec<u8>), LinkError> {
        let op = request.op();
        let parts = match &request {
            Request::Capture(job) => job.parts.len().max(1),
            _ => 0,
        };
        let id = self.next_id;
        let message = message::encode_request(id, request)?;
        let tag = match op {
            Op::Hello | Op::CaptureCancel => Some(Tags::urgent()),
            _ => self.tags.take(),
        };
        let tag = tag.ok_or(LinkError::TooManyRequests)?;
        if op == Op::Hello {
            self.level = None;
            let is_hello = |open: &Open| matches!(open.question, Question::Link { op: Op::Hello, .. });
            let earlier = self.open.iter().filter(|(_, open)| !is_hello(open));
            let void: Vec<u32> = earlier.map(|(id, _)| *id).collect();
            void.into_iter().for_each(|id| self.forget(id));
        }
        Ok(self.ask(Open { question: Question::Link { op, parts }, tag }, &message))
    }

    /// The bytes to send for the SPDM message `message`, and the id of its answer.
    ///
    /// # Errors
    /// [`LinkError::TooManyRequests`] while another one is open; [`LinkError::TooLong`].
    pub fn spdm(&mut self, message: &[u8]) -> Result<(u32, Vec<u8>), LinkError> {
        if message.len() > biotrust_spdm::MAX_MESSAGE {
            return Err(LinkError::TooLong { limit: biotrust_spdm::MAX_MESSAGE });
        }
        if self.open.values().any(|open| open.question == Question::Spdm) {
            return Err(LinkError::TooManyRequests);
        }
        let tag = self.tags.take().ok_or(LinkError::TooManyRequests)?;
        Ok(self.ask(Open { question: Question::Spdm, tag }, &mctp::spdm(message)))
    }

    fn ask(&mut self, open: Open, message: &[u8]) -> (u32, Vec<u8>) {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        let tag = Tag { value: open.tag, owner: true };
        self.open.insert(id, open);
        let route = Route { source: HOST_EID, destination: DEVICE_EID, tag };
        (id, mctp::encode(self.framing, route, message))
    }

    /// Nobody waits for the answer to `id` any more; it will be dropped when it comes.
    pub fn forget(&mut self, id: u32) {
        if let Some(open) = self.open.remove(&id) {
            self.tags.abandon(id, open.tag);
        }
    }

    /// Takes in what one read brought from the line, and appends to `received` what it completes.
    ///
    /// # Errors
    /// The first breach of the protocol; the link is then to be closed.
    pub fn receive(&mut self, bytes: &[u8], received: &mut Vec<Received>) -> Result<(), LinkError> {
        for message in self.receiver.push(bytes) {
            let accepted = self.accept(&message?)?;
            if !matches!(accepted, Some(Received::Response { .. } | Received::Spdm { .. })) {
                self.unasked = self.unasked.saturating_add(1);
            }
            received.extend(accepted);
        }
        Ok(())
    }

    /// How many messages came since the last call that nobody asked for: events, answers that nobody waits for, what is
    /// not known, and what was begun and given up. Whoever reads from a device should hold it to a number.
    pub fn take_unasked(&mut self) -> u32 {
        std::mem::take(&mut self.unasked).saturating_add(self.receiver.take_lost())
    }

    fn accept(&mut self, message: &Assembled) -> Result<Option<Received>, LinkError> {
        if message.route.source != DEVICE_EID {
            return Ok(None);
        }
        if let Some(message_of_spdm) = mctp::as_spdm(&message.bytes) {
            return self.spdm_answer(message.route.tag, message_of_spdm);
        }
        let Some(Parsed { header, body }) = message::parse(&message.bytes)? else { return Ok(None) };
        let limit = header.kind.longest();
        if message.bytes.len() > limit {
            // An event that came under the tag of an answer, and so within that one's limit.
            return Err(LinkError::TooLong { limit });
        }
        match header.kind {
            Kind::Request => Ok(None),
            Kind::Event if self.level.is_none() => Ok(None),
            Kind::Event => Ok(message::decode_event(header.op, body)?.map(Received::Event)),
            Kind::Response | Kind::Error => self.answer(header, body),
        }
    }

    fn spdm_answer(&mut self, tag: Tag, message: &[u8]) -> Result<Option<Received>, LinkError> {
        if self.level.is_none() || tag.owner {
            // Left over from an earlier session; or a question, and a host is asked nothing.
            return Ok(None);
        }
        let is_it = |open: &Open| open.question == Question::Spdm && open.tag == tag.value;
        let Some(id) = self.open.iter().find(|(_, open)| is_it(open)).map(|(id, _)| *id) else {
            self.tags.answered_late_under(tag.value);
            return Ok(None);
        };
        if message.len() > biotrust_spdm::MAX_MESSAGE {
            return Err(LinkError::TooLong { limit: biotrust_spdm::MAX_MESSAGE });
        }
        self.open.remove(&id);
        self.tags.release(tag.value);
        Ok(Some(Received::Spdm { id, message: Zeroizing::new(message.to_vec()) }))
    }

    fn answer(&mut self, header: Header, body: &[u8]) -> Result<Option<Received>, LinkError> {
        let Header { kind, op, id } = header;
        let Some(Open { question: Question::Link { op: asked, parts }, .. }) = self.open.get(&id) else {
            // Nobody waits for it any more, or it belongs to an earlier session.
            self.tags.answered_late(id);
            return Ok(None);
        };
        let (asked, parts) = (*asked, *parts);
        if self.level.is_none() && (asked != Op::Hello || op != Op::Hello.code()) {
            return Ok(None);
        }
        if op != asked.code() {
            return Err(LinkError::WrongAnswer { asked, answered: op });
        }
        let result = match kind {
            Kind::Error => Err(message::decode_error(body)?),
            _ => Ok(self.check(message::decode_response(asked, body)?, parts)?),
        };
        if let Ok(Response::Hello(description)) = &result {
            self.level = Some(description.level);
        }
        if let Some(open) = self.open.remove(&id) {
            self.tags.release(open.tag);
        }
        Ok(Some(Received::Response { id, result }))
    }

    /// Whether a well-formed response is one that this device may give.
    fn check(&self, response: Response, asked: usize) -> Result<Response, LinkError> {
        let Response::Capture(captured) = &response else { return Ok(response) };
        let (level, answered) = match captured {
            Captured::Nothing => return Ok(response),
            Captured::Images { images, .. } => (Level::L0, images.len()),
            Captured::Blocks { blocks, .. } => (Level::L1, blocks.len()),
        };
        match self.level {
            Some(claimed) if claimed != level => Err(LinkError::WrongLevel(claimed)),
            _ if answered != asked => Err(LinkError::WrongCount { asked, answered }),
            _ => Ok(response),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_UNASKED;
    use crate::device::{DeviceRole, Incoming};
    use crate::message::{ENTERPRISE_NUMBER, VERSION};
    use crate::testing;
    use biotrust_model::BioSubType;
    use proptest::prelude::*;
    use std::time::Duration;

    /// Bytes of a message from the device, however wrong.
    fn line(kind: u8, op: u8, id: u32, body: &[u8]) -> Vec<u8> {
        let header =
            [&[0x7F][..], &ENTERPRISE_NUMBER.to_be_bytes(), &[1, kind, op, 0], &id.to_le_bytes(), body];
        let tag = Tag { value: 0, owner: kind == 3 };
        mctp::encode(
            Framing::Serial,
            Route { source: DEVICE_EID, destination: HOST_EID, tag },
            &header.concat(),
        )
    }

    fn response(id: u32, response: Response) -> Vec<u8> {
        let message = message::encode_response(id, response).unwrap();
        let tag = Tag { value: 0, owner: false };
        mctp::encode(Framing::Serial, Route { source: DEVICE_EID, destination: HOST_EID, tag }, &message)
    }

    fn greeted(level: Level) -> HostRole {
        let mut host = HostRole::new(1);
        let (id, _) = host.request(Request::Hello(VERSION)).unwrap();
        assert_eq!(
            feed(&mut host, &response(id, Response::Hello(testing::description(level)))).unwrap().len(),
            1
        );
        host
    }

    fn feed(host: &mut HostRole, line: &[u8]) -> Result<Vec<Received>, LinkError> {
        let mut received = Vec::new();
        host.receive(line, &mut received).map(|()| received)
    }

    fn capture(host: &mut HostRole, parts: &[BioSubType]) -> u32 {
        host.request(Request::Capture(Box::new(testing::capture_job(parts, Duration::from_secs(1)))))
            .unwrap()
            .0
    }

    fn images(count: usize) -> Response {
        let images = (0..count).map(|_| testing::image(None, 10)).collect();
        Response::Capture(Captured::Images { images, reached: true })
    }

    fn blocks(count: usize) -> Response {
        Response::Capture(Captured::Blocks {
            blocks: (0..count).map(|_| testing::block(10)).collect(),
            reached: true,
        })
    }

    #[test]
    fn a_level_is_not_changed_by_an_answer() {
        for (level, right, wrong) in
            [(Level::L0, images as fn(usize) -> _, blocks as fn(usize) -> _), (Level::L1, blocks, images)]
        {
            let mut host = greeted(level);
            let id = capture(&mut host, &BioSubType::EYES);
            assert_eq!(feed(&mut host, &response(id, right(2))).unwrap().len(), 1);
            let id = capture(&mut host, &BioSubType::EYES);
            assert_eq!(feed(&mut host, &response(id, wrong(2))).unwrap_err(), LinkError::WrongLevel(level));
        }
    }

    #[test]
    fn a_capture_must_be_complete() {
        for (asked, answered) in [(2, 1), (2, 3), (1, 0), (1, 2)] {
            let mut host = greeted(Level::L0);
            let id = capture(&mut host, &BioSubType::LEFT_SLAP[..asked]);
            let error = feed(&mut host, &response(id, images(answered))).unwrap_err();
            assert_eq!(error, LinkError::WrongCount { asked, answered });
        }
        let mut host = greeted(Level::L0);
        let face = capture(&mut host, &[]);
        assert!(feed(&mut host, &response(face, images(1))).is_ok());
    }

    #[test]
    fn answers_of_an_earlier_session_are_passed_over_until_hello_is_answered() {
        let mut host = HostRole::new(50);
        let (id, _) = host.request(Request::Hello(VERSION)).unwrap();
        for stale in [
            line(1, Op::Capture.code(), id, b"\xFFnot CBOR"),
            line(3, Op::FrameEvent.code(), 0, b"\xFF"),
            response(id - 1, images(1)),
            line(0, Op::Status.code(), 1, &[]),
        ] {
            assert!(feed(&mut host, &stale).unwrap().is_empty());
        }
        assert_eq!(
            feed(&mut host, &response(id, Response::Hello(testing::description(Level::L0)))).unwrap().len(),
            1
        );
        assert!(feed(&mut host, &line(3, Op::FrameEvent.code(), 0, b"\xFF")).is_err(), "now it counts");
    }

    #[test]
    fn an_answer_must_fit_its_question() {
        let mut host = greeted(Level::L0);
        let (id, _) = host.request(Request::Status).unwrap();
        let error = feed(&mut host, &response(id, Response::StreamStop)).unwrap_err();
        assert_eq!(error, LinkError::WrongAnswer { asked: Op::Status, answered: 0x11 });
    }

    #[test]
    fn a_late_answer_is_dropped() {
        let mut host = greeted(Level::L0);
        let (id, _) = host.request(Request::Status).unwrap();
        host.forget(id);
        assert!(feed(&mut host, &response(id, Response::Status(testing::report()))).unwrap().is_empty());
    }

    #[test]
    fn tags_are_bounded_and_cancelling_always_goes_through() {
        let mut host = greeted(Level::L0);
        let open: Vec<u32> = (0..7).map(|_| host.request(Request::Status).unwrap().0).collect();
        assert_eq!(host.request(Request::Status).unwrap_err(), LinkError::TooManyRequests);
        assert!(host.request(Request::CaptureCancel { request: open[0] }).is_ok());
        host.forget(open[3]);
        assert!(host.request(Request::Status).is_ok());
    }

    /// The tag on the first packet of `line`.
    fn tag_of(line: &[u8]) -> u8 {
        // Flag, revision, count, version, destination, source.
        line[6] & 7
    }

    fn status(host: &mut HostRole) -> (u32, u8) {
        let (id, line) = host.request(Request::Status).unwrap();
        (id, tag_of(&line))
    }

    #[test]
    fn tags_go_round_and_one_of_a_forgotten_request_rests_until_its_answer() {
        let mut host = greeted(Level::L0);
        let answer = |host: &mut HostRole, id| {
            feed(host, &response(id, Response::Status(testing::report()))).unwrap().len()
        };
        let answered = |host: &mut HostRole| {
            let (id, tag) = status(host);
            assert_eq!(answer(host, id), 1);
            tag
        };
        let round: Vec<u8> = (0..8).map(|_| answered(&mut host)).collect();
        assert_eq!(round, [0, 1, 2, 3, 4, 5, 6, 0]);

        let (late, resting) = status(&mut host);
        host.forget(late);
        assert!((0..20).all(|_| answered(&mut host) != resting));
        assert_eq!(answer(&mut host, late), 0);
        assert!((0..7).any(|_| answered(&mut host) == resting), "its answer came");

        // Where no other is left, the one that was forgotten first is the safest.
        let ids: Vec<(u32, u8)> = (0..7).map(|_| status(&mut host)).collect();
        host.forget(ids[4].0);
        host.forget(ids[2].0);
        assert_eq!([status(&mut host).1, status(&mut host).1], [ids[4].1, ids[2].1]);
        assert_eq!(host.request(Request::Status).unwrap_err(), LinkError::TooManyRequests);
        let (hello, _) = host.request(Request::Hello(VERSION)).unwrap();
        assert_eq!(answer(&mut host, ids[0].0), 0, "HELLO ends what was open");
        let description = Response::Hello(testing::description(Level::L0));
        assert_eq!(feed(&mut host, &response(hello, description)).unwrap().len(), 1);
        assert!((0..7).all(|_| host.request(Request::Status).is_ok()));
    }

    #[test]
    fn a_late_answer_between_the_packets_of_the_next_spoils_neither() {
        let (mut host, mut device) = (greeted(Level::L1), DeviceRole::new());
        let mut answer_to = |line: &[u8]| {
            let Some(Incoming::Request { ticket, .. }) = device.receive(line).pop() else { panic!() };
            let chip_chain = vec![vec![ticket.id() as u8; 900]];
            device.respond(
                ticket,
                Ok(Response::Keys(biotrust_driver_api::L1Keys { device_chain: vec![], chip_chain })),
            )
        };
        // Frames end and begin with a flag of their own.
        let frames = |line: Vec<u8>| -> Vec<Vec<u8>> {
            line.split(|byte| *byte == 0x7E)
                .filter(|frame| !frame.is_empty())
                .map(|frame| [&[0x7E], frame, &[0x7E]].concat())
                .collect()
        };
        let (first, line) = host.request(Request::Keys).unwrap();
        let late = frames(answer_to(&line));
        assert!(feed(&mut host, &late[0]).unwrap().is_empty());
        host.forget(first);
        let (second, line) = host.request(Request::Keys).unwrap();
        let next = frames(answer_to(&line));
        let rest = late[1..].iter().cloned().chain([Vec::new()]);
        let mixed: Vec<u8> =
            next.iter().cloned().zip(rest).flat_map(|(next, late)| [next, late]).flatten().collect();
        assert!(next.len() == late.len() && next.len() > 3);
        let received = feed(&mut host, &mixed).unwrap();
        let [Received::Response { id, result: Ok(Response::Keys(keys)) }] = &received[..] else {
            panic!("{received:?}")
        };
        assert!(*id == second && keys.chip_chain == [vec![second as u8; 900]]);
    }

    #[test]
    fn events_and_requests_of_the_future_are_ignored() {
        let mut host = greeted(Level::L1);
        for unknown in [line(3, 0x99, 0, b"\xA0"), line(0, 0x01, 1, b"\xA0"), line(9, 0x01, 1, b"")] {
            assert!(feed(&mut host, &unknown).unwrap().is_empty());
        }
    }

    #[test]
    fn a_message_over_the_limit_and_a_megabyte_of_noise_end_the_link() {
        let mut host = greeted(Level::L0);
        let long = line(3, Op::FrameEvent.code(), 0, &vec![0; crate::MAX_MESSAGE]);
        assert_eq!(feed(&mut host, &long).unwrap_err(), LinkError::TooLong { limit: MAX_UNASKED });
        let mut host = greeted(Level::L0);
        let long = line(1, Op::Status.code(), 0, &vec![0; crate::MAX_MESSAGE]);
        assert_eq!(feed(&mut host, &long).unwrap_err(), LinkError::TooLong { limit: crate::MAX_MESSAGE });
        let mut host = greeted(Level::L0);
        assert!(feed(&mut host, &vec![0x55; 1024 * 1024]).is_ok());
        assert_eq!(feed(&mut host, &[0x55; 1]).unwrap_err(), LinkError::Noise);
    }

    /// An event of `length` bytes, header included, with the tag owner bit of an event or without.
    fn event_of(length: usize, owner: bool) -> Vec<u8> {
        let header = [&[0x7F][..], &ENTERPRISE_NUMBER.to_be_bytes(), &[1, 3, 0x99, 0, 0, 0, 0, 0]].concat();
        let message = [header.as_slice(), &vec![0; length - header.len()]].concat();
        let tag = Tag { value: 3, owner };
        mctp::encode(Framing::Serial, Route { source: DEVICE_EID, destination: HOST_EID, tag }, &message)
    }

    #[test]
    fn an_event_is_no_longer_than_a_frame_under_whatever_tag() {
        for owner in [true, false] {
            let mut host = greeted(Level::L0);
            assert!(
                feed(&mut host, &event_of(MAX_UNASKED, owner)).unwrap().is_empty(),
                "unknown, not too long"
            );
            let error = feed(&mut host, &event_of(MAX_UNASKED + 1, owner)).unwrap_err();
            assert_eq!(error, LinkError::TooLong { limit: MAX_UNASKED });
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..20)) {
            let mut host = greeted(Level::L1);
            for chunk in &chunks {
                let _ = feed(&mut host, chunk);
            }
        }

        #[test]
        fn chunks_do_not_matter(cuts in proptest::collection::vec(1usize..900, 1..40)) {
            // The same session twice: once a byte stream in one piece, once cut up.
            let (mut device, mut asking) = (DeviceRole::new(), greeted(Level::L1));
            let mut stream = Vec::new();
            for request in [Request::Status, Request::StreamStop, Request::Keys] {
                let (_, line) = asking.request(request).unwrap();
                for incoming in device.receive(&line) {
                    let Incoming::Request { ticket, request } = incoming else { panic!("refused") };
                    let answer = testing::responses().into_iter().find(|r| r.op() == request.op()).unwrap();
                    stream.extend(device.respond(ticket, Ok(answer)));
                }
                stream.extend(testing::events().into_iter().flat_map(|e| device.event(e)));
            }
            let replay = |parts: Vec<&[u8]>| {
                let mut host = greeted(Level::L1);
                for request in [Request::Status, Request::StreamStop, Request::Keys] {
                    host.request(request).unwrap();
                }
                let mut received = Vec::new();
                for part in parts {
                    host.receive(part, &mut received).unwrap();
                }
                (received.len(), format!("{received:?}"))
            };
            let mut parts = Vec::new();
            let (mut rest, mut cuts) = (&stream[..], cuts.into_iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                parts.push(now);
                rest = later;
            }
            let whole = replay(vec![&stream]);
            prop_assert_eq!(whole.0, 3 + 3 * testing::events().len());
            prop_assert_eq!(replay(parts), whole);
        }
    }
}
