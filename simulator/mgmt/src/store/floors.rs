//! Numbers that never go back.

use sqlx::Row as _;

use super::{Store, StoreError};

/// The number of the model metadata.
const METADATA: &str = "metadata";

impl Store {
    /// Lowest number of model metadata that is used: that of the newest that ever was.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn metadata_floor(&self) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT number FROM floors WHERE name = $1")
            .bind(METADATA)
            .fetch_optional(&self.pool)
            .await?;
        let number: i64 = row.map_or(Ok(0), |row| row.try_get("number"))?;
        Ok(u64::try_from(number).unwrap_or_default())
    }

    /// Raises it; a lower number changes nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn raise_metadata_floor(&self, number: u64) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO floors (name, number) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET number = excluded.number
             WHERE excluded.number > floors.number",
        )
        .bind(METADATA)
        .bind(i64::try_from(number).unwrap_or(i64::MAX))
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
