//! `biotrust attest`, on evidence that a forge makes.

// Helpers of tests are tests too, which clippy does not see in a test crate.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;
use std::process::{Command, Output};
use std::sync::LazyLock;

use biotrust_attest::testing::{SpdmForge, World};
use biotrust_certs::Domain;
use biotrust_model::evidence::{EvidencePurpose, FtmKind};
use biotrust_model::time::UtcMillis;
use serde_json::Value;
use tempfile::TempDir;

/// 2030-01-01T00:00:00Z.
static WORLD: LazyLock<World> = LazyLock::new(|| World::new(UtcMillis(1_893_456_000_000)));

/// A folder with everything that the command reads.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| std::fs::write(dir.path().join(name), content).unwrap();
    let challenge = WORLD.challenge(EvidencePurpose::DeviceKey);
    write("evidence", SpdmForge::new(&WORLD, &challenge).evidence().as_bytes());
    write("challenge", serde_json::to_string(&challenge).unwrap().as_bytes());
    write("ftm.pem", WORLD.pki.anchors_pem(Domain::Ftm).as_bytes());
    write("adopter.pem", WORLD.pki.anchors_pem(Domain::Adopter).as_bytes());
    write("metadata", WORLD.publish(&WORLD.document(FtmKind::Spdm)).as_bytes());
    let csr = WORLD.device.csr("SN0000000001");
    write("csr.pem", biotrust_certs::pem::encode("CERTIFICATE REQUEST", &csr).as_bytes());
    write("csr.der", &csr);
    dir
}

fn attest(dir: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_biotrust"));
    command.current_dir(dir).env("NO_COLOR", "1").arg("attest").args(line.split(' ')).output().unwrap()
}

const GOOD: &str = "verify evidence --at 2030-01-01T00:00:05Z --anchors ftm.pem --challenge challenge \
                    --metadata metadata --metadata-anchors adopter.pem --csr csr.pem";

fn verdict(output: &Output) -> Value {
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["verdict"].clone()
}

#[test]
fn good_evidence_is_good() {
    let dir = folder();
    let output = attest(dir.path(), GOOD);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{shown}");
    assert!(shown.contains("chip-path") && shown.contains("Good. Level L1 is granted."), "{shown}");
    assert!(!shown.contains("fail"), "{shown}");
    let output = attest(dir.path(), &format!("{} --json", GOOD.replace("csr.pem", "csr.der")));
    let verdict = verdict(&output);
    assert_eq!((&verdict["accepted"], &verdict["level"]), (&Value::Bool(true), &Value::from("L1")));
}

#[test]
fn freshness_is_never_passed_without_a_challenge() {
    let dir = folder();
    let output = attest(dir.path(), &format!("{} --json", GOOD.replace(" --challenge challenge", "")));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(verdict(&output)["check"], "challenge");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let check = report["checks"].as_array().unwrap().iter().find(|c| c["name"] == "challenge").unwrap();
    assert_eq!(check["outcome"], "not checked");
}

#[test]
fn the_failed_check_is_named() {
    let dir = folder();
    let late = attest(dir.path(), &GOOD.replace("00:00:05", "00:02:00"));
    let shown = String::from_utf8(late.stdout).unwrap();
    assert_eq!(late.status.code(), Some(1), "{shown}");
    assert!(shown.contains("Refused. challenge: the challenge expired"), "{shown}");
    let stranger = attest(dir.path(), &GOOD.replace("--anchors ftm.pem", "--anchors adopter.pem"));
    let shown = String::from_utf8(stranger.stdout).unwrap();
    assert!(shown.contains("Refused. chip-path: domain FTM"), "{shown}");
}

#[test]
fn evidence_is_shown_without_being_believed() {
    let dir = folder();
    let output = attest(dir.path(), "show evidence");
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    for part in ["SN0000000001", "SPDM measurements", "normal", "Nothing of this is verified"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let json: Value = serde_json::from_slice(&attest(dir.path(), "show evidence --json").stdout).unwrap();
    assert_eq!(json["Claims"]["serial number"], "SN0000000001");
}

#[test]
fn files_that_cannot_be_used() {
    let dir = folder();
    for (line, expected) in [
        ("show missing", "cannot read missing"),
        ("show ftm.pem", "ftm.pem is no evidence"),
        ("verify evidence --anchors missing", "missing"),
        ("verify evidence --anchors ftm.pem --challenge evidence", "the challenge cannot be read"),
        ("verify evidence --anchors ftm.pem --metadata evidence --metadata-anchors adopter.pem", "typ"),
    ] {
        let output = attest(dir.path(), line);
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}: {complaint}");
        assert!(complaint.contains(expected), "{line}: {complaint}");
    }
    let usage = attest(dir.path(), "verify evidence --anchors ftm.pem --metadata metadata");
    assert_eq!(usage.status.code(), Some(64), "metadata needs its anchors");
}
