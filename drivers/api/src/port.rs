//! What a driver talks through: one small trait per kind of bus, one kind of error for all, and [`Port`] over them.
//!
//! All calls block, each within its own time limit; a device's threads make them, never the async runtime. Nothing that
//! comes through a port is trusted. Recovery is the same everywhere: a stalled endpoint is cleared, a wedged device is
//! reset ([`UsbPort::reset`]), a dead one is given up as `Gone` with the reason.

use std::time::Duration;

use crate::{Pipe, PipeError};

/// An open way to a device. The driver that takes it is the only one that uses it.
pub enum Port {
    /// A serial line: UART, USB adapter, CDC-ACM, pseudo-terminal; or a TCP connection, which ignores the speed.
    Serial(Box<dyn SerialPort>),
    /// A USB device.
    Usb(Box<dyn UsbPort>),
    /// A HID device.
    Hid(Box<dyn HidPort>),
    /// A camera.
    Video(Box<dyn VideoPort>),
}

impl Port {
    /// Name for messages, such as the path of its node.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Serial(port) => port.name(),
            Self::Usb(port) => port.name(),
            Self::Hid(port) => port.name(),
            Self::Video(port) => port.name(),
        }
    }

    /// What kind of bus it is.
    #[must_use]
    pub const fn bus(&self) -> crate::Bus {
        match self {
            Self::Serial(_) => crate::Bus::Serial,
            Self::Usb(_) => crate::Bus::Usb,
            Self::Hid(_) => crate::Bus::Hid,
            Self::Video(_) => crate::Bus::Video,
        }
    }
}

impl Port {
    /// A byte pipe that has no speed.
    #[must_use]
    pub fn pipe(pipe: Box<dyn Pipe>) -> Self {
        Self::Serial(Box::new(Speedless(pipe)))
    }
}

/// A pipe that takes any speed.
struct Speedless(Box<dyn Pipe>);

impl Pipe for Speedless {
    fn read(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, PipeError> {
        self.0.read(buffer, timeout)
    }

    fn write_all(&mut self, bytes: &[u8], timeout: Duration) -> Result<(), PipeError> {
        self.0.write_all(bytes, timeout)
    }

    fn try_clone(&self) -> Result<Box<dyn Pipe>, PipeError> {
        self.0.try_clone()
    }

    fn name(&self) -> &str {
        self.0.name()
    }
}

impl SerialPort for Speedless {
    fn set_baud(&mut self, _: u32) -> Result<(), PipeError> {
        Ok(())
    }

    fn try_clone_serial(&self) -> Result<Box<dyn SerialPort>, PipeError> {
        Ok(Box::new(Self(self.0.try_clone()?)))
    }
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Port({:?}, {})", self.bus(), self.name())
    }
}

/// A byte pipe whose speed can be set.
pub trait SerialPort: Pipe {
    /// Sets the speed in baud, 8N1, once everything that was written has gone out. What was received and not read is
    /// forgotten. A port without a speed (TCP, USB CDC) takes any.
    ///
    /// # Errors
    /// `Gone`, `TimedOut` when the line does not drain, `Os` when there is no such speed.
    fn set_baud(&mut self, baud: u32) -> Result<(), PipeError>;

    /// A second handle on the same line.
    ///
    /// # Errors
    /// When the system refuses.
    fn try_clone_serial(&self) -> Result<Box<dyn SerialPort>, PipeError>;
}

/// A control request as USB 2.0 (9.3) has it; the direction is that of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Setup {
    /// Standard, class or vendor.
    pub kind: RequestKind,
    /// To whom.
    pub recipient: Recipient,
    /// bRequest.
    pub request: u8,
    /// wValue.
    pub value: u16,
    /// wIndex.
    pub index: u16,
}

/// Type of a control request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestKind {
    /// Of the USB specification.
    Standard,
    /// Of a device class.
    Class,
    /// Of the vendor.
    Vendor,
}

