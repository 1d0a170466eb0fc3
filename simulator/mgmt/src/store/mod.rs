//! The database: SQLite by default, PostgreSQL by URL.
//!
//! Both speak the same statements through sqlx's `Any` driver; what differs is in [`schema`]. Everything that must happen
//! once is one statement that the database makes atomic (a challenge is taken by deleting it, a message id is remembered
//! by inserting it), so that several servers can share one PostgreSQL without talking to each other.
//!
//! The operator's commands work on the same tables and need no socket of the server: with PostgreSQL they run on any host
//! that the database lets in, the database's own access control decides who is an operator, and the server reads orders
//! at every poll anyway.

mod challenges;
mod devices;
mod events;
mod floors;
mod keys;
mod schema;
mod updates;

pub use challenges::Taken;
pub use devices::{Device, DeviceState, Registration};
pub use events::Event;
pub use keys::Key;
pub use updates::Update;

use std::time::Duration;

use biotrust_mgmt::{MessageId, Stamp};
use biotrust_model::time::UtcMillis;
use sqlx::any::AnyPoolOptions;
use sqlx::{AnyPool, Executor as _};

/// How long a question waits for a connection to the database.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the database did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database itself.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// A URL that is not for one of the two.
    #[error("database {0:?}: give sqlite:PATH or postgres://…")]
    Url(String),
    /// The tables are of a newer version of this program.
    #[error("the database has version {0}, newer than this program; use the newer program")]
    Newer(i64),
    /// A row that this program did not write.
    #[error("the database holds {0} that cannot be read")]
    Unreadable(&'static str),
}

/// Which database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Sqlite,
    Postgres,
}

/// The database.
#[derive(Debug, Clone)]
pub struct Store {
    pool: AnyPool,
    dialect: Dialect,
}

impl Store {
    /// Opens `sqlite:PATH` (made where it is missing) or `postgres://…`, and brings the tables up to date.
    ///
    /// # Errors
    /// A wrong URL, no connection, tables of a newer version.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let dialect = match url.split_once(':') {
            Some(("sqlite", _)) => Dialect::Sqlite,
            Some(("postgres" | "postgresql", _)) => Dialect::Postgres,
            _ => return Err(StoreError::Url(url.split('@').next_back().unwrap_or_default().to_owned())),
        };
        let (url, connections) = match dialect {
            // One writer at a time anyway; with one connection nobody meets a locked database within this process.
            Dialect::Sqlite if !url.contains('?') => (format!("{url}?mode=rwc"), 1),
            Dialect::Sqlite => (url.to_owned(), 1),
            Dialect::Postgres => (url.to_owned(), 8),
        };
        let pool = AnyPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(PATIENCE)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if dialect == Dialect::Sqlite {
                        for pragma in [
                            "PRAGMA journal_mode = WAL",
                            "PRAGMA synchronous = FULL",
                            "PRAGMA busy_timeout = 5000",
                        ] {
                            connection.execute(pragma).await?;
                        }
                    }
                    Ok(())
                })
            })
            .connect(&url)
            .await?;
        let store = Self { pool, dialect };
        schema::migrate(&store).await?;
        Ok(store)
    }

    /// Begins a transaction that may write.
    async fn begin(&self) -> Result<sqlx::Transaction<'_, sqlx::Any>, StoreError> {
        Ok(match self.dialect {
            Dialect::Sqlite => self.pool.begin_with("BEGIN IMMEDIATE").await?,
            Dialect::Postgres => self.pool.begin().await?,
        })
    }

    /// Remembers a message; `false` where it is known. Forgets those that are too old to be accepted again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn remember(&self, id: MessageId, stamp: Stamp, now: UtcMillis) -> Result<bool, StoreError> {
        sqlx::query("DELETE FROM seen WHERE until_ms < $1").bind(now.0).execute(&self.pool).await?;
        let until = biotrust_mgmt::replay::keep_until(stamp, now);
        let done = sqlx::query("INSERT INTO seen (id, until_ms) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING")
            .bind(id.to_string())
            .bind(until.0)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Ends all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
