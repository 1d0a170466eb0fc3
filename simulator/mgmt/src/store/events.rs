//! The audit trail: every decision, with the check that failed. Nothing in it is ever changed.

use biotrust_model::time::UtcMillis;
use serde::Serialize;
use sqlx::Row as _;

use super::{Store, StoreError};

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Counts up.
    pub seq: i64,
    /// When, UTC milliseconds.
    pub at: i64,
    /// Serial number as the message said it.
    pub serial: String,
    /// Kind of the message, or `operator`.
    pub kind: String,
    /// `accepted` or `refused`.
    pub outcome: String,
    /// The check that failed.
    pub check: Option<String>,
    /// In words.
    pub text: String,
}

impl Store {
    /// Adds a decision.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn record(
        &self,
        now: UtcMillis,
        serial: &str,
        kind: &str,
        check: Option<&str>,
        text: &str,
    ) -> Result<(), StoreError> {
        let outcome = if check.is_some() { "refused" } else { "accepted" };
        let short = |text: &str| text.chars().filter(|c| !c.is_control()).take(500).collect::<String>();
        sqlx::query(
            "INSERT INTO events (at, serial, kind, outcome, failed_check, detail) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(now.0)
        .bind(short(serial))
        .bind(kind)
        .bind(outcome)
        .bind(check.map(short))
        .bind(short(text))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The last `most` decisions, oldest first; of one device where `serial` is given.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn events(&self, serial: Option<&str>, most: u32) -> Result<Vec<Event>, StoreError> {
        let rows = sqlx::query(
            "SELECT seq, at, serial, kind, outcome, failed_check, detail FROM events
             WHERE serial = $1 OR $2 = 1 ORDER BY seq DESC LIMIT $3",
        )
        .bind(serial.unwrap_or_default())
        .bind(i64::from(serial.is_none()))
        .bind(i64::from(most))
        .fetch_all(&self.pool)
        .await?;
        let mut events = Vec::with_capacity(rows.len());
        for row in rows.iter().rev() {
            events.push(Event {
                seq: row.try_get("seq")?,
                at: row.try_get("at")?,
                serial: row.try_get("serial")?,
                kind: row.try_get("kind")?,
                outcome: row.try_get("outcome")?,
                check: row.try_get("failed_check")?,
                text: row.try_get("detail")?,
            });
        }
        Ok(events)
    }
}
