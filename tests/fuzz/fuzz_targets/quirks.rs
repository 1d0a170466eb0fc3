//! Quirk files of vendors: a book is made of them, or the file is named with what is wrong in it; rules and hwdb can be made
//! of what is in the book.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use biotrust_quirks::{Book, hwdb, rules};
use libfuzzer_sys::fuzz_target;

/// A directory in memory: the book reads files.
static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = PathBuf::from(format!("/dev/shm/biotrust-fuzz-quirks-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory in memory");
    directory
});

fuzz_target!(|bytes: &[u8]| {
    std::fs::write(DIRECTORY.join("vendor.toml"), bytes).expect("a file in memory");
    let loaded = Book::load(&[DIRECTORY.as_path()]);
    assert!(loaded.skipped.len() <= 1);
    for wrong in &loaded.skipped {
        assert!(wrong.to_string().contains("vendor.toml"));
    }
    let own = loaded.book.entries().len() - Book::embedded().entries().len().min(loaded.book.entries().len());
    assert!(loaded.skipped.is_empty() || own == 0, "a file with a mistake in it is left out whole");
    let rules = rules::generate(&loaded.book);
    // Whatever a vendor writes, each line is a rule or a comment of ours.
    for line in rules.lines() {
        assert!(!line.contains("RUN") && !line.contains("PROGRAM"), "{line}");
    }
    let _ = hwdb::generate(&loaded.book);
});
