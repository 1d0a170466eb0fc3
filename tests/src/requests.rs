//! Bodies of CAPTURE and RCAPTURE to start from; tests change the members they are about.

use serde_json::{Value, json};

use crate::Device;

/// An RCAPTURE of `count` parts as the desktop client sends it (nulls included), with a transaction id that nothing else has.
#[must_use]
pub fn registration(device: &Device, sub_id: &str, count: u32) -> Value {
    json!({
        "env": "Staging", "purpose": "Registration", "specVersion": "0.9.5", "timeout": "10000",
        "captureTime": "2026-11-24T08:26:41.559005128", "transactionId": transaction_id(),
        "bio": [{
            "type": device.bio_type, "count": count.to_string(), "bioSubType": null, "exception": [],
            "requestedScore": "60", "deviceId": device.id, "deviceSubId": sub_id, "previousHash": null,
        }],
        "customOpts": null,
    })
}

/// A CAPTURE of these parts (none for a face) as the browser widget sends it.
#[must_use]
pub fn authentication(device: &Device, parts: &[&str]) -> Value {
    let parts_json = if device.bio_type == "Face" { Value::Null } else { json!(parts) };
    let count = if device.bio_type == "Face" { 1 } else { parts.len() };
    json!({
        "env": "Staging", "purpose": "Auth", "specVersion": "0.9.5", "timeout": "10000",
        "captureTime": "2026-11-24T08:19:42.240Z", "domainUri": "https://esignet.example",
        "transactionId": ida_transaction_id(),
        "bio": [{
            "type": device.bio_type, "count": count.to_string(), "bioSubType": parts_json, "requestedScore": "60",
            "deviceId": device.id, "deviceSubId": "0", "previousHash": "",
        }],
        "customOpts": null,
    })
}

/// Anything that has a registration body for its first useful capture: slap left, both eyes, face.
#[must_use]
pub fn registration_of(device: &Device) -> Value {
    match device.bio_type.as_str() {
        "Finger" => registration(device, "1", 4),
        "Iris" => registration(device, "3", 2),
        _ => registration(device, "0", 1),
    }
}

/// A transaction id in the form of a UUID.
#[must_use]
pub fn transaction_id() -> String {
    let n = counter();
    format!("{n:08x}-0000-4000-8000-{:012x}", u64::from(std::process::id()))
}

/// A transaction id of ten letters and digits.
#[must_use]
pub fn ida_transaction_id() -> String {
    format!("T{:09}", counter() % 1_000_000_000)
}

fn counter() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
