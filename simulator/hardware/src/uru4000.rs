//! A U.are.U 4000B/4500 fingerprint reader on USB: power, modes, events, and images that are scrambled block by block.
//!
//! Written from the description of the protocol, apart from the driver, so that each checks the other: even the shift
//! register of the scrambling is here a second time. The host is not trusted: any request has an answer.
//! Computation only; what takes time on the real reader is announced by [`UsbDevice::next_event`].

mod fault;
mod frame;
mod scramble;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use biosim_usbip::{Control, Descriptors, Function, Identity, Reply, Speed, UsbDevice};
use biotrust_driver_api::{Endpoint, EndpointKind, Interface, RequestKind};
use biotrust_imaging::Gray;

pub use fault::{Fault, UnknownFault};
pub use frame::{COLUMNS, DPI, ROWS};

const EVENTS: u8 = 0x81;
const IMAGES: u8 = 0x82;
/// bRequest of every access to registers.
const ACCESS: u8 = 0x04;
/// The registers: state of the power supply, number of a key and seed, key, mode, what the reader is.
mod register {
    pub(super) const HWSTAT: u16 = 0x07;
    pub(super) const SCRAMBLE_INDEX: u16 = 0x33;
    pub(super) const SCRAMBLE_KEY: u16 = 0x34;
    pub(super) const MODE: u16 = 0x4e;
    pub(super) const INFO: u16 = 0xf0;
}
/// Bits of HWSTAT.
mod stat {
    pub(super) const LOW_POWER: u8 = 0x80;
    pub(super) const FAULT: u8 = 0x04;
    pub(super) const ALIVE: u8 = 0x01;
}
/// Values of MODE that do something.
mod mode {
    pub(super) const FINGER_ON: u8 = 0x10;
    pub(super) const FINGER_OFF: u8 = 0x12;
    pub(super) const CAPTURE: u8 = 0x20;
}
/// Types of events.
mod event {
    pub(super) const POWERED: u16 = 0x56aa;
    pub(super) const FINGER_ON: u16 = 0x0101;
    pub(super) const FINGER_OFF: u16 = 0x0200;
    pub(super) const FAILURE: u16 = 0x0800;
}
/// From power to its confirmation.
const POWER_UP: Duration = Duration::from_millis(40);
/// From the start of an image to its transfer, and from one image to the next.
const EXPOSURE: Duration = Duration::from_millis(60);
/// Length of an event in bytes.
const PACKET: usize = 64;

/// The reader.
pub struct Uru4000 {
    descriptors: Descriptors,
    finger: Option<Gray>,
    fault: Option<Fault>,
    stat: u8,
    mode: u8,
    /// Events that the host has not fetched.
    events: VecDeque<u16>,
    /// When the scanner's power will be confirmed.
    powered_at: Option<Instant>,
    /// Key number and seed that the host has written last.
    index: (u8, [u8; 4]),
    /// When the next image is ready.
    image_at: Option<Instant>,
    /// What is left of the image that is being sent.
    sending: Option<VecDeque<u8>>,
    key_number: u8,
    /// Images sent so far.
    images: u64,
}

impl Uru4000 {
    /// A 4000B/4500 with this serial number; the real one has none.
    #[must_use]
    pub fn new(serial: &str) -> Self {
        let endpoint = |address, kind| Endpoint { address, kind, max_packet: 64 };
        let interface = Interface {
            number: 0,
            class: 0xff,
            sub_class: 0xff,
            protocol: 0xff,
            endpoints: vec![endpoint(EVENTS, EndpointKind::Interrupt), endpoint(IMAGES, EndpointKind::Bulk)],
        };
        let identity = Identity {
            vendor: 0x05ba,
            product: 0x000a,
            release: 0x0103,
            manufacturer: "DigitalPersona, Inc.".to_owned(),
            name: "U.are.U\u{ae} 4500 Fingerprint Reader".to_owned(),
            serial: serial.to_owned(),
            ..Identity::default()
        };
        Self {
            descriptors: Descriptors::new(Speed::Full, &identity, &[Function::from(interface)]),
            finger: None,
            fault: None,
            stat: stat::LOW_POWER | stat::ALIVE,
            mode: 0,
            events: VecDeque::new(),
            powered_at: None,
            index: (0, [0; 4]),
            image_at: None,
            sending: None,
            key_number: 0,
            images: 0,
        }
    }

