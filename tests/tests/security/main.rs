//! Hostile peers, lost peers, mistakes of operators: nothing hangs, nothing leaks, nothing is lost.

mod canary;
mod deadlines;
mod hostile;
mod misuse;

use biotrust_tests::http::{Request, call};
use biotrust_tests::{Device, Instance};
use serde_json::json;

/// `deviceStatus` of a device in MOSIPDISC; "" when it is not listed.
fn status(instance: &Instance, device: &Device) -> String {
    let request = Request::new("MOSIPDISC", "/device").json(&json!({"type": device.bio_type}));
    let list = call(instance.port, &request).json();
    let entry = list.as_array().expect("a list").iter().find(|entry| entry["deviceId"] == device.id.as_str());
    entry.and_then(|entry| entry["deviceStatus"].as_str()).unwrap_or_default().to_owned()
}
