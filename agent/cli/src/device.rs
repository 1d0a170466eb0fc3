//! `biotrust device`: the devices of this host one by one, and what a technician may have done with them.
//!
//! A device is named by its serial number or by its device id. What changes something is done by the daemon; this program
//! asks for it, waits, and says how it went.

mod orders;
mod show;
mod update;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::control::{self, ControlError};
use crate::report::{Device, Report};
use crate::text::plain;
use crate::{Outcome, report};

/// Shows devices, rotates their keys, updates their firmware, takes them out of service
///
/// A device is named by its serial number or its device id. Exit status: 0 done, 1 refused or failed, 2 the daemon cannot be
/// asked or a file cannot be used.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Lists the devices that are connected
    List,
    /// Shows everything about one device
    Show { id: String },
    /// Has a new device key made and certified by the management server, now
    Rotate { id: String },
    /// Prints the evidence of the last appraisal, for `biotrust attest`
    Evidence {
        id: String,
        /// Write it into this file instead
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Forgets which chip a device with this serial number had: after a repair that gave it another one
    Forget { serial: String },
    /// Destroys the device's keys: it is no longer registered
    Deregister { id: String },
    /// Brings new firmware to the device
    Update {
        id: String,
        /// The provider's signed manifest
        #[arg(long, value_name = "FILE")]
        manifest: PathBuf,
        /// The image that the manifest announces
        #[arg(long, value_name = "FILE")]
        image: PathBuf,
    },
    /// Compares the clocks of the device, of this host and of the management server
    Time { id: String },
}

pub(crate) fn run(args: &Args, socket: &Path) -> Outcome {
    let json = args.json;
    let done = match &args.command {
        Command::List => show::list(socket, json),
        Command::Show { id } => show::one(socket, id, json),
        Command::Rotate { id } => orders::rotate(socket, id, json),
        Command::Evidence { id, out } => orders::evidence(socket, id, out.as_deref(), json),
        Command::Forget { serial } => orders::forget(socket, serial, json),
        Command::Deregister { id } => orders::deregister(socket, id, json),
        Command::Update { id, manifest, image } => update::run(socket, id, manifest, image, json),
        Command::Time { id } => orders::time(socket, id, json),
    };
    done.unwrap_or_else(|error| match error {
        Failure::Control(error) => Outcome::failed(json, &error),
        Failure::File(message) => Outcome::unusable(json, &message),
    })
}

/// Why it was not done.
enum Failure {
    Control(ControlError),
    File(String),
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        Self::Control(error)
    }
}

/// A device as the daemon tells it, and as it is read.
struct Found {
    raw: Value,
    device: Device,
    report: Report,
}

impl Found {
    fn serial(&self) -> &str {
        &self.device.serial
    }
}

/// The connected device that is called `id`: by its serial number, or its device id.
fn find(socket: &Path, id: &str) -> Result<Found, Failure> {
    let (status, report) = report::ask(socket)?;
    let raw = status.get("devices").and_then(Value::as_array).into_iter().flatten();
    let named: Vec<(usize, &Value)> = raw
        .enumerate()
        .filter(|(_, device)| {
            ["serial", "id"].iter().any(|name| device.get(name).and_then(Value::as_str) == Some(id))
        })
        .collect();
    let refused = |code: &str, message: String| {
        Err(Failure::Control(ControlError::Refused { code: code.to_owned(), message }))
    };
    match named.as_slice() {
        [] => refused("no_such_device", format!("no device {} is connected", plain(id))),
        [(index, raw)] => {
            let raw = (*raw).clone();
            let mut report = report;
            let device = report.devices.swap_remove(*index);
            Ok(Found { raw, device, report })
        }
        _ => refused("refused", format!("several devices {} are connected: unplug all but one", plain(id))),
    }
}

/// The answer as it is, or a sentence about it.
fn told(json: bool, answer: &Value, sentence: String) -> Outcome {
    Outcome::new(if json { format!("{answer:#}\n") } else { format!("{sentence}\n") }, 0)
}

/// An order for the device with this serial number.
fn order(op: &str, serial: &str) -> Value {
    json!({ "op": op, "serial": serial })
}

/// A text of an answer.
fn text<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer.get(name).and_then(Value::as_str).unwrap_or_default()
}

use control::order as ask;
