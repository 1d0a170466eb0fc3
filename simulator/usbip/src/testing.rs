//! A device for the tests: what is written to endpoint 02h can be read from 82h; 81h is an interrupt endpoint that tells
//! how often somebody has rung a bell.

use std::collections::VecDeque;
use std::time::Instant;

use biotrust_driver_api::{Endpoint, EndpointKind, Interface, Recipient, RequestKind, Setup};

use crate::{Control, Descriptors, Identity, Reply, Speed, UsbDevice};

pub(crate) const OUT: u8 = 0x02;
pub(crate) const IN: u8 = 0x82;
pub(crate) const BELL: u8 = 0x81;
pub(crate) const PACKET: u16 = 64;

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
        let endpoint = |address, kind, max_packet| Endpoint { address, kind, max_packet };
        let interface = Interface {
            number: 0,
            class: 0xff,
            sub_class: 0,
            protocol: 0,
            endpoints: vec![
                endpoint(OUT, EndpointKind::Bulk, PACKET),
                endpoint(IN, EndpointKind::Bulk, PACKET),
                endpoint(BELL, EndpointKind::Interrupt, 8),
            ],
        };
        let identity = Identity {
            vendor: 0x1209,
            product: 0x0001,
            manufacturer: "biotrust".into(),
            name: "Loopback".into(),
            serial: "LOOP-1".into(),
            ..Identity::default()
        };
        let descriptors = Descriptors::new(Speed::Full, &identity, &[interface.into()]);
        Self { descriptors, stored: VecDeque::new(), rings: 0, mode: 0, resets: 0, capacity: usize::MAX }
    }
}

/// Vendor request 1 sets the mode, and asks for it.
pub(crate) const MODE: Setup =
    Setup { kind: RequestKind::Vendor, recipient: Recipient::Device, request: 1, value: 0, index: 0 };
/// Vendor request 2 is never answered.
pub(crate) const SILENCE: Setup =
    Setup { kind: RequestKind::Vendor, recipient: Recipient::Device, request: 2, value: 0, index: 0 };

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
