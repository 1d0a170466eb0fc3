//! What must survive: which certificate belongs to which device key on this host, which keys were destroyed, which chip
//! was seen in which device. SQLite, WAL, `synchronous=FULL`.
//!
//! A row is written before its effect (the key slot is switched, a key is destroyed), so that a kill at any instant can
//! be made good at the next start: see `fleet::enrol::reconcile`. Blocking; called from the threads of devices, never
//! from async code.

mod chips;
mod destroyed;
mod error;
mod floor;

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::{Connection, params};

pub use chips::{Owner, Remembered};
pub use destroyed::{Cause, Destruction};
pub use error::StoreError;
pub use floor::Floor;

/// "BTRS": tells our database from any other file of SQLite.
const APPLICATION_ID: i32 = 0x4254_5253;
/// Version of the tables.
const SCHEMA: i32 = 2;
/// How long to wait for another process that has the file.
const PATIENCE: Duration = Duration::from_secs(2);

/// A certificate chain and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// Leaf first, DER.
    pub chain: Vec<Vec<u8>>,
    /// False while the key that it belongs to has not been switched to.
    pub current: bool,
}

/// The open state file.
#[derive(Debug)]
pub struct Store {
    file: PathBuf,
    db: Connection,
}

impl Store {
    /// Opens `directory/state.db`, making both if they are missing (0700 and 0600).
    ///
    /// # Errors
    /// [`StoreError`]; a damaged file is left as it is.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
        let file = directory.join("state.db");
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|e| StoreError::io("create", directory, &e))?;
        std::fs::OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&file)
            .map_err(|e| StoreError::io("open", &file, &e))?;
        let db = Connection::open(&file).map_err(|e| StoreError::sqlite("open", &file, &e))?;
        let store = Self { file, db };
        store.prepare()?;
        Ok(store)
    }

    fn prepare(&self) -> Result<(), StoreError> {
        let fail = |e: rusqlite::Error| StoreError::sqlite("open", &self.file, &e);
        self.db.busy_timeout(PATIENCE).map_err(fail)?;
        let pragma =
            |name: &str| self.db.pragma_query_value(None, name, |row| row.get::<_, i32>(0)).map_err(fail);
        let (application, schema) = (pragma("application_id")?, pragma("user_version")?);
        let tables: i64 =
            self.db.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)).map_err(fail)?;
        if tables > 0 && application != APPLICATION_ID {
            let why = "it is a database of another program".to_owned();
            return Err(StoreError::Damaged { file: self.file.clone(), why });
        }
        if schema > SCHEMA {
            return Err(StoreError::TooNew { file: self.file.clone(), found: schema });
        }
        self.db
            .execute_batch(&format!(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
                 BEGIN IMMEDIATE;
                 CREATE TABLE IF NOT EXISTS enrolment (
                     device  TEXT NOT NULL,
                     current INTEGER NOT NULL CHECK (current IN (0, 1)),
                     chain   TEXT NOT NULL,
                     PRIMARY KEY (device, current)
                 ) STRICT;
                 CREATE TABLE IF NOT EXISTS destroyed_keys (
                     device      TEXT NOT NULL,
                     spki_sha256 TEXT NOT NULL,
                     cause       TEXT NOT NULL,
                     at          INTEGER NOT NULL,
                     done        INTEGER NOT NULL CHECK (done IN (0, 1)),
                     PRIMARY KEY (device, spki_sha256)
                 ) STRICT;
                 CREATE TABLE IF NOT EXISTS chips (
                     provider TEXT NOT NULL,
                     serial   TEXT NOT NULL,
                     chip     BLOB NOT NULL UNIQUE,
                     since    INTEGER NOT NULL,
                     PRIMARY KEY (provider, serial)
                 ) STRICT;
                 CREATE TABLE IF NOT EXISTS chip_versions (
                     chip BLOB NOT NULL PRIMARY KEY,
                     svn  INTEGER NOT NULL
                 ) STRICT;
                 CREATE TABLE IF NOT EXISTS floors (
                     name  TEXT NOT NULL PRIMARY KEY,
                     value INTEGER NOT NULL
                 ) STRICT;
                 PRAGMA application_id={APPLICATION_ID};
                 PRAGMA user_version={SCHEMA};
                 COMMIT;"
            ))
            .map_err(fail)
    }

    /// The enrolments of a device: the current one first, then one that is being switched to.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn enrolments(&self, device: &str) -> Result<Vec<Enrolment>, StoreError> {
        let fail = |e: rusqlite::Error| StoreError::sqlite("read", &self.file, &e);
        let mut query = self
            .db
            .prepare_cached("SELECT current, chain FROM enrolment WHERE device = ?1 ORDER BY current DESC")
            .map_err(fail)?;
        let rows = query
            .query_map([device], |row| Ok((row.get::<_, bool>(0)?, row.get::<_, String>(1)?)))
            .map_err(fail)?;
        rows.map(|row| {
            let (current, chain) = row.map_err(fail)?;
            Ok(Enrolment { chain: self.decode(device, &chain)?, current })
        })
        .collect()
    }

    /// Writes the chain that is about to become current. A crash after this is made good at the next start.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_pending(&self, device: &str, chain: &[Vec<u8>]) -> Result<(), StoreError> {
        self.write(
            "INSERT INTO enrolment (device, current, chain) VALUES (?1, 0, ?2)
             ON CONFLICT (device, current) DO UPDATE SET chain = excluded.chain",
            params![device, encode(chain)],
        )
    }

    /// Makes the pending chain the current one, and writes down that the key before it is `destroyed`.
    ///
    /// # Errors
    /// [`StoreError::NothingPending`] where there is none: a certificate that is lost must not look like one that is
    /// installed. Nothing has changed then.
    pub fn confirm(&mut self, device: &str, destroyed: Option<&Destruction>) -> Result<(), StoreError> {
        let fail = |e| StoreError::sqlite("write", &self.file, &e);
        let transaction = self.db.transaction().map_err(fail)?;
        transaction
            .execute("DELETE FROM enrolment WHERE device = ?1 AND current = 1", [device])
            .map_err(fail)?;
        let confirmed = transaction
            .execute("UPDATE enrolment SET current = 1 WHERE device = ?1 AND current = 0", [device])
            .map_err(fail)?;
        if confirmed == 0 {
            return Err(StoreError::NothingPending { device: device.to_owned() });
        }
        destroyed.iter().try_for_each(|one| record(&transaction, device, one, true)).map_err(fail)?;
        transaction.commit().map_err(fail)
    }

    /// Forgets the certificates of a device, and writes down that `keys` are going to be destroyed.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    pub fn forget(&mut self, device: &str, keys: &[Destruction]) -> Result<(), StoreError> {
        let fail = |e| StoreError::sqlite("write", &self.file, &e);
        let transaction = self.db.transaction().map_err(fail)?;
        transaction.execute("DELETE FROM enrolment WHERE device = ?1", [device]).map_err(fail)?;
        keys.iter().try_for_each(|one| record(&transaction, device, one, false)).map_err(fail)?;
        transaction.commit().map_err(fail)
    }

    fn write(&self, sql: &str, values: impl rusqlite::Params) -> Result<(), StoreError> {
        self.db.execute(sql, values).map(drop).map_err(|e| StoreError::sqlite("write", &self.file, &e))
    }

    fn decode(&self, device: &str, chain: &str) -> Result<Vec<Vec<u8>>, StoreError> {
        chain.split_ascii_whitespace().map(|one| STANDARD.decode(one)).collect::<Result<_, _>>().map_err(
            |e| StoreError::Damaged {
                file: self.file.clone(),
                why: format!("certificates of {device}: {e}"),
            },
        )
    }
}

