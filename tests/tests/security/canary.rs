//! Nothing of a captured biometric, a session key or a private key is in any log, status or error.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use biosim_backends::jws::Jws;
use biosim_backends::session;
use biotrust_tests::Instance;
use biotrust_tests::desktop;
use biotrust_tests::http::call;
use biotrust_tests::instance::Setup;
use biotrust_tests::requests::{authentication, registration_of};
use serde_json::{Value, json};

/// A byte string in the forms in which a careless line could show it.
fn forms(bytes: &[u8]) -> Vec<Vec<u8>> {
    let bytes = &bytes[..bytes.len().min(24)];
    let list = format!("{bytes:?}");
    vec![
        bytes.to_vec(),
        hex::encode(bytes).into_bytes(),
        hex::encode_upper(bytes).into_bytes(),
        STANDARD.encode(bytes).into_bytes(),
        URL_SAFE_NO_PAD.encode(bytes).into_bytes(),
        list.trim_matches(['[', ']']).as_bytes().to_vec(),
    ]
}

/// Pieces of data that must stay secret, each with a name.
#[derive(Default)]
struct Canaries(Vec<(String, Vec<u8>)>);

impl Canaries {
    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        // Every alignment that base64 of the whole could have at some place, and the middle, where nothing is constant.
        for at in [0, 1, 2, bytes.len() / 2, bytes.len() / 2 + 1, bytes.len() / 2 + 2] {
            if let Some(piece) = bytes.get(at..).filter(|piece| piece.len() >= 24) {
                // A file's first bytes are the same for everybody.
                if at > 2 {
                    self.0.extend(forms(piece).into_iter().map(|form| (name.to_owned(), form)));
                }
            }
        }
    }

    fn text(&mut self, name: &str, text: &str) {
        let middle = text.len() / 2;
        if let Some(piece) = text.get(middle..middle + 32) {
            self.0.push((name.to_owned(), piece.as_bytes().to_vec()));
        }
    }

    /// The name of a canary that is in there.
    fn found_in(&self, haystack: &[u8]) -> Option<&str> {
        let holds = |needle: &[u8]| haystack.windows(needle.len()).any(|window| window == needle);
        self.0.iter().find(|(_, needle)| holds(needle)).map(|(name, _)| name.as_str())
    }

    fn assert_absent(&self, place: &str, haystack: &[u8]) {
        let found = self.found_in(haystack);
        assert!(found.is_none(), "{} is in {place}", found.unwrap_or_default());
    }
}

/// Collects what one answer holds: bioValue, plaintext, session key, tokens.
fn collect(instance: &Instance, answer: &Value, canaries: &mut Canaries) {
    for element in answer["biometrics"].as_array().expect("biometrics") {
        let token = element["data"].as_str().expect("data");
        let jws = Jws::parse(token).unwrap_or_else(|e| panic!("{e}: {answer}"));
        let data = jws.payload().expect("a payload");
        let text = |name: &str| data[name].as_str().expect("a string").to_owned();
        let value = text("bioValue");
        canaries.text("bioValue", &value);
        canaries.text("the signed data", token);
        let bytes = URL_SAFE_NO_PAD.decode(&value).expect("base64url");
        canaries.bytes("bioValue's bytes", &bytes);
        if let Some(wrapped) = element["sessionKey"].as_str() {
            canaries.text("the wrapped session key", wrapped);
            let key = instance.ida_key().unwrap(&URL_SAFE_NO_PAD.decode(wrapped).unwrap()).unwrap();
            canaries.0.extend(forms(&key).into_iter().map(|form| ("the session key".to_owned(), form)));
            let derived = session::derive(&text("timestamp"), &text("transactionId")).unwrap();
            canaries.bytes("the clear record", &session::open(&key, derived, &bytes).unwrap());
        }
    }
}

/// Private keys of L0 devices in the daemon's state, read from their files.
fn collect_keys(folder: &Path, canaries: &mut Canaries) -> usize {
    let mut found = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found += collect_keys(&path, canaries);
        } else if path.extension().is_some_and(|extension| extension == "key") {
            canaries.bytes("a private key", &std::fs::read(&path).unwrap());
            found += 1;
        }
    }
    found
}

fn everything_at(level: &str) {
    let config = &[("log", "filter = \"trace\"")];
    let instance = Instance::set_up(&Setup { level, config, ..Setup::default() });
    let mut canaries = Canaries::default();
    for device in &instance.devices {
        let (verb, body) = match device.purpose.as_str() {
            "Registration" => ("RCAPTURE", registration_of(device)),
            _ => (
                "CAPTURE",
                authentication(device, if device.bio_type == "Face" { &[] } else { &["UNKNOWN"] }),
            ),
        };
        let reply = call(instance.port, &desktop::request(verb, "/capture", Some(&body)));
        collect(&instance, &reply.json(), &mut canaries);
        instance.ctl(&["rotate-key", &device.id]);
        // An answer that fails after the record was made, and bodies that a careless error would quote.
        let mut secret = body.clone();
        secret["bio"][0]["bioSubType"] = json!("canaryCANARYcanaryCANARYcanaryCANARY0123456789");
        let _ = call(instance.port, &desktop::request(verb, "/capture", Some(&secret)));
    }
    let keys = collect_keys(&instance.folder().join("state"), &mut canaries);
    if level == "l0" {
        assert!(keys >= instance.devices.len(), "{keys} key files");
    }
    assert!(canaries.0.len() > 100, "{} canaries", canaries.0.len());
    let log = instance.daemon_log();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log tells everything it ever would");
    canaries.assert_absent("the daemon's log", log.as_bytes());
    canaries.assert_absent("biosim's output", instance.output().as_bytes());
    let status = instance.control(&json!({"op": "status"})).to_string();
    canaries.assert_absent("the status", status.as_bytes());
    let list = instance.ctl(&["--json", "list"]);
    canaries.assert_absent("biosim's list", list.as_bytes());
    println!("{level}: {} canaries in {} bytes of log", canaries.0.len(), log.len());
}

#[test]
fn no_log_holds_biometrics_or_keys_of_l0_devices() {
    everything_at("l0");
}

#[test]
fn no_log_holds_biometrics_or_keys_of_l1_devices() {
    everything_at("l1");
}

#[test]
fn the_search_finds_what_it_looks_for() {
    let mut canaries = Canaries::default();
    let secret: Vec<u8> = (0u8..200).map(|i| i.wrapping_mul(37)).collect();
    canaries.bytes("secret", &secret);
    canaries.text("text", &URL_SAFE_NO_PAD.encode(&secret));
    assert_eq!(canaries.found_in(b"all is well"), None);
    for leak in [
        secret.clone(),
        hex::encode(&secret).into_bytes(),
        STANDARD.encode(&secret).into_bytes(),
        URL_SAFE_NO_PAD.encode(&secret).into_bytes(),
        format!("{secret:?}").into_bytes(),
    ] {
        let log = [b"2026-11-24 INFO captured ".as_slice(), &leak].concat();
        assert!(canaries.found_in(&log).is_some(), "not seen: {:?}", String::from_utf8_lossy(&leak[..20]));
    }
}
