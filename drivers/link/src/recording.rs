//! What may be written of the traffic with a link device: what was said, when and how long it was, and not what was in it.
//!
//! Of each message the header stays; of those that are one packet long and hold no more than states, errors and orders,
//! all of it. Everything else is zeros: images, blocks, certificates, proofs, names. Frames and checksums fit what they
//! hold, so that a recording is read as what went over the line. What was no good packet is left out.

use biotrust_pipe::record::{Blank, Entry, Mark, Op as Happened, Scrub};

use crate::mctp::{Decoder, Framing};
use crate::message::Op;

/// Bytes of a packet's header.
const PACKET: usize = 4;
const START_AND_END: u8 = 0xC0;
const START: u8 = 0x80;
/// Message type of the link: "vendor defined, IANA".
const LINK_TYPE: u8 = 0x7F;
/// Message type, vendor, version, kind, operation, zero, id.
const LINK_HEADER: usize = 13;
/// Message type, and SPDM's own header: version, code and two parameters.
const SPDM_HEADER: usize = 5;
/// An error response.
const ERROR: u8 = 2;

/// Cleans the traffic of a link device, whatever bus it is on.
#[derive(Default)]
pub struct Cleaner {
    /// Found out with the first bytes: what went out, and what came in.
    line: Option<(Framing, Decoder, Decoder)>,
}

impl Scrub for Cleaner {
    fn clean(&mut self, mut entry: Entry) -> Vec<Entry> {
        let (endpoint, data, is_in) = match &mut entry.op {
            Happened::In { endpoint, data } => (*endpoint, data, true),
            Happened::Out { endpoint, data } => (*endpoint, data, false),
            _ => return Blank.clean(entry),
        };
        if data.0.is_empty() {
            return vec![entry];
        }
        let (framing, outgoing, incoming) = self.line.get_or_insert_with(|| {
            let framing = framing(endpoint, &data.0);
            (framing, Decoder::new(framing), Decoder::new(framing))
        });
        let (mut cleaned, mut is_blank) = (Vec::new(), false);
        let decoder = if is_in { incoming } else { outgoing };
        decoder.push(&data.0, |packet| {
            let Some((header, piece)) = packet.split_first_chunk::<PACKET>() else { return };
            let [_, _, _, flags] = header;
            let kept = kept(*flags, piece);
            is_blank |= kept < piece.len();
            let mut piece = piece.to_vec();
            piece.iter_mut().skip(kept).for_each(|byte| *byte = 0);
            framing.encode(*header, &piece, &mut cleaned);
        });
        if is_blank {
            entry.mark = Some(Mark::Blank);
        }
        let units = framing.transfers(&cleaned).map(|unit| {
            let mut entry = entry.clone();
            if let Happened::In { data, .. } | Happened::Out { data, .. } = &mut entry.op {
                data.0 = unit.into_owned();
            }
            entry
        });
        units.collect()
    }
}

/// How the first bytes lie on their bus: HELLO, as the host sends it.
fn framing(endpoint: u8, bytes: &[u8]) -> Framing {
    match bytes.first() {
        _ if endpoint != 0 => Framing::Usb,
        Some(&crate::hid::REPORT_ID) if bytes.len() == crate::hid::REPORT => Framing::Hid,
        _ => Framing::Serial,
    }
}

/// How many bytes of the piece of a message in a packet with these flags may be written.
fn kept(flags: u8, piece: &[u8]) -> usize {
    if flags & START == 0 {
        return 0;
    }
    match piece {
        [biotrust_spdm::MCTP_TYPE, ..] => SPDM_HEADER,
        [LINK_TYPE, _, _, _, _, _, kind, op, ..] => {
            let is_whole = flags & START_AND_END == START_AND_END;
            let is_harmless = *kind == ERROR || HARMLESS.iter().any(|known| known.code() == *op);
            if is_whole && is_harmless { piece.len() } else { LINK_HEADER }
        }
        _ => 1,
    }
    .min(piece.len())
}

