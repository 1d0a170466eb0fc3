//! `biotrust cert show`.

use std::path::PathBuf;

use biotrust_certs::{Certificate, SignerPurpose};
use biotrust_model::time::UtcMillis;
use comfy_table::{Cell, Color};
use serde_json::{Value, json};

use super::{coloured, key_of, pretty, read, shown, table, unusable, with_distance};
use crate::Outcome;
use crate::text::{count, plain};

/// Shows the certificates of a file in words
///
/// Exit status: 0 shown, 2 the file cannot be used.
#[derive(clap::Args)]
pub(super) struct Args {
    /// PEM, DER, PKCS#7 (also as MOSIP writes it), or the base64 of these; - for standard input
    file: PathBuf,

    /// Print the certificates in PEM instead
    #[arg(long, conflicts_with = "json")]
    pem: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Signature algorithms and purposes by their common names.
const NAMES: &[(&str, &str)] = &[
    ("1.2.840.113549.1.1.5", "SHA-1 with RSA"),
    ("1.2.840.113549.1.1.10", "RSASSA-PSS"),
    ("1.2.840.113549.1.1.11", "SHA-256 with RSA"),
    ("1.2.840.113549.1.1.12", "SHA-384 with RSA"),
    ("1.2.840.113549.1.1.13", "SHA-512 with RSA"),
    ("1.2.840.10045.4.3.2", "SHA-256 with ECDSA"),
    ("1.2.840.10045.4.3.3", "SHA-384 with ECDSA"),
    ("1.3.101.112", "Ed25519"),
    ("1.3.6.1.5.5.7.3.1", "TLS server"),
    ("1.3.6.1.5.5.7.3.2", "TLS client"),
];

pub(super) fn run(args: &Args, now: UtcMillis) -> Outcome {
    let certificates = match read(&args.file) {
        Ok(certificates) => certificates,
        Err(message) => return unusable(args.json, &message),
    };
    let output = if args.pem {
        certificates.iter().map(Certificate::to_pem).collect()
    } else if args.json {
        let all: Vec<Value> = certificates.iter().map(as_json).collect();
        pretty(&json!({ "file": shown(&args.file), "certificates": all }))
    } else {
        let heading = format!("{}: {}\n", shown(&args.file), count(certificates.len(), "certificate"));
        let tables = certificates.iter().map(|certificate| show(certificate, now));
        std::iter::once(heading).chain(tables).collect()
    };
    Outcome::new(output, 0)
}

fn as_json(certificate: &Certificate) -> Value {
    json!({
        "subject": certificate.subject().to_string(),
        "issuer": certificate.issuer().to_string(),
        "version": certificate.version(),
        "serial": certificate.serial_hex(),
        "not_before": certificate.not_before().to_wire(),
        "not_after": certificate.not_after().to_wire(),
        "rsa_bits": certificate.rsa_bits(),
        "signature_algorithm": certificate.signature_algorithm(),
        "ca": certificate.is_ca(),
        "path_length": certificate.path_len(),
        "may_sign_data": certificate.may_sign_data(),
        "may_sign_certificates": certificate.may_sign_certificates(),
        "extended_key_usages": certificate.extended_key_usages(),
        "self_signed": certificate.is_self_signed(),
        "sha256": certificate.sha256(),
        "key_sha256": biotrust_certs::sha256_hex(certificate.spki_der()),
    })
}

fn show(certificate: &Certificate, now: UtcMillis) -> String {
    let mut table = table();
    let mut row = |field: &str, value: Cell| {
        table.add_row([Cell::new(field), value]);
    };
    row("Subject", Cell::new(plain(&certificate.subject().to_string())));
    let issuer = if certificate.is_self_signed() {
        "itself (self-signed)".to_owned()
    } else {
        plain(&certificate.issuer().to_string())
    };
    row("Issuer", Cell::new(issuer));
    row("Valid from", date(certificate.not_before(), now, certificate.not_before() > now));
    row("Valid until", date(certificate.not_after(), now, certificate.not_after() < now));
    row("Key", Cell::new(key_of(certificate)));
    row("May sign", Cell::new(rights(certificate)));
    if !certificate.extended_key_usages().is_empty() {
        let purposes: Vec<String> =
            certificate.extended_key_usages().iter().map(|oid| purpose(oid)).collect();
        row("Purpose", Cell::new(purposes.join(", ")));
    }
    row("Signed with", Cell::new(named(certificate.signature_algorithm())));
    row(
        "Serial number",
        Cell::new(format!("{} (version {})", certificate.serial_hex(), certificate.version())),
    );
    row("SHA-256", Cell::new(certificate.sha256()));
    format!("{}\n", table.trim_fmt())
}

fn date(at: UtcMillis, now: UtcMillis, wrong: bool) -> Cell {
    let text = with_distance(at, now);
    if wrong { coloured(text, Color::Red) } else { Cell::new(text) }
}

fn rights(certificate: &Certificate) -> String {
    let limit = match certificate.path_len() {
        Some(limit) => format!("certificates (at most {} below)", count(limit as usize, "CA")),
        None => "certificates".to_owned(),
    };
    let rights = [
        (certificate.is_ca() && certificate.may_sign_certificates()).then_some(limit),
        certificate.may_sign_data().then(|| "data".to_owned()),
    ];
    let rights: Vec<String> = rights.into_iter().flatten().collect();
    if rights.is_empty() { "nothing".to_owned() } else { rights.join(", ") }
}

fn named(oid: &str) -> String {
    NAMES
        .iter()
        .find(|(known, _)| *known == oid)
        .map_or_else(|| oid.to_owned(), |(_, name)| (*name).to_owned())
}

fn purpose(oid: &str) -> String {
    let ours = SignerPurpose::ALL.into_iter().find(|purpose| purpose.oid() == oid);
    ours.map_or_else(|| named(oid), |purpose| format!("{purpose} ({oid})"))
}
