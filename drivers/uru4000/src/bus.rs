//! The reader at the other end of a USB port: registers, events, images, and what to do when one of them fails.
//!
//! Every call blocks for its own time at most. A read of the interrupt endpoint is always under way, so that no event is
//! lost between two looks. What fails and may be tried again is told to [`UsbRecovery`], which frees halted endpoints and
//! resets a reader that fails again and again: it is then `Gone`, and what comes back is found anew.

use std::time::{Duration, Instant};

use biotrust_driver_api::{
    DeviceError, DeviceErrorKind, EndpointKind, Interface, PipeError, PipeErrorKind, UsbPort,
};
use biotrust_pipe::recover::{Resets, UsbRecovery};

use crate::event::{self, Event};
use crate::image::TRANSFER;
use crate::register::{HwStat, Info, Mode, Register};

/// Class, sub-class and protocol of the interface.
const INTERFACE: (u8, u8, u8) = (0xff, 0xff, 0xff);
/// How long a control request may take. The reader answers within milliseconds, a busy host may not notice at once.
const CONTROL: Duration = Duration::from_millis(500);
/// The endpoint of control requests, which has no halt.
const CONTROL_ENDPOINT: u8 = 0;

/// An endpoint, and how it has fared: that one works excuses no failure of another.
struct Lane {
    address: u8,
    recovery: UsbRecovery,
}

/// The reader's end of the bus.
pub(crate) struct Bus {
    port: Box<dyn UsbPort>,
    control: Lane,
    events: Lane,
    images: Lane,
}

impl Bus {
    /// Takes the interface of a reader at `place`.
    ///
    /// # Errors
    /// `Unsupported` when the device has no such interface; what the port says.
    pub(crate) fn open(port: Box<dyn UsbPort>, resets: &Resets, place: &str) -> Result<Self, DeviceError> {
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
        port.claim(number).map_err(failed)?;
        let lane = |address| Lane { address, recovery: UsbRecovery::new(resets.clone(), place) };
        Ok(Self { port, control: lane(CONTROL_ENDPOINT), events: lane(events), images: lane(images) })
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
        let packet = await_transfer(self.port.as_ref(), &mut self.events, wait)?;
        if packet.is_some() {
            self.events.recovery.worked();
            self.listen()?;
        }
        Ok(packet.and_then(|packet| Event::parse(&packet)))
    }

    /// Keeps a read of the interrupt endpoint under way.
    pub(crate) fn listen(&mut self) -> Result<(), DeviceError> {
        if self.port.pending(self.events.address) == 0 {
            self.port.submit(self.events.address, event::PACKET).map_err(failed)?;
        }
        Ok(())
    }

    /// Asks for an image; before the mode is set in which it is sent.
    pub(crate) fn ask_image(&mut self) -> Result<(), DeviceError> {
        if self.port.pending(self.images.address) == 0 {
            self.port.submit(self.images.address, TRANSFER).map_err(failed)?;
        }
        Ok(())
    }

    /// The transfer of an image, should it be complete within `wait`. After a failure it has to be asked for anew.
    pub(crate) fn image(&mut self, wait: Duration) -> Result<Option<Vec<u8>>, DeviceError> {
        await_transfer(self.port.as_ref(), &mut self.images, wait)
    }

    /// Whether an image has been asked for and has neither come nor been called off.
    pub(crate) fn awaits_image(&self) -> bool {
        self.port.pending(self.images.address) > 0
    }

    /// Nobody wants the image any more.
    pub(crate) fn drop_image(&self) {
        self.port.cancel(self.images.address);
    }

    /// The transfer was an image.
    pub(crate) fn good_image(&mut self) {
        self.images.recovery.worked();
    }

    /// An image did not come (`TimedOut`), or was none (`Os`). `Ok`: try again.
    ///
    /// # Errors
    /// `Gone` when that happens again and again: the reader was reset or given up.
    pub(crate) fn bad_image(&mut self, kind: PipeErrorKind, what: String) -> Result<(), DeviceError> {
        treat(self.port.as_ref(), &mut self.images, &PipeError { kind, os: None, doing: what })
    }

    fn read<const N: usize>(&mut self, register: Register) -> Result<[u8; N], DeviceError> {
        loop {
            let mut value = [0; N];
            let error = match self.port.control_in(register.request(), &mut value, CONTROL) {
                Ok(got) if got == N => {
                    self.control.recovery.worked();
                    return Ok(value);
                }
                Ok(got) => {
                    let doing = format!("reading register {register:?}: {got} of {N} bytes came");
                    PipeError { kind: PipeErrorKind::Os, os: None, doing }
                }
                Err(error) => error,
            };
            treat(self.port.as_ref(), &mut self.control, &error)?;
        }
    }

    fn write(&mut self, register: Register, value: &[u8]) -> Result<(), DeviceError> {
        while let Err(error) = self.port.control_out(register.request(), value, CONTROL) {
            treat(self.port.as_ref(), &mut self.control, &error)?;
        }
        self.control.recovery.worked();
        Ok(())
    }
}

/// What comes may take its time: only another failure is one.
fn await_transfer(
    port: &dyn UsbPort,
    lane: &mut Lane,
    wait: Duration,
) -> Result<Option<Vec<u8>>, DeviceError> {
    match port.complete(lane.address, wait) {
        Ok(transfer) => Ok(Some(transfer)),
        Err(error) if error.kind == PipeErrorKind::TimedOut => Ok(None),
        Err(error) => treat(port, lane, &error).map(|()| None),
    }
}

fn treat(port: &dyn UsbPort, lane: &mut Lane, error: &PipeError) -> Result<(), DeviceError> {
    lane.recovery.treat(port, lane.address, error, Instant::now()).map_err(failed)
}

fn stranger(port: &dyn UsbPort) -> DeviceError {
    let why = format!(
        "{} has no interface of class ff/ff/ff with an interrupt and a bulk endpoint: it is no U.are.U reader",
        port.name()
    );
    DeviceError::new(DeviceErrorKind::Unsupported, why)
}

fn failed(error: PipeError) -> DeviceError {
    let kind = match error.kind {
        PipeErrorKind::Gone => DeviceErrorKind::Gone,
        PipeErrorKind::TimedOut => DeviceErrorKind::TimedOut,
        PipeErrorKind::PermissionDenied => DeviceErrorKind::PermissionDenied,
        PipeErrorKind::InUse => DeviceErrorKind::InUse,
        PipeErrorKind::Stalled | PipeErrorKind::Os => DeviceErrorKind::Protocol,
    };
    DeviceError::new(kind, error.to_string())
}

/// Time from now until `end`, `most` at most.
pub(crate) fn slice(end: Instant, most: Duration) -> Duration {
    end.saturating_duration_since(Instant::now()).min(most)
}
