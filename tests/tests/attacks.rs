//! The list of attacks in docs/developers/attacks.md: every row names a test that exists, and what stops the attack is named where it is tested.

use std::collections::BTreeSet;
use std::path::Path;

/// So many attacks there are at least.
const AT_LEAST: usize = 40;

/// A row of the list.
struct Attack<'a> {
    number: usize,
    stopped_by: &'a str,
    file: &'a str,
    test: &'a str,
}

/// Rows of all tables of the page: lines with five cells that begin with a number.
fn attacks(page: &str) -> Vec<Attack<'_>> {
    page.lines()
        .filter_map(|line| {
            let mut cells = line.trim().trim_matches('|').split('|').map(str::trim);
            let number = cells.next()?.parse().ok()?;
            let mut next = || cells.next().unwrap_or_default();
            let (_, stopped_by, file, test) = (next(), next(), next(), next());
            Some(Attack { number, stopped_by, file, test })
        })
        .collect()
}

/// Everything that is wrong with the list; `read` gives the text of a file of the repository.
fn faults(page: &str, read: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let rows = attacks(page);
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    if rows.len() < AT_LEAST {
        wrong.push(format!("only {} attacks", rows.len()));
    }
    for (at, row) in (1..).zip(&rows) {
        let mut fault = |what: String| wrong.push(format!("attack {}: {what}", row.number));
        if row.number != at {
            fault(format!("stands in place {at}"));
        }
        if !seen.insert((row.file, row.test)) {
            fault(format!("{} has a row already", row.test));
        }
        let Some(source) = read(row.file) else {
            fault(format!("no file {:?}", row.file));
            continue;
        };
        if !has_test(&source, row.test) {
            fault(format!("{} has no test {:?}", row.file, row.test));
        }
        if row.stopped_by.is_empty() {
            fault("nothing stops it".to_owned());
        }
        for name in names(row.stopped_by).filter(|name| !is_named(&source, name)) {
            fault(format!("{} does not name {name:?}", row.file));
        }
    }
    wrong
}

/// Whether a function of this name stands below a test attribute (others may stand between them).
fn has_test(source: &str, name: &str) -> bool {
    let starts = |line: &str| line.trim_start_matches("async ").starts_with(&format!("fn {name}("));
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let Some(at) = lines.iter().position(|line| starts(line)) else { return false };
    lines[..at]
        .iter()
        .rev()
        .take_while(|line| line.starts_with('#') || line.starts_with("//"))
        .any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
}

/// What stands in `code`.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// As it is, or as the variant of an enumeration: "chip-path" is `ChipPath`.
fn is_named(source: &str, name: &str) -> bool {
    let variant: String = name
        .split('-')
        .map(|part| {
            let (head, tail) = part.split_at_checked(1).unwrap_or_default();
            head.to_uppercase() + tail
        })
        .collect();
    source.contains(name) || source.contains(&variant)
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn page() -> String {
    std::fs::read_to_string(root().join("docs/developers/attacks.md")).expect("the list of attacks")
}

#[test]
fn every_attack_of_the_list_has_its_test() {
    let read = |file: &str| std::fs::read_to_string(root().join(file)).ok();
    let wrong = faults(&page(), &read);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_list_that_is_not_true_is_found() {
    let source = "#[test]\nfn a_replay() {\n stopped(&[CheckName::ChipPath]) }\n\nfn helper() {}\n\
                  #[tokio::test(flavor = \"multi_thread\")]\n// why\nasync fn over_the_wire() { \"nonce\" }\n";
    let read = |file: &str| (file == "a.rs").then(|| source.to_owned());
    let one = |row: &str| -> Vec<String> {
        faults(row, &read).into_iter().filter(|fault| !fault.starts_with("only")).collect()
    };
    for good in [
        "| 1 | Replay | `chip-path` | a.rs | a_replay |",
        "| 1 | Replay | by luck | a.rs | over_the_wire |",
        "| 1 | Replay | `nonce`, `ChipPath` | a.rs | over_the_wire |",
    ] {
        assert_eq!(one(good), [""; 0], "{good}");
    }
    for (bad, says) in [
        ("| 1 | Replay | `chip-path` | b.rs | a_replay |", "no file"),
        ("| 1 | Replay | `chip-path` | a.rs | a_repla |", "no test"),
        ("| 1 | Replay | `chip-path` | a.rs | helper |", "no test"),
        ("| 1 | Replay | `chip-path` | a.rs |", "no test"),
        ("| 1 | Replay | `chip-key` | a.rs | a_replay |", "does not name"),
        ("| 1 | Replay | | a.rs | a_replay |", "nothing stops it"),
        ("| 2 | Replay | `chip-path` | a.rs | a_replay |", "stands in place 1"),
        (
            "| 1 | Replay | `chip-path` | a.rs | a_replay |\n| 2 | Again | `chip-path` | a.rs | a_replay |",
            "has a row already",
        ),
    ] {
        let wrong = one(bad);
        assert!(wrong.iter().any(|fault| fault.contains(says)), "{bad}: {wrong:?}");
    }
    assert_eq!(faults("", &read), ["only 0 attacks"]);
}
