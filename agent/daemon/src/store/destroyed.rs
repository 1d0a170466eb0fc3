//! The record of destroyed keys: which, when and why. It is what a provider is told, so it must neither miss a key nor
//! name one that still signs: a destruction is written down before it is carried out, and marked when it is done.

use biotrust_model::time::UtcMillis;
use rusqlite::params;

use super::{Store, StoreError};

/// Why a key was destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Another key took its place.
    Rotated,
    /// The device was de-registered.
    Deregistered,
}

impl Cause {
    /// Stable name, in the table and in status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rotated => "rotated",
            Self::Deregistered => "deregistered",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Rotated, Self::Deregistered].into_iter().find(|cause| cause.as_str() == name)
    }
}

/// A key that was destroyed, or is going to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destruction {
    /// SHA-256 of its SubjectPublicKeyInfo, upper-case hex.
    pub spki_sha256: String,
    /// Why.
    pub cause: Cause,
    /// When it was decided.
    pub at: UtcMillis,
}

impl Store {
    /// Writes down that a key is going to be destroyed.
    ///
    /// # Errors
    /// [`StoreError`]; the key must not be destroyed then.
    pub fn plan_destruction(&self, device: &str, planned: &Destruction) -> Result<(), StoreError> {
        super::record(&self.db, device, planned, false)
            .map_err(|e| StoreError::sqlite("write", &self.file, &e))
    }

    /// Everything planned for the device has been done.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn destruction_done(&self, device: &str) -> Result<(), StoreError> {
        self.write("UPDATE destroyed_keys SET done = 1 WHERE device = ?1 AND done = 0", [device])
    }

    /// Nothing planned for the device has been done, nor will it be.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn drop_planned(&self, device: &str) -> Result<(), StoreError> {
        self.write("DELETE FROM destroyed_keys WHERE device = ?1 AND done = 0", [device])
    }

    /// Destructions of keys of the device that were planned and may or may not have been carried out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn planned_destructions(&self, device: &str) -> Result<Vec<Destruction>, StoreError> {
        self.destructions(device, false)
    }

    /// Keys of the device that are destroyed, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn destroyed_keys(&self, device: &str) -> Result<Vec<Destruction>, StoreError> {
        self.destructions(device, true)
    }

    fn destructions(&self, device: &str, done: bool) -> Result<Vec<Destruction>, StoreError> {
        let fail = |e: rusqlite::Error| StoreError::sqlite("read", &self.file, &e);
        let mut query = self
            .db
            .prepare_cached(
                "SELECT spki_sha256, cause, at FROM destroyed_keys WHERE device = ?1 AND done = ?2 ORDER BY at, rowid",
            )
            .map_err(fail)?;
        let rows = query
            .query_map(params![device, done], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
            })
            .map_err(fail)?;
        rows.map(|row| {
            let (spki_sha256, cause, at) = row.map_err(fail)?;
            let cause = Cause::named(&cause).ok_or_else(|| StoreError::Damaged {
                file: self.file.clone(),
                why: format!("a key of {device} was destroyed for {cause:?}"),
            })?;
            Ok(Destruction { spki_sha256, cause, at: UtcMillis(at) })
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_planned_is_not_done_until_it_is_marked() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let key = |name: &str, cause| Destruction { spki_sha256: name.into(), cause, at: UtcMillis(7) };
        store.plan_destruction("S1", &key("a", Cause::Rotated)).unwrap();
        store.plan_destruction("S2", &key("b", Cause::Rotated)).unwrap();
        drop(store);

        let store = Store::open(directory.path()).unwrap();
        assert_eq!(store.planned_destructions("S1").unwrap(), [key("a", Cause::Rotated)]);
        assert!(store.destroyed_keys("S1").unwrap().is_empty());
        store.destruction_done("S1").unwrap();
        store.drop_planned("S1").unwrap();
        store.drop_planned("S2").unwrap();
        assert_eq!(store.destroyed_keys("S1").unwrap(), [key("a", Cause::Rotated)], "done stays done");
        assert!(store.planned_destructions("S1").unwrap().is_empty());
        assert!(store.destroyed_keys("S2").unwrap().is_empty(), "what was dropped never was");
    }
}
