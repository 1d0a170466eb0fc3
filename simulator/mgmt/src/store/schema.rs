//! Tables, and their versions. A version is applied as a whole or not at all.
//!
//! Moments are UTC milliseconds; hashes are upper-case hexadecimal; certificates are DER in base64.

use sqlx::{AssertSqlSafe, Row as _};

use super::{Dialect, Store, StoreError};

/// Each entry brings the tables from its index to the next version. `{blob}` and `{counter}` are spelled by dialect.
const VERSIONS: &[&[&str]] = &[
    &[
        "CREATE TABLE devices (
        serial TEXT PRIMARY KEY,
        make TEXT NOT NULL,
        model TEXT NOT NULL,
        level TEXT NOT NULL,
        state TEXT NOT NULL,
        chip_key TEXT UNIQUE,
        chip_certificate TEXT,
        current_key TEXT,
        svn_floor BIGINT NOT NULL DEFAULT 0,
        registered_at BIGINT NOT NULL,
        rotate_ordered BIGINT,
        report_ordered BIGINT,
        last_seen BIGINT,
        status TEXT,
        firmware TEXT,
        report TEXT)",
        "CREATE TABLE approved (
        kind TEXT NOT NULL,
        value TEXT NOT NULL,
        at BIGINT NOT NULL,
        PRIMARY KEY (kind, value))",
        "CREATE TABLE keys (
        spki TEXT PRIMARY KEY,
        serial TEXT NOT NULL,
        certificate TEXT NOT NULL,
        der TEXT NOT NULL,
        not_after BIGINT NOT NULL,
        issued_at BIGINT NOT NULL,
        confirmed_at BIGINT,
        destroyed_at BIGINT)",
        "CREATE INDEX keys_of_device ON keys (serial)",
        "CREATE TABLE challenges (
        nonce TEXT PRIMARY KEY,
        serial TEXT NOT NULL,
        sender TEXT NOT NULL,
        purpose TEXT NOT NULL,
        issued_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL)",
        "CREATE TABLE seen (id TEXT PRIMARY KEY, until_ms BIGINT NOT NULL)",
        "CREATE INDEX seen_until ON seen (until_ms)",
        "CREATE TABLE updates (
        id TEXT PRIMARY KEY,
        serial TEXT NOT NULL,
        manifest TEXT NOT NULL,
        manifest_sha256 TEXT NOT NULL,
        image {blob} NOT NULL,
        state TEXT NOT NULL,
        error TEXT,
        ordered_at BIGINT NOT NULL)",
        "CREATE TABLE events (
        seq {counter},
        at BIGINT NOT NULL,
        serial TEXT NOT NULL,
        kind TEXT NOT NULL,
        outcome TEXT NOT NULL,
        failed_check TEXT,
        detail TEXT NOT NULL)",
        "CREATE INDEX events_of_device ON events (serial)",
    ],
    &["CREATE TABLE floors (name TEXT PRIMARY KEY, number BIGINT NOT NULL)"],
];

/// Makes the audit trail append-only: the database itself refuses to change or remove an event.
const GUARDS_SQLITE: &[&str] = &[
    "CREATE TRIGGER events_stay BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END",
    "CREATE TRIGGER events_remain BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END",
];
const GUARDS_POSTGRES: &[&str] = &[
    "CREATE FUNCTION events_are_append_only() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'events are append-only'; END $$",
    "CREATE TRIGGER events_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON events
        FOR EACH STATEMENT EXECUTE FUNCTION events_are_append_only()",
];

/// Any number; two servers that start at once must not make the tables twice.
const POSTGRES_LOCK: &str = "SELECT pg_advisory_xact_lock(732473)";

/// Brings the tables up to date.
pub(super) async fn migrate(store: &Store) -> Result<(), StoreError> {
    let mut transaction = store.begin().await?;
    if store.dialect == Dialect::Postgres {
        sqlx::query(POSTGRES_LOCK).execute(&mut *transaction).await?;
    }
    sqlx::query("CREATE TABLE IF NOT EXISTS versions (version BIGINT PRIMARY KEY)")
        .execute(&mut *transaction)
        .await?;
    let row = sqlx::query("SELECT COALESCE(MAX(version), 0) AS version FROM versions")
        .fetch_one(&mut *transaction)
        .await?;
    let present: i64 = row.try_get("version")?;
    let known = i64::try_from(VERSIONS.len()).unwrap_or(i64::MAX);
    if present > known {
        return Err(StoreError::Newer(present));
    }
    for (version, statements) in (1i64..).zip(VERSIONS).filter(|(version, _)| *version > present) {
        let (blob, counter, guards) = match store.dialect {
            Dialect::Sqlite => ("BLOB", "INTEGER PRIMARY KEY AUTOINCREMENT", GUARDS_SQLITE),
            Dialect::Postgres => ("BYTEA", "BIGSERIAL PRIMARY KEY", GUARDS_POSTGRES),
        };
        let guards = if version == 1 { guards } else { &[] };
        for statement in statements.iter().chain(guards) {
            // Built from the constants above only.
            let statement = statement.replace("{blob}", blob).replace("{counter}", counter);
            sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await?;
        }
        sqlx::query("INSERT INTO versions (version) VALUES ($1)")
            .bind(version)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(())
}
