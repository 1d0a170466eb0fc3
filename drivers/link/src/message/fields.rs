//! How members that CBOR has no word for are written; `#[serde(with = ...)]` modules.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// Longest chain of certificates, and longest certificate in bytes.
const MAX_CHAIN: usize = 8;
const MAX_CERTIFICATE: usize = 64 * 1024;
/// Longest list of anything else that a device answers: there are ten fingers.
const MAX_LIST: usize = 16;

/// Reads one byte string, by `make`, which sees the bytes once. Only strings of definite length.
fn bytes<'de, D: Deserializer<'de>, T>(from: D, make: fn(&[u8]) -> Option<T>) -> Result<T, D::Error> {
    struct Bytes<T>(fn(&[u8]) -> Option<T>);
    impl<T> Visitor<'_> for Bytes<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a byte string of the right length")
        }
        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<T, E> {
            (self.0)(bytes).ok_or_else(|| E::invalid_length(bytes.len(), &self))
        }
    }
    from.deserialize_bytes(Bytes(make))
}

/// Reads an array of at most `most` elements and stops at the first that is too many: small elements take far more
/// memory than they had bytes.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D, most: usize) -> Result<Vec<T>, D::Error> {
    struct List<T>(usize, PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {} elements", self.0)
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(element) = elements.next_element()? {
                list.push(element);
                if list.len() > self.0 {
                    return Err(A::Error::invalid_length(list.len(), &self));
                }
            }
            Ok(list)
        }
    }
    from.deserialize_seq(List(most, PhantomData))
}

/// [`biotrust_model::Secret`]: a byte string, copied once out of the message.
pub(super) mod secret {
    use biotrust_model::Secret;
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(secret.expose())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        super::bytes(from, |b| Some(Secret::new(b.to_vec())))
    }
}

/// `Arc<[u8]>`: a byte string.
pub(super) mod shared {
    use serde::{Deserializer, Serializer};
    use std::sync::Arc;

    pub(crate) fn serialize<S: Serializer>(bytes: &Arc<[u8]>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<[u8]>, D::Error> {
        super::bytes(from, |b| Some(b.into()))
    }
}

/// A SHA-256: a byte string of 32.
pub(super) mod hash {
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(hash: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(hash)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        super::bytes(from, |b| b.try_into().ok())
    }
}

/// Certificates: a short array of byte strings.
pub(super) mod certificates {
    use serde::{Deserialize, Deserializer, Serializer};
    use serde_bytes::Bytes;

    struct Certificate(Vec<u8>);

    impl<'de> Deserialize<'de> for Certificate {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            super::bytes(from, |der| (der.len() <= super::MAX_CERTIFICATE).then(|| Self(der.to_vec())))
        }
    }

    pub(crate) fn serialize<S: Serializer>(chain: &[Vec<u8>], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(chain.iter().map(|der| Bytes::new(der)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Vec<u8>>, D::Error> {
        let chain: Vec<Certificate> = super::list(from, super::MAX_CHAIN)?;
        Ok(chain.into_iter().map(|certificate| certificate.0).collect())
    }
}

/// A short array of anything.
pub(super) mod few {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<T: Serialize, S: Serializer>(list: &[T], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(list)
    }

    pub(crate) fn deserialize<'de, T, D>(from: D) -> Result<Vec<T>, D::Error>
    where
        T: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        super::list(from, super::MAX_LIST)
    }
}

/// [`biotrust_model::Score`]: a float in 0.0..=100.0.
pub(super) mod score {
    use biotrust_model::Score;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(score: &Score, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f32(score.value())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Score, D::Error> {
        let value = f32::deserialize(from)?;
        Score::new(value).ok_or_else(|| D::Error::custom("a score must be in 0.0..=100.0"))
    }
}

/// `Option<Score>`: absent or a score.
pub(super) mod optional_score {
    use biotrust_model::Score;
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(score: &Option<Score>, to: S) -> Result<S::Ok, S::Error> {
        match score {
            Some(score) => super::score::serialize(score, to),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Score>, D::Error> {
        super::score::deserialize(from).map(Some)
    }
}

/// A span of time: milliseconds, unsigned.
pub(super) mod millis {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(crate) fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}
