//! An R30x fingerprint module (R305, R307, AS608, ZFM-20) on a UART: settings in flash, one image, no library of prints.
//!
//! Written from the manual, apart from the driver, so that each checks the other. Computation only: [`R30x::step`] takes
//! what has arrived and gives what has left by then, at the pace of its speed; whoever runs it keeps the time
//! ([`pty`] on a pseudo-terminal, the adapters of this crate on USB). The host is not trusted.

mod fault;
pub mod pty;
#[cfg(test)]
mod tests;
mod wire;

use std::time::{Duration, Instant};

use biotrust_imaging::{Dpi, Gray, quality};

pub use fault::{Fault, UnknownFault};
use wire::{ACK, COMMAND, DATA, HEAD, Heard, LAST, Outgoing};

/// Pixels in a row of an image.
pub const COLUMNS: usize = 256;
/// Rows of an image.
pub const ROWS: usize = 288;

/// A module says nothing for so long after it gets power.
const POWER_UP: Duration = Duration::from_millis(500);
/// How long it thinks about a command, takes an image, works on one, and writes its flash.
const THINK: Duration = Duration::from_millis(3);
const EXPOSE: Duration = Duration::from_millis(60);
const EXTRACT: Duration = Duration::from_millis(120);
const FLASH: Duration = Duration::from_millis(15);
/// What [`Fault::Slow`] adds.
const SLOW: Duration = Duration::from_millis(500);
/// Grey of the empty glass.
const GLASS: u8 = 0xE0;

/// Confirmation codes.
mod code {
    pub(super) const OK: u8 = 0x00;
    pub(super) const DAMAGED: u8 = 0x01;
    pub(super) const NO_FINGER: u8 = 0x02;
    pub(super) const IMAGE_FAILED: u8 = 0x03;
    pub(super) const MESSY: u8 = 0x06;
    pub(super) const FEW_FEATURES: u8 = 0x07;
    pub(super) const NOT_FOUND: u8 = 0x09;
    pub(super) const WRONG_PASSWORD: u8 = 0x13;
    pub(super) const NO_IMAGE: u8 = 0x15;
    pub(super) const FLASH: u8 = 0x18;
    pub(super) const NO_SETTING: u8 = 0x1A;
    pub(super) const LOCKED: u8 = 0x21;
}

/// What is in its flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Address that it answers to.
    pub address: u32,
    /// Password that opens it.
    pub password: u32,
    /// Speed, as a multiple of 9600 baud, 1 to 12.
    pub speed: u8,
    /// Size of data packets: 32 bytes, shifted left by 0 to 3.
    pub data_size: u8,
    /// Security level, 1 to 5.
    pub security: u8,
}

impl Default for Settings {
    /// As it leaves the factory: 57600 baud, packets of 128 bytes.
    fn default() -> Self {
        Self { address: u32::MAX, password: 0, speed: 6, data_size: 2, security: 3 }
    }
}

impl Settings {
    /// Its speed.
    #[must_use]
    pub const fn baud(&self) -> u32 {
        self.speed as u32 * 9_600
    }
}

/// The module.
pub struct R30x {
    settings: Settings,
    fault: Option<Fault>,
    finger: Option<Gray>,
    /// The image in its buffer: one byte for two pixels.
    image: Option<Vec<u8>>,
    unlocked: bool,
    incoming: Vec<u8>,
    outgoing: Outgoing,
    /// It has another speed from then on.
    switches: Option<(Instant, u8)>,
    /// It says nothing before.
    awake_at: Option<Instant>,
    random: u32,
    images: u64,
}

