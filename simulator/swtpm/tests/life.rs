//! A TPM is made, has power, loses it, and leaves nothing behind.

#![allow(clippy::unwrap_used)] // helpers of tests are not inside of one

use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use biosim_swtpm::{Model, Swtpm};

fn port(tpm: &Swtpm) -> u16 {
    tpm.tcti().strip_prefix("swtpm:host=127.0.0.1,port=").unwrap().parse().unwrap()
}

fn answers(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn alive(pid: u32) -> bool {
    // A zombie is not alive.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn it_is_made_once_and_has_power_until_it_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let mut tpm = Swtpm::manufacture(directory.path()).unwrap();
    let (port, first) = (port(&tpm), tpm.pid().unwrap());
    assert!(answers(port) && alive(first));
    assert!(tpm.ek_ca_pem().unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(Swtpm::manufacture(directory.path()).unwrap_err().to_string().contains("already"));

    tpm.cut_power();
    assert!(!answers(port) && !alive(first) && tpm.pid().is_none());
    tpm.power_on().unwrap();
    assert!(answers(port), "at the same address");
    tpm.power_cycle().unwrap();
    let last = tpm.pid().unwrap();
    drop(tpm);
    assert!(!answers(port) && !alive(last));
    Swtpm::open(directory.path()).unwrap();
    assert!(
        Swtpm::open(Path::new("/nonexistent")).unwrap_err().to_string().contains("no TPM was manufactured")
    );
}

#[test]
fn two_at_a_time_do_not_get_in_each_others_way() {
    let directory = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| Swtpm::manufacture(&directory.path().join(name)).unwrap());
    assert_ne!(one.tcti(), other.tcti());
    assert_ne!(one.ek_ca_pem().unwrap(), other.ek_ca_pem().unwrap(), "each has a CA of its own");
}

#[test]
fn one_without_a_certificate_has_no_issuer() {
    let directory = tempfile::tempdir().unwrap();
    let tpm = Swtpm::manufacture_model(directory.path(), Model::Uncertified).unwrap();
    assert!(tpm.ek_ca_pem().is_err());
}

#[test]
fn a_panic_ends_it() {
    let directory = tempfile::tempdir().unwrap();
    let tpm = Swtpm::manufacture(directory.path()).unwrap();
    let pid = tpm.pid().unwrap();
    std::thread::spawn(move || {
        let _held = tpm;
        panic!("of a test that fails");
    })
    .join()
    .unwrap_err();
    assert!(!alive(pid));
}

/// Runs itself as a process that is killed while it holds a TPM.
#[test]
fn the_death_of_its_parent_ends_it() {
    const VARIABLE: &str = "BIOSIM_SWTPM_TEST_DIRECTORY";
    if let Some(directory) = std::env::var_os(VARIABLE) {
        let tpm = Swtpm::manufacture(Path::new(&directory)).unwrap();
        println!("pid={}", tpm.pid().unwrap());
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_death_of_its_parent_ends_it", "--nocapture"])
        .env(VARIABLE, directory.path())
        .output()
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let pid =
        output.lines().find_map(|line| line.split_once("pid=")).expect("it got as far").1.parse().unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while alive(pid) && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert!(!alive(pid));
}
