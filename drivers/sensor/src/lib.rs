//! An L0 device around a plain sensor: looks, previews, the best frame, files, on a thread of its own.
//!
//! A driver of a plain sensor implements [`Sensor`], which only has to look; [`open`] makes an
//! [`L0Device`](biotrust_driver_api::L0Device) of it: captures with deadline and cancellation, several parts one after
//! the other, previews with the quality drawn in, health, and the JPEG 2000 files. [`describe`] writes its
//! [`Description`] from what is known of devices like it.
//!
//! One thread per device owns the sensor and is the only one that blocks on hardware; callers wait for it no longer than
//! their own time limit, whatever the hardware does. Nothing that a sensor delivers is trusted beyond its pixels: the
//! level is always L0.

mod capture;
mod describe;
mod device;
mod files;
mod frames;
#[cfg(test)]
mod tests;
mod worker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use biotrust_driver_api::{Cancel, Description, DeviceError, DeviceErrorKind, EventSink, Opened, SelfReport};
use biotrust_imaging::{Dpi, Gray, IrisGeometry, Rgb};
use biotrust_model::time::Clock;
use biotrust_model::{Level, Modality};

pub use describe::{Kind, describe, serial_of};

/// What a sensor saw.
pub enum Seen {
    /// A finger, 8-bit, dark ridges on a light ground, upright.
    Finger {
        /// The image.
        image: Gray,
        /// Its density.
        density: Dpi,
    },
    /// What is before a face camera.
    Face {
        /// The image in colour.
        image: Rgb,
        /// The JPEG that the camera made, for the preview untouched.
        jpeg: Option<Vec<u8>>,
    },
    /// What is before an iris camera, in near infrared.
    Iris {
        /// The image, cut as it is to be delivered.
        image: Gray,
        /// Where in it the iris is; without that it is shown but never captured.
        geometry: Option<IrisGeometry>,
    },
    /// Something is presented that the sensor knows to be of no use: it has not got the image.
    Unusable {
        /// What to do about it, for the person in front of it: a few capital letters, such as `PRESS HARDER`.
        advice: &'static str,
    },
}

/// A sensor that can look. One thread owns it; dropping it closes it, which must not take more than a second.
pub trait Sensor: Send + 'static {
    /// Looks once: waits up to `wait` for something to be presented, and is back by `until` with it or without; `None`
    /// when nothing was presented, it could not be got in time, or `cancel` was set.
    ///
    /// An image that takes long to transfer may go on past `wait`, never past `until`. Once `cancel` is set, it is back
    /// within 100 ms.
    ///
    /// # Errors
    /// `Gone`, `TimedOut`, `Protocol`: the sensor is closed. Others, such as `NotReady`: it is looked at again later.
    fn look(&mut self, wait: Duration, until: Instant, cancel: &Cancel) -> Result<Option<Seen>, DeviceError>;

    /// Whether nothing is presented any more; asked between two parts of one capture, until it is so.
    ///
    /// # Errors
    /// As [`Self::look`].
    fn is_clear(&mut self, until: Instant, cancel: &Cancel) -> Result<bool, DeviceError> {
        Ok(self.look(CLEAR, until, cancel)?.is_none())
    }

    /// How it is; also the health check. Made only while nobody looks.
    ///
    /// # Errors
    /// As [`Self::look`].
    fn status(&mut self) -> Result<SelfReport, DeviceError>;

    /// Nobody will look for a while: lights off, streams ended.
    ///
    /// # Errors
    /// As [`Self::look`].
    fn rest(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
}

/// A sensor on which nothing appears for so long is clear.
const CLEAR: Duration = Duration::from_millis(100);

/// Makes a device of `sensor`. Images are dated by `clock`; events come from the sensor's thread.
///
/// Dropping the last handle closes the sensor and waits for it, for two seconds at most.
///
/// # Errors
/// `Unsupported` when the description is not of an L0 device; `Internal` when no thread can be had.
pub fn open(
    description: Description,
    sensor: impl Sensor,
    clock: Arc<dyn Clock>,
    events: EventSink,
) -> Result<Opened, DeviceError> {
    if description.level != Level::L0 {
        return Err(DeviceError::new(DeviceErrorKind::Unsupported, "a plain sensor is never more than L0"));
    }
    Ok(Opened::L0(Arc::new(device::SensorDevice::start(description, sensor, clock, events)?)))
}

impl Seen {
    /// What kind of device sees this; `None` where it is no image.
    const fn modality(&self) -> Option<Modality> {
        match self {
            Self::Finger { .. } => Some(Modality::Finger),
            Self::Face { .. } => Some(Modality::Face),
            Self::Iris { .. } => Some(Modality::Iris),
            Self::Unusable { .. } => None,
        }
    }
}
