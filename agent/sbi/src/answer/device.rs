//! MOSIPDISC and MOSIPDINFO.

use biotrust_model::time::UtcMillis;
use biotrust_model::{
    DeviceId, DeviceIdentity, DeviceStatus, Env, Language, Level, Problem, Purpose, SPEC_VERSION, SubId,
};

use crate::digital_id::DigitalId;
use crate::error::{ErrorObject, status_problem};
use crate::json::{Object, array, string};

/// A device as discovery and device info describe it. `deviceId`, `deviceCode` and `certification` must be the same in
/// both, or the desktop client drops the device; that is why there is one description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceDescription {
    /// Id within this service.
    pub device_id: DeviceId,
    /// Who it is; `deviceCode` is its serial number.
    pub identity: DeviceIdentity,
    /// Level, as its trust was established.
    pub level: Level,
    /// Purpose it is registered for; `None` for an unregistered device.
    pub purpose: Option<Purpose>,
    /// What it can do now.
    pub status: DeviceStatus,
    /// Its parts; 0 where there is only one. At least one entry.
    pub sub_ids: Vec<SubId>,
    /// Version of this service.
    pub service_version: String,
    /// Version of its firmware; of this service for an L0 device.
    pub firmware: String,
    /// Environment it is registered in; `None` for an unregistered device.
    pub env: Option<Env>,
    /// Base URL with a slash at its end, which the desktop client relies on.
    pub callback_id: String,
}

impl DeviceDescription {
    fn purpose_text(&self) -> &'static str {
        self.purpose.map_or("", Purpose::as_str)
    }

    /// Numbers as strings: one client wants integers and reads these too, the compliance kit wants strings.
    fn sub_ids_json(&self) -> String {
        array(self.sub_ids.iter().map(|sub_id| string(&sub_id.to_string())))
    }
}

/// Exactly what is spoken: the desktop client picks the highest version it finds and fails on one it does not know.
fn spec_versions_json() -> String {
    array([string(SPEC_VERSION)])
}

/// One device in a discovery answer, its digital ID unsigned. Costs no cryptography.
///
/// Without a `problem`, the error is the one that belongs to the device's status.
#[must_use]
pub fn discovery_entry(
    device: &DeviceDescription,
    now: UtcMillis,
    problem: Option<&Problem>,
    language: Language,
) -> String {
    let of_status = status_problem(device.status).map(Problem::from);
    let error = ErrorObject::of(problem.or(of_status.as_ref()), language);
    Object::new()
        .text("deviceId", device.device_id.as_str())
        .text("deviceStatus", device.status.as_str())
        .text("certification", device.level.as_str())
        .text("serviceVersion", &device.service_version)
        .raw("deviceSubId", &device.sub_ids_json())
        .text("callbackId", &device.callback_id)
        .text("digitalId", &DigitalId::at(device.identity.clone(), now).unsigned())
        .text("deviceCode", &device.identity.serial_no)
        .raw("specVersion", &spec_versions_json())
        .text("purpose", device.purpose_text())
        .raw("error", &error.to_json())
        .finish()
}

/// A discovery answer; empty where nothing matches.
#[must_use]
pub fn discovery_answer(entries: &[impl AsRef<str>]) -> String {
    array(entries)
}

/// The answer to a discovery request that cannot be read: one entry that is only an error.
#[must_use]
pub fn discovery_error(problem: &Problem, language: Language) -> String {
    array([Object::new().raw("error", &ErrorObject::of(Some(problem), language).to_json()).finish()])
}

/// Payload of `deviceInfo`: the JSON that a registered device signs, or an unregistered one sends as base64url.
/// `digital_id` is signed or not accordingly.
#[must_use]
pub fn device_info_payload(device: &DeviceDescription, digital_id: &str) -> String {
    Object::new()
        .text("deviceStatus", device.status.as_str())
        .text("deviceId", device.device_id.as_str())
        .text("firmware", &device.firmware)
        .text("certification", device.level.as_str())
        .text("serviceVersion", &device.service_version)
        .raw("deviceSubId", &device.sub_ids_json())
        .text("callbackId", &device.callback_id)
        .text("digitalId", digital_id)
        .text("deviceCode", &device.identity.serial_no)
        .text("env", device.env.map_or("None", Env::as_str))
        .text("purpose", device.purpose_text())
        .raw("specVersion", &spec_versions_json())
        .finish()
}

/// One device in a device-info answer. `device_info` is a JWS, or unsigned base64url for an unregistered device, or
/// empty where there is nothing but the problem.
///
/// Give the problem of the status ([`status_problem`]) with a device that is not ready.
#[must_use]
pub fn info_entry(device_info: &str, problem: Option<&Problem>, language: Language) -> String {
    Object::new()
        .text("deviceInfo", device_info)
        .raw("error", &ErrorObject::of(problem, language).to_json())
        .finish()
}

/// A device-info answer. Signed devices first and unsigned ones, if at all, last: the desktop client stops at the first
/// one that it cannot verify, and the browser client drops them all.
#[must_use]
pub fn info_answer(entries: &[impl AsRef<str>]) -> String {
    array(entries)
}
