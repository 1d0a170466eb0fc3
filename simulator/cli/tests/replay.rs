//! `biosim replay` as a user runs it, on recordings that are made here.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // what a test may, its helpers may

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use biotrust_driver_api::{Cancel, Pipe as _, PipeErrorKind};
use biotrust_pipe::SerialPipe;

const PATIENCE: Duration = Duration::from_secs(60);

/// "ask", "answer", and the plug is pulled.
const LINE: &str = r#"{"biotrust-recording":1,"driver":"x","bus":"serial","place":"/dev/ttyS0"}
{"us":0,"op":"out","data":"YXNr"}
{"us":40000,"op":"in","data":"YW5zd2Vy"}
{"us":50001,"op":"in","data":"","failed":{"kind":"gone"}}
"#;

fn start(folder: &Path, recording: &str) -> (Child, SerialPipe) {
    let file = folder.join("field.jsonl");
    std::fs::write(&file, recording).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_biosim"))
        .arg("replay")
        .arg(&file)
        .arg(format!("--attach=pty:{}", folder.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let link = folder.join("field.tty");
    let deadline = Instant::now() + PATIENCE;
    while !link.exists() {
        assert!(Instant::now() < deadline, "it does not get ready");
        let _ = Cancel::new().wait(Duration::from_millis(5));
    }
    (child, SerialPipe::open(&link).unwrap())
}

fn end(child: Child) -> (bool, String) {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    (status.success(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

#[test]
fn a_recorded_line_is_played_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let (child, mut line) = start(folder.path(), LINE);
    line.write_all(b"ask", PATIENCE).unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 16];
    let gone = loop {
        match line.read(&mut buffer, PATIENCE) {
            Ok(length) => answer.extend_from_slice(&buffer[..length]),
            Err(error) => break error.kind,
        }
    };
    assert_eq!((answer.as_slice(), gone), (&b"answer"[..], PipeErrorKind::Gone));
    let (success, said) = end(child);
    assert!(success && said.contains("the device is gone, as it went"), "{said}");
    assert!(!folder.path().join("field.tty").exists(), "the link is taken away");
}

#[test]
fn a_host_that_leaves_the_recording_is_told_where() {
    let folder = tempfile::tempdir().unwrap();
    let (child, mut line) = start(folder.path(), LINE);
    line.write_all(b"axe", PATIENCE).unwrap();
    let (success, said) = end(child);
    assert!(!success && said.contains("at line 2"), "{said}");
}

#[test]
fn what_cannot_be_played_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("field.jsonl");
    let refused = |text: &str, attach: &str| {
        std::fs::write(&file, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_biosim"))
            .arg("replay")
            .arg(&file)
            .arg(format!("--attach={attach}"))
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = refused("no recording", "pty:/tmp");
    assert!(said.contains("line 1 is none of a recording"), "{said}");
    let said = refused(LINE, "vhci");
    assert!(said.contains("--attach pty:FOLDER"), "{said}");
    let said = refused(&LINE.replace("YW5zd2Vy\"", "AAAA\",\"mark\":\"blank\""), "pty:/tmp");
    assert!(said.contains("cannot be played"), "{said}");
}
