//! The small values of the protocol in their one spelling each.

use biotrust_model::time::UtcMillis;
use biotrust_sbi::base64url;
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

/// Declares a value of a fixed number of bytes with one spelling.
macro_rules! fixed {
    ($(#[$meta:meta])* $name:ident, $length:literal, $spelling:literal, $write:expr, $read:expr) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; $length]);

        impl $name {
            /// Reads the spelling of the wire.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let read: fn(&str) -> Option<Vec<u8>> = $read;
                read(text)?.try_into().ok().map(Self).filter(|value| value.to_string() == text)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let write: fn(&[u8]) -> String = $write;
                f.write_str(&write(&self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| D::Error::custom(concat!("not ", $spelling)))
            }
        }
    };
}

fixed!(
    /// Names a request: random, never used twice.
    MessageId, 16, "16 bytes in base64url", |bytes| base64url::encode(bytes), base64url::decode
);

fixed!(
    /// What a time token answers to.
    Nonce, 32, "32 bytes in base64url", |bytes| base64url::encode(bytes), base64url::decode
);

fixed!(
    /// SHA-256 of a certificate or of a SubjectPublicKeyInfo, 64 upper-case hexadecimal characters.
    Sha256, 32, "a SHA-256 in 64 upper-case hexadecimal characters",
    |bytes| hex::encode_upper(bytes), |text| hex::decode(text).ok()
);

impl Sha256 {
    /// The hash of some DER.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        let mut hash = [0; 32];
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
        hash.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
        Self(hash)
    }
}

/// Bytes, base64url.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Bytes(pub Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytes({})", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base64url::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        base64url::decode(&text).map(Self).ok_or_else(|| D::Error::custom("not unpadded base64url"))
    }
}

/// A moment to the millisecond: `2026-11-24T13:00:00.123Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub UtcMillis);

impl Stamp {
    /// Reads exactly the form that is written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let stamp: jiff::Timestamp = text.parse().ok()?;
        Some(Self(UtcMillis(stamp.as_millisecond()))).filter(|stamp| stamp.to_string() == text)
    }
}

impl std::fmt::Display for Stamp {
    /// Moments outside the years 0000 to 9999 are shown as the epoch: no clock of a working host is there.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stamp = jiff::Timestamp::from_millisecond(self.0.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        write!(f, "{}", stamp.strftime("%Y-%m-%dT%H:%M:%S.%3fZ"))
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("not a time like 2026-11-24T13:00:00.123Z"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_has_milliseconds_and_one_spelling() {
        let stamp = Stamp(UtcMillis(1_795_525_200_123));
        assert_eq!(stamp.to_string(), "2026-11-24T13:00:00.123Z");
        assert_eq!(Stamp::parse("2026-11-24T13:00:00.123Z"), Some(stamp));
        for bad in [
            "2026-11-24T13:00:00Z",
            "2026-11-24T13:00:00.12Z",
            "2026-11-24T13:00:00.1234Z",
            "2026-11-24T14:00:00.123+01:00",
            "2026-11-24t13:00:00.123z",
            "2026-11-24 13:00:00.123Z",
            "",
        ] {
            assert_eq!(Stamp::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn fixed_values_have_one_length_and_one_spelling() {
        let id = MessageId([0xAB; 16]);
        assert_eq!(MessageId::parse(&id.to_string()), Some(id));
        assert_eq!(MessageId::parse(&base64url::encode([1; 15])), None);
        let hash = Sha256::of(b"abc");
        assert_eq!(hash.to_string(), "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD");
        assert_eq!(Sha256::parse(&hash.to_string()), Some(hash));
        assert_eq!(Sha256::parse(&hash.to_string().to_lowercase()), None);
    }
}
