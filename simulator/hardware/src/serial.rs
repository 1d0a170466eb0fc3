//! USB serial ports with any byte-level device behind them: CDC-ACM ([`Acm`]) and FTDI SIO ([`Ftdi`]).

mod acm;
mod ftdi;
mod uart;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::r30x::R30x;

pub use acm::Acm;
pub use ftdi::Ftdi;

/// A device at the end of a serial line. Computation only.
pub trait SerialDevice: Send {
    /// Takes what has arrived from a host that has set its end to `baud` (`None`: the line has no speed), and gives what has
    /// arrived at the host by `now`. A device that runs at another speed hears garbage, and is heard as garbage.
    fn step(&mut self, bytes: &[u8], baud: Option<u32>, now: Instant) -> Vec<u8>;

    /// When it will have something to say, if nothing arrives until then.
    fn next_event(&self) -> Option<Instant>;

    /// It gets power anew.
    fn power_up(&mut self, now: Instant);
}

impl<D: SerialDevice + ?Sized> SerialDevice for Box<D> {
    fn step(&mut self, bytes: &[u8], baud: Option<u32>, now: Instant) -> Vec<u8> {
        (**self).step(bytes, baud, now)
    }

    fn next_event(&self) -> Option<Instant> {
        (**self).next_event()
    }

    fn power_up(&mut self, now: Instant) {
        (**self).power_up(now);
    }
}

/// A device that somebody else has a hand on, too.
impl<D: SerialDevice> SerialDevice for Arc<Mutex<D>> {
    fn step(&mut self, bytes: &[u8], baud: Option<u32>, now: Instant) -> Vec<u8> {
        locked(self).step(bytes, baud, now)
    }

    fn next_event(&self) -> Option<Instant> {
        locked(self).next_event()
    }

    fn power_up(&mut self, now: Instant) {
        locked(self).power_up(now);
    }
}

fn locked<D>(device: &Mutex<D>) -> MutexGuard<'_, D> {
    // One that has panicked is as good as any other faulty one.
    device.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Two ends of a line understand each other when their speeds differ by less than this part: half a bit in ten would be
/// too much.
const TOLERANCE: u32 = 33;

impl SerialDevice for R30x {
    fn step(&mut self, bytes: &[u8], baud: Option<u32>, now: Instant) -> Vec<u8> {
        let own = self.settings().baud();
        // Adapters have divisors, and so never quite the speed that was asked for.
        let heard = baud.map(|baud| if baud.abs_diff(own) < own / TOLERANCE { own } else { baud });
        Self::step(self, bytes, heard, now)
    }

    fn next_event(&self) -> Option<Instant> {
        Self::next_event(self)
    }

    fn power_up(&mut self, now: Instant) {
        Self::power_up(self, now);
    }
}

/// What a port holds for a host that does not fetch it. More than real ones hold, so that a host which is slow for a moment
/// loses nothing; then bytes are lost, as they are on a real one.
const HELD: usize = 64 << 10;

/// A port is looked at this often while bytes trickle in, not for each of them.
const GRAIN: Duration = Duration::from_millis(2);

/// The device's side of a port: the device, and what it has said that the host has not fetched.
struct Far<D> {
    device: D,
    received: VecDeque<u8>,
    stepped: Option<Instant>,
}

impl<D: SerialDevice> Far<D> {
    const fn new(device: D) -> Self {
        Self { device, received: VecDeque::new(), stepped: None }
    }

    fn step(&mut self, bytes: &[u8], baud: Option<u32>, now: Instant) {
        let said = self.device.step(bytes, baud, now);
        self.received.extend(said.iter().take(HELD.saturating_sub(self.received.len())));
        self.stepped = Some(now);
    }

    fn fetch(&mut self, most: usize) -> Vec<u8> {
        self.received.drain(..most.min(self.received.len())).collect()
    }

    fn next_event(&self) -> Option<Instant> {
        let next = self.device.next_event()?;
        Some(self.stepped.map_or(next, |stepped| next.max(stepped + GRAIN)))
    }

    fn power_up(&mut self, now: Instant) {
        self.received.clear();
        self.device.power_up(now);
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use std::time::Instant;

    /// Sends back what it gets; remembers at which speed, and how often it got power.
    #[derive(Default)]
    pub(crate) struct Echo {
        pub(crate) baud: Option<u32>,
        pub(crate) starts: u32,
    }

    impl super::SerialDevice for Echo {
        fn step(&mut self, bytes: &[u8], baud: Option<u32>, _: Instant) -> Vec<u8> {
            if !bytes.is_empty() {
                self.baud = baud;
            }
            bytes.to_vec()
        }

        fn next_event(&self) -> Option<Instant> {
            None
        }

        fn power_up(&mut self, _: Instant) {
            self.starts += 1;
        }
    }
}
