//! The CBOR map of each command and answer, member by member. Members that are not known are ignored.

use biotrust_model::evidence::KeySlot;
use biotrust_model::time::UtcMillis;
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

use super::{Clock, Firmware, Pending, RefusalKind, SigningKey};

#[derive(Serialize, Deserialize)]
pub(super) struct Nothing {}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Subject {
    pub(super) common_name: String,
    pub(super) organisation: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Csr {
    pub(super) csr: ByteBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Slot {
    Current,
    Next,
}

impl From<KeySlot> for Slot {
    fn from(slot: KeySlot) -> Self {
        match slot {
            KeySlot::Current => Self::Current,
            KeySlot::Next => Self::Next,
        }
    }
}

impl From<Slot> for KeySlot {
    fn from(slot: Slot) -> Self {
        match slot {
            Slot::Current => Self::Current,
            Slot::Next => Self::Next,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct Attest {
    pub(super) slot: Slot,
    pub(super) binding: ByteArray<32>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Statement {
    pub(super) statement: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Sign {
    pub(super) typ: String,
    pub(super) payload: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Jws {
    pub(super) jws: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Chain {
    pub(super) chain: Vec<ByteBuf>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct DigitalId {
    #[serde(with = "SigningKeyDef")]
    pub(super) key: SigningKey,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "SigningKey", rename_all = "camelCase")]
enum SigningKeyDef {
    Chip,
    Device,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Token {
    pub(super) token: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClockBody {
    nonce: ByteArray<32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    now: Option<i64>,
    boot_count: u64,
}

impl From<Clock> for ClockBody {
    fn from(Clock { nonce, now, boot_count }: Clock) -> Self {
        Self { nonce: ByteArray::new(nonce), now: now.map(|now| now.0), boot_count }
    }
}

impl From<ClockBody> for Clock {
    fn from(body: ClockBody) -> Self {
        let ClockBody { nonce, now, boot_count } = body;
        Self { nonce: nonce.into_array(), now: now.map(UtcMillis), boot_count }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) manifest: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Block {
    pub(super) offset: u64,
    pub(super) bytes: ByteBuf,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Received {
    pub(super) received: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct FirmwareBody(#[serde(with = "FirmwareDef")] pub(super) Firmware);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Firmware", rename_all = "camelCase")]
struct FirmwareDef {
    version: String,
    svn: u64,
    svn_floor: u64,
    failed_attempts: u32,
    locked: bool,
    #[serde(default, with = "pending", skip_serializing_if = "Option::is_none")]
    pending: Option<Pending>,
}

/// Member `pending`: a map.
mod pending {
    use super::{Deserialize, Pending, Serialize};
    use serde::{Deserializer, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Body {
        version: String,
        size: u64,
        received: u64,
    }

    pub(super) fn serialize<S: Serializer>(pending: &Option<Pending>, to: S) -> Result<S::Ok, S::Error> {
        let body = pending.as_ref().map(|Pending { version, size, received }| Body {
            version: version.clone(),
            size: *size,
            received: *received,
        });
        body.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Pending>, D::Error> {
        let body = Option::<Body>::deserialize(from)?;
        Ok(body.map(|Body { version, size, received }| Pending { version, size, received }))
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct Named {
    pub(super) name: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NamedSubject {
    pub(super) name: String,
    pub(super) common_name: String,
    pub(super) organisation: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct NamedDigest {
    pub(super) name: String,
    pub(super) slot: Slot,
    pub(super) digest: ByteArray<32>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct NamedAttest {
    pub(super) name: String,
    pub(super) slot: Slot,
    pub(super) binding: ByteArray<32>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Signature {
    pub(super) signature: ByteBuf,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Keys {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) current: Option<ByteBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<ByteBuf>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Refused {
    #[serde(with = "RefusalKindDef")]
    pub(super) kind: RefusalKind,
    #[serde(default)]
    pub(super) message: String,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RefusalKind")]
enum RefusalKindDef {
    Busy,
    NotReady,
    NotRegistered,
    Tampered,
    Unsupported,
    Protocol,
    #[serde(other)]
    Internal,
}
