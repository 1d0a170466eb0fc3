//! `biotrust cert` itself, on files of a test PKI: no daemon, no network.

// Helpers of tests are tests too, which clippy does not see in a test crate.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::time::Duration;

use biotrust_certs::disk::StoreDir;
use biotrust_certs::{Authority, Certificate, Domain, Order, SignerPurpose, TestPki, Validity, certificates};
use biotrust_model::time::UtcMillis;
use serde_json::Value;

/// 2030-01-01T00:00:00Z.
const NOW: UtcMillis = UtcMillis(1_893_456_000_000);
const AT: &str = "2030-01-01T00:00:00Z";

static PKI: LazyLock<TestPki> = LazyLock::new(|| TestPki::mint(TestPki::DEFAULT_SPEC, NOW).unwrap());
/// Somebody's key.
static SPKI: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let signer = PKI.signer(SignerPurpose::Management, NOW).unwrap();
    Certificate::parse(&signer.chain[0]).unwrap().spki_der().to_vec()
});

fn issued(by: Authority, subject: &[&str], days: u64) -> Vec<Vec<u8>> {
    let subject = subject.iter().map(|attribute| (*attribute).to_owned()).collect();
    let validity = Validity::starting(NOW, Duration::from_secs(days * 86_400));
    PKI.issue(&Order::leaf(by, &SPKI, subject, validity)).unwrap()
}

fn device(days: u64) -> Vec<Vec<u8>> {
    issued(Authority::DeviceProvider, &["O=Example Devices Ltd", "CN=SN01"], days)
}

fn pem(chain: &[Vec<u8>]) -> String {
    chain.iter().map(|der| Certificate::parse(der).unwrap().to_pem()).collect()
}

fn write(dir: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

fn cert(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_biotrust"));
    command.env("NO_COLOR", "1").arg("cert").args(args).output().unwrap()
}

/// Exit status and what was said on both outputs.
fn said(args: &[&str]) -> (i32, String) {
    let output = cert(args);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

fn json(args: &[&str]) -> (i32, Value) {
    let output = cert(&[args, &["--json"]].concat());
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn a_good_device_certificate_is_clean_and_its_profile_is_guessed() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "device.pem", pem(&device(30)));
    let (status, text) = said(&["lint", &file, "--at", AT, "--organisation", "Example Devices Ltd"]);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("\"device\"") && text.contains("a guess, because"), "{text}");
    assert!(
        text.contains("Compared with its issuer") && text.contains("Nothing to find fault with"),
        "{text}"
    );
    let (status, value) = json(&["lint", &file, "--at", AT, "--as", "device"]);
    assert_eq!((status, &value["guessed_because"], &value["errors"]), (0, &Value::Null, &0.into()));
}

#[test]
fn findings_are_told_with_place_and_cure() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "device.der", &device(200)[0]);
    let (status, text) = said(&["lint", &file, "--at", AT]);
    assert_eq!(status, 0, "a warning does not fail: {text}");
    assert!(text.contains("warning") && text.contains("lifetime"), "{text}");
    assert!(text.ends_with("0 errors, 1 warning, 0 notes.\n"), "{text}");

    let wrong = ["lint", &file, "--as", "device", "--at", AT, "--organisation", "Somebody Else"];
    let (status, text) = said(&wrong);
    assert_eq!(status, 1, "{text}");
    for part in
        ["error", "organisation", "O=Example Devices Ltd, expected", "Somebody Else.", "Issue it with"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (status, value) = json(&wrong);
    assert_eq!(status, 1);
    let finding = &value["findings"][0];
    assert_eq!((&finding["rule"], &finding["severity"]), (&"organisation".into(), &"error".into()));
    let offset = usize::try_from(finding["offset"].as_u64().unwrap()).unwrap();
    let der = std::fs::read(&file).unwrap();
    let length = usize::try_from(finding["length"].as_u64().unwrap()).unwrap();
    assert_eq!(finding["bytes"], hex_of(&der[offset..offset + length]).as_str());
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_issuer_may_be_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "device.der", &device(30)[0]);
    let other = PKI.signer_by(Authority::OtherProvider, SignerPurpose::Management, NOW).unwrap();
    let other = write(dir.path(), "other.der", &other.chain[1]);
    let (status, value) = json(&["lint", &file, "--at", AT, "--issuer", &other]);
    let rules: Vec<_> = value["findings"].as_array().unwrap().iter().map(|f| f["rule"].clone()).collect();
    assert_eq!((status, rules.contains(&"issuer-name".into())), (1, true), "{value:#}");
}

