//! The CBOR map of each message, member by member: the one place that says how a body looks on the wire.
//!
//! Types of the driver API are mirrored with serde's `remote`, so that they need not know of this protocol. Members
//! that are not known are ignored.

use std::sync::Arc;
use std::time::Duration;

use biotrust_driver_api::{
    AuthCapture, CaptureJob, DeviceErrorKind, DigitalIdKey, Frame, ImageCodec, InfoJob, L1Keys, SelfReport,
    SignedBlock, StreamJob,
};
use biotrust_model::{BioSubType, DeviceIdentity, DeviceStatus, Env, Level, Purpose, Score, Secret, SubId};
use serde::{Deserialize, Serialize};

use super::{Image, fields};

/// Body of messages that say nothing more.
#[derive(Serialize, Deserialize)]
pub(super) struct Nothing {}

/// HELLO, request.
#[derive(Serialize, Deserialize)]
pub(super) struct HelloRequest {
    pub(super) protocol: u8,
}

/// HELLO, response.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HelloResponse {
    pub(super) protocol: u8,
    pub(super) identity: DeviceIdentity,
    pub(super) level: Level,
    pub(super) purpose: Purpose,
    pub(super) firmware: String,
    #[serde(with = "fields::few")]
    pub(super) sub_ids: Vec<SubId>,
}

/// STATUS, response and event.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Status(#[serde(with = "SelfReportDef")] pub(super) SelfReport);

#[derive(Serialize, Deserialize)]
#[serde(remote = "SelfReport")]
struct SelfReportDef {
    status: DeviceStatus,
    #[serde(default)]
    reason: String,
}

/// KEYS, response.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Keys(#[serde(with = "L1KeysDef")] pub(super) L1Keys);

#[derive(Serialize, Deserialize)]
#[serde(remote = "L1Keys", rename_all = "camelCase")]
struct L1KeysDef {
    #[serde(with = "fields::certificates")]
    device_chain: Vec<Vec<u8>>,
    #[serde(with = "fields::certificates")]
    chip_chain: Vec<Vec<u8>>,
}

/// SIGNED_INFO, request.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct SignedInfoRequest(#[serde(with = "InfoJobDef")] pub(super) InfoJob);

#[derive(Serialize, Deserialize)]
#[serde(remote = "InfoJob", rename_all = "camelCase")]
struct InfoJobDef {
    device_id: String,
    status: DeviceStatus,
    env: Env,
    callback_id: String,
    service_version: String,
    #[serde(with = "DigitalIdKeyDef")]
    digital_id_key: DigitalIdKey,
    #[serde(default = "own_level")]
    level: Level,
}

/// Level of a device that signs.
const fn own_level() -> Level {
    Level::L1
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "DigitalIdKey", rename_all = "camelCase")]
enum DigitalIdKeyDef {
    Chip,
    Device,
}

/// SIGNED_INFO, response.
#[derive(Serialize, Deserialize)]
pub(super) struct SignedInfoResponse {
    pub(super) jws: String,
}

/// INSTALL_ENCRYPTION_CERTIFICATE, request.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EncryptionCertificate {
    pub(super) domain_uri: String,
    #[serde(with = "fields::certificates")]
    pub(super) chain: Vec<Vec<u8>>,
}

/// STREAM_START, request.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct StreamStart(#[serde(with = "StreamJobDef")] pub(super) StreamJob);

#[derive(Serialize, Deserialize)]
#[serde(remote = "StreamJob", rename_all = "camelCase")]
struct StreamJobDef {
    sub_id: SubId,
    fps: u8,
}

/// CAPTURE, request.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct CaptureRequest(#[serde(with = "CaptureJobDef")] pub(super) CaptureJob);

