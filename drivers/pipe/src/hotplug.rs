//! Devices of this host that come and go: USB, HID, serial lines and cameras.
//!
//! Each message of the kernel or of udev about a bus that is watched makes the watcher look through sysfs again and
//! report the difference. So no order of messages, none that is lost and none that is forged can make it lose count:
//! when the queue of messages overflows, the next look finds all that they told. Nothing is polled.
//!
//! Where udevd runs, a device counts once udevd is done with it, so that its node has the group that the rules give it;
//! where none runs (containers, small systems), once the kernel has made the node. A thing that is replaced at its place,
//! enumerated anew, or given another owner or group, is reported as vanished and appeared.
//!
//! It blocks on a thread of its own. It opens no device. What devices say of themselves is passed on as what it is: a
//! claim.

mod database;
mod netlink;
mod sysfs;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

use biotrust_driver_api::{Bus, Node};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;

use netlink::Messages;
use sysfs::{Host, Identity};

/// What happened on the buses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HotplugEvent {
    /// A device is there.
    Appeared(Node),
    /// The device at this place is gone.
    Vanished {
        /// As in the [`Node`].
        place: String,
    },
    /// All devices that were there at the start have been reported. Comes once.
    Scanned,
    /// The kernel's messages cannot be heard any more; all devices have been reported as vanished, and nothing follows.
    Lost(String),
}

/// The buses cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot watch for devices: {0}; under systemd, RestrictAddressFamilies= of the service must have AF_NETLINK"
)]
pub struct HotplugError(io::Error);

/// Watches until it is dropped.
pub struct Hotplug {
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Hotplug {
    /// Starts to watch `buses`. `sink` is called on the watcher's thread, first for what is there.
    ///
    /// A USB device that a driver of the kernel has made a tty, hidraw or video node of is reported once per bus, each
    /// with its own place: whoever listens picks one of them. On-board UARTs are reported by their path.
    ///
    /// # Errors
    /// When the system refuses a netlink socket, a descriptor or a thread.
    pub fn start(
        buses: &[Bus],
        sink: impl FnMut(HotplugEvent) + Send + 'static,
    ) -> Result<Self, HotplugError> {
        // Open before the first look, so that nothing falls between the two.
        let messages = Messages::open(buses).map_err(HotplugError)?;
        Self::with(Host::this(), buses, messages, sink).map_err(HotplugError)
    }

    fn with(
        host: Host,
        buses: &[Bus],
        messages: Messages,
        sink: impl FnMut(HotplugEvent) + Send + 'static,
    ) -> io::Result<Self> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC)?;
        let stopped = stop.try_clone()?;
        let mut watcher = Watcher { host, buses: buses.to_vec(), known: BTreeMap::new(), sink };
        let thread = std::thread::Builder::new()
            .name("hotplug".into())
            .spawn(move || watcher.watch(&messages, &stopped))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

/// Whether the path of a node that was reported leads to another device by now: the kernel gives the name of a node that is
/// gone to the next one that comes. Ask once the node is open: what was opened then is what was reported, or is gone. Reads
/// sysfs; blocks for milliseconds.
#[must_use]
pub fn is_another(node: &Node) -> bool {
    Host::this().is_another(node)
}

impl Drop for Hotplug {
    fn drop(&mut self) {
        // Writing 1 to an eventfd that holds 0 does not block or fail.
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take().filter(|t| t.thread().id() != std::thread::current().id()) {
            let _ = thread.join();
        }
    }
}

struct Watcher<S> {
    host: Host,
    buses: Vec<Bus>,
    known: BTreeMap<String, Identity>,
    sink: S,
}

impl<S: FnMut(HotplugEvent)> Watcher<S> {
    fn watch(&mut self, messages: &Messages, stop: &OwnedFd) {
        self.compare();
        (self.sink)(HotplugEvent::Scanned);
        let error = loop {
            match wait(messages, stop) {
                Ok(true) => return,
                Ok(false) => match messages.drain() {
                    Ok(true) => self.compare(),
                    Ok(false) => {}
                    Err(error) => break error,
                },
                Err(error) => break error,
            }
        };
        for place in std::mem::take(&mut self.known).into_keys() {
            (self.sink)(HotplugEvent::Vanished { place });
        }
        (self.sink)(HotplugEvent::Lost(format!("messages of the kernel: {error}")));
    }

    /// Looks at what is there and reports what changed.
    fn compare(&mut self) {
        let now = self.host.scan(&self.buses);
        let before = std::mem::replace(&mut self.known, now);
        for (place, _) in before.iter().filter(|(place, id)| self.known.get(*place) != Some(id)) {
            (self.sink)(HotplugEvent::Vanished { place: place.clone() });
        }
        for (_, id) in self.known.iter().filter(|(place, id)| before.get(*place) != Some(id)) {
            (self.sink)(HotplugEvent::Appeared(id.node.clone()));
        }
    }
}

/// Sleeps until there are messages (`false`) or the watcher is to stop (`true`).
fn wait(messages: &Messages, stop: &OwnedFd) -> io::Result<bool> {
    let mut set =
        [PollFd::new(stop, PollFlags::IN), PollFd::from_borrowed_fd(messages.as_fd(), PollFlags::IN)];
    loop {
        match poll(&mut set, None) {
            Ok(_) => return Ok(set.first().is_some_and(|stop| !stop.revents().is_empty())),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
