//! Trust from outside: devices that register by what they prove, keys that rotate under load and through crashes, a management
//! server that is away, wrong or late, and keys in the TPM of a host. Real programs, real sockets, real TPMs in software.

mod host_tpm;
mod kills;
mod registration;
mod rotation;
mod server;

use std::process::Output;

use biotrust_tests::http::{Request, call};
use biotrust_tests::pairs::{Judge, Pair};
use biotrust_tests::requests::{authentication, registration_of};
use biotrust_tests::{Device, Site, now};
use serde_json::Value;

/// A capture that this device can do: an RCAPTURE, or a CAPTURE of one part.
fn capture_of(device: &Device) -> Request {
    if device.purpose == "Registration" {
        return Request::new("RCAPTURE", "/capture").json(&registration_of(device));
    }
    Request::new("CAPTURE", "/capture").json(&authentication(device, &["UNKNOWN"]))
}

/// Captures, and answers the one pair that the answer is signed by.
#[track_caller]
fn captured(site: &Site, serial: &str) -> Pair {
    let reply = call(site.port, &capture_of(&site.device(serial)));
    let keys = site.keys();
    Judge::new(&keys, now())
        .capture(&reply.body)
        .unwrap_or_else(|why| panic!("{serial}: {why}: {}", reply.text()))
}

/// The pair behind the device info of a device.
#[track_caller]
fn informed(site: &Site, serial: &str) -> Pair {
    let reply = call(site.port, &Request::new("MOSIPDINFO", "/info").json(&serde_json::json!({})));
    let keys = site.keys();
    let pairs =
        Judge::new(&keys, now()).info(&reply.body).unwrap_or_else(|why| panic!("{why}: {}", reply.text()));
    let found = pairs.into_iter().find(|pair| pair.serial == serial);
    found.unwrap_or_else(|| panic!("no device info of {serial}"))
}

/// The entry of a device in MOSIPDISC.
fn discovered(site: &Site, serial: &str) -> Value {
    let device = site.device(serial);
    let request = Request::new("MOSIPDISC", "/device").json(&serde_json::json!({"type": device.bio_type}));
    let list = call(site.port, &request).json();
    let found = list.as_array().expect("a list").iter().find(|entry| entry["deviceId"] == device.id.as_str());
    found.cloned().unwrap_or_default()
}

/// What a program printed, to standard output and standard error.
fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A program's JSON on standard output.
#[track_caller]
fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", printed(output)))
}

/// The keys of a device that the provider takes for being in use. (One that it has certified and that was never confirmed died
/// in a crash; it is in no device and its certificate is on record.)
fn living_keys(site: &Site, serial: &str) -> Vec<Value> {
    let Some(device) = site.registered(serial) else { return Vec::new() };
    let keys = device["keys"].as_array().cloned().unwrap_or_default();
    keys.into_iter().filter(|key| key["destroyed_at"].is_null() && !key["confirmed_at"].is_null()).collect()
}
