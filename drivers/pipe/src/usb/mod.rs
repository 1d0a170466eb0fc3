//! USB devices, by way of usbfs and `nusb`.
//!
//! The node is opened here, so that a missing udev rule is told from a missing device. What the device says of itself is
//! only used to find endpoints. Calls block within their limits; a thread of `nusb`, one for all devices, collects what
//! has completed. The kernel's calls to end a halt and to reset wait up to five seconds for a device that does not
//! answer: they are made on threads of their own and left behind when that takes too long.

mod lane;
mod translate;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use biotrust_driver_api::{Interface, PipeError, PipeErrorKind, Setup, UsbPort};
use nusb::transfer::{ControlIn, ControlOut};
use nusb::{Device, ErrorKind, MaybeFuture};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use crate::limit::within;
use crate::node;
use lane::{Lane, Outcome};
use translate::{control_type, describe, recipient};

/// For a device that does not answer the request to end a halt.
const HALT_LIMIT: Duration = Duration::from_secs(1);
/// For a hub that resets a device: debouncing, reset and enumeration take about half a second.
const RESET_LIMIT: Duration = Duration::from_secs(3);
/// For a device to take its configuration.
const CONFIGURE_LIMIT: Duration = Duration::from_secs(1);
/// A transfer that is called off comes back within a frame; a wedged host controller may keep it.
const CANCEL_LIMIT: Duration = Duration::from_secs(1);
/// From a transfer that failed on the wire to the hub's word that the device is gone.
const FAREWELL: Duration = Duration::from_millis(150);
/// Transfers under way on one endpoint.
const DEPTH: usize = 16;
/// Longest transfer to a device: what every host controller takes in one piece.
const CHUNK: usize = 16 * 1024;

/// Opens the USB device whose node (`/dev/bus/usb/BBB/DDD`) is `path`; `name` is for messages.
///
/// # Errors
/// `PermissionDenied` that says what to do, `Gone`, `InUse`; `Os` when it is no USB device or has no configuration.
pub fn open(path: &Path, name: &str) -> Result<Box<dyn UsbPort>, PipeError> {
    UsbDevicePort::open(path, name).map(|port| Box::new(port) as Box<dyn UsbPort>)
}

/// An open USB device. Clones share it; it is closed with the last one.
#[derive(Clone)]
pub struct UsbDevicePort(Arc<Shared>);

struct Shared {
    name: String,
    interfaces: Vec<Interface>,
    device: Device,
    /// The same open node: its hang-up tells that the device is gone.
    node: OwnedFd,
    /// It was reset.
    dead: AtomicBool,
    claimed: Mutex<BTreeMap<u8, nusb::Interface>>,
    lanes: Mutex<BTreeMap<u8, Arc<Mutex<Lane>>>>,
}

/// Everything under these locks is whole between two statements, so that a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl UsbDevicePort {
    /// As [`open`].
    ///
    /// # Errors
    /// As [`open`].
    pub fn open(path: &Path, name: &str) -> Result<Self, PipeError> {
        let error = |error: nusb::Error| {
            let kind = match error.kind() {
                ErrorKind::Disconnected => PipeErrorKind::Gone,
                ErrorKind::Busy => PipeErrorKind::InUse,
                _ => PipeErrorKind::Os,
            };
            PipeError { kind, os: os(&error), doing: format!("opening {name} ({error})") }
        };
        let node = node::open(path, OFlags::empty())?;
        let watched = node.try_clone().map_err(|error| PipeError {
            kind: PipeErrorKind::Os,
            os: error.raw_os_error(),
            doing: format!("opening {name}"),
        })?;
        let device = Device::from_fd(node).wait().map_err(error)?;
        if device.active_configuration().is_err() {
            configure(&device);
        }
        let interfaces = describe(&device).map_err(error)?;
        Ok(Self(Arc::new(Shared {
            name: name.to_owned(),
            interfaces,
            device,
            node: watched,
            dead: AtomicBool::new(false),
            claimed: Mutex::default(),
            lanes: Mutex::default(),
        })))
    }
}

/// Gives a device its first configuration. The kernel does so when it is plugged in, and does not try again where the
/// device failed in that moment: it would stay unusable until somebody pulls it. Whether it worked shows in what follows.
fn configure(device: &Device) {
    let Some(value) = device.configurations().next().map(|first| first.configuration_value()) else { return };
    let device = device.clone();
    let _ = within(CONFIGURE_LIMIT, move || device.set_configuration(value).wait());
}

impl Shared {
    fn error(&self, kind: PipeErrorKind, os: Option<i32>, doing: &str) -> PipeError {
        PipeError { kind, os, doing: format!("{doing} {}", self.name) }
    }

