//! The frames between the service and a driver.
//!
//! ```text
//! length, 4 bytes little endian | type, 1 byte | body          length counts type and body
//! ```
//! Numbers are little endian, a text is its length (2 bytes) and UTF-8, an image is at the end of its frame. A body may
//! be longer than what this version knows: later versions append.
//!
//! Pure. Whoever reads trusts nothing: lengths are bounded before memory is taken, and an image has the size that its
//! width and height say. Image bytes are in a type that wipes and cannot be printed.

use biotrust_model::{Modality, Purpose, Secret};

/// Version of the protocol, in HELLO.
pub const VERSION: u16 = 1;
/// Longest frame in bytes without its length: an image of 16 million pixels in colour, and its head.
pub const MAX_FRAME: usize = 48 * 1024 * 1024 + 64;
/// Longest frame that is no image.
pub const MAX_PLAIN: usize = 8 * 1024;
/// Longest text in bytes.
pub const MAX_TEXT: usize = 256;

/// A frame cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Longer than any frame may be.
    #[error("a frame of {0} bytes: too long")]
    TooLong(usize),
    /// No such type.
    #[error("a frame of type {0:#04x}: there is none")]
    Type(u8),
    /// Its body is not what its type says.
    #[error("{frame}: {why}")]
    Malformed {
        /// Name of the frame.
        frame: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// What the service says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToDriver {
    /// Begins every connection.
    Hello {
        /// Version that the service speaks.
        version: u16,
    },
    /// This connection is to tell of devices that come and go.
    Watch,
    /// Are you well?
    Ping(u32),
    /// This connection is for the device of this name.
    Open {
        /// Its name, from PRESENT.
        name: String,
    },
    /// How is the device?
    Status {
        /// Of the answer.
        id: u32,
    },
    /// Look once.
    Look {
        /// Of the answer.
        id: u32,
        /// Answer within so many milliseconds, with NOTHING if need be.
        within_ms: u32,
    },
    /// Answer this LOOK at once.
    Cancel {
        /// Of the LOOK.
        id: u32,
    },
    /// Nobody will look for a while. No answer.
    Rest,
}

/// How the service talks to a device once it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// STATUS and LOOK: a plain sensor, whose images the service signs (L0).
    Sensor,
    /// The link protocol, byte by byte as on a serial line: the device itself speaks it, and the driver only carries it.
    Link,
}

/// What a driver says of a sensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SensorInfo {
    /// What it senses.
    pub modality: Modality,
    /// What it is for.
    pub purpose: Purpose,
    /// Maker.
    pub make: String,
    /// Model.
    pub model: String,
    /// Serial number.
    pub serial: String,
    /// Legal name of the provider.
    pub provider: String,
    /// Id of the provider with MOSIP.
    pub provider_id: String,
    /// Version of its firmware.
    pub firmware: String,
}

/// Why a driver cannot do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Unplugged.
    Gone,
    /// It cannot work now.
    NotReady,
    /// Somebody else uses it.
    Busy,
    /// Anything else.
    Internal,
}

/// What a sensor saw.
#[derive(Debug)]
pub enum Sight {
    /// Nothing was presented.
    Nothing,
    /// A finger: 8-bit grey, dark ridges, upright, at so many pixels per inch.
    Finger(Picture, u16),
    /// A face: 3 bytes RGB for each pixel.
    Face(Picture),
    /// An eye: 8-bit grey, near infrared; and where the iris is, without which it is shown and never captured.
    Iris(Picture, Option<Eye>),
}

/// Where an iris is: two circles, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eye {
    /// Centre x, centre y and radius of the pupil.
    pub pupil: [u16; 3],
    /// Centre x, centre y and radius of the outer edge of the iris.
    pub limbus: [u16; 3],
}

/// An image, row by row from the top without padding.
pub struct Picture {
    /// Pixels.
    pub width: u16,
    /// Pixels.
    pub height: u16,
    /// The pixels.
    pub pixels: Secret,
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({}x{})", self.width, self.height)
    }
}

