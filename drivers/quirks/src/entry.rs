//! One entry of a quirk file: what it matches, and how exactly.

use std::fmt;

use biotrust_driver_api::{Bus, Node, Quirks, UsbIdentity};

use crate::Glob;

/// Vendor and product, or a whole vendor: `05ba:000a`, `05ba:*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsbId {
    /// idVendor.
    pub vendor: u16,
    /// idProduct; all of them without one.
    pub product: Option<u16>,
}

/// Class, sub-class and protocol of an interface, from the left: `0e/01`, `ff/ff/ff`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// bInterfaceClass.
    pub class: u8,
    /// bInterfaceSubClass; any without one.
    pub sub_class: Option<u8>,
    /// bInterfaceProtocol; any without one.
    pub protocol: Option<u8>,
}

/// Range of bcdDevice, both ends included: `1.00-2.99`, `1.10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// The lowest.
    pub from: u16,
    /// The highest.
    pub to: u16,
}

/// What a quirk file says of one kind of device.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What it is called in configuration, status and rules. A later file replaces an entry by its name.
    pub name: String,
    /// What it is, for people.
    pub about: String,
    /// Who drives it.
    pub driver: String,
    /// On which bus it is driven.
    pub bus: Bus,
    /// Any of these ids; any at all where there are none.
    pub ids: Vec<UsbId>,
    /// Version of its firmware.
    pub release: Option<Release>,
    /// What it says its manufacturer is.
    pub manufacturer: Option<Glob>,
    /// What it says it is.
    pub product: Option<Glob>,
    /// Its serial number.
    pub serial: Option<Glob>,
    /// An interface that it has.
    pub interface: Option<Interface>,
    /// Whether it counts without the owner's word.
    pub enabled: bool,
    /// Settings of its driver.
    pub quirks: Quirks,
}

/// How exact a match is, what counts most first.
pub(crate) type Exactness = (usize, usize, usize, usize, bool, usize);

impl Entry {
    /// Whether the node is such a device.
    #[must_use]
    pub fn matches(&self, node: &Node) -> bool {
        self.bus == node.bus
            && match &node.usb {
                Some(usb) => self.matches_usb(usb),
                None => !self.asks_usb(),
            }
    }

    fn matches_usb(&self, usb: &UsbIdentity) -> bool {
        let text = |glob: &Option<Glob>, text: &str| glob.as_ref().is_none_or(|glob| glob.matches(text));
        (self.ids.is_empty() || self.ids.iter().any(|id| id.matches(usb)))
            && self.release.is_none_or(|r| (r.from..=r.to).contains(&usb.release))
            && text(&self.manufacturer, &usb.manufacturer)
            && text(&self.product, &usb.name)
            && text(&self.serial, &usb.serial)
            && self.interface.is_none_or(|i| usb.interfaces.iter().any(|&of| i.matches(of)))
    }

    /// Whether it says something of a USB device at all.
    #[must_use]
    pub fn asks_usb(&self) -> bool {
        self.names_a_model() || self.release.is_some() || self.interface.is_some()
    }

    /// Whether it is about a maker's devices, and not about everything on a bus or of a class.
    #[must_use]
    pub fn names_a_model(&self) -> bool {
        let named = |glob: &Option<Glob>| glob.as_ref().is_some_and(|glob| glob.fixed() > 0);
        !self.ids.is_empty() || named(&self.manufacturer) || named(&self.product) || named(&self.serial)
    }

    /// How exactly it matches `node`, which it does.
    pub(crate) fn exactness(&self, node: &Node) -> Exactness {
        let id = node
            .usb
            .as_ref()
            .and_then(|usb| self.ids.iter().filter(|id| id.matches(usb)).max_by_key(|id| id.product));
        self.exactness_by(id)
    }

    /// How exactly it matches what it matches best.
    pub(crate) fn most_exact(&self) -> Exactness {
        self.exactness_by(self.ids.iter().max_by_key(|id| id.product))
    }

    fn exactness_by(&self, id: Option<&UsbId>) -> Exactness {
        let fixed = |glob: &Option<Glob>| glob.as_ref().map_or(0, Glob::fixed);
        let interface = self
            .interface
            .map_or(0, |i| 1 + usize::from(i.sub_class.is_some()) + usize::from(i.protocol.is_some()));
        (
            fixed(&self.serial),
            id.map_or(0, |id| 1 + usize::from(id.product.is_some())),
            fixed(&self.product),
            fixed(&self.manufacturer),
            self.release.is_some(),
            interface,
        )
    }
}

impl UsbId {
    /// Whether it names the device.
    #[must_use]
    pub fn matches(self, usb: &UsbIdentity) -> bool {
        self.vendor == usb.vendor && self.product.is_none_or(|product| product == usb.product)
    }

