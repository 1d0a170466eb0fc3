//! Values of the configuration that are more than a text or a number: each refuses what cannot be, and says what can.
//!
//! The functions are `deserialize_with` helpers, so that the parser adds the place of the value to their complaints.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use biotrust_driver_api::{Bus, DigitalIdKey};
use biotrust_model::{Env, Purpose};
use serde::{Deserialize, Deserializer, de};

use super::{SerialPort, VendorDriver};

/// First port that clients scan.
pub const FIRST_PORT: u16 = 4501;
/// Last port that clients scan.
pub const LAST_PORT: u16 = 4600;
/// Longest path that a Unix socket can have (`sun_path` less its final zero).
const SOCKET_PATH_BYTES: usize = 107;

/// Ports to try, in ascending order, within what clients scan: `"4501-4600"` or `"4501"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// Each port, lowest first.
    pub fn ports(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }
}

impl Default for PortRange {
    fn default() -> Self {
        Self { first: FIRST_PORT, last: LAST_PORT }
    }
}

impl Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) if FIRST_PORT <= first && first <= last && last <= LAST_PORT => {
                Ok(Self { first, last })
            }
            _ => Err(format!(
                "`{text}` is not a range of ports within {FIRST_PORT}-{LAST_PORT}, where clients look; \
                 any other port goes into `port`"
            )),
        }
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Which devices are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServedPurpose {
    /// All.
    #[default]
    All,
    /// Registration devices.
    Registration,
    /// Authentication devices.
    Auth,
}

impl ServedPurpose {
    /// The one purpose; `None` for all.
    #[must_use]
    pub const fn only(self) -> Option<Purpose> {
        match self {
            Self::All => None,
            Self::Registration => Some(Purpose::Registration),
            Self::Auth => Some(Purpose::Auth),
        }
    }
}

pub(super) fn environment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Env, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| one_of(&text, Env::ALL.iter().map(|env| env.as_str())))
}

pub(super) fn digital_id_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DigitalIdKey, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "chip" => Ok(DigitalIdKey::Chip),
        "device" => Ok(DigitalIdKey::Device),
        other => Err(one_of(other, ["chip", "device"])),
    }
}

fn one_of<'a, E: de::Error>(found: &str, allowed: impl IntoIterator<Item = &'a str>) -> E {
    let allowed = allowed.into_iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    E::custom(format!("`{found}` is none of {allowed}"))
}

/// A whole number from `MIN` to `MAX`.
pub(super) fn bounded<'de, const MIN: u64, const MAX: u64, D>(deserializer: D) -> Result<usize, D::Error>
where
    D: Deserializer<'de>,
{
    let number = i64::deserialize(deserializer)?;
    u64::try_from(number)
        .ok()
        .filter(|number| (MIN..=MAX).contains(number))
        .and_then(|number| usize::try_from(number).ok())
        .ok_or_else(|| de::Error::custom(format!("{number} is out of range, allowed is {MIN} to {MAX}")))
}

pub(super) fn millis<'de, const MIN: u64, const MAX: u64, D>(deserializer: D) -> Result<Duration, D::Error>
where
    D: Deserializer<'de>,
{
    bounded::<MIN, MAX, D>(deserializer).map(|number| Duration::from_millis(number as u64))
}

pub(super) fn some_millis<'de, const MIN: u64, const MAX: u64, D>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error>
where
    D: Deserializer<'de>,
{
    millis::<MIN, MAX, D>(deserializer).map(Some)
}

pub(super) fn seconds<'de, const MIN: u64, const MAX: u64, D>(deserializer: D) -> Result<Duration, D::Error>
where
    D: Deserializer<'de>,
{
    bounded::<MIN, MAX, D>(deserializer).map(|number| Duration::from_secs(number as u64))
}

pub(super) fn days<'de, const MIN: u64, const MAX: u64, D>(deserializer: D) -> Result<Duration, D::Error>
where
    D: Deserializer<'de>,
{
    bounded::<MIN, MAX, D>(deserializer).map(|number| Duration::from_secs(number as u64 * 86_400))
}

/// A URL of HTTPS with a host, and without what a request would not send or should not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsUrl(reqwest::Url);

impl HttpsUrl {
    /// The URL.
    #[must_use]
    pub const fn url(&self) -> &reqwest::Url {
        &self.0
    }
}

impl Display for HttpsUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for HttpsUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = reqwest::Url::parse(text).map_err(|error| format!("`{text}` is not a URL: {error}"))?;
        match url.scheme() {
            _ if !url.username().is_empty() || url.password().is_some() => {
                Err("a URL here has no user and no password: secrets are not in the configuration".to_owned())
            }
            "https" if url.fragment().is_none() => Ok(Self(url)),
            "https" => Err(format!("`{text}` ends with a fragment (#...), which is never sent")),
            _ => Err(format!("`{text}` does not begin with https://")),
        }
    }
}

impl<'de> Deserialize<'de> for HttpsUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Where a TPM is: `NAME` or `NAME:OPTIONS`, of the ways that the TSS knows and that make sense for a daemon.
pub(super) fn tcti<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    const KNOWN: [&str; 4] = ["device", "swtpm", "mssim", "tabrmd"];
    let text = String::deserialize(deserializer)?;
    let name = text.split_once(':').map_or(text.as_str(), |(name, _)| name);
    if KNOWN.contains(&name) { Ok(text) } else { Err(one_of(name, KNOWN)) }
}