#[derive(Serialize, Deserialize)]
#[serde(remote = "CaptureJob", rename_all = "camelCase")]
struct CaptureJobDef {
    parts: Vec<BioSubType>,
    exceptions: Vec<BioSubType>,
    sub_id: SubId,
    #[serde(with = "fields::score")]
    requested_score: Score,
    requested_score_text: String,
    #[serde(rename = "finishWithinMs", with = "fields::millis")]
    finish_within: Duration,
    purpose: Purpose,
    #[serde(default, with = "auth", skip_serializing_if = "Option::is_none")]
    auth: Option<AuthCapture>,
    transaction_id: String,
    env: Env,
    spec_version: String,
    service_version: String,
    #[serde(with = "fields::hash")]
    previous_hash: [u8; 32],
    append_chip_certificate: bool,
    #[serde(with = "DigitalIdKeyDef")]
    digital_id_key: DigitalIdKey,
}

/// Member `auth` of CAPTURE: a map.
mod auth {
    use super::{AuthCapture, Deserialize, Serialize};
    use serde::{Deserializer, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Auth {
        domain_uri: String,
    }

    pub(super) fn serialize<S: Serializer>(auth: &Option<AuthCapture>, to: S) -> Result<S::Ok, S::Error> {
        auth.as_ref().map(|a| Auth { domain_uri: a.domain_uri.clone() }).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<AuthCapture>, D::Error> {
        let auth = Option::<Auth>::deserialize(from)?;
        Ok(auth.map(|a| AuthCapture { domain_uri: a.domain_uri }))
    }
}

/// How a capture ended, as CAPTURE's response spells it.
#[derive(Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(super) enum Outcome {
    Done,
    Nothing,
}

/// CAPTURE, response: `images` at L0, `blocks` at L1, neither where nothing was presented.
#[derive(Serialize, Deserialize)]
pub(super) struct CaptureResponse {
    pub(super) outcome: Outcome,
    #[serde(default)]
    pub(super) reached: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) images: Option<Images>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) blocks: Option<Blocks>,
}

/// `images`.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Images(#[serde(with = "fields::few")] pub(super) Vec<ImageBody>);

/// `blocks`.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Blocks(#[serde(with = "fields::few")] pub(super) Vec<Block>);

/// An element of `images`.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct ImageBody(#[serde(with = "ImageDef")] pub(super) Image);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Image", rename_all = "camelCase")]
struct ImageDef {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part: Option<BioSubType>,
    #[serde(with = "fields::secret")]
    image: Secret,
    #[serde(with = "ImageCodecDef")]
    codec: ImageCodec,
    width: u16,
    height: u16,
    dpi: u16,
    #[serde(with = "fields::score")]
    score: Score,
    age_ms: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iris_geometry: Option<[u16; 3]>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ImageCodec")]
enum ImageCodecDef {
    #[serde(rename = "jp2-lossless")]
    Jpeg2000Lossless,
    #[serde(rename = "jp2-lossy")]
    Jpeg2000Lossy,
}

/// An element of `blocks`.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Block(#[serde(with = "SignedBlockDef")] pub(super) SignedBlock);

#[derive(Serialize, Deserialize)]
#[serde(remote = "SignedBlock", rename_all = "camelCase")]
struct SignedBlockDef {
    #[serde(with = "fields::secret")]
    data: Secret,
    hash: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    thumbprint: Option<String>,
}

/// CAPTURE_CANCEL, request.
#[derive(Serialize, Deserialize)]
pub(super) struct CaptureCancel {
    pub(super) request: u32,
}

/// FRAME, event.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct FrameEvent(#[serde(with = "FrameDef")] pub(super) Frame);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Frame")]
struct FrameDef {
    sequence: u64,
    #[serde(with = "fields::shared")]
    jpeg: Arc<[u8]>,
    #[serde(default, with = "fields::optional_score", skip_serializing_if = "Option::is_none")]
    score: Option<Score>,
}

/// Body of an error response.
#[derive(Serialize, Deserialize)]
pub(super) struct Failure {
    #[serde(with = "DeviceErrorKindDef")]
    pub(super) kind: DeviceErrorKind,
    #[serde(default)]
    pub(super) message: String,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "DeviceErrorKind")]
enum DeviceErrorKindDef {
    Gone,
    PermissionDenied,
    InUse,
    TimedOut,
    Protocol,
    Busy,
    NotReady,
    NotRegistered,
    Tampered,
    NoEncryptionKey,
    Unsupported,
    Cancelled,
    #[serde(other)]
    Internal,
}
