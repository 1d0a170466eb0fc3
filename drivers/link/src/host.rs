//! The host's end of a link: requests to bytes, bytes to responses and events.
//!
//! Pure: the caller does the I/O and keeps the time. It trusts nothing: an answer must be to a question that is open,
//! of its operation, of the device's level, and complete; anything else is a [`LinkError`] that ends the link.

use std::collections::HashMap;

use biotrust_model::Level;

use crate::LinkError;
use crate::mctp::{self, Assembled, DEVICE_EID, HOST_EID, Receiver, Route, Tag};
use crate::message::{self, Captured, Event, Header, Kind, Op, Parsed, Request, Response};

/// Tag of HELLO and CAPTURE_CANCEL, which must get through however many requests are open.
const URGENT: u8 = 7;

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
    /// Something unasked.
    Event(Event),
}

struct Open {
    op: Op,
    tag: u8,
    /// How many parts a capture must bring.
    parts: usize,
}

/// The host's end of a link to one device.
pub struct HostRole {
    receiver: Receiver,
    open: HashMap<u32, Open>,
    next_id: u32,
    /// Known since the response to HELLO; until then everything else is left over from an earlier session.
    level: Option<Level>,
}

impl HostRole {
    /// A role whose ids count up from `first_id`. Sessions should start at different ids, so that an answer left on the
    /// line by an earlier one is not taken for an answer of this one.
    #[must_use]
    pub fn new(first_id: u32) -> Self {
        Self { receiver: Receiver::new(HOST_EID), open: HashMap::new(), next_id: first_id, level: None }
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
        let tag = match op {
            Op::Hello | Op::CaptureCancel => URGENT,
            _ => (0..URGENT)
                .find(|tag| self.open.values().all(|open| open.tag != *tag))
                .ok_or(LinkError::TooManyRequests)?,
        };
        if op == Op::Hello {
            self.open.retain(|_, open| open.op == Op::Hello);
            self.level = None;
        }
        let id = self.next_id;
        let message = message::encode_request(id, request)?;
        self.next_id = id.wrapping_add(1);
        self.open.insert(id, Open { op, tag, parts });
        let route = Route { source: HOST_EID, destination: DEVICE_EID, tag: Tag { value: tag, owner: true } };
        Ok((id, mctp::encode(route, &message)))
    }

    /// Nobody waits for the answer to `id` any more; it will be dropped when it comes.
    pub fn forget(&mut self, id: u32) {
        self.open.remove(&id);
    }

    /// Takes in bytes from the line and appends to `received` what they complete.
    ///
    /// # Errors
    /// The first breach of the protocol; the link is then to be closed.
    pub fn receive(&mut self, bytes: &[u8], received: &mut Vec<Received>) -> Result<(), LinkError> {
        for message in self.receiver.push(bytes) {
            received.extend(self.accept(&message?)?);
        }
        Ok(())
    }

    fn accept(&mut self, message: &Assembled) -> Result<Option<Received>, LinkError> {
        if message.route.source != DEVICE_EID {
            return Ok(None);
        }
        let Some(Parsed { header, body }) = message::parse(&message.bytes)? else { return Ok(None) };
        match header.kind {
            Kind::Request => Ok(None),
            Kind::Event if self.level.is_none() => Ok(None),
            Kind::Event => Ok(message::decode_event(header.op, body)?.map(Received::Event)),
            Kind::Response | Kind::Error => self.answer(header, body),
        }
    }

    fn answer(&mut self, header: Header, body: &[u8]) -> Result<Option<Received>, LinkError> {
        let Header { kind, op, id } = header;
        let Some(open) = self.open.get(&id) else {
            // Nobody waits for it any more, or it belongs to an earlier session.
            return Ok(None);
        };
        if self.level.is_none() && (open.op != Op::Hello || op != Op::Hello.code()) {
            return Ok(None);
        }
        if op != open.op.code() {
            return Err(LinkError::WrongAnswer { asked: open.op, answered: op });
        }
        let result = match kind {
            Kind::Error => Err(message::decode_error(body)?),
            _ => Ok(self.check(message::decode_response(open.op, body)?, open.parts)?),
        };
        if let Ok(Response::Hello(description)) = &result {
            self.level = Some(description.level);
        }
        self.open.remove(&id);
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
