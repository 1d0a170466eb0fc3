//! USB serial ports with any byte-level device behind them: CDC-ACM ([`Acm`]) and FTDI SIO ([`Ftdi`]).

mod acm;
mod ftdi;
mod uart;

use std::time::Instant;

pub use acm::Acm;
pub use ftdi::Ftdi;

/// A device at the end of a serial line. Computation only.
///
/// `baud` is the speed at which the host sends and listens; `None` where the way to the device has no speed. A device
/// that runs at another speed sees, and sends, garbage.
pub trait SerialDevice: Send {
    /// Bytes of the host that have arrived by `now`.
    fn receive(&mut self, bytes: &[u8], baud: Option<u32>, now: Instant);

    /// What it has to send, as a host at `baud` hears it: at most `room` bytes.
    fn transmit(&mut self, room: usize, baud: Option<u32>, now: Instant) -> Vec<u8>;

    /// When it will have something to send that it has not now, if nothing happens until then.
    fn next_event(&self) -> Option<Instant>;

    /// Its power was off and is on again.
    fn power_on(&mut self, now: Instant);
}

impl<D: SerialDevice + ?Sized> SerialDevice for Box<D> {
    fn receive(&mut self, bytes: &[u8], baud: Option<u32>, now: Instant) {
        (**self).receive(bytes, baud, now);
    }

    fn transmit(&mut self, room: usize, baud: Option<u32>, now: Instant) -> Vec<u8> {
        (**self).transmit(room, baud, now)
    }

    fn next_event(&self) -> Option<Instant> {
        (**self).next_event()
    }

    fn power_on(&mut self, now: Instant) {
        (**self).power_on(now);
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use std::collections::VecDeque;
    use std::time::Instant;

    /// Sends back what it gets; remembers at which speed.
    #[derive(Default)]
    pub(crate) struct Echo {
        pub(crate) stored: VecDeque<u8>,
        pub(crate) baud: Option<u32>,
        pub(crate) starts: u32,
    }

    impl super::SerialDevice for Echo {
        fn receive(&mut self, bytes: &[u8], baud: Option<u32>, _: Instant) {
            self.baud = baud;
            self.stored.extend(bytes);
        }

        fn transmit(&mut self, room: usize, _: Option<u32>, _: Instant) -> Vec<u8> {
            let length = room.min(self.stored.len());
            self.stored.drain(..length).collect()
        }

        fn next_event(&self) -> Option<Instant> {
            None
        }

        fn power_on(&mut self, _: Instant) {
            self.starts += 1;
            self.stored.clear();
        }
    }
}