/// Recipient of a control request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recipient {
    /// The device.
    Device,
    /// An interface.
    Interface,
    /// An endpoint.
    Endpoint,
}

/// Kind of an endpoint that a driver may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndpointKind {
    /// Bulk.
    Bulk,
    /// Interrupt.
    Interrupt,
}

/// An endpoint of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// bEndpointAddress: bit 7 set means from the device.
    pub address: u8,
    /// Kind.
    pub kind: EndpointKind,
    /// wMaxPacketSize in bytes.
    pub max_packet: u16,
}

/// An interface of the active configuration in its first alternate setting. Endpoints of other kinds are left out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Interface {
    /// bInterfaceNumber.
    pub number: u8,
    /// bInterfaceClass.
    pub class: u8,
    /// bInterfaceSubClass.
    pub sub_class: u8,
    /// bInterfaceProtocol.
    pub protocol: u8,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// A USB device. Calls may come from several threads at once; those on one endpoint are made by one thread at a time.
///
/// Reading is in two steps, so that a time limit never loses data: a transfer that is under way when the time is over
/// stays under way, and the next [`Self::complete`] of its endpoint gets what it brings.
pub trait UsbPort: Send + Sync {
    /// Name for messages, such as `usb 1-1.2 (05ba:000a)`.
    fn name(&self) -> &str;

    /// The interfaces of the active configuration.
    fn interfaces(&self) -> &[Interface];

    /// Takes an interface from whoever has it in the kernel. It is given back when the port is dropped.
    ///
    /// # Errors
    /// `InUse` when another program has it; `Gone`; `Os`.
    fn claim(&self, interface: u8) -> Result<(), PipeError>;

    /// A control transfer from the device; answers how many bytes came.
    ///
    /// # Errors
    /// `Stalled` when the device does not know the request; `TimedOut`; `Gone`; `Os`.
    fn control_in(&self, setup: Setup, buffer: &mut [u8], timeout: Duration) -> Result<usize, PipeError>;

    /// A control transfer to the device.
    ///
    /// # Errors
    /// As [`Self::control_in`].
    fn control_out(&self, setup: Setup, data: &[u8], timeout: Duration) -> Result<(), PipeError>;

    /// Asks for up to `length` bytes from a bulk or interrupt endpoint of a claimed interface. `length` is rounded up to
    /// whole packets. Several may be under way; they complete in order.
    ///
    /// # Errors
    /// `Gone`; `Os` when there is no such endpoint or too many transfers are under way.
    fn submit(&self, endpoint: u8, length: usize) -> Result<(), PipeError>;

    /// Waits for the oldest transfer of the endpoint and gives what it brought.
    ///
    /// # Errors
    /// `TimedOut` while it goes on; `Stalled` when the endpoint has halted: [`Self::clear_halt`]; `Gone`; `Os` when none
    /// is under way.
    fn complete(&self, endpoint: u8, timeout: Duration) -> Result<Vec<u8>, PipeError>;

    /// How many transfers of the endpoint are under way.
    fn pending(&self, endpoint: u8) -> usize;

    /// Calls off all transfers of the endpoint. What they had brought already is lost.
    fn cancel(&self, endpoint: u8);

    /// Writes everything to a bulk or interrupt endpoint of a claimed interface. Data that is a whole number of packets
    /// is not followed by an empty one.
    ///
    /// # Errors
    /// `TimedOut`: how much arrived is unknown; `Stalled`; `Gone`; `Os`.
    fn write(&self, endpoint: u8, data: &[u8], timeout: Duration) -> Result<(), PipeError>;

    /// Ends the halt of a stalled endpoint. Calls off what is under way on it.
    ///
    /// # Errors
    /// `Gone`, `Os`.
    fn clear_halt(&self, endpoint: u8) -> Result<(), PipeError>;

    /// Resets the device, as unplugging does. The port is dead afterwards: what comes back is found anew.
    ///
    /// # Errors
    /// `Gone`, `Os`.
    fn reset(&self) -> Result<(), PipeError>;

