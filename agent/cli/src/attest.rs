//! `biotrust attest`: evidence of trust modules, shown and verified. Reads files, asks nobody, changes nothing.

mod show;
mod verify;

use std::io::Read as _;
use std::path::Path;

use biotrust_model::time::Clock;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};

use crate::Outcome;
use crate::text::plain;

/// Shows evidence of a trust module, and verifies it
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Verify(verify::Args),
    Show(show::Args),
}

/// The evidence is not good.
const REFUSED: u8 = 1;
/// A file cannot be used.
const UNUSABLE: u8 = 2;

/// Largest file that is read, in bytes: model metadata is the longest.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Columns where standard output is no terminal.
const WIDTH: u16 = 120;

pub(crate) fn run(args: &Args, clock: &dyn Clock) -> Outcome {
    let (json, outcome) = match &args.command {
        Command::Verify(args) => (args.json, verify::run(args, clock.now())),
        Command::Show(args) => (args.json, show::run(args)),
    };
    outcome.unwrap_or_else(|message| unusable(json, &message))
}

/// A file (`-`: standard input) within a limit.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", shown(path));
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(MAX_BYTES + 1).read_to_end(&mut bytes)
    } else {
        // Anything but a file may keep us waiting.
        if !std::fs::metadata(path).map_err(|error| wrong(&error))?.is_file() {
            return Err(wrong(&"it is not a file"));
        }
        std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
    };
    match read.map_err(|error| wrong(&error))? {
        length if length as u64 > MAX_BYTES => Err(wrong(&"it is too large")),
        _ => Ok(bytes),
    }
}

/// A file of text, without the white space around it.
fn read_text(path: &Path) -> Result<String, String> {
    let text = String::from_utf8(read(path)?).map_err(|_| format!("{} is not text", shown(path)))?;
    Ok(text.trim().to_owned())
}

/// Nothing can be said, because of the input.
fn unusable(json: bool, message: &str) -> Outcome {
    if json {
        return Outcome::new(pretty(&json!({ "error": { "message": message } })), UNUSABLE);
    }
    Outcome { output: String::new(), complaint: format!("{message}\n"), exit_status: UNUSABLE }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    if !table.is_tty() {
        table.set_width(WIDTH);
    }
    table
}

fn shown(path: &Path) -> String {
    plain(&path.display().to_string())
}
