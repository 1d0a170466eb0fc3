//! What the messages say: header, operations, and a type for each request, response and event.
//!
//! ```text
//! 7F | enterprise number (4, big endian) | version | kind | operation | 0 | id (4, little endian) | CBOR map
//! ```
//! Pure. Bodies with images, biometric blocks or tokens are types that cannot be printed.

mod body;
mod codec;
mod fields;

use biotrust_driver_api::{
    CaptureJob, Description, DeviceErrorKind, Frame, ImageCodec, InfoJob, L1Keys, SelfReport, SignedBlock,
    StreamJob,
};
use biotrust_model::{BioSubType, Score, Secret};

pub(crate) use codec::{Header, Kind, Parsed, parse};
pub(crate) use codec::{decode_error, decode_event, decode_request, decode_response};
pub(crate) use codec::{encode_error, encode_event, encode_request, encode_response};

/// Version of the protocol: of the header, and what HELLO carries.
pub const VERSION: u8 = 1;

/// Private enterprise number that marks our messages. 32473 is IANA's number for documentation (RFC 5612): it is to
/// be replaced, here and nowhere else, when the project has one of its own.
pub const ENTERPRISE_NUMBER: u32 = 32473;

macro_rules! ops {
    ($($(#[$meta:meta])* $op:ident = $code:literal),+ $(,)?) => {
        /// An operation; its number is in the header.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Op { $($(#[$meta])* $op = $code),+ }

        impl Op {
            /// Every operation.
            pub const ALL: &'static [Self] = &[$(Self::$op),+];

            /// Number in the header.
            #[must_use]
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// The operation with this number.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$op),)+
                    _ => None,
                }
            }
        }
    };
}

ops! {
    /// Request: who are you? Ends whatever an earlier host had started.
    Hello = 0x01,
    /// Request: state.
    Status = 0x02,
    /// Request: certificates (L1).
    Keys = 0x03,
    /// Request: device info, signed (L1).
    SignedInfo = 0x04,
    /// Request: take a certificate to encrypt for (L1).
    InstallEncryptionCertificate = 0x05,
    /// Request: start or change the live preview.
    StreamStart = 0x10,
    /// Request: end the live preview.
    StreamStop = 0x11,
    /// Request: capture; the response is the outcome.
    Capture = 0x20,
    /// Request: end a capture; its own response is an error of kind Cancelled.
    CaptureCancel = 0x21,
    /// Event: a frame of the live preview.
    FrameEvent = 0x80,
    /// Event: the state changed.
    StatusEvent = 0x81,
    /// Event: keys or certificates changed.
    KeysChangedEvent = 0x82,
}

/// What the host asks for.
#[derive(Debug, Clone)]
pub enum Request {
    /// [`Op::Hello`], with the version that the host speaks.
    Hello(u8),
    /// [`Op::Status`].
    Status,
    /// [`Op::Keys`].
    Keys,
    /// [`Op::SignedInfo`].
    SignedInfo(InfoJob),
    /// [`Op::InstallEncryptionCertificate`].
    InstallEncryptionCertificate {
        /// Domain that it is for; empty is the default.
        domain_uri: String,
        /// Leaf first, DER.
        chain: Vec<Vec<u8>>,
    },
    /// [`Op::StreamStart`].
    StreamStart(StreamJob),
    /// [`Op::StreamStop`].
    StreamStop,
    /// [`Op::Capture`].
    Capture(Box<CaptureJob>),
    /// [`Op::CaptureCancel`].
    CaptureCancel {
        /// Id of the CAPTURE request: [`crate::Ticket::id`].
        request: u32,
    },
}

impl Request {
    /// Its operation.
    #[must_use]
    pub const fn op(&self) -> Op {
        match self {
            Self::Hello(_) => Op::Hello,
            Self::Status => Op::Status,
            Self::Keys => Op::Keys,
            Self::SignedInfo(_) => Op::SignedInfo,
            Self::InstallEncryptionCertificate { .. } => Op::InstallEncryptionCertificate,
            Self::StreamStart(_) => Op::StreamStart,
            Self::StreamStop => Op::StreamStop,
            Self::Capture(_) => Op::Capture,
            Self::CaptureCancel { .. } => Op::CaptureCancel,
        }
    }
}

/// What a device answers.
#[derive(Debug)]
pub enum Response {
    /// To [`Op::Hello`].
    Hello(Description),
    /// To [`Op::Status`].
    Status(SelfReport),
    /// To [`Op::Keys`].
    Keys(L1Keys),
    /// To [`Op::SignedInfo`].
    SignedInfo(Jws),
    /// To [`Op::InstallEncryptionCertificate`].
    InstallEncryptionCertificate,
    /// To [`Op::StreamStart`].
    StreamStart,
    /// To [`Op::StreamStop`].
    StreamStop,
    /// To [`Op::Capture`].
    Capture(Captured),
    /// To [`Op::CaptureCancel`], whether or not there was something to cancel.
    CaptureCancel,
}

impl Response {
    /// The operation that it answers.
    #[must_use]
    pub const fn op(&self) -> Op {
        match self {
            Self::Hello(_) => Op::Hello,
            Self::Status(_) => Op::Status,
            Self::Keys(_) => Op::Keys,
            Self::SignedInfo(_) => Op::SignedInfo,
            Self::InstallEncryptionCertificate => Op::InstallEncryptionCertificate,
            Self::StreamStart => Op::StreamStart,
            Self::StreamStop => Op::StreamStop,
            Self::Capture(_) => Op::Capture,
            Self::CaptureCancel => Op::CaptureCancel,
        }
    }
}

/// Outcome of a capture: the level shows in it.
#[derive(Debug)]
pub enum Captured {
    /// Nothing, or not everything, was presented in time.
    Nothing,
    /// L0.
    Images {
        /// In the order of the job.
        images: Vec<Image>,
        /// Whether their average reached the requested score.
        reached: bool,
    },
    /// L1.
    Blocks {
        /// In the order of the job.
        blocks: Vec<SignedBlock>,
        /// Whether their average reached the requested score.
        reached: bool,
    },
}

/// One image of an L0 device: [`biotrust_driver_api::CapturedImage`] with an age in place of a time, because a
/// device need not know the time.
#[derive(Debug)]
pub struct Image {
    /// Which part; `None` for a face.
    pub part: Option<BioSubType>,
    /// JP2 file.
    pub image: Secret,
    /// Codec.
    pub codec: ImageCodec,
    /// Pixels.
    pub width: u16,
    /// Pixels.
    pub height: u16,
    /// Pixels per inch; 0 where it has no meaning.
    pub dpi: u16,
    /// Quality by the device's own measure.
    pub score: Score,
    /// Milliseconds from the exposure to the answer.
    pub age_ms: u32,
    /// Iris: centre x, centre y, diameter in pixels, where known.
    pub iris_geometry: Option<[u16; 3]>,
}

/// A compact JWS on its way: cannot be printed, because tokens do not belong in logs.
pub struct Jws(pub String);

impl std::fmt::Debug for Jws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Jws({} bytes)", self.0.len())
    }
}

/// What a device says unasked.
#[derive(Debug, Clone)]
pub enum Event {
    /// [`Op::FrameEvent`].
    Frame(Frame),
    /// [`Op::StatusEvent`].
    Status(SelfReport),
    /// [`Op::KeysChangedEvent`].
    KeysChanged,
}

/// An error response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorBody {
    /// What kind; kinds that only the host can know become [`DeviceErrorKind::Internal`].
    pub kind: DeviceErrorKind,
    /// For the log: printable, at most 200 characters.
    pub message: String,
}
