//! Reads files of certificates. Blocking; called at start and when the configuration is read again.
//!
//! Only regular files are opened, so that a pipe in the directory cannot hang the reader.

use std::fs;
use std::path::{Path, PathBuf};

use crate::disk::StoreDir;
use crate::{Domain, StoreError};

/// Largest file that is read, in bytes: more than ten thousand certificates in PEM.
pub(crate) const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// What a directory is searched for, in any letter case.
const EXTENSIONS: &[&str] = &["pem", "crt", "cer", "der", "p7b", "p7c"];

/// Reads files, and the certificate files directly inside directories (sorted by name, so that messages are stable).
///
/// A directory with a manifest gives the one file that the manifest names, for `domain`.
pub(crate) fn read_all<P: AsRef<Path>>(
    paths: &[P],
    domain: Domain,
) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    let mut files = Vec::new();
    for path in paths {
        let path = path.as_ref();
        if !metadata(path)?.is_dir() {
            files.push((path.display().to_string(), read(path)?));
        } else if StoreDir::is_at(path) {
            let current = StoreDir::new(path, domain).current()?;
            files.extend(current.map(|current| (current.file.display().to_string(), current.pem)));
        } else {
            for file in list(path)? {
                files.push((file.display().to_string(), read(&file)?));
            }
        }
    }
    Ok(files)
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(|e| unreadable(directory, e))? {
        let path = entry.map_err(|e| unreadable(directory, e))?.path();
        let wanted = path
            .extension()
            .and_then(|extension| extension.to_str())
            .is_some_and(|extension| EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension)));
        if wanted && metadata(&path)?.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    let metadata = metadata(path)?;
    if !metadata.is_file() {
        return Err(StoreError::NotAFile { file: path.display().to_string() });
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(StoreError::TooLarge { file: path.display().to_string(), bytes: metadata.len() });
    }
    fs::read(path).map_err(|e| unreadable(path, e))
}

fn metadata(path: &Path) -> Result<fs::Metadata, StoreError> {
    fs::metadata(path).map_err(|e| unreadable(path, e))
}

fn unreadable(path: &Path, error: std::io::Error) -> StoreError {
    StoreError::Unreadable { file: path.display().to_string(), error }
}
