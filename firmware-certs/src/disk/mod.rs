//! A trust store on disk: a directory per domain with a rolling number, replaced as a whole.
//!
//! ```text
//! DIR/manifest.toml          domain, number, name and SHA-256 of the file of certificates
//! DIR/certificates-17.pem    the certificates of number 17
//! DIR/lock                   held while somebody replaces
//! ```
//!
//! The renaming of the manifest is the one moment at which a new store takes the place of the old one: until then a
//! reader finds the old one whole, from then on the new one, at whatever byte the writer was stopped. Nothing is read
//! that does not have the manifest's hash.
//!
//! The number only grows: [`StoreDir::replace`] refuses a smaller one, so that nobody hands in an old store with an
//! authority that has been withdrawn. The number is protected by the permissions of the directory and by nothing else:
//! whoever may write there may put an old directory in its place. Who needs more keeps the number where that writer
//! cannot reach (a TPM's counter, a signed document) and passes it to [`StoreDir::load`] as the floor.
//!
//! Blocking; two processes that replace at the same time do not wait for each other ([`DiskError::Busy`]).

mod manifest;
mod write;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use manifest::Manifest;

use crate::{Certificate, Domain, StoreError, TrustDomain, TrustStore, files};

const MANIFEST: &str = "manifest.toml";

/// Why a store on disk cannot be read or replaced. The text names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The system refused.
    #[error("cannot {action} {}: {error}", .path.display())]
    Io {
        /// `read`, `write`, `rename` …
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Not what was written: bits were lost, or somebody changed it.
    #[error("{}: {why}; the store is damaged: install the current store again with a higher number", .path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What does not fit.
        why: String,
    },
    /// A store of another domain.
    #[error("{} is a store of domain {found}, not {expected}", .path.display())]
    OtherDomain {
        /// The directory.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What was wanted.
        expected: Domain,
    },
    /// A number that is smaller than what is known already.
    #[error("store number {offered} is older than {known}; only a newer store may take its place")]
    Downgrade {
        /// What was offered, or found on disk.
        offered: u64,
        /// What is known.
        known: u64,
    },
    /// The same number with other certificates.
    #[error(
        "store number {0} is already there with other certificates; a changed store needs a higher number"
    )]
    SameNumber(u64),
    /// Somebody else is replacing it.
    #[error("{} is being replaced by another process; try again", .0.display())]
    Busy(PathBuf),
    /// Nothing in it.
    #[error("a trust store without certificates trusts nobody; at least one is needed")]
    Empty,
}

/// A directory that holds the store of one domain.
#[derive(Debug, Clone)]
pub struct StoreDir {
    path: PathBuf,
    domain: Domain,
}

/// What lies in the directory now, checked against its manifest.
pub(crate) struct Current {
    pub(crate) number: u64,
    pub(crate) file: PathBuf,
    pub(crate) pem: Vec<u8>,
}

impl StoreDir {
    /// The store of `domain` at `path`, whether it is there already or not. Nothing is touched.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, domain: Domain) -> Self {
        Self { path: path.into(), domain }
    }

    /// Whether the directory at `path` is such a store (has a manifest).
    #[must_use]
    pub fn is_at(path: &Path) -> bool {
        path.join(MANIFEST).is_file()
    }

    /// Number of the store that is in place; `None` where there is none.
    ///
    /// # Errors
    /// When the manifest cannot be read or is of another domain.
    pub fn number(&self) -> Result<Option<u64>, DiskError> {
        Ok(self.manifest()?.map(|manifest| manifest.number))
    }

    /// Loads the store and its number; `None` where there is none, which is an error with a `floor` above 0.
    ///
    /// # Errors
    /// When it is damaged, of another domain, or its number is below `floor`.
    pub fn load<D: TrustDomain>(&self, floor: u64) -> Result<Option<(TrustStore<D>, u64)>, StoreError> {
        self.must_be(D::DOMAIN)?;
        let current = self.current()?;
        let number = current.as_ref().map_or(0, |current| current.number);
        if number < floor {
            return Err(DiskError::Downgrade { offered: number, known: floor }.into());
        }
        let Some(current) = current else { return Ok(None) };
        let store = TrustStore::from_bytes(&current.file.display().to_string(), &current.pem)?;
        Ok(Some((store, number)))
    }

    /// Puts `certificates` in the place of whatever was there. A number must be higher than the one in place; handing in
    /// the same store again changes nothing and is no error.
    ///
    /// # Errors
    /// When the number is not higher, a certificate is not that of a CA, or the system refuses; the old store is then
    /// still in place.
    pub fn replace(&self, number: u64, certificates: &[Certificate]) -> Result<(), StoreError> {
        self.replace_step_by_step(number, certificates, &mut |_| Ok(()))
    }

    /// The file that the manifest names, with the manifest's hash.
    pub(crate) fn current(&self) -> Result<Option<Current>, DiskError> {
        // A replacement between the reading of the manifest and that of the file takes the file away: look once more.
        for _ in 0..3 {
            let Some(manifest) = self.manifest()? else { return Ok(None) };
            let file = self.path.join(manifest.file_name());
            match read(&file) {
                Ok(pem) => {
                    manifest.check(&pem).map_err(|why| DiskError::Damaged { path: file.clone(), why })?;
                    return Ok(Some(Current { number: manifest.number, file, pem }));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(DiskError::Io { action: "read", path: file, error }),
            }
        }
        let path = self.path.join(MANIFEST);
        Err(DiskError::Damaged { path, why: "the file of certificates that it names is missing".to_owned() })
    }

    fn manifest(&self) -> Result<Option<Manifest>, DiskError> {
        let path = self.path.join(MANIFEST);
        let text = match read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DiskError::Io { action: "read", path, error }),
        };
        let manifest = Manifest::parse(&text).map_err(|why| DiskError::Damaged { path, why })?;
        if manifest.domain != self.domain.as_str() {
            return Err(DiskError::OtherDomain {
                path: self.path.clone(),
                found: manifest.domain,
                expected: self.domain,
            });
        }
        Ok(Some(manifest))
    }

    fn must_be(&self, expected: Domain) -> Result<(), DiskError> {
        if self.domain == expected {
            return Ok(());
        }
        let found = self.domain.as_str().to_owned();
        Err(DiskError::OtherDomain { path: self.path.clone(), found, expected })
    }
}

/// Reads a regular file of bearable size; a pipe would hang us.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() || metadata.len() > files::MAX_FILE_BYTES {
        return Err(io::Error::other("not a regular file of bearable size"));
    }
    fs::read(path)
}

#[cfg(test)]
mod tests;
