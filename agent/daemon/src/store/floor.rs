//! Numbers that only go up: what was newer once is never followed by something older.

use rusqlite::{OptionalExtension as _, params};

use super::{Store, StoreError};

/// Which number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Floor {
    /// The rolling number of the adopter's list of models.
    Models,
}

impl Floor {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Models => "models",
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Models => "the list of models",
        }
    }
}

impl Store {
    /// Raises the floor to `value`, which is about to be used.
    ///
    /// # Errors
    /// [`StoreError::Rollback`] where a higher one was used before.
    pub fn raise(&mut self, floor: Floor, value: u64) -> Result<(), StoreError> {
        let fail = |e| StoreError::sqlite("write", &self.file, &e);
        let transaction = self.db.transaction().map_err(fail)?;
        let held: Option<i64> = transaction
            .query_row("SELECT value FROM floors WHERE name = ?1", [floor.as_str()], |row| row.get(0))
            .optional()
            .map_err(fail)?;
        let held = held.and_then(|held| u64::try_from(held).ok()).unwrap_or_default();
        if value < held {
            return Err(StoreError::Rollback { what: floor.what(), found: value, held });
        }
        transaction
            .execute(
                "INSERT INTO floors (name, value) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                params![floor.as_str(), i64::try_from(value).unwrap_or(i64::MAX)],
            )
            .map_err(fail)?;
        transaction.commit().map_err(fail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_only_goes_up_also_over_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path()).unwrap();
        for number in [3, 3, 7] {
            store.raise(Floor::Models, number).unwrap();
        }
        drop(store);
        let mut store = Store::open(directory.path()).unwrap();
        let error = store.raise(Floor::Models, 6).unwrap_err();
        assert!(matches!(error, StoreError::Rollback { found: 6, held: 7, .. }), "{error}");
        store.raise(Floor::Models, 7).unwrap();
    }
}
