//! What the real clients need, row by row: R1 to R36 of the requirements and the ten facts, each by the client that needs it, over the socket.
//! Notes: sbi-clients, sections 1 and 6.

mod capture;
mod cors;
mod facts;
mod lists;
mod options;
mod stream;
mod wire;

use biosim_backends::DigitalIdDomain;
use biosim_backends::ida::{self, Ida};
use biotrust_tests::browser::Page;
use biotrust_tests::desktop::Desktop;
use biotrust_tests::http::call;
use biotrust_tests::instance::Setup;
use biotrust_tests::shared::{self, Turn};
use biotrust_tests::{Device, Instance, Reply};
use serde_json::Value;

/// Origin of the eSignet page.
const ESIGNET: &str = "https://esignet.example";
/// Origin of the tool kit.
const DEVELOPER: &str = "https://compliance.example";

/// All six devices at level L1, with both pages allowed.
fn all_l1() -> Turn {
    shared::instance(&Setup { options: &["--origin", ESIGNET, "--developer", DEVELOPER], ..Setup::default() })
}

/// A desktop client whose deployment trusts FTM authorities for digital IDs too.
fn desktop(instance: &Instance) -> Desktop {
    Desktop { port: instance.port, keys: instance.keys(), digital_id_domain: DigitalIdDomain::default() }
}

fn page(instance: &Instance) -> Page {
    Page::new(instance.port, ESIGNET)
}

/// RCAPTURE by a program.
fn rcapture(instance: &Instance, body: &Value) -> Reply {
    call(instance.port, &biotrust_tests::desktop::request("RCAPTURE", "/capture", Some(body)))
}

/// CAPTURE by the page of eSignet.
fn capture(instance: &Instance, body: &Value) -> Reply {
    page(instance).fetch("CAPTURE", "/capture", Some(body)).expect("the browser lets it through")
}

/// What ID authentication says to a CAPTURE answer.
fn ida_verdict(instance: &Instance, body: &Value, reply: &Reply) -> biosim_backends::Verdict {
    let (keys, key) = (instance.keys(), instance.ida_key());
    let request = biosim_backends::Request::from_json(body.to_string().as_bytes()).expect("a request");
    ida::judge(
        &reply.body,
        &request,
        &Ida { keys: &keys, key: &key, ida_transaction_id: true },
        biotrust_tests::now(),
    )
}

/// `deviceStatus` of a device in MOSIPDISC, `None` when it is not listed.
fn status_in_discovery(instance: &Instance, device: &Device) -> Option<String> {
    let body = serde_json::json!({"type": device.bio_type});
    let reply = call(instance.port, &biotrust_tests::desktop::request("MOSIPDISC", "/device", Some(&body)));
    let list = reply.json();
    let entry = list.as_array()?.iter().find(|entry| entry["deviceId"] == device.id.as_str())?;
    entry["deviceStatus"].as_str().map(str::to_owned)
}

/// Payload of a compact JWS; nothing is verified.
fn payload(jws: &str) -> Value {
    let jws = biosim_backends::jws::Jws::parse(jws).expect("a JWS");
    Value::Object(jws.payload().expect("a payload"))
}

/// `biometrics[i].data` of an answer.
fn data(reply: &Reply, i: usize) -> String {
    let body = reply.json();
    body["biometrics"][i]["data"].as_str().unwrap_or_else(|| panic!("no data: {}", reply.text())).to_owned()
}