/// What a driver says.
#[derive(Debug)]
pub enum FromDriver {
    /// Answers HELLO.
    Hello {
        /// Version that the driver speaks.
        version: u16,
        /// Its name.
        name: String,
        /// Its version.
        release: String,
    },
    /// A device is there.
    Present {
        /// Its name, the same whenever the same device is there.
        name: String,
        /// How to talk to it.
        speech: Speech,
    },
    /// It is gone.
    Absent {
        /// Its name.
        name: String,
    },
    /// All devices that were there at WATCH have been told.
    Listed,
    /// Answers PING.
    Pong(u32),
    /// Answers OPEN of a sensor.
    OpenedSensor(SensorInfo),
    /// Answers OPEN of a device that speaks the link protocol: bytes of it follow, and no frames any more.
    OpenedLink,
    /// Answers OPEN.
    Refused(Failure, String),
    /// Answers STATUS.
    Status {
        /// Of the question.
        id: u32,
        /// Whether it can work.
        ready: bool,
        /// Why not; empty where it can.
        reason: String,
    },
    /// Answers LOOK.
    Seen {
        /// Of the question.
        id: u32,
        /// What.
        sight: Sight,
    },
    /// Answers STATUS or LOOK.
    Failed {
        /// Of the question.
        id: u32,
        /// What kind of failure.
        failure: Failure,
        /// Why, for a technician.
        why: String,
    },
}

/// Writes a frame.
struct Writer(Vec<u8>);

impl Writer {
    fn new(kind: u8) -> Self {
        Self(vec![0, 0, 0, 0, kind])
    }

    fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    fn u16(mut self, value: u16) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Cut to [`MAX_TEXT`] at a character: a text too long is no reason to say nothing.
    fn text(self, text: &str) -> Self {
        let end = (0..=text.len().min(MAX_TEXT)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        let text = text.get(..end).unwrap_or_default();
        let mut longer = self.u16(text.len() as u16);
        longer.0.extend_from_slice(text.as_bytes());
        longer
    }

    fn end(mut self) -> Vec<u8> {
        let length = (self.0.len() - 4) as u32;
        if let Some(head) = self.0.first_chunk_mut::<4>() {
            *head = length.to_le_bytes();
        }
        self.0
    }
}

/// A text of a driver without what steers a terminal, ends a line or turns it around.
pub(crate) fn printable(text: &str) -> String {
    let is_printable =
        |c: &char| !c.is_control() && !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().filter(is_printable).collect()
}

/// Reads a body.
struct Reader<'b> {
    frame: &'static str,
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    fn wrong(&self, why: &'static str) -> WireError {
        WireError::Malformed { frame: self.frame, why }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(self.wrong("it ends too early"))?;
        self.rest = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, WireError> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        self.take().map(u32::from_le_bytes)
    }

    fn text(&mut self) -> Result<String, WireError> {
        let length = usize::from(self.u16()?);
        if length > MAX_TEXT {
            return Err(self.wrong("a text longer than 256 bytes"));
        }
        let (text, rest) = self.rest.split_at_checked(length).ok_or(self.wrong("a text ends too early"))?;
        self.rest = rest;
        let text = std::str::from_utf8(text).map_err(|_| self.wrong("a text that is not UTF-8"))?;
        // It ends up on screens, in logs and in file names.
        Ok(printable(text))
    }

    /// A name or number that something is known by.
    fn label(&mut self) -> Result<String, WireError> {
        let label = self.text()?;
        if label.is_empty() { Err(self.wrong("an empty name")) } else { Ok(label) }
    }

    /// The rest of the body.
    fn picture(self, width: u16, height: u16, depth: usize) -> Result<Picture, WireError> {
        let size = usize::from(width) * usize::from(height) * depth;
        if size == 0 || self.rest.len() != size {
            return Err(self.wrong("the pixels are not as many as width and height say"));
        }
        Ok(Picture { width, height, pixels: Secret::new(self.rest.to_vec()) })
    }

