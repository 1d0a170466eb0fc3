//! The files under udev/ are those that the built-in book makes.

use std::path::Path;

use crate::known::{self, Kind};
use crate::{Book, EMBEDDED, hwdb, rules};

fn committed(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../udev").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_rules_are_current() {
    let hint = "run: cargo run -p biotrust-cli -- udev generate rules --embedded > udev/72-biotrust.rules";
    assert_eq!(committed(rules::FILE), rules::generate(&Book::embedded()), "{hint}");
}

#[test]
fn the_hardware_database_is_current() {
    let hint = "run: cargo run -p biotrust-cli -- udev generate hwdb --embedded > udev/60-biotrust.hwdb";
    assert_eq!(committed(hwdb::FILE), hwdb::generate(&Book::embedded()), "{hint}");
}

#[test]
fn every_built_in_file_can_be_read_and_says_something() {
    for (name, text) in EMBEDDED {
        let entries = crate::file::parse(Path::new(name), text).unwrap_or_else(|error| panic!("{error}"));
        assert!(!entries.is_empty(), "{name}");
        assert!(entries.iter().all(|entry| name.strip_suffix(".toml") == Some(&entry.driver)), "{name}");
    }
    let names: std::collections::BTreeSet<_> =
        Book::embedded().entries().iter().map(|entry| entry.name.clone()).collect();
    assert_eq!(names.len(), Book::embedded().entries().len(), "a name stands in two files");
}

#[test]
fn the_manual_has_every_setting() {
    let table: String = known::SETTINGS.iter().map(row).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/developers/quirks.md");
    let manual = std::fs::read_to_string(path).unwrap();
    assert!(manual.contains(&table), "docs/developers/quirks.md lacks these rows, in this order:\n{table}");
}

fn row(setting: &known::Setting) -> String {
    let value = match setting.kind {
        Kind::Flag => "`true`, `false`".to_owned(),
        Kind::Number(from, to) => format!("{from} to {to}"),
        Kind::Text => "text".to_owned(),
        Kind::OneOf(texts) => texts.iter().map(|text| format!("`{text:?}`")).collect::<Vec<_>>().join(", "),
    };
    format!("| {} | `{}` | {value} | {} |\n", setting.drivers.join(", "), setting.name, setting.meaning)
}
