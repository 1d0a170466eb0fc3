//! `[buses]`, `[quirks]`, `[serial]` and `[vendor]`: where devices are looked for, and which drivers open them.

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

/// `[vendor]`: drivers of vendors, as processes of their own.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Vendor {
    /// The drivers.
    #[serde(deserialize_with = "value::distinct_drivers")]
    pub driver: Vec<VendorDriver>,
}

/// `[[vendor.driver]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Named")]
pub struct VendorDriver {
    /// Name: part of the place of its devices.
    pub name: String,
    /// How it is started.
    pub start: VendorStart,
}

/// How a driver of a vendor is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VendorStart {
    /// By systemd, when somebody connects to this socket.
    Socket(PathBuf),
    /// By the daemon.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
        /// As whom; `None`: as the daemon itself.
        user: Option<String>,
    },
}

/// A driver as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
    socket: Option<PathBuf>,
    command: Option<Vec<String>>,
    user: Option<String>,
    #[serde(default)]
    same_user: bool,
}

/// Longest name: it is part of the path of a socket.
const LONGEST_NAME: usize = 32;

impl TryFrom<Named> for VendorDriver {
    type Error = String;

    fn try_from(read: Named) -> Result<Self, String> {
        let Named { name, socket, command, user, same_user } = read;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(plain) {
            return Err(format!("`{name}` is no name of a driver: 1 to {LONGEST_NAME} of a-z, 0-9, - and _"));
        }
        let start = match (socket, command) {
            (Some(_), Some(_)) | (None, None) => {
                return Err(format!("driver `{name}`: give either `socket` or `command`"));
            }
            (Some(_), None) if user.is_some() || same_user => {
                return Err(format!(
                    "driver `{name}`: whom a driver behind a `socket` runs as is systemd's business"
                ));
            }
            (Some(socket), None) if socket.is_absolute() => VendorStart::Socket(socket),
            (Some(socket), None) => {
                return Err(format!("driver `{name}`: `{}` is not an absolute path", socket.display()));
            }
            (None, Some(argv)) => match (argv.first(), user, same_user) {
                (program, ..) if !program.is_some_and(|program| program.starts_with('/')) => {
                    return Err(format!(
                        "driver `{name}`: `command` begins with the absolute path of a program"
                    ));
                }
                (_, Some(user), false) => VendorStart::Command { argv, user: Some(user) },
                (_, None, true) => VendorStart::Command { argv, user: None },
                (_, Some(_), true) => {
                    return Err(format!("driver `{name}`: `user` and `same_user` exclude each other"));
                }
                (_, None, false) => {
                    return Err(format!(
                        "driver `{name}`: give the `user` that it runs as; `same_user = true` would let it read the keys \
                         of this host"
                    ));
                }
            },
        };
        Ok(Self { name, start })
    }
}
