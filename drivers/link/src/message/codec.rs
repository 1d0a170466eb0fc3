//! Messages to bytes and back.
//!
//! Pure. Decoding trusts nothing: a body is read into typed members or refused with the name of the member; the texts
//! that a device brings are cut and cleaned before anybody can print them.

use biotrust_driver_api::{Description, DeviceErrorKind};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::{Captured, ENTERPRISE_NUMBER, ErrorBody, Event, Jws, Op, Request, Response, VERSION, body};
use crate::{LinkError, MAX_MESSAGE};

/// MCTP message type "vendor defined, IANA", without the integrity-check bit.
const VENDOR_DEFINED_IANA: u8 = 0x7F;
/// Longest text that is passed on from an error or a status, in characters.
const MAX_REASON: usize = 200;
/// Longest name, number or version that a device may give itself, in bytes.
const MAX_LABEL: usize = 128;

/// Kind of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Request = 0,
    Response = 1,
    Error = 2,
    Event = 3,
}

/// Header of a message. `op` is a number because a message with an unknown one must still be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) op: u8,
    pub(crate) id: u32,
}

/// A message with its body still to be read.
pub(crate) struct Parsed<'m> {
    pub(crate) header: Header,
    pub(crate) body: &'m [u8],
}

/// Reads the header. `None` for what is not ours or of no known kind: MCTP lines may carry other messages.
pub(crate) fn parse(message: &[u8]) -> Result<Option<Parsed<'_>>, LinkError> {
    let Some((&[VENDOR_DEFINED_IANA, p0, p1, p2, p3], ours)) = message.split_first_chunk::<5>() else {
        return Ok(None);
    };
    if u32::from_be_bytes([p0, p1, p2, p3]) != ENTERPRISE_NUMBER {
        return Ok(None);
    }
    let Some((&[version, kind, op, _, i0, i1, i2, i3], body)) = ours.split_first_chunk::<8>() else {
        return Err(malformed("header", "it is shorter than 8 bytes"));
    };
    if version != VERSION {
        return Err(LinkError::Version { found: version });
    }
    let kind = match kind {
        0 => Kind::Request,
        1 => Kind::Response,
        2 => Kind::Error,
        3 => Kind::Event,
        _ => return Ok(None),
    };
    Ok(Some(Parsed { header: Header { kind, op, id: u32::from_le_bytes([i0, i1, i2, i3]) }, body }))
}

