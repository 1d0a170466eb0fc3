//! A pipe over each bus that carries the link: serial lines as they are, USB bulk endpoints, HID reports.
//!
//! One read brings one transfer or one report, and is handed to the role whole. What is done about a USB device that
//! stalls or does not answer is decided by [`UsbRecovery`]; on the other buses there is nothing that could be done.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use biotrust_driver_api::{
    DeviceError, DeviceErrorKind, Endpoint, EndpointKind, Found, HidPort, Interface, Pipe, PipeError,
    PipeErrorKind, Port, UsbPort,
};
use biotrust_pipe::recover::{Resets, UsbRecovery};

use super::from_pipe;
use crate::mctp::{Framing, MAX_TRANSFER, hid};

/// Class, sub-class and protocol of the interface (DSP0283): MCTP, device, version 1.
const MCTP_INTERFACE: [u8; 3] = [0x14, 0x00, 0x01];
/// Reads that are under way at once, so that the bus does not wait for this host.
const QUEUE: usize = 8;

/// An open way to a device.
pub(crate) struct Transport {
    /// Reads and writes in units of the framing.
    pub(crate) pipe: Box<dyn Pipe>,
    pub(crate) framing: Framing,
    pub(crate) rescue: Rescue,
}

impl Transport {
    /// Makes one of `port`; a HID device must be one with `usage`.
    pub(crate) fn over(port: Port, found: &Found, resets: &Resets, usage: u8) -> Result<Self, DeviceError> {
        let rescue = Rescue(None);
        match port {
            Port::Serial(mut pipe) => {
                if let Some(baud) = baud(found) {
                    pipe.set_baud(baud).map_err(from_pipe)?;
                }
                Ok(Self { pipe, framing: Framing::Serial, rescue })
            }
            Port::Usb(port) => {
                let recovery = UsbRecovery::new(resets.clone(), &found.node.place);
                let usb = Arc::new(Usb { port, health: Mutex::new(Health { recovery, end: None }) });
                let pipe = Box::new(UsbPipe::claim(Arc::clone(&usb))?);
                Ok(Self { pipe, framing: Framing::Usb, rescue: Rescue(Some(usb)) })
            }
            Port::Hid(mut port) => {
                let descriptor = port.descriptor().map_err(from_pipe)?;
                if !hid::is_collection(&descriptor, usage) {
                    return Err(unsupported(
                        port.name(),
                        "its HID reports are not those of a biotrust device of this kind",
                    ));
                }
                Ok(Self { pipe: Box::new(HidPipe(port)), framing: Framing::Hid, rescue })
            }
            Port::Video(port) => Err(unsupported(port.name(), "the link is not spoken with cameras")),
        }
    }
}

/// Speed of the line where the quirk files state one.
pub(crate) fn baud(found: &Found) -> Option<u32> {
    found.quirks.number("baud").and_then(|baud| u32::try_from(baud).ok()).filter(|baud| *baud > 0)
}

/// What can be done about a device that does not answer: on USB it is reset in the end, which costs the port.
pub(crate) struct Rescue(Option<Arc<Usb>>);

impl Rescue {
    /// An answer that was due did not come.
    ///
    /// # Errors
    /// `Gone`: the device was reset, or given up, and why.
    pub(crate) fn no_answer(&self) -> Result<(), PipeError> {
        let Some(usb) = &self.0 else { return Ok(()) };
        let doing = format!("waiting for an answer of {}", usb.port.name());
        usb.treat(0, &PipeError { kind: PipeErrorKind::TimedOut, os: None, doing })
    }
}

/// A USB device, shared by those who read, write and wait.
struct Usb {
    port: Box<dyn UsbPort>,
    health: Mutex<Health>,
}

struct Health {
    recovery: UsbRecovery,
    /// Why the device was reset or given up: all who use it hear the same, and it is done once.
    end: Option<PipeError>,
}

