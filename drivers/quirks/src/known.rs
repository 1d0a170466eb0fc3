//! The drivers and their settings. A quirk file that names anything else is refused: a typing error is found when the
//! file is read, not in the field.
//!
//! There is no setting that makes anything trusted, and none may be added: vendors ship quirk files.

/// What values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// A whole number from the first to the second.
    Number(i64, i64),
    /// A text of up to 128 characters without control characters.
    Text,
    /// One of these texts.
    OneOf(&'static [&'static str]),
}

/// A setting of a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Drivers that have it.
    pub drivers: &'static [&'static str],
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What it does.
    pub meaning: &'static str,
}

/// Names of the drivers.
pub const DRIVERS: &[&str] = &["ftm-link", "link", "r30x", "uru4000", "v4l2", "vendor"];

/// Drivers of plain sensors.
const SENSORS: &[&str] = &["r30x", "uru4000", "v4l2"];

/// Every setting of every driver.
pub const SETTINGS: &[Setting] = &[
    setting(SENSORS, "make", Kind::Text, "make of the device in its digital ID"),
    setting(SENSORS, "model", Kind::Text, "model of the device in its digital ID"),
    setting(SENSORS, "provider", Kind::Text, "device provider in its digital ID"),
    setting(SENSORS, "provider_id", Kind::Text, "id of the device provider in its digital ID"),
    setting(SENSORS, "firmware", Kind::Text, "firmware version to state where the device cannot tell"),
    setting(SENSORS, "purpose", Kind::OneOf(&["Auth", "Registration"]), "what the device is certified for"),
    setting(
        &["r30x"],
        "baud",
        Kind::Number(9_600, 115_200),
        "speed to raise the module to; lower for a long cable",
    ),
    setting(
        &["r30x"],
        "address",
        Kind::Number(0, 0xFFFF_FFFF),
        "address of the module, where it was changed",
    ),
    setting(
        &["r30x"],
        "password",
        Kind::Number(0, 0xFFFF_FFFF),
        "password of the module, where it was changed",
    ),
    setting(&["uru4000"], "dpi", Kind::Number(490, 1010), "dots per inch of its images"),
    setting(&["uru4000"], "turned", Kind::Flag, "its images are upside down"),
    setting(
        &["uru4000"],
        "single_image",
        Kind::Flag,
        "it takes one image of a finger until the finger comes anew",
    ),
    setting(
        &["v4l2"],
        "sees",
        Kind::OneOf(&["Face", "Iris"]),
        "what the camera is there for; an iris needs near infrared",
    ),
    setting(&["link", "ftm-link"], "baud", Kind::Number(9_600, 4_000_000), "speed of the serial line"),
    setting(
        &["vendor"],
        "process",
        Kind::Text,
        "which `[[vendor.driver]]` has the device; it is given access and otherwise left alone",
    ),
];

const fn setting(
    drivers: &'static [&'static str],
    name: &'static str,
    kind: Kind,
    meaning: &'static str,
) -> Setting {
    Setting { drivers, name, kind, meaning }
}

/// The setting of that name, where the driver has it.
#[must_use]
pub fn find(driver: &str, name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|s| s.name == name && s.drivers.contains(&driver))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_setting_stands_twice_or_belongs_to_nobody() {
        for (i, setting) in SETTINGS.iter().enumerate() {
            assert!(!setting.drivers.is_empty() && setting.drivers.iter().all(|d| DRIVERS.contains(d)));
            for other in &SETTINGS[..i] {
                let both = other.drivers.iter().any(|d| setting.drivers.contains(d));
                assert!(other.name != setting.name || !both, "{}", setting.name);
            }
        }
    }

    #[test]
    fn no_setting_speaks_of_trust() {
        let words = ["level", "trust", "anchor", "cert", "key", "sign", "attest", "l1", "ftm", "allow"];
        for setting in SETTINGS {
            assert!(!words.iter().any(|word| setting.name.contains(word)), "{}", setting.name);
        }
    }
}