    fn circle(&mut self) -> Result<[u16; 3], WireError> {
        Ok([self.u16()?, self.u16()?, self.u16()?])
    }
}

impl ToDriver {
    /// The bytes to send.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello { version } => Writer::new(0x01).u16(*version),
            Self::Watch => Writer::new(0x02),
            Self::Ping(nonce) => Writer::new(0x03).u32(*nonce),
            Self::Open { name } => Writer::new(0x04).text(name),
            Self::Status { id } => Writer::new(0x10).u32(*id),
            Self::Look { id, within_ms } => Writer::new(0x11).u32(*id).u32(*within_ms),
            Self::Cancel { id } => Writer::new(0x12).u32(*id),
            Self::Rest => Writer::new(0x13),
        }
        .end()
    }

    /// Reads a frame without its length.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(frame: &[u8]) -> Result<Self, WireError> {
        let Some((&kind, rest)) = frame.split_first() else {
            return Err(WireError::Malformed { frame: "frame", why: "it is empty" });
        };
        let read = |frame| Reader { frame, rest };
        Ok(match kind {
            0x01 => Self::Hello { version: read("HELLO").u16()? },
            0x02 => Self::Watch,
            0x03 => Self::Ping(read("PING").u32()?),
            0x04 => Self::Open { name: read("OPEN").label()? },
            0x10 => Self::Status { id: read("STATUS").u32()? },
            0x11 => {
                let mut body = read("LOOK");
                Self::Look { id: body.u32()?, within_ms: body.u32()? }
            }
            0x12 => Self::Cancel { id: read("CANCEL").u32()? },
            0x13 => Self::Rest,
            other => return Err(WireError::Type(other)),
        })
    }
}

impl FromDriver {
    /// The bytes to send.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello { version, name, release } => {
                Writer::new(0x81).u16(*version).text(name).text(release)
            }
            Self::Present { name, speech } => {
                Writer::new(0x82).u8(u8::from(matches!(speech, Speech::Link))).text(name)
            }
            Self::Absent { name } => Writer::new(0x83).text(name),
            Self::Listed => Writer::new(0x84),
            Self::Pong(nonce) => Writer::new(0x85).u32(*nonce),
            Self::OpenedSensor(info) => Writer::new(0x86)
                .u8(modality_code(info.modality))
                .u8(purpose_code(info.purpose))
                .text(&info.make)
                .text(&info.model)
                .text(&info.serial)
                .text(&info.provider)
                .text(&info.provider_id)
                .text(&info.firmware),
            Self::OpenedLink => Writer::new(0x87),
            Self::Refused(failure, why) => Writer::new(0x88).u8(failure.code()).text(why),
            Self::Status { id, ready, reason } => {
                Writer::new(0x90).u32(*id).u8(u8::from(*ready)).text(reason)
            }
            Self::Seen { id, sight } => {
                let writer = Writer::new(0x91).u32(*id);
                match sight {
                    Sight::Nothing => writer.u8(0),
                    Sight::Finger(picture, dpi) => pixels(writer.u8(1), picture, *dpi, &[]),
                    Sight::Face(picture) => pixels(writer.u8(2), picture, 0, &[]),
                    Sight::Iris(picture, eye) => {
                        let eye = eye.unwrap_or(Eye { pupil: [0; 3], limbus: [0; 3] });
                        pixels(writer.u8(3), picture, 0, &[eye.pupil, eye.limbus].concat())
                    }
                }
            }
            Self::Failed { id, failure, why } => Writer::new(0x9F).u32(*id).u8(failure.code()).text(why),
        }
        .end()
    }

    /// Reads a frame without its length.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(frame: &[u8]) -> Result<Self, WireError> {
        let Some((&kind, rest)) = frame.split_first() else {
            return Err(WireError::Malformed { frame: "frame", why: "it is empty" });
        };
        if kind != 0x91 && frame.len() > MAX_PLAIN {
            return Err(WireError::TooLong(frame.len()));
        }
        let read = |frame| Reader { frame, rest };
        Ok(match kind {
            0x81 => {
                let mut body = read("HELLO");
                Self::Hello { version: body.u16()?, name: body.label()?, release: body.text()? }
            }
            0x82 => {
                let mut body = read("PRESENT");
                let speech = match body.u8()? {
                    0 => Speech::Sensor,
                    1 => Speech::Link,
                    _ => return Err(body.wrong("there is no such way to talk to a device")),
                };
                Self::Present { name: body.label()?, speech }
            }
            0x83 => Self::Absent { name: read("ABSENT").label()? },
            0x84 => Self::Listed,
            0x85 => Self::Pong(read("PONG").u32()?),
            0x86 => Self::OpenedSensor(info(read("OPENED_SENSOR"))?),
            0x87 => Self::OpenedLink,
            0x88 => {
                let mut body = read("REFUSED");
                Self::Refused(Failure::from_code(body.u8()?), body.text()?)
            }
            0x90 => {
                let mut body = read("STATUS");
                Self::Status { id: body.u32()?, ready: body.u8()? == 1, reason: body.text()? }
            }
            0x91 => {
                let mut body = read("SEEN");
                let id = body.u32()?;
                Self::Seen { id, sight: sight(body)? }
            }
            0x9F => {
                let mut body = read("FAILED");
                Self::Failed { id: body.u32()?, failure: Failure::from_code(body.u8()?), why: body.text()? }
            }
            other => return Err(WireError::Type(other)),
        })
    }
}

