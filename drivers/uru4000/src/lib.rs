//! Driver for U.are.U 4000, 4000B and 4500 fingerprint readers (05ba:0007, 05ba:000a) on USB.
//!
//! Level L0: everything the reader sends is in the clear for the host; the scrambling of its images protects nothing.
//! What it sends is not trusted: packets, headers and images are read by rules ([`event`], [`image`]), and what breaks
//! one is an error. These parts, the power-up sequence ([`power`]) and the key stream ([`scramble`]) are without I/O.
//!
//! Written from a description of the protocol, without hardware at hand; what is open is in `docs/users/devices.md`:
//! the density of 512 dpi is the maker's word and was not measured.

mod bus;
pub mod event;
pub mod image;
pub mod power;
mod reader;
pub mod recording;
pub mod register;
pub mod scramble;
pub mod scrub;

use std::sync::Arc;
use std::time::{Duration, Instant};

use biotrust_driver_api::{
    DeviceError, DeviceErrorKind, DriverFactory, EventSink, Found, Opened, Port, Quirks,
};
use biotrust_imaging::Dpi;
use biotrust_model::time::Clock;
use biotrust_model::{DeviceSubType, Modality, Purpose, SubId};
use biotrust_pipe::recover::Resets;
use biotrust_sensor::{Kind, describe};

use bus::Bus;
use reader::{Habits, Reader};

/// Dots per inch by the maker's data, where the quirk file says nothing. Not measured.
pub const MAKERS_DPI: u16 = 512;
/// What a finger record can hold.
const RECORD_DPI: std::ops::RangeInclusive<u16> = 490..=1010;

/// Opens U.are.U readers.
pub struct Uru4000Factory {
    clock: Arc<dyn Clock>,
    /// Resets of readers, by place.
    resets: Resets,
}

impl Uru4000Factory {
    /// Images are dated by `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, resets: Resets::default() }
    }
}

impl DriverFactory for Uru4000Factory {
    fn name(&self) -> &'static str {
        "uru4000"
    }

    fn open(
        &self,
        port: Port,
        found: &Found,
        events: EventSink,
        timeout: Duration,
    ) -> Result<Opened, DeviceError> {
        let Port::Usb(port) = port else {
            let why = format!("{} is no USB device; a U.are.U reader is one", port.name());
            return Err(DeviceError::new(DeviceErrorKind::Unsupported, why));
        };
        let habits = habits(&found.quirks)?;
        let until = Instant::now() + timeout;
        let bus = Bus::open(port, &self.resets, &found.node.place)?;
        let (reader, info) = Reader::start(bus, habits, until)?;
        let description = describe(
            found,
            &Kind {
                make: "DigitalPersona",
                model: "U.are.U 4000",
                modality: Modality::Finger,
                device_sub_type: DeviceSubType::Single,
                purpose: Purpose::Auth,
                firmware: &info.versions(),
                serial: None,
                sub_ids: &[SubId(0)],
            },
        )?;
        biotrust_sensor::open(description, reader, Arc::clone(&self.clock), events)
    }
}

/// What the quirk file says of the reader.
fn habits(quirks: &Quirks) -> Result<Habits, DeviceError> {
    let dpi = quirks.number("dpi").unwrap_or(i64::from(MAKERS_DPI));
    let density = u16::try_from(dpi).ok().filter(|dpi| RECORD_DPI.contains(dpi)).and_then(Dpi::new);
    let density = density.ok_or_else(|| {
        let why = format!(
            "quirk entry {:?}, setting dpi: {dpi} is not {} to {}, which a finger record can hold",
            quirks.name,
            RECORD_DPI.start(),
            RECORD_DPI.end()
        );
        DeviceError::new(DeviceErrorKind::Unsupported, why)
    })?;
    Ok(Habits { density, turned: quirks.flag("turned"), single: quirks.flag("single_image") })
}