    /// Lays a finger on the reader: a print at 500 dpi, upright, dark ridges on a light ground.
    pub fn press(&mut self, print: Gray) {
        self.finger = Some(print);
        if self.is_on() && self.mode == mode::FINGER_ON {
            self.events.push_back(event::FINGER_ON);
        }
    }

    /// Takes the finger away.
    pub fn lift(&mut self) {
        self.finger = None;
        if self.is_on() && self.mode == mode::FINGER_OFF {
            self.events.push_back(event::FINGER_OFF);
        }
    }

    /// Whether a finger lies there.
    #[must_use]
    pub const fn is_pressed(&self) -> bool {
        self.finger.is_some()
    }

    /// Whether the host has it wait for a finger.
    #[must_use]
    pub const fn awaits_finger(&self) -> bool {
        self.mode == mode::FINGER_ON
    }

    /// Whether the host has switched it off, or never on.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        !matches!(self.mode, mode::FINGER_ON | mode::FINGER_OFF | mode::CAPTURE)
    }

    /// Images that were sent so far.
    #[must_use]
    pub const fn images(&self) -> u64 {
        self.images
    }

    /// Makes it misbehave, or behave again.
    pub fn set_fault(&mut self, fault: Option<Fault>) {
        self.fault = fault;
        match fault {
            Some(Fault::Confused | Fault::Dead) => {
                self.stat = stat::LOW_POWER | stat::FAULT;
                self.mode = 0;
            }
            Some(Fault::Failing) => {
                self.events.push_back(event::FAILURE);
            }
            Some(Fault::Brownout) => {
                self.mode = 0;
                self.events.push_back(event::POWERED);
            }
            _ => {}
        }
    }

    /// Makes its state tell of a fault, or not.
    pub const fn report_fault(&mut self, fault: bool) {
        self.stat = self.stat & !stat::FAULT | if fault { stat::FAULT } else { 0 };
    }

    const fn is_on(&self) -> bool {
        self.stat & stat::LOW_POWER == 0
    }

    fn read_register(&self, first: u16, length: usize) -> Reply {
        let mut value = match first {
            register::HWSTAT => vec![self.stat],
            register::MODE => vec![self.mode],
            register::SCRAMBLE_KEY => {
                let (number, seed) = self.index;
                let wrong = u32::from(self.fault == Some(Fault::WrongKey));
                let key = (scramble::key(number) ^ wrong).to_le_bytes();
                key.iter().zip(seed).map(|(key, seed)| key ^ seed).collect()
            }
            register::INFO => vec![0x00, 0x05, 0xba, 0x0a, 0x01, 0x03, 0, 0, 0, 0, 0x04, 0x50, 0, 0, 0, 0],
            _ => vec![0; length],
        };
        value.resize(length, 0);
        Reply::Data(value)
    }

    fn write_register(&mut self, first: u16, data: &[u8], now: Instant) -> Reply {
        match (first, data) {
            (register::HWSTAT, [value, ..]) => self.set_stat(*value, now),
            (register::MODE, [value, ..]) => self.set_mode(*value, now),
            (register::SCRAMBLE_INDEX, [number, a, b, c, d, ..]) => self.index = (*number, [*a, *b, *c, *d]),
            _ => {}
        }
        Reply::Ack
    }

    fn set_stat(&mut self, value: u8, now: Instant) {
        match self.fault {
            Some(Fault::Dead | Fault::NoPower) => return,
            Some(Fault::Confused) => self.fault = None,
            _ => {}
        }
        let was_on = self.is_on();
        self.stat = value & (stat::LOW_POWER | 0x0a) | stat::ALIVE;
        if self.is_on() && !was_on {
            self.powered_at = Some(now + POWER_UP);
        } else if !self.is_on() {
            self.powered_at = None;
            self.mode = 0;
        }
    }

    fn set_mode(&mut self, value: u8, now: Instant) {
        let before = std::mem::replace(&mut self.mode, value);
        match (value, &self.finger) {
            (mode::FINGER_ON, Some(_)) => self.events.push_back(event::FINGER_ON),
            (mode::FINGER_OFF, None) => self.events.push_back(event::FINGER_OFF),
            _ => {}
        }
        if value != mode::CAPTURE {
            self.image_at = None;
            self.sending = None;
        } else if before != mode::CAPTURE || self.image_at.is_none() {
            self.image_at = Some(now + EXPOSURE);
        }
    }

    fn next_packet(&mut self, now: Instant) -> Reply {
        if self.powered_at.is_some_and(|at| at <= now) {
            self.powered_at = None;
            if self.fault != Some(Fault::Unconfirmed) {
                self.events.push_back(event::POWERED);
            }
        }
        match self.events.pop_front() {
            Some(kind) => {
                let mut packet = vec![0; PACKET];
                packet.iter_mut().zip(kind.to_be_bytes()).for_each(|(to, from)| *to = from);
                Reply::Data(packet)
            }
            None => Reply::Nak,
        }
    }

    fn next_pixels(&mut self, room: usize, now: Instant) -> Reply {
        if self.sending.is_none() {
            if !self.is_on() || self.mode != mode::CAPTURE || self.image_at.is_none_or(|at| at > now) {
                return Reply::Nak;
            }
            match self.fault {
                Some(Fault::NoImage) => return Reply::Nak,
                Some(Fault::StallsOnce) => {
                    self.fault = None;
                    self.image_at = Some(now + EXPOSURE);
                    return Reply::Stall;
                }
                _ => self.sending = Some(self.expose().into()),
            }
        }
        let Some(image) = &mut self.sending else { return Reply::Nak };
        if image.is_empty() {
            // The image is a whole number of packets, so an empty one ends it.
            self.sending = None;
            self.image_at = Some(now + EXPOSURE);
            self.images += 1;
            return Reply::Ack;
        }
        if self.fault == Some(Fault::StallsMidImage) && image.len() < frame::LENGTH / 2 {
            self.sending = None;
            self.image_at = Some(now + EXPOSURE);
            return Reply::Stall;
        }
        let most = if self.fault == Some(Fault::StallsMidImage) { frame::LENGTH / 4 } else { room };
        let piece = room.min(image.len()).min(most / PACKET * PACKET);
        Reply::Data(image.drain(..piece).collect())
    }

    /// The next image as it goes over the bus.
    fn expose(&mut self) -> Vec<u8> {
        self.key_number = self.key_number.wrapping_add(2);
        let mut image = frame::of(self.finger.as_ref(), self.key_number);
        match self.fault {
            Some(Fault::GarbageHeader) => {
                let header = image.iter_mut().take(frame::HEADER);
                header.enumerate().for_each(|(at, byte)| *byte = (at * 37 + 0x91) as u8);
            }
            Some(Fault::ShortImage) => image.truncate(frame::HEADER + 100 * COLUMNS + 17),
            _ => {}
        }
        image
    }
}

