//! `biotrust cert lint`.

use std::path::PathBuf;

use biotrust_certs::Certificate;
use biotrust_certs::lint::{Finding, Profile, Question, Severity, guess, lint};
use biotrust_model::time::UtcMillis;
use comfy_table::{Cell, Color};
use serde_json::{Value, json};

use super::{FINDINGS, coloured, moment, pretty, read, shown, table, unusable};
use crate::Outcome;
use crate::text::{count, plain};

/// Says whether MOSIP's partner management, back ends and compliance tests take a certificate
///
/// The first certificate of the file is looked at; an issuing certificate behind it is used for comparison.
///
/// Exit status: 0 nothing or only warnings and notes, 1 at least one error, 2 the file cannot be used.
#[derive(clap::Args)]
pub(super) struct Args {
    /// PEM, DER, PKCS#7, or the base64 of these; - for standard input
    file: PathBuf,

    /// What it is to be: provider, device, ftm-provider, chip, encryption; guessed if not said
    #[arg(long = "as", value_name = "PROFILE")]
    profile: Option<Profile>,

    /// Organisation as registered in partner management
    #[arg(long, value_name = "O")]
    organisation: Option<String>,

    /// The certificate of its issuer (for a device: the one that MOSIP signed again)
    #[arg(long, value_name = "FILE")]
    issuer: Option<PathBuf>,

    /// Judge as of this moment (2026-11-24T13:00:00Z) instead of now
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<UtcMillis>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is told besides the findings.
struct Subject<'a> {
    file: String,
    certificate: &'a Certificate,
    profile: Profile,
    /// Why it was taken for that, where nobody said.
    guessed: Option<&'static str>,
    issuer: Option<&'a Certificate>,
}

pub(super) fn run(args: &Args, now: UtcMillis) -> Outcome {
    judge(args, args.at.unwrap_or(now)).unwrap_or_else(|message| unusable(args.json, &message))
}

fn judge(args: &Args, now: UtcMillis) -> Result<Outcome, String> {
    let certificates = read(&args.file)?;
    let (certificate, others) = certificates.split_first().ok_or("no certificate")?;
    let named = args.issuer.as_deref().map(read).transpose()?;
    let issuer = match &named {
        Some(named) => named.first(),
        None => others.iter().find(|other| certificate.check_signature(other).is_ok()),
    };
    let guess = guess(certificate);
    let subject = Subject {
        file: shown(&args.file),
        certificate,
        profile: args.profile.unwrap_or(guess.profile),
        guessed: args.profile.is_none().then_some(guess.because),
        issuer,
    };
    let question =
        Question { profile: subject.profile, now, organisation: args.organisation.as_deref(), issuer };
    let findings =
        lint(certificate.der(), &question).map_err(|error| format!("{}: {error}", subject.file))?;
    let output = if args.json { pretty(&as_json(&subject, &findings)) } else { show(&subject, &findings) };
    let failed = findings.iter().any(|finding| finding.severity == Severity::Error);
    Ok(Outcome::new(output, if failed { FINDINGS } else { 0 }))
}

fn number(findings: &[Finding], severity: Severity) -> usize {
    findings.iter().filter(|finding| finding.severity == severity).count()
}

fn as_json(subject: &Subject<'_>, findings: &[Finding]) -> Value {
    let listed: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "rule": finding.rule.id(),
                "severity": finding.severity.as_str(),
                "field": finding.field,
                "offset": finding.place.as_ref().map(|place| place.offset),
                "length": finding.place.as_ref().map(|place| place.length),
                "bytes": finding.place.as_ref().map(biotrust_certs::lint::Place::hex),
                "found": finding.found,
                "effect": finding.effect,
                "cure": finding.cure,
            })
        })
        .collect();
    json!({
        "file": subject.file,
        "subject": subject.certificate.subject().to_string(),
        "sha256": subject.certificate.sha256(),
        "profile": subject.profile.as_str(),
        "guessed_because": subject.guessed,
        "issuer_compared": subject.issuer.map(Certificate::sha256),
        "errors": number(findings, Severity::Error),
        "warnings": number(findings, Severity::Warning),
        "notes": number(findings, Severity::Note),
        "findings": listed,
    })
}

fn show(subject: &Subject<'_>, findings: &[Finding]) -> String {
    let mut text = format!(
        "{}: {}\nHeld against the profile \"{}\" ({})",
        subject.file,
        plain(&subject.certificate.subject().to_string()),
        subject.profile,
        subject.profile.describe(),
    );
    match subject.guessed {
        Some(because) => {
            text.push_str(&format!(": a guess, because {because}. Say --as PROFILE if it is another.\n"))
        }
        None => text.push_str(".\n"),
    }
    if let Some(issuer) = subject.issuer {
        text.push_str(&format!("Compared with its issuer {}.\n", plain(&issuer.subject().to_string())));
    }
    if findings.is_empty() {
        text.push_str("Nothing to find fault with. (Whether it is trusted, `biotrust cert chain` tells.)\n");
        return text;
    }
    let mut table = table();
    table.set_header(["Finding", "Where", "What is wrong", "Cure"]);
    for finding in findings {
        table.add_row([
            severity(finding),
            Cell::new(place(finding)),
            Cell::new(format!("{}.\n{}", plain(&finding.found), finding.effect)),
            Cell::new(finding.cure),
        ]);
    }
    text.push_str(&format!("{}\n", table.trim_fmt()));
    let counted = [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Note, "note")]
        .map(|(severity, noun)| count(number(findings, severity), noun));
    text.push_str(&format!("{}.\n", counted.join(", ")));
    text
}

fn severity(finding: &Finding) -> Cell {
    let colour = match finding.severity {
        Severity::Error => Color::Red,
        Severity::Warning => Color::Yellow,
        Severity::Note => Color::Cyan,
    };
    coloured(format!("{}\n{}", finding.severity, finding.rule), colour)
}

/// Field, offset, and the bytes in groups that a table can break.
fn place(finding: &Finding) -> String {
    let Some(place) = &finding.place else { return format!("{}\n(missing)", finding.field) };
    let mut groups: Vec<String> = Vec::new();
    for pair in place.bytes.chunks(2).take(12) {
        groups.push(pair.iter().map(|byte| format!("{byte:02x}")).collect());
    }
    let more = if place.length > 24 { " …" } else { "" };
    format!("{}\nbyte {}, {} long\n{}{more}", finding.field, place.offset, place.length, groups.join(" "))
}
