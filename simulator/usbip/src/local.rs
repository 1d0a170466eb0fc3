//! A USB port on a virtual device, through USB/IP and without a kernel: what a driver sees of it is what it sees of a
//! device behind nusb.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use biotrust_driver_api::{
    Endpoint, Interface, PipeError, PipeErrorKind, Recipient, RequestKind, Setup, UsbPort,
};

use crate::client::{Client, ClientError, Outcome};
use crate::engine::control::{PORT_RESET, setup_bytes};
use crate::wire::{LONGEST_TRANSFER, status};
use crate::{Connection, Gadget, UsbDevice, descriptor};

/// Time for a request of ours that a device answers at once.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Transfers of one endpoint that may be under way.
const MOST_UNDER_WAY: usize = 64;

/// A USB port on a virtual device. Clones are handles on the same one.
#[derive(Clone)]
pub struct LocalPort {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    name: String,
    interfaces: Vec<Interface>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    claimed: BTreeSet<u8>,
    /// Transfers under way by endpoint, the oldest first.
    queues: BTreeMap<u8, VecDeque<u32>>,
}

impl LocalPort {
    /// Plugs a device in, in this process. The device is pulled when the connection is dropped.
    ///
    /// # Errors
    /// When it is plugged in somewhere already, or does not answer as a USB device does.
    pub fn plug<D: UsbDevice + ?Sized + 'static>(
        gadget: &Gadget<D>,
    ) -> Result<(Self, Connection), PipeError> {
        let failed = |error: io::Error| os_error("plugging in a virtual device", &error);
        let (device_end, host_end) = UnixStream::pair().map_err(failed)?;
        let connection = gadget.connect(device_end).map_err(failed)?;
        Ok((Self::over(host_end, 0)?, connection))
    }

    /// A device at the other end of a stream socket, after its import. `devid` is its bus number and address in USB/IP.
    ///
    /// # Errors
    /// When it does not answer as a USB device does.
    pub fn over(stream: impl Into<OwnedFd>, devid: u32) -> Result<Self, PipeError> {
        let client =
            Client::new(stream, devid).map_err(|error| os_error("opening a virtual device", &error))?;
        let mut inner = Inner {
            client,
            name: "virtual usb device".to_owned(),
            interfaces: Vec::new(),
            state: Mutex::default(),
        };
        let mut device = [0; 18];
        inner.descriptor(0x0100, &mut device)?;
        let [_, _, _, _, _, _, _, _, vendor_low, vendor_high, product_low, product_high, ..] = device;
        let vendor = u16::from_le_bytes([vendor_low, vendor_high]);
        let product = u16::from_le_bytes([product_low, product_high]);
        inner.name = format!("virtual usb device ({vendor:04x}:{product:04x})");

        let mut head = [0; 9];
        inner.descriptor(0x0200, &mut head)?;
        let [_, _, low, high, _, value, ..] = head;
        let mut configuration = vec![0; usize::from(u16::from_le_bytes([low, high])).max(9)];
        inner.descriptor(0x0200, &mut configuration)?;
        inner.interfaces = descriptor::interfaces(&configuration);
        let set = Setup {
            kind: RequestKind::Standard,
            recipient: Recipient::Device,
            request: 9,
            value: u16::from(value),
            index: 0,
        };
        inner.control(set, None, &[], AT_ONCE)?;
        Ok(Self { inner: Arc::new(inner) })
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, kind: PipeErrorKind, doing: impl std::fmt::Display) -> PipeError {
        PipeError { kind, os: None, doing: format!("{doing} on {}", self.name) }
    }

    fn client_error(&self, error: &ClientError, doing: &str) -> PipeError {
        let kind = match error {
            ClientError::Gone(_) => PipeErrorKind::Gone,
            ClientError::TimedOut => PipeErrorKind::TimedOut,
            ClientError::Unknown => PipeErrorKind::Os,
        };
        self.error(kind, format_args!("{doing} ({error})"))
    }

    /// The data of a transfer that went well.
    fn judge(&self, outcome: Outcome, doing: &str) -> Result<Vec<u8>, PipeError> {
        let kind = match outcome.status {
            status::OK => return Ok(outcome.data),
            status::STALL => PipeErrorKind::Stalled,
            status::SHUTDOWN => PipeErrorKind::Gone,
            _ => PipeErrorKind::Os,
        };
        Err(PipeError { os: Some(-outcome.status), ..self.error(kind, doing) })
    }

    /// A whole descriptor, or an error.
    fn descriptor(&self, value: u16, buffer: &mut [u8]) -> Result<(), PipeError> {
        let setup =
            Setup { kind: RequestKind::Standard, recipient: Recipient::Device, request: 6, value, index: 0 };
        let data = self.control(setup, Some(buffer.len()), &[], AT_ONCE)?;
        if data.len() != buffer.len() {
            return Err(self.error(PipeErrorKind::Os, format_args!("descriptor {value:04x}h is too short")));
        }
        buffer.copy_from_slice(&data);
        Ok(())
    }

    /// A control transfer: from the device where there is a length, otherwise to it.
    fn control(
        &self,
        setup: Setup,
        length: Option<usize>,
        data: &[u8],
        timeout: Duration,
    ) -> Result<Vec<u8>, PipeError> {
        let doing = "control transfer";
        let size = length.unwrap_or(data.len());
        let stated = u16::try_from(size)
            .map_err(|_| self.error(PipeErrorKind::Os, format_args!("control transfer of {size} bytes")))?;
        let bytes = setup_bytes(setup, length.is_some(), stated);
        self.transfer(0, length.is_some(), size, bytes, data, timeout, doing)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a USB transfer")]
    fn transfer(
        &self,
        endpoint: u8,
        to_host: bool,
        length: usize,
        setup: [u8; 8],
        data: &[u8],
        timeout: Duration,
        doing: &str,
    ) -> Result<Vec<u8>, PipeError> {
        let failed = |error| self.client_error(&error, doing);
        let sequence = self.client.start(endpoint, to_host, length, setup, data).map_err(failed)?;
        let outcome = self.client.finish(sequence, timeout).map_err(|error| {
            self.client.abandon(sequence);
            failed(error)
        })?;
        self.judge(outcome, doing)
    }

    /// An endpoint of an interface that was claimed.
    fn endpoint(&self, address: u8) -> Result<Endpoint, PipeError> {
        let state = self.state();
        let claimed = self.interfaces.iter().filter(|i| state.claimed.contains(&i.number));
        let endpoint = claimed.flat_map(|i| &i.endpoints).find(|e| e.address == address).copied();
        endpoint.ok_or_else(|| {
            let what = format_args!("endpoint {address:02x}h belongs to no claimed interface");
            self.error(PipeErrorKind::Os, what)
        })
    }
}