/// Operations whose messages hold no more than numbers and states.
const HARMLESS: [Op; 6] =
    [Op::Status, Op::StreamStart, Op::StreamStop, Op::CaptureCancel, Op::StatusEvent, Op::KeysChangedEvent];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{DeviceRole, Incoming};
    use crate::host::HostRole;
    use crate::message::{Captured, Event, Request, Response, VERSION};
    use crate::testing;
    use biotrust_driver_api::DeviceErrorKind;
    use biotrust_model::{BioSubType, Level};
    use biotrust_pipe::record::Bytes;
    use std::time::Duration;

    fn entry(op: Happened) -> Entry {
        Entry { us: 5, op, mark: None, failed: None }
    }

    /// What is written of `line`, as it is read or written unit by unit.
    fn written(cleaner: &mut Cleaner, framing: Framing, is_in: bool, line: &[u8]) -> Vec<Entry> {
        let units: Vec<Vec<u8>> = match framing {
            // A line delivers as it likes.
            Framing::Serial => line.chunks(100).map(<[u8]>::to_vec).collect(),
            _ => framing.transfers(line).map(std::borrow::Cow::into_owned).collect(),
        };
        let endpoint = if framing == Framing::Usb { 1 } else { 0 };
        let happened = |data| match is_in {
            true => {
                Happened::In { endpoint: endpoint | if framing == Framing::Usb { 0x80 } else { 0 }, data }
            }
            false => Happened::Out { endpoint, data },
        };
        units.into_iter().flat_map(|unit| cleaner.clean(entry(happened(Bytes(unit))))).collect()
    }

    fn bytes(entries: &[Entry]) -> Vec<Vec<u8>> {
        let data = |entry: &Entry| match &entry.op {
            Happened::In { data, .. } | Happened::Out { data, .. } => data.0.clone(),
            other => panic!("{other:?}"),
        };
        entries.iter().map(data).collect()
    }

    fn holds(entries: &[Entry], what: &[u8]) -> bool {
        bytes(entries).concat().windows(what.len()).any(|window| window == what)
    }

    #[test]
    fn what_was_said_stays_and_what_was_in_it_goes() {
        for framing in [Framing::Serial, Framing::Usb, Framing::Hid] {
            let (mut host, mut device) = (HostRole::over(framing, 7), DeviceRole::over(framing));
            let mut cleaner = Cleaner::default();
            let (_, hello) = host.request(Request::Hello(VERSION)).unwrap();
            written(&mut cleaner, framing, false, &hello);
            let mut ask = |request: Request| {
                let (_, line) = host.request(request).unwrap();
                let mut incoming = Vec::new();
                framing.transfers(&line).for_each(|unit| incoming.extend(device.receive(&unit)));
                match incoming.pop() {
                    Some(Incoming::Request { ticket, .. }) => (line, ticket),
                    other => panic!("{other:?}"),
                }
            };
            let job = testing::capture_job(&BioSubType::LEFT_SLAP, Duration::from_secs(1));
            let (captures, ticket) = ask(Request::Capture(Box::new(job)));
            let (status, state) = ask(Request::Status);
            let asked = written(&mut cleaner, framing, false, &captures);
            assert!(!holds(&asked, b"https://") && holds(&captures_as(&captures), b"domain"), "{framing:?}");
            assert!(asked.iter().any(|entry| entry.mark == Some(Mark::Blank)));
            let asked = written(&mut cleaner, framing, false, &status);
            assert!(
                asked.iter().all(|entry| entry.mark.is_none()),
                "a question for the state has no contents"
            );

            let image = vec![testing::image(None, 5000)];
            let answers = [
                device.respond(
                    ticket,
                    Ok(Response::Capture(Captured::Images { images: image, reached: true })),
                ),
                device.event(Event::Frame(testing::frame(1, 3000))),
            ];
            for answer in answers {
                let clean = written(&mut cleaner, framing, true, &answer);
                let all = bytes(&clean).concat();
                assert!(all.len() > 3000, "{framing:?}: lengths stay");
                // Headers, checksums and counts; the rest is zeros.
                let zeros = all.iter().filter(|byte| **byte == 0).count();
                assert!(zeros * 100 > all.len() * 85, "{framing:?}: {zeros} of {}", all.len());
                assert!(!holds(&clean, &[0xD8; 8]) && !holds(&clean, b"jpeg") && !holds(&clean, b"image"));
            }
            let answer = device.respond(state, Err((DeviceErrorKind::Busy, "capturing".into())));
            assert!(
                holds(&written(&mut cleaner, framing, true, &answer), b"Busy"),
                "{framing:?}: errors stay"
            );
        }
    }

    /// The control of the control: a line that was not cleaned.
    fn captures_as(line: &[u8]) -> Vec<Entry> {
        vec![entry(Happened::Out { endpoint: 0, data: Bytes(line.to_vec()) })]
    }

    #[test]
    fn a_clean_recording_is_read_as_what_went_over_the_line() {
        let (mut host, mut device) = (HostRole::new(1), DeviceRole::new());
        let mut cleaner = Cleaner::default();
        let (_, line) = host.request(Request::Hello(VERSION)).unwrap();
        let Some(Incoming::Request { ticket, .. }) = device.receive(&line).pop() else { panic!() };
        let answer = device.respond(ticket, Ok(Response::Hello(testing::description(Level::L0))));
        let out = written(&mut cleaner, Framing::Serial, false, &line);
        let came = written(&mut cleaner, Framing::Serial, true, &answer);
        assert!(!holds(&came, b"SN0000000001") && !holds(&out, b"protocol"));
        let mut packets = 0;
        let mut again = Decoder::new(Framing::Serial);
        bytes(&came).iter().for_each(|data| again.push(data, |_| packets += 1));
        assert_eq!(packets, 1, "a frame with a good checksum");
    }

    #[test]
    fn what_is_no_packet_is_left_out() {
        let mut cleaner = Cleaner::default();
        assert!(written(&mut cleaner, Framing::Serial, true, b"a finger in clear").is_empty());
        let feature = cleaner.clean(entry(Happened::FeatureIn { data: Bytes(vec![9; 8]) }));
        assert!(matches!(&feature[0].op, Happened::FeatureIn { data } if data.0 == [0; 8]));
    }
}
