//! Files that others read while we write: complete at once, private where they must be.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody whom the folder lets in.
    Shared,
    /// This user only.
    Private,
}

/// Writes `bytes` to `path` so that nobody ever sees a part of it.
pub(crate) fn write(path: &Path, bytes: &[u8], access: Access) -> anyhow::Result<()> {
    let mut name = path.file_name().context("a file needs a name")?.to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let mode = match access {
        Access::Shared => 0o644,
        Access::Private => 0o600,
    };
    let written = (|| -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(bytes)?;
        std::fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written.with_context(|| format!("writing {}", path.display()))
}

/// Removes a file that an earlier run has left, so that nobody takes it for ours.
pub(crate) fn remove_stale(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing the old {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// The path from the root, for files that are read by programs with another working directory.
pub(crate) fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("finding {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_private_file_is_private_and_replaces_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        write(&path, b"old", Access::Private).unwrap();
        write(&path, b"new", Access::Private).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
        remove_stale(&path).unwrap();
        assert!(!path.exists() && remove_stale(&path).is_ok());
        let error = write(&dir.path().join("no/such/folder"), b"", Access::Shared).unwrap_err();
        assert!(error.to_string().contains("no/such/folder"));
    }
}
