//! What a virtual USB device is: descriptors, and an answer to each transfer.

use std::sync::Arc;
use std::time::Instant;

use biotrust_driver_api::Setup;

use crate::Descriptors;

/// Answer of a device to a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// These bytes, where data goes to the host.
    ///
    /// As on the bus, a length that is not a whole number of packets ends the transfer, and whole packets do not: the
    /// engine then asks for more until the transfer is full or the device says something else. More bytes than there is
    /// room for are a babble: the host sees an overflow.
    Data(Vec<u8>),
    /// Taken, where data comes from the host. Where it goes to the host: an empty packet.
    Ack,
    /// Not now. The transfer stays pending; the device is asked again when something has happened to it
    /// ([`Waker::wake`], [`UsbDevice::next_event`], or the host has sent something).
    Nak,
    /// Refused. A bulk or interrupt endpoint is halted by it until the host clears the halt; a control request is just
    /// unknown.
    Stall,
    /// The device falls off the bus in the middle of the transfer.
    Disconnect,
}

/// A control request that the engine does not answer itself: of the class, of the vendor, or standard and for an
/// interface (such as a report descriptor).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control<'a> {
    /// The host wants up to `length` bytes: [`Reply::Data`].
    In {
        /// The request.
        setup: Setup,
        /// wLength.
        length: u16,
    },
    /// The host sends `data`: [`Reply::Ack`].
    Out {
        /// The request.
        setup: Setup,
        /// Its data.
        data: &'a [u8],
    },
}

impl Control<'_> {
    /// The request.
    #[must_use]
    pub const fn setup(&self) -> Setup {
        match self {
            Self::In { setup, .. } | Self::Out { setup, .. } => *setup,
        }
    }
}

/// A virtual USB device.
///
/// Called with the device locked: nothing here may block. `now` is the time of the call; a device that does something
/// later says when in [`Self::next_event`]. A device that is driven by a thread of its own wakes the engine with the
/// [`Waker`] that it was given.
pub trait UsbDevice: Send {
    /// What it is. The same at each call while it is plugged in.
    fn descriptors(&self) -> &Descriptors;

    /// A control request. It is repeated after a [`Reply::Nak`].
    fn control(&mut self, request: Control<'_>, now: Instant) -> Reply {
        let _ = (request, now);
        Reply::Stall
    }

    /// The host sends `data` to an endpoint (its address, below 80h): all that the transfer carries, of which the device
    /// takes everything or ([`Reply::Nak`]) nothing.
    fn write(&mut self, endpoint: u8, data: &[u8], now: Instant) -> Reply {
        let _ = (endpoint, data, now);
        Reply::Stall
    }

    /// The host has room for `room` bytes from an endpoint (its address, from 80h).
    fn read(&mut self, endpoint: u8, room: usize, now: Instant) -> Reply {
        let _ = (endpoint, room, now);
        Reply::Stall
    }

    /// When the device will have something to say that it has not now, if nothing happens until then.
    fn next_event(&self) -> Option<Instant> {
        None
    }

    /// The host has ended the halt of an endpoint.
    fn halt_cleared(&mut self, endpoint: u8) {
        let _ = endpoint;
    }

    /// It has been plugged in, reset or configured anew: what was under way is forgotten.
    fn reset(&mut self, now: Instant) {
        let _ = now;
    }

    /// Called once, when the device is put into a [`Gadget`](crate::Gadget).
    fn powered(&mut self, waker: &Waker) {
        let _ = waker;
    }
}

impl<D: UsbDevice + ?Sized> UsbDevice for Box<D> {
    fn descriptors(&self) -> &Descriptors {
        (**self).descriptors()
    }

    fn control(&mut self, request: Control<'_>, now: Instant) -> Reply {
        (**self).control(request, now)
    }

    fn write(&mut self, endpoint: u8, data: &[u8], now: Instant) -> Reply {
        (**self).write(endpoint, data, now)
    }

    fn read(&mut self, endpoint: u8, room: usize, now: Instant) -> Reply {
        (**self).read(endpoint, room, now)
    }

    fn next_event(&self) -> Option<Instant> {
        (**self).next_event()
    }

    fn halt_cleared(&mut self, endpoint: u8) {
        (**self).halt_cleared(endpoint);
    }

    fn reset(&mut self, now: Instant) {
        (**self).reset(now);
    }

    fn powered(&mut self, waker: &Waker) {
        (**self).powered(waker);
    }
}

/// Tells that something has happened to a device by itself, so that pending transfers are tried again. Cheap to clone;
/// may be called from any thread, with or without the device locked.
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn() + Send + Sync>);

impl Waker {
    /// Calls `wake`, which must not block.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    /// Something has happened.
    pub fn wake(&self) {
        (self.0)();
    }
}

impl std::fmt::Debug for Waker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waker")
    }
}
