//! The line between a virtual device that reads and writes on threads of its own and the bus that it hangs on.
//!
//! Both directions carry messages (a USB transfer, a HID report) and are bounded. The device's end is a [`Pipe`], which
//! blocks within its time limit; the bus's end never blocks.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use biosim_usbip::Waker;
use biotrust_driver_api::{Pipe, PipeError, PipeErrorKind};

/// Messages that may wait in each direction.
const CAPACITY: usize = 16;

/// The bus's end. The device's end is gone when this is dropped.
pub(crate) struct BusEnd {
    shared: Arc<Shared>,
}

/// The device's end; clones are handles on the same one.
pub(crate) struct DeviceEnd {
    shared: Arc<Shared>,
    name: &'static str,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Tells the bus that there is something to fetch, or nobody any more.
    waker: Waker,
}

#[derive(Default)]
struct State {
    to_device: VecDeque<Vec<u8>>,
    to_host: VecDeque<Vec<u8>>,
    device_ends: usize,
    bus_is_gone: bool,
}

/// A line. `waker` is called when the device has written, or has gone.
pub(crate) fn line(name: &'static str, waker: Waker) -> (DeviceEnd, BusEnd) {
    let state = State { device_ends: 1, ..State::default() };
    let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), waker });
    (DeviceEnd { shared: Arc::clone(&shared), name }, BusEnd { shared })
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Complete after each statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BusEnd {
    /// Whether the device is still there.
    pub(crate) fn is_alive(&self) -> bool {
        self.shared.state().device_ends > 0
    }

    /// A message of the host; tells whether there was room for it.
    pub(crate) fn offer(&self, message: &[u8]) -> bool {
        let mut state = self.shared.state();
        if state.to_device.len() >= CAPACITY {
            return false;
        }
        state.to_device.push_back(message.to_vec());
        self.shared.changed.notify_all();
        true
    }

    /// A message of the device, or as much of it as there is room for.
    pub(crate) fn fetch(&self, room: usize) -> Option<Vec<u8>> {
        let mut state = self.shared.state();
        let mut message = state.to_host.pop_front()?;
        if message.len() > room {
            let rest = message.split_off(room);
            state.to_host.push_front(rest);
        }
        self.shared.changed.notify_all();
        Some(message)
    }

    /// Forgets what is under way in both directions.
    pub(crate) fn clear(&self) {
        let mut state = self.shared.state();
        state.to_device.clear();
        state.to_host.clear();
        self.shared.changed.notify_all();
    }
}

impl Drop for BusEnd {
    fn drop(&mut self) {
        self.shared.state().bus_is_gone = true;
        self.shared.changed.notify_all();
    }
}

impl DeviceEnd {
    /// Waits until `ready` gives something, the bus is gone, or the time is over.
    fn wait<T>(
        &self,
        timeout: Duration,
        doing: &str,
        mut ready: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, PipeError> {
        let failed = |kind| PipeError { kind, os: None, doing: format!("{doing} {}", self.name) };
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.state();
        loop {
            if state.bus_is_gone {
                return Err(failed(PipeErrorKind::Gone));
            }
            if let Some(done) = ready(&mut state) {
                return Ok(done);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(failed(PipeErrorKind::TimedOut));
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Pipe for DeviceEnd {
    fn read(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, PipeError> {
        let message = self.wait(timeout, "reading from", |state| {
            let mut message = state.to_device.pop_front()?;
            if message.len() > buffer.len() {
                state.to_device.push_front(message.split_off(buffer.len()));
            }
            Some(message)
        })?;
        buffer.iter_mut().zip(&message).for_each(|(to, from)| *to = *from);
        // The host may be waiting for room.
        self.shared.waker.wake();
        Ok(message.len())
    }

    fn write_all(&mut self, bytes: &[u8], timeout: Duration) -> Result<(), PipeError> {
        self.wait(timeout, "writing to", |state| {
            (state.to_host.len() < CAPACITY).then(|| state.to_host.push_back(bytes.to_vec()))
        })?;
        self.shared.waker.wake();
        Ok(())
    }

    fn try_clone(&self) -> Result<Box<dyn Pipe>, PipeError> {
        self.shared.state().device_ends += 1;
        Ok(Box::new(Self { shared: Arc::clone(&self.shared), name: self.name }))
    }

    fn name(&self) -> &str {
        self.name
    }
}

impl Drop for DeviceEnd {
    fn drop(&mut self) {
        let gone = {
            let mut state = self.shared.state();
            state.device_ends -= 1;
            state.device_ends == 0
        };
        if gone {
            self.shared.waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const SOON: Duration = Duration::from_millis(20);
    const PATIENCE: Duration = Duration::from_secs(10);

    fn counted() -> (DeviceEnd, BusEnd, Arc<AtomicUsize>) {
        let woken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&woken);
        let waker = Waker::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let (device, bus) = line("a test", waker);
        (device, bus, woken)
    }

    #[test]
    fn messages_stay_messages_and_are_cut_only_where_there_is_no_room() {
        let (mut device, bus, woken) = counted();
        assert!(bus.offer(b"abc") && bus.offer(b"defg"));
        let mut buffer = [0; 3];
        assert_eq!(device.read(&mut buffer, PATIENCE).unwrap(), 3);
        assert_eq!(device.read(&mut buffer, PATIENCE).unwrap(), 3);
        assert_eq!(device.read(&mut buffer, PATIENCE).unwrap(), 1);
        assert_eq!(device.read(&mut buffer, SOON).unwrap_err().kind, PipeErrorKind::TimedOut);
        device.write_all(b"hello", PATIENCE).unwrap();
        device.write_all(b"you", PATIENCE).unwrap();
        assert_eq!(woken.load(Ordering::SeqCst), 5);
        assert_eq!(bus.fetch(4).unwrap(), b"hell");
        assert_eq!(bus.fetch(4).unwrap(), b"o");
        assert_eq!(bus.fetch(4).unwrap(), b"you");
        assert_eq!(bus.fetch(4), None);
    }

    #[test]
    fn neither_side_can_fill_the_memory() {
        let (mut device, bus, _) = counted();
        assert_eq!((0..100).filter(|_| bus.offer(b"x")).count(), CAPACITY);
        for _ in 0..CAPACITY {
            device.write_all(b"x", SOON).unwrap();
        }
        assert_eq!(device.write_all(b"x", SOON).unwrap_err().kind, PipeErrorKind::TimedOut);
        bus.clear();
        assert!(bus.fetch(1).is_none() && bus.offer(b"x"));
        device.write_all(b"x", SOON).unwrap();
    }

    #[test]
    fn each_end_sees_that_the_other_is_gone() {
        let (device, bus, woken) = counted();
        let clone = device.try_clone().unwrap();
        drop(device);
        assert!(bus.is_alive() && woken.load(Ordering::SeqCst) == 0);
        drop(clone);
        assert!(!bus.is_alive());
        assert_eq!(woken.load(Ordering::SeqCst), 1, "it is told");

        let (mut device, bus, _) = counted();
        let waiting = std::thread::spawn(move || device.read(&mut [0], PATIENCE).unwrap_err().kind);
        drop(bus);
        assert_eq!(waiting.join().unwrap(), PipeErrorKind::Gone);
    }
}
