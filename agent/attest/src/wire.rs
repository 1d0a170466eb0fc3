//! Bytes and instants as they stand in JSON: unpadded base64url, and milliseconds since 1970.

use biotrust_model::time::UtcMillis;
use biotrust_sbi::base64url;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes, base64url without padding.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base64url::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        base64url::decode(&text)
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("bytes are not unpadded base64url"))
    }
}

/// 32 bytes, base64url without padding.
pub(crate) mod bytes32 {
    use super::{Bytes, Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        Bytes(bytes.to_vec()).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let Bytes(bytes) = Bytes::deserialize(deserializer)?;
        let length = bytes.len();
        bytes.try_into().map_err(|_| serde::de::Error::custom(format!("{length} bytes stand where 32 must")))
    }
}

/// SHA-256 as 64 hexadecimal characters, lower case when written.
pub(crate) mod hex32 {
    use super::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.as_bytes(), &mut bytes)
            .map_err(|_| serde::de::Error::custom("a digest is not 64 hexadecimal characters"))?;
        Ok(bytes)
    }
}

/// Instants as milliseconds since 1970.
pub(crate) mod millis {
    use super::{Deserialize, Deserializer, Serializer, UtcMillis};

    pub(crate) fn serialize<S: Serializer>(at: &UtcMillis, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(at.0)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UtcMillis, D::Error> {
        i64::deserialize(deserializer).map(UtcMillis)
    }
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    digest
}
