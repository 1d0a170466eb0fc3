//! The log: to standard error, where systemd's journal picks it up, as text or as one JSON object per line.
//!
//! No body of a request or an answer, no key, no token and no biometric data is ever logged; the types that hold
//! them cannot be printed. Every request has a span `request{id, verb, origin}`, so that its lines can be found together.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Starts logging for the whole process. A second call changes nothing.
///
/// # Errors
/// When the filter is none; the configuration has checked that already.
pub fn start(log: &Log) -> Result<(), tracing_subscriber::filter::ParseError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&log.filter)?)
        .with_writer(std::io::stderr)
        .with_ansi(log.format == LogFormat::Text && std::io::stderr().is_terminal());
    // an error here means that there is a log already, as in tests
    let _ = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(())
}
