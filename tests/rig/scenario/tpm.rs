//! The TPM module on the kernel's own device, through its resource manager, by the installed daemon.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::guest::{self, shown};
use crate::host::{self, Account, Daemon};
use crate::judge::Judge;
use crate::ptys::Devices;

const TPM: &str = "
[ftm]
backend = \"tpm\"
ek_anchors = [\"/etc/biotrust/anchors/tpm-maker.pem\"]
[sbi]
finish_margin_ms = 5000
[buses]
watch = []
";

/// Everything about the TPM.
pub(crate) fn run() {
    assert!(Path::new("/dev/tpmrm0").exists(), "the kernel found no TPM");
    guest::run("udevadm", &["trigger", "--settle", "--subsystem-match=tpmrm", "--action=add"]);
    host::install();
    host::anchor(&guest::share().join("tpm/ca/issuer.pem"), "tpm-maker.pem");
    shown("installed: user, group, rules, configuration");

    // The control: a user who is not in the group.
    let biotrust = Account::named("biotrust");
    host::configure(TPM);
    let daemon = Daemon::start(&biotrust);
    let status = host::cli(&["ftm", "status"]);
    let text = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(!status.status.success() && text.contains("may not open"), "{text}");
    daemon.stop();
    shown("without the group `tss` the TPM cannot be opened, and the status says so");

    let devices = Devices::start(&biotrust, &["--profile", "registration", "--level", "l0"]);
    host::configure(&[TPM, &devices.config()].concat());
    let member = biotrust.and_in("tss");
    let daemon = Daemon::start(&member);
    let status = host::control(&json!({"op": "ftm_status"}))["result"].clone();
    assert_eq!((&status["kind"], &status["usable"]), (&json!("tpm"), &json!(true)), "{status}");
    assert_eq!(status["provisioned"], false, "a TPM from the factory has no certificate of ours: {status}");
    shown("with it, the TPM is usable");

    let line = ready();
    let checks = line["checks"].as_array().cloned().unwrap_or_default();
    let in_tpm =
        |check: &Value| check["text"].as_str().is_some_and(|text| text.contains("keys in the host's TPM"));
    assert!(checks.iter().any(in_tpm), "{line}");
    let certificate = line["certificate"]["sha256"].clone();
    shown("a key that was born in it is certified");
    let judge = Judge::of(&devices.pki(), "");
    judge.info(daemon.port, "Iris");
    judge.any(daemon.port, &host::device(&line));
    shown("what it signs is accepted: device info and a capture");
    daemon.stop();

    let daemon = Daemon::start(&member);
    assert_eq!(ready()["certificate"]["sha256"], certificate);
    judge.info(daemon.port, "Iris");
    daemon.stop();
    drop(devices);
    shown("and again after a restart of the daemon");
    module_tests();
}

/// The module's own tests, those that leave the power on.
fn module_tests() {
    let run = |program: &str, tests: &[&str]| {
        let file = guest::word(&format!("test_{program}")).expect("the test was built");
        let output = Command::new(file)
            .args(["--test-threads", "1", "--exact"])
            .args(tests)
            .env("BIOTRUST_TPM", "device:/dev/tpmrm0")
            .env("BIOTRUST_TPM_ISSUER", guest::share().join("tpm/ca/issuer.pem"))
            .output()
            .expect("the test starts");
        let said = String::from_utf8_lossy(&output.stdout);
        let all = format!("test result: ok. {} passed", tests.len());
        assert!(
            output.status.success() && said.contains(&all),
            "{said}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        shown(format_args!("on /dev/tpmrm0: {}", tests.join(", ")));
    };
    run(
        "life",
        &[
            "it_lives_the_life_of_an_ftm",
            "a_key_lies_ready_for_the_next_rotation",
            "every_crash_point_of_a_rotation_leaves_the_state_before_or_after_it",
            "a_destroyed_key_cannot_be_had_from_what_its_file_was",
        ],
    );
    run(
        "proof",
        &[
            "every_statement_verifies_against_the_certificate_and_carries_the_binding",
            "a_proof_is_of_the_key_that_is_asked_for",
            "the_attestation_key_signs_nothing_that_looks_like_a_statement",
        ],
    );
}

fn ready() -> Value {
    host::until("an iris camera is ready", |line| line["type"] == "Iris" && line["status"] == "Ready")
}
