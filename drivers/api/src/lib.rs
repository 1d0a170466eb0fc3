//! The seam between the daemon and hardware: what a pipe, a device and an FTM can do, and nothing else.
//!
//! Everything here blocks and is called from threads of its own (one per device, one per FTM), never from the
//! async runtime. Every call has a deadline; a call that overstays it is a fault of the implementation, and the
//! daemon then abandons the thread and quarantines the device.
//!
//! Trust: an implementation speaks for hardware that may lie. What an L1 device delivers is verified by the
//! daemon (`biotrust-trust`) before it is passed on; what an L0 device delivers is only as good as the host.

mod cancel;
pub mod conformance;
mod device;
mod error;
mod ftm;
pub mod key_files;
mod node;
mod pipe;
mod port;

pub use cancel::Cancel;
pub use device::{
    AuthCapture, CaptureJob, CaptureOutcome, CapturedImage, ChipDocument, Description, Device, DeviceClock,
    DeviceEvent, DigitalIdKey, DriverFactory, EventSink, FirmwareState, Frame, ImageCodec, InfoJob, L0Device,
    L1Device, L1Keys, Opened, PendingFirmware, SelfReport, SignedBlock, StreamJob,
};
pub use error::{DeviceError, DeviceErrorKind};
pub use ftm::{Ftm, FtmError, IdentityRequest, KeyHandle, Sealer};
pub use node::{Bus, Found, Node, Quirks, UsbIdentity, Value};
pub use pipe::{Pipe, PipeError, PipeErrorKind};
pub use port::{
    Endpoint, EndpointKind, FourCc, HidPort, Interface, Port, Recipient, RequestKind, SerialPort, Setup,
    UsbPort, VideoFormat, VideoFrame, VideoPort,
};
