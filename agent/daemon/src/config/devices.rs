//! `[buses]`, `[quirks]`, `[serial]` and `[vendor]`: where devices are looked for, and by which drivers they are opened.

use std::path::PathBuf;

use biotrust_driver_api::Bus;
use serde::Deserialize;

use super::value;

/// `[buses]`: buses on which devices are found by themselves.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Buses {
    /// Which of them are watched; none keeps every device of this host out but those of `[serial]` and `[vendor]`.
    #[serde(deserialize_with = "value::buses")]
    pub watch: Vec<Bus>,
}

impl Default for Buses {
    fn default() -> Self {
        Self { watch: value::WATCHED.to_vec() }
    }
}

/// `[quirks]`: what is known of device models beside what this program brings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quirks {
    /// Directories of quirk files, later ones win; one that is not there is empty.
    #[serde(deserialize_with = "value::paths")]
    pub directories: Vec<PathBuf>,
    /// Entries that take devices of many makers (any webcam, any serial adapter), by name: off unless they are here.
    pub enable: Vec<String>,
}

impl Default for Quirks {
    fn default() -> Self {
        Self { directories: biotrust_quirks::DIRECTORIES.map(PathBuf::from).to_vec(), enable: Vec::new() }
    }
}

/// `[serial]`: devices on serial lines that are named here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Serial {
    /// Directory of `NAME.tty` links, watched: a device is plugged in when its link appears.
    #[serde(deserialize_with = "value::some_directory")]
    pub links: Option<PathBuf>,
    /// Fixed lines, each once.
    #[serde(deserialize_with = "value::distinct_lines")]
    pub port: Vec<SerialPort>,
}

/// `[[serial.port]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SerialPort {
    /// Path of the tty. It need not be there yet.
    #[serde(deserialize_with = "value::absolute")]
    pub path: PathBuf,
    /// Driver that opens it; without one, those that do no harm to a stranger are tried.
    #[serde(default)]
    pub driver: Option<String>,
}
