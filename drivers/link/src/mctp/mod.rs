//! MCTP over a serial line, USB or HID: bytes to messages and back.
//!
//! Pure: no I/O, no time. What comes from the line is not trusted; memory and patience are bounded.

mod framing;
pub mod hid;
mod packet;
mod serial;
mod usb;

pub(crate) use framing::Decoder;
pub use framing::Framing;
pub(crate) use packet::{Assembled, Route, Tag, encode};
pub(crate) use usb::MAX_TRANSFER;

use zeroize::Zeroizing;

use crate::LinkError;

/// Endpoint id of the host.
pub const HOST_EID: u8 = 8;
/// Endpoint id of the device.
pub const DEVICE_EID: u8 = 9;
/// Longest message in bytes, header included: four lossless slap images with a margin.
pub const MAX_MESSAGE: usize = 8 * 1024 * 1024;
/// Longest request or event in bytes, header included: a frame of the preview, or certificates.
pub const MAX_UNASKED: usize = 1024 * 1024;
/// Messages that may be unfinished at once.
const MAX_UNFINISHED: usize = 4;
/// Memory for them: the longest answer with the longest event in between, and small answers.
const UNFINISHED_ROOM: usize = MAX_MESSAGE + MAX_UNASKED + 64 * 1024;
/// Bytes without one good frame after which the other end is taken for something that does not speak MCTP.
const MAX_NOISE: usize = 1024 * 1024;

/// The message that carries the SPDM message `message`.
pub(crate) fn spdm(message: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut whole = Zeroizing::new(Vec::with_capacity(1 + message.len()));
    whole.push(biotrust_spdm::MCTP_TYPE);
    whole.extend_from_slice(message);
    whole
}

/// The SPDM message that `message` carries.
pub(crate) fn as_spdm(message: &[u8]) -> Option<&[u8]> {
    message.strip_prefix(&[biotrust_spdm::MCTP_TYPE])
}

/// The receiving end of a line.
pub(crate) struct Receiver {
    frames: framing::Decoder,
    assembler: packet::Assembler,
}

impl Receiver {
    /// For the endpoint `local`.
    pub(crate) fn new(framing: Framing, local: u8) -> Self {
        let limits = packet::Limits {
            owned: MAX_UNASKED,
            answer: MAX_MESSAGE,
            open: MAX_UNFINISHED,
            room: UNFINISHED_ROOM,
        };
        Self { frames: framing::Decoder::new(framing), assembler: packet::Assembler::new(local, limits) }
    }

    /// How many messages were begun and given up since the last call.
    pub(crate) fn take_lost(&mut self) -> u32 {
        self.assembler.take_lost()
    }

    /// Takes in what one read brought; answers the messages that they complete, and faults in their place.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Result<Assembled, LinkError>> {
        let mut messages = Vec::new();
        self.frames.push(bytes, |packet| match self.assembler.push(packet) {
            Ok(None) => {}
            Ok(Some(message)) => messages.push(Ok(message)),
            Err(packet::TooLong(limit)) => messages.push(Err(LinkError::TooLong { limit })),
        });
        if self.frames.noise() > MAX_NOISE {
            messages.push(Err(LinkError::Noise));
        }
        messages
    }
}
