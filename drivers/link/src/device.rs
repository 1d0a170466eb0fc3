//! The device's end of a link: bytes to requests, responses and events to bytes.
//!
//! Pure: the caller does the I/O. It trusts nothing that the host sends; a request that cannot be read is refused, a
//! frame that cannot be read is dropped. A [`Ticket`] stands for one open request and is used up by answering.

use std::collections::HashMap;

use biotrust_driver_api::DeviceErrorKind;
use zeroize::Zeroizing;

use crate::LinkError;
use crate::mctp::{self, Assembled, DEVICE_EID, HOST_EID, Receiver, Route, Tag};
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
    /// Bytes to send now: the refusal of a request that could not be passed on.
    Reply(Vec<u8>),
}

struct Open {
    op: Op,
    tag: u8,
}

/// The device's end of a link.
pub struct DeviceRole {
    receiver: Receiver,
    open: HashMap<u32, Open>,
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
        Self { receiver: Receiver::new(DEVICE_EID), open: HashMap::new(), session: 0, next_event_tag: 0 }
    }

    /// Takes in bytes from the line. Noise and messages that are too long are dropped: the host will ask again.
    #[must_use]
    pub fn receive(&mut self, bytes: &[u8]) -> Vec<Incoming> {
        let messages = self.receiver.push(bytes);
        messages.into_iter().filter_map(|message| self.accept(&message.ok()?)).collect()
    }

    fn accept(&mut self, message: &Assembled) -> Option<Incoming> {
        if message.route.source != HOST_EID {
            return None;
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
                Some(Incoming::Reply(refusal(op, id, tag, DeviceErrorKind::Unsupported, &why)))
            }
            Ok(Some(request)) => {
                if request.op() == Op::Hello {
                    self.session += 1;
                    self.open.clear();
                }
                if self.open.len() >= MAX_OPEN {
                    let why = "too many requests are open";
                    return Some(Incoming::Reply(refusal(op, id, tag, DeviceErrorKind::Busy, why)));
                }
                self.open.insert(id, Open { op: request.op(), tag });
                Some(Incoming::Request { ticket: Ticket { id, session: self.session }, request })
            }
            Ok(None) => {
                let why = format!("operation {op:#04x} is not known");
                Some(Incoming::Reply(refusal(op, id, tag, DeviceErrorKind::Unsupported, &why)))
            }
            Err(error) => {
                let why = error.to_string();
                Some(Incoming::Reply(refusal(op, id, tag, DeviceErrorKind::Protocol, &why)))
            }
        }
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
                Ok(message) => return to_host(tag, false, &message),
                Err(error) => (DeviceErrorKind::Internal, error.to_string()),
            },
            Ok(response) => (
                DeviceErrorKind::Internal,
                format!("the device tried to answer {op:?} with a response to {:?}", response.op()),
            ),
            Err(refused) => refused,
        };
        refusal(op.code(), ticket.id, tag, kind, &why)
    }

    /// The bytes of an event. A frame that is too long gives none.
    #[must_use]
    pub fn event(&mut self, event: Event) -> Vec<u8> {
        let Ok(message) = message::encode_event(event) else { return Vec::new() };
        self.next_event_tag = (self.next_event_tag + 1) & 7;
        to_host(self.next_event_tag, true, &message)
    }
}

fn refusal(op: u8, id: u32, tag: u8, kind: DeviceErrorKind, why: &str) -> Vec<u8> {
    message::encode_error(op, id, kind, why)
        .map_or_else(|_: LinkError| Vec::new(), |m| to_host(tag, false, &m))
}

fn to_host(value: u8, owner: bool, message: &Zeroizing<Vec<u8>>) -> Vec<u8> {
    let route = Route { source: DEVICE_EID, destination: HOST_EID, tag: Tag { value, owner } };
    mctp::encode(route, message)
}
