//! What was seen of chips: which chip belongs to which serial number, and the highest security version that each ran.
//!
//! Only what stood up to appraisal is remembered. A serial number that shows up on another chip, or a chip under another
//! serial number, is a clone or a repair; a technician who knows that it is a repair forgets the device. The version is
//! remembered by chip and survives that: forgetting must not be a way to older firmware.

use biotrust_model::time::UtcMillis;
use rusqlite::{OptionalExtension as _, params};

use super::{Store, StoreError};

/// A device, by the name that its provider gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Provider, as its devices name it; letter case and runs of spaces do not matter.
    pub provider: String,
    /// Serial number.
    pub serial: String,
}

impl Owner {
    /// A device of `provider`.
    #[must_use]
    pub fn new(provider: &str, serial: &str) -> Self {
        let words: Vec<_> = provider.split_whitespace().map(str::to_lowercase).collect();
        Self { provider: words.join(" "), serial: serial.to_owned() }
    }
}

/// What is remembered that concerns a device and the chip that it shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remembered {
    /// The chip that the device had: its SubjectPublicKeyInfo, DER.
    pub chip: Option<Vec<u8>>,
    /// The device that had the chip.
    pub owner: Option<Owner>,
}

impl Store {
    /// What is remembered of `owner` and of the chip (SubjectPublicKeyInfo, DER) that it shows now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remembered(&self, owner: &Owner, chip: &[u8]) -> Result<Remembered, StoreError> {
        let fail = |e: rusqlite::Error| StoreError::sqlite("read", &self.file, &e);
        let had = self
            .db
            .query_row(
                "SELECT chip FROM chips WHERE provider = ?1 AND serial = ?2",
                [&owner.provider, &owner.serial],
                |row| row.get(0),
            )
            .optional()
            .map_err(fail)?;
        let of = self
            .db
            .query_row("SELECT provider, serial FROM chips WHERE chip = ?1", [chip], |row| {
                Ok(Owner { provider: row.get(0)?, serial: row.get(1)? })
            })
            .optional()
            .map_err(fail)?;
        Ok(Remembered { chip: had, owner: of })
    }

    /// The highest security version that the chip ran, where it told.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn highest_svn(&self, chip: &[u8]) -> Result<Option<u64>, StoreError> {
        let svn = self
            .db
            .query_row("SELECT svn FROM chip_versions WHERE chip = ?1", [chip], |row| row.get::<_, i64>(0))
            .optional()
            .map_err(|e| StoreError::sqlite("read", &self.file, &e))?;
        Ok(svn.and_then(|svn| u64::try_from(svn).ok()))
    }

    /// Remembers that `owner` has `chip` and runs security version `svn`. What is remembered of either stays as it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remember(
        &mut self,
        owner: &Owner,
        chip: &[u8],
        svn: Option<u64>,
        at: UtcMillis,
    ) -> Result<(), StoreError> {
        let fail = |e| StoreError::sqlite("write", &self.file, &e);
        let transaction = self.db.transaction().map_err(fail)?;
        transaction
            .execute(
                "INSERT INTO chips (provider, serial, chip, since) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO NOTHING",
                params![owner.provider, owner.serial, chip, at.0],
            )
            .map_err(fail)?;
        if let Some(svn) = svn {
            transaction
                .execute(
                    "INSERT INTO chip_versions (chip, svn) VALUES (?1, ?2)
                     ON CONFLICT (chip) DO UPDATE SET svn = max(svn, excluded.svn)",
                    params![chip, i64::try_from(svn).unwrap_or(i64::MAX)],
                )
                .map_err(fail)?;
        }
        transaction.commit().map_err(fail)
    }

    /// Forgets which chip devices with this serial number have; tells whether any was known.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_chip(&self, serial: &str) -> Result<bool, StoreError> {
        let forgotten = self.db.execute("DELETE FROM chips WHERE serial = ?1", [serial]);
        forgotten.map(|rows| rows > 0).map_err(|e| StoreError::sqlite("write", &self.file, &e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chip_and_its_highest_version_are_remembered_and_the_version_is_never_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path()).unwrap();
        let (one, other) =
            (Owner::new("Example  Devices Ltd", "S1"), Owner::new("Example Devices Ltd", "S2"));
        assert_eq!(store.remembered(&one, b"a").unwrap(), Remembered::default());
        for svn in [Some(3), Some(5), Some(4), None] {
            store.remember(&one, b"a", svn, UtcMillis(1)).unwrap();
        }
        drop(store);

        let mut store = Store::open(directory.path()).unwrap();
        assert_eq!((store.highest_svn(b"a").unwrap(), store.highest_svn(b"b").unwrap()), (Some(5), None));
        let known = Remembered { chip: Some(b"a".to_vec()), owner: Some(one.clone()) };
        assert_eq!(store.remembered(&Owner::new("EXAMPLE devices ltd", "S1"), b"a").unwrap(), known);
        let clone = store.remembered(&one, b"b").unwrap();
        assert_eq!(clone, Remembered { chip: Some(b"a".to_vec()), owner: None });
        let moved = store.remembered(&other, b"a").unwrap();
        assert_eq!(moved, Remembered { chip: None, owner: Some(one.clone()) });
        store.remember(&other, b"a", None, UtcMillis(2)).unwrap();
        store.remember(&one, b"b", None, UtcMillis(2)).unwrap();
        assert_eq!(store.remembered(&other, b"a").unwrap(), moved, "one chip has one owner");
        assert_eq!(store.remembered(&one, b"b").unwrap(), clone, "one device has one chip");

        assert!(store.forget_chip("S1").unwrap() && !store.forget_chip("S1").unwrap());
        assert_eq!(store.remembered(&one, b"a").unwrap(), Remembered::default());
        assert_eq!(store.highest_svn(b"a").unwrap(), Some(5), "forgetting is no way to older firmware");
        store.remember(&one, b"b", Some(1), UtcMillis(3)).unwrap();
        assert_eq!(store.remembered(&one, b"b").unwrap().chip.as_deref(), Some(&b"b"[..]));
    }
}
