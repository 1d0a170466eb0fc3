//! Answers to clients, judged by `biosim-backends`, which shares no code with the daemon.

use std::fs;
use std::path::Path;

use biosim_backends::{DigitalIdDomain, KeyManager, Request as Asked, Verdict, info, registration};
use biotrust_tests::{Device, Reply, Request, http, now, packet_time, requests};
use serde_json::{Value, json};

/// An emulated host, and emulated devices in it, take a multiple of what real ones take.
const TIMEOUT_MS: u32 = 40_000;

/// The trust stores of the relying parties of one set of virtual devices.
pub(crate) struct Judge {
    keys: KeyManager,
}

impl Judge {
    /// With the anchors that `biosim` wrote to `pki`.
    pub(crate) fn of(pki: &Path) -> Self {
        let text = |name: &str| fs::read_to_string(pki.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let keys = KeyManager::from_pem(&text("device-anchors.pem"), &text("ftm-anchors.pem"));
        Self { keys: keys.expect("anchors") }
    }

    /// Asks for the device info, and has it judged.
    pub(crate) fn info(&self, port: u16, bio_type: &str) -> info::InfoVerdict {
        let asked = Request::new("MOSIPDINFO", "/info").json(&json!({"type": bio_type}));
        let reply = http::call(port, &asked);
        let verdict = info::judge(&reply.body, &self.keys, now(), DigitalIdDomain::default());
        accepted("device info", &verdict.verdict, &reply);
        verdict
    }

    /// Asks for a registration capture, and has its signature, its digital ID and its ISO records judged.
    pub(crate) fn registration(&self, port: u16, body: &Value) -> Verdict {
        let reply = capture(port, "RCAPTURE", body);
        let asked = Asked::from_json(body.to_string().as_bytes()).expect("a request");
        let verdict =
            registration::judge(&reply.body, &asked, &self.keys, packet_time(), DigitalIdDomain::default());
        accepted("registration capture", &verdict, &reply);
        verdict
    }

    /// A capture of what this device is for, judged.
    pub(crate) fn any(&self, port: u16, device: &Device) -> Verdict {
        let mut body = requests::registration_of(device);
        body["timeout"] = json!(TIMEOUT_MS.to_string());
        self.registration(port, &body)
    }
}

/// Asks for a capture.
pub(crate) fn capture(port: u16, verb: &str, body: &Value) -> Reply {
    http::call(port, &Request::new(verb, "/capture").json(body))
}

fn accepted(what: &str, verdict: &Verdict, reply: &Reply) {
    let faults: Vec<String> = verdict.failures().map(ToString::to_string).collect();
    let text = reply.text();
    assert!(verdict.is_accepted(), "{what}: {faults:?} in {}", text.get(..2000).unwrap_or(&text));
}
