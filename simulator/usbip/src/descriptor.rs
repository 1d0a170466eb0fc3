//! USB descriptors (USB 2.0, 9.5 and 9.6): making those of a virtual device, and reading a configuration.
//!
//! Making trusts its caller, who writes a device. Reading trusts nobody: lengths are checked, and what does not fit ends
//! the list.

use biotrust_driver_api::{Endpoint, EndpointKind, Interface};

const DEVICE: u8 = 1;
const CONFIGURATION: u8 = 2;
const STRING: u8 = 3;
const INTERFACE: u8 = 4;
const ENDPOINT: u8 = 5;
/// US English, the one language of our strings.
const LANGUAGE: u16 = 0x0409;
/// What fits into the length byte of a string descriptor, in UTF-16 units.
const LONGEST_STRING: usize = 126;

/// Speed of a device, as USB/IP numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Speed {
    /// 12 Mbit/s: bulk packets of up to 64 bytes.
    Full,
    /// 480 Mbit/s: bulk packets of 512 bytes.
    High,
}

impl Speed {
    /// Number in USB/IP and in sysfs of vhci.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Full => 2,
            Self::High => 3,
        }
    }
}

/// Who a device says it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// idVendor.
    pub vendor: u16,
    /// idProduct.
    pub product: u16,
    /// bcdDevice.
    pub release: u16,
    /// Class, sub-class and protocol of the device; zeros where its interfaces say it.
    pub class: [u8; 3],
    /// iManufacturer.
    pub manufacturer: String,
    /// iProduct.
    pub name: String,
    /// iSerialNumber.
    pub serial: String,
}

/// An interface, with the descriptors of its class that stand before its endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// The interface.
    pub interface: Interface,
    /// Class-specific descriptors, such as the HID descriptor.
    pub class_descriptors: Vec<u8>,
}

impl From<Interface> for Function {
    fn from(interface: Interface) -> Self {
        Self { interface, class_descriptors: Vec::new() }
    }
}

/// All descriptors of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptors {
    speed: Speed,
    device: [u8; 18],
    configuration: Vec<u8>,
    strings: Vec<String>,
    interfaces: Vec<Interface>,
}

/// Descriptors that are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// Not a device descriptor.
    #[error("a device descriptor has 18 bytes, the first of them 18 and 1; one configuration is supported")]
    Device,
    /// Not a configuration.
    #[error(
        "a configuration starts with its own descriptor (9 bytes, type 2) and has the length that it states"
    )]
    Configuration,
}

impl Descriptors {
    /// Descriptors of a device with one configuration.
    #[must_use]
    pub fn new(speed: Speed, identity: &Identity, functions: &[Function]) -> Self {
        let strings = [&identity.manufacturer, &identity.name, &identity.serial];
        let index = |at: u8, text: &str| if text.is_empty() { 0 } else { at };
        let [vendor_low, vendor_high] = identity.vendor.to_le_bytes();
        let [product_low, product_high] = identity.product.to_le_bytes();
        let [release_low, release_high] = identity.release.to_le_bytes();
        let [class, sub_class, protocol] = identity.class;
        #[rustfmt::skip]
        let device = [
            18, DEVICE, 0x00, 0x02, class, sub_class, protocol, 64,
            vendor_low, vendor_high, product_low, product_high, release_low, release_high,
            index(1, &identity.manufacturer), index(2, &identity.name), index(3, &identity.serial), 1,
        ];
        let mut body = Vec::new();
        for function in functions {
            push_function(&mut body, speed, function);
        }
        let total = u16::try_from(9 + body.len()).unwrap_or(u16::MAX).to_le_bytes();
        let count = u8::try_from(functions.len()).unwrap_or(u8::MAX);
        // Bus powered, 100 mA.
        let mut configuration = vec![9, CONFIGURATION, total[0], total[1], count, 1, 0, 0x80, 50];
        configuration.append(&mut body);
        let interfaces = interfaces(&configuration);
        let strings = strings.map(Clone::clone).to_vec();
        Self { speed, device, configuration, strings, interfaces }
    }

