//! Mistakes of whoever sets the service up: one clear line that says what to do, a status that is not 0, and nothing lost.

use std::net::TcpListener;
use std::process::Command;

use biotrust_tests::byhand::Bench;
use biotrust_tests::instance::program;

/// The refusal's last line, after checking that it is the daemon's one line.
fn one_line(bench: &Bench, config: &str) -> String {
    let (status, text) = bench.refusal(config);
    assert!(!status.success(), "{text}");
    assert!(!text.contains("panicked") && !text.contains("RUST_BACKTRACE"), "{text}");
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("biotrustd: ")).collect();
    let [line] = lines.as_slice() else { panic!("not one line: {text}") };
    assert!(line.len() < 600, "short enough to read: {line}");
    (*line).to_owned()
}

/// A word that tells what to do.
fn says(line: &str, words: &[&str]) {
    for word in words {
        assert!(line.contains(word), "{word:?} is not in: {line}");
    }
}

#[test]
fn unknown_and_wrong_configuration_is_refused_with_file_and_line() {
    let bench = Bench::new();
    // In this configuration the line under test is the second.
    for (sbi, word) in [
        ("portt = 1", "portt"),
        ("purpose = \"both\"", "both"),
        ("port = 70000", "70000"),
        ("environment = \"Stage\"", "Stage"),
        ("finish_margin_ms = 99999", "5000"),
        ("language = en", "string"),
    ] {
        let line = one_line(&bench, &bench.config(sbi, ""));
        says(&line, &["biotrust.toml:2:", word]);
    }
    let line =
        one_line(&bench, &bench.config("port = 0", "[origins]\nauth = [\"https://page.example/path\"]\n"));
    says(&line, &["origin"]);
    let line = one_line(&bench, &bench.config("port = 0", "[sbii]\nx = 1\n"));
    says(&line, &["sbii"]);
}

#[test]
fn files_that_are_not_there_or_no_certificates_are_named() {
    let bench = Bench::new();
    let good = bench.config("port = 0", "");
    let line = one_line(&bench, &good.replace("device.pem", "missing.pem"));
    says(&line, &["missing.pem"]);
    bench.write("empty.pem", "");
    says(&one_line(&bench, &good.replace("ftm.pem", "empty.pem")), &["empty.pem"]);
    bench.write("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    says(&one_line(&bench, &good.replace("ftm.pem", "broken.pem")), &["broken.pem"]);
    let line =
        one_line(&bench, &bench.config("port = 0", "[encryption]\ncertificate = \"/nowhere/ida.pem\"\n"));
    says(&line, &["/nowhere/ida.pem"]);
    let status =
        Command::new(program("biotrustd")).args(["--config", "/nowhere/biotrust.toml"]).output().unwrap();
    assert!(!status.status.success());
    says(&String::from_utf8_lossy(&status.stderr), &["/nowhere/biotrust.toml"]);
}

#[test]
fn check_config_finds_the_same_and_starts_nothing() {
    let bench = Bench::new();
    let check = |config: &str| {
        bench.write("biotrust.toml", config);
        let path = bench.path("biotrust.toml");
        Command::new(program("biotrustd")).arg("--config").arg(path).arg("--check-config").output().unwrap()
    };
    let good = check(&bench.config("", ""));
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    let bad = check(&bench.config("portt = 1", ""));
    assert!(!bad.status.success());
    says(&String::from_utf8_lossy(&bad.stderr), &["portt"]);
    assert!(!bench.path("state").exists() && !bench.path("control.sock").exists(), "nothing was made");
}

#[test]
fn the_configuration_that_is_installed_is_a_good_one() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../udev/biotrust.toml");
    let checked =
        Command::new(program("biotrustd")).args(["--config", sample, "--check-config"]).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn a_port_that_is_taken_is_named_with_its_holder() {
    let bench = Bench::new();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let line = one_line(&bench, &bench.config(&format!("port = {port}"), ""));
    let own_name = std::fs::read_to_string("/proc/self/comm").unwrap().trim().to_owned();
    says(&line, &[&port.to_string(), &own_name, &std::process::id().to_string(), "[sbi]"]);
    assert!(!bench.path("ready.json").exists());
}

#[test]
fn a_range_without_a_free_port_names_who_holds_it() {
    let bench = Bench::new();
    // Whatever is not ours in this corner of the range is somebody else's: taken either way.
    let held: Vec<_> = (4598..=4600).filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).collect();
    assert!(!held.is_empty());
    let line = one_line(&bench, &bench.config("ports = \"4598-4600\"", ""));
    says(&line, &["4598", "4600", "ports", &std::process::id().to_string()]);
    drop(held);
}

