//! The reader at the other end of a USB port: registers, events, images, and what to do when one of them fails.
//!
//! Every call blocks for its own time at most. A read of the interrupt endpoint is always under way, so that no event is
//! lost between two looks. A halted endpoint is freed, a reader that fails again and again without anything good in
//! between is reset and given up as `Gone`: what comes back is found anew.

use std::time::{Duration, Instant};

use biotrust_driver_api::{
    DeviceError, DeviceErrorKind, EndpointKind, Interface, PipeError, PipeErrorKind, UsbPort,
};

use crate::event::{self, Event};
use crate::image::TRANSFER;
use crate::register::{HwStat, Info, Mode, Register};

/// Class, sub-class and protocol of the interface.
const INTERFACE: (u8, u8, u8) = (0xff, 0xff, 0xff);
/// How long a control request may take. The reader answers within milliseconds.
const CONTROL: Duration = Duration::from_millis(200);
/// Failures in a row after which the reader is reset.
const FAILURES: u32 = 3;

/// The reader's end of the bus.
pub(crate) struct Bus {
    port: Box<dyn UsbPort>,
    /// Address of the interrupt endpoint.
    events: u8,
    /// Address of the bulk endpoint.
    images: u8,
    /// Failures since the last thing that went well.
    failures: u32,
}

impl Bus {
    /// Takes the interface of a reader.
    ///
    /// # Errors
    /// `Unsupported` when the device has no such interface; what the port says.
    pub(crate) fn open(port: Box<dyn UsbPort>) -> Result<Self, DeviceError> {
        let fits = |one: &&Interface| (one.class, one.sub_class, one.protocol) == INTERFACE;
        let interface = port.interfaces().iter().find(fits).ok_or_else(|| stranger(port.as_ref()))?;
        let number = interface.number;
        let incoming = |kind| {
            let mut endpoints = interface.endpoints.iter();
            endpoints.find(|e| e.kind == kind && e.address & 0x80 != 0).map(|e| e.address)
        };
        let (Some(events), Some(images)) = (incoming(EndpointKind::Interrupt), incoming(EndpointKind::Bulk))
        else {
            return Err(stranger(port.as_ref()));
        };
        port.claim(number).map_err(|error| failed("taking the interface", error))?;
        Ok(Self { port, events, images, failures: 0 })
    }

    /// Name for messages.
    pub(crate) fn name(&self) -> &str {
        self.port.name()
    }

    /// State of the power supply.
    pub(crate) fn hw_stat(&mut self) -> Result<HwStat, DeviceError> {
        let [stat] = self.read(Register::HwStat)?;
        Ok(HwStat(stat))
    }

    /// Changes the power supply.
    pub(crate) fn set_hw_stat(&mut self, stat: HwStat) -> Result<(), DeviceError> {
        self.write(Register::HwStat, &[stat.0])
    }

    /// Tells the reader what to do.
    pub(crate) fn set_mode(&mut self, mode: Mode) -> Result<(), DeviceError> {
        self.write(Register::Mode, &[mode as u8])
    }

    /// What the reader is.
    pub(crate) fn info(&mut self) -> Result<Info, DeviceError> {
        self.read(Register::Info).map(Info)
    }

    /// Asks for a key of a scrambled image; the answer is mixed with the seed.
    pub(crate) fn key(&mut self, number: u8, seed: u32) -> Result<[u8; 4], DeviceError> {
        let [a, b, c, d] = seed.to_le_bytes();
        self.write(Register::ScrambleIndex, &[number, a, b, c, d])?;
        self.read(Register::ScrambleKey)
    }

    /// The next event, should one come within `wait`.
    pub(crate) fn event(&mut self, wait: Duration) -> Result<Option<Event>, DeviceError> {
        self.listen()?;
        match self.port.complete(self.events, wait) {
            Ok(packet) => {
                self.listen()?;
                Ok(Event::parse(&packet))
            }
            Err(error) if error.kind == PipeErrorKind::TimedOut => Ok(None),
            Err(error) if error.kind == PipeErrorKind::Stalled => {
                self.free(self.events)?;
                self.bad(failed("waiting for an event", error))?;
                Ok(None)
            }
            Err(error) => Err(failed("waiting for an event", error)),
        }
    }

    /// Keeps a read of the interrupt endpoint under way.
    pub(crate) fn listen(&mut self) -> Result<(), DeviceError> {
        if self.port.pending(self.events) == 0 {
            let submitted = self.port.submit(self.events, event::PACKET);
            return submitted.map_err(|error| failed("listening for events", error));
        }
        Ok(())
    }

