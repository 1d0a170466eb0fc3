//! Driver for R30x fingerprint modules (R305, R307, AS608, FPM10A, ZFM-20) on a UART.
//!
//! The protocol ([`packet`], [`command`], [`image`]) is pure; above it a line that asks and waits, the module with its
//! settings, and the sensor for the engine of `biotrust-sensor`, whose thread is the only one that blocks here.
//!
//! What these modules are good for: development. The image has 256x288 pixels at 500 dpi, which is smaller than MOSIP asks
//! for even in authentication, 16 levels of grey, and anybody on the line can write another one into the module's buffer.
//! So they are L0, and their firmware version says that they are for development.

pub mod command;
pub mod image;
mod line;
mod module;
pub mod packet;
pub mod recording;
pub mod scrub;
mod sensor;

use std::sync::Arc;
use std::time::{Duration, Instant};

use biotrust_driver_api::{DeviceError, DeviceErrorKind, DriverFactory, EventSink, Found, Opened, Port};
use biotrust_model::time::Clock;
use biotrust_model::{DeviceSubType, Modality, Purpose, SubId};
use biotrust_sensor::{Kind, describe};

use crate::module::{Known, Module};
use crate::sensor::R30x;

/// Opens R30x modules. `clock` dates their images.
pub struct R30xFactory {
    clock: Arc<dyn Clock>,
}

impl R30xFactory {
    /// A factory that takes the time from `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
}

impl DriverFactory for R30xFactory {
    fn name(&self) -> &'static str {
        "r30x"
    }

    fn open(
        &self,
        port: Port,
        found: &Found,
        events: EventSink,
        timeout: Duration,
    ) -> Result<Opened, DeviceError> {
        let deadline = Instant::now() + timeout;
        let Port::Serial(port) = port else {
            let why = format!("{}: an R30x module is on a serial line", port.name());
            return Err(DeviceError::new(DeviceErrorKind::Unsupported, why));
        };
        let name = port.name().to_owned();
        let mut module = Module::find(port, Known::of(found), deadline).map_err(|f| f.on(&name))?;
        if let Err(failure) = module.raise(deadline) {
            module.restore();
            return Err(failure.on(&name));
        }
        let system = module.parameters().system;
        let description = describe(
            found,
            &Kind {
                make: "R30x",
                model: "R30x",
                modality: Modality::Finger,
                device_sub_type: DeviceSubType::Single,
                purpose: Purpose::Auth,
                firmware: &format!("ZFM-{system:04X} (16 grey levels, for development)"),
                serial: None,
                sub_ids: &[SubId(0)],
            },
        );
        let sensor = R30x::new(module);
        biotrust_sensor::open(description?, sensor, Arc::clone(&self.clock), events)
    }
}
