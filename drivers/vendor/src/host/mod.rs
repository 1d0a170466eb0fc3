//! The service's side: drivers are started, watched and killed by a [`Supervisor`], their devices opened by a
//! [`VendorFactory`].

mod budget;
pub(crate) mod connection;
pub(crate) mod process;
mod sensor;
mod supervisor;

use std::sync::Arc;
use std::time::{Duration, Instant};

use biotrust_driver_api::{
    Description, DeviceError, DeviceErrorKind, DriverFactory, EventSink, Found, Opened, Port,
};
use biotrust_link::LinkFactory;
use biotrust_model::time::Clock;
use biotrust_model::{DeviceIdentity, DeviceSubType, Level, Modality, SubId};

pub use budget::{Budget, Next};
pub use process::SpawnError;
pub use supervisor::{DriverConfig, DriverState, Start, Supervisor, VendorEvent};

use crate::wire::{Failure, FromDriver, SensorInfo, ToDriver};
use connection::Connection;
use sensor::RemoteSensor;

/// The name of this driver in [`Found`].
pub const DRIVER: &str = "vendor";
/// The setting that names the device to its driver.
pub const DEVICE: &str = "device";

/// Opens devices behind vendors' drivers.
pub struct VendorFactory {
    clock: Arc<dyn Clock>,
    link: LinkFactory,
}

impl VendorFactory {
    /// A factory that takes the time from `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { link: LinkFactory::new(Arc::clone(&clock)), clock }
    }
}

impl DriverFactory for VendorFactory {
    fn name(&self) -> &'static str {
        DRIVER
    }

    /// `port` is a fresh connection to the driver; [`Found`] names the device.
    fn open(
        &self,
        port: Port,
        found: &Found,
        events: EventSink,
        timeout: Duration,
    ) -> Result<Opened, DeviceError> {
        let deadline = Instant::now() + timeout;
        let (Port::Serial(pipe), Some(device)) = (port, found.quirks.text(DEVICE)) else {
            let why = format!("{}: this is not a connection to a driver", found.node.place);
            return Err(DeviceError::new(DeviceErrorKind::Unsupported, why));
        };
        let (mut connection, _) = Connection::greet(pipe, deadline)?;
        connection.send(&ToDriver::Open { name: device.to_owned() }, deadline)?;
        match connection.next(deadline)? {
            FromDriver::OpenedSensor(info) => {
                let description = description(info);
                let sensor = RemoteSensor::new(connection);
                biotrust_sensor::open(description, sensor, Arc::clone(&self.clock), events)
            }
            FromDriver::OpenedLink => {
                let left = deadline.saturating_duration_since(Instant::now());
                self.link.open(Port::pipe(connection.into_pipe()?), found, events, left)
            }
            FromDriver::Refused(failure, why) => Err(DeviceError::new(
                kind(failure),
                format!("{}: the driver refuses: {why}", found.node.place),
            )),
            _ => Err(connection.out_of_place("OPEN")),
        }
    }
}

/// A failure that a driver reports, as the service's.
const fn kind(failure: Failure) -> DeviceErrorKind {
    match failure {
        Failure::Gone => DeviceErrorKind::Gone,
        Failure::NotReady => DeviceErrorKind::NotReady,
        Failure::Busy => DeviceErrorKind::InUse,
        Failure::Internal => DeviceErrorKind::Internal,
    }
}

/// A sensor of a driver is a plain one with one part, whatever it says: level L0.
fn description(info: SensorInfo) -> Description {
    let device_sub_type = match info.modality {
        Modality::Face => DeviceSubType::FullFace,
        Modality::Finger | Modality::Iris => DeviceSubType::Single,
    };
    Description {
        identity: DeviceIdentity {
            serial_no: info.serial,
            make: info.make,
            model: info.model,
            modality: info.modality,
            device_sub_type,
            device_provider: info.provider,
            device_provider_id: info.provider_id,
        },
        level: Level::L0,
        purpose: info.purpose,
        firmware: info.firmware,
        sub_ids: vec![SubId(0)],
    }
}
