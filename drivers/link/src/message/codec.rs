//! Messages to bytes and back.
//!
//! Pure. Decoding trusts nothing: a body is read into typed members or refused with the name of the member; the texts
//! that a device brings are cut and cleaned before anybody can print them.

use biotrust_driver_api::{Description, DeviceErrorKind};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::{Captured, ENTERPRISE_NUMBER, ErrorBody, Event, Jws, Op, Request, Response, VERSION, body};
use crate::{LinkError, MAX_MESSAGE, MAX_UNASKED};

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

impl Kind {
    /// Longest message of this kind in bytes, header included.
    pub(crate) const fn longest(self) -> usize {
        match self {
            Self::Request | Self::Event => MAX_UNASKED,
            Self::Response | Self::Error => MAX_MESSAGE,
        }
    }
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
    let limit = header.kind.longest();
    if message.len() > limit {
        return Err(LinkError::TooLong { limit });
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

/// The printable part of `text`, cut to `longest` characters.
fn printable(text: &str, longest: usize) -> String {
    text.chars().filter(|c| is_printable(*c)).take(longest).collect()
}

/// Neither a control character nor one that ends a line or turns the text after it around.
fn is_printable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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
            let images = Some(body::Images(images.into_iter().map(body::ImageBody).collect()));
            (bulk, body::CaptureResponse { outcome: Outcome::Done, reached, images, blocks: None })
        }
        Captured::Blocks { blocks, reached } => {
            let bulk = blocks.iter().map(|b| b.data.len() + 1024).sum();
            let blocks = Some(body::Blocks(blocks.into_iter().map(body::Block).collect()));
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
        if label.is_empty() || label.len() > MAX_LABEL || !label.chars().all(is_printable) {
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
            Ok(Captured::Images { images: images.0.into_iter().map(|i| i.0).collect(), reached })
        }
        (Outcome::Done, None, Some(blocks)) => {
            Ok(Captured::Blocks { blocks: blocks.0.into_iter().map(|b| b.0).collect(), reached })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use biotrust_driver_api::{L1Keys, SelfReport};
    use proptest::prelude::*;

    fn body_of(message: &[u8]) -> (Header, Vec<u8>) {
        let parsed = parse(message).unwrap().unwrap();
        (parsed.header, parsed.body.to_vec())
    }

    /// `Debug` hides secrets, so values are compared by their bytes: what is read must be written the same again.
    #[test]
    fn every_body_is_read_as_it_was_written() {
        for request in testing::requests() {
            let written = encode_request(7, request.clone()).unwrap();
            let (header, body) = body_of(&written);
            let read = decode_request(header.op, &body).unwrap().unwrap();
            assert_eq!(format!("{read:?}"), format!("{request:?}"));
            assert_eq!(*encode_request(7, read).unwrap(), *written);
        }
        for response in testing::responses() {
            let shown = format!("{response:?}");
            let written = encode_response(u32::MAX, response).unwrap();
            let (header, body) = body_of(&written);
            assert_eq!((header.kind, header.id), (Kind::Response, u32::MAX));
            let read = decode_response(Op::from_code(header.op).unwrap(), &body).unwrap();
            assert_eq!(format!("{read:?}"), shown);
            assert_eq!(*encode_response(u32::MAX, read).unwrap(), *written);
        }
        for event in testing::events() {
            let written = encode_event(event.clone()).unwrap();
            let (header, body) = body_of(&written);
            let read = decode_event(header.op, &body).unwrap().unwrap();
            assert_eq!(format!("{read:?}"), format!("{event:?}"));
            assert_eq!(*encode_event(read).unwrap(), *written);
        }
    }

    #[test]
    fn one_request_byte_by_byte() {
        let written = encode_request(0x0102_0304, Request::CaptureCancel { request: 5 }).unwrap();
        let expected = b"\x7F\x00\x00\x7E\xD9\x01\x00\x21\x00\x04\x03\x02\x01\xA1\x67request\x05";
        assert_eq!(written.as_slice(), expected);
    }

    #[test]
    fn room_is_made_at_once() {
        for response in testing::responses() {
            let written = encode_response(1, response).unwrap();
            let (header, body) = body_of(&written);
            let bulk = match decode_response(Op::from_code(header.op).unwrap(), &body).unwrap() {
                Response::Capture(captured) => capture_body(captured).0,
                _ => 0,
            };
            assert!(written.capacity() == bulk + 1024, "a buffer was grown and left a copy behind");
        }
    }

    /// Edits the CBOR of `message`'s body.
    fn edited(body: &[u8], edit: impl FnOnce(&mut Vec<(ciborium::Value, ciborium::Value)>)) -> Vec<u8> {
        let mut value: ciborium::Value = ciborium::from_reader(body).unwrap();
        edit(value.as_map_mut().unwrap());
        let mut bytes = Vec::new();
        ciborium::into_writer(&value, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn unknown_members_are_ignored_and_missing_ones_named() {
        let written = encode_response(1, Response::Status(testing::report())).unwrap();
        let (_, body) = body_of(&written);
        let more = edited(&body, |map| map.push(("new".into(), ciborium::Value::Array(vec![1.into()]))));
        assert!(
            matches!(decode_response(Op::Status, &more), Ok(Response::Status(r)) if r == testing::report())
        );

        let less = edited(&body, |map| map.retain(|(key, _)| key.as_text() != Some("status")));
        let error = decode_response(Op::Status, &less).unwrap_err();
        assert_eq!(error.to_string(), "malformed STATUS response: missing field `status`");
    }

    #[test]
    fn what_follows_or_lacks_is_refused() {
        let written = encode_response(1, Response::Status(testing::report())).unwrap();
        let (_, mut body) = body_of(&written);
        assert!(decode_response(Op::Status, &body[..body.len() - 1]).is_err());
        body.push(0);
        assert!(decode_response(Op::Status, &body).is_err());
        assert!(decode_response(Op::StreamStop, &[]).is_ok(), "an empty body stands for an empty map");
        assert!(decode_response(Op::Status, &[]).is_err());
    }

    #[test]
    fn a_device_cannot_call_itself_anything() {
        type Member = (&'static str, ciborium::Value);
        let bad: [Member; 5] = [
            ("firmware", "".into()),
            ("firmware", "1\u{1b}[31m".into()),
            ("firmware", "9".repeat(129).into()),
            ("subIds", ciborium::Value::Array(vec![2.into(), 1.into()])),
            ("protocol", 2.into()),
        ];
        let written =
            encode_response(1, Response::Hello(testing::description(biotrust_model::Level::L0))).unwrap();
        let (_, body) = body_of(&written);
        assert!(decode_response(Op::Hello, &body).is_ok());
        for (name, value) in bad {
            let body = edited(&body, |map| {
                map.retain(|(key, _)| key.as_text() != Some(name));
                map.push((name.into(), value));
            });
            assert!(decode_response(Op::Hello, &body).is_err(), "{name}");
        }
    }

    /// The body of `response` with its member `name` replaced.
    fn with(response: Response, name: &str, value: ciborium::Value) -> Vec<u8> {
        edited(&body_of(&encode_response(1, response).unwrap()).1, |map| {
            map.iter_mut()
                .filter(|(key, _)| key.as_text() == Some(name))
                .for_each(|(_, v)| *v = value.clone());
        })
    }

    /// Each of the small elements costs the host many times what it costs the device.
    #[test]
    fn lists_are_bounded_and_reading_stops_at_the_bound() {
        let list = |n: usize, element: ciborium::Value| ciborium::Value::Array(vec![element; n]);
        let certificates = |n, length: usize| list(n, ciborium::Value::Bytes(vec![0x30; length]));
        let keys = || Response::Keys(L1Keys { device_chain: vec![], chip_chain: vec![] });
        for chain in ["deviceChain", "chipChain"] {
            for (value, good) in [
                (certificates(8, 65_536), true),
                (certificates(9, 0), false),
                (certificates(1, 65_537), false),
            ] {
                let read = decode_response(Op::Keys, &with(keys(), chain, value));
                assert_eq!(read.is_ok(), good, "{chain}: {read:?}");
            }
        }
        let captured = [
            Captured::Images { images: vec![testing::image(None, 1)], reached: true },
            Captured::Blocks { blocks: vec![testing::block(1)], reached: true },
        ];
        for (captured, name) in captured.into_iter().zip(["images", "blocks"]) {
            let body = body_of(&encode_response(1, Response::Capture(captured)).unwrap()).1;
            let map: ciborium::Value = ciborium::from_reader(body.as_slice()).unwrap();
            let of_name = |(key, value): &(ciborium::Value, ciborium::Value)| {
                (key.as_text() == Some(name)).then(|| value.as_array().unwrap()[0].clone())
            };
            let element = map.as_map().unwrap().iter().find_map(of_name).unwrap();
            for (n, good) in [(16, true), (17, false)] {
                let more = edited(&body, |map| {
                    map.retain(|(key, _)| key.as_text() != Some(name));
                    map.push((name.into(), list(n, element.clone())));
                });
                assert_eq!(decode_response(Op::Capture, &more).is_ok(), good, "{n} {name}");
            }
        }
        let hello = || Response::Hello(testing::description(biotrust_model::Level::L0));
        for (n, good) in [(16u8, true), (17, false)] {
            let ids = (0..n).map(Into::into).collect();
            let read = decode_response(Op::Hello, &with(hello(), "subIds", ciborium::Value::Array(ids)));
            assert_eq!(read.is_ok(), good, "{n} sub-ids");
        }

        // An array of any length whose tenth element cannot be read: nobody gets that far.
        let body = [b"\xA2\x6BdeviceChain\x9F".as_slice(), &[0x40; 9], &[0xFE; 8_000_000]].concat();
        let error = decode_response(Op::Keys, &body).unwrap_err().to_string();
        assert_eq!(error, "malformed KEYS response: invalid length 9, expected at most 8 elements");
    }

    /// What could end a line of a log, colour a terminal, or turn the text around.
    const UNPRINTABLE: [char; 7] = ['\n', '\r', '\0', '\u{1b}', '\u{85}', '\u{2028}', '\u{202e}'];

    #[test]
    fn every_name_that_a_device_gives_itself_is_short_and_printable() {
        type Member = fn(&mut Description) -> &mut String;
        let hello = |edit: Member, text: String| {
            let mut description = testing::description(biotrust_model::Level::L1);
            *edit(&mut description) = text;
            let written = encode_response(1, Response::Hello(description)).unwrap();
            decode_response(Op::Hello, &body_of(&written).1)
        };
        let members: [(&str, Member); 6] = [
            ("serialNo", |d| &mut d.identity.serial_no),
            ("make", |d| &mut d.identity.make),
            ("model", |d| &mut d.identity.model),
            ("deviceProvider", |d| &mut d.identity.device_provider),
            ("deviceProviderId", |d| &mut d.identity.device_provider_id),
            ("firmware", |d| &mut d.firmware),
        ];
        for (name, member) in members {
            assert!(hello(member, "\u{645}\u{64e} \"e\u{301}\" '\\'".into()).is_ok(), "any script");
            assert!(hello(member, "x".repeat(128)).is_ok());
            let bad = UNPRINTABLE.iter().map(|c| format!("a{c}b"));
            for text in bad.chain([String::new(), "x".repeat(129)]) {
                let error = hello(member, text.clone()).unwrap_err();
                assert!(error.to_string().contains(&format!("`{name}`")), "{text:?}: {error}");
                assert_eq!(error.on("tty").kind, DeviceErrorKind::Protocol);
            }
        }
    }

    #[test]
    fn what_a_device_says_in_words_is_cut_and_cleaned() {
        let dirty: String = UNPRINTABLE.iter().flat_map(|c| ['a', *c]).collect();
        let long = dirty.repeat(100);
        let clean = "a".repeat(200);
        let dirty_report =
            || SelfReport { status: biotrust_model::DeviceStatus::NotReady, reason: long.clone() };
        let (_, body) = body_of(&encode_response(1, Response::Status(dirty_report())).unwrap());
        let Ok(Response::Status(report)) = decode_response(Op::Status, &body) else { panic!("refused") };
        assert_eq!(report.reason, clean);
        let event = encode_event(Event::Status(dirty_report())).unwrap();
        let (header, body) = body_of(&event);
        let Ok(Some(Event::Status(report))) = decode_event(header.op, &body) else { panic!("refused") };
        assert_eq!(report.reason, clean);
        // As a device writes it that does not clean what it says.
        let failure = body::Failure { kind: DeviceErrorKind::Busy, message: long.clone() };
        let header = Header { kind: Kind::Error, op: Op::Status.code(), id: 1 };
        let (_, body) = body_of(&encode(header, 0, &failure).unwrap());
        assert_eq!(decode_error(&body).unwrap().message, clean);
        // A word that is not in a vocabulary is quoted by the reader.
        let word = with(Response::Status(testing::report()), "status", long.into());
        let error = decode_response(Op::Status, &word).unwrap_err().to_string();
        assert!(!error.contains(UNPRINTABLE) && error.len() < 300, "{error:?}");
    }

    #[test]
    fn an_outcome_must_not_contradict_itself() {
        let written = encode_response(1, Response::Capture(Captured::Nothing)).unwrap();
        let (_, body) = body_of(&written);
        let both = edited(&body, |map| {
            map.push(("images".into(), ciborium::Value::Array(vec![])));
            map.push(("blocks".into(), ciborium::Value::Array(vec![])));
        });
        let done = edited(&body, |map| {
            map.iter_mut()
                .filter(|(k, _)| k.as_text() == Some("outcome"))
                .for_each(|(_, v)| *v = "done".into())
        });
        for bad in [both, done] {
            assert!(decode_response(Op::Capture, &bad).is_err());
        }
    }

    #[test]
    fn auth_goes_with_its_purpose() {
        let mut job = testing::capture_job(&[], std::time::Duration::from_secs(1));
        job.auth = None;
        let written = encode_request(1, Request::Capture(Box::new(job))).unwrap();
        let (header, body) = body_of(&written);
        assert!(decode_request(header.op, &body).is_err());
    }

    #[test]
    fn refusals_are_cleaned_and_cannot_speak_for_the_host() {
        let written = encode_error(0x20, 1, DeviceErrorKind::Gone, &"\u{7}no\n".repeat(100)).unwrap();
        let (header, body) = body_of(&written);
        let refusal = decode_error(&body).unwrap();
        assert_eq!((header.kind, refusal.kind), (Kind::Error, DeviceErrorKind::Internal));
        assert_eq!(refusal.message, "no".repeat(100));
        let busy = encode_error(0x20, 1, DeviceErrorKind::Busy, "").unwrap();
        assert_eq!(decode_error(&body_of(&busy).1).unwrap().kind, DeviceErrorKind::Busy);
        let new = edited(&body, |map| map[0].1 = "KindOfTheFuture".into());
        assert_eq!(decode_error(&new).unwrap().kind, DeviceErrorKind::Internal);
    }

    #[test]
    fn images_blocks_and_keys_cannot_be_printed() {
        let canary = b"canary-canary";
        let mut image = testing::image(None, 0);
        image.image = biotrust_model::Secret::new(canary.to_vec());
        let frame = biotrust_driver_api::Frame { sequence: 1, jpeg: canary[..].into(), score: None };
        let mut block = testing::block(0);
        block.data = biotrust_model::Secret::new(canary.to_vec());
        block.session_key = Some(String::from_utf8_lossy(canary).into_owned());
        let shown = format!(
            "{:?} {:?} {:?} {:?}",
            Response::Capture(Captured::Images { images: vec![image], reached: true }),
            Response::Capture(Captured::Blocks { blocks: vec![block], reached: true }),
            Event::Frame(frame),
            Response::SignedInfo(Jws(String::from_utf8_lossy(canary).into_owned())),
        );
        assert!(!shown.contains("canary") && !shown.contains("99, 97, 110"), "{shown}");
    }

    #[test]
    fn foreign_messages_are_passed_over_and_other_versions_named() {
        assert!(parse(b"\x00\x80\x02").unwrap().is_none(), "MCTP control");
        assert!(
            parse(b"\x7F\x00\x00\x00\x01\x01\x00\x01\x00\x00\x00\x00\x00").unwrap().is_none(),
            "another vendor"
        );
        assert!(matches!(
            parse(b"\x7F\x00\x00\x7E\xD9\x02\x00\x01\x00\x00\x00\x00\x00"),
            Err(LinkError::Version { found: 2 })
        ));
        assert!(parse(b"\x7F\x00\x00\x7E\xD9\x01").is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bodies_never_panic(op in any::<u8>(), body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_request(op, &body);
            let _ = decode_event(op, &body);
            let _ = decode_error(&body);
            let _ = parse(&body);
            if let Some(op) = Op::from_code(op) {
                let _ = decode_response(op, &body);
            }
        }

        #[test]
        fn bent_bodies_never_panic(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let responses = testing::responses();
            let which = which.index(responses.len());
            let written = encode_response(1, responses.into_iter().nth(which).unwrap()).unwrap();
            let (header, mut body) = body_of(&written);
            let at = at.index(body.len());
            body[at] = byte;
            let _ = decode_response(Op::from_code(header.op).unwrap(), &body);
        }
    }
}
