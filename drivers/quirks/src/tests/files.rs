//! What is wrong in a file is found, with its place, and costs that file alone.

use std::fs;

use biotrust_driver_api::{Bus, Value};
use proptest::prelude::*;

use super::{found, node, parse};
use crate::{Book, Position};

const GOOD: &str = r#"driver = "uru4000"

[[device]]
name = "acme-one"
about = "Acme One"
bus = "usb"
usb = ["1234:0001"]
release = "1.00-1.99"

[device.settings]
make = "Acme"
purpose = "Auth"
"#;

/// The error of the good file with `from` replaced by `to`.
fn error(from: &str, to: &str) -> (Position, String) {
    assert!(GOOD.contains(from));
    let error = parse(&GOOD.replacen(from, to, 1)).expect_err(to);
    (error.at.expect("a place"), error.why)
}

#[test]
fn a_good_file_is_read() {
    let entries = parse(GOOD).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].quirks.settings["make"], Value::Text("Acme".into()));
    assert!(entries[0].enabled);
}

#[test]
fn each_error_names_its_place_and_what_would_be_right() {
    for (from, to, line, column, words) in [
        ("driver = \"uru4000\"", "driver = \"uru400\"", 1, 10, "there are ftm-link, link"),
        ("driver = \"uru4000\"", "", 1, 1, "driver"),
        ("bus = \"usb\"", "bus = \"pci\"", 6, 7, "serial, usb, hid, video"),
        ("bus = \"usb\"", "buss = \"usb\"", 6, 1, "buss"),
        ("bus = \"usb\"", "bus = 1", 6, 7, "string"),
        ("\"1234:0001\"", "\"1234:0001\", \"12:1\"", 7, 21, "05ba:000a"),
        ("1.00-1.99", "2.00-1.99", 8, 11, "ends before it begins"),
        ("make = \"Acme\"", "mark = \"Acme\"", 11, 1, "make, model"),
        ("make = \"Acme\"", "make = 1", 11, 8, "text in quotes"),
        ("make = \"Acme\"", "level = \"L1\"", 11, 1, "no setting"),
        ("purpose = \"Auth\"", "purpose = \"auth\"", 12, 11, "Registration"),
        ("name = \"acme-one\"", "name = \"Acme One\"", 4, 8, "a-z"),
        ("usb = [\"1234:0001\"]", "", 4, 8, "any maker"),
        ("release =", "release", 8, 9, ""),
    ] {
        let (at, why) = error(from, to);
        assert_eq!(at, Position { line, column }, "{to}: {why}");
        assert!(why.contains(words), "{to}: {why}");
        assert!(!why.contains('\n'), "one line: {why}");
    }
}

#[test]
fn a_name_that_stands_twice_is_refused() {
    let (head, device) = GOOD.split_at(GOOD.find("[[device]]").unwrap());
    let error = parse(&format!("{head}{device}{device}")).unwrap_err();
    assert!(error.why.contains("twice") && error.at.unwrap().line > 12, "{error}");
}

#[test]
fn what_takes_any_makers_devices_waits_for_the_owner() {
    let webcam =
        "driver = \"v4l2\"\n[[device]]\nname = \"w\"\nabout = \"w\"\nbus = \"video\"\ninterface = \"0e\"\n";
    assert!(parse(webcam).is_err());
    assert!(parse(&format!("{webcam}product = \"*\"\n")).is_err(), "a pattern that matches everything");
    assert!(parse(&format!("{webcam}enabled = false\n")).is_ok());
}

#[test]
fn a_bad_file_costs_only_itself() {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| fs::write(home.path().join(name), text).unwrap();
    write("10-good.toml", GOOD.as_bytes());
    write("20-bad.toml", GOOD.replace("acme-one", "acme-two").replace("usb\"", "bus\"").as_bytes());
    write("30-binary.toml", b"\xff\xfe");
    write("40-long.toml", &vec![b'#'; 300 * 1024]);
    write(".hidden.toml", b"what an editor leaves behind");
    write("note.txt", b"no quirk file");
    fs::create_dir(home.path().join("50-directory.toml")).unwrap();
    let loaded = Book::load(&[home.path(), &home.path().join("missing")]);
    assert_eq!(found(&loaded.book, &node(Bus::Usb, 0x1234, 1, "")).as_deref(), Some("acme-one"));
    let skipped: Vec<String> = loaded.skipped.iter().map(ToString::to_string).collect();
    assert_eq!(skipped.len(), 4, "{skipped:?}");
    assert!(skipped[0].contains("20-bad.toml:6:7: ") && skipped[0].contains("no bus"), "{skipped:?}");
    assert!(
        skipped[1].contains("UTF-8") && skipped[2].contains("256 KiB") && skipped[3].contains("not a file")
    );
}

#[test]
fn a_later_file_replaces_an_entry_by_its_name() {
    let (vendor, owner) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(vendor.path().join("a.toml"), GOOD).unwrap();
    fs::write(owner.path().join("a.toml"), GOOD.replace("1234:0001", "1234:0002")).unwrap();
    let book = Book::load(&[vendor.path(), owner.path()]).book;
    assert_eq!(found(&book, &node(Bus::Usb, 0x1234, 1, "")), None);
    assert_eq!(found(&book, &node(Bus::Usb, 0x1234, 2, "")).as_deref(), Some("acme-one"));
}

proptest! {
    /// A file that was cut or overwritten anywhere is refused or read; the place of an error is in the file.
    #[test]
    fn no_damage_breaks_the_reader(at in 0..GOOD.len(), with in "\\PC{0,3}", cut: bool) {
        let text = if cut { GOOD[..at].to_owned() } else { format!("{}{with}{}", &GOOD[..at], &GOOD[at..]) };
        if let Err(error) = parse(&text) {
            let at = error.at.unwrap();
            prop_assert!(at.line >= 1 && at.line <= text.lines().count() + 1 && at.column >= 1, "{}", error);
        }
    }
}
