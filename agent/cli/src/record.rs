//! `biotrust record`: what goes between a device and its driver, into a file that `biosim replay` plays.
//!
//! The daemon records, because it has the device; this program fetches and writes. What arrives has been through the
//! driver's scrubber. The file has whole lines at every moment, so that an end by Ctrl-C leaves a recording that can be read.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::Outcome;
use crate::control::{self, ControlError};
use crate::text::plain;

/// How often what is new is fetched.
const FETCH: Duration = Duration::from_millis(250);
/// The longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(15);

/// Records what goes between a device and its driver, without fingers, faces and keys, for `biosim replay`
///
/// The device is opened anew for it; use it as you do when it fails. Exit status: 0 recorded, 1 refused, 2 the daemon
/// cannot be asked or the file cannot be written.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Serial number, device id or place (usb:1-1.2) of the device
    device: String,
    /// The file to write; it must not be there yet
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How long
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, socket: &Path) -> Outcome {
    record(args, socket).unwrap_or_else(|failure| match failure {
        Failure::Control(error) => Outcome::failed(args.json, &error),
        Failure::File(message) => Outcome::unusable(args.json, &message),
    })
}

enum Failure {
    Control(ControlError),
    File(String),
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        Self::Control(error)
    }
}

fn record(args: &Args, socket: &Path) -> Result<Outcome, Failure> {
    let mut file = Lines::create(&args.out)?;
    let begun = ask(socket, json!({ "op": "record_begin", "device": args.device }));
    let begun = begun.inspect_err(|_| drop(std::fs::remove_file(&args.out)))?;
    let number = begun.get("recording").cloned().unwrap_or_default();
    let until = Instant::now() + Duration::from_secs(args.seconds);
    while Instant::now() < until {
        std::thread::park_timeout(FETCH.min(until.saturating_duration_since(Instant::now())));
        fetch(socket, &number, &mut file)?;
    }
    let summary = ask(socket, json!({ "op": "record_end", "recording": number }))?;
    fetch(socket, &number, &mut file)?;
    Ok(told(args, &begun, summary))
}

/// Fetches what is new.
fn fetch(socket: &Path, number: &Value, file: &mut Lines) -> Result<(), Failure> {
    loop {
        let piece =
            ask(socket, json!({ "op": "record_data", "recording": number, "offset": file.received }))?;
        let data = piece.get("data").and_then(Value::as_str).unwrap_or_default();
        let data = STANDARD.decode(data).map_err(|error| {
            ControlError::NotOurs(
                socket.to_owned(),
                format!("a piece of a recording that is no base64: {error}"),
            )
        })?;
        if data.is_empty() {
            return Ok(());
        }
        file.add(&data)?;
    }
}

fn ask(socket: &Path, order: Value) -> Result<Value, ControlError> {
    control::order(socket, order, LIMIT)
}

fn told(args: &Args, begun: &Value, mut summary: Value) -> Outcome {
    let said = |value: &Value, name: &str| value.get(name) == Some(&Value::Bool(true));
    let opened = said(&summary, "opened");
    let exit_status = u8::from(!opened);
    if args.json {
        if let (Value::Object(summary), Value::Object(begun)) = (&mut summary, begun) {
            summary.extend(begun.clone());
        }
        return Outcome::new(format!("{summary:#}\n"), exit_status);
    }
    let text = |name: &str| begun.get(name).and_then(Value::as_str).map(plain).unwrap_or_default();
    let entries = summary.get("entries").and_then(Value::as_u64).unwrap_or_default();
    if !opened {
        let complaint = format!(
            "nothing was recorded: the port at {} could not be opened; `biotrust status` names the reason\n",
            text("place")
        );
        return Outcome { output: String::new(), complaint, exit_status };
    }
    let mut output = format!(
        "{} ({}): {entries} entries are in {}; play it with `biosim replay`\n",
        text("place"),
        text("driver"),
        args.out.display()
    );
    if said(&summary, "cut") {
        output.push_str("It was cut at its greatest length; what came later is not in it.\n");
    }
    if !said(begun, "with_contents") {
        output.push_str(
            "Its driver cannot tell what must not leave the host: lengths and times only are in it.\n",
        );
    }
    Outcome::new(output, exit_status)
}

/// A file that gets whole lines only.
struct Lines {
    file: File,
    path: PathBuf,
    /// The beginning of a line.
    rest: Vec<u8>,
    received: u64,
}

impl Lines {
    fn create(path: &Path) -> Result<Self, Failure> {
        let file = File::create_new(path)
            .map_err(|error| Failure::File(format!("cannot make {}: {error}", path.display())))?;
        Ok(Self { file, path: path.to_owned(), rest: Vec::new(), received: 0 })
    }

    fn add(&mut self, data: &[u8]) -> Result<(), Failure> {
        self.received += data.len() as u64;
        self.rest.extend_from_slice(data);
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let lines: Vec<u8> = self.rest.drain(..whole).collect();
        self.file
            .write_all(&lines)
            .map_err(|error| Failure::File(format!("cannot write {}: {error}", self.path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_whole_lines_at_every_moment() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r");
        let mut file = Lines::create(&path).ok().unwrap();
        for (piece, there) in [("{\"a", ""), ("\":1}\n{", "{\"a\":1}\n"), ("}\n", "{\"a\":1}\n{}\n")] {
            assert!(file.add(piece.as_bytes()).is_ok());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), there);
        }
        assert_eq!(file.received, 11);
        assert!(Lines::create(&path).is_err(), "a file that is there is not written over");
    }
}