fn pixels(writer: Writer, picture: &Picture, dpi: u16, circles: &[u16]) -> Writer {
    let head = writer.u16(picture.width).u16(picture.height).u16(dpi);
    let mut writer = circles.iter().fold(head, |writer, number| writer.u16(*number));
    // In one piece: a vector that grows leaves pixels behind.
    writer.0.reserve_exact(picture.pixels.len());
    writer.0.extend_from_slice(picture.pixels.expose());
    writer
}

/// Kind, width, height, density (0 where it has no meaning), for an iris two circles (of radius 0 where they are not
/// known), pixels.
fn sight(mut body: Reader<'_>) -> Result<Sight, WireError> {
    let kind = body.u8()?;
    if kind == 0 {
        return Ok(Sight::Nothing);
    }
    let (width, height, dpi) = (body.u16()?, body.u16()?, body.u16()?);
    match kind {
        1 if !(100..=2000).contains(&dpi) => Err(body.wrong("a density outside 100 to 2000 pixels per inch")),
        1 => Ok(Sight::Finger(body.picture(width, height, 1)?, dpi)),
        2 => Ok(Sight::Face(body.picture(width, height, 3)?)),
        3 => {
            let (pupil, limbus) = (body.circle()?, body.circle()?);
            let known = pupil[2] > 0 && limbus[2] > pupil[2];
            Ok(Sight::Iris(body.picture(width, height, 1)?, known.then_some(Eye { pupil, limbus })))
        }
        _ => Err(body.wrong("there is no such image")),
    }
}

fn info(mut body: Reader<'_>) -> Result<SensorInfo, WireError> {
    let modality = match body.u8()? {
        1 => Modality::Finger,
        2 => Modality::Face,
        3 => Modality::Iris,
        _ => return Err(body.wrong("there is no such modality")),
    };
    let purpose = match body.u8()? {
        1 => Purpose::Registration,
        2 => Purpose::Auth,
        _ => return Err(body.wrong("there is no such purpose")),
    };
    Ok(SensorInfo {
        modality,
        purpose,
        make: body.label()?,
        model: body.label()?,
        serial: body.label()?,
        provider: body.label()?,
        provider_id: body.label()?,
        firmware: body.label()?,
    })
}

const fn modality_code(modality: Modality) -> u8 {
    match modality {
        Modality::Finger => 1,
        Modality::Face => 2,
        Modality::Iris => 3,
    }
}

