//! The virtual R30x module, judged by a client that nobody here wrote: `pyfingerprint` 1.5 from PyPI, unmodified.
//!
//! The client is installed with pinned versions and hashes into the target directory. That needs PyPI once, so these tests
//! are left out unless they are asked for, and fail then when they cannot be made:
//! `cargo test -p biosim-hardware --test pyfingerprint -- --ignored`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test; it fails where something is not as it should be"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use biosim_hardware::r30x::pty::OnPty;
use biosim_hardware::r30x::{Fault, R30x, Settings};
use biotrust_imaging::Gray;

/// Where the client is installed.
fn client() -> &'static Path {
    static CLIENT: OnceLock<PathBuf> = OnceLock::new();
    CLIENT.get_or_init(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pyfingerprint-1.5");
        let installed = Command::new("python3")
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
                "--upgrade",
            ])
            .args(["--require-hashes", "--only-binary", ":all:", "--requirement"])
            .arg(here().join("requirements.txt"))
            .arg("--target")
            .arg(&place)
            .output()
            .expect("python3 is there");
        let told = String::from_utf8_lossy(&installed.stderr).into_owned();
        assert!(installed.status.success(), "the client cannot be installed: {told}");
        place
    })
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pyfingerprint")
}

fn session(line: &OnPty, baud: u32, password: u32, steps: &[&str]) -> Output {
    Command::new("timeout")
        .args(["60", "python3", "-W", "ignore"])
        .arg(here().join("session.py"))
        .arg(line.path())
        .args([baud.to_string(), password.to_string()])
        .args(steps)
        .env("PYTHONPATH", client())
        .output()
        .unwrap()
}

/// What the steps gave; the client has accepted everything.
fn accepted(output: &Output) -> Vec<String> {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

fn plugged(settings: Settings) -> (Arc<Mutex<R30x>>, OnPty) {
    let module = Arc::new(Mutex::new(R30x::new(settings)));
    let line = OnPty::plug(Arc::clone(&module)).unwrap();
    // it has had its power for a while
    while line.module().is_starting(Instant::now()) {
        std::thread::yield_now();
    }
    (module, line)
}

/// Each pixel is another one than its neighbours, so that none can be taken for another.
fn print() -> Gray {
    let pixel = |i: u32| ((i % 256) * 7 + (i / 256) * 13 + (i / 17) * 3) as u8;
    Gray::new(256, 288, (0..256 * 288).map(pixel).collect()).unwrap()
}

#[test]
#[ignore = "needs PyPI"]
fn an_independent_client_reads_settings_and_image() {
    let (module, line) = plugged(Settings::default());
    let told = accepted(&session(&line, 57_600, 0, &["open", "parameters", "read", "templates", "random"]));
    assert_eq!(
        told,
        [
            "open True",
            "parameters (4, 9, 0, 3, 4294967295, 2, 6)",
            "read False",
            "templates 0",
            "random True"
        ]
    );

    module.lock().unwrap().press(print());
    let file = tempfile::Builder::new().suffix(".bmp").tempfile().unwrap();
    let path = file.path().to_str().unwrap();
    // the module keeps what the client sets, and speaks at the new speed to the next session
    accepted(&session(&line, 57_600, 0, &["open", "size", "speed"]));
    let told = accepted(&session(&line, 115_200, 0, &["open", "parameters", "image", path]));
    assert_eq!(told[1], "parameters (4, 9, 0, 3, 4294967295, 3, 12)");
    let expected: Vec<u8> = R30x::seen(&print()).iter().map(|grey| grey >> 4).collect();
    let read: Vec<u8> = bitmap(&std::fs::read(path).unwrap()).iter().map(|grey| grey >> 4).collect();
    assert!(read == expected, "the image is bit-identical");
}

#[test]
#[ignore = "needs PyPI"]
fn the_client_is_no_yes_man() {
    let refused = |settings, fault, password, why: &str| {
        let (module, line) = plugged(settings);
        module.lock().unwrap().set_fault(fault, Instant::now());
        let output = session(&line, 57_600, password, &["open", "parameters"]);
        let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(told.contains(why), "{told}");
    };
    refused(Settings::default(), Some(Fault::BadSums), 0, "checksum");
    refused(Settings { password: 5, ..Settings::default() }, None, 0, "open False");
}

/// The pixels of an 8-bit bitmap, top row first.
fn bitmap(file: &[u8]) -> Vec<u8> {
    assert_eq!(&file[..2], b"BM");
    let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let (start, width, height) = (number(10), number(18), number(22));
    assert_eq!((width, height), (256, 288));
    let rows: Vec<&[u8]> = file[start..].chunks_exact(width).take(height).collect();
    rows.into_iter().rev().flatten().copied().collect()
}
