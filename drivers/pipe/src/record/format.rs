//! The file: JSON lines, the header first, then one line for each thing that happened.

use std::io::{BufRead, Read as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use biotrust_driver_api::{
    Bus, Endpoint, EndpointKind, Found, Interface, PipeError, PipeErrorKind, Quirks, Recipient, RequestKind,
    Setup, Value,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Map;

/// Version of the format.
pub const VERSION: u32 = 1;
/// Longest line: the longest transfer, and room for its names.
const LONGEST_LINE: u64 = 24 * 1024 * 1024;
/// Most entries.
const MOST_ENTRIES: usize = 1_000_000;

/// Bytes, in base64.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    #[serde(rename = "biotrust-recording")]
    pub version: u32,
    /// Name of the driver.
    pub driver: String,
    /// Name of the bus: `serial`, `usb`, `hid` or `video`.
    pub bus: String,
    /// Place of the device on the host where it was recorded.
    pub place: String,
    /// The USB device behind the port, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usb: Option<Usb>,
    /// Interfaces and endpoints (USB), for whoever plays the device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<InterfaceLine>,
    /// The report descriptor (HID).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_descriptor: Option<Bytes>,
    /// Name of the entry in the quirk files.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub quirk: String,
    /// Its settings, but for passwords.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub settings: Map<String, serde_json::Value>,
}

/// Identity of a USB device. The serial number is not in it: it would name a unit, and with it a place or a person.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usb {
    /// idVendor.
    pub vendor: u16,
    /// idProduct.
    pub product: u16,
    /// bcdDevice.
    pub release: u16,
    /// iManufacturer.
    #[serde(default)]
    pub manufacturer: String,
    /// iProduct.
    #[serde(default)]
    pub name: String,
}

/// An interface of a USB device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceLine {
    number: u8,
    class: [u8; 3],
    /// Address, whether it is an interrupt endpoint, packet size.
    endpoints: Vec<(u8, bool, u16)>,
}

impl From<&Interface> for InterfaceLine {
    fn from(interface: &Interface) -> Self {
        let line = |e: &Endpoint| (e.address, e.kind == EndpointKind::Interrupt, e.max_packet);
        Self {
            number: interface.number,
            class: [interface.class, interface.sub_class, interface.protocol],
            endpoints: interface.endpoints.iter().map(line).collect(),
        }
    }
}

impl From<&InterfaceLine> for Interface {
    fn from(line: &InterfaceLine) -> Self {
        let [class, sub_class, protocol] = line.class;
        let endpoint = |(address, interrupt, max_packet): &(u8, bool, u16)| Endpoint {
            address: *address,
            kind: if *interrupt { EndpointKind::Interrupt } else { EndpointKind::Bulk },
            max_packet: *max_packet,
        };
        let endpoints = line.endpoints.iter().map(endpoint).collect();
        Self { number: line.number, class, sub_class, protocol, endpoints }
    }
}

impl Header {
    pub(super) fn new(driver: &str, bus: Bus, found: &Found) -> Self {
        let Quirks { name, settings } = &found.quirks;
        let json = |value: &Value| match value {
            Value::Flag(flag) => (*flag).into(),
            Value::Number(number) => (*number).into(),
            Value::Text(text) => text.clone().into(),
        };
        Self {
            version: VERSION,
            driver: driver.to_owned(),
            bus: bus.name().to_owned(),
            place: found.node.place.clone(),
            usb: found.node.usb.as_ref().map(|usb| Usb {
                vendor: usb.vendor,
                product: usb.product,
                release: usb.release,
                manufacturer: usb.manufacturer.clone(),
                name: usb.name.clone(),
            }),
            interfaces: Vec::new(),
            report_descriptor: None,
            quirk: name.clone(),
            settings: settings
                .iter()
                .filter(|(name, _)| !name.contains("password"))
                .map(|(name, value)| (name.clone(), json(value)))
                .collect(),
        }
    }

    /// The settings as a driver reads them. What is no setting is left out.
    #[must_use]
    pub fn quirks(&self) -> Quirks {
        let value = |value: &serde_json::Value| match value {
            serde_json::Value::Bool(flag) => Some(Value::Flag(*flag)),
            serde_json::Value::Number(number) => number.as_i64().map(Value::Number),
            serde_json::Value::String(text) => Some(Value::Text(text.clone())),
            _ => None,
        };
        let settings = self.settings.iter().filter_map(|(name, v)| Some((name.clone(), value(v)?))).collect();
        Quirks { name: self.quirk.clone(), settings }
    }

    /// The interfaces of the USB device.
    #[must_use]
    pub fn interfaces(&self) -> Vec<Interface> {
        self.interfaces.iter().map(Interface::from).collect()
    }
}

/// A control request, its direction apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Type and recipient as in bmRequestType, without the direction.
    pub kind: u8,
    /// bRequest.
    pub request: u8,
    /// wValue.
    pub value: u16,
    /// wIndex.
    pub index: u16,
}

impl From<Setup> for Request {
    fn from(setup: Setup) -> Self {
        let kind = match setup.kind {
            RequestKind::Standard => 0x00,
            RequestKind::Class => 0x20,
            RequestKind::Vendor => 0x40,
        };
        let recipient = match setup.recipient {
            Recipient::Device => 0,
            Recipient::Interface => 1,
            Recipient::Endpoint => 2,
        };
        Self { kind: kind | recipient, request: setup.request, value: setup.value, index: setup.index }
    }
}