    /// Reads once: as [`Self::submit`], where nothing is under way, and [`Self::complete`].
    ///
    /// # Errors
    /// As those.
    fn read(&self, endpoint: u8, length: usize, timeout: Duration) -> Result<Vec<u8>, PipeError> {
        if self.pending(endpoint) == 0 {
            self.submit(endpoint, length)?;
        }
        self.complete(endpoint, timeout)
    }

    /// A second handle on the same device.
    fn share(&self) -> Box<dyn UsbPort>;
}

/// A HID device.
pub trait HidPort: Send {
    /// Name for messages, such as `/dev/hidraw0`.
    fn name(&self) -> &str;

    /// Waits for an input report; answers its length. The first byte is the report id where the device has ids.
    ///
    /// # Errors
    /// `TimedOut`, `Gone`, `Os`.
    fn read_report(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, PipeError>;

    /// Sends an output report; the first byte is its id, 0 where the device has none.
    ///
    /// # Errors
    /// `TimedOut`: the device does not take it, and the port must be closed; `Stalled`; `Gone`; `Os`.
    fn write_report(&mut self, report: &[u8], timeout: Duration) -> Result<(), PipeError>;

    /// Reads a feature report; `buffer[0]` is its id. Answers its length.
    ///
    /// # Errors
    /// As [`Self::write_report`].
    fn feature(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, PipeError>;

    /// Sends a feature report; the first byte is its id.
    ///
    /// # Errors
    /// As [`Self::write_report`].
    fn set_feature(&mut self, report: &[u8], timeout: Duration) -> Result<(), PipeError>;

    /// The report descriptor.
    ///
    /// # Errors
    /// `Gone`, `Os`.
    fn descriptor(&mut self) -> Result<Vec<u8>, PipeError>;

    /// A second handle on the same device, so that one thread reads while another writes.
    ///
    /// # Errors
    /// When the system refuses.
    fn try_clone(&self) -> Result<Box<dyn HidPort>, PipeError>;
}

/// Four characters that name a pixel format, such as `MJPG`, `YUYV`, `GREY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FourCc(pub [u8; 4]);

impl FourCc {
    /// Motion JPEG: each frame is a JPEG.
    pub const MJPG: Self = Self(*b"MJPG");
    /// 4:2:2, Y U Y V.
    pub const YUYV: Self = Self(*b"YUYV");
    /// 8-bit grey.
    pub const GREY: Self = Self(*b"GREY");
}

impl std::fmt::Display for FourCc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{}", byte.escape_ascii()))
    }
}

/// A format that a camera offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VideoFormat {
    /// Pixel format.
    pub pixels: FourCc,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Bytes from one row to the next; 0 for a compressed format, or while it is only offered.
    pub stride: u32,
}

/// One frame of a camera.
pub struct VideoFrame {
    /// Counts up; a gap means frames were dropped.
    pub sequence: u64,
    /// The bytes, in the format that the stream was started with. Biometric data.
    pub bytes: biotrust_model::Secret,
}

/// A camera.
pub trait VideoPort: Send {
    /// Name for messages, such as `/dev/video0`.
    fn name(&self) -> &str;

    /// What it offers, the largest first within a pixel format.
    ///
    /// # Errors
    /// `Gone`, `Os`.
    fn formats(&mut self) -> Result<Vec<VideoFormat>, PipeError>;

    /// Starts to stream in (or as near as the camera can to) `format`; answers the format it has.
    ///
    /// # Errors
    /// `InUse`, `Gone`, `Os`.
    fn start(&mut self, format: VideoFormat, fps: u8) -> Result<VideoFormat, PipeError>;

    /// Waits for the newest frame; older ones are thrown away.
    ///
    /// # Errors
    /// `TimedOut`, `Gone`, `Os`.
    fn next(&mut self, timeout: Duration) -> Result<VideoFrame, PipeError>;

    /// Stops streaming.
    ///
    /// # Errors
    /// `Gone`, `Os`.
    fn stop(&mut self) -> Result<(), PipeError>;
}
