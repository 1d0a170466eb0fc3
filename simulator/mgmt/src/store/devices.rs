//! Devices, and which may become one.

use biotrust_certs::Certificate;
use biotrust_mgmt::Sha256;
use biotrust_mgmt::message::Report;
use biotrust_model::time::UtcMillis;
use biotrust_model::{DeviceIdentity, Level};
use serde::Serialize;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::{Store, StoreError};

/// Where a device is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceState {
    /// It has, or may have, a certificate.
    Registered,
    /// It is to destroy its keys.
    Deregistering,
    /// It has none; it may not register before an operator approves it again.
    Deregistered,
    /// As that, and approved again.
    Approved,
}

impl DeviceState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Deregistering => "deregistering",
            Self::Deregistered => "deregistered",
            Self::Approved => "approved",
        }
    }

    fn read(text: &str) -> Result<Self, StoreError> {
        [Self::Registered, Self::Deregistering, Self::Deregistered, Self::Approved]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(StoreError::Unreadable("a state of a device"))
    }
}

impl std::fmt::Display for DeviceState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Device {
    /// Serial number.
    pub serial: String,
    /// Brand.
    pub make: String,
    /// Model.
    pub model: String,
    /// Level that its evidence was worth.
    pub level: String,
    /// Where it is in its life.
    pub state: DeviceState,
    /// SHA-256 of its chip's key: the serial number belongs to this chip. Absent for keys on the host.
    pub chip_key: Option<String>,
    /// SHA-256 of its chip certificate.
    pub chip_certificate: Option<String>,
    /// SHA-256 of the device key in use.
    pub current_key: Option<String>,
    /// Highest security version number that was proven.
    pub svn_floor: i64,
    /// When it first registered.
    pub registered_at: i64,
    /// When a rotation was ordered.
    pub rotate_ordered: Option<i64>,
    /// When a report was ordered.
    pub report_ordered: Option<i64>,
    /// When it was last heard of.
    pub last_seen: Option<i64>,
    /// Its state at that time.
    pub status: Option<String>,
    /// Its firmware at that time.
    pub firmware: Option<String>,
    /// Its last full report, JSON.
    pub report: Option<String>,
}

fn read(row: &AnyRow) -> Result<Device, StoreError> {
    let state: String = row.try_get("state")?;
    Ok(Device {
        serial: row.try_get("serial")?,
        make: row.try_get("make")?,
        model: row.try_get("model")?,
        level: row.try_get("level")?,
        state: DeviceState::read(&state)?,
        chip_key: row.try_get("chip_key")?,
        chip_certificate: row.try_get("chip_certificate")?,
        current_key: row.try_get("current_key")?,
        svn_floor: row.try_get("svn_floor")?,
        registered_at: row.try_get("registered_at")?,
        rotate_ordered: row.try_get("rotate_ordered")?,
        report_ordered: row.try_get("report_ordered")?,
        last_seen: row.try_get("last_seen")?,
        status: row.try_get("status")?,
        firmware: row.try_get("firmware")?,
        report: row.try_get("report")?,
    })
}

/// A device whose evidence is good, with the certificate that was made for it.
#[derive(Debug)]
pub struct Registration<'a> {
    /// Who it is.
    pub identity: &'a DeviceIdentity,
    /// Level that its evidence is worth.
    pub level: Level,
    /// Certificate of the chip that speaks for it, where one does.
    pub chip: Option<&'a Certificate>,
    /// Its security version number.
    pub svn: u64,
    /// It has no key in use by its own account.
    pub anew: bool,
    /// The device certificate.
    pub certificate: &'a Certificate,
}

