//! What udevd knows of a device, by libudev.

use std::path::Path;

/// What udevd says of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// When it was done with it for the first time, in microseconds since the start of the host. Stays the same when
    /// the rules are run again.
    pub since: u64,
    /// `BIOTRUST_DRIVER`.
    pub driver: Option<String>,
    /// `ID_V4L_CAPABILITIES`, such as `:capture:`.
    pub capabilities: Option<String>,
}

/// Looks a device up; `None` while udevd is not done with it. Where no udevd runs, nothing is known of any.
pub(super) fn look_up(device: &Path) -> Option<Record> {
    // udevd's socket is there as long as udevd runs or systemd starts it at need.
    if !Path::new("/run/udev/control").exists() {
        return Some(Record::default());
    }
    let device = udev::Device::from_syspath(device).ok()?;
    let text = |name: &str| device.property_value(name)?.to_str().map(str::to_owned);
    device.is_initialized().then(|| Record {
        since: text("USEC_INITIALIZED").and_then(|text| text.parse().ok()).unwrap_or(0),
        driver: text("BIOTRUST_DRIVER").filter(|text| !text.is_empty()),
        capabilities: text("ID_V4L_CAPABILITIES"),
    })
}
