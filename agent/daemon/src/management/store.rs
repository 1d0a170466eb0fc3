//! What the management of devices must not forget: a table of its own in the state file, one JSON value by name.
//!
//! A value is durable when [`Ledger::put`] returns (WAL, `synchronous=FULL`): whoever is about to act writes first what
//! it is about to do. Blocking; a write takes one or two flushes of the disk.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How long to wait for another connection that writes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why something could not be remembered or recalled.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {what:?} in {}: {why}", file.display())]
pub struct LedgerError {
    doing: &'static str,
    what: String,
    file: PathBuf,
    why: String,
}

/// The table, shared by clones.
#[derive(Debug, Clone)]
pub struct Ledger {
    file: Arc<Path>,
    db: Arc<Mutex<Connection>>,
}

impl Ledger {
    /// Opens the table in `directory/state.db`, which [`crate::store::Store::open`] has made.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn open(directory: &Path) -> Result<Self, LedgerError> {
        let file = directory.join("state.db");
        let fail = |error: rusqlite::Error| LedgerError {
            doing: "make the table",
            what: "ledger".into(),
            file: file.clone(),
            why: error.to_string(),
        };
        let db = Connection::open(&file).map_err(fail)?;
        db.busy_timeout(PATIENCE).map_err(fail)?;
        db.execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
             CREATE TABLE IF NOT EXISTS ledger (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;",
        )
        .map_err(fail)?;
        Ok(Self { file: file.clone().into(), db: Arc::new(Mutex::new(db)) })
    }

    /// The value of `name`.
    ///
    /// # Errors
    /// When the file cannot be read, or the value is not what it should be.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, LedgerError> {
        let query = "SELECT value FROM ledger WHERE name = ?1";
        let text: Option<String> = self
            .db()
            .query_row(query, [name], |row| row.get(0))
            .optional()
            .map_err(|error| self.failed("read", name, &error))?;
        text.map(|text| serde_json::from_str(&text).map_err(|error| self.failed("understand", name, &error)))
            .transpose()
    }

    /// Names that begin with `prefix`, in order.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>, LedgerError> {
        let db = self.db();
        let read = || {
            let mut query =
                db.prepare("SELECT name FROM ledger WHERE substr(name, 1, length(?1)) = ?1 ORDER BY name")?;
            query.query_map([prefix], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()
        };
        read().map_err(|error| self.failed("list", prefix, &error))
    }

    /// Writes `value` under `name`, durably.
    ///
    /// # Errors
    /// When the file cannot be written; nothing has changed then.
    pub fn put<T: Serialize>(&self, name: &str, value: &T) -> Result<(), LedgerError> {
        let text = serde_json::to_string(value).map_err(|error| self.failed("write", name, &error))?;
        self.db()
            .execute(
                "INSERT INTO ledger (name, value) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                params![name, text],
            )
            .map(drop)
            .map_err(|error| self.failed("write", name, &error))
    }

    /// Forgets `name`, durably.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn remove(&self, name: &str) -> Result<(), LedgerError> {
        let removed = self.db().execute("DELETE FROM ledger WHERE name = ?1", [name]);
        removed.map(drop).map_err(|error| self.failed("remove", name, &error))
    }

    fn failed(&self, doing: &'static str, what: &str, error: &dyn std::error::Error) -> LedgerError {
        LedgerError { doing, what: what.to_owned(), file: self.file.to_path_buf(), why: error.to_string() }
    }

    fn db(&self) -> MutexGuard<'_, Connection> {
        // every statement is a transaction: a panic leaves nothing half-written
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_and_the_state_file_stays_usable() {
        let directory = tempfile::tempdir().unwrap();
        let store = crate::store::Store::open(directory.path()).unwrap();
        let ledger = Ledger::open(directory.path()).unwrap();
        assert_eq!(ledger.get::<u32>("device/A").unwrap(), None);
        ledger.put("device/A", &1).unwrap();
        ledger.put("device/A", &2).unwrap();
        ledger.put("time", &"x").unwrap();
        store.put_pending("S1", &[b"a".to_vec()]).unwrap();
        drop((store, ledger));

        crate::store::Store::open(directory.path()).unwrap();
        let ledger = Ledger::open(directory.path()).unwrap();
        assert_eq!(ledger.get::<u32>("device/A").unwrap(), Some(2));
        assert_eq!(ledger.names("device/").unwrap(), ["device/A"]);
        let error = ledger.get::<u32>("time").unwrap_err().to_string();
        assert!(error.contains("time") && error.contains("state.db"), "{error}");
        ledger.remove("device/A").unwrap();
        assert_eq!(ledger.get::<u32>("device/A").unwrap(), None);
    }

    #[test]
    fn a_write_that_fails_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(directory.path()).unwrap();
        ledger.put("a", &1).unwrap();
        ledger.db().execute_batch("PRAGMA query_only=1").unwrap();
        let error = ledger.put("a", &2).unwrap_err().to_string();
        assert!(error.starts_with("cannot write \"a\" in "), "{error}");
        assert_eq!(ledger.get::<u32>("a").unwrap(), Some(1));
    }
}
