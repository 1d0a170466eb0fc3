//! A serial port of the communication device class (CDC-ACM, PSTN 1.2): a module with a USB port of its own.
//!
//! There is no wire behind it, so the speed that the host sets is remembered and means nothing.

use std::time::Instant;

use biosim_usbip::{Control, Descriptors, Function, Identity, Reply, Speed, UsbDevice};
use biotrust_driver_api::{Endpoint, EndpointKind, Interface, Recipient, RequestKind};

use super::{Far, SerialDevice};

const INPUT: u8 = 0x81;
const OUTPUT: u8 = 0x02;
const NOTIFICATIONS: u8 = 0x83;
const SET_LINE_CODING: u8 = 0x20;
const GET_LINE_CODING: u8 = 0x21;
const SET_CONTROL_LINE_STATE: u8 = 0x22;
const SEND_BREAK: u8 = 0x23;
/// 9600 baud, one stop bit, no parity, 8 bits.
const POWER_ON_CODING: [u8; 7] = [0x80, 0x25, 0, 0, 0, 0, 8];

/// A CDC-ACM port with a device behind it.
pub struct Acm<D> {
    descriptors: Descriptors,
    far: Far<D>,
    coding: [u8; 7],
}

impl<D: SerialDevice> Acm<D> {
    /// A port with `device` behind it.
    #[must_use]
    pub fn new(identity: &Identity, device: D) -> Self {
        let endpoint = |address, kind, max_packet| Endpoint { address, kind, max_packet };
        let control = Interface {
            number: 0,
            class: 2,
            sub_class: 2,
            protocol: 1,
            endpoints: vec![endpoint(NOTIFICATIONS, EndpointKind::Interrupt, 8)],
        };
        let data = Interface {
            number: 1,
            class: 10,
            sub_class: 0,
            protocol: 0,
            endpoints: vec![
                endpoint(INPUT, EndpointKind::Bulk, 64),
                endpoint(OUTPUT, EndpointKind::Bulk, 64),
            ],
        };
        // Header (1.10), call management (none, interface 1), ACM (line coding and control lines), union (0 over 1).
        #[rustfmt::skip]
        let functional = vec![
            5, 0x24, 0, 0x10, 1,
            5, 0x24, 1, 0, 1,
            4, 0x24, 2, 2,
            5, 0x24, 6, 0, 1,
        ];
        let identity = Identity { class: [2, 0, 0], ..identity.clone() };
        let functions = [Function { interface: control, class_descriptors: functional }, data.into()];
        let descriptors = Descriptors::new(Speed::Full, &identity, &functions);
        Self { descriptors, far: Far::new(device), coding: POWER_ON_CODING }
    }

    /// The device behind it.
    pub fn device(&mut self) -> &mut D {
        &mut self.far.device
    }
}

impl<D: SerialDevice> UsbDevice for Acm<D> {
    fn descriptors(&self) -> &Descriptors {
        &self.descriptors
    }

    fn control(&mut self, request: Control<'_>, _: Instant) -> Reply {
        let setup = request.setup();
        if (setup.kind, setup.recipient) != (RequestKind::Class, Recipient::Interface) {
            return Reply::Stall;
        }
        match (setup.request, request) {
            (SET_LINE_CODING, Control::Out { data, .. }) => match data.try_into() {
                Ok(coding) => {
                    self.coding = coding;
                    Reply::Ack
                }
                Err(_) => Reply::Stall,
            },
            (GET_LINE_CODING, Control::In { .. }) => Reply::Data(self.coding.to_vec()),
            (SET_CONTROL_LINE_STATE | SEND_BREAK, Control::Out { .. }) => Reply::Ack,
            _ => Reply::Stall,
        }
    }

    fn write(&mut self, _: u8, data: &[u8], now: Instant) -> Reply {
        self.far.step(data, None, now);
        Reply::Ack
    }

    fn read(&mut self, endpoint: u8, room: usize, now: Instant) -> Reply {
        if endpoint != INPUT {
            return Reply::Nak;
        }
        self.far.step(&[], None, now);
        let bytes = self.far.fetch(room);
        if bytes.is_empty() { Reply::Nak } else { Reply::Data(bytes) }
    }

    fn next_event(&self) -> Option<Instant> {
        self.far.next_event()
    }

    fn reset(&mut self, now: Instant) {
        self.coding = POWER_ON_CODING;
        self.far.power_up(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::testing::Echo;
    use biosim_usbip::{Gadget, LocalPort};
    use biotrust_driver_api::{PipeErrorKind, Setup, UsbPort as _};
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(10);
    const CODING: Setup = Setup {
        kind: RequestKind::Class,
        recipient: Recipient::Interface,
        request: SET_LINE_CODING,
        value: 0,
        index: 0,
    };

    #[test]
    fn bytes_go_through_and_the_line_coding_is_remembered() {
        let gadget = Gadget::new(Acm::new(&Identity::default(), Echo::default())).unwrap();
        let (port, _connection) = LocalPort::plug(&gadget).unwrap();
        assert_eq!(port.interfaces().len(), 2);
        port.claim(1).unwrap();
        port.write(OUTPUT, b"hello", PATIENCE).unwrap();
        assert_eq!(port.read(INPUT, 64, PATIENCE).unwrap(), b"hello");
        assert_eq!(gadget.with(|acm| acm.device().baud), None, "it has no speed");

        let get = Setup { request: GET_LINE_CODING, ..CODING };
        let mut coding = [0; 7];
        port.control_in(get, &mut coding, PATIENCE).unwrap();
        assert_eq!(coding, POWER_ON_CODING);
        port.control_out(CODING, &[0, 0xc2, 1, 0, 0, 0, 8], PATIENCE).unwrap();
        port.control_in(get, &mut coding, PATIENCE).unwrap();
        assert_eq!(coding, [0, 0xc2, 1, 0, 0, 0, 8]);
        let short = port.control_out(CODING, &[1, 2], PATIENCE).unwrap_err();
        assert_eq!(short.kind, PipeErrorKind::Stalled);
    }
}
