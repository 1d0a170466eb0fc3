//! Firmware updates: ordered, handed out, and how they ended.

use biotrust_mgmt::Sha256;
use biotrust_mgmt::message::UpdateOutcome;
use biotrust_model::time::UtcMillis;
use serde::Serialize;
use sqlx::Row as _;

use super::{Store, StoreError};

/// An update of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Update {
    /// Random; part of the image's path.
    pub id: String,
    /// Device.
    pub serial: String,
    /// Signed manifest.
    pub manifest: String,
    /// `ordered`, `done`, `failed`, `replaced`.
    pub state: String,
    /// Why it failed.
    pub error: Option<String>,
}

impl Store {
    /// Orders an update; one that was ordered before and is not done is replaced.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn order_update(
        &self,
        id: &str,
        serial: &str,
        manifest: &str,
        image: Vec<u8>,
        now: UtcMillis,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        sqlx::query("UPDATE updates SET state = 'replaced' WHERE serial = $1 AND state = 'ordered'")
            .bind(serial)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "INSERT INTO updates (id, serial, manifest, manifest_sha256, image, state, ordered_at)
             VALUES ($1, $2, $3, $4, $5, 'ordered', $6)",
        )
        .bind(id)
        .bind(serial)
        .bind(manifest)
        .bind(Sha256::of(manifest.as_bytes()).to_string())
        .bind(image)
        .bind(now.0)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The updates of a device, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn updates_of(&self, serial: &str) -> Result<Vec<Update>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, serial, manifest, state, error FROM updates WHERE serial = $1 ORDER BY ordered_at, id",
        )
        .bind(serial)
        .fetch_all(&self.pool)
        .await?;
        let mut updates = Vec::with_capacity(rows.len());
        for row in &rows {
            updates.push(Update {
                id: row.try_get("id")?,
                serial: row.try_get("serial")?,
                manifest: row.try_get("manifest")?,
                state: row.try_get("state")?,
                error: row.try_get("error")?,
            });
        }
        Ok(updates)
    }

    /// How an update ended. May be said again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn update_ended(&self, serial: &str, outcome: &UpdateOutcome) -> Result<(), StoreError> {
        let state = if outcome.error.is_some() { "failed" } else { "done" };
        sqlx::query(
            "UPDATE updates SET state = $1, error = $2
             WHERE serial = $3 AND manifest_sha256 = $4 AND state = 'ordered'",
        )
        .bind(state)
        .bind(outcome.error.clone())
        .bind(serial)
        .bind(outcome.manifest_sha256.to_string())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The image of an update that is under way.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn image(&self, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let row = sqlx::query("SELECT image FROM updates WHERE id = $1 AND state = 'ordered'")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|row| row.try_get("image")).transpose()?)
    }
}
