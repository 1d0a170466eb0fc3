//! Misbehaviour for any virtual device.
//!
//! [`Faulty`] stands between the engine and a device and spoils what goes through; a [`Switch`] turns it on and off while
//! the device is plugged in.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::{Control, Descriptors, Reply, UsbDevice, Waker};

/// What is wrong with a device. Control requests of the USB standard always work: a device without them is not even
/// enumerated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Endpoints halt and requests are refused: so many times, or always.
    Stall(Option<u32>),
    /// Nothing is taken and nothing is given, for ever.
    Nak,
    /// Each transfer brings the first half of what it should; the other half is lost.
    Short,
    /// Each transfer brings the right number of wrong bytes.
    Garbage,
    /// Each transfer brings more than the host has asked for.
    Babble,
    /// Each transfer takes this much longer.
    Slow(Duration),
    /// The device falls off the bus in the middle of the next transfer that brings something.
    Disconnect,
}

/// There is no such fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no fault: stall, stall:TIMES, nak, short, garbage, babble, slow:MILLISECONDS or disconnect"
)]
pub struct UnknownFault(String);

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let unknown = || UnknownFault(text.to_owned());
        let number = |number: &str| number.parse::<u32>().map_err(|_| unknown());
        Ok(match text.split_once(':') {
            None => match text {
                "stall" => Self::Stall(None),
                "nak" => Self::Nak,
                "short" => Self::Short,
                "garbage" => Self::Garbage,
                "babble" => Self::Babble,
                "disconnect" => Self::Disconnect,
                _ => return Err(unknown()),
            },
            Some(("stall", times)) => Self::Stall(Some(number(times)?)),
            Some(("slow", milliseconds)) => {
                Self::Slow(Duration::from_millis(u64::from(number(milliseconds)?)))
            }
            Some(_) => return Err(unknown()),
        })
    }
}

/// Turns faults of a device on and off. Clones are handles on the same one.
#[derive(Debug, Clone, Default)]
pub struct Switch(Arc<Mutex<Position>>);

#[derive(Debug, Default)]
struct Position {
    fault: Option<Fault>,
    waker: Option<Waker>,
}