impl Default for R30x {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

impl R30x {
    /// A module that has power, with these settings in its flash.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            fault: None,
            finger: None,
            image: None,
            unlocked: false,
            incoming: Vec::new(),
            outgoing: Outgoing::default(),
            switches: None,
            awake_at: None,
            random: 0x2545_F491,
            images: 0,
        }
    }

    /// Gives it power anew: all but its flash is forgotten, and for half a second it says nothing.
    pub fn power_up(&mut self, now: Instant) {
        self.image = None;
        self.unlocked = false;
        self.incoming.clear();
        self.outgoing.clear();
        self.switches = None;
        self.awake_at = Some(now + POWER_UP);
    }

    /// Whether it is still silent after it got power.
    #[must_use]
    pub fn is_starting(&self, now: Instant) -> bool {
        self.awake_at.is_some_and(|at| now < at)
    }

    /// Lays a finger on it: a print at 500 dpi, upright, dark ridges on a light ground. What does not fit on the sensor is
    /// cut off on all sides.
    pub fn press(&mut self, print: Gray) {
        self.finger = Some(print);
    }

    /// Takes the finger away.
    pub fn lift(&mut self) {
        self.finger = None;
    }

    /// Whether a finger lies there.
    #[must_use]
    pub const fn is_pressed(&self) -> bool {
        self.finger.is_some()
    }

    /// Sets a fault, or none.
    pub fn set_fault(&mut self, fault: Option<Fault>, now: Instant) {
        self.fault = fault;
        if fault == Some(Fault::Brownout) {
            self.power_up(now);
            self.fault = None;
        }
    }

    /// What is in its flash.
    #[must_use]
    pub const fn settings(&self) -> Settings {
        self.settings
    }

    /// Images sent so far.
    #[must_use]
    pub const fn images(&self) -> u64 {
        self.images
    }

    /// What the image of this finger is, as a host gets it: sixteen levels of grey.
    #[must_use]
    pub fn seen(print: &Gray) -> Vec<u8> {
        packed(print).iter().flat_map(|byte| [(byte >> 4) * 17, (byte & 0x0F) * 17]).collect()
    }

    /// Takes what has arrived from a host that has set its end to `baud` (`None`: the line has no speed); gives what has
    /// arrived at the host by `now`.
    pub fn step(&mut self, bytes: &[u8], baud: Option<u32>, now: Instant) -> Vec<u8> {
        if let Some((_, speed)) = self.switches.take_if(|(at, _)| *at <= now) {
            self.settings.speed = speed;
        }
        if self.awake_at.is_some_and(|at| now < at) {
            return Vec::new();
        }
        // what it hears of a host at another speed is as garbled as what that host hears
        let own = Some(self.settings.baud());
        self.incoming.extend(bytes.iter().map(|byte| wire::heard(*byte, baud.unwrap_or(0), baud.and(own))));
        // nobody sends a module more than one packet at a time
        let excess = self.incoming.len().saturating_sub(1024);
        self.incoming.drain(..excess);
        while let Some(heard) = wire::next(&mut self.incoming) {
            match heard {
                Heard::Packet(address, COMMAND, content) if address == self.settings.address => {
                    self.command(&content, now);
                }
                Heard::Damaged(address) if address == self.settings.address => {
                    self.acknowledge(&[code::DAMAGED], now + THINK);
                }
                _ => {}
            }
        }
        if self.fault == Some(Fault::Babbles) && self.outgoing.next().is_none() {
            let noise: Vec<u8> = (0..64).map(|_| self.noise() as u8).collect();
            self.outgoing.send(&noise, now, self.settings.baud());
        }
        self.outgoing.arrived(now, baud)
    }

    /// When it will have something to say, if nothing arrives until then.
    #[must_use]
    pub fn next_event(&self) -> Option<Instant> {
        let switch = self.switches.map(|(at, _)| at);
        self.outgoing.next().into_iter().chain(switch).min()
    }

    fn command(&mut self, content: &[u8], now: Instant) {
        let slow = if self.fault == Some(Fault::Slow) { SLOW } else { Duration::ZERO };
        let at = now + THINK + slow;
        let Some((opcode, rest)) = content.split_first() else { return };
        if !self.unlocked && !matches!(opcode, 0x13) {
            return self.acknowledge(&[code::LOCKED], at);
        }
        match (opcode, rest) {
            (0x01, []) => self.expose(at),
            (0x02, [1 | 2]) => {
                let judgement = self.judge();
                self.acknowledge(&[judgement], at + EXTRACT);
            }
            (0x0A, []) => self.send_image(at),
            (0x0E, [number, value]) => self.set(*number, *value, at),
            (0x0F, []) => {
                let answer = self.parameters();
                self.acknowledge(&answer, at);
            }
            (0x12, [a, b, c, d]) => {
                self.settings.password = u32::from_be_bytes([*a, *b, *c, *d]);
                self.acknowledge(&[code::OK], at + FLASH);
            }
            (0x13, [a, b, c, d]) => {
                self.unlocked = self.settings.password == u32::from_be_bytes([*a, *b, *c, *d]);
                let code = if self.unlocked { code::OK } else { code::WRONG_PASSWORD };
                self.acknowledge(&[code], at);
            }
            (0x14, []) => {
                let [a, b, c, d] = self.noise().to_be_bytes();
                self.acknowledge(&[code::OK, a, b, c, d], at);
            }
            (0x15, [a, b, c, d]) => {
                // the answer already has the new address
                self.settings.address = u32::from_be_bytes([*a, *b, *c, *d]);
                self.acknowledge(&[code::OK], at + FLASH);
            }
            // it has no library: nothing is in it, nothing is found, nothing can be put there
            (0x04 | 0x1B, [_, _, _, _, _]) => self.acknowledge(&[code::NOT_FOUND, 0, 0, 0, 0], at),
            (0x06, [_, _, _]) => self.acknowledge(&[code::FLASH], at),
            (0x0C | 0x0D, _) => self.acknowledge(&[code::OK], at),
            (0x1D, []) => self.acknowledge(&[code::OK, 0, 0], at),
            (0x1F, [0..=3]) => self.acknowledge(&[0; 33], at),
            _ => self.acknowledge(&[code::DAMAGED], at),
        }
    }

    fn expose(&mut self, at: Instant) {
        let answer = match &self.finger {
            _ if self.fault == Some(Fault::NoImage) => code::IMAGE_FAILED,
            None => code::NO_FINGER,
            Some(print) => {
                self.image = Some(packed(print));
                code::OK
            }
        };
        self.acknowledge(&[answer], at + EXPOSE);
    }

    /// Whether features can be had from the image.
    fn judge(&self) -> u8 {
        let Some(image) = &self.image else { return code::NO_IMAGE };
        let pixels = image.iter().flat_map(|byte| [(byte >> 4) * 17, (byte & 0x0F) * 17]).collect();
        let Ok(image) = Gray::new(COLUMNS as u32, ROWS as u32, pixels) else { return code::NO_IMAGE };
        let aspects = quality::finger_aspects(&image, Dpi::FINGER);
        match (aspects.area, aspects.usable) {
            (area, _) if area < 0.15 => code::FEW_FEATURES,
            (_, usable) if usable < 0.15 => code::MESSY,
            _ => code::OK,
        }
    }

    fn send_image(&mut self, at: Instant) {
        let Some(image) = self.image.clone() else { return self.acknowledge(&[code::NO_IMAGE], at) };
        self.acknowledge(&[code::OK], at);
        self.images += 1;
        let chunks: Vec<&[u8]> = image.chunks(32 << self.settings.data_size).collect();
        let middle = chunks.len() / 2;
        for (number, chunk) in chunks.iter().enumerate() {
            match self.fault {
                Some(Fault::LosesData) if number == middle => continue,
                Some(Fault::CutsImage) if number == middle => return,
                _ => {}
            }
            let kind = if number + 1 == chunks.len() { LAST } else { DATA };
            self.send(kind, chunk, at);
        }
    }

    fn set(&mut self, number: u8, value: u8, at: Instant) {
        let at = at + FLASH;
        match (number, value) {
            (4, 1..=12) => {
                self.acknowledge(&[code::OK], at);
                if self.fault != Some(Fault::KeepsBaud) {
                    // once the answer has left at the old speed
                    self.switches = Some((self.outgoing.end().unwrap_or(at), value));
                }
            }
            (5, 1..=5) => {
                self.settings.security = value;
                self.acknowledge(&[code::OK], at);
            }
            (6, 0..=3) => {
                self.settings.data_size = value;
                self.acknowledge(&[code::OK], at);
            }
            _ => self.acknowledge(&[code::NO_SETTING], at),
        }
    }

    fn parameters(&self) -> Vec<u8> {
        let Settings { address, speed, data_size, security, .. } = self.settings;
        let status = 4 | if self.image.is_some() { 8 } else { 0 };
        let mut answer = vec![code::OK];
        for word in [status, 9, 0, u16::from(security)] {
            answer.extend(u16::to_be_bytes(word));
        }
        answer.extend(address.to_be_bytes());
        answer.extend(u16::from(data_size).to_be_bytes());
        answer.extend(u16::from(speed).to_be_bytes());
        answer
    }

    fn acknowledge(&mut self, content: &[u8], at: Instant) {
        self.send(ACK, content, at);
    }

    fn send(&mut self, kind: u8, content: &[u8], at: Instant) {
        let address = match self.fault {
            Some(Fault::WrongAddress) => !self.settings.address,
            _ => self.settings.address,
        };
        let mut packet = wire::packet(address, kind, content);
        match self.fault {
            Some(Fault::Mute) => return,
            Some(fault @ (Fault::BadSums | Fault::BadSumOnce)) => {
                if let Some(last) = packet.last_mut() {
                    *last ^= 0x55;
                }
                self.fault = (fault == Fault::BadSums).then_some(fault);
            }
            Some(Fault::Garbage) => {
                let noise = (0..HEAD).map(|_| self.noise() as u8).collect::<Vec<_>>();
                packet = [&noise[..], &[0xEF, 0x01, 0xFF, 0xEF], &packet].concat();
            }
            Some(Fault::HalfFrameOnce) => {
                packet.truncate(packet.len() / 2);
                self.fault = None;
            }
            _ => {}
        }
        self.outgoing.send(&packet, at, self.settings.baud());
    }

    /// Xorshift: the same noise each time.
    const fn noise(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }
}

/// The middle of a print as it comes from the sensor: two pixels in a byte, the left one in the upper half.
fn packed(print: &Gray) -> Vec<u8> {
    let (width, height) = (print.width() as usize, print.height() as usize);
    let pixel = |x: usize, y: usize| {
        let column = (x + width / 2).checked_sub(COLUMNS / 2).filter(|column| *column < width);
        let row = (y + height / 2).checked_sub(ROWS / 2).filter(|row| *row < height);
        let at = column.zip(row).map(|(column, row)| row * width + column);
        at.and_then(|at| print.pixels().get(at)).copied().unwrap_or(GLASS) >> 4
    };
    (0..COLUMNS * ROWS / 2)
        .map(|at| {
            let (x, y) = (2 * at % COLUMNS, 2 * at / COLUMNS);
            pixel(x, y) << 4 | pixel(x + 1, y)
        })
        .collect()
}