    fn alive(&self, doing: &str) -> Result<(), PipeError> {
        if self.dead.load(Ordering::Acquire) {
            return Err(self.error(PipeErrorKind::Gone, None, &format!("{doing} after the reset of")));
        }
        Ok(())
    }

    /// Whether the node is hung up, or becomes so within `wait`.
    fn is_gone(&self, wait: Duration) -> bool {
        let mut set = [PollFd::new(&self.node, PollFlags::empty())];
        let hung_up = poll(&mut set, Timespec::try_from(wait).ok().as_ref());
        hung_up.is_ok_and(|count| count > 0) && set.iter().any(|fd| fd.revents().contains(PollFlags::HUP))
    }

    /// The error for an outcome that is none of success.
    fn failed(&self, outcome: Outcome, doing: &str) -> PipeError {
        let (kind, os) = match outcome {
            Outcome::Gone => (PipeErrorKind::Gone, None),
            // A device that is pulled first fails on the wire; the hub tells a moment later.
            Outcome::Fault(_) if self.is_gone(FAREWELL) => (PipeErrorKind::Gone, None),
            _ if self.is_gone(Duration::ZERO) => (PipeErrorKind::Gone, None),
            Outcome::TimedOut => (PipeErrorKind::TimedOut, None),
            Outcome::Stalled => (PipeErrorKind::Stalled, None),
            Outcome::Fault(os) => (PipeErrorKind::Os, os),
        };
        self.error(kind, os, doing)
    }

    /// The queue of an endpoint, opened at its first use.
    fn lane(&self, address: u8, doing: &str) -> Result<Arc<Mutex<Lane>>, PipeError> {
        self.alive(doing)?;
        let mut lanes = lock(&self.lanes);
        if let Some(lane) = lanes.get(&address) {
            return Ok(lane.clone());
        }
        let none = |why: &str| {
            self.error(PipeErrorKind::Os, None, &format!("{doing} endpoint {address:02x} ({why}) of"))
        };
        let owner = |i: &&Interface| i.endpoints.iter().any(|e| e.address == address);
        let interface = self.interfaces.iter().find(owner).ok_or_else(|| none("there is none"))?;
        let endpoint =
            interface.endpoints.iter().find(|e| e.address == address).ok_or_else(|| none("there is none"))?;
        let claimed = lock(&self.claimed);
        let claimed = claimed.get(&interface.number).ok_or_else(|| none("its interface is not claimed"))?;
        let lane = Lane::open(claimed, *endpoint).map_err(|error| none(&error.to_string()))?;
        let lane = Arc::new(Mutex::new(lane));
        lanes.insert(address, lane.clone());
        Ok(lane)
    }

    /// Calls off what is under way. An endpoint that does not come to rest is closed, and opened again at its next use.
    fn call_off(&self, address: u8, lane: &mut Lane) {
        if !lane.cancel(CANCEL_LIMIT) {
            lock(&self.lanes).remove(&address);
        }
    }
}

fn os(error: &nusb::Error) -> Option<i32> {
    error.os_error().and_then(|code| i32::try_from(code).ok())
}

impl UsbPort for UsbDevicePort {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn interfaces(&self) -> &[Interface] {
        &self.0.interfaces
    }

    fn claim(&self, interface: u8) -> Result<(), PipeError> {
        const DOING: &str = "claiming an interface of";
        self.0.alive(DOING)?;
        let mut claimed = lock(&self.0.claimed);
        if claimed.contains_key(&interface) {
            return Ok(());
        }
        let taken = self.0.device.detach_and_claim_interface(interface).wait().map_err(|error| {
            let kind = match error.kind() {
                ErrorKind::Disconnected => PipeErrorKind::Gone,
                ErrorKind::Busy => PipeErrorKind::InUse,
                _ => PipeErrorKind::Os,
            };
            self.0.error(kind, os(&error), DOING)
        })?;
        claimed.insert(interface, taken);
        Ok(())
    }

    fn control_in(&self, setup: Setup, buffer: &mut [u8], timeout: Duration) -> Result<usize, PipeError> {
        const DOING: &str = "asking";
        self.0.alive(DOING)?;
        let request = ControlIn {
            control_type: control_type(setup.kind),
            recipient: recipient(setup.recipient),
            request: setup.request,
            value: setup.value,
            index: setup.index,
            length: u16::try_from(buffer.len()).unwrap_or(u16::MAX),
        };
        let answer = self.0.device.control_in(request, timeout).wait();
        let answer = answer.map_err(|error| self.0.failed(error.into(), DOING))?;
        let length = answer.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(answer) {
            *to = from;
        }
        Ok(length)
    }