const fn purpose_code(purpose: Purpose) -> u8 {
    match purpose {
        Purpose::Registration => 1,
        Purpose::Auth => 2,
    }
}

impl Failure {
    const fn code(self) -> u8 {
        match self {
            Self::Gone => 1,
            Self::NotReady => 2,
            Self::Busy => 3,
            Self::Internal => 0,
        }
    }

    const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Gone,
            2 => Self::NotReady,
            3 => Self::Busy,
            _ => Self::Internal,
        }
    }
}

/// Cuts a stream of bytes into frames.
#[derive(Default)]
pub struct Frames {
    held: zeroize::Zeroizing<Vec<u8>>,
}

impl Frames {
    /// Takes in what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        // A vector that grows by itself leaves pixels behind in memory that it was moved out of.
        if self.held.capacity() - self.held.len() < bytes.len() {
            let mut larger = zeroize::Zeroizing::new(Vec::with_capacity((self.held.len() + bytes.len()) * 2));
            larger.extend_from_slice(&self.held);
            self.held = larger;
        }
        self.held.extend_from_slice(bytes);
    }

    /// The next complete frame, without its length.
    ///
    /// # Errors
    /// [`WireError::TooLong`]: the stream is lost.
    pub fn take(&mut self) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, WireError> {
        let Some((head, rest)) = self.held.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*head) as usize;
        if length > MAX_FRAME {
            return Err(WireError::TooLong(length));
        }
        let Some(frame) = rest.get(..length) else { return Ok(None) };
        let frame = zeroize::Zeroizing::new(frame.to_vec());
        self.held.drain(..4 + length);
        Ok(Some(frame))
    }

    /// What was read beyond the last frame: of another protocol that follows.
    #[must_use]
    pub fn into_rest(self) -> zeroize::Zeroizing<Vec<u8>> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unframed(bytes: &[u8]) -> Vec<u8> {
        let mut frames = Frames::default();
        frames.push(bytes);
        let frame = frames.take().unwrap().unwrap();
        assert!(frames.into_rest().is_empty(), "exactly one frame");
        frame.to_vec()
    }

    fn picture(width: u16, height: u16, depth: usize) -> Picture {
        let pixels = vec![7; usize::from(width) * usize::from(height) * depth];
        Picture { width, height, pixels: Secret::new(pixels) }
    }

    #[test]
    fn frames_byte_by_byte() {
        assert_eq!(ToDriver::Hello { version: 1 }.encode(), [3, 0, 0, 0, 1, 1, 0]);
        assert_eq!(
            ToDriver::Look { id: 2, within_ms: 500 }.encode(),
            [9, 0, 0, 0, 0x11, 2, 0, 0, 0, 0xF4, 1, 0, 0]
        );
        let present = FromDriver::Present { name: "A1".into(), speech: Speech::Sensor };
        assert_eq!(present.encode(), [6, 0, 0, 0, 0x82, 0, 2, 0, b'A', b'1']);
        let seen = FromDriver::Seen { id: 3, sight: Sight::Finger(picture(2, 1, 1), 500) };
        assert_eq!(seen.encode(), [14, 0, 0, 0, 0x91, 3, 0, 0, 0, 1, 2, 0, 1, 0, 0xF4, 1, 7, 7]);
    }

    #[test]
    fn what_is_sent_is_what_is_read() {
        let orders = [
            ToDriver::Hello { version: 1 },
            ToDriver::Watch,
            ToDriver::Ping(9),
            ToDriver::Open { name: "x".into() },
            ToDriver::Status { id: 4 },
            ToDriver::Look { id: 5, within_ms: 6 },
            ToDriver::Cancel { id: 5 },
            ToDriver::Rest,
        ];
        for order in orders {
            assert_eq!(ToDriver::decode(&unframed(&order.encode())).unwrap(), order);
        }
        let info = SensorInfo {
            modality: Modality::Iris,
            purpose: Purpose::Auth,
            make: "Make".into(),
            model: "Model".into(),
            serial: "S1".into(),
            provider: "P".into(),
            provider_id: "1".into(),
            firmware: "1.0".into(),
        };
        let read = |message: &FromDriver| FromDriver::decode(&unframed(&message.encode())).unwrap();
        assert!(
            matches!(read(&FromDriver::OpenedSensor(info.clone())), FromDriver::OpenedSensor(i) if i == info)
        );
        for sight in [
            Sight::Nothing,
            Sight::Finger(picture(3, 2, 1), 500),
            Sight::Face(picture(2, 2, 3)),
            Sight::Iris(picture(1, 1, 1), None),
            Sight::Iris(picture(9, 9, 1), Some(Eye { pupil: [4, 4, 1], limbus: [4, 4, 3] })),
        ] {
            let text = format!("{sight:?}");
            let FromDriver::Seen { id: 8, sight } = read(&FromDriver::Seen { id: 8, sight }) else {
                panic!()
            };
            assert_eq!(format!("{sight:?}"), text);
        }
        let failed = FromDriver::Failed { id: 1, failure: Failure::Busy, why: "in use".into() };
        assert!(
            matches!(read(&failed), FromDriver::Failed { id: 1, failure: Failure::Busy, why } if why == "in use")
        );
    }

    #[test]
    fn bad_frames_are_refused_with_their_name() {
        for (frame, word) in [
            (&[][..], "empty"),
            (&[0x42], "0x42"),
            (&[0x85, 1], "PONG"),
            (&[0x82, 2, 1, 0, b'x'], "no such way"),
            (&[0x82, 0, 0, 0], "empty name"),
            (&[0x82, 0, 9, 0, b'x'], "too early"),
            (&[0x82, 0, 1, 0, 0xFF], "UTF-8"),
            (&[0x91, 1, 0, 0, 0, 1, 2, 0, 2, 0, 0xF4, 1, 7], "as many as"),
            (&[0x91, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0xF4, 1], "as many as"),
            (&[0x91, 1, 0, 0, 0, 1, 1, 0, 1, 0, 1, 0, 7], "density"),
            (&[0x91, 1, 0, 0, 0, 9, 1, 0, 1, 0, 0, 0, 7], "no such image"),
        ] {
            let error = FromDriver::decode(frame).unwrap_err().to_string();
            assert!(error.contains(word), "{frame:?}: {error}");
        }
        let mut long = vec![0x84];
        long.resize(MAX_PLAIN + 1, 0);
        assert!(matches!(FromDriver::decode(&long), Err(WireError::TooLong(_))));
        let mut frames = Frames::default();
        frames.push(&u32::MAX.to_le_bytes());
        assert!(matches!(frames.take(), Err(WireError::TooLong(_))));
    }

    #[test]
    fn nothing_that_a_driver_says_turns_a_line_around() {
        let absent = FromDriver::Absent { name: "a\u{202e}b\u{7}c\n".into() };
        let FromDriver::Absent { name } = FromDriver::decode(&unframed(&absent.encode())).unwrap() else {
            panic!()
        };
        assert_eq!(name, "abc");
    }

    proptest! {
        #[test]
        fn frames_survive_any_chunks(names in proptest::collection::vec("[a-z]{1,300}", 0..6), chunk in 1usize..40) {
            let sent: Vec<u8> = names.iter().flat_map(|name| ToDriver::Open { name: name.clone() }.encode()).collect();
            let (mut frames, mut read) = (Frames::default(), Vec::new());
            for part in sent.chunks(chunk) {
                frames.push(part);
                while let Some(frame) = frames.take().unwrap() {
                    let ToDriver::Open { name } = ToDriver::decode(&frame).unwrap() else { panic!() };
                    read.push(name);
                }
            }
            let cut: Vec<String> = names.iter().map(|name| name.chars().take(MAX_TEXT).collect()).collect();
            prop_assert_eq!(read, cut);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = FromDriver::decode(&bytes);
            let _ = ToDriver::decode(&bytes);
        }
    }
}