    /// Descriptors as they were read from a device.
    ///
    /// # Errors
    /// When they are none.
    pub fn raw(
        speed: Speed,
        device: &[u8],
        configuration: &[u8],
        strings: Vec<String>,
    ) -> Result<Self, DescriptorError> {
        let device: [u8; 18] = device.try_into().map_err(|_| DescriptorError::Device)?;
        if device.first_chunk() != Some(&[18, DEVICE]) || device.last() != Some(&1) {
            return Err(DescriptorError::Device);
        }
        let stated = match configuration {
            [9, CONFIGURATION, low, high, _, _, _, _, _, ..] => {
                usize::from(u16::from_le_bytes([*low, *high]))
            }
            _ => return Err(DescriptorError::Configuration),
        };
        if stated != configuration.len() {
            return Err(DescriptorError::Configuration);
        }
        let interfaces = interfaces(configuration);
        Ok(Self { speed, device, configuration: configuration.to_vec(), strings, interfaces })
    }

    /// Speed.
    #[must_use]
    pub const fn speed(&self) -> Speed {
        self.speed
    }

    /// The device descriptor.
    #[must_use]
    pub const fn device(&self) -> &[u8; 18] {
        &self.device
    }

    /// The configuration with all that belongs to it.
    #[must_use]
    pub fn configuration(&self) -> &[u8] {
        &self.configuration
    }

    /// The interfaces in their first alternate setting.
    #[must_use]
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// bConfigurationValue.
    #[must_use]
    pub fn configuration_value(&self) -> u8 {
        self.configuration.get(5).copied().unwrap_or(1)
    }

    /// An endpoint by its address.
    #[must_use]
    pub fn endpoint(&self, address: u8) -> Option<Endpoint> {
        self.interfaces.iter().flat_map(|i| &i.endpoints).find(|e| e.address == address).copied()
    }

    /// The descriptor that GET_DESCRIPTOR asks for with this wValue, where there is one.
    pub(crate) fn get(&self, value: u16) -> Option<Vec<u8>> {
        let [kind, index] = value.to_be_bytes();
        match (kind, index) {
            (DEVICE, 0) => Some(self.device.to_vec()),
            (CONFIGURATION, 0) => Some(self.configuration.clone()),
            (STRING, 0) => Some([&[4, STRING][..], &LANGUAGE.to_le_bytes()].concat()),
            (STRING, index) => {
                let text = self.strings.get(usize::from(index) - 1).filter(|t| !t.is_empty())?;
                let units = text.encode_utf16().take(LONGEST_STRING).flat_map(u16::to_le_bytes);
                let mut descriptor = vec![0, STRING];
                descriptor.extend(units);
                let length = u8::try_from(descriptor.len()).ok()?;
                *descriptor.first_mut()? = length;
                Some(descriptor)
            }
            _ => None,
        }
    }
}

fn push_function(body: &mut Vec<u8>, speed: Speed, function: &Function) {
    let Function { interface, class_descriptors } = function;
    let count = u8::try_from(interface.endpoints.len()).unwrap_or(u8::MAX);
    let Interface { number, class, sub_class, protocol, .. } = *interface;
    body.extend([9, INTERFACE, number, 0, count, class, sub_class, protocol, 0]);
    body.extend_from_slice(class_descriptors);
    for endpoint in &interface.endpoints {
        let [low, high] = endpoint.max_packet.to_le_bytes();
        let (attributes, interval) = match (endpoint.kind, speed) {
            (EndpointKind::Bulk, _) => (2, 0),
            // Every millisecond: 2^(4-1) microframes, or one frame.
            (EndpointKind::Interrupt, Speed::High) => (3, 4),
            (EndpointKind::Interrupt, Speed::Full) => (3, 1),
        };
        body.extend([7, ENDPOINT, endpoint.address, attributes, low, high, interval]);
    }
}

