//! Who a device is.

use crate::{DeviceSubType, Modality, vocabulary};

/// The one version of the interface that is spoken; advertising any other makes real clients drop the device.
pub const SPEC_VERSION: &str = "0.9.5";

vocabulary!(
    /// Where the keys of a device live: L0 on the host, L1 in the device's own FTM. `certification` on the wire.
    Level, "level", { L0 = "L0", L1 = "L1" }
);

vocabulary!(
    /// What a device is allowed to be used for.
    Purpose, "purpose", { Auth = "Auth", Registration = "Registration" }
);

vocabulary!(
    /// Environment that a device is registered in.
    Env, "environment", {
        /// Staging.
        Staging = "Staging",
        /// Development.
        Developer = "Developer",
        /// Pre-production.
        PreProduction = "Pre-Production",
        /// Production.
        Production = "Production",
    }
);

/// The seven stable members of a digital ID (the eighth, `dateTime`, belongs to the moment of serving).
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceIdentity {
    /// Serial number as printed; at least 12 alphanumeric characters.
    pub serial_no: String,
    /// Brand as printed.
    pub make: String,
    /// Model as printed.
    pub model: String,
    /// Modality.
    #[serde(rename = "type")]
    pub modality: Modality,
    /// Build.
    pub device_sub_type: DeviceSubType,
    /// Legal name of the provider.
    pub device_provider: String,
    /// Id of the provider with MOSIP.
    pub device_provider_id: String,
}

/// `deviceId` on the wire: `[A-Za-z0-9_-]{12}`, unique, so that none is a prefix of another.
///
/// The browser client uses it in a CSS prefix selector and as its only key, hence the fixed width.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct DeviceId(String);

impl DeviceId {
    /// Width in characters.
    pub const WIDTH: usize = 12;

    /// Reads a device id; `None` unless it has the fixed width and alphabet.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let ok = text.len() == Self::WIDTH
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        ok.then(|| Self(text.to_owned()))
    }

    /// "BT" and ten hex digits of `digest` (zeros where it is shorter than five bytes).
    #[must_use]
    pub fn from_digest(digest: &[u8]) -> Self {
        let digits = digest.iter().chain(std::iter::repeat(&0)).take(5).map(|byte| format!("{byte:02X}"));
        Self(std::iter::once("BT".to_owned()).chain(digits).collect())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for DeviceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_ids_have_one_shape() {
        assert!(DeviceId::new("BT0123456789").is_some());
        for digest in [&[0xAB; 32][..], &[1], &[]] {
            let id = DeviceId::from_digest(digest);
            assert_eq!(DeviceId::new(id.as_str()), Some(id));
        }
        for bad in ["", "1", "BT012345678", "BT01234567890", "BT012345678\"", "BT012345678\u{e9}"] {
            assert!(DeviceId::new(bad).is_none(), "{bad:?}");
        }
    }
}
