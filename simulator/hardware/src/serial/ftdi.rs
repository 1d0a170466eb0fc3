//! A USB serial adapter as FTDI makes them: an FT232R with a device at the end of its wire.
//!
//! What makes them special is here: each packet to the host begins with two bytes of status, a packet goes out when it is
//! full or the latency timer has run down (16 ms at first, and then even an empty one), and the speed is a divisor of
//! 3 MHz with eighths. Unlike the port of a module, it has a real wire: bytes take their time on it, those to the device
//! here, those to the host in the device.

use std::time::{Duration, Instant};

use biosim_usbip::{Control, Descriptors, Identity, Reply, Speed, UsbDevice};
use biotrust_driver_api::{Endpoint, EndpointKind, Interface, RequestKind};

use super::uart::Wire;
use super::{Far, SerialDevice};

const INPUT: u8 = 0x81;
const OUTPUT: u8 = 0x02;
/// Bytes of a packet, the status included.
const PACKET: usize = 64;
/// Clear to send, data set ready, carrier; the low bits are fixed. Then: transmitter empty.
const STATUS: [u8; 2] = [0xb1, 0x60];
/// Bytes that the adapter holds for the wire.
const BUFFER: usize = 256;
const LATENCY: Duration = Duration::from_millis(16);
const POWER_ON_BAUD: u32 = 9600;

mod request {
    pub(super) const RESET: u8 = 0;
    pub(super) const MODEM_CONTROL: u8 = 1;
    pub(super) const FLOW_CONTROL: u8 = 2;
    pub(super) const BAUD: u8 = 3;
    pub(super) const DATA: u8 = 4;
    pub(super) const MODEM_STATUS: u8 = 5;
    pub(super) const EVENT_CHARACTER: u8 = 6;
    pub(super) const ERROR_CHARACTER: u8 = 7;
    pub(super) const SET_LATENCY: u8 = 9;
    pub(super) const GET_LATENCY: u8 = 10;
    pub(super) const READ_EEPROM: u8 = 0x90;
}

/// An FT232R with a device behind it.
pub struct Ftdi<D> {
    descriptors: Descriptors,
    far: Far<D>,
    baud: u32,
    to_device: Wire,
    latency: Duration,
    /// When the latency timer was started, if the host waits for a packet.
    timer: Option<Instant>,
}

impl<D: SerialDevice> Ftdi<D> {
    /// An adapter with `device` behind it, under FTDI's own numbers.
    #[must_use]
    pub fn new(serial: &str, device: D) -> Self {
        let endpoint = |address| Endpoint { address, kind: EndpointKind::Bulk, max_packet: PACKET as u16 };
        let endpoints = vec![endpoint(INPUT), endpoint(OUTPUT)];
        let interface = Interface { number: 0, class: 0xff, sub_class: 0xff, protocol: 0xff, endpoints };
        let identity = Identity {
            vendor: 0x0403,
            product: 0x6001,
            release: 0x0600,
            manufacturer: "FTDI".to_owned(),
            name: "FT232R USB UART".to_owned(),
            serial: serial.to_owned(),
            ..Identity::default()
        };
        Self {
            descriptors: Descriptors::new(Speed::Full, &identity, &[interface.into()]),
            far: Far::new(device),
            baud: POWER_ON_BAUD,
            to_device: Wire::default(),
            latency: LATENCY,
            timer: None,
        }
    }

    /// The device behind it.
    pub fn device(&mut self) -> &mut D {
        &mut self.far.device
    }

    /// Moves what has arrived at either end of the wire.
    fn advance(&mut self, now: Instant) {
        let arrived = self.to_device.pop(self.baud, now);
        self.far.step(&arrived, Some(self.baud), now);
    }
}

/// The speed that a divisor stands for: its eighths are in a code of three bits, 0 and 1 mean 3 and 2 MHz.
fn baud(value: u16, index: u16) -> u32 {
    const EIGHTHS: [u32; 8] = [0, 4, 2, 1, 3, 5, 6, 7];
    let code = usize::from((value >> 14) | ((index & 1) << 2));
    let eighths = EIGHTHS.get(code).copied().unwrap_or_default();
    match (u32::from(value & 0x3fff), eighths) {
        (0, 0) => 3_000_000,
        (1, 0) => 2_000_000,
        (whole, eighths) => 24_000_000 / (whole * 8 + eighths).max(1),
    }
}

