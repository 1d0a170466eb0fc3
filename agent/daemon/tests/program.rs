//! `biotrustd` as a program: what it says, what it leaves behind, and with which status it ends.

// helpers of tests stand outside of test functions
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

struct Home(tempfile::TempDir);

impl Home {
    /// With a configuration of `extra` keys on a port of its own choice.
    fn new(port: u16, extra: &str) -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(home.path("links")).unwrap();
        home.configure(&format!("[sbi]\nport = {port}\n{extra}"));
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn configure(&self, sbi: &str) {
        let home = self.0.path().display();
        let text = format!(
            "{sbi}\n[buses]\nwatch = []\n[serial]\nlinks = \"{home}/links\"\n[state]\ndirectory = \"{home}/state\"\n\
             [control]\nsocket = \"{home}/run/control.sock\"\n"
        );
        std::fs::write(self.path("biotrust.toml"), text).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_biotrustd"));
        command.arg("--config").arg(self.path("biotrust.toml")).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs it to its end, which must come by itself.
    fn run(&self, arguments: &[&str]) -> Output {
        let mut child = self.command().args(arguments).spawn().unwrap();
        let begun = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if begun.elapsed() > Duration::from_secs(20) {
                child.kill().unwrap();
                panic!("it does not end");
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        child.wait_with_output().unwrap()
    }

    /// Starts it and waits for its ready file.
    fn serve(&self) -> Daemon {
        self.serve_with(&mut self.command())
    }

    fn serve_with(&self, command: &mut Command) -> Daemon {
        let ready = self.path("ready.json");
        let child = command.arg("--ready-file").arg(&ready).spawn().unwrap();
        let mut daemon = Daemon { child, ready: Value::Null };
        let begun = Instant::now();
        while !ready.exists() {
            assert!(daemon.child.try_wait().unwrap().is_none(), "it has ended");
            assert!(begun.elapsed() < Duration::from_secs(20), "it is not ready");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        daemon.ready = serde_json::from_slice(&std::fs::read(&ready).unwrap()).unwrap();
        daemon
    }
}

struct Daemon {
    child: Child,
    ready: Value,
}

impl Daemon {
    fn end(mut self, signal: Signal) -> Option<i32> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "it does not end");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Exactly one line on standard error.
fn one_line(output: &Output) -> &str {
    let text = std::str::from_utf8(&output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

fn exchange(url: &str, request: &str) -> String {
    use std::io::Write as _;
    let host = url.trim_start_matches("http://").trim_end_matches('/');
    let mut socket = std::net::TcpStream::connect(host).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.write_all(request.replace("HOST", host).as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn it_serves_until_a_signal_and_leaves_nothing_behind() {
    for signal in [Signal::TERM, Signal::INT] {
        let home = Home::new(0, "");
        let daemon = home.serve();
        let url = daemon.ready["sbi"].as_str().unwrap().to_owned();
        assert!(url.starts_with("http://127.0.0.1:") && url.ends_with('/'), "{url}");
        assert_eq!(daemon.ready["pid"], daemon.child.id());
        let control = daemon.ready["control"].as_str().unwrap().to_owned();
        assert!(Path::new(&control).exists());

        let body = r#"{"type":"Biometric Device"}"#;
        let answer = exchange(
            &url,
            &format!(
                "MOSIPDISC /device HTTP/1.1\r\nHost: HOST\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        );
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("[]"), "{answer}");

        assert_eq!(daemon.end(signal), Some(0));
        assert!(!Path::new(&control).exists(), "the socket is gone");
        assert!(!home.path("ready.json").exists(), "the ready file is gone");
    }
}

#[test]
fn a_taken_port_is_one_line_with_its_holder_and_status_69() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let home = Home::new(port, "");
    let output = home.run(&[]);
    assert_eq!(output.status.code(), Some(69));
    let line = one_line(&output);
    assert!(line.contains(&format!("port {port} is held by")), "{line}");
    assert!(line.contains(&format!("(pid {})", std::process::id())), "{line}");
    assert!(!home.path("run/control.sock").exists(), "nothing is left behind");
}

#[test]
fn a_port_that_is_passed_over_is_logged_with_its_holder() {
    // the corner of the range that other tests leave alone; whatever is in use there already will do as well
    let holder = (4560..4590).find_map(|port| std::net::TcpListener::bind(("127.0.0.1", port)).ok()).unwrap();
    let port = holder.local_addr().unwrap().port();
    let home = Home::new(0, "");
    home.configure(&format!("[sbi]\nports = \"{port}-4600\"\n"));
    let log = |home: &Home| {
        let file = std::fs::File::create(home.path("log")).unwrap();
        let daemon = home.serve_with(home.command().stderr(file));
        let url = daemon.ready["sbi"].as_str().unwrap().to_owned();
        assert_eq!(daemon.end(Signal::TERM), Some(0));
        (url, std::fs::read_to_string(home.path("log")).unwrap())
    };
    let (url, text) = log(&home);
    assert_ne!(url, format!("http://127.0.0.1:{port}/"));
    let lines: Vec<_> = text.lines().filter(|line| line.contains(&format!("port={port} "))).collect();
    let [line] = lines.as_slice() else { panic!("one line: {text}") };
    assert!(line.contains("WARN") && line.contains(&format!("(pid {})", std::process::id())), "{line}");

    // negative control: the first port, and nothing to say
    drop(holder);
    let (url, text) = log(&home);
    assert_eq!(url, format!("http://127.0.0.1:{port}/"));
    assert!(!text.contains("passed over"), "{text}");
}

#[test]
fn a_second_daemon_with_the_same_configuration_does_not_start() {
    let home = Home::new(0, "");
    let daemon = home.serve();
    let output = home.run(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(one_line(&output).contains("control.sock is in use by another daemon: stop it"));
    // and the first one is not disturbed
    assert!(home.path("run/control.sock").exists());
    assert_eq!(daemon.end(Signal::TERM), Some(0));
}

/// Neither may take the other's socket: one serves, the other ends with one line.
#[test]
fn of_two_that_start_at_once_one_serves() {
    let home = Home::new(0, "");
    for _ in 0..10 {
        let ready = home.path("ready.json");
        let mut both = [home.command(), home.command()].map(|mut command| Daemon {
            child: command.arg("--ready-file").arg(&ready).spawn().unwrap(),
            ready: Value::Null,
        });
        let begun = Instant::now();
        let ended = |daemon: &mut Daemon| daemon.child.try_wait().unwrap().is_some();
        while !(ready.exists() && both.iter_mut().any(ended)) {
            assert!(begun.elapsed() < Duration::from_secs(20), "both go on, or both have ended");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        both.sort_by_key(|daemon| daemon.child.id() != pid_of(&ready));
        let [serves, mut refused] = both;
        let status = refused.child.wait().unwrap();
        let mut line = String::new();
        refused.child.stderr.take().unwrap().read_to_string(&mut line).unwrap();
        assert_eq!((status.code(), line.lines().count()), (Some(1), 1), "{line}");
        assert!(line.contains("is in use by another daemon"), "{line}");
        std::os::unix::net::UnixStream::connect(home.path("run/control.sock")).unwrap();
        assert_eq!(serves.end(Signal::TERM), Some(0));
    }
}

fn pid_of(ready: &Path) -> u32 {
    let ready: Value = serde_json::from_slice(&std::fs::read(ready).unwrap()).unwrap();
    ready["pid"].as_u64().unwrap().try_into().unwrap()
}

#[test]
fn a_killed_daemon_does_not_stand_in_the_way() {
    let home = Home::new(0, "");
    let mut killed = home.serve();
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    assert!(
        home.path("run/control.sock").exists() && home.path("ready.json").exists(),
        "as a kill leaves it"
    );
    std::fs::remove_file(home.path("ready.json")).unwrap();
    assert_eq!(home.serve().end(Signal::TERM), Some(0));
}

#[test]
fn a_bad_configuration_is_one_line_with_its_place_and_status_64() {
    let home = Home::new(0, "nonsense = 1\n");
    for arguments in [&[] as &[&str], &["--check-config"]] {
        let output = home.run(arguments);
        assert_eq!(output.status.code(), Some(64));
        let line = one_line(&output);
        assert!(
            line.contains("biotrust.toml:3:1: unknown field `nonsense`, expected one of `ports`"),
            "{line}"
        );
    }
    std::fs::remove_file(home.path("biotrust.toml")).unwrap();
    let output = home.run(&[]);
    assert_eq!(output.status.code(), Some(64));
    assert!(one_line(&output).contains("cannot read the configuration"));
}

#[test]
fn check_config_reads_what_is_named_and_starts_nothing() {
    let home = Home::new(0, "");
    let output = home.run(&["--check-config"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(!home.path("state").exists() && !home.path("run").exists());

    let pem = home.path("anchors.pem");
    std::fs::write(&pem, "no certificate").unwrap();
    home.configure(&format!("[trust]\ndevice_anchors = [\"{}\"]\n", pem.display()));
    let output = home.run(&["--check-config"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(one_line(&output).contains("anchors.pem"));

    for (driver, status) in [("r30x", 0), ("r30", 64)] {
        home.configure(&format!("[[serial.port]]\npath = \"/dev/ttyS9\"\ndriver = \"{driver}\"\n"));
        let output = home.run(&["--check-config"]);
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert!(status == 0 || one_line(&output).contains("no driver \"r30\"; there are link, r30x"));
    }
}

/// Whatever a client sends, and however much is logged: none of it is, except what a line about a refusal must name.
#[test]
fn the_log_holds_nothing_of_a_request() {
    let home = Home::new(0, "");
    let config = std::fs::read_to_string(home.path("biotrust.toml")).unwrap();
    std::fs::write(home.path("biotrust.toml"), format!("{config}\n[log]\nfilter = \"trace\"\n")).unwrap();
    let log = std::fs::File::create(home.path("log")).unwrap();
    let daemon = home.serve_with(home.command().stderr(log));
    let url = daemon.ready["sbi"].as_str().unwrap().to_owned();
    let capture = r#"{"env":"Staging","purpose":"Registration","specVersion":"0.9.5","timeout":"1000",
        "transactionId":"CANARY-1","CANARY-2":"CANARY-3","bio":[{"type":"Finger","count":"1","requestedScore":"60",
        "deviceId":"none\u001b[2J\u000aFORGED LINE","deviceSubId":"1","previousHash":""}],"customOpts":{"a":"CANARY-4"}}"#;
    for (verb, path, header, body) in [
        ("RCAPTURE", "/capture", "X-A: CANARY-5", capture),
        ("RCAPTURE", "/capture", "Cookie: CANARY-6", "CANARY-7 is no JSON"),
        ("MOSIPDISC", "/device?CANARY-8", "Authorization: CANARY-9", r#"{"type":"CANARY-10"}"#),
        ("STREAM", "/stream", "User-Agent: CANARY-11", r#"{"deviceId":"x","deviceSubId":"CANARY-12"}"#),
        ("CANARY-13", "/CANARY-14", "Origin: https://evil.example", ""),
        ("MOSIPDISC", "/device", "Origin: https://evil.example", ""),
    ] {
        let length = body.len();
        exchange(
            &url,
            &format!(
                "{verb} {path} HTTP/1.1\r\nHost: HOST\r\n{header}\r\nContent-Length: {length}\r\n\r\n{body}"
            ),
        );
    }
    assert_eq!(daemon.end(Signal::TERM), Some(0));
    let log = std::fs::read_to_string(home.path("log")).unwrap();
    // negative controls: the requests did get into it
    assert!(log.contains("verb=\"RCAPTURE\"") && log.contains("no capture"), "{log}");
    assert!(log.contains("refused") && log.contains("https://evil.example"), "{log}");
    assert!(!log.contains("CANARY"), "{log}");
    assert!(!log.contains('\u{1b}') && !log.lines().any(|line| line.starts_with("FORGED")), "{log}");
}

/// Of the start, as clients see it: how long until the port is open. Printed, not judged; the benchmark judges.
#[test]
fn start_to_ready_is_quick_enough_to_print() {
    let home = Home::new(0, "");
    let begun = Instant::now();
    let daemon = home.serve();
    println!("start to ready: {:?}", begun.elapsed());
    assert_eq!(daemon.end(Signal::TERM), Some(0));
}
