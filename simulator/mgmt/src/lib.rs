//! A stand-in for a device provider's management server: registers devices on evidence, issues their certificates, tells
//! the time, orders rotations, updates and de-registrations, and keeps a record of every decision.
//!
//! - [`service`]: what is decided, over a database and keys; no sockets.
//! - [`store`]: the database, SQLite or PostgreSQL.
//! - [`keys`]: the provider's issuing key in a file or a PKCS#11 token, and the management signer.
//! - [`serve`]: TLS 1.3 and HTTP around the service.
//! - [`Args`] and [`run`]: the command line, `biosim mgmt`.
//!
//! What comes in is hostile until its signature, its time and its sender have been checked. No message has a place for
//! biometric or transaction data, and the log never holds messages, tokens or keys.

mod cli;
pub mod config;
mod init;
pub mod keys;
mod serve;
pub mod service;
pub mod store;

pub use cli::{Args, run};
pub use config::Config;
pub use init::{Materials, init};
pub use serve::{Running, ServeError, serve, serve_at};
