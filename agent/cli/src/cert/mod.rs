//! `biotrust cert`: certificates as the back ends see them. Reads files, asks nobody, changes nothing.

mod chain;
mod lint;
mod show;

use std::io::Read as _;
use std::path::Path;

use biotrust_certs::{Certificate, certificates};
use biotrust_model::time::{Clock, UtcMillis};
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use serde_json::{Value, json};

use crate::Outcome;
use crate::text::plain;

/// Shows certificates and says whether MOSIP takes them, and if not, why and what to do
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Show(show::Args),
    Lint(lint::Args),
    Chain(chain::Args),
}

/// Something is wrong with a certificate.
const FINDINGS: u8 = 1;
/// A file cannot be used.
const UNUSABLE: u8 = 2;

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Columns where standard output is no terminal.
const WIDTH: u16 = 120;

const DAY: i64 = 86_400_000;

pub(crate) fn run(args: &Args, clock: &dyn Clock) -> Outcome {
    match &args.command {
        Command::Show(args) => show::run(args, clock.now()),
        Command::Lint(args) => lint::run(args, clock.now()),
        Command::Chain(args) => chain::run(args, clock.now()),
    }
}

/// The certificates in a file (`-`: standard input), at least one.
fn read(path: &Path) -> Result<Vec<Certificate>, String> {
    let name = plain(&path.display().to_string());
    let bytes = bytes(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    certificates(&bytes).map_err(|(position, problem)| format!("{name}, certificate {position}: {problem}"))
}

fn bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(MAX_BYTES + 1).read_to_end(&mut bytes)?
    } else {
        let metadata = std::fs::metadata(path)?;
        if !metadata.is_file() {
            return Err(std::io::Error::other("it is not a file")); // a pipe would keep us waiting
        }
        std::fs::File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?
    };
    if read as u64 > MAX_BYTES {
        return Err(std::io::Error::other("it is too large for a file of certificates"));
    }
    Ok(bytes)
}

/// Nothing can be said, because of the input.
fn unusable(json: bool, message: &str) -> Outcome {
    if json {
        Outcome::new(pretty(&json!({ "error": { "message": message } })), UNUSABLE)
    } else {
        Outcome { output: String::new(), complaint: format!("{message}\n"), exit_status: UNUSABLE }
    }
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

/// A cell in a colour, on terminals whose owner wants colours (no-color.org).
fn coloured(text: impl ToString, colour: Color) -> Cell {
    let cell = Cell::new(text);
    if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        return cell;
    }
    cell.fg(colour).add_attribute(Attribute::Bold)
}

/// "2026-11-24T13:00:00Z (in 29 days)".
fn with_distance(at: UtcMillis, now: UtcMillis) -> String {
    let days = at.since(now).unsigned_abs() / DAY.unsigned_abs();
    let days = crate::text::count(usize::try_from(days).unwrap_or(usize::MAX), "day");
    let distance = match at.since(now) {
        ahead if ahead >= DAY => format!("in {days}"),
        past if past <= -DAY => format!("{days} ago"),
        _ => "within a day".to_owned(),
    };
    format!("{} ({distance})", at.to_wire())
}

/// "RSA-2048", or that it is something else.
fn key_of(certificate: &Certificate) -> String {
    certificate.rsa_bits().map_or_else(|| "not RSA".to_owned(), |bits| format!("RSA-{bits}"))
}

/// Reads `--at`.
fn moment(text: &str) -> Result<UtcMillis, String> {
    UtcMillis::from_wire(text).ok_or_else(|| "expected a time like 2026-11-24T13:00:00Z".to_owned())
}

/// A path for messages, made fit for a terminal.
fn shown(path: &Path) -> String {
    plain(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_whole_days() {
        let now = UtcMillis(1_893_456_000_000);
        let told = |millis: i64| with_distance(UtcMillis(now.0 + millis), now);
        assert_eq!(told(DAY - 1), "2030-01-01T23:59:59Z (within a day)");
        assert_eq!(told(1 - DAY), "2029-12-31T00:00:00Z (within a day)");
        assert_eq!(told(DAY), "2030-01-02T00:00:00Z (in 1 day)");
        assert_eq!(told(-30 * DAY), "2029-12-02T00:00:00Z (30 days ago)");
    }
}