impl Switch {
    /// A fault from now on, or none.
    pub fn set(&self, fault: Option<Fault>) {
        let waker = {
            let mut position = self.position();
            position.fault = fault;
            position.waker.clone()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What is wrong now.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.position().fault
    }

    /// A stall is about to happen; tells whether it does.
    fn stalls(&self) -> bool {
        let mut position = self.position();
        match &mut position.fault {
            Some(Fault::Stall(None)) => true,
            Some(Fault::Stall(Some(0))) => {
                position.fault = None;
                false
            }
            Some(Fault::Stall(Some(times))) => {
                *times -= 1;
                true
            }
            _ => false,
        }
    }

    fn position(&self) -> MutexGuard<'_, Position> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A device with faults.
pub struct Faulty<D> {
    device: D,
    switch: Switch,
    /// Until when the transfer at hand of each endpoint is held, while the device is slow.
    held: BTreeMap<u8, Instant>,
    /// State of the noise.
    noise: u32,
    /// The device has given a part of a transfer, and is to fall off the bus.
    falling: bool,
}

impl<D: UsbDevice> Faulty<D> {
    /// A device that works until its switch says otherwise.
    pub fn new(device: D) -> (Self, Switch) {
        let switch = Switch::default();
        (Self::with(device, switch.clone()), switch)
    }

    /// The same with a switch that is there already.
    pub fn with(device: D, switch: Switch) -> Self {
        Self { device, switch, held: BTreeMap::new(), noise: 0x2545_f491, falling: false }
    }

    /// The device itself.
    pub fn device(&mut self) -> &mut D {
        &mut self.device
    }

    /// Whether the transfer at hand has to wait still.
    fn is_held(&mut self, endpoint: u8, now: Instant) -> bool {
        let Some(Fault::Slow(delay)) = self.switch.fault() else { return false };
        *self.held.entry(endpoint).or_insert(now + delay) > now
    }

    /// Spoils what the device gives.
    fn spoil(&mut self, mut data: Vec<u8>, room: usize, packet: usize) -> Reply {
        match self.switch.fault() {
            Some(Fault::Short) => data.truncate(data.len() / 2),
            Some(Fault::Garbage) => data.as_mut_slice().fill_with(|| self.noise()),
            Some(Fault::Babble) => data.resize(room + 1, 0xa5),
            Some(Fault::Disconnect) => {
                let half = data.len() / 2 / packet * packet;
                if half == 0 {
                    return self.fall();
                }
                data.truncate(half);
                self.falling = true;
            }
            Some(Fault::Stall(_) | Fault::Nak | Fault::Slow(_)) | None => {}
        }
        Reply::Data(data)
    }

    fn fall(&mut self) -> Reply {
        self.falling = false;
        self.switch.set(None);
        Reply::Disconnect
    }

    fn noise(&mut self) -> u8 {
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 17;
        self.noise ^= self.noise << 5;
        self.noise.to_le_bytes()[1]
    }
}

impl<D: UsbDevice> UsbDevice for Faulty<D> {
    fn descriptors(&self) -> &Descriptors {
        self.device.descriptors()
    }

    fn control(&mut self, request: Control<'_>, now: Instant) -> Reply {
        if self.switch.stalls() {
            return Reply::Stall;
        }
        if self.switch.fault() == Some(Fault::Nak) || self.is_held(0, now) {
            return Reply::Nak;
        }
        let reply = self.device.control(request, now);
        if reply != Reply::Nak {
            self.held.remove(&0);
        }
        match (reply, request, self.switch.fault()) {
            (Reply::Data(mut data), Control::In { .. }, Some(Fault::Garbage)) => {
                data.as_mut_slice().fill_with(|| self.noise());
                Reply::Data(data)
            }
            (Reply::Data(mut data), Control::In { .. }, Some(Fault::Short)) => {
                data.truncate(data.len() / 2);
                Reply::Data(data)
            }
            (reply, ..) => reply,
        }
    }

    fn write(&mut self, endpoint: u8, data: &[u8], now: Instant) -> Reply {
        if self.switch.stalls() {
            return Reply::Stall;
        }
        if self.switch.fault() == Some(Fault::Nak) || self.is_held(endpoint, now) {
            return Reply::Nak;
        }
        let reply = self.device.write(endpoint, data, now);
        if reply != Reply::Nak {
            self.held.remove(&endpoint);
        }
        reply
    }

    fn read(&mut self, endpoint: u8, room: usize, now: Instant) -> Reply {
        if self.falling {
            return self.fall();
        }
        if self.switch.stalls() {
            return Reply::Stall;
        }
        if self.switch.fault() == Some(Fault::Nak) || self.is_held(endpoint, now) {
            return Reply::Nak;
        }
        let reply = self.device.read(endpoint, room, now);
        if reply != Reply::Nak {
            self.held.remove(&endpoint);
        }
        match reply {
            Reply::Data(data) => {
                let packet =
                    self.descriptors().endpoint(endpoint).map_or(1, |e| usize::from(e.max_packet).max(1));
                self.spoil(data, room, packet)
            }
            other => other,
        }
    }

    fn next_event(&self) -> Option<Instant> {
        self.held.values().copied().chain(self.device.next_event()).min()
    }

    fn halt_cleared(&mut self, endpoint: u8) {
        self.device.halt_cleared(endpoint);
    }

    fn reset(&mut self, now: Instant) {
        self.held.clear();
        self.falling = false;
        self.device.reset(now);
    }

    fn powered(&mut self, waker: &Waker) {
        self.switch.position().waker = Some(waker.clone());
        self.device.powered(waker);
    }
}

#[cfg(test)]
mod tests;
