//! Processes that are killed at any point leave nothing in the TPM and no key in two minds.
//!
//! By default some dozen kills; `BIOTRUST_TPM_KILLS=1000` for as many as one likes.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use biotrust_driver_api::conformance::Verifier;
use biotrust_driver_api::{Ftm, FtmError};
use biotrust_ftm_tpm::{Options, TpmFtm};
use biotrust_model::evidence::{Binding, KeySlot};
use common::*;

/// Tells a copy of this test to be the process that is killed: TCTI and directory of keys.
const VICTIM: &str = "BIOTRUST_TPM_TEST_VICTIM";

/// Lives until it is killed: rotates, signs, proves and destroys, over and over.
fn victim(tcti: &str, keys: &Path) -> Result<(), FtmError> {
    let mut ftm = TpmFtm::open(Options::new(tcti), keys)?;
    loop {
        ftm.idle()?;
        ftm.begin_rotation("SN1", "SN1", "Org")?;
        let _ = ftm.prove(&Binding([0; 32]), Some(("SN1", KeySlot::Next)));
        ftm.finish_rotation("SN1")?;
        ftm.load("SN1")?.sign_rs256(b"x")?;
        ftm.count_failure()?;
        ftm.begin_rotation("SN2", "SN2", "Org")?;
        ftm.finish_rotation("SN2")?;
        ftm.destroy("SN2")?;
    }
}

#[test]
fn a_thousand_kills_leave_no_handle() {
    if let Ok(told) = std::env::var(VICTIM) {
        let (tcti, keys) = told.split_once(' ').unwrap();
        panic!("{}", victim(tcti, Path::new(keys)).unwrap_err());
    }
    let kills: u64 = std::env::var("BIOTRUST_TPM_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(24);
    let bench = Bench::new();
    let told = format!("{} {}", bench.tpm.tcti(), bench.keys().display());
    let mut left = 0;
    for kill in 0..kills {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_thousand_kills_leave_no_handle", "--nocapture"])
            .env(VICTIM, &told)
            .env("TSS2_LOG", "all+NONE")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Spread over opening and working, without a pattern.
        let life = Duration::from_millis(20 + kill * 7919 % 480);
        #[allow(clippy::disallowed_methods)] // the time until the kill is what is tested
        std::thread::sleep(life);
        assert_eq!(process.try_wait().unwrap(), None, "kill {kill}: it did not end by itself");
        process.kill().unwrap();
        process.wait().unwrap();
        if kill < 24 {
            let held = held(&bench.tpm);
            left += usize::from(held.transient + held.sessions > 0);
        }
    }
    assert!(left > 0, "negative control: a kill does leave something behind");

    // The next start finds it, and leaves nothing itself.
    let mut ftm = bench.open();
    provision(&mut ftm);
    match ftm.load("SN1") {
        Ok(mut key) => {
            let signature = key.sign_rs256(b"x").unwrap();
            assert!(AwsLc.verifies(key.public_key_der(), b"x", &signature));
        }
        Err(error) => assert!(matches!(error, FtmError::NoKey(_)), "{error}"),
    }
    let failures = ftm.failures().unwrap();
    enrol(&mut ftm, "SN1");
    ftm.prove(&Binding([0; 32]), Some(("SN1", KeySlot::Current))).unwrap();
    drop(ftm);
    assert!(files(&bench.keys()).iter().all(|file| file.ends_with(".key")), "{:?}", files(&bench.keys()));
    assert_eq!(held(&bench.tpm), Held { transient: 0, sessions: 0, persistent: 5 });
    println!("{kills} kills, {failures} rounds of work");
}
