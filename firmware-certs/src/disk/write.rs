//! Replacing a store, in steps that each leave a whole store behind.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use super::manifest::Manifest;
use super::{DiskError, MANIFEST, StoreDir};
use crate::{BundleProblem, Certificate, StoreError};

const NEW_MANIFEST: &str = "manifest.toml.new";
const LOCK: &str = "lock";

/// What has just been done; a test may stop the writer there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Locked,
    CertificatesWritten,
    CertificatesDurable,
    ManifestWritten,
    Renamed,
    Durable,
    Done,
}

impl StoreDir {
    /// [`StoreDir::replace`]; `after` is told of each step, and its error ends the work there and then, as a power cut
    /// would: nothing is tidied up.
    pub(super) fn replace_step_by_step(
        &self,
        number: u64,
        certificates: &[Certificate],
        after: &mut dyn FnMut(Step) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        let pem = pem_of(certificates)?;
        let manifest = Manifest::of(self.domain, number, certificates.len(), pem.as_bytes());
        let mut after =
            |step| after(step).map_err(|error| io_error("continue after writing", &self.path, error));

        fs::create_dir_all(&self.path).map_err(|error| io_error("make", &self.path, error))?;
        let _lock = self.lock()?; // freed when it goes out of scope, and by the system when the process ends
        after(Step::Locked)?;
        if let Some(known) = self.manifest()? {
            if number < known.number {
                return Err(DiskError::Downgrade { offered: number, known: known.number }.into());
            }
            if number == known.number && manifest.sha256 != known.sha256 {
                return Err(DiskError::SameNumber(number).into());
            }
            // Never write over the file that is in use; only a damaged one is written anew.
            if number == known.number && self.current().is_ok() {
                return Ok(());
            }
        }
        let file = self.path.join(manifest.file_name());
        write_durably(&file, pem.as_bytes())?;
        after(Step::CertificatesWritten)?;
        // The file must be found under its name before a manifest says so.
        sync_directory(&self.path)?;
        after(Step::CertificatesDurable)?;
        let new = self.path.join(NEW_MANIFEST);
        write_durably(&new, manifest.to_text().as_bytes())?;
        after(Step::ManifestWritten)?;
        fs::rename(&new, self.path.join(MANIFEST)).map_err(|error| io_error("rename", &new, error))?;
        after(Step::Renamed)?;
        sync_directory(&self.path)?;
        after(Step::Durable)?;
        self.tidy(&manifest.file_name());
        after(Step::Done)?;
        Ok(())
    }

    fn lock(&self) -> Result<File, DiskError> {
        let path = self.path.join(LOCK);
        let file = File::create(&path).map_err(|error| io_error("open", &path, error))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => Err(DiskError::Busy(self.path.clone())),
            Err(fs::TryLockError::Error(error)) => Err(io_error("lock", &path, error)),
        }
    }

    /// Removes the files of older stores, and of writers that were stopped. What cannot be removed does no harm.
    fn tidy(&self, keep: &str) {
        let Ok(entries) = fs::read_dir(&self.path) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("certificates-") && name.ends_with(".pem") && name != keep {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn pem_of(certificates: &[Certificate]) -> Result<String, StoreError> {
    if certificates.is_empty() {
        return Err(DiskError::Empty.into());
    }
    if let Some(index) = certificates.iter().position(|certificate| !certificate.is_ca()) {
        let subject = certificates.get(index).map(|c| c.subject().to_string()).unwrap_or_default();
        let problem = BundleProblem::NotCa { subject };
        return Err(StoreError::Bundle { file: "the new store".to_owned(), position: index + 1, problem });
    }
    Ok(certificates.iter().map(Certificate::to_pem).collect())
}

fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error| io_error("write", path, error))
}

fn sync_directory(path: &Path) -> Result<(), DiskError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(|error| io_error("sync", path, error))
}

fn io_error(action: &'static str, path: &Path, error: io::Error) -> DiskError {
    DiskError::Io { action, path: path.to_owned(), error }
}