impl Usb {
    /// Ok: try again.
    fn treat(&self, endpoint: u8, error: &PipeError) -> Result<(), PipeError> {
        let mut health = self.health();
        if let Some(end) = &health.end {
            return Err(end.clone());
        }
        let treated = health.recovery.treat(self.port.as_ref(), endpoint, error, Instant::now());
        health.end = treated.as_ref().err().cloned();
        treated
    }

    /// What a transfer that failed for good is reported as: the reset that ended it, where there was one.
    fn last_word(&self, error: PipeError) -> PipeError {
        self.health().end.clone().unwrap_or(error)
    }

    /// Complete at any moment.
    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unsupported(name: &str, why: &str) -> DeviceError {
    DeviceError::new(DeviceErrorKind::Unsupported, format!("{name}: {why}"))
}

/// A pair of bulk endpoints.
#[derive(Clone)]
struct UsbPipe {
    usb: Arc<Usb>,
    input: u8,
    output: u8,
    /// wMaxPacketSize of `output`.
    max_packet: usize,
}

impl UsbPipe {
    fn claim(usb: Arc<Usb>) -> Result<Self, DeviceError> {
        let port = usb.port.as_ref();
        let is_mctp = |one: &&Interface| [one.class, one.sub_class, one.protocol] == MCTP_INTERFACE;
        let interface = port.interfaces().iter().find(is_mctp);
        let interface = interface.ok_or_else(|| unsupported(port.name(), "it has no MCTP interface"))?;
        let bulk = |is_input: bool| {
            let fits =
                |one: &&Endpoint| one.kind == EndpointKind::Bulk && (one.address & 0x80 != 0) == is_input;
            let found = interface.endpoints.iter().find(fits).copied();
            found.ok_or_else(|| unsupported(port.name(), "its MCTP interface lacks a bulk endpoint"))
        };
        let (input, output) = (bulk(true)?, bulk(false)?);
        port.claim(interface.number).map_err(from_pipe)?;
        Ok(Self { input: input.address, output: output.address, max_packet: output.max_packet.into(), usb })
    }

    /// A stalled endpoint is cleared, and the transfer, of which the device has taken nothing, is sent again.
    fn write_transfer(&self, transfer: &[u8], deadline: Instant) -> Result<(), PipeError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.usb.port.write(self.output, transfer, left) {
                Err(error) if error.kind == PipeErrorKind::Stalled => self.usb.treat(self.output, &error)?,
                Err(error) if error.kind == PipeErrorKind::TimedOut => {
                    self.usb.treat(0, &error)?;
                    return Err(error);
                }
                other => return other.map_err(|error| self.usb.last_word(error)),
            }
        }
    }
}

