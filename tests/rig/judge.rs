//! Answers to clients, judged by `biosim-backends`, which shares no code with the daemon.

use std::fs;
use std::path::Path;

use biosim_backends::ida::{self, Ida};
use biosim_backends::session::IdaKey;
use biosim_backends::{DigitalIdDomain, KeyManager, Request as Asked, Verdict, info, registration};
use biotrust_tests::{Device, Reply, Request, http, now, packet_time, requests};
use serde_json::{Value, json};

/// An emulated host, and emulated devices in it, take a multiple of what real ones take.
const TIMEOUT_MS: u32 = 40_000;

/// The trust stores of the relying parties of one set of virtual devices.
pub(crate) struct Judge {
    keys: KeyManager,
    ida: IdaKey,
}

impl Judge {
    /// With the anchors that `biosim` wrote to `pki`, and more authorities of device keys (PEM).
    pub(crate) fn of(pki: &Path, more: &str) -> Self {
        let text = |name: &str| fs::read_to_string(pki.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let device = text("device-anchors.pem") + more;
        let keys = KeyManager::from_pem(&device, &text("ftm-anchors.pem")).expect("anchors");
        let ida = IdaKey::from_pem(&text("ida-key.pem"), &text("ida-certificate.pem")).expect("a key pair");
        Self { keys, ida }
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
    fn registration(&self, port: u16, body: &Value) -> Verdict {
        let reply = capture(port, "RCAPTURE", body);
        let asked = Asked::from_json(body.to_string().as_bytes()).expect("a request");
        let verdict =
            registration::judge(&reply.body, &asked, &self.keys, packet_time(), DigitalIdDomain::default());
        accepted("registration capture", &verdict, &reply);
        verdict
    }

    /// Asks for an authentication capture, and has it decrypted and judged. No authentication server accepts one of level
    /// L0: that it does not is the one fault that there may be, and must be.
    fn authentication(&self, port: u16, body: &Value, level: &str) -> Verdict {
        let reply = capture(port, "CAPTURE", body);
        let asked = Asked::from_json(body.to_string().as_bytes()).expect("a request");
        let ida = Ida { keys: &self.keys, key: &self.ida, ida_transaction_id: true };
        let verdict = ida::judge(&reply.body, &asked, &ida, packet_time());
        match level {
            "L0" => {
                let faults: Vec<&str> = verdict.failures().map(|check| check.name).collect();
                assert_eq!(faults, ["digital id trust"], "{verdict}");
            }
            _ => accepted("authentication capture", &verdict, &reply),
        }
        assert!(verdict.segments().iter().all(|one| one.width > 0), "an image was not seen: {verdict}");
        verdict
    }

    /// A capture of what this device is for, judged.
    pub(crate) fn any(&self, port: u16, device: &Device) -> Verdict {
        let body = asked_of(device, TIMEOUT_MS);
        match device.purpose.as_str() {
            "Auth" => self.authentication(port, &body, &device.level),
            _ => self.registration(port, &body),
        }
    }
}

/// What a client asks of this device.
pub(crate) fn asked_of(device: &Device, timeout_ms: u32) -> Value {
    let mut body = match device.purpose.as_str() {
        "Auth" => requests::authentication(device, &["UNKNOWN"]),
        _ => requests::registration_of(device),
    };
    body["timeout"] = json!(timeout_ms.to_string());
    body
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