impl UsbPort for LocalPort {
    fn name(&self) -> &str {
        &self.inner.name
    }

    fn interfaces(&self) -> &[Interface] {
        &self.inner.interfaces
    }

    fn claim(&self, interface: u8) -> Result<(), PipeError> {
        let inner = &self.inner;
        let doing = "claiming an interface";
        inner.client.alive().map_err(|error| inner.client_error(&error, doing))?;
        if !inner.interfaces.iter().any(|i| i.number == interface) {
            return Err(inner.error(PipeErrorKind::Os, format_args!("there is no interface {interface}")));
        }
        inner.state().claimed.insert(interface);
        Ok(())
    }

    fn control_in(&self, setup: Setup, buffer: &mut [u8], timeout: Duration) -> Result<usize, PipeError> {
        let data = self.inner.control(setup, Some(buffer.len()), &[], timeout)?;
        buffer.iter_mut().zip(&data).for_each(|(to, from)| *to = *from);
        Ok(data.len())
    }

    fn control_out(&self, setup: Setup, data: &[u8], timeout: Duration) -> Result<(), PipeError> {
        self.inner.control(setup, None, data, timeout).map(|_| ())
    }

    fn submit(&self, endpoint: u8, length: usize) -> Result<(), PipeError> {
        let inner = &self.inner;
        let packet = usize::from(inner.endpoint(endpoint)?.max_packet).max(1);
        let length = length.max(1).div_ceil(packet).saturating_mul(packet);
        if endpoint & 0x80 == 0 || length > LONGEST_TRANSFER || self.pending(endpoint) >= MOST_UNDER_WAY {
            let what = format_args!("cannot read {length} bytes from endpoint {endpoint:02x}h");
            return Err(inner.error(PipeErrorKind::Os, what));
        }
        let started = inner.client.start(endpoint, true, length, [0; 8], &[]);
        let sequence = started.map_err(|error| inner.client_error(&error, "starting a transfer"))?;
        inner.state().queues.entry(endpoint).or_default().push_back(sequence);
        Ok(())
    }