    /// Asks for an image; before the mode is set in which it is sent.
    pub(crate) fn ask_image(&mut self) -> Result<(), DeviceError> {
        if self.port.pending(self.images) == 0 {
            let submitted = self.port.submit(self.images, TRANSFER);
            return submitted.map_err(|error| failed("asking for an image", error));
        }
        Ok(())
    }

    /// The transfer of an image, should it be complete within `wait`. A halt counts as a failure; then it has to be asked
    /// for anew.
    pub(crate) fn image(&mut self, wait: Duration) -> Result<Option<Vec<u8>>, DeviceError> {
        match self.port.complete(self.images, wait) {
            Ok(transfer) => Ok(Some(transfer)),
            Err(error) if error.kind == PipeErrorKind::TimedOut => Ok(None),
            Err(error) if error.kind == PipeErrorKind::Stalled => {
                self.free(self.images)?;
                self.bad(failed("waiting for an image", error))?;
                Ok(None)
            }
            Err(error) => Err(failed("waiting for an image", error)),
        }
    }

    /// Whether an image has been asked for and has neither come nor been called off.
    pub(crate) fn awaits_image(&self) -> bool {
        self.port.pending(self.images) > 0
    }

    /// Nobody wants the image any more.
    pub(crate) fn drop_image(&self) {
        self.port.cancel(self.images);
    }

    /// Something came as it should.
    pub(crate) const fn good(&mut self) {
        self.failures = 0;
    }

    /// Something failed that may be tried again; an error when that is often enough. The reader has then been reset.
    pub(crate) fn bad(&mut self, error: DeviceError) -> Result<(), DeviceError> {
        self.failures += 1;
        if self.failures < FAILURES {
            return Ok(());
        }
        let reset = match self.port.reset() {
            Ok(()) => "it has been reset",
            Err(_) => "it could not be reset",
        };
        let why = format!("{}: {FAILURES} failures in a row, {reset}; the last: {error}", self.name());
        Err(DeviceError { kind: DeviceErrorKind::Gone, message: why, source: Some(Box::new(error)) })
    }

    fn free(&self, endpoint: u8) -> Result<(), DeviceError> {
        self.port.clear_halt(endpoint).map_err(|error| failed("ending a halt", error))
    }

    fn read<const N: usize>(&mut self, register: Register) -> Result<[u8; N], DeviceError> {
        loop {
            let mut value = [0; N];
            let error = match self.port.control_in(register.request(), &mut value, CONTROL) {
                Ok(got) if got == N => return Ok(value),
                Ok(got) => {
                    let why = format!("{}: {got} bytes of register {register:?}, which has {N}", self.name());
                    DeviceError::new(DeviceErrorKind::Protocol, why)
                }
                Err(error) => passing(failed(&format!("reading register {register:?}"), error))?,
            };
            self.bad(error)?;
        }
    }

    fn write(&mut self, register: Register, value: &[u8]) -> Result<(), DeviceError> {
        loop {
            let error = match self.port.control_out(register.request(), value, CONTROL) {
                Ok(()) => return Ok(()),
                Err(error) => passing(failed(&format!("writing register {register:?}"), error))?,
            };
            self.bad(error)?;
        }
    }
}

/// An error that may go away when it is tried again.
fn passing(error: DeviceError) -> Result<DeviceError, DeviceError> {
    match error.kind {
        DeviceErrorKind::TimedOut | DeviceErrorKind::Protocol => Ok(error),
        _ => Err(error),
    }
}

fn stranger(port: &dyn UsbPort) -> DeviceError {
    let why = format!(
        "{} has no interface of class ff/ff/ff with an interrupt and a bulk endpoint: it is no U.are.U reader",
        port.name()
    );
    DeviceError::new(DeviceErrorKind::Unsupported, why)
}

fn failed(doing: &str, error: PipeError) -> DeviceError {
    let kind = match error.kind {
        PipeErrorKind::Gone => DeviceErrorKind::Gone,
        PipeErrorKind::TimedOut => DeviceErrorKind::TimedOut,
        PipeErrorKind::PermissionDenied => DeviceErrorKind::PermissionDenied,
        PipeErrorKind::InUse => DeviceErrorKind::InUse,
        PipeErrorKind::Stalled | PipeErrorKind::Os => DeviceErrorKind::Protocol,
    };
    DeviceError::caused(kind, format!("{doing} failed"), error)
}

/// Time from now until `end`, `most` at most.
pub(crate) fn slice(end: Instant, most: Duration) -> Duration {
    end.saturating_duration_since(Instant::now()).min(most)
}
