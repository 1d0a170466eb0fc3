//! `biotrust attest show`: what stands in evidence, believed or not.

use std::path::PathBuf;

use biotrust_attest::evidence::{Section, describe};
use serde_json::{Map, Value};

use super::{pretty, read_text, shown};
use crate::Outcome;
use crate::text::plain;

/// Shows what evidence claims and what its proof says; nothing is verified
///
/// Exit status: 0 shown, 2 it is no evidence or cannot be read.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Evidence: a compact JWS ("-": standard input)
    file: PathBuf,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run(args: &Args) -> Result<Outcome, String> {
    let sections = describe(&read_text(&args.file)?)
        .map_err(|text| format!("{} is no evidence: {text}", shown(&args.file)))?;
    let output = if args.json { pretty(&as_json(&sections)) } else { as_text(&sections) };
    Ok(Outcome::new(output, 0))
}

fn as_text(sections: &[Section]) -> String {
    let mut text = String::new();
    for Section { title, lines } in sections {
        text.push_str(&format!("{title}\n"));
        let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
        for (name, value) in lines {
            text.push_str(&format!("  {name:width$}  {}\n", plain(value)));
        }
    }
    text.push_str("Nothing of this is verified; `biotrust attest verify` does that.\n");
    text
}

fn as_json(sections: &[Section]) -> Value {
    let members = |section: &Section| -> Map<String, Value> {
        section.lines.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect()
    };
    sections.iter().map(|section| (section.title.clone(), Value::Object(members(section)))).collect()
}