impl<D: SerialDevice> UsbDevice for Ftdi<D> {
    fn descriptors(&self) -> &Descriptors {
        &self.descriptors
    }

    fn control(&mut self, request: Control<'_>, now: Instant) -> Reply {
        let setup = request.setup();
        if setup.kind != RequestKind::Vendor {
            return Reply::Stall;
        }
        let [value, _] = setup.value.to_le_bytes();
        match (setup.request, request) {
            (request::RESET, Control::Out { .. }) => {
                // 0 resets both buffers, 1 purges what was received, 2 what is to be sent.
                if value != 2 {
                    self.far.received.clear();
                }
                if value != 1 {
                    self.to_device.clear();
                }
                Reply::Ack
            }
            (request::BAUD, Control::Out { .. }) => {
                self.advance(now);
                self.baud = baud(setup.value, setup.index);
                Reply::Ack
            }
            (request::SET_LATENCY, Control::Out { .. }) => {
                self.latency = Duration::from_millis(u64::from(value.max(1)));
                Reply::Ack
            }
            (
                request::MODEM_CONTROL
                | request::FLOW_CONTROL
                | request::DATA
                | request::EVENT_CHARACTER
                | request::ERROR_CHARACTER,
                Control::Out { .. },
            ) => Reply::Ack,
            (request::GET_LATENCY, Control::In { .. }) => {
                Reply::Data(vec![u8::try_from(self.latency.as_millis()).unwrap_or(u8::MAX)])
            }
            (request::MODEM_STATUS, Control::In { .. }) => Reply::Data(STATUS.to_vec()),
            // A word of nothing: no pin of the chip is free for other use.
            (request::READ_EEPROM, Control::In { .. }) => Reply::Data(vec![0, 0]),
            _ => Reply::Stall,
        }
    }

    fn write(&mut self, _: u8, data: &[u8], now: Instant) -> Reply {
        self.advance(now);
        if self.to_device.len() >= BUFFER {
            return Reply::Nak;
        }
        self.to_device.push(data, now);
        Reply::Ack
    }

    fn read(&mut self, _: u8, room: usize, now: Instant) -> Reply {
        self.advance(now);
        let most = PACKET.min(room).saturating_sub(STATUS.len());
        let timer = *self.timer.get_or_insert(now);
        let full = self.far.received.len() >= most;
        if !full && now < timer + self.latency {
            return Reply::Nak;
        }
        self.timer = Some(now);
        let mut packet = STATUS.to_vec();
        packet.extend(self.far.fetch(most));
        Reply::Data(packet)
    }

    fn next_event(&self) -> Option<Instant> {
        let timer = self.timer.map(|timer| timer + self.latency);
        let arrival = self.to_device.arrival(self.baud, PACKET);
        [timer, arrival, self.far.next_event()].into_iter().flatten().min()
    }