/// The interfaces of a configuration in their first alternate setting, with their bulk and interrupt endpoints. Reading
/// ends where the bytes make no sense.
#[must_use]
pub fn interfaces(configuration: &[u8]) -> Vec<Interface> {
    let mut found: Vec<Interface> = Vec::new();
    let mut first_setting = false;
    let mut rest = configuration;
    while let Some((descriptor, after)) = rest.first().and_then(|&n| rest.split_at_checked(usize::from(n))) {
        match descriptor {
            [] | [_] => break,
            [_, INTERFACE, number, setting, _, class, sub_class, protocol, ..] => {
                first_setting = *setting == 0;
                if first_setting {
                    let (number, class, sub_class, protocol) = (*number, *class, *sub_class, *protocol);
                    found.push(Interface { number, class, sub_class, protocol, endpoints: Vec::new() });
                }
            }
            [_, ENDPOINT, address, attributes, low, high, ..] if first_setting => {
                let kind = match attributes & 3 {
                    2 => Some(EndpointKind::Bulk),
                    3 => Some(EndpointKind::Interrupt),
                    _ => None,
                };
                // Bits 11 and 12 count further transactions in a microframe.
                let max_packet = u16::from_le_bytes([*low, *high]) & 0x07ff;
                if let (Some(kind), Some(interface)) = (kind, found.last_mut()) {
                    interface.endpoints.push(Endpoint { address: *address, kind, max_packet });
                }
            }
            _ => {}
        }
        rest = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn functions() -> [Function; 2] {
        let endpoint = |address, kind, max_packet| Endpoint { address, kind, max_packet };
        let first = Interface {
            number: 0,
            class: 3,
            sub_class: 0,
            protocol: 0,
            endpoints: vec![endpoint(0x81, EndpointKind::Interrupt, 64)],
        };
        let second = Interface {
            number: 1,
            class: 0xff,
            sub_class: 1,
            protocol: 2,
            endpoints: vec![endpoint(0x02, EndpointKind::Bulk, 512), endpoint(0x82, EndpointKind::Bulk, 512)],
        };
        [
            Function { interface: first, class_descriptors: vec![9, 0x21, 0x11, 1, 0, 1, 0x22, 40, 0] },
            second.into(),
        ]
    }

    fn descriptors() -> Descriptors {
        let identity = Identity {
            vendor: 0x1209,
            product: 0x0b10,
            release: 0x0102,
            manufacturer: "Maker".into(),
            serial: "S-1".into(),
            ..Identity::default()
        };
        Descriptors::new(Speed::High, &identity, &functions())
    }

    #[test]
    fn what_is_made_is_what_is_read() {
        let made = descriptors();
        assert_eq!(made.interfaces(), functions().map(|f| f.interface));
        assert_eq!(made.endpoint(0x82).map(|e| e.max_packet), Some(512));
        assert_eq!(made.endpoint(0x83), None);
        let length = u16::from_le_bytes([made.configuration()[2], made.configuration()[3]]);
        assert_eq!(usize::from(length), made.configuration().len());
        let again =
            Descriptors::raw(Speed::High, made.device(), made.configuration(), made.strings.clone()).unwrap();
        assert_eq!(again, made);
    }

    #[test]
    fn strings_are_those_that_the_device_names() {
        let made = descriptors();
        assert_eq!(made.device()[14..], [1, 0, 3, 1], "no product string, so no index for it");
        assert_eq!(made.get(0x0301).unwrap()[..4], [12, 3, b'M', 0]);
        assert_eq!(made.get(0x0302), None);
        assert_eq!(made.get(0x0309), None);
        assert_eq!(made.get(0x0300).unwrap(), [4, 3, 9, 4]);
    }

    #[test]
    fn a_configuration_that_lies_is_read_as_far_as_it_makes_sense() {
        let good = descriptors().configuration().to_vec();
        for length in 0..good.len() {
            let read = interfaces(&good[..length]);
            assert!(read.len() <= 2);
        }
        let mut looping = good.clone();
        looping[9] = 0;
        assert!(interfaces(&looping).is_empty(), "a descriptor of length 0 ends the list");
        assert_eq!(Descriptors::raw(Speed::Full, &[0; 18], &good, Vec::new()), Err(DescriptorError::Device));
        assert_eq!(
            Descriptors::raw(Speed::Full, descriptors().device(), &good[1..], Vec::new()),
            Err(DescriptorError::Configuration)
        );
    }

    #[test]
    fn alternate_settings_and_isochronous_endpoints_are_left_out() {
        let camera = [
            &[9, 2, 34, 0, 1, 1, 0, 0x80, 50][..],
            &[9, 4, 0, 0, 1, 14, 2, 0, 0, 7, 5, 0x81, 1, 0, 2, 1],
            &[9, 4, 0, 1, 1, 14, 2, 0, 0, 7, 5, 0x82, 2, 0, 2, 0],
        ]
        .concat();
        let read = interfaces(&camera);
        assert_eq!(read.len(), 1);
        assert!(read[0].endpoints.is_empty());
    }
}