    /// # Errors
    /// What is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no USB id; write it as 05ba:000a, or 05ba:* for all of a vendor");
        let (vendor, product) = text.split_once(':').ok_or_else(wrong)?;
        let product = (product != "*").then(|| hex(product, 4)).map(|p| p.ok_or_else(wrong)).transpose()?;
        Ok(Self { vendor: hex(vendor, 4).ok_or_else(wrong)?, product })
    }
}

impl fmt::Display for UsbId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.product {
            Some(product) => write!(f, "{:04x}:{product:04x}", self.vendor),
            None => write!(f, "{:04x}:*", self.vendor),
        }
    }
}

impl Interface {
    /// Whether an interface with this class, sub-class and protocol is meant.
    #[must_use]
    pub fn matches(self, [class, sub_class, protocol]: [u8; 3]) -> bool {
        self.class == class
            && self.sub_class.is_none_or(|s| s == sub_class)
            && self.protocol.is_none_or(|p| p == protocol)
    }

    /// # Errors
    /// What is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no interface; write class/sub-class/protocol as ff/ff/ff, 0e/02 or 14");
        let mut parts = text.split('/').map(|part| hex(part, 2).and_then(|n| u8::try_from(n).ok()));
        let class = parts.next().flatten().ok_or_else(wrong)?;
        let mut part = || parts.next().map(|part| part.ok_or_else(wrong)).transpose();
        let (sub_class, protocol) = (part()?, part()?);
        if part()?.is_some() {
            return Err(wrong());
        }
        Ok(Self { class, sub_class, protocol })
    }
}

impl Release {
    /// # Errors
    /// What is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no release; write it as 1.10, or 1.00-2.99 for a range");
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let release = Self { from: bcd(from).ok_or_else(wrong)?, to: bcd(to).ok_or_else(wrong)? };
        if release.from > release.to { Err(format!("{text:?} ends before it begins")) } else { Ok(release) }
    }
}

/// Exactly `digits` hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u16> {
    (text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit()))
        .then(|| u16::from_str_radix(text, 16).ok())
        .flatten()
}

/// bcdDevice as tools print it: `1.10` is 0x0110. Vendors put hexadecimal digits there too.
fn bcd(text: &str) -> Option<u16> {
    let (major, minor) = text.split_once('.')?;
    let major = if major.len() == 1 { hex(major, 1) } else { hex(major, 2) };
    Some(major? << 8 | hex(minor, 2)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_reads_as_it_is_written(vendor: u16, product in proptest::option::of(any::<u16>())) {
            let id = UsbId { vendor, product };
            prop_assert_eq!(UsbId::parse(&id.to_string()), Ok(id));
        }

        #[test]
        fn no_text_breaks_the_readers(text in "\\PC{0,12}") {
            let _ = (UsbId::parse(&text), Interface::parse(&text), Release::parse(&text));
        }

        #[test]
        fn a_release_is_bcd(from: u16, to: u16) {
            let text = |n: u16| format!("{:x}.{:02x}", n >> 8, n & 255);
            let read = Release::parse(&format!("{}-{}", text(from), text(to)));
            prop_assert_eq!(read.is_ok(), from <= to);
            let expected = Release { from, to };
            prop_assert!(from > to || read == Ok(expected));
        }
    }

    #[test]
    fn an_interface_is_read_from_the_left() {
        let of = |class, sub_class, protocol| Ok(Interface { class, sub_class, protocol });
        assert_eq!(Interface::parse("14"), of(0x14, None, None));
        assert_eq!(Interface::parse("0e/02"), of(14, Some(2), None));
        assert_eq!(Interface::parse("ff/ff/01"), of(255, Some(255), Some(1)));
        for bad in ["", "e", "0e/", "0e/2", "ff/ff/ff/ff", "100", "0x14", "+1"] {
            assert!(Interface::parse(bad).is_err(), "{bad:?}");
        }
        let uvc = Interface::parse("0e/02").unwrap();
        assert!(uvc.matches([14, 2, 1]) && !uvc.matches([14, 1, 1]) && !uvc.matches([2, 14, 0]));
    }

    #[test]
    fn what_is_no_id_or_release_is_refused() {
        for bad in ["", "05ba", "5ba:a", "05ba:", "*:*", "*:000a", "05ba:000a:1", "05ba:00ag", "+5ba:000a"] {
            assert!(UsbId::parse(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "1", "1.1", "1.100", "2.00-1.00", "1.00-", "-1.00", "a.b.c", "1,00"] {
            assert!(Release::parse(bad).is_err(), "{bad:?}");
        }
    }
}
