//! Reads the base file and its drop-ins, checks each, and merges them: tables key by key, anything else as a whole.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{Config, ConfigError};

/// A configuration and where it came from.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The files, in the order in which they were merged.
    pub files: Vec<PathBuf>,
}

/// Reads `base` and then, in order of their names, the `*.toml` files of `conf.d` beside it.
///
/// # Errors
/// The first file that cannot be read or is not valid.
pub fn load(base: &Path) -> Result<Loaded, ConfigError> {
    let mut files = vec![base.to_owned()];
    files.extend(drop_ins(&base.with_file_name("conf.d"))?);

    let mut merged = Table::new();
    let mut config = Config::default();
    for file in &files {
        let text = std::fs::read_to_string(file)
            .map_err(|source| ConfigError::Read { path: file.clone(), source })?;
        let invalid = |error: toml::de::Error| ConfigError::invalid(file, &text, &error);
        // On its own first: only the text of a file has lines and columns to name.
        toml::from_str::<Config>(&text).map_err(invalid)?;
        merge(&mut merged, toml::from_str(&text).map_err(invalid)?);
        config = merged.clone().try_into().map_err(invalid)?;
    }
    match conflict(&config) {
        Some(message) => Err(ConfigError::Conflict { path: base.to_owned(), message }),
        None => Ok(Loaded { config, files }),
    }
}

/// What no single file can tell: keys that need each other, or exclude each other.
fn conflict(config: &Config) -> Option<String> {
    let Config { management, encryption, metadata, .. } = config;
    if management.url.is_some() && management.anchors.is_empty() {
        return Some(
            "[management] url needs [management] anchors: the server is believed under them only".into(),
        );
    }
    if management.require_time && management.url.is_none() {
        return Some("[management] require_time needs [management] url: nobody else tells the time".into());
    }
    if metadata.file.is_some() && metadata.anchors.is_empty() {
        return Some("[metadata] file needs [metadata] anchors: who may sign it?".into());
    }
    let fetch = encryption.fetch.as_ref()?;
    if fetch.url.is_none() && fetch.domains.is_empty() {
        return Some("[encryption.fetch] needs a url, or domains with one each".into());
    }
    if fetch.anchors.is_empty() {
        return Some("[encryption.fetch] anchors is empty: no server would be believed".into());
    }
    if fetch.url.is_some() && encryption.certificate.is_some() {
        return Some("[encryption] certificate and [encryption.fetch] url: keep one of the two".into());
    }
    let twice = fetch.domains.keys().find(|domain| encryption.domains.contains_key(*domain))?;
    Some(format!(
        "\"{twice}\" is in [encryption.domains] and in [encryption.fetch.domains]: keep one of the two"
    ))
}

fn drop_ins(directory: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let read = |source| ConfigError::Read { path: directory.to_owned(), source };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(read(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(read)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(base)), Value::Table(over)) => merge(base, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}
