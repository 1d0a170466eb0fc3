//! An L0 device around a plain sensor: looks, previews, the best frame, files, on a thread of its own.
//!
//! A driver of a plain sensor implements [`Sensor`], which only has to look; [`open`] makes an
//! [`L0Device`](biotrust_driver_api::L0Device) of it: captures with deadline and cancellation, previews with the quality
//! drawn in, status, and the JPEG 2000 files.

use std::time::Duration;

use biotrust_driver_api::{Cancel, DeviceError, SelfReport};
use biotrust_imaging::{Dpi, Gray, Rgb};

/// What a sensor saw.
pub enum Seen {
    /// A finger, 8-bit, dark ridges on a light ground, upright.
    Finger {
        /// The image.
        image: Gray,
        /// Its density.
        density: Dpi,
    },
    /// A face.
    Face {
        /// The image in colour.
        image: Rgb,
        /// The JPEG that the camera made, for the preview untouched.
        jpeg: Option<Vec<u8>>,
    },
    /// An eye in near infrared.
    Iris {
        /// The image.
        image: Gray,
    },
}

/// A sensor that can look. One thread owns it.
pub trait Sensor: Send {
    /// Looks once: waits up to `within` for something to be presented; `None` when nothing is, or `cancel` was set.
    ///
    /// # Errors
    /// `Gone`, `TimedOut`, `Protocol` … The sensor is closed on the first two and on `Protocol`.
    fn look(&mut self, within: Duration, cancel: &Cancel) -> Result<Option<Seen>, DeviceError>;

    /// How it is; also the health check, made only while nobody looks.
    ///
    /// # Errors
    /// As [`Self::look`].
    fn status(&mut self) -> Result<SelfReport, DeviceError>;

    /// Nobody will look for a while: lights off.
    fn rest(&mut self) {}
}