/// Writes down a destruction. One that is done stays done.
fn record(db: &Connection, device: &str, one: &Destruction, done: bool) -> rusqlite::Result<()> {
    let values = params![device, one.spki_sha256, one.cause.as_str(), one.at.0, done];
    db.execute(
        "INSERT INTO destroyed_keys (device, spki_sha256, cause, at, done) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (device, spki_sha256) DO UPDATE SET cause = excluded.cause, done = max(done, excluded.done)",
        values,
    )
    .map(drop)
}

/// One certificate a line, base64.
fn encode(chain: &[Vec<u8>]) -> String {
    chain.iter().map(|der| STANDARD.encode(der)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pending_chain_replaces_the_current_one_only_when_confirmed() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path()).unwrap();
        store.put_pending("S1", &[b"a".to_vec(), b"ca".to_vec()]).unwrap();
        store.confirm("S1", None).unwrap();
        store.put_pending("S1", &[b"b".to_vec()]).unwrap();
        drop(store);

        let mut store = Store::open(directory.path()).unwrap();
        let both = store.enrolments("S1").unwrap();
        assert_eq!(
            both.iter().map(|e| (e.current, e.chain.len())).collect::<Vec<_>>(),
            [(true, 2), (false, 1)]
        );
        store.confirm("S1", None).unwrap();
        assert_eq!(
            store.enrolments("S1").unwrap(),
            [Enrolment { chain: vec![b"b".to_vec()], current: true }]
        );
        store.forget("S1", &[]).unwrap();
        assert!(store.enrolments("S1").unwrap().is_empty());
    }

    #[test]
    fn confirming_what_is_not_there_is_an_error_and_loses_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path()).unwrap();
        assert!(matches!(store.confirm("S1", None), Err(StoreError::NothingPending { .. })));
        store.put_pending("S1", &[b"a".to_vec()]).unwrap();
        store.put_pending("S2", &[b"z".to_vec()]).unwrap();
        store.confirm("S1", None).unwrap();
        let error = store.confirm("S1", None).unwrap_err();
        assert!(matches!(&error, StoreError::NothingPending { device } if device == "S1"), "{error}");
        let current = |der: &[u8]| [Enrolment { chain: vec![der.to_vec()], current: true }];
        assert_eq!(store.enrolments("S1").unwrap(), current(b"a"), "what was current still is");
        store.confirm("S2", None).unwrap();
        assert_eq!(store.enrolments("S2").unwrap(), current(b"z"));
    }

    /// What to do about an error that is not damage; never "move it away".
    fn advice(error: StoreError) -> String {
        let text = error.to_string();
        assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
        assert!(
            text.contains("state.db") && !text.contains("move it away") && text.lines().count() == 1,
            "{text}"
        );
        text
    }

    #[test]
    fn a_file_that_another_process_has_is_not_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let other = Connection::open(directory.path().join("state.db")).unwrap();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let text = advice(Store::open(directory.path()).unwrap_err());
        assert!(text.contains("another process uses it"), "{text}");
        other.execute_batch("COMMIT").unwrap();
        Store::open(directory.path()).unwrap();
    }

    #[test]
    fn a_full_disk_is_not_damage() {
        let directory = tempfile::tempdir().unwrap();
        let (full, file) = (
            |db: &Connection| db.execute_batch("PRAGMA max_page_count=1"),
            directory.path().join("state.db"),
        );
        let store = Store { db: Connection::open(&file).unwrap(), file };
        full(&store.db).unwrap();
        let text = advice(store.prepare().unwrap_err());
        assert!(text.contains("cannot open") && text.contains("make room"), "{text}");
        drop(store);

        let store = Store::open(directory.path()).unwrap();
        full(&store.db).unwrap();
        let text = advice(store.put_pending("S1", &[vec![0; 100_000]]).unwrap_err());
        assert!(text.contains("cannot write") && text.contains("make room"), "{text}");
        assert!(store.enrolments("S1").unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_written_is_not_damaged() {
        // SQLite's own kind of read-only, because root may write anything
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        store.db.execute_batch("PRAGMA query_only=1").unwrap();
        let text = advice(store.prepare().unwrap_err());
        assert!(text.contains("must be able to write it"), "{text}");

        // a directory that takes no new file, as SQLite sees it
        let directory = tempfile::tempdir().unwrap();
        drop(Store::open(directory.path()).unwrap());
        std::fs::create_dir(directory.path().join("state.db-wal")).unwrap();
        let text = advice(Store::open(directory.path()).unwrap_err());
        assert!(text.contains("must be able to write it and its directory"), "{text}");

        let error = std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem);
        let text = advice(StoreError::io("open", Path::new("/state/state.db"), &error));
        assert!(text.contains("must be able to write it"), "{text}");
    }

    #[test]
    fn pages_that_are_garbled_are_damage() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("state.db");
        drop(Store::open(directory.path()).unwrap());
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[100..].fill(0xA5);
        std::fs::write(&file, &bytes).unwrap();
        assert!(matches!(Store::open(directory.path()), Err(StoreError::Damaged { .. })));
        assert_eq!(std::fs::read(&file).unwrap(), bytes);
    }

    #[test]
    fn a_damaged_file_is_named_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("state.db");
        let garbage = b"this is not a database, it is what a broken disk left behind.....".repeat(40);
        std::fs::write(&file, &garbage).unwrap();
        let error = Store::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains("state.db") && error.contains("Nothing was changed"), "{error}");
        assert!(!error.contains('\n'));
        assert_eq!(std::fs::read(&file).unwrap(), garbage);
    }

    #[test]
    fn a_file_of_another_program_or_a_later_version_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let db = Connection::open(directory.path().join("state.db")).unwrap();
        db.execute_batch("CREATE TABLE other (x)").unwrap();
        assert!(matches!(Store::open(directory.path()), Err(StoreError::Damaged { .. })));
        db.execute_batch(&format!("PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version=99")).unwrap();
        assert!(matches!(Store::open(directory.path()), Err(StoreError::TooNew { found: 99, .. })));
    }
}