    fn reset(&mut self, now: Instant) {
        self.baud = POWER_ON_BAUD;
        self.latency = LATENCY;
        self.timer = None;
        self.to_device.clear();
        self.far.power_up(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::testing::Echo;
    use biosim_usbip::{Gadget, LocalPort};
    use biotrust_driver_api::{Recipient, Setup, UsbPort as _};

    const PATIENCE: Duration = Duration::from_secs(10);

    fn order(request: u8, value: u16) -> Setup {
        Setup { kind: RequestKind::Vendor, recipient: Recipient::Device, request, value, index: 0 }
    }

    #[test]
    fn divisors_are_what_linux_computes() {
        // Divisor of 48 MHz / 2 / baud in eighths, split as ftdi_sio does: 115200 is 208, 57600 is 416 (rounded from
        // 416.7), 9600 is 2500 (312 and 4 eighths, code 1), 38400 is 625 (78 and 1 eighth, code 3).
        for (value, index, exact) in [
            (26, 0, 115_384),
            (52, 0, 57_692),
            (312 | (1 << 14), 0, 9600),
            (78 | (3 << 14), 0, 38_400),
            (0, 0, 3_000_000),
            (1, 0, 2_000_000),
            (104, 1, 24_000_000 / 835),
        ] {
            assert_eq!(baud(value, index), exact, "{value} {index}");
        }
    }

    #[test]
    fn packets_begin_with_the_status_and_go_out_when_full_or_in_time() {
        let gadget = Gadget::new(Ftdi::new("FT1", Echo::default())).unwrap();
        let (port, _connection) = LocalPort::plug(&gadget).unwrap();
        port.claim(0).unwrap();
        port.control_out(order(request::BAUD, 26), &[], PATIENCE).unwrap();
        let began = Instant::now();
        assert_eq!(port.read(INPUT, 64, PATIENCE).unwrap(), STATUS, "an empty packet has its status");
        assert!(began.elapsed() >= LATENCY);

        let sent: Vec<u8> = (0..200).collect();
        port.write(OUTPUT, &sent, PATIENCE).unwrap();
        let mut heard = Vec::new();
        while heard.len() < sent.len() {
            let packet = port.read(INPUT, 64, PATIENCE).unwrap();
            assert_eq!(packet[..2], STATUS);
            heard.extend_from_slice(&packet[2..]);
        }
        assert_eq!(heard, sent);
        assert_eq!(gadget.with(|ftdi| ftdi.device().baud), Some(115_384));
        // On a wire of 11,538 bytes a second, after the empty packet.
        assert!(began.elapsed() >= Duration::from_millis(16 + 17), "{:?}", began.elapsed());
    }

    #[test]
    fn a_long_read_is_made_of_packets_with_a_status_each() {
        let gadget = Gadget::new(Ftdi::new("FT1", Echo::default())).unwrap();
        let (port, _connection) = LocalPort::plug(&gadget).unwrap();
        port.claim(0).unwrap();
        port.control_out(order(request::BAUD, 0), &[], PATIENCE).unwrap();
        port.control_out(order(request::SET_LATENCY, 255), &[], PATIENCE).unwrap();
        port.submit(INPUT, 4096).unwrap();
        port.write(OUTPUT, &[5; 100], PATIENCE).unwrap();
        let read = port.complete(INPUT, PATIENCE).unwrap();
        assert_eq!(read.len(), 100 + 2 * STATUS.len());
        assert_eq!(read[64..66], STATUS, "the second packet has one too");
    }

    #[test]
    fn buffers_are_purged_on_request() {
        let gadget = Gadget::new(Ftdi::new("FT1", Echo::default())).unwrap();
        let (port, _connection) = LocalPort::plug(&gadget).unwrap();
        port.claim(0).unwrap();
        // Nothing of it can have arrived at 9600 baud when the purge comes.
        port.write(OUTPUT, &[5; 64], PATIENCE).unwrap();
        port.control_out(order(request::RESET, 0), &[], PATIENCE).unwrap();
        assert!(gadget.with(|ftdi| ftdi.to_device.len()) == 0);
        let mut latency = [0];
        port.control_in(order(request::GET_LATENCY, 0), &mut latency, PATIENCE).unwrap();
        assert_eq!(latency, [16]);
        assert!(port.control_in(order(0x91, 0), &mut [0; 2], PATIENCE).is_err(), "and no such request");
    }

    #[test]
    fn a_module_is_understood_at_its_own_speed_only() {
        let module = crate::r30x::R30x::default();
        let gadget = Gadget::new(Ftdi::new("FT1", module)).unwrap();
        let (port, _connection) = LocalPort::plug(&gadget).unwrap();
        port.claim(0).unwrap();
        // It says nothing for half a second after it gets power.
        let awake = Instant::now() + Duration::from_millis(600);
        while Instant::now() < awake {
            let _ = port.read(INPUT, 64, PATIENCE);
        }
        // The password is told: EF 01, address, command of 7 bytes, 13, password, sum.
        let hello = [0xef, 1, 0xff, 0xff, 0xff, 0xff, 1, 0, 7, 0x13, 0, 0, 0, 0, 0, 0x1b];
        let answers = |divisor, within| {
            port.control_out(order(request::BAUD, divisor), &[], PATIENCE).unwrap();
            port.write(OUTPUT, &hello, PATIENCE).unwrap();
            let (mut heard, until) = (Vec::new(), Instant::now() + within);
            while Instant::now() < until && heard.len() < 12 {
                heard.extend_from_slice(&port.read(INPUT, 64, PATIENCE).unwrap()[2..]);
            }
            heard
        };
        assert_eq!(answers(312 | (1 << 14), Duration::from_millis(300)), [0u8; 0], "9600 baud");
        let heard = answers(52, PATIENCE);
        assert_eq!(heard[..10], [0xef, 1, 0xff, 0xff, 0xff, 0xff, 7, 0, 3, 0], "57692 baud for its 57600");
    }
}