/// Writes a message. `bulk` is the length of the byte strings in it: room for them is made at once, so that no copy
/// of an image stays behind in memory that was grown out of.
fn encode(header: Header, bulk: usize, body: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, LinkError> {
    let mut message = Zeroizing::new(Vec::with_capacity(bulk + 1024));
    message.push(VENDOR_DEFINED_IANA);
    message.extend_from_slice(&ENTERPRISE_NUMBER.to_be_bytes());
    message.extend_from_slice(&[VERSION, header.kind as u8, header.op, 0]);
    message.extend_from_slice(&header.id.to_le_bytes());
    ciborium::into_writer(body, &mut *message).map_err(|e| malformed("message to send", e.to_string()))?;
    if message.len() > MAX_MESSAGE {
        return Err(LinkError::TooLong);
    }
    Ok(message)
}

/// Reads a body; an empty one stands for an empty map.
fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, LinkError> {
    let mut rest = if bytes.is_empty() { &[0xA0][..] } else { bytes };
    // With room for the whole body the decoder hands out each byte string in one piece and never grows a buffer.
    let mut scratch = Zeroizing::new(vec![0; rest.len()]);
    let value = ciborium::de::from_reader_with_buffer(&mut rest, &mut scratch).map_err(|e| match e {
        ciborium::de::Error::Semantic(_, why) => malformed(what, printable(&why, MAX_REASON)),
        ciborium::de::Error::Io(_) => malformed(what, "it ends too early"),
        _ => malformed(what, "it is not CBOR"),
    })?;
    if rest.is_empty() { Ok(value) } else { Err(malformed(what, "something follows after the map")) }
}

fn malformed(what: &'static str, why: impl Into<String>) -> LinkError {
    LinkError::Malformed { what, why: why.into() }
}

/// `text` without control characters, cut to `longest` characters.
fn printable(text: &str, longest: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(longest).collect()
}

/// A request as the host sends it.
pub(crate) fn encode_request(id: u32, request: Request) -> Result<Zeroizing<Vec<u8>>, LinkError> {
    let header = Header { kind: Kind::Request, op: request.op().code(), id };
    match request {
        Request::Hello(protocol) => encode(header, 0, &body::HelloRequest { protocol }),
        Request::Status | Request::Keys | Request::StreamStop => encode(header, 0, &body::Nothing {}),
        Request::SignedInfo(job) => encode(header, 0, &body::SignedInfoRequest(job)),
        Request::InstallEncryptionCertificate { domain_uri, chain } => {
            encode(header, 0, &body::EncryptionCertificate { domain_uri, chain })
        }
        Request::StreamStart(job) => encode(header, 0, &body::StreamStart(job)),
        Request::Capture(job) => encode(header, 0, &body::CaptureRequest(*job)),
        Request::CaptureCancel { request } => encode(header, 0, &body::CaptureCancel { request }),
    }
}

/// A request as the device reads it; `None` for an operation that is not a known request.
pub(crate) fn decode_request(op: u8, bytes: &[u8]) -> Result<Option<Request>, LinkError> {
    Ok(Some(match Op::from_code(op) {
        Some(Op::Hello) => Request::Hello(decode::<body::HelloRequest>("HELLO request", bytes)?.protocol),
        Some(Op::Status) => decode("STATUS request", bytes).map(|body::Nothing {}| Request::Status)?,
        Some(Op::Keys) => decode("KEYS request", bytes).map(|body::Nothing {}| Request::Keys)?,
        Some(Op::SignedInfo) => decode("SIGNED_INFO request", bytes)
            .map(|body::SignedInfoRequest(job)| Request::SignedInfo(job))?,
        Some(Op::InstallEncryptionCertificate) => {
            let body::EncryptionCertificate { domain_uri, chain } =
                decode("INSTALL_ENCRYPTION_CERTIFICATE request", bytes)?;
            Request::InstallEncryptionCertificate { domain_uri, chain }
        }
        Some(Op::StreamStart) => {
            decode("STREAM_START request", bytes).map(|body::StreamStart(job)| Request::StreamStart(job))?
        }
        Some(Op::StreamStop) => {
            decode("STREAM_STOP request", bytes).map(|body::Nothing {}| Request::StreamStop)?
        }
        Some(Op::Capture) => {
            let body::CaptureRequest(job) = decode("CAPTURE request", bytes)?;
            if job.auth.is_some() != (job.purpose == biotrust_model::Purpose::Auth) {
                return Err(malformed("CAPTURE request", "`auth` goes with the purpose Auth and no other"));
            }
            Request::Capture(Box::new(job))
        }
        Some(Op::CaptureCancel) => {
            let body::CaptureCancel { request } = decode("CAPTURE_CANCEL request", bytes)?;
            Request::CaptureCancel { request }
        }
        Some(Op::FrameEvent | Op::StatusEvent | Op::KeysChangedEvent) | None => return Ok(None),
    }))
}

/// A response as the device sends it.
pub(crate) fn encode_response(id: u32, response: Response) -> Result<Zeroizing<Vec<u8>>, LinkError> {
    let header = Header { kind: Kind::Response, op: response.op().code(), id };
    match response {
        Response::Hello(Description { identity, level, purpose, firmware, sub_ids }) => {
            let protocol = VERSION;
            let body = body::HelloResponse { protocol, identity, level, purpose, firmware, sub_ids };
            encode(header, 0, &body)
        }
        Response::Status(report) => encode(header, 0, &body::Status(report)),
        Response::Keys(keys) => encode(header, 0, &body::Keys(keys)),
        Response::SignedInfo(Jws(jws)) => encode(header, 0, &body::SignedInfoResponse { jws }),
        Response::InstallEncryptionCertificate
        | Response::StreamStart
        | Response::StreamStop
        | Response::CaptureCancel => encode(header, 0, &body::Nothing {}),
        Response::Capture(captured) => {
            let (bulk, body) = capture_body(captured);
            encode(header, bulk, &body)
        }
    }
}

fn capture_body(captured: Captured) -> (usize, body::CaptureResponse) {
    use body::Outcome;
    match captured {
        Captured::Nothing => {
            let outcome = Outcome::Nothing;
            (0, body::CaptureResponse { outcome, reached: false, images: None, blocks: None })
        }
        Captured::Images { images, reached } => {
            let bulk = images.iter().map(|i| i.image.len() + 256).sum();
            let images = Some(images.into_iter().map(body::ImageBody).collect());
            (bulk, body::CaptureResponse { outcome: Outcome::Done, reached, images, blocks: None })
        }
        Captured::Blocks { blocks, reached } => {
            let bulk = blocks.iter().map(|b| b.data.len() + 1024).sum();
            let blocks = Some(blocks.into_iter().map(body::Block).collect());
            (bulk, body::CaptureResponse { outcome: Outcome::Done, reached, images: None, blocks })
        }
    }
}

/// A response as the host reads it. `op` is an operation that a request was sent for.
pub(crate) fn decode_response(op: Op, bytes: &[u8]) -> Result<Response, LinkError> {
    let nothing = |what, response| decode(what, bytes).map(|body::Nothing {}| response);
    match op {
        Op::Hello => decode("HELLO response", bytes).and_then(description).map(Response::Hello),
        Op::Status => decode("STATUS response", bytes).map(|status| Response::Status(report(status))),
        Op::Keys => decode("KEYS response", bytes).map(|body::Keys(keys)| Response::Keys(keys)),
        Op::SignedInfo => decode("SIGNED_INFO response", bytes)
            .map(|body::SignedInfoResponse { jws }| Response::SignedInfo(Jws(jws))),
        Op::InstallEncryptionCertificate => {
            nothing("INSTALL_ENCRYPTION_CERTIFICATE response", Response::InstallEncryptionCertificate)
        }
        Op::StreamStart => nothing("STREAM_START response", Response::StreamStart),
        Op::StreamStop => nothing("STREAM_STOP response", Response::StreamStop),
        Op::Capture => decode("CAPTURE response", bytes).and_then(captured).map(Response::Capture),
        Op::CaptureCancel => nothing("CAPTURE_CANCEL response", Response::CaptureCancel),
        Op::FrameEvent | Op::StatusEvent | Op::KeysChangedEvent => {
            Err(malformed("response", "an event cannot be answered"))
        }
    }
}

/// Checks what a device says of itself: it ends up on screens, in logs and in file names.
fn description(hello: body::HelloResponse) -> Result<Description, LinkError> {
    let what = "HELLO response";
    let body::HelloResponse { protocol, identity, level, purpose, firmware, sub_ids } = hello;
    if protocol != VERSION {
        return Err(LinkError::Version { found: protocol });
    }
    let labels = [
        ("serialNo", &identity.serial_no),
        ("make", &identity.make),
        ("model", &identity.model),
        ("deviceProvider", &identity.device_provider),
        ("deviceProviderId", &identity.device_provider_id),
        ("firmware", &firmware),
    ];
    for (name, label) in labels {
        if label.is_empty() || label.len() > MAX_LABEL || label.chars().any(char::is_control) {
            return Err(malformed(what, format!("`{name}` must be 1 to {MAX_LABEL} printable bytes")));
        }
    }
    if !sub_ids.is_sorted_by(|a, b| a < b) {
        return Err(malformed(what, "`subIds` must ascend"));
    }
    Ok(Description { identity, level, purpose, firmware, sub_ids })
}

fn report(body::Status(mut report): body::Status) -> biotrust_driver_api::SelfReport {
    report.reason = printable(&report.reason, MAX_REASON);
    report
}

fn captured(response: body::CaptureResponse) -> Result<Captured, LinkError> {
    use body::Outcome;
    let body::CaptureResponse { outcome, reached, images, blocks } = response;
    match (outcome, images, blocks) {
        (Outcome::Nothing, None, None) => Ok(Captured::Nothing),
        (Outcome::Done, Some(images), None) => {
            Ok(Captured::Images { images: images.into_iter().map(|i| i.0).collect(), reached })
        }
        (Outcome::Done, None, Some(blocks)) => {
            Ok(Captured::Blocks { blocks: blocks.into_iter().map(|b| b.0).collect(), reached })
        }
        _ => Err(malformed(
            "CAPTURE response",
            "`done` comes with `images` or `blocks`, `nothing` with neither",
        )),
    }
}

/// An error response as the device sends it.
pub(crate) fn encode_error(
    op: u8,
    id: u32,
    kind: DeviceErrorKind,
    message: &str,
) -> Result<Zeroizing<Vec<u8>>, LinkError> {
    let message = printable(message, MAX_REASON);
    encode(Header { kind: Kind::Error, op, id }, 0, &body::Failure { kind, message })
}

/// An error response as the host reads it. Kinds that describe the line or the host are not the device's to report.
pub(crate) fn decode_error(bytes: &[u8]) -> Result<ErrorBody, LinkError> {
    use DeviceErrorKind as Kind;
    let body::Failure { kind, message } = decode("error response", bytes)?;
    let kind = match kind {
        Kind::Gone | Kind::PermissionDenied | Kind::InUse | Kind::TimedOut => Kind::Internal,
        told => told,
    };
    Ok(ErrorBody { kind, message: printable(&message, MAX_REASON) })
}

/// An event as the device sends it.
pub(crate) fn encode_event(event: Event) -> Result<Zeroizing<Vec<u8>>, LinkError> {
    let header = |op: Op| Header { kind: Kind::Event, op: op.code(), id: 0 };
    match event {
        Event::Frame(frame) => encode(header(Op::FrameEvent), frame.jpeg.len(), &body::FrameEvent(frame)),
        Event::Status(report) => encode(header(Op::StatusEvent), 0, &body::Status(report)),
        Event::KeysChanged => encode(header(Op::KeysChangedEvent), 0, &body::Nothing {}),
    }
}

/// An event as the host reads it; `None` for one that is not known.
pub(crate) fn decode_event(op: u8, bytes: &[u8]) -> Result<Option<Event>, LinkError> {
    Ok(match Op::from_code(op) {
        Some(Op::FrameEvent) => {
            decode("FRAME event", bytes).map(|body::FrameEvent(frame)| Some(Event::Frame(frame)))?
        }
        Some(Op::StatusEvent) => {
            decode("STATUS event", bytes).map(|status| Some(Event::Status(report(status))))?
        }
        Some(Op::KeysChangedEvent) => {
            decode("KEYS_CHANGED event", bytes).map(|body::Nothing {}| Some(Event::KeysChanged))?
        }
        _ => None,
    })
}
