//! What a plain sensor is described as: what its driver knows, what a quirk file says of devices like it, and a serial
//! number that says where it is from. All of it is a claim that nothing proves.

use biotrust_driver_api::{Description, DeviceError, DeviceErrorKind, Found};
use biotrust_model::{DeviceIdentity, DeviceSubType, Level, Modality, Purpose, SubId};

/// Fewest letters and digits of a serial number (MOSIP device specification).
const SERIAL_LENGTH: usize = 12;

/// What a driver knows of its sensors. Make, model, provider, its id, purpose and firmware give way to the settings
/// `make`, `model`, `provider`, `provider_id`, `purpose` and `firmware` of a quirk file.
#[derive(Debug, Clone)]
pub struct Kind<'a> {
    /// Brand, where the quirk file has none.
    pub make: &'a str,
    /// Model, where the quirk file has none.
    pub model: &'a str,
    /// Modality.
    pub modality: Modality,
    /// Build.
    pub device_sub_type: DeviceSubType,
    /// Purpose, where the quirk file has none.
    pub purpose: Purpose,
    /// Firmware version as the sensor tells it, or what is known of it.
    pub firmware: &'a str,
    /// The sensor's own serial number, where it tells one: comes before that of its USB device.
    pub serial: Option<&'a str>,
    /// Sub-ids that can be asked for, ascending.
    pub sub_ids: &'a [SubId],
}

/// The description of a sensor of this kind that was found there.
///
/// # Errors
/// `Unsupported` when the quirk file names a purpose that is none.
pub fn describe(found: &Found, kind: &Kind<'_>) -> Result<Description, DeviceError> {
    let quirks = &found.quirks;
    let text = |name: &str, default: &str| quirks.text(name).unwrap_or(default).to_owned();
    let purpose = match quirks.text("purpose") {
        None => kind.purpose,
        Some(word) => word.parse().map_err(|error| {
            let why = format!("quirk entry {:?}, setting purpose: {error}", quirks.name);
            DeviceError::new(DeviceErrorKind::Unsupported, why)
        })?,
    };
    let make = text("make", kind.make);
    let identity = DeviceIdentity {
        serial_no: kind.serial.map_or_else(|| serial_of(found), str::to_owned),
        model: text("model", kind.model),
        modality: kind.modality,
        device_sub_type: kind.device_sub_type,
        device_provider: text("provider", &make),
        device_provider_id: text("provider_id", &make),
        make,
    };
    let firmware = text("firmware", kind.firmware);
    Ok(Description { identity, level: Level::L0, purpose, firmware, sub_ids: kind.sub_ids.to_vec() })
}

/// The serial number of the USB device, with its vendor and product before it where it is short; `NOSERIAL-` and the
/// place where it has none, because a number that only names a place must not pass for one that names a device.
#[must_use]
pub fn serial_of(found: &Found) -> String {
    let usb = found.node.usb.as_ref().filter(|usb| usb.serial.bytes().any(|b| b.is_ascii_alphanumeric()));
    match usb {
        Some(usb) => {
            let serial = clean(&usb.serial);
            let long = serial.bytes().filter(u8::is_ascii_alphanumeric).count() >= SERIAL_LENGTH;
            if long { serial } else { padded(&format!("{:04X}{:04X}-{serial}", usb.vendor, usb.product)) }
        }
        None => padded(&format!("NOSERIAL-{}", clean(&found.node.place))),
    }
}

/// Letters, digits and points as they are; everything else becomes single dashes.
fn clean(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}

/// With zeros behind it, so that it has enough letters and digits.
fn padded(text: &str) -> String {
    let have = text.bytes().filter(u8::is_ascii_alphanumeric).count();
    format!("{text}{}", "0".repeat(SERIAL_LENGTH.saturating_sub(have)))
}

#[cfg(test)]
mod tests {
    use biotrust_driver_api::{Node, UsbIdentity, Value};

    use super::*;

    fn kind() -> Kind<'static> {
        Kind {
            make: "Maker",
            model: "M1",
            modality: Modality::Finger,
            device_sub_type: DeviceSubType::Single,
            purpose: Purpose::Auth,
            firmware: "unknown",
            serial: None,
            sub_ids: &[SubId(0)],
        }
    }

    fn with_serial(serial: &str) -> Found {
        let usb = UsbIdentity { vendor: 0x05BA, product: 0xA, serial: serial.into(), ..Default::default() };
        let mut found = Found::line("/dev/ttyUSB0");
        found.node = Node { place: "usb:1-1.2".into(), usb: Some(usb), ..found.node };
        found
    }

    #[test]
    fn a_serial_number_says_where_it_is_from() {
        for (found, serial) in [
            (with_serial("0123456789ABCDEF"), "0123456789ABCDEF"),
            (with_serial("A1 b/2"), "05BA000A-A1-b-2"),
            (with_serial("7"), "05BA000A-7000"),
            (with_serial(""), "NOSERIAL-usb-1-1.2"),
            (with_serial(" -"), "NOSERIAL-usb-1-1.2"),
            (Found::line("/dev/ttyS0"), "NOSERIAL-dev-ttyS0"),
            (Found::line("x"), "NOSERIAL-x000"),
        ] {
            assert_eq!(serial_of(&found), serial);
            assert!(serial.bytes().filter(u8::is_ascii_alphanumeric).count() >= SERIAL_LENGTH);
        }
    }

    #[test]
    fn a_quirk_file_has_the_last_word() {
        let mut found = with_serial("0123456789ABCDEF");
        let plain = describe(&found, &kind()).unwrap();
        assert_eq!((plain.identity.make.as_str(), plain.purpose), ("Maker", Purpose::Auth));
        assert_eq!((plain.level, plain.identity.device_provider.as_str()), (Level::L0, "Maker"));

        for (name, value) in [("make", "Other"), ("purpose", "Registration"), ("firmware", "1.2")] {
            found.quirks.settings.insert(name.into(), Value::Text(value.into()));
        }
        let told = describe(&found, &kind()).unwrap();
        assert_eq!((told.identity.make.as_str(), told.purpose), ("Other", Purpose::Registration));
        assert_eq!((told.firmware.as_str(), told.identity.model.as_str()), ("1.2", "M1"));

        found.quirks.settings.insert("purpose".into(), Value::Text("Anything".into()));
        let error = describe(&found, &kind()).unwrap_err();
        assert!(error.to_string().contains("setting purpose"), "{error}");
    }
}