impl Request {
    /// As a driver makes it; `None` when it is for none of those that drivers talk to.
    #[must_use]
    pub const fn setup(&self) -> Option<Setup> {
        let kind = match self.kind & 0x60 {
            0x00 => RequestKind::Standard,
            0x20 => RequestKind::Class,
            0x40 => RequestKind::Vendor,
            _ => return None,
        };
        let recipient = match self.kind & 0x1f {
            0 => Recipient::Device,
            1 => Recipient::Interface,
            2 => Recipient::Endpoint,
            _ => return None,
        };
        Some(Setup { kind, recipient, request: self.request, value: self.value, index: self.index })
    }
}

/// What happened. Seen from the host: `in` came from the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Op {
    /// The port was opened again.
    Opened,
    /// Bytes of a line, a transfer of an endpoint, or an input report.
    In {
        /// Endpoint; 0 where there are none.
        #[serde(default, skip_serializing_if = "is_zero")]
        endpoint: u8,
        /// What came.
        data: Bytes,
    },
    /// Bytes to a line or an endpoint, or an output report.
    Out {
        /// Endpoint; 0 where there are none.
        #[serde(default, skip_serializing_if = "is_zero")]
        endpoint: u8,
        /// What went.
        data: Bytes,
    },
    /// The speed of a line was set.
    Baud {
        /// In baud.
        baud: u32,
    },
    /// A control request for data.
    ControlIn {
        /// The request.
        setup: Request,
        /// wLength.
        length: u16,
        /// The answer.
        data: Bytes,
    },
    /// A control request with data.
    ControlOut {
        /// The request.
        setup: Request,
        /// The data.
        data: Bytes,
    },
    /// A feature report was asked for.
    FeatureIn {
        /// The report with its id.
        data: Bytes,
    },
    /// A feature report was sent.
    FeatureOut {
        /// The report with its id.
        data: Bytes,
    },
    /// A halt was ended.
    ClearHalt {
        /// Endpoint.
        endpoint: u8,
    },
    /// The device was reset.
    Reset,
    /// A stream of frames began.
    Start {
        /// Pixel format.
        format: String,
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
    },
    /// A frame came. Never its content.
    Frame {
        /// Bytes.
        length: usize,
    },
    /// The recording ends here, for this reason.
    End {
        /// Why.
        reason: String,
    },
}

fn is_zero(endpoint: &u8) -> bool {
    *endpoint == 0
}

/// What a scrubber did to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// Biometric data stood here; synthetic data of the same length does now.
    Synthetic,
    /// A key or a password stood here.
    Key,
    /// A random number or something made of one: it differs at each run, and is not compared at replay.
    Nonce,
    /// The content was left out, because nobody knows what is in it.
    Blank,
}

/// How something failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// `gone`, `timed-out`, `stalled` or `os`.
    pub kind: String,
    /// `errno`, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<i32>,
}

impl From<&PipeError> for Failed {
    fn from(error: &PipeError) -> Self {
        let kind = match error.kind {
            PipeErrorKind::Gone => "gone",
            PipeErrorKind::TimedOut => "timed-out",
            PipeErrorKind::Stalled => "stalled",
            PipeErrorKind::PermissionDenied | PipeErrorKind::InUse | PipeErrorKind::Os => "os",
        };
        Self { kind: kind.into(), os: error.os }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Microseconds since the recording began.
    pub us: u64,
    /// What happened.
    #[serde(flatten)]
    pub op: Op,
    /// Where it failed: how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed>,
    /// What was replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
}

/// A file that is no recording.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// It cannot be read.
    #[error("cannot read the recording: {0}")]
    Read(#[from] std::io::Error),
    /// A line is not what it should be.
    #[error("line {line} is none of a recording: {source}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// Why not.
        source: serde_json::Error,
    },
    /// Another version.
    #[error("it is a recording of version {0}; this program reads version {VERSION}")]
    Version(u32),
    /// Too long.
    #[error("line {0} is longer than 24 MiB, or there are more than a million lines")]
    TooLong(usize),
}

/// A recording that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// The first line.
    pub header: Header,
    /// The others.
    pub entries: Vec<Entry>,
}

impl Recording {
    /// Reads a recording to its end. Blocks as `source` does.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn read(mut source: impl BufRead) -> Result<Self, FormatError> {
        let mut number = 0;
        let mut line = Vec::new();
        let mut next = |number: &mut usize| -> Result<Option<Vec<u8>>, FormatError> {
            *number += 1;
            line.clear();
            let read = (&mut source).take(LONGEST_LINE).read_until(b'\n', &mut line)?;
            if read as u64 == LONGEST_LINE || *number > MOST_ENTRIES {
                return Err(FormatError::TooLong(*number));
            }
            Ok((read > 0).then(|| line.clone()))
        };
        let first = next(&mut number)?.unwrap_or_default();
        let header: Header =
            serde_json::from_slice(&first).map_err(|source| FormatError::Line { line: 1, source })?;
        if header.version != VERSION {
            return Err(FormatError::Version(header.version));
        }
        let mut entries = Vec::new();
        while let Some(text) = next(&mut number)? {
            let entry =
                serde_json::from_slice(&text).map_err(|source| FormatError::Line { line: number, source })?;
            entries.push(entry);
        }
        Ok(Self { header, entries })
    }
}