    fn complete(&self, endpoint: u8, timeout: Duration) -> Result<Vec<u8>, PipeError> {
        let inner = &self.inner;
        let doing = "reading";
        let oldest = inner.state().queues.get(&endpoint).and_then(|queue| queue.front().copied());
        let Some(sequence) = oldest else {
            return Err(inner.error(PipeErrorKind::Os, format_args!("nothing is asked of {endpoint:02x}h")));
        };
        let finished = inner.client.finish(sequence, timeout);
        if finished != Err(ClientError::TimedOut)
            && let Some(queue) = inner.state().queues.get_mut(&endpoint)
        {
            queue.retain(|queued| *queued != sequence);
        }
        let outcome = finished.map_err(|error| inner.client_error(&error, doing))?;
        inner.judge(outcome, doing)
    }

    fn pending(&self, endpoint: u8) -> usize {
        self.inner.state().queues.get(&endpoint).map_or(0, VecDeque::len)
    }

    fn cancel(&self, endpoint: u8) {
        let called_off = self.inner.state().queues.remove(&endpoint).unwrap_or_default();
        // The youngest first, so that none of them takes what was meant for one before it.
        for sequence in called_off.into_iter().rev() {
            self.inner.client.abandon(sequence);
        }
    }

    fn write(&self, endpoint: u8, data: &[u8], timeout: Duration) -> Result<(), PipeError> {
        let inner = &self.inner;
        inner.endpoint(endpoint)?;
        if endpoint & 0x80 != 0 || data.len() > LONGEST_TRANSFER {
            let what = format_args!("cannot write {} bytes to endpoint {endpoint:02x}h", data.len());
            return Err(inner.error(PipeErrorKind::Os, what));
        }
        inner.transfer(endpoint, false, data.len(), [0; 8], data, timeout, "writing").map(|_| ())
    }

    fn clear_halt(&self, endpoint: u8) -> Result<(), PipeError> {
        self.cancel(endpoint);
        let clear = Setup {
            kind: RequestKind::Standard,
            recipient: Recipient::Endpoint,
            request: 1,
            value: 0,
            index: u16::from(endpoint),
        };
        self.inner.control(clear, None, &[], AT_ONCE).map(|_| ())
    }

    fn reset(&self) -> Result<(), PipeError> {
        let done = self.inner.transfer(0, false, 0, PORT_RESET, &[], AT_ONCE, "resetting").map(|_| ());
        self.inner.client.close("it was reset");
        done
    }

    fn share(&self) -> Box<dyn UsbPort> {
        Box::new(self.clone())
    }
}

fn os_error(doing: &str, error: &io::Error) -> PipeError {
    let kind = match error.kind() {
        io::ErrorKind::ResourceBusy => PipeErrorKind::InUse,
        _ => PipeErrorKind::Os,
    };
    PipeError { kind, os: error.raw_os_error(), doing: format!("{doing}: {error}") }
}

#[cfg(test)]
mod tests;
