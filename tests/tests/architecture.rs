//! The arrows of the house plan (ARCHITECTURE.md), read from `cargo metadata`, and the size of files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What each folder's crate may build upon; a trailing slash stands for every crate below.
const ARROWS: &[(&str, &[&str])] = &[
    ("agent/model", &[]),
    ("agent/sbi", &["agent/model"]),
    ("firmware-certs", &["agent/model"]),
    ("agent/attest", &["agent/sbi", "firmware-certs", "drivers/spdm", "agent/model"]),
    ("agent/mgmt", &["agent/attest", "agent/sbi", "firmware-certs", "agent/model"]),
    ("agent/trust", &["agent/attest", "agent/sbi", "firmware-certs", "agent/model"]),
    ("agent/onboard", &["agent/sbi", "firmware-certs", "agent/model"]),
    (
        "agent/daemon",
        &[
            "agent/trust",
            "agent/attest",
            "agent/mgmt",
            "agent/onboard",
            "agent/sbi",
            "firmware-certs",
            "agent/model",
            "drivers/",
        ],
    ),
    (
        "agent/cli",
        &[
            "agent/trust",
            "agent/attest",
            "agent/onboard",
            "agent/sbi",
            "firmware-certs",
            "drivers/quirks",
            "drivers/vendor",
            "agent/model",
        ],
    ),
    ("drivers/spdm", &["agent/model"]),
    ("drivers/api", &["agent/model"]),
    ("drivers/quirks", &["drivers/api"]),
    (
        "drivers/",
        &[
            "drivers/api",
            "drivers/pipe",
            "drivers/link",
            "drivers/spdm",
            "drivers/imaging",
            "drivers/sensor",
            "agent/model",
        ],
    ),
    (
        "simulator/",
        &[
            "simulator/",
            "drivers/api",
            "drivers/link",
            "drivers/pipe",
            "drivers/imaging",
            "drivers/spdm",
            "drivers/ftm-tpm",
            "agent/attest",
            "agent/mgmt",
            "agent/sbi",
            "firmware-certs",
            "agent/model",
        ],
    ),
    ("tests", &["simulator/backends", "simulator/swtpm", "agent/attest", "firmware-certs", "agent/model"]),
    ("xtask", &[]),
];

/// A file longer than this is several files.
const LINES: usize = 800;

struct Crate {
    folder: String,
    /// Folder of each dependency in the workspace, and its kind ("" normal, "dev", "build").
    uses: Vec<(String, String)>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

fn crates() -> Vec<Crate> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let folder = |package: &Value| -> String {
        let manifest = Path::new(package["manifest_path"].as_str().expect("a path"));
        let folder =
            manifest.parent().and_then(|p| p.strip_prefix(root()).ok()).expect("inside the workspace");
        folder.to_string_lossy().into_owned()
    };
    let folders: BTreeMap<&str, String> =
        packages.iter().map(|package| (package["name"].as_str().expect("a name"), folder(package))).collect();
    packages
        .iter()
        .map(|package| Crate {
            folder: folder(package),
            uses: package["dependencies"]
                .as_array()
                .expect("a list")
                .iter()
                .filter_map(|dependency| {
                    let target = folders.get(dependency["name"].as_str()?)?.clone();
                    Some((target, dependency["kind"].as_str().unwrap_or_default().to_owned()))
                })
                .collect(),
        })
        .collect()
}

fn within(folder: &str, pattern: &str) -> bool {
    if pattern.ends_with('/') { folder.starts_with(pattern) } else { folder == pattern }
}

/// The rule of the most exact pattern.
fn rule(folder: &str) -> Option<&'static [&'static str]> {
    let fitting = ARROWS.iter().filter(|(pattern, _)| within(folder, pattern));
    fitting.max_by_key(|(pattern, _)| pattern.len()).map(|(_, allowed)| *allowed)
}

