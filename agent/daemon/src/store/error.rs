//! Why the state could not be read or written, and what to do: advice for a full disk must not be "move it away".

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use super::SCHEMA;

/// Why the state could not be read or written. Each names the file and what to do; the file is never touched.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is damaged or is something else.
    #[error(
        "the state file {file} is not usable: {why}. Nothing was changed. Restore it from a backup, or move it away: \
         the devices of this host must then be enrolled again"
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What SQLite or we found.
        why: String,
    },
    /// Written by a later version of biotrustd.
    #[error(
        "the state file {file} was written by a later version (schema {found}, this one knows {SCHEMA}); use that version"
    )]
    TooNew {
        /// The file.
        file: PathBuf,
        /// Its schema.
        found: i32,
    },
    /// The system refused; what is in the file is as good as it was.
    #[error("cannot {doing} {file}: {why}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        file: PathBuf,
        /// Why not, and what to do about it.
        why: String,
    },
    /// Something older than what was used before.
    #[error("{what} has number {found}, and number {held} was used before; put the current one in place")]
    Rollback {
        /// What has the number.
        what: &'static str,
        /// Its number.
        found: u64,
        /// The highest one before.
        held: u64,
    },
    /// A certificate was to become current that is not there.
    #[error("no certificate of device {device} is waiting to become current: enrol it again")]
    NothingPending {
        /// Name of its key.
        device: String,
    },
}

impl StoreError {
    /// Damage only where SQLite has looked into the file and found it; everything else is about the way there.
    pub(super) fn sqlite(doing: &'static str, file: &Path, error: &rusqlite::Error) -> Self {
        use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
        let code = error.sqlite_error_code();
        let damaged = matches!(code, Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
            // a value that we never write
            || matches!(
                error,
                FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..)
            );
        let file = file.to_owned();
        match damaged {
            true => Self::Damaged { file, why: error.to_string() },
            false => Self::Io { doing, file, why: advised(error, code.and_then(remedy)) },
        }
    }

    pub(super) fn io(doing: &'static str, file: &Path, error: &io::Error) -> Self {
        let remedy = match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Some(MAKE_WRITABLE),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(MAKE_ROOM),
            _ => None,
        };
        Self::Io { doing, file: file.to_owned(), why: advised(error, remedy) }
    }
}

const MAKE_ROOM: &str = "make room on its disk";
const MAKE_WRITABLE: &str = "the user of biotrustd must be able to write it and its directory";

fn remedy(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::DiskFull => Some(MAKE_ROOM),
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => Some(MAKE_WRITABLE),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => Some(
            "another process uses it: end that one; each biotrustd needs a `directory` in [state] of its own",
        ),
        ErrorCode::SystemIoFailure => Some("its disk may be failing: see the kernel's log"),
        _ => None,
    }
}

fn advised(error: &dyn std::error::Error, remedy: Option<&str>) -> String {
    match remedy {
        Some(remedy) => format!("{error}; {remedy}"),
        None => error.to_string(),
    }
}