#[test]
fn a_chain_is_trusted_or_the_reason_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "device.pem", pem(&device(30)));
    let store = write(dir.path(), "anchors.pem", PKI.anchors_pem(Domain::Device));
    let (status, text) = said(&["chain", &file, "--store", &store, "--at", AT]);
    assert_eq!(status, 0, "{text}");
    for part in
        ["leaf", "issuer", "anchor", "Trusted in domain DEVICE", "1 certificate further on", "in 30 days"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }

    let root = PKI.anchors_pem(Domain::Device);
    let root = certificates(root.as_bytes()).unwrap().swap_remove(0);
    let bare = write(dir.path(), "root.pem", root.to_pem());
    let (status, text) = said(&["chain", &file, "--store", &bare, "--at", AT]);
    assert_eq!(status, 1, "what comes along in the file does not count: {text}");
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        flat.contains("is issued by \"C=XX, ST=Example") && flat.contains("not in the trust store"),
        "{text}"
    );

    let chips = write(dir.path(), "ftm.pem", PKI.anchors_pem(Domain::Ftm));
    let (status, value) = json(&["chain", &file, "--store", &chips, "--domain", "ftm", "--at", AT]);
    assert_eq!((status, &value["verdicts"][0]["trusted"]), (1, &false.into()));
    assert_eq!(value["domain"], "FTM");
    let (status, value) = json(&["chain", &file, "--store", &store, "--at", "2031-01-01T00:00:00Z"]);
    assert_eq!(status, 1);
    assert!(value["verdicts"][0]["reason"]["text"].as_str().unwrap().starts_with("expired"), "{value:#}");
}

#[test]
fn a_store_directory_is_read_by_its_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "device.pem", pem(&device(30)));
    let store = dir.path().join("store");
    let all = certificates(PKI.anchors_pem(Domain::Device).as_bytes()).unwrap();
    StoreDir::new(&store, Domain::Device).replace(1, &all).unwrap();
    let path = store.to_str().unwrap();
    assert_eq!(said(&["chain", &file, "--store", path, "--at", AT]).0, 0);
    let (status, text) = said(&["chain", &file, "--store", path, "--domain", "ftm", "--at", AT]);
    assert_eq!(status, 2, "{text}");
    assert!(text.contains("is a store of domain DEVICE, not FTM"), "{text}");
}

#[test]
fn show_reads_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "anchors.pem", PKI.anchors_pem(Domain::Device));
    let (status, text) = said(&["show", &file]);
    assert_eq!(status, 0);
    for part in
        ["3 certificates", "itself (self-signed)", "Example Devices Ltd", "RSA-2048", "SHA-256 with RSA"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (_, value) = json(&["show", &file]);
    assert_eq!(value["certificates"].as_array().unwrap().len(), 3);
    assert_eq!(value["certificates"][0]["self_signed"], true);
    let (_, again) = said(&["show", &file, "--pem"]);
    assert_eq!(again, PKI.anchors_pem(Domain::Device));
    let signer = PKI.signer(SignerPurpose::Firmware, NOW).unwrap();
    let signer = write(dir.path(), "signer.der", &signer.chain[0]);
    assert!(said(&["show", &signer]).1.contains("firmware manifests (1.3.6.1.4.1.32473.1.2)"));
}

#[test]
fn what_cannot_be_used_ends_with_2_and_a_wrong_command_line_with_64() {
    let dir = tempfile::tempdir().unwrap();
    let empty = write(dir.path(), "empty.pem", "nothing");
    let key = write(dir.path(), "key.pem", PKI.ida_key_pkcs8_pem().expose());
    let store = write(dir.path(), "anchors.pem", PKI.anchors_pem(Domain::Device));
    for (args, part) in [
        (vec!["lint", empty.as_str()], "no certificate in it"),
        (vec!["show", "/nonexistent.pem"], "cannot read"),
        (vec!["show", "/dev/null"], "not a file"),
        (vec!["show", key.as_str()], "a private key"),
        (vec!["chain", empty.as_str(), "--store", store.as_str()], "empty.pem"),
        (vec!["chain", store.as_str(), "--store", empty.as_str()], "empty.pem"),
    ] {
        let (status, text) = said(&args);
        assert_eq!(status, 2, "{args:?}: {text}");
        assert!(text.contains(part), "{args:?}: {text}");
        let (status, value) = json(&args);
        assert!(status == 2 && value["error"]["message"].as_str().unwrap().contains(part), "{args:?}");
    }
    assert_eq!(said(&["lint", &store, "--as", "root"]).0, 64);
    assert_eq!(said(&["chain", &store]).0, 64, "without a store there is nothing to say");
    assert_eq!(said(&["lint", &store, "--at", "tomorrow"]).0, 64);
}