/// Arrows that the plan does not have. Tests of a crate may use their neighbours below, and simulators, but never the programs.
fn forbidden(crates: &[Crate]) -> Vec<String> {
    let mut wrong = Vec::new();
    for one in crates {
        let Some(allowed) = rule(&one.folder) else {
            wrong.push(format!("{} has no place in the plan", one.folder));
            continue;
        };
        for (target, kind) in one.uses.iter().filter(|(target, _)| *target != one.folder) {
            let fits = allowed.iter().any(|pattern| within(target, pattern));
            let test_only =
                kind == "dev" && !matches!(target.as_str(), "agent/daemon" | "agent/cli" | "tests");
            if !fits && (!test_only || one.folder == "tests") {
                wrong.push(format!(
                    "{} -> {target} ({})",
                    one.folder,
                    if kind.is_empty() { "build" } else { kind }
                ));
            }
        }
    }
    wrong
}

#[test]
fn dependencies_follow_the_plan() {
    let crates = crates();
    assert!(crates.len() > 10, "the workspace was read");
    let wrong = forbidden(&crates);
    assert!(wrong.is_empty(), "arrows that the plan does not have: {wrong:#?}");
}

#[test]
fn the_check_sees_wrong_arrows() {
    let one = |folder: &str, target: &str, kind: &str| {
        let uses = vec![(target.to_owned(), kind.to_owned())];
        forbidden(&[Crate { folder: folder.to_owned(), uses }])
    };
    for (folder, target, kind) in [
        ("agent/model", "agent/sbi", ""),
        ("agent/sbi", "firmware-certs", ""),
        ("drivers/link", "agent/sbi", ""),
        ("drivers/r30x", "drivers/ftm-soft", ""),
        ("simulator/cli", "agent/daemon", ""),
        ("simulator/cli", "agent/daemon", "dev"),
        ("simulator/scanner", "agent/trust", ""),
        ("tests", "agent/daemon", ""),
        ("tests", "agent/daemon", "dev"),
        ("tests", "agent/sbi", "dev"),
        ("agent/cli", "agent/daemon", ""),
        ("agent/trust", "drivers/api", ""),
        ("attic/new", "agent/model", ""),
    ] {
        assert_eq!(one(folder, target, kind).len(), 1, "{folder} -> {target} {kind}");
    }
    for (folder, target, kind) in [
        ("agent/daemon", "drivers/ftm-soft", ""),
        ("drivers/r30x", "drivers/link", ""),
        ("simulator/cli", "simulator/backends", ""),
        ("agent/daemon", "simulator/scanner", "dev"),
        ("agent/onboard", "firmware-certs", ""),
    ] {
        assert!(one(folder, target, kind).is_empty(), "{folder} -> {target} {kind}");
    }
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            rust_files(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_source_file_is_too_long() {
    let mut files = Vec::new();
    rust_files(&root(), &mut files);
    assert!(files.len() > 100, "the sources were found");
    let long: Vec<String> = files
        .iter()
        .map(|path| (path, std::fs::read_to_string(path).expect("a source").lines().count()))
        .filter(|(_, lines)| *lines > LINES)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "over {LINES} lines: {long:#?}");
}

/// Concrete drivers and FTM back ends are named in one file of the daemon, so that adding one touches one file.
#[test]
fn the_catalog_alone_names_concrete_drivers() {
    let source = root().join("agent/daemon/src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    let concrete = [
        "biotrust_link",
        "biotrust_r30x",
        "biotrust_uru4000",
        "biotrust_v4l2",
        "biotrust_ftm_link",
        "biotrust_ftm_soft",
        "biotrust_ftm_tpm",
    ];
    let naming: Vec<_> = files
        .iter()
        .filter(|path| {
            let text = std::fs::read_to_string(path).expect("a source");
            concrete.iter().any(|name| text.contains(name))
        })
        .map(|path| path.strip_prefix(&source).expect("below").display().to_string())
        .collect();
    assert_eq!(naming, ["catalog.rs"]);
}