#[test]
fn a_second_daemon_with_the_same_configuration_is_refused() {
    let bench = Bench::new();
    let config = bench.config("port = 0", "");
    let daemon = bench.daemon(&config);
    let path = bench.path("biotrust.toml");
    let second = Command::new(program("biotrustd")).arg("--config").arg(path).output().unwrap();
    assert!(!second.status.success());
    says(&String::from_utf8_lossy(&second.stderr), &["control.sock"]);
    assert!(bench.status()["pid"] == daemon.pid(), "the first one goes on");
}

#[test]
fn a_damaged_state_file_is_named_and_left_as_it_is() {
    let bench = Bench::new();
    let config = bench.config("port = 0", "");
    drop(bench.daemon(&config));
    let state = bench.path("state");
    let file = state.join("state.db");
    assert!(file.is_file(), "the state is in state.db");
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(state.join(format!("state.db{suffix}")));
    }
    let mut damaged = std::fs::read(&file).unwrap();
    let healthy = damaged.clone();
    for (what, bytes) in [
        ("garbage", b"this is no database".repeat(300)),
        ("a torn page", {
            damaged[100..400].fill(0x5a);
            damaged.clone()
        }),
        ("half of it", healthy[..healthy.len() / 2].to_vec()),
    ] {
        std::fs::write(&file, &bytes).unwrap();
        let line = one_line(&bench, &config);
        says(&line, &["state.db", "backup"]);
        assert!(std::fs::read(&file).unwrap() == bytes, "{what}: the file was touched");
    }
    std::fs::write(&file, &healthy).unwrap();
    drop(bench.daemon(&config));
}

#[test]
fn biosim_says_what_is_wrong_too() {
    let run = |words: &[&str]| {
        let output =
            Command::new(program("biosim")).args(words).env_remove("BIOSIM_CONTROL").output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{words:?}: {text}");
        assert!(!text.contains("panicked"), "{text}");
        text
    };
    let nowhere = [
        "demo",
        "--serve-only",
        "--port",
        "0",
        "--profile",
        "registration",
        "--biotrustd",
        "/nowhere/biotrustd",
    ];
    says(&run(&nowhere), &["/nowhere/biotrustd"]);
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port().to_string();
    says(&run(&["demo", "--serve-only", "--profile", "registration", "--port", &port]), &[&port]);
    says(&run(&["ctl", "--control", "/nowhere/biosim.sock", "list"]), &["/nowhere/biosim.sock"]);
    says(&run(&["ctl", "list"]), &["--control"]);
    says(&run(&["ctl", "--control", "x", "quality", "101"]), &["101"]);
}

#[test]
fn orders_for_devices_that_are_not_there_are_refused_with_their_names() {
    let setup = biotrust_tests::instance::Setup { profile: "registration", ..Default::default() };
    let instance = biotrust_tests::shared::instance(&setup);
    for words in [
        &["unplug", "BT9999999999"][..],
        &["device", "NOBODY", "ready"],
        &["missing", "Left Toe"],
        &["rotate-key", ""],
    ] {
        let output = instance.try_ctl(words);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{words:?}");
        assert!(text.lines().count() <= 3 && !text.contains("panicked"), "{text}");
        assert!(words[1].is_empty() || text.contains(words[1]), "{words:?}: {text}");
    }
}
