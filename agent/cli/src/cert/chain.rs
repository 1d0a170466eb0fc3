//! `biotrust cert chain`.

use std::path::PathBuf;

use biotrust_certs::{
    Adopter, Certificate, Device, Domain, Ftm, PathError, Role, TrustDomain, TrustStore, VerifiedPath,
};
use biotrust_model::time::UtcMillis;
use comfy_table::{Cell, Color};
use serde_json::{Value, json};

use super::{FINDINGS, coloured, key_of, moment, pretty, read, shown, table, unusable, with_distance};
use crate::Outcome;
use crate::text::{count, plain};

/// Says whether the back ends would trust certificates, and if not, which certificate is in the way and why
///
/// The first certificate of each file is judged. Others in the file play no part, as they play none in the back ends:
/// only what is in the trust store counts.
///
/// Exit status: 0 all are trusted, 1 at least one is not, 2 a file or the store cannot be used.
#[derive(clap::Args)]
pub(super) struct Args {
    /// PEM, DER, PKCS#7, or the base64 of these; - for standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// Files of CA certificates, directories of such files, or store directories
    #[arg(long, value_name = "PATH", required = true)]
    store: Vec<PathBuf>,

    /// Whose store it is
    #[arg(long, value_enum, default_value_t = Of::Device)]
    domain: Of,

    /// Judge as of this moment (2026-11-24T13:00:00Z) instead of now
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<UtcMillis>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The word on the command line.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Of {
    Device,
    Ftm,
    Adopter,
}

/// What is said of one file.
struct Verdict {
    file: String,
    leaf: Certificate,
    /// Certificates in the file that were not looked at.
    passed_over: usize,
    /// Issuers, nearest first; the anchor last.
    path: Result<Vec<Certificate>, PathError>,
}

pub(super) fn run(args: &Args, now: UtcMillis) -> Outcome {
    let now = args.at.unwrap_or(now);
    let judged = match args.domain {
        Of::Device => judge::<Device>(args, now),
        Of::Ftm => judge::<Ftm>(args, now),
        Of::Adopter => judge::<Adopter>(args, now),
    };
    judged.unwrap_or_else(|message| unusable(args.json, &message))
}

fn judge<D: TrustDomain>(args: &Args, now: UtcMillis) -> Result<Outcome, String> {
    let store = TrustStore::<D>::load(&args.store).map_err(|error| error.to_string())?;
    let mut verdicts = Vec::new();
    for file in &args.files {
        let mut certificates = read(file)?.into_iter();
        let leaf = certificates.next().ok_or("no certificate")?;
        let path =
            store.verify(leaf.der(), now).map(|path: VerifiedPath<D>| path.issuers().cloned().collect());
        verdicts.push(Verdict { file: shown(file), leaf, passed_over: certificates.count(), path });
    }
    let trusted = verdicts.iter().all(|verdict| verdict.path.is_ok());
    let output = if args.json {
        pretty(&as_json(D::DOMAIN, &store, &verdicts))
    } else {
        let texts = verdicts.iter().map(|verdict| show(D::DOMAIN, verdict, now));
        texts.chain([about(&store)]).collect()
    };
    Ok(Outcome::new(output, if trusted { 0 } else { FINDINGS }))
}

fn anchors<D: TrustDomain>(store: &TrustStore<D>) -> usize {
    store.entries().filter(|entry| entry.role == Role::Anchor).count()
}

fn as_json<D: TrustDomain>(domain: Domain, store: &TrustStore<D>, verdicts: &[Verdict]) -> Value {
    let listed: Vec<Value> = verdicts
        .iter()
        .map(|verdict| {
            let step = |certificate: &Certificate| {
                json!({
                    "subject": certificate.subject().to_string(),
                    "not_after": certificate.not_after().to_wire(),
                    "sha256": certificate.sha256(),
                })
            };
            let path = verdict.path.as_ref().map(|issuers| {
                std::iter::once(&verdict.leaf).chain(issuers).map(step).collect::<Vec<Value>>()
            });
            json!({
                "file": verdict.file,
                "leaf": step(&verdict.leaf),
                "trusted": verdict.path.is_ok(),
                "path": path.ok(),
                "reason": verdict.path.as_ref().err().map(|error| json!({
                    "certificate": error.subject,
                    "text": error.kind.to_string(),
                })),
            })
        })
        .collect();
    json!({
        "domain": domain.as_str(),
        "store": { "certificates": store.entries().count(), "anchors": anchors(store) },
        "verdicts": listed,
    })
}

fn show(domain: Domain, verdict: &Verdict, now: UtcMillis) -> String {
    let mut table = table();
    table.set_header(["Step", "Certificate", "Key", "Valid until"]);
    let mut row = |step: Cell, certificate: &Certificate| {
        table.add_row([
            step,
            Cell::new(plain(&certificate.subject().to_string())),
            Cell::new(key_of(certificate)),
            Cell::new(with_distance(certificate.not_after(), now)),
        ]);
    };
    row(Cell::new("leaf"), &verdict.leaf);
    let outcome = match &verdict.path {
        Ok(issuers) => {
            for (index, issuer) in issuers.iter().enumerate() {
                let step = if index + 1 == issuers.len() { "anchor" } else { "issuer" };
                row(Cell::new(step), issuer);
            }
            format!("Trusted in domain {domain}.\n")
        }
        Err(error) => {
            let subject = plain(&error.subject);
            let reason = format!("certificate \"{subject}\" {}", plain(&error.kind.to_string()));
            table.add_row([
                coloured("not trusted", Color::Red),
                Cell::new(reason),
                Cell::new(""),
                Cell::new(""),
            ]);
            format!("Not trusted in domain {domain}.\n")
        }
    };
    let passed_over = match verdict.passed_over {
        0 => String::new(),
        n => format!(
            "{} further on in the file: not looked at, as no back end does.\n",
            count(n, "certificate")
        ),
    };
    format!("{}\n{}\n{outcome}{passed_over}", verdict.file, table.trim_fmt())
}

fn about<D: TrustDomain>(store: &TrustStore<D>) -> String {
    let all = store.entries().count();
    format!("The store has {}, {} of them self-signed anchors.\n", count(all, "certificate"), anchors(store))
}
