//! A pipe over each bus that carries the link: serial lines as they are, USB bulk endpoints, HID reports.
//!
//! One read brings one transfer or one report, and is handed to the role whole. An endpoint that stalls is cleared, one
//! that goes on stalling ends the line with a reset of the device.

use std::time::{Duration, Instant};

use biotrust_driver_api::{
    DeviceError, DeviceErrorKind, EndpointKind, HidPort, Interface, Pipe, PipeError, PipeErrorKind, Port,
    UsbPort,
};

use super::from_pipe;
use crate::mctp::{Framing, MAX_TRANSFER, hid};

/// Class, sub-class and protocol of the interface (DSP0283): MCTP, device, version 1.
const MCTP_INTERFACE: [u8; 3] = [0x14, 0x00, 0x01];
/// Reads that are under way at once, so that the bus does not wait for this host.
const QUEUE: usize = 8;
/// Stalls in a row after which clearing them is no use.
const MAX_STALLS: u32 = 3;

/// An open way to a device.
pub(super) struct Transport {
    /// Reads and writes in units of the framing.
    pub(super) pipe: Box<dyn Pipe>,
    pub(super) framing: Framing,
    /// The device, where it can be reset.
    pub(super) usb: Option<Box<dyn UsbPort>>,
}

impl Transport {
    /// Makes one of `port`.
    pub(super) fn over(port: Port) -> Result<Self, DeviceError> {
        match port {
            Port::Serial(pipe) => Ok(Self { pipe, framing: Framing::Serial, usb: None }),
            Port::Usb(usb) => {
                let pipe = UsbPipe::claim(usb.share())?;
                Ok(Self { pipe: Box::new(pipe), framing: Framing::Usb, usb: Some(usb) })
            }
            Port::Hid(mut port) => {
                let descriptor = port.descriptor().map_err(from_pipe)?;
                if !hid::is_collection(&descriptor, hid::USAGE_DEVICE) {
                    return Err(unsupported(
                        port.name(),
                        "its HID reports are not those of a biotrust device",
                    ));
                }
                Ok(Self { pipe: Box::new(HidPipe(port)), framing: Framing::Hid, usb: None })
            }
            Port::Video(port) => Err(unsupported(port.name(), "the link driver does not speak to cameras")),
        }
    }
}

fn unsupported(name: &str, why: &str) -> DeviceError {
    DeviceError::new(DeviceErrorKind::Unsupported, format!("{name}: {why}"))
}

/// A pair of bulk endpoints.
struct UsbPipe {
    port: Box<dyn UsbPort>,
    input: u8,
    output: u8,
    /// wMaxPacketSize of `output`.
    max_packet: usize,
    stalls: u32,
}

impl UsbPipe {
    fn claim(port: Box<dyn UsbPort>) -> Result<Self, DeviceError> {
        let is_mctp = |one: &&Interface| [one.class, one.sub_class, one.protocol] == MCTP_INTERFACE;
        let interface = port.interfaces().iter().find(is_mctp);
        let interface = interface.ok_or_else(|| unsupported(port.name(), "it has no MCTP interface"))?;
        let bulk = |is_input: bool| {
            let fits = |endpoint: &&biotrust_driver_api::Endpoint| {
                endpoint.kind == EndpointKind::Bulk && (endpoint.address & 0x80 != 0) == is_input
            };
            let found = interface.endpoints.iter().find(fits).copied();
            found.ok_or_else(|| unsupported(port.name(), "its MCTP interface lacks a bulk endpoint"))
        };
        let (input, output) = (bulk(true)?, bulk(false)?);
        port.claim(interface.number).map_err(from_pipe)?;
        Ok(Self {
            input: input.address,
            output: output.address,
            max_packet: output.max_packet.into(),
            stalls: 0,
            port,
        })
    }

    /// After a stall of `endpoint`: an error when it is one too many.
    fn clear(&mut self, endpoint: u8) -> Result<(), PipeError> {
        self.stalls += 1;
        if self.stalls < MAX_STALLS {
            return self.port.clear_halt(endpoint);
        }
        // The port is dead after that, whatever comes of it.
        let _ = self.port.reset();
        let doing = format!(
            "{}: endpoint {endpoint:#04x} stalls again and again; the device was reset",
            self.port.name()
        );
        Err(PipeError { kind: PipeErrorKind::Gone, os: None, doing })
    }

    fn write_transfer(&mut self, transfer: &[u8], deadline: Instant) -> Result<(), PipeError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.port.write(self.output, transfer, left) {
                Ok(()) => {
                    self.stalls = 0;
                    return Ok(());
                }
                Err(error) if error.kind == PipeErrorKind::Stalled => self.clear(self.output)?,
                Err(error) => return Err(error),
            }
        }
    }
}

impl Pipe for UsbPipe {
    fn read(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, PipeError> {
        let deadline = Instant::now() + timeout;
        loop {
            while self.port.pending(self.input) < QUEUE {
                self.port.submit(self.input, MAX_TRANSFER)?;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let transfer = match self.port.complete(self.input, left) {
                Ok(transfer) => transfer,
                Err(error) if error.kind == PipeErrorKind::Stalled => {
                    self.clear(self.input)?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.stalls = 0;
            if let Some(room) = buffer.get_mut(..transfer.len()).filter(|_| !transfer.is_empty()) {
                room.copy_from_slice(&transfer);
                return Ok(transfer.len());
            }
        }
    }

    /// `bytes` are cut into transfers already: one call is one transfer.
    fn write_all(&mut self, bytes: &[u8], timeout: Duration) -> Result<(), PipeError> {
        let deadline = Instant::now() + timeout;
        self.write_transfer(bytes, deadline)?;
        // A transfer that ends with a whole packet goes on, for a device that does not count, unless it is the longest.
        let is_open = self.max_packet != 0 && bytes.len().is_multiple_of(self.max_packet);
        if is_open && bytes.len() < MAX_TRANSFER { self.write_transfer(&[], deadline) } else { Ok(()) }
    }

    fn try_clone(&self) -> Result<Box<dyn Pipe>, PipeError> {
        Ok(Box::new(Self {
            port: self.port.share(),
            input: self.input,
            output: self.output,
            max_packet: self.max_packet,
            stalls: 0,
        }))
    }

    fn name(&self) -> &str {
        self.port.name()
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
