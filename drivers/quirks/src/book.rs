//! All that is known: the files that are built in, and those of vendors and of the host's owner over them.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use biotrust_driver_api::{Node, Quirks};

use crate::entry::Entry;
use crate::file::{self, QuirkError};

/// The files that are built in, by name.
pub const EMBEDDED: &[(&str, &str)] = &[
    ("ftm-link.toml", include_str!("../files/ftm-link.toml")),
    ("link.toml", include_str!("../files/link.toml")),
    ("r30x.toml", include_str!("../files/r30x.toml")),
    ("uru4000.toml", include_str!("../files/uru4000.toml")),
    ("v4l2.toml", include_str!("../files/v4l2.toml")),
];

/// Where vendors' packages and the owner of the host put files of their own; later ones win.
pub const DIRECTORIES: [&str; 2] = ["/usr/lib/biotrust/quirks.d", "/etc/biotrust/quirks.d"];

/// No quirk file is longer, in bytes.
const LONGEST_FILE: u64 = 256 * 1024;

/// What is known of devices.
#[derive(Debug, Clone, PartialEq)]
pub struct Book {
    entries: Vec<Entry>,
}

/// A book, and what could not be read into it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// What could be read.
    pub book: Book,
    /// Files that were left out whole, each with the first thing that is wrong with it.
    pub skipped: Vec<QuirkError>,
}

/// What the book says of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Who drives it.
    pub driver: String,
    /// How; its name is that of the entry.
    pub quirks: Quirks,
    /// False: such a device is left alone until the owner of the host names the entry ([`Book::enable`]).
    pub enabled: bool,
}

/// The owner of the host has enabled what is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no quirk file has an entry {name:?}; those that can be enabled are {}", known.join(", "))]
pub struct NoSuchEntry {
    /// The name.
    pub name: String,
    /// Names of the entries that are not enabled.
    pub known: Vec<String>,
}

impl Book {
    /// What is built in, alone.
    #[must_use]
    pub fn embedded() -> Self {
        let mut book = Self { entries: Vec::new() };
        // A test holds that each of them can be read.
        for entries in EMBEDDED.iter().filter_map(|(name, text)| file::parse(Path::new(name), text).ok()) {
            book.add(entries);
        }
        book
    }

    /// What is built in, and all `*.toml` files of the directories: in the order of the directories, and of the names in
    /// each. An entry replaces an earlier one of its name. A directory that is not there is an empty one; a file that is
    /// wrong is left out whole and named.
    #[must_use]
    pub fn load<P: AsRef<Path>>(directories: &[P]) -> Loaded {
        let mut loaded = Loaded { book: Self::embedded(), skipped: Vec::new() };
        for directory in directories {
            match list(directory.as_ref()) {
                Ok(files) => files.into_iter().for_each(|file| loaded.read(&file)),
                Err(error) => loaded.skipped.push(error),
            }
        }
        loaded
    }

    pub(crate) fn add(&mut self, entries: Vec<Entry>) {
        self.entries.retain(|old| entries.iter().all(|new| new.name != old.name));
        self.entries.extend(entries);
    }

    /// Makes entries count that wait for the owner's word.
    ///
    /// # Errors
    /// The first name that no entry has; nothing is changed then.
    pub fn enable<S: AsRef<str>>(&mut self, names: &[S]) -> Result<(), NoSuchEntry> {
        let named = |entry: &Entry| names.iter().any(|name| name.as_ref() == entry.name);
        if let Some(name) = names.iter().find(|name| self.entries.iter().all(|e| e.name != name.as_ref())) {
            let known = self.entries.iter().filter(|e| !e.enabled).map(|e| e.name.clone()).collect();
            return Err(NoSuchEntry { name: name.as_ref().to_owned(), known });
        }
        self.entries.iter_mut().filter(|entry| named(entry)).for_each(|entry| entry.enabled = true);
        Ok(())
    }

    /// What is said of the device at `node`: by the entry that matches it most exactly; of equals by one that is enabled,
    /// and of those by the last. Where the owner has named a driver, it is that one, with what the best of its entries
    /// says.
    #[must_use]
    pub fn find(&self, node: &Node) -> Option<Match> {
        let named = |entry: &&Entry| node.driver.as_ref().is_none_or(|driver| *driver == entry.driver);
        // `max_by_key` gives the last of equals.
        let best = self
            .entries
            .iter()
            .filter(named)
            .filter(|entry| entry.matches(node))
            .max_by_key(|entry| (entry.exactness(node), entry.enabled));
        match (best, &node.driver) {
            (Some(entry), driver) => Some(Match {
                driver: entry.driver.clone(),
                quirks: entry.quirks.clone(),
                enabled: entry.enabled || driver.is_some(),
            }),
            (None, Some(driver)) => {
                Some(Match { driver: driver.clone(), quirks: Quirks::default(), enabled: true })
            }
            (None, None) => None,
        }
    }

    /// All entries, in the order in which they were read.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

impl Loaded {
    fn read(&mut self, file: &Path) {
        match text(file).and_then(|text| file::parse(file, &text)) {
            Ok(entries) => self.book.add(entries),
            Err(error) => self.skipped.push(error),
        }
    }
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, QuirkError> {
    let failed = |error: std::io::Error| unreadable(directory, &error);
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn text(path: &Path) -> Result<String, QuirkError> {
    let failed = |error: std::io::Error| unreadable(path, &error);
    let wrong = |why: &str| QuirkError { file: path.to_owned(), at: None, why: why.to_owned() };
    // A FIFO in the directory would keep its reader waiting for ever.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(wrong("is not a file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path).and_then(|f| f.take(LONGEST_FILE + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(wrong("is longer than 256 KiB"));
    }
    String::from_utf8(bytes).map_err(|_| wrong("is not UTF-8 text"))
}

fn unreadable(path: &Path, error: &std::io::Error) -> QuirkError {
    QuirkError { file: path.to_owned(), at: None, why: format!("cannot be read: {error}") }
}