    fn control_out(&self, setup: Setup, data: &[u8], timeout: Duration) -> Result<(), PipeError> {
        const DOING: &str = "sending a request to";
        self.0.alive(DOING)?;
        if u16::try_from(data.len()).is_err() {
            return Err(self.0.error(PipeErrorKind::Os, None, "sending more than 65535 bytes at once to"));
        }
        let request = ControlOut {
            control_type: control_type(setup.kind),
            recipient: recipient(setup.recipient),
            request: setup.request,
            value: setup.value,
            index: setup.index,
            data,
        };
        self.0.device.control_out(request, timeout).wait().map_err(|error| self.0.failed(error.into(), DOING))
    }

    fn submit(&self, endpoint: u8, length: usize) -> Result<(), PipeError> {
        const DOING: &str = "reading from";
        let lane = self.0.lane(endpoint, DOING)?;
        let mut lane = lock(&lane);
        if lane.pending() >= DEPTH {
            return Err(self.0.error(PipeErrorKind::Os, None, "queueing too many transfers on"));
        }
        if !lane.ask(length) {
            return Err(self.0.error(PipeErrorKind::Os, None, "reading from an endpoint to"));
        }
        Ok(())
    }

    fn complete(&self, endpoint: u8, timeout: Duration) -> Result<Vec<u8>, PipeError> {
        const DOING: &str = "reading from";
        let lane = self.0.lane(endpoint, DOING)?;
        let mut lane = lock(&lane);
        if lane.pending() == 0 {
            return Err(self.0.error(
                PipeErrorKind::Os,
                None,
                "waiting for a transfer that nobody asked for from",
            ));
        }
        lane.wait(timeout).map_err(|outcome| self.0.failed(outcome, DOING))
    }

    fn pending(&self, endpoint: u8) -> usize {
        let lane = lock(&self.0.lanes).get(&endpoint).cloned();
        lane.map_or(0, |lane| lock(&lane).pending())
    }

    fn cancel(&self, endpoint: u8) {
        let lane = lock(&self.0.lanes).get(&endpoint).cloned();
        if let Some(lane) = lane {
            self.0.call_off(endpoint, &mut lock(&lane));
        }
    }

    fn write(&self, endpoint: u8, data: &[u8], timeout: Duration) -> Result<(), PipeError> {
        const DOING: &str = "writing to";
        let lane = self.0.lane(endpoint, DOING)?;
        let mut lane = lock(&lane);
        let start = std::time::Instant::now();
        let mut rest = data;
        loop {
            let (chunk, after) = rest.split_at(rest.len().min(CHUNK));
            if !lane.send(chunk) {
                return Err(self.0.error(PipeErrorKind::Os, None, "writing to an endpoint from"));
            }
            if let Err(outcome) = lane.wait(timeout.saturating_sub(start.elapsed())) {
                self.0.call_off(endpoint, &mut lane);
                return Err(self.0.failed(outcome, DOING));
            }
            rest = after;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    fn clear_halt(&self, endpoint: u8) -> Result<(), PipeError> {
        const DOING: &str = "ending a halt of";
        let lane = self.0.lane(endpoint, DOING)?;
        let mut lane = lock(&lane);
        self.0.call_off(endpoint, &mut lane);
        match within(HALT_LIMIT, lane.clear_halt()) {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) if error.kind() == ErrorKind::Disconnected => {
                Err(self.0.error(PipeErrorKind::Gone, os(&error), DOING))
            }
            Some(Err(error)) => Err(self.0.failed(Outcome::Fault(os(&error)), DOING)),
            None => Err(self.0.failed(Outcome::TimedOut, DOING)),
        }
    }

    fn reset(&self) -> Result<(), PipeError> {
        const DOING: &str = "resetting";
        self.0.alive(DOING)?;
        self.0.dead.store(true, Ordering::Release);
        // Interfaces first: the kernel would ask each owner to give way, and then bind its own drivers again.
        lock(&self.0.lanes).clear();
        lock(&self.0.claimed).clear();
        let device = self.0.device.clone();
        match within(RESET_LIMIT, move || device.reset().wait()) {
            Some(Ok(())) => Ok(()),
            // It came back as something else, or not at all: for this port that is the same.
            Some(Err(error)) if error.kind() == ErrorKind::Disconnected => Ok(()),
            Some(Err(error)) => Err(self.0.error(PipeErrorKind::Os, os(&error), DOING)),
            None => Err(self.0.error(PipeErrorKind::TimedOut, None, DOING)),
        }
    }

    fn share(&self) -> Box<dyn UsbPort> {
        Box::new(self.clone())
    }
}
