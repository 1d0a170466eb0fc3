//! `biotrust attest verify`: every check, and the verdict.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use biotrust_attest::metadata::Metadata;
use biotrust_attest::{Challenge, Check, Expected, Outcome as Checked, Policy, Report, verify};
use biotrust_certs::{AdopterStore, FtmStore};
use biotrust_model::time::UtcMillis;
use comfy_table::{Attribute, Cell, Color};
use serde_json::{Value, json};

use super::{REFUSED, pretty, read, read_text, table};
use crate::Outcome;
use crate::text::plain;

/// Verifies evidence: every check with what it found, and the level that is granted
///
/// Exit status: 0 the evidence is good, 1 it is not, or nobody can say whether it is fresh, 2 a file cannot be used.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Evidence: a compact JWS ("-": standard input)
    file: PathBuf,

    /// Certificates of FTM providers: files or directories
    #[arg(long, value_name = "PEM", required = true, num_args = 1..)]
    anchors: Vec<PathBuf>,

    /// Challenge that it answers (JSON); without it, freshness is not checked
    #[arg(long, value_name = "FILE")]
    challenge: Option<PathBuf>,

    /// Signed model metadata; without it, no level above L0 is granted
    #[arg(long, value_name = "FILE", requires = "metadata_anchors")]
    metadata: Option<PathBuf>,

    /// Certificates of the adopter, who signs model metadata
    #[arg(long, value_name = "PEM", num_args = 1..)]
    metadata_anchors: Vec<PathBuf>,

    /// Certificate request that came along (PKCS#10, DER or PEM)
    #[arg(long, value_name = "FILE")]
    csr: Option<PathBuf>,

    /// Verify as of this time, like 2026-11-24T13:00:00Z, not now
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<UtcMillis>,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run(args: &Args, now: UtcMillis) -> Result<Outcome, String> {
    let now = args.at.unwrap_or(now);
    let evidence = read_text(&args.file)?;
    let ftm = FtmStore::load(&args.anchors).map_err(|error| error.to_string())?;
    let challenge = args.challenge.as_deref().map(challenge).transpose()?;
    let models = args.metadata.as_deref().map(|path| metadata(path, args, now)).transpose()?;
    let csr = args.csr.as_deref().map(request).transpose()?;
    let expected = Expected {
        challenge: challenge.as_ref(),
        now,
        ftm: &ftm,
        identity: None,
        csr: csr.as_deref(),
        device_key: None,
        models: models.as_ref(),
        known_chip: None,
        policy: Policy::default(),
    };
    let report = verify(&evidence, &expected);
    let output = if args.json { pretty(&as_json(&report)) } else { as_text(&report) };
    Ok(Outcome::new(output, if report.verdict().is_ok() { 0 } else { REFUSED }))
}

fn challenge(path: &Path) -> Result<Challenge, String> {
    Challenge::from_json(&read_text(path)?).map_err(|error| format!("{}: {error}", super::shown(path)))
}

fn metadata(path: &Path, args: &Args, now: UtcMillis) -> Result<Metadata, String> {
    let anchors = AdopterStore::load(&args.metadata_anchors).map_err(|error| error.to_string())?;
    Metadata::verify(&read_text(path)?, &anchors, now, 0)
        .map_err(|error| format!("{}: {error}", super::shown(path)))
}

/// DER, out of PEM where it is that.
fn request(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = read(path)?;
    let Some(text) = std::str::from_utf8(&bytes).ok().filter(|text| text.trim_start().starts_with("-----"))
    else {
        return Ok(bytes);
    };
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
    base64::engine::general_purpose::STANDARD
        .decode(body)
        .map_err(|_| format!("{} is neither DER nor PEM of one request", super::shown(path)))
}

fn moment(text: &str) -> Result<UtcMillis, String> {
    UtcMillis::from_wire(text).ok_or_else(|| "expected a time like 2026-11-24T13:00:00Z".to_owned())
}

fn as_text(report: &Report) -> String {
    let mut table = table();
    table.set_header(["Check", "Result", "Found"]);
    for Check { name, outcome, text } in report.checks() {
        table.add_row([Cell::new(name), coloured(*outcome), Cell::new(plain(text))]);
    }
    let verdict = match report.verdict() {
        Ok(attested) => {
            let why = attested.why_not_l1.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            format!("Good. Level {} is granted{}", attested.level, plain(&why))
        }
        Err(failed) => format!("Refused. {}", plain(&failed.to_string())),
    };
    format!("{table}\n{verdict}.\n")
}

fn coloured(outcome: Checked) -> Cell {
    let cell = Cell::new(outcome);
    if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        return cell;
    }
    match outcome {
        Checked::Pass => cell.fg(Color::Green),
        Checked::NotChecked => cell,
        Checked::Warning => cell.fg(Color::Yellow).add_attribute(Attribute::Bold),
        Checked::Fail => cell.fg(Color::Red).add_attribute(Attribute::Bold),
    }
}

fn as_json(report: &Report) -> Value {
    let checks: Vec<Value> = report
        .checks()
        .iter()
        .map(|check| {
            json!({ "name": check.name.as_str(), "outcome": check.outcome.as_str(), "text": check.text })
        })
        .collect();
    let verdict = match report.verdict() {
        Ok(attested) => json!({
            "accepted": true,
            "level": attested.level,
            "why_not_l1": attested.why_not_l1,
            "identity": attested.identity,
            "kind": attested.kind,
            "ftm_serial": attested.ftm_serial,
            "firmware": attested.firmware,
            "svn": attested.svn,
        }),
        Err(failed) => json!({ "accepted": false, "check": failed.name.as_str(), "text": failed.text }),
    };
    json!({ "checks": checks, "verdict": verdict })
}
