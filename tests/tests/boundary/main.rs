//! What lies just inside and just outside of the rules, and is not in the compliance tool kit. Notes: ctk, section 7.

mod attributes;
mod certificates;
mod concurrency;

use biosim_backends::DigitalIdDomain;
use biotrust_tests::desktop::{self, Desktop};
use biotrust_tests::http::call;
use biotrust_tests::instance::Setup;
use biotrust_tests::shared::{self, Turn};
use biotrust_tests::{Instance, Reply};
use serde_json::Value;

/// Origin of the tool kit.
const DEVELOPER: &str = "https://compliance.example";

fn all_l1() -> Turn {
    shared::instance(&Setup { options: &["--developer", DEVELOPER], ..Setup::default() })
}

fn client(instance: &Instance) -> Desktop {
    Desktop { port: instance.port, keys: instance.keys(), digital_id_domain: DigitalIdDomain::default() }
}

/// A capture by a program, with the verb of the body's purpose unless `verb` says another.
fn capture(port: u16, verb: &str, body: &Value) -> Reply {
    call(port, &desktop::request(verb, "/capture", Some(body)))
}

/// `bioSubType` of each element.
fn parts(reply: &Reply) -> Vec<String> {
    let answer = reply.json();
    let elements = answer["biometrics"].as_array().expect("biometrics");
    elements
        .iter()
        .map(|element| {
            let jws = biosim_backends::jws::Jws::parse(element["data"].as_str().unwrap_or_default())
                .unwrap_or_else(|e| panic!("{e}: {}", reply.text()));
            jws.payload().expect("a payload")["bioSubType"].as_str().unwrap_or_default().to_owned()
        })
        .collect()
}
