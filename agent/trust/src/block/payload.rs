//! The payload of a data block: members and their comparison.

use std::borrow::Cow;

use biotrust_model::Purpose;
use serde::Deserialize;

/// Longest part of the reader's message that goes into an error.
const MAX_MESSAGE: usize = 120;

/// Longest name of a member that is quoted; real ones have 20 characters at most.
const MAX_NAME: usize = 32;

/// A member of a payload that must repeat what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Member {
    /// `deviceCode`: the serial number.
    DeviceCode,
    /// `deviceServiceVersion`.
    DeviceServiceVersion,
    /// `bioType`.
    BioType,
    /// `purpose`.
    Purpose,
    /// `env`.
    Env,
    /// `domainUri`.
    DomainUri,
    /// `transactionId`.
    TransactionId,
    /// `requestedScore`.
    RequestedScore,
    /// `deviceId` of device info.
    DeviceId,
    /// `deviceStatus` of device info.
    DeviceStatus,
    /// `firmware` of device info.
    Firmware,
    /// `certification` of device info.
    Certification,
    /// `serviceVersion` of device info.
    ServiceVersion,
    /// `deviceSubId` of device info.
    DeviceSubId,
    /// `callbackId` of device info.
    CallbackId,
    /// `specVersion` of device info.
    SpecVersion,
}

impl Member {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeviceCode => "deviceCode",
            Self::DeviceServiceVersion => "deviceServiceVersion",
            Self::BioType => "bioType",
            Self::Purpose => "purpose",
            Self::Env => "env",
            Self::DomainUri => "domainUri",
            Self::TransactionId => "transactionId",
            Self::RequestedScore => "requestedScore",
            Self::DeviceId => "deviceId",
            Self::DeviceStatus => "deviceStatus",
            Self::Firmware => "firmware",
            Self::Certification => "certification",
            Self::ServiceVersion => "serviceVersion",
            Self::DeviceSubId => "deviceSubId",
            Self::CallbackId => "callbackId",
            Self::SpecVersion => "specVersion",
        }
    }
}

impl std::fmt::Display for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A data payload: exactly these members, all strings. One client or another refuses every deviation.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Payload<'a> {
    #[serde(borrow)]
    pub(super) digital_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) device_code: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) device_service_version: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) bio_type: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) bio_sub_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) purpose: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) env: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) domain_uri: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) bio_value: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) transaction_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) timestamp: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) requested_score: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) quality_score: Cow<'a, str>,
}

/// An optional member is absent or a string; null is neither.
fn present<'de: 'a, 'a, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Cow<'a, str>>, D::Error> {
    #[derive(Deserialize)]
    struct Text<'t>(#[serde(borrow)] Cow<'t, str>);
    Ok(Some(Text::deserialize(d)?.0))
}

impl<'a> Payload<'a> {
    /// Reads the payload of a block for `purpose`. The message on failure names members and positions only.
    pub(super) fn read(json: &'a [u8], purpose: Purpose) -> Result<Self, String> {
        let payload: Self = serde_json::from_slice(json).map_err(|error| message(&error))?;
        match (purpose, &payload.domain_uri) {
            (Purpose::Registration, Some(_)) => Err("unknown field `domainUri` in a registration".to_owned()),
            (Purpose::Auth, None) => Err("missing field `domainUri`".to_owned()),
            _ => Ok(payload),
        }
    }
}

/// What the JSON reader says: which member, and where. It quotes no value, since every value has to be a string and it
/// does not quote strings where it wants one; the name of an unknown member is quoted only where it is a short one.
pub(super) fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let pieces = text.split('`').enumerate();
    let hidden =
        pieces.map(|(at, piece)| if at % 2 == 1 && piece.len() > MAX_NAME { "(long)" } else { piece });
    let shown = hidden.collect::<Vec<_>>().join("`");
    shown.chars().take(MAX_MESSAGE).flat_map(char::escape_debug).collect()
}

/// Whether a packet can cut `bioValue` out of this payload and put it back: the first `bioValue` in the text must be the
/// member, and its value must stand there as it is.
pub(super) fn cuts_cleanly(json: &[u8], value: &str) -> bool {
    const NAME: &str = "bioValue";
    let Ok(text) = std::str::from_utf8(json) else { return false };
    let Some((before, after)) = text.find(NAME).and_then(|at| text.split_at_checked(at)) else {
        return false;
    };
    let member = after
        .strip_prefix(NAME)
        .and_then(|rest| rest.strip_prefix("\":\""))
        .and_then(|rest| rest.strip_prefix(value));
    before.ends_with('"') && member.is_some_and(|rest| rest.starts_with('"'))
}