impl UsbDevice for Uru4000 {
    fn descriptors(&self) -> &Descriptors {
        &self.descriptors
    }

    fn control(&mut self, request: Control<'_>, now: Instant) -> Reply {
        let setup = request.setup();
        if setup.kind != RequestKind::Vendor || setup.request != ACCESS || setup.index != 0 {
            return Reply::Stall;
        }
        match (self.fault, request) {
            (Some(Fault::Mute), _) => Reply::Nak,
            (_, Control::In { length, .. }) => self.read_register(setup.value, usize::from(length)),
            (_, Control::Out { data, .. }) => self.write_register(setup.value, data, now),
        }
    }

    fn read(&mut self, endpoint: u8, room: usize, now: Instant) -> Reply {
        match endpoint {
            EVENTS => self.next_packet(now),
            IMAGES => self.next_pixels(room, now),
            _ => Reply::Stall,
        }
    }

    fn next_event(&self) -> Option<Instant> {
        let image = self.image_at.filter(|_| self.fault != Some(Fault::NoImage));
        [self.powered_at, image].into_iter().flatten().min()
    }

    fn reset(&mut self, _: Instant) {
        let dead = matches!(self.fault, Some(Fault::Dead));
        self.stat = if dead { stat::LOW_POWER | stat::FAULT } else { stat::LOW_POWER | stat::ALIVE };
        self.mode = 0;
        self.events.clear();
        self.powered_at = None;
        self.image_at = None;
        self.sending = None;
    }
}

#[cfg(test)]
mod tests;
