//! The digital ID: who a device is, at the moment of serving.
//!
//! Eight string members, no more and no fewer: the desktop client refuses a ninth, the authentication back end a missing
//! one. Discovery carries it unsigned, everything else signed (by the device key at L0, by the FTM at L1).

use biotrust_model::time::UtcMillis;
use biotrust_model::{DeviceIdentity, DeviceSubType, Modality};
use serde::Deserialize;

use crate::base64url;
use crate::json::{Object, message};
use crate::jws::{self, Unsigned};

/// A digital ID.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DigitalId {
    /// The seven members that stay.
    pub identity: DeviceIdentity,
    /// When the request is being served, `yyyy-MM-ddTHH:mm:ssZ`.
    pub date_time: String,
}

/// Why bytes are no digital ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigitalIdError {
    /// Not base64url.
    #[error("the digital ID is not unpadded base64url")]
    Encoding,
    /// Not an object of the eight string members.
    #[error("the digital ID is not an object of its eight members: {0}")]
    Members(String),
    /// A member is empty.
    #[error("{0} of the digital ID is empty")]
    Empty(&'static str),
    /// A face scanner with two eyes, and the like.
    #[error("a {0} device of sub-type {1} does not exist")]
    SubType(Modality, DeviceSubType),
    /// Another form of time.
    #[error("dateTime of the digital ID is not yyyy-MM-ddTHH:mm:ssZ")]
    DateTime,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Members {
    serial_no: String,
    make: String,
    model: String,
    #[serde(rename = "type")]
    modality: Modality,
    device_sub_type: DeviceSubType,
    device_provider: String,
    device_provider_id: String,
    date_time: String,
}

impl DigitalId {
    /// The identity at `now`.
    #[must_use]
    pub fn at(identity: DeviceIdentity, now: UtcMillis) -> Self {
        Self { identity, date_time: now.to_wire() }
    }

    /// As JSON: the members in the order of the specification, ASCII only.
    #[must_use]
    pub fn to_json(&self) -> String {
        let identity = &self.identity;
        Object::new()
            .text("serialNo", &identity.serial_no)
            .text("make", &identity.make)
            .text("model", &identity.model)
            .text("type", identity.modality.as_str())
            .text("deviceSubType", identity.device_sub_type.as_str())
            .text("deviceProvider", &identity.device_provider)
            .text("deviceProviderId", &identity.device_provider_id)
            .text("dateTime", &self.date_time)
            .finish()
    }

    /// The unsigned form: base64url of the JSON, no dots.
    #[must_use]
    pub fn unsigned(&self) -> String {
        base64url::encode(self.to_json())
    }

    /// The signed form, waiting for its signature.
    #[must_use]
    pub fn prepare(&self, x5c: &[impl AsRef<[u8]>]) -> Unsigned {
        jws::prepare(x5c, &self.to_json())
    }

    /// Reads the JSON, such as the payload of a signed digital ID.
    ///
    /// # Errors
    /// Anything but exactly the eight members, each with a value that it can have.
    pub fn parse(json: &[u8]) -> Result<Self, DigitalIdError> {
        let members: Members =
            serde_json::from_slice(json).map_err(|error| DigitalIdError::Members(message(&error)))?;
        for (name, value) in [
            ("serialNo", &members.serial_no),
            ("make", &members.make),
            ("model", &members.model),
            ("deviceProvider", &members.device_provider),
            ("deviceProviderId", &members.device_provider_id),
        ] {
            if value.is_empty() {
                return Err(DigitalIdError::Empty(name));
            }
        }
        if !members.device_sub_type.fits(members.modality) {
            return Err(DigitalIdError::SubType(members.modality, members.device_sub_type));
        }
        if UtcMillis::from_wire(&members.date_time).is_none() {
            return Err(DigitalIdError::DateTime);
        }
        Ok(Self {
            identity: DeviceIdentity {
                serial_no: members.serial_no,
                make: members.make,
                model: members.model,
                modality: members.modality,
                device_sub_type: members.device_sub_type,
                device_provider: members.device_provider,
                device_provider_id: members.device_provider_id,
            },
            date_time: members.date_time,
        })
    }

    /// Reads the unsigned form.
    ///
    /// # Errors
    /// As [`Self::parse`], or it is not base64url.
    pub fn parse_unsigned(text: &str) -> Result<Self, DigitalIdError> {
        base64url::decode(text).ok_or(DigitalIdError::Encoding).and_then(|json| Self::parse(&json))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::known_answers::{self, section, text};

    #[test]
    fn known_digital_ids() {
        for name in ["digitalId_ftm", "digitalId_device_key", "digitalId_slap_ftm"] {
            let jws = jws::parse(&known_answers::jws(name)).unwrap();
            let digital_id = DigitalId::parse(&jws.payload).unwrap();
            assert_eq!(digital_id.to_json().as_bytes(), jws.payload, "{name}");
            let unsigned = digital_id.prepare(&jws.x5c);
            assert_eq!(unsigned.signing_input(), jws.signing_input().as_bytes(), "{name}");
        }
        let unsigned = text(section("digitalId_unsigned"));
        let digital_id = DigitalId::parse_unsigned(&unsigned).unwrap();
        assert_eq!(digital_id.unsigned(), unsigned);
        assert_eq!(digital_id.identity.serial_no, "FPS000000000001");
    }

    #[test]
    fn exactly_eight_members() {
        let good = DigitalId::parse_unsigned(&text(section("digitalId_unsigned"))).unwrap();
        let json: serde_json::Value = serde_json::from_str(&good.to_json()).unwrap();
        let members = json.as_object().unwrap();
        assert_eq!(members.len(), 8);
        let read = |json: &serde_json::Value| DigitalId::parse(json.to_string().as_bytes());
        for name in members.keys() {
            let mut less = json.clone();
            less.as_object_mut().unwrap().remove(name);
            assert!(matches!(read(&less), Err(DigitalIdError::Members(_))), "{name} missing");
            let mut empty = json.clone();
            empty[name] = "".into();
            assert!(read(&empty).is_err(), "{name} empty");
            let mut number = json.clone();
            number[name] = 1.into();
            assert!(matches!(read(&number), Err(DigitalIdError::Members(_))), "{name} a number");
        }
        let mut more = json.clone();
        more["extra"] = "x".into();
        assert!(matches!(read(&more), Err(DigitalIdError::Members(_))));
        let mut odd = json.clone();
        odd["deviceSubType"] = "Double".into();
        assert_eq!(read(&odd), Err(DigitalIdError::SubType(Modality::Finger, DeviceSubType::Double)));
        let mut time = json.clone();
        time["dateTime"] = "2024-05-17T09:41:26.000Z".into();
        assert_eq!(read(&time), Err(DigitalIdError::DateTime));
        let twice = good.to_json().replacen('{', r#"{"make":"x","#, 1);
        assert!(DigitalId::parse(twice.as_bytes()).is_err());
    }

    #[test]
    fn what_a_device_writes_in_a_digital_id_cannot_write_lines_of_a_log() {
        for member in [r"x\ninfo: all is well", r"\u001b[2J", r"\u2028", r"\u202e", &"x".repeat(10_000)] {
            let error = DigitalId::parse(format!(r#"{{"{member}":1}}"#).as_bytes()).unwrap_err();
            assert!(matches!(error, DigitalIdError::Members(_)), "{error:?}");
            let text = error.to_string();
            assert!(text.is_ascii() && !text.contains(|c: char| c.is_control()), "{text:?}");
            assert!(text.contains("unknown field") && text.len() < 300, "{text}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(serial_no in ".{1,20}", make in ".{1,20}", provider in ".{1,20}", seconds in 0..4_000_000_000i64) {
            let identity = DeviceIdentity {
                serial_no, make, model: "M".into(), modality: Modality::Iris, device_sub_type: DeviceSubType::Double,
                device_provider: provider, device_provider_id: "id".into(),
            };
            let digital_id = DigitalId::at(identity, UtcMillis(seconds * 1000 + 999));
            let unsigned = digital_id.unsigned();
            prop_assert!(!unsigned.contains(['-', '_', '=']));
            prop_assert_eq!(DigitalId::parse_unsigned(&unsigned), Ok(digital_id));
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), text in any::<String>()) {
            let _ = DigitalId::parse(&bytes);
            let _ = DigitalId::parse_unsigned(&text);
        }
    }
}
