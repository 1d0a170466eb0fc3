//! Challenges: given out, and taken once.

use biotrust_attest::Challenge;
use biotrust_mgmt::Nonce;
use biotrust_model::evidence::EvidencePurpose;
use biotrust_model::time::UtcMillis;
use sqlx::Row as _;

use super::{Store, StoreError};

/// Most challenges of one device that are open at once.
const MOST_OPEN: i64 = 8;

/// A challenge that was taken: nobody else can take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Serial number that it was given to.
    pub serial: String,
    /// SHA-256 of the key that asked for it.
    pub sender: String,
    /// The challenge.
    pub challenge: Challenge,
}

impl Store {
    /// Keeps a challenge that is given out. `false` where the device has too many open ones.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn give(&self, serial: &str, sender: &str, challenge: &Challenge) -> Result<bool, StoreError> {
        sqlx::query("DELETE FROM challenges WHERE expires_at < $1")
            .bind(challenge.issued_at.0)
            .execute(&self.pool)
            .await?;
        let row = sqlx::query("SELECT COUNT(*) AS open FROM challenges WHERE serial = $1 AND sender = $2")
            .bind(serial)
            .bind(sender)
            .fetch_one(&self.pool)
            .await?;
        if row.try_get::<i64, _>("open")? >= MOST_OPEN {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO challenges (nonce, serial, sender, purpose, issued_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(Nonce(challenge.nonce).to_string())
        .bind(serial)
        .bind(sender)
        .bind(challenge.purpose.as_str())
        .bind(challenge.issued_at.0)
        .bind(challenge.expires_at.0)
        .execute(&self.pool)
        .await?;
        Ok(true)
    }

    /// Takes a challenge: it exists no more, whatever comes of it. `None` where there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take(&self, nonce: Nonce, audience: &str) -> Result<Option<Taken>, StoreError> {
        let row = sqlx::query(
            "DELETE FROM challenges WHERE nonce = $1 RETURNING serial, sender, purpose, issued_at, expires_at",
        )
        .bind(nonce.to_string())
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let purpose: String = row.try_get("purpose")?;
        let purpose: EvidencePurpose =
            purpose.parse().map_err(|_| StoreError::Unreadable("a purpose of a challenge"))?;
        let challenge = Challenge {
            nonce: nonce.0,
            audience: audience.to_owned(),
            purpose,
            issued_at: UtcMillis(row.try_get("issued_at")?),
            expires_at: UtcMillis(row.try_get("expires_at")?),
        };
        Ok(Some(Taken { serial: row.try_get("serial")?, sender: row.try_get("sender")?, challenge }))
    }
}