impl Pipe for UsbPipe {
    fn read(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, PipeError> {
        let deadline = Instant::now() + timeout;
        let port = self.usb.port.as_ref();
        loop {
            while port.pending(self.input) < QUEUE {
                port.submit(self.input, MAX_TRANSFER)?;
            }
            match port.complete(self.input, deadline.saturating_duration_since(Instant::now())) {
                Ok(transfer) => {
                    self.usb.health().recovery.worked();
                    // An empty one says nothing.
                    if let Some(room) = buffer.get_mut(..transfer.len()).filter(|room| !room.is_empty()) {
                        room.copy_from_slice(&transfer);
                        return Ok(transfer.len());
                    }
                }
                Err(error) if matches!(error.kind, PipeErrorKind::Stalled | PipeErrorKind::Os) => {
                    self.usb.treat(self.input, &error)?;
                }
                Err(error) => return Err(self.usb.last_word(error)),
            }
            // Empty transfers and halts that take turns must not hold a reader who is to end.
            if Instant::now() >= deadline {
                let doing = format!("reading from {}", port.name());
                return Err(PipeError { kind: PipeErrorKind::TimedOut, os: None, doing });
            }
        }
    }

    /// `bytes` are cut into transfers already: one call is one transfer.
    fn write_all(&mut self, bytes: &[u8], timeout: Duration) -> Result<(), PipeError> {
        let deadline = Instant::now() + timeout;
        self.write_transfer(bytes, deadline)?;
        // A transfer of whole packets is not over for the device, unless it is the longest.
        let is_open = bytes.len() < MAX_TRANSFER && bytes.len().is_multiple_of(self.max_packet.max(1));
        if is_open { self.write_transfer(&[], deadline) } else { Ok(()) }
    }

    fn try_clone(&self) -> Result<Box<dyn Pipe>, PipeError> {
        Ok(Box::new(self.clone()))
    }

    fn name(&self) -> &str {
        self.usb.port.name()
    }
}

/// Reports.
struct HidPipe(Box<dyn HidPort>);

impl Pipe for HidPipe {
    fn read(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, PipeError> {
        self.0.read_report(buffer, timeout)
    }

    /// `bytes` are cut into reports already: one call is one report.
    fn write_all(&mut self, bytes: &[u8], timeout: Duration) -> Result<(), PipeError> {
        self.0.write_report(bytes, timeout)
    }

    fn try_clone(&self) -> Result<Box<dyn Pipe>, PipeError> {
        Ok(Box::new(Self(self.0.try_clone()?)))
    }

    fn name(&self) -> &str {
        self.0.name()
    }
}

#[cfg(test)]
mod tests {
    use biotrust_driver_api::{Cancel, Setup};

    use super::*;

    /// A device that sends empty transfers without end.
    struct Hollow(Vec<Interface>);

    impl UsbPort for Hollow {
        fn name(&self) -> &str {
            "a test"
        }

        fn interfaces(&self) -> &[Interface] {
            &self.0
        }

        fn claim(&self, _: u8) -> Result<(), PipeError> {
            Ok(())
        }

        fn control_in(&self, _: Setup, _: &mut [u8], _: Duration) -> Result<usize, PipeError> {
            Ok(0)
        }

        fn control_out(&self, _: Setup, _: &[u8], _: Duration) -> Result<(), PipeError> {
            Ok(())
        }

        fn submit(&self, _: u8, _: usize) -> Result<(), PipeError> {
            Ok(())
        }

        fn complete(&self, _: u8, _: Duration) -> Result<Vec<u8>, PipeError> {
            let _ = Cancel::new().wait(Duration::from_micros(125));
            Ok(Vec::new())
        }

        fn pending(&self, _: u8) -> usize {
            QUEUE
        }

        fn cancel(&self, _: u8) {}

        fn write(&self, _: u8, _: &[u8], _: Duration) -> Result<(), PipeError> {
            Ok(())
        }

        fn clear_halt(&self, _: u8) -> Result<(), PipeError> {
            Ok(())
        }

        fn reset(&self) -> Result<(), PipeError> {
            Ok(())
        }

        fn share(&self) -> Box<dyn UsbPort> {
            Box::new(Self(self.0.clone()))
        }
    }

    #[test]
    fn empty_transfers_without_end_do_not_hold_a_reader() {
        let endpoint = |address| Endpoint { address, kind: EndpointKind::Bulk, max_packet: 512 };
        let [class, sub_class, protocol] = MCTP_INTERFACE;
        let endpoints = vec![endpoint(0x81), endpoint(0x01)];
        let interface = Interface { number: 0, class, sub_class, protocol, endpoints };
        let recovery = UsbRecovery::new(Resets::default(), "usb:1-1");
        let port = Box::new(Hollow(vec![interface]));
        let usb = Arc::new(Usb { port, health: Mutex::new(Health { recovery, end: None }) });
        let mut pipe = UsbPipe::claim(usb).unwrap();
        let (told, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || told.send(pipe.read(&mut [0; 512], Duration::from_millis(50))));
        let read = ended.recv_timeout(Duration::from_secs(5)).expect("it comes back");
        assert_eq!(read.unwrap_err().kind, PipeErrorKind::TimedOut);
    }
}
