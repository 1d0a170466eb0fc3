//! Virtual devices for the tests of ports: a USB device that gives back what it is told, and a HID device that does.

#![allow(dead_code)] // each test program uses its part

use std::collections::VecDeque;
use std::time::Instant;

use biosim_usbip::{Control, Descriptors, Function, Identity, Reply, Speed, UsbDevice};
use biotrust_driver_api::{Endpoint, EndpointKind, Interface, Recipient, RequestKind, Setup};

pub(crate) const OUT: u8 = 0x02;
pub(crate) const IN: u8 = 0x82;
pub(crate) const BELL: u8 = 0x81;
pub(crate) const PACKET: u16 = 512;

/// Vendor request 1: sets a mode, and asks for it.
pub(crate) const MODE: Setup =
    Setup { kind: RequestKind::Vendor, recipient: Recipient::Device, request: 1, value: 0x5a, index: 0 };
/// Vendor request 2: never answered.
pub(crate) const SILENCE: Setup = Setup { request: 2, ..MODE };
/// Vendor request 3: unknown.
pub(crate) const UNKNOWN: Setup = Setup { request: 3, ..MODE };

fn endpoint(address: u8, kind: EndpointKind, max_packet: u16) -> Endpoint {
    Endpoint { address, kind, max_packet }
}

/// What is written to 02h can be read from 82h; 81h tells how often somebody has rung.
pub(crate) struct Loopback {
    descriptors: Descriptors,
    pub(crate) stored: VecDeque<u8>,
    pub(crate) rings: u8,
    pub(crate) mode: u8,
    pub(crate) resets: u32,
    /// It takes no more than this.
    pub(crate) capacity: usize,
}

impl Default for Loopback {
    fn default() -> Self {
        Self::named("LOOP-1")
    }
}

impl Loopback {
    /// One with this serial number.
    pub(crate) fn named(serial: &str) -> Self {
        let interface = Interface {
            number: 0,
            class: 0xff,
            sub_class: 1,
            protocol: 2,
            endpoints: vec![
                endpoint(OUT, EndpointKind::Bulk, PACKET),
                endpoint(IN, EndpointKind::Bulk, PACKET),
                endpoint(BELL, EndpointKind::Interrupt, 8),
            ],
        };
        let identity = Identity {
            vendor: 0x1209,
            product: 0x0001,
            name: "Loopback".into(),
            serial: serial.into(),
            ..Identity::default()
        };
        let descriptors = Descriptors::new(Speed::High, &identity, &[interface.into()]);
        Self { descriptors, stored: VecDeque::new(), rings: 0, mode: 0, resets: 0, capacity: usize::MAX }
    }
}

impl UsbDevice for Loopback {
    fn descriptors(&self) -> &Descriptors {
        &self.descriptors
    }

    fn control(&mut self, request: Control<'_>, _: Instant) -> Reply {
        match (request.setup().request, request) {
            (1, Control::In { .. }) => Reply::Data(vec![self.mode]),
            (1, Control::Out { setup, .. }) => {
                self.mode = setup.value.to_le_bytes()[0];
                Reply::Ack
            }
            (2, _) => Reply::Nak,
            _ => Reply::Stall,
        }
    }

    fn write(&mut self, _: u8, data: &[u8], _: Instant) -> Reply {
        if self.stored.len() + data.len() > self.capacity {
            return Reply::Nak;
        }
        self.stored.extend(data);
        Reply::Ack
    }

    fn read(&mut self, endpoint: u8, room: usize, _: Instant) -> Reply {
        if endpoint == BELL {
            return match std::mem::take(&mut self.rings) {
                0 => Reply::Nak,
                rings => Reply::Data(vec![rings]),
            };
        }
        match self.stored.len() {
            0 => Reply::Nak,
            length => Reply::Data(self.stored.drain(..room.min(length)).collect()),
        }
    }

    fn reset(&mut self, _: Instant) {
        self.resets += 1;
    }
}

/// Bytes of a report.
pub(crate) const REPORT: usize = 16;

/// One vendor collection with an input, an output and a feature report of 16 bytes, no ids (HID 1.11, 6.2.2).
#[rustfmt::skip]
pub(crate) const REPORT_DESCRIPTOR: [u8; 29] = [
    0x06, 0x00, 0xff, 0x09, 0x01, 0xa1, 0x01, // usage page FF00h, usage 1, collection
    0x15, 0x00, 0x26, 0xff, 0x00, 0x75, 0x08, 0x95, 16, // 0..=255, 8 bits, 16 of them
    0x09, 0x02, 0x81, 0x02, // input
    0x09, 0x03, 0x91, 0x02, // output
    0x09, 0x04, 0xb1, 0x02, // feature
    0xc0, // end of the collection
];

/// A HID device: output reports come back as input reports; the feature report is kept.
pub(crate) struct HidLoop {
    descriptors: Descriptors,
    pub(crate) reports: VecDeque<Vec<u8>>,
    pub(crate) feature: Vec<u8>,
    /// It takes no output report.
    pub(crate) deaf: bool,
}

impl HidLoop {
    /// One with this serial number.
    pub(crate) fn named(serial: &str) -> Self {
        let interface = Interface {
            number: 0,
            class: 3,
            sub_class: 0,
            protocol: 0,
            endpoints: vec![
                endpoint(0x81, EndpointKind::Interrupt, REPORT as u16),
                endpoint(0x02, EndpointKind::Interrupt, REPORT as u16),
            ],
        };
        let length = REPORT_DESCRIPTOR.len() as u8;
        let class_descriptors = vec![9, 0x21, 0x11, 0x01, 0, 1, 0x22, length, 0];
        let identity = Identity {
            vendor: 0x1209,
            product: 0x0002,
            name: "HID loopback".into(),
            serial: serial.into(),
            ..Identity::default()
        };
        let descriptors =
            Descriptors::new(Speed::High, &identity, &[Function { interface, class_descriptors }]);
        Self { descriptors, reports: VecDeque::new(), feature: vec![0; REPORT], deaf: false }
    }
}

impl UsbDevice for HidLoop {
    fn descriptors(&self) -> &Descriptors {
        &self.descriptors
    }

    fn control(&mut self, request: Control<'_>, _: Instant) -> Reply {
        const FEATURE: u16 = 0x0300;
        match (request, request.setup().request, request.setup().value) {
            (Control::In { .. }, 6, 0x2200) => Reply::Data(REPORT_DESCRIPTOR.to_vec()),
            (Control::In { .. }, 1, FEATURE) => Reply::Data(self.feature.clone()),
            (Control::Out { data, .. }, 9, FEATURE) => {
                self.feature = data.to_vec();
                Reply::Ack
            }
            // SET_IDLE.
            (Control::Out { .. }, 10, _) => Reply::Ack,
            _ => Reply::Stall,
        }
    }

    fn write(&mut self, _: u8, data: &[u8], _: Instant) -> Reply {
        if self.deaf {
            return Reply::Nak;
        }
        self.reports.push_back(data.to_vec());
        Reply::Ack
    }

    fn read(&mut self, _: u8, _: usize, _: Instant) -> Reply {
        self.reports.pop_front().map_or(Reply::Nak, Reply::Data)
    }
}