impl Store {
    /// The device with this serial number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn device(&self, serial: &str) -> Result<Option<Device>, StoreError> {
        let row = sqlx::query("SELECT * FROM devices WHERE serial = $1")
            .bind(serial)
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// The device that this chip speaks for.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn device_of_chip(&self, chip_key: &Sha256) -> Result<Option<Device>, StoreError> {
        let row = sqlx::query("SELECT * FROM devices WHERE chip_key = $1")
            .bind(chip_key.to_string())
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// Every device, by serial number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn devices(&self) -> Result<Vec<Device>, StoreError> {
        let rows = sqlx::query("SELECT * FROM devices ORDER BY serial").fetch_all(&self.pool).await?;
        rows.iter().map(read).collect()
    }

    /// Whether a serial number or a model is approved.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_approved(&self, serial: &str, model: Option<&str>) -> Result<bool, StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS found FROM approved
             WHERE (kind = 'serial' AND value = $1) OR (kind = 'model' AND value = $2)",
        )
        .bind(serial)
        .bind(model.unwrap_or_default())
        .fetch_one(&self.pool)
        .await?;
        Ok(row.try_get::<i64, _>("found")? > 0)
    }

    /// Approves a serial number; one that was de-registered, or an L0 device that lost its key, may register anew.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn approve_serial(&self, serial: &str, now: UtcMillis) -> Result<(), StoreError> {
        self.approve("serial", serial, now).await?;
        sqlx::query(
            "UPDATE devices SET state = 'approved'
             WHERE serial = $1 AND (state = 'deregistered' OR (state = 'registered' AND chip_key IS NULL))",
        )
        .bind(serial)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Approves a model: its L1 devices may register.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn approve_model(&self, model: &str, now: UtcMillis) -> Result<(), StoreError> {
        self.approve("model", model, now).await
    }

    async fn approve(&self, kind: &str, value: &str, now: UtcMillis) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO approved (kind, value, at) VALUES ($1, $2, $3) ON CONFLICT (kind, value) DO NOTHING",
        )
        .bind(kind)
        .bind(value)
        .bind(now.0)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Notes a device and its new certificate, before that is handed out. `false` where the key, the chip or the serial
    /// number got another owner in between.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn register(
        &self,
        registration: &Registration<'_>,
        now: UtcMillis,
    ) -> Result<bool, StoreError> {
        let Registration { identity, level, chip, svn, anew, certificate } = registration;
        let chip_key = chip.map(|chip| Sha256::of(chip.spki_der()).to_string());
        let mut transaction = self.begin().await?;
        if !Self::add_key(&mut transaction, &identity.serial_no, certificate, now).await? {
            return Ok(false);
        }
        // The first key counts as in use at once, and one that takes the place of a first key which never came into use; a
        // later one when the device says so.
        let first = Sha256::of(certificate.spki_der()).to_string();
        let done = sqlx::query(
            "INSERT INTO devices (serial, make, model, level, state, chip_key, chip_certificate, current_key, svn_floor,
                                  registered_at)
             VALUES ($1, $2, $3, $4, 'registered', $5, $6, $7, $8, $9)
             ON CONFLICT (serial) DO UPDATE SET level = excluded.level, chip_certificate = excluded.chip_certificate,
                 state = CASE WHEN devices.state = 'approved' THEN 'registered' ELSE devices.state END,
                 current_key = CASE WHEN devices.state = 'approved' OR devices.current_key IS NULL OR ($10 = 1 AND EXISTS
                     (SELECT 1 FROM keys WHERE keys.spki = devices.current_key AND keys.confirmed_at IS NULL))
                     THEN excluded.current_key ELSE devices.current_key END,
                 svn_floor = CASE WHEN excluded.svn_floor > devices.svn_floor
                     THEN excluded.svn_floor ELSE devices.svn_floor END
             WHERE devices.state IN ('registered', 'approved')
                 AND COALESCE(devices.chip_key, '') = COALESCE(excluded.chip_key, '')",
        )
        .bind(&identity.serial_no)
        .bind(&identity.make)
        .bind(&identity.model)
        .bind(level.as_str())
        .bind(chip_key)
        .bind(chip.map(|chip| chip.sha256()))
        .bind(first)
        .bind(i64::try_from(*svn).unwrap_or(i64::MAX))
        .bind(now.0)
        .bind(i64::from(*anew))
        .execute(&mut *transaction)
        .await;
        let done = match done {
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => return Ok(false), // the chip
            done => done?,
        };
        if done.rows_affected() != 1 {
            return Ok(false);
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// The device was here.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn seen(&self, serial: &str, report: &Report, now: UtcMillis) -> Result<(), StoreError> {
        let full = (!report.notices.is_empty()).then(|| serde_json::to_string(report).unwrap_or_default());
        sqlx::query(
            "UPDATE devices SET last_seen = $1, status = $2, firmware = $3, report = COALESCE($4, report)
             WHERE serial = $5",
        )
        .bind(now.0)
        .bind(report.status.as_str())
        .bind(&report.firmware)
        .bind(full)
        .bind(serial)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Orders a rotation. `false` where there is no such device with a certificate.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn order_rotation(&self, serial: &str, now: UtcMillis) -> Result<bool, StoreError> {
        self.order(
            "UPDATE devices SET rotate_ordered = $1 WHERE serial = $2 AND state = 'registered'",
            serial,
            now,
        )
        .await
    }

    /// Orders a report. `false` where there is no such device with a certificate.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn order_report(&self, serial: &str, now: UtcMillis) -> Result<bool, StoreError> {
        self.order(
            "UPDATE devices SET report_ordered = $1 WHERE serial = $2 AND state = 'registered'",
            serial,
            now,
        )
        .await
    }

    /// The report was ordered from the device.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn report_passed_on(&self, serial: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE devices SET report_ordered = NULL WHERE serial = $1")
            .bind(serial)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Orders the end of a device's keys, and takes its approval away. `false` where there is no such device.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn order_farewell(&self, serial: &str) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE devices SET state = CASE WHEN state = 'approved' THEN 'deregistered' ELSE 'deregistering' END
             WHERE serial = $1 AND state IN ('registered', 'deregistering', 'approved')",
        )
        .bind(serial)
        .execute(&self.pool)
        .await?;
        sqlx::query("DELETE FROM approved WHERE kind = 'serial' AND value = $1")
            .bind(serial)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    async fn order(&self, statement: &'static str, serial: &str, now: UtcMillis) -> Result<bool, StoreError> {
        let done = sqlx::query(statement).bind(now.0).bind(serial).execute(&self.pool).await?;
        Ok(done.rows_affected() == 1)
    }
}
