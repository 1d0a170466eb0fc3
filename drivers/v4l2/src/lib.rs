//! Driver for cameras behind V4L2, as UVC webcams are: faces, and irises with a camera in near infrared.
//!
//! Level L0. Frames are not trusted: their bytes are read by rules ([`jpeg`], [`frame`]), and what breaks one is no frame.
//! [`format`] chooses what is asked of a camera, [`cut`] takes the part out of a frame that is captured. All of that is
//! without I/O.
//!
//! What a camera is there for is said by its quirk entry (setting `sees`): no camera can tell whether its light is near
//! infrared. Irises are captured for registrations only: an authentication wants lids and sclera masked (kind K7 of
//! ISO/IEC 19794-6), and the lids are not looked for here.

mod camera;
pub mod cut;
pub mod format;
pub mod frame;
pub mod jpeg;
#[cfg(test)]
mod testing;

use std::sync::Arc;
use std::time::Duration;

use biotrust_driver_api::{
    DeviceError, DeviceErrorKind, DriverFactory, EventSink, Found, Opened, Port, VideoFormat,
};
use biotrust_model::time::Clock;
use biotrust_model::{DeviceSubType, Modality, Purpose, SubId};
use biotrust_sensor::{Kind, describe};

use camera::{Camera, failed};
use format::Sees;

/// Opens cameras.
pub struct V4l2Factory {
    clock: Arc<dyn Clock>,
}

impl V4l2Factory {
    /// Images are dated by `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
}

impl DriverFactory for V4l2Factory {
    fn name(&self) -> &'static str {
        "v4l2"
    }

    fn open(
        &self,
        port: Port,
        found: &Found,
        events: EventSink,
        _timeout: Duration,
    ) -> Result<Opened, DeviceError> {
        let refuse = |why: String| Err(DeviceError::new(DeviceErrorKind::Unsupported, why));
        let Port::Video(mut port) = port else {
            return refuse(format!("{} is no camera", port.name()));
        };
        let sees = match found.quirks.text("sees") {
            None | Some("Face") => Sees::Face,
            Some("Iris") => Sees::Iris,
            Some(other) => {
                let entry = &found.quirks.name;
                return refuse(format!(
                    "quirk entry {entry:?}, setting sees: {other:?} is neither Face nor Iris"
                ));
            }
        };
        let usb = found.node.usb.clone().unwrap_or_default();
        let named = |name: &str, otherwise: &str| if name.is_empty() { otherwise } else { name }.to_owned();
        let [major, minor] = usb.release.to_be_bytes();
        let (modality, device_sub_type, purpose) = match sees {
            Sees::Face => (Modality::Face, DeviceSubType::FullFace, Purpose::Auth),
            Sees::Iris => (Modality::Iris, DeviceSubType::Single, Purpose::Registration),
        };
        let description = describe(
            found,
            &Kind {
                make: &named(&usb.manufacturer, "generic"),
                model: &named(&usb.name, "camera"),
                modality,
                device_sub_type,
                purpose,
                firmware: &format!("{major:x}.{minor:02x}"),
                serial: None,
                sub_ids: &[SubId(0)],
            },
        )?;
        if (sees, description.purpose) == (Sees::Iris, Purpose::Auth) {
            return refuse(format!(
                "{}: irises for an authentication have to be masked, which this driver does not do; \
                 the camera can be a registration device (setting purpose)",
                port.name()
            ));
        }
        let fewest_rows = sees.fewest_rows(description.purpose);
        let offered = port.formats().map_err(failed)?;
        let Some(wanted) = format::choose(&offered, sees, description.purpose) else {
            return refuse(too_small(port.name(), sees, fewest_rows, &offered));
        };
        let camera = Camera::new(port, wanted, sees, fewest_rows);
        biotrust_sensor::open(description, camera, Arc::clone(&self.clock), events)
    }
}

/// Why none of the formats will do.
fn too_small(name: &str, sees: Sees, fewest_rows: u32, offered: &[VideoFormat]) -> String {
    let wanted = match sees {
        Sees::Face => "a face wants MJPG or YUYV",
        Sees::Iris => "an iris wants GREY, YUYV or MJPG",
    };
    let offered: Vec<_> =
        offered.iter().map(|one| format!("{} {}x{}", one.pixels, one.width, one.height)).collect();
    format!("{name} offers {}; {wanted} with at least {fewest_rows} rows", offered.join(", "))
}
