//! How packets lie on a bus: three framings, and what each of them asks of whoever writes and reads. Pure.

use std::borrow::Cow;

use super::{hid, serial, usb};

/// How MCTP packets are carried.
///
/// Both roles make and take bytes in the framing that they were made for. A serial line carries them as they come. On
/// USB and HID a transfer or a report is a unit: write what [`Self::transfers`] gives one by one, and hand each unit
/// that was read to `receive` whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Framing {
    /// DSP0253, over anything that carries bytes in order.
    #[default]
    Serial,
    /// DSP0283, over a pair of bulk endpoints.
    Usb,
    /// The frames of a serial line in HID reports of 64 bytes.
    Hid,
}

impl Framing {
    /// Longest MCTP packet in bytes, its header included.
    pub(super) const fn max_packet(self) -> usize {
        match self {
            Self::Serial | Self::Hid => serial::MAX_PACKET,
            Self::Usb => usb::MAX_PACKET,
        }
    }

    /// Appends the packet `header` + `payload`, at most [`Self::max_packet`] bytes.
    pub(crate) fn encode(self, header: [u8; 4], payload: &[u8], line: &mut Vec<u8>) {
        match self {
            Self::Serial | Self::Hid => serial::encode(header, payload, line),
            Self::Usb => usb::encode(header, payload, line),
        }
    }

    /// Cuts bytes that a role has made into what one write carries each.
    pub fn transfers(self, line: &[u8]) -> impl Iterator<Item = Cow<'_, [u8]>> {
        let mut rest = line;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (transfer, later) = match self {
                Self::Serial => (Cow::Borrowed(rest), &[][..]),
                Self::Usb => {
                    let (transfer, later) = usb::split_transfer(rest);
                    (Cow::Borrowed(transfer), later)
                }
                Self::Hid => {
                    let (report, later) = hid::split_report(rest);
                    (Cow::Owned(report), later)
                }
            };
            rest = later;
            Some(transfer)
        })
    }
}

/// Finds packets in what was read.
pub(crate) struct Decoder(ByFraming);

enum ByFraming {
    Serial(serial::Decoder),
    Usb(usb::Decoder),
    Hid { frames: serial::Decoder, padding: usize },
}

impl Decoder {
    pub(crate) fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::Serial => ByFraming::Serial(serial::Decoder::new()),
            Framing::Usb => ByFraming::Usb(usb::Decoder::default()),
            Framing::Hid => ByFraming::Hid { frames: serial::Decoder::new(), padding: 0 },
        })
    }

    /// Bytes taken in since the last that made sense.
    pub(crate) fn noise(&self) -> usize {
        match &self.0 {
            ByFraming::Serial(frames) => frames.noise(),
            ByFraming::Usb(packets) => packets.noise(),
            ByFraming::Hid { frames, padding } => frames.noise().saturating_add(*padding),
        }
    }

    /// Takes in what one read brought, and hands each good packet to `deliver`.
    pub(crate) fn push(&mut self, bytes: &[u8], mut deliver: impl FnMut(&[u8])) {
        match &mut self.0 {
            ByFraming::Serial(frames) => frames.push(bytes, deliver),
            ByFraming::Usb(packets) => packets.push(bytes, deliver),
            ByFraming::Hid { frames, padding } => {
                let stream = hid::bytes(bytes);
                *padding = padding.saturating_add(bytes.len() - stream.len());
                frames.push(stream, |packet| {
                    *padding = 0;
                    deliver(packet);
                });
            }
        }
    }
}
