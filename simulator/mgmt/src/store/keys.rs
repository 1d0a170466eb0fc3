//! Device keys: which certificates were issued, and when their keys were destroyed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use biotrust_certs::Certificate;
use biotrust_mgmt::Sha256;
use biotrust_model::time::UtcMillis;
use serde::Serialize;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::{Store, StoreError};

/// A device key that was certified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Key {
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki: String,
    /// Device.
    pub serial: String,
    /// SHA-256 of the certificate.
    pub certificate: String,
    /// Last moment of the certificate.
    pub not_after: i64,
    /// When it was issued.
    pub issued_at: i64,
    /// When the device said that it uses it.
    pub confirmed_at: Option<i64>,
    /// When the device said that it destroyed the key.
    pub destroyed_at: Option<i64>,
}

fn read(row: &AnyRow) -> Result<Key, sqlx::Error> {
    Ok(Key {
        spki: row.try_get("spki")?,
        serial: row.try_get("serial")?,
        certificate: row.try_get("certificate")?,
        not_after: row.try_get("not_after")?,
        issued_at: row.try_get("issued_at")?,
        confirmed_at: row.try_get("confirmed_at")?,
        destroyed_at: row.try_get("destroyed_at")?,
    })
}

impl Store {
    /// The key with this SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn key(&self, spki: &Sha256) -> Result<Option<Key>, StoreError> {
        let row = sqlx::query(
            "SELECT spki, serial, certificate, not_after, issued_at, confirmed_at, destroyed_at FROM keys
             WHERE spki = $1",
        )
        .bind(spki.to_string())
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.as_ref().map(read).transpose()?)
    }

    /// All keys of a device, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keys_of(&self, serial: &str) -> Result<Vec<Key>, StoreError> {
        let rows = sqlx::query(
            "SELECT spki, serial, certificate, not_after, issued_at, confirmed_at, destroyed_at FROM keys
             WHERE serial = $1 ORDER BY issued_at, spki",
        )
        .bind(serial)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    /// Notes a certificate before it is handed out. `false` where this key was certified before.
    pub(super) async fn add_key(
        transaction: &mut sqlx::Transaction<'_, sqlx::Any>,
        serial: &str,
        certificate: &Certificate,
        now: UtcMillis,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO keys (spki, serial, certificate, der, not_after, issued_at) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (spki) DO NOTHING",
        )
        .bind(Sha256::of(certificate.spki_der()).to_string())
        .bind(serial)
        .bind(certificate.sha256())
        .bind(STANDARD.encode(certificate.der()))
        .bind(certificate.not_after().0)
        .bind(now.0)
        .execute(&mut **transaction)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// The device uses this certificate from now on, and has destroyed the key before it. `false` where no such
    /// certificate was issued to it. May be said again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn confirm(
        &self,
        serial: &str,
        certificate: &Sha256,
        destroyed: Option<&Sha256>,
        now: UtcMillis,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        let row = sqlx::query(
            "UPDATE keys SET confirmed_at = COALESCE(confirmed_at, $1)
             WHERE serial = $2 AND certificate = $3 AND destroyed_at IS NULL RETURNING spki, issued_at",
        )
        .bind(now.0)
        .bind(serial)
        .bind(certificate.to_string())
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(row) = row else { return Ok(false) };
        let (spki, issued_at): (String, i64) = (row.try_get("spki")?, row.try_get("issued_at")?);
        if let Some(gone) = destroyed.map(ToString::to_string).filter(|gone| *gone != spki) {
            sqlx::query(
                "UPDATE keys SET destroyed_at = COALESCE(destroyed_at, $1) WHERE serial = $2 AND spki = $3",
            )
            .bind(now.0)
            .bind(serial)
            .bind(gone)
            .execute(&mut *transaction)
            .await?;
        }
        sqlx::query(
            "UPDATE devices SET current_key = $1,
             rotate_ordered = CASE WHEN rotate_ordered <= $2 THEN NULL ELSE rotate_ordered END WHERE serial = $3",
        )
        .bind(spki)
        .bind(issued_at)
        .bind(serial)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// The device has destroyed its keys, this one being the last: where none is in use that was certified later, the device is
    /// de-registered. `false` where the device never had it. May be said again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn farewell(&self, serial: &str, spki: &Sha256, now: UtcMillis) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        let done = sqlx::query(
            "UPDATE keys SET destroyed_at = COALESCE(destroyed_at, $1) WHERE serial = $2 AND spki = $3",
        )
        .bind(now.0)
        .bind(serial)
        .bind(spki.to_string())
        .execute(&mut *transaction)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query(
            // The key in use by our account is an older one where the device could not report the last rotation any more.
            "UPDATE devices SET state = 'deregistered', current_key = NULL
             WHERE serial = $1 AND state <> 'approved' AND current_key IN (SELECT spki FROM keys WHERE serial = $2
                 AND issued_at <= (SELECT issued_at FROM keys WHERE spki = $3))",
        )
        .bind(serial)
        .bind(serial)
        .bind(spki.to_string())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(true)
    }
}
