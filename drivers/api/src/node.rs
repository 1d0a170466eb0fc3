//! A place at which a device was found, and what is known of devices like it.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Kind of bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bus {
    /// A tty.
    Serial,
    /// A USB device.
    Usb,
    /// A hidraw node.
    Hid,
    /// A V4L2 capture node.
    Video,
    /// A process of the vendor's own.
    Vendor,
}

impl Bus {
    /// Name in quirk files, configuration and status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Serial => "serial",
            Self::Usb => "usb",
            Self::Hid => "hid",
            Self::Video => "video",
            Self::Vendor => "vendor",
        }
    }
}

/// What the USB device behind a node says of itself. All of it is a claim: it selects a driver, never trust.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsbIdentity {
    /// idVendor.
    pub vendor: u16,
    /// idProduct.
    pub product: u16,
    /// bcdDevice: the version of its firmware, by custom.
    pub release: u16,
    /// iManufacturer; empty where there is none.
    pub manufacturer: String,
    /// iProduct; empty where there is none.
    pub name: String,
    /// iSerialNumber; empty where there is none.
    pub serial: String,
    /// Class, sub-class and protocol of each interface, ascending by number.
    pub interfaces: Vec<[u8; 3]>,
}

/// A node under /dev at which a device was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Kind of bus.
    pub bus: Bus,
    /// Name that is the same whenever the same thing is plugged into the same place, and no other node has at the same
    /// time: the path of ports, such as `usb:1-1.2` or `serial:1-1.2:1.0`; for a fixed line its path. Never a bus address.
    pub place: String,
    /// What to open, such as `/dev/hidraw0`.
    pub path: PathBuf,
    /// The USB device behind it, where there is one.
    pub usb: Option<UsbIdentity>,
    /// Driver that the host's owner has named for it (configuration or udev property `BIOTRUST_DRIVER`).
    pub driver: Option<String>,
}

impl Node {
    /// A line that is known by its path alone.
    #[must_use]
    pub fn line(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { bus: Bus::Serial, place: path.display().to_string(), path, usb: None, driver: None }
    }
}

/// A setting in a quirk file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `true` or `false`.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
}

/// Settings of a driver for a device, from the quirk files. A driver reads what it knows; the reader of the files has
/// refused what no driver knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quirks {
    /// Name of the entry they are from; empty where no file says anything.
    pub name: String,
    /// The settings.
    pub settings: BTreeMap<String, Value>,
}

impl Quirks {
    /// A setting that is a flag; false where it is not set.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.settings.get(name), Some(Value::Flag(true)))
    }

    /// A setting that is a number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<i64> {
        match self.settings.get(name) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// A setting that is a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.settings.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }
}

/// What a driver is told of the device that it opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it was found.
    pub node: Node,
    /// What is known of devices like it.
    pub quirks: Quirks,
}

impl Found {
    /// A line that nothing is known of.
    #[must_use]
    pub fn line(path: impl Into<PathBuf>) -> Self {
        Self { node: Node::line(path), quirks: Quirks::default() }
    }
}
