//! Reads a quirk file. Everything it says is checked here; an error names the place.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use biotrust_driver_api::{Bus, Quirks, Value};
use serde::Deserialize;
use toml::Spanned;

use crate::Glob;
use crate::entry::{Entry, Interface, Release, UsbId};
use crate::known::{self, Kind};

/// A quirk file is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {why}", file.display(), at.map_or_else(String::new, |at| format!(":{}:{}", at.line, at.column)))]
pub struct QuirkError {
    /// Which file.
    pub file: PathBuf,
    /// Where in it; not known where it cannot even be read.
    pub at: Option<Position>,
    /// What is wrong, and what would be right.
    pub why: String,
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    driver: Spanned<String>,
    device: Vec<Device>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Device {
    name: Spanned<String>,
    about: Spanned<String>,
    bus: Spanned<String>,
    #[serde(default)]
    usb: Vec<Spanned<String>>,
    release: Option<Spanned<String>>,
    manufacturer: Option<Spanned<String>>,
    product: Option<Spanned<String>>,
    serial: Option<Spanned<String>>,
    interface: Option<Spanned<String>>,
    #[serde(default = "yes")]
    enabled: bool,
    #[serde(default)]
    settings: BTreeMap<Spanned<String>, Spanned<toml::Value>>,
}

const fn yes() -> bool {
    true
}

/// What is wrong, and where.
type Wrong = (Range<usize>, String);

/// Reads the text of a file.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn parse(name: &Path, text: &str) -> Result<Vec<Entry>, QuirkError> {
    let located =
        |(span, why): Wrong| QuirkError { file: name.to_owned(), at: Some(position(text, span.start)), why };
    let file: File = toml::from_str(text)
        .map_err(|error| located((error.span().unwrap_or(0..0), error.message().trim().to_owned())))?;
    known_driver(&file.driver).map_err(located)?;
    let mut entries: Vec<Entry> = Vec::new();
    for device in file.device {
        let span = device.name.span();
        let entry = entry(&file.driver, device).map_err(located)?;
        if entries.iter().any(|other| other.name == entry.name) {
            return Err(located((span, format!("{:?} stands here twice", entry.name))));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn known_driver(driver: &Spanned<String>) -> Result<(), Wrong> {
    if !known::DRIVERS.contains(&driver.get_ref().as_str()) {
        let why =
            format!("there is no driver {:?}; there are {}", driver.get_ref(), known::DRIVERS.join(", "));
        return Err((driver.span(), why));
    }
    Ok(())
}

fn entry(driver: &Spanned<String>, device: Device) -> Result<Entry, Wrong> {
    let name = read(&device.name, name)?;
    let settings = device.settings.into_iter().map(|(key, value)| setting(driver.get_ref(), key, value));
    let entry = Entry {
        about: read(&device.about, |text| self::text(text).map(str::to_owned))?,
        driver: driver.get_ref().clone(),
        bus: read(&device.bus, bus)?,
        ids: device.usb.iter().map(|id| read(id, UsbId::parse)).collect::<Result<_, _>>()?,
        release: optional(&device.release, Release::parse)?,
        manufacturer: optional(&device.manufacturer, Glob::new)?,
        product: optional(&device.product, Glob::new)?,
        serial: optional(&device.serial, Glob::new)?,
        interface: optional(&device.interface, Interface::parse)?,
        enabled: device.enabled,
        quirks: Quirks { name: name.clone(), settings: settings.collect::<Result<_, _>>()? },
        name,
    };
    if entry.enabled && !entry.names_a_model() {
        let why = "this would take devices of any maker; say which are meant (usb, manufacturer, product or serial), or \
                   `enabled = false`, so that it counts once the owner of the host names it";
        return Err((device.name.span(), why.into()));
    }
    Ok(entry)
}

fn read<T>(text: &Spanned<String>, with: impl Fn(&str) -> Result<T, String>) -> Result<T, Wrong> {
    with(text.get_ref()).map_err(|why| (text.span(), why))
}

fn optional<T>(
    text: &Option<Spanned<String>>,
    with: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, Wrong> {
    text.as_ref().map(|text| read(text, with)).transpose()
}

fn name(text: &str) -> Result<String, String> {
    let fits = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits && (1..=40).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is no name; it has 1 to 40 of a-z, 0-9 and -"))
}

fn text(text: &str) -> Result<&str, String> {
    if text.chars().any(char::is_control) || text.chars().count() > 128 {
        return Err("a text has at most 128 characters, and no control characters".into());
    }
    Ok(text)
}

fn bus(text: &str) -> Result<Bus, String> {
    let buses = [Bus::Serial, Bus::Usb, Bus::Hid, Bus::Video];
    let names = || buses.map(Bus::name).join(", ");
    buses
        .into_iter()
        .find(|bus| bus.name() == text)
        .ok_or_else(|| format!("{text:?} is no bus; there are {}", names()))
}

fn setting(
    driver: &str,
    key: Spanned<String>,
    value: Spanned<toml::Value>,
) -> Result<(String, Value), Wrong> {
    let Some(setting) = known::find(driver, key.get_ref()) else {
        let known = known::SETTINGS.iter().filter(|s| s.drivers.contains(&driver)).map(|s| s.name);
        let known = known.collect::<Vec<_>>().join(", ");
        return Err((key.span(), format!("{driver} has no setting {:?}; it has {known}", key.get_ref())));
    };
    let span = value.span();
    let value = match (setting.kind, value.into_inner()) {
        (Kind::Flag, toml::Value::Boolean(flag)) => Ok(Value::Flag(flag)),
        (Kind::Number(from, to), toml::Value::Integer(n)) if (from..=to).contains(&n) => Ok(Value::Number(n)),
        (Kind::Text, toml::Value::String(s)) => self::text(&s).map(|s| Value::Text(s.to_owned())),
        (Kind::OneOf(of), toml::Value::String(s)) if of.contains(&s.as_str()) => Ok(Value::Text(s)),
        (Kind::Flag, _) => Err("it is true or false".into()),
        (Kind::Number(from, to), _) => Err(format!("it is a number from {from} to {to}")),
        (Kind::Text, _) => Err("it is a text in quotes".into()),
        (Kind::OneOf(of), _) => Err(format!("it is one of {of:?}")),
    };
    let value = value.map_err(|why| (span, format!("{}: {why}", setting.name)))?;
    Ok((key.into_inner(), value))
}

fn position(text: &str, offset: usize) -> Position {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Position {
        line: 1 + before.matches('\n').count(),
        column: 1 + before.get(line_start..).map_or(0, |line| line.chars().count()),
    }
}
