//! `biotrust device update`: the daemon verifies the manifest before anything else, gets the image piece by piece, verifies
//! that as well and brings it to the device, which verifies both again.

use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{Failure, ask, find, text};
use crate::Outcome;
use crate::control::ControlError;
use crate::report;
use crate::text::plain;
use crate::within::within;

/// For one message.
const STEP: Duration = Duration::from_secs(30);
/// For the device to take the image.
const HAND_OVER: Duration = Duration::from_secs(1800);
/// For the device to start with it.
const START: Duration = Duration::from_secs(120);
/// How often it is looked how far the device is.
const LOOK: Duration = Duration::from_millis(300);
/// Bytes of a piece: in base64 with everything around them they fit in a line of the socket.
const PIECE: usize = 32 * 1024;
/// Longest image.
const MAX_IMAGE: u64 = 64 * 1024 * 1024;

pub(super) fn run(
    socket: &Path,
    id: &str,
    manifest: &Path,
    image: &Path,
    json: bool,
) -> Result<Outcome, Failure> {
    let manifest = String::from_utf8(read(manifest)?)
        .map_err(|_| Failure::File(format!("{} is no manifest: it is not text", manifest.display())))?;
    let image = read(image)?;
    let found = find(socket, id)?;
    let serial = found.serial().to_owned();
    let begin = json!({ "op": "update_begin", "serial": serial, "manifest": manifest.trim() });
    let begun = ask(socket, begin, STEP)?;
    let update = begun.get("update").and_then(Value::as_u64).unwrap_or_default();
    let version = text(&begun, "version").to_owned();

    let bar = bar(image.len() as u64);
    bar.set_message("to biotrustd");
    for piece in image.chunks(PIECE) {
        let data = json!({ "op": "update_data", "update": update, "data": STANDARD.encode(piece) });
        ask(socket, data, STEP)?;
        bar.inc(piece.len() as u64);
    }
    bar.set_position(0);
    bar.set_message("to the device");
    let done = hand_over(socket, &serial, update, &bar)?;
    bar.set_message("the device starts");
    let runs = started(socket, &serial, &version);
    bar.finish_and_clear();
    if !runs {
        return Err(refused(format!(
            "the device has the image, but does not run version {} after {} s",
            plain(&version),
            START.as_secs()
        )));
    }
    let answer = json!({ "serial": serial, "from": done.get("from"), "to": version });
    let sentence = format!(
        "{} runs version {} now; it ran {}",
        found.device.name(),
        plain(&version),
        plain(text(&answer, "from"))
    );
    Ok(super::told(json, &answer, sentence))
}

fn refused(message: String) -> Failure {
    Failure::Control(ControlError::Refused { code: "refused".to_owned(), message })
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let wrong = |why: String| Failure::File(format!("cannot use {}: {why}", file.display()));
    let meta = std::fs::metadata(file).map_err(|error| wrong(error.to_string()))?;
    match (meta.is_file(), meta.len()) {
        (false, _) => Err(wrong("it is not a file".into())),
        (true, length) if length > MAX_IMAGE => Err(wrong(format!("{length} bytes are too many"))),
        _ => std::fs::read(file).map_err(|error| wrong(error.to_string())),
    }
}

/// Shown where standard error is a terminal.
fn bar(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:<18} {wide_bar} {bytes}/{total_bytes} {eta}");
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Has the image handed over; meanwhile shows how far the device is.
fn hand_over(socket: &Path, serial: &str, update: u64, bar: &ProgressBar) -> Result<Value, Failure> {
    let (path, order) = (socket.to_owned(), json!({ "op": "update_finish", "update": update }));
    let (sender, done) = std::sync::mpsc::channel();
    std::thread::spawn(move || drop(sender.send(ask(&path, order, HAND_OVER))));
    loop {
        match done.recv_timeout(LOOK) {
            Ok(outcome) => return Ok(outcome?),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                if let Some(received) = progress(socket, serial) {
                    bar.set_position(received);
                }
            }
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                return Err(refused("the update broke down".into()));
            }
        }
    }
}

fn progress(socket: &Path, serial: &str) -> Option<u64> {
    let (_, report) = report::ask(socket).ok()?;
    let device = report.devices.into_iter().find(|device| device.serial == serial)?;
    device.update.map(|update| update.received)
}

/// Waits until the device is back with this version.
fn started(socket: &Path, serial: &str, version: &str) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < START {
        let report = report::ask(socket).ok().map(|(_, report)| report);
        let device = report.and_then(|r| r.devices.into_iter().find(|device| device.serial == serial));
        if device.is_some_and(|device| device.firmware.as_deref() == Some(version)) {
            return true;
        }
        // a pause: nothing is ever sent
        let (_keep, never) = std::sync::mpsc::channel::<()>();
        let _ = within(LOOK, move || never.recv());
    }
    false
}
