//! `biotrust ftm`: the trust module of this host, which holds the keys of plain scanners: how it is, and how it gets its
//! certificates from its provider.

use std::fs::{OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::Outcome;
use crate::control;
use crate::text::plain;

/// A TPM takes its time.
const LIMIT: Duration = Duration::from_secs(60);
/// Longest answer of a provider, in bytes.
const LONGEST: u64 = 256 * 1024;

/// Shows the trust module of this host, and has it certified by its provider
///
/// Exit status: 0 well, 1 it needs somebody or it was refused, 2 the daemon cannot be asked or a file cannot be used.
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
    /// Says what it is, whether it is certified, and what to do if it is not well
    Status,
    /// Writes what the provider needs to certify it, or takes the provider's answer
    ///
    /// First a request: `biotrust ftm provision --serial NAME --organisation PROVIDER --out request.json`, to be sent to the
    /// FTM provider. What comes back is given to `--answer`: a protected secret (credential, secret), which is opened and
    /// written to --out for the provider, or the certificates (identity, attestation), which are installed.
    Provision {
        /// Serial number of the module: common name of its certificate
        #[arg(long, value_name = "NAME", required_unless_present = "answer")]
        serial: Option<String>,
        /// Legal name of the FTM provider
        #[arg(long, value_name = "NAME", required_unless_present = "answer")]
        organisation: Option<String>,
        /// The provider's challenge, 64 hexadecimal digits
        #[arg(long, value_name = "HEX")]
        challenge: Option<String>,
        /// File for what goes to the provider [default: standard output]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// The provider's answer, a JSON file
        #[arg(long, value_name = "FILE", conflicts_with_all = ["serial", "organisation", "challenge"])]
        answer: Option<PathBuf>,
    },
}

pub(crate) fn run(args: &Args, socket: &Path) -> Outcome {
    match &args.command {
        Command::Status => status(socket, args.json),
        Command::Provision { answer: Some(file), out, .. } => answer(socket, file, out.as_deref(), args.json),
        Command::Provision { serial, organisation, challenge, out, .. } => {
            let order = json!({
                "op": "ftm_request", "common_name": serial, "organisation": organisation, "binding": challenge
            });
            match control::order(socket, order, LIMIT) {
                Ok(request) => {
                    let next = "send it to the FTM provider; give what comes back to `biotrust ftm provision --answer`";
                    hand_out(&request, out.as_deref(), next, args.json)
                }
                Err(error) => Outcome::failed(args.json, &error),
            }
        }
    }
}

fn status(socket: &Path, json: bool) -> Outcome {
    let report = match control::order(socket, json!({ "op": "ftm_status" }), LIMIT) {
        Ok(report) => report,
        Err(error) => return Outcome::failed(json, &error),
    };
    let notices = notices(&report);
    let provisioned = report.get("provisioned").and_then(Value::as_bool) == Some(true);
    let exit_status = u8::from(!provisioned || !notices.is_empty());
    if json {
        return Outcome::new(format!("{report:#}\n"), exit_status);
    }
    Outcome::new(in_words(&report, provisioned, &notices), exit_status)
}

fn notices(report: &Value) -> Vec<String> {
    let notices = report.get("notices").and_then(Value::as_array);
    notices.into_iter().flatten().filter_map(Value::as_str).map(plain).collect()
}

fn in_words(report: &Value, provisioned: bool, notices: &[String]) -> String {
    let usable = report.get("usable").and_then(Value::as_bool) != Some(false);
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(plain).unwrap_or_default();
    let mut lines = vec![match text(report, "kind").as_str() {
        "tpm" => "A TPM 2.0 holds the keys of this host.".to_owned(),
        "spdm" => "A module beside the sensors holds the keys of this host: L0, key in a module.".to_owned(),
        "software" => "Files hold the keys of this host, encrypted: level L0 only.".to_owned(),
        other => format!("A module of kind {other} holds the keys of this host."),
    }];
    match report.get("certificate").filter(|certificate| !certificate.is_null()) {
        Some(certificate) => lines.push(format!(
            "Its certificate: {}, issued by {}, until {}",
            text(certificate, "subject"),
            text(certificate, "issuer"),
            text(certificate, "not_after")
        )),
        None if !usable => lines.push(
            "It cannot be used now, and no device whose keys are in it. It is tried again by itself.".to_owned(),
        ),
        None if !provisioned => lines.push(
            "It has no certificate.\nNext: have its provider certify it: biotrust ftm provision --serial NAME \
             --organisation PROVIDER --out request.json"
                .to_owned(),
        ),
        None => {}
    }
    if let Some(count) = report.get("reset_count").and_then(Value::as_u64) {
        lines.push(format!("It was reset {count} times."));
    }
    lines.extend(notices.iter().map(|notice| format!("Note: {notice}")));
    lines.push(String::new());
    lines.join("\n")
}

/// Takes what the provider sent back, whichever of the two it is.
fn answer(socket: &Path, file: &Path, out: Option<&Path>, json: bool) -> Outcome {
    let answer = match read(file) {
        Ok(answer) => answer,
        Err(why) => return Outcome::unusable(json, &format!("cannot use {}: {why}", file.display())),
    };
    let has = |name: &str| answer.get(name).is_some();
    if has("credential") && has("secret") {
        let order = json!({
            "op": "ftm_activate", "credential": answer.get("credential"), "secret": answer.get("secret")
        });
        return match control::order(socket, order, LIMIT) {
            Ok(opened) => {
                let next =
                    "send it to the FTM provider: it proves that the keys of the request are in this module";
                hand_out(&opened, out, next, json)
            }
            Err(error) => Outcome::failed(json, &error),
        };
    }
    if has("identity") && has("attestation") {
        let order = json!({
            "op": "ftm_install", "identity": answer.get("identity"), "attestation": answer.get("attestation")
        });
        return match control::order(socket, order, LIMIT) {
            Ok(report) if json => Outcome::new(format!("{report:#}\n"), 0),
            Ok(report) => {
                let words = in_words(&report, true, &notices(&report));
                Outcome::new(format!("The certificates are installed.\n{words}"), 0)
            }
            Err(error) => Outcome::failed(json, &error),
        };
    }
    Outcome::unusable(
        json,
        &format!(
            "{} is no answer of a provider: it has neither credential and secret, nor identity and attestation",
            file.display()
        ),
    )
}

fn read(file: &Path) -> Result<Value, String> {
    let meta = std::fs::metadata(file).map_err(|error| error.to_string())?;
    if !meta.is_file() || meta.len() > LONGEST {
        return Err("it is not a file of at most 256 KiB".to_owned());
    }
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map_err(|error| format!("it is no JSON ({error})"))
}

/// Writes what goes to the provider, for this user alone: the answer to an activation holds its secret.
fn hand_out(what: &Value, out: Option<&Path>, next: &str, json: bool) -> Outcome {
    let Some(file) = out else { return Outcome::new(format!("{what:#}\n"), 0) };
    match write_private(file, &format!("{what:#}\n")) {
        Ok(()) if json => Outcome::new(format!("{what:#}\n"), 0),
        Ok(()) => Outcome::new(format!("{} is written.\nNext: {next}\n", file.display()), 0),
        Err(error) => Outcome::unusable(json, &format!("cannot write {}: {error}", file.display())),
    }
}

/// A new file or the same one: afterwards only this user may read it.
fn write_private(file: &Path, text: &str) -> std::io::Result<()> {
    let mut written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
    // one that was there keeps its mode when it is opened
    written.set_permissions(Permissions::from_mode(0o600))?;
    written.write_all(text.as_bytes())
}