pub(super) fn some_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.trim().is_empty() {
        true => Err(de::Error::custom("a name that is there is not empty: leave the key out")),
        false => Ok(Some(text)),
    }
}

/// A path that does not depend on where the daemon was started.
#[derive(Deserialize)]
#[serde(try_from = "PathBuf")]
struct Absolute(PathBuf);

impl TryFrom<PathBuf> for Absolute {
    type Error = String;

    fn try_from(path: PathBuf) -> Result<Self, String> {
        match path.is_absolute() {
            true => Ok(Self(path)),
            false => Err(format!("`{}` is not an absolute path", path.display())),
        }
    }
}

pub(super) fn absolute<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    Absolute::deserialize(deserializer).map(|Absolute(path)| path)
}

pub(super) fn some_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    absolute(deserializer).map(Some)
}

/// Speed of a serial line.
pub(super) fn baud<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    bounded::<9_600, 4_000_000, D>(deserializer).map(|baud| u32::try_from(baud).ok())
}

pub(super) fn socket_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let path = absolute(deserializer)?;
    let length = path.as_os_str().len();
    if length > SOCKET_PATH_BYTES {
        return Err(de::Error::custom(format!(
            "the path has {length} bytes, a socket's path can have {SOCKET_PATH_BYTES}"
        )));
    }
    Ok(path)
}

/// A file that is there.
#[derive(Deserialize)]
#[serde(try_from = "Absolute")]
struct ExistingFile(PathBuf);

impl TryFrom<Absolute> for ExistingFile {
    type Error = String;

    fn try_from(Absolute(path): Absolute) -> Result<Self, String> {
        look_at(&path, "a file", std::fs::Metadata::is_file)?;
        Ok(Self(path))
    }
}

fn look_at(path: &Path, what: &str, is_it: impl Fn(&std::fs::Metadata) -> bool) -> Result<(), String> {
    match std::fs::metadata(path) {
        Ok(found) if is_it(&found) => Ok(()),
        Ok(_) => Err(format!("`{}` is not {what}", path.display())),
        Err(error) => Err(format!("`{}`: {error}", path.display())),
    }
}

pub(super) fn file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    ExistingFile::deserialize(deserializer).map(|ExistingFile(path)| path)
}

pub(super) fn some_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    ExistingFile::deserialize(deserializer).map(|ExistingFile(path)| Some(path))
}

pub(super) fn files<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    let files = Vec::<ExistingFile>::deserialize(deserializer)?;
    Ok(files.into_iter().map(|ExistingFile(path)| path).collect())
}

pub(super) fn files_by_name<'de, D>(deserializer: D) -> Result<BTreeMap<String, PathBuf>, D::Error>
where
    D: Deserializer<'de>,
{
    let files = BTreeMap::<String, ExistingFile>::deserialize(deserializer)?;
    Ok(files.into_iter().map(|(name, ExistingFile(path))| (name, path)).collect())
}

pub(super) fn some_directory<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<PathBuf>, D::Error> {
    let path = absolute(deserializer)?;
    look_at(&path, "a directory", std::fs::Metadata::is_dir).map_err(de::Error::custom)?;
    Ok(Some(path))
}

pub(super) fn paths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    let paths = Vec::<Absolute>::deserialize(deserializer)?;
    Ok(paths.into_iter().map(|Absolute(path)| path).collect())
}

/// Buses that can be watched.
pub(super) const WATCHED: [Bus; 4] = [Bus::Serial, Bus::Usb, Bus::Hid, Bus::Video];

pub(super) fn buses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Bus>, D::Error> {
    let named = Vec::<String>::deserialize(deserializer)?;
    let one = |name: &String| WATCHED.into_iter().find(|bus| bus.name() == name);
    let known = |name: &String| one(name).ok_or_else(|| one_of(name, WATCHED.map(Bus::name)));
    // each once, in one order, however often and in which order they are named
    let buses = named.iter().map(known).collect::<Result<BTreeSet<Bus>, _>>()?;
    Ok(buses.into_iter().collect())
}

/// One line cannot be opened twice: its device would be taken for two, and neither would work.
pub(super) fn distinct_lines<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<SerialPort>, D::Error> {
    let lines = Vec::<SerialPort>::deserialize(deserializer)?;
    let mut seen = BTreeSet::new();
    match lines.iter().find(|line| !seen.insert(&line.path)) {
        Some(twice) => {
            Err(de::Error::custom(format!("`{}` is there twice: list each line once", twice.path.display())))
        }
        None => Ok(lines),
    }
}

pub(super) fn distinct_drivers<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<VendorDriver>, D::Error> {
    let drivers = Vec::<VendorDriver>::deserialize(deserializer)?;
    let mut seen = BTreeSet::new();
    match drivers.iter().find(|driver| !seen.insert(&driver.name)) {
        Some(twice) => Err(de::Error::custom(format!("driver `{}` is there twice", twice.name))),
        None => Ok(drivers),
    }
}

pub(super) fn log_filter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    match tracing_subscriber::EnvFilter::try_new(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(de::Error::custom(format!("`{text}` is not a log filter: {error}"))),
    }
}
