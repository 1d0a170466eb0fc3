//! What a host says.

use biotrust_model::evidence::EvidencePurpose;
use biotrust_model::time::UtcMillis;
use biotrust_model::{DeviceStatus, Level};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{MessageError, Presented, body, printable, short};
use crate::{Bytes, MessageId, Nonce, Sha256, Stamp, VERSION};

/// Longest text in a report, in bytes.
pub const MAX_TEXT: usize = 512;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Random name of it.
    pub id: MessageId,
    /// When it was made.
    pub at: UtcMillis,
    /// Serial number of the device that it is about.
    pub serial: String,
    /// Who the device is.
    pub digital_id: Presented,
    /// What is asked.
    pub body: RequestBody,
}

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "body")]
pub enum RequestBody {
    /// A fresh challenge for evidence of this purpose.
    Challenge {
        /// What the evidence is to prove.
        purpose: EvidencePurpose,
    },
    /// The first certificate of a device.
    Register {
        /// Evidence for a challenge of purpose `devkey`, compact JWS.
        evidence: String,
        /// PKCS#10 request for the new device key.
        csr: Bytes,
    },
    /// The certificate of a new device key.
    Rotate {
        /// Evidence for a challenge of purpose `devkey`, compact JWS.
        evidence: String,
        /// PKCS#10 request for the new device key.
        csr: Bytes,
    },
    /// The certificate is in use, and the key before it is gone.
    Confirm {
        /// The certificate.
        certificate_sha256: Sha256,
        /// SubjectPublicKeyInfo of the key that was destroyed; absent at the first registration.
        destroyed_spki_sha256: Option<Sha256>,
    },
    /// What time is it?
    Time {
        /// To be in the token.
        nonce: Nonce,
        /// The host's own clock, so that the provider sees hosts with wrong clocks.
        host_utc: Stamp,
    },
    /// The device's state; are there commands?
    Poll(Report),
    /// The device keys are destroyed.
    Deregistered {
        /// SubjectPublicKeyInfo of the key that was destroyed.
        destroyed_spki_sha256: Sha256,
    },
}

kinds! {
    /// Kinds of requests.
    RequestKind {
        Challenge = "challenge", Register = "register", Rotate = "rotate", Confirm = "confirm", Time = "time",
        Poll = "poll", Deregistered = "deregistered",
    }
}

/// The state of a device, for its provider's maintenance. Closed: there is no place for anything that was captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// State.
    pub status: DeviceStatus,
    /// Why, where it is not ready.
    #[serde(default)]
    pub reason: String,
    /// Level that it is served at.
    pub level: Level,
    /// Certificate in use.
    pub certificate_sha256: Option<Sha256>,
    /// Its last moment.
    pub not_after: Option<Stamp>,
    /// Firmware version.
    pub firmware: String,
    /// Security version number of the firmware, where it is known.
    pub svn: Option<u64>,
    /// Version of the device service.
    pub service: String,
    /// What a technician should know, one sentence each: in answer to the command `report`.
    #[serde(default)]
    pub notices: Vec<String>,
    /// How the last update ended that was not reported yet.
    pub update: Option<UpdateOutcome>,
}

/// How an update ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateOutcome {
    /// SHA-256 of the manifest's compact JWS.
    pub manifest_sha256: Sha256,
    /// Why it failed; absent where it succeeded.
    pub error: Option<String>,
}

/// The members of a request, as read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Members {
    mgmt: u32,
    kind: String,
    id: MessageId,
    ts: Stamp,
    serial: String,
    digital_id: Presented,
    body: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChallengeBody {
    purpose: EvidencePurpose,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnrolBody {
    evidence: String,
    csr: Bytes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfirmBody {
    certificate_sha256: Sha256,
    #[serde(default)]
    destroyed_spki_sha256: Option<Sha256>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TimeBody {
    nonce: Nonce,
    host_utc: Stamp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeregisteredBody {
    destroyed_spki_sha256: Sha256,
}

impl RequestBody {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> RequestKind {
        match self {
            Self::Challenge { .. } => RequestKind::Challenge,
            Self::Register { .. } => RequestKind::Register,
            Self::Rotate { .. } => RequestKind::Rotate,
            Self::Confirm { .. } => RequestKind::Confirm,
            Self::Time { .. } => RequestKind::Time,
            Self::Poll(_) => RequestKind::Poll,
            Self::Deregistered { .. } => RequestKind::Deregistered,
        }
    }

    fn read(kind: RequestKind, value: Value) -> Result<Self, MessageError> {
        let name = kind.as_str();
        Ok(match kind {
            RequestKind::Challenge => {
                let ChallengeBody { purpose } = body(name, value)?;
                Self::Challenge { purpose }
            }
            RequestKind::Register => {
                let EnrolBody { evidence, csr } = body(name, value)?;
                Self::Register { evidence, csr }
            }
            RequestKind::Rotate => {
                let EnrolBody { evidence, csr } = body(name, value)?;
                Self::Rotate { evidence, csr }
            }
            RequestKind::Confirm => {
                let ConfirmBody { certificate_sha256, destroyed_spki_sha256 } = body(name, value)?;
                Self::Confirm { certificate_sha256, destroyed_spki_sha256 }
            }
            RequestKind::Time => {
                let TimeBody { nonce, host_utc } = body(name, value)?;
                Self::Time { nonce, host_utc }
            }
            RequestKind::Poll => {
                let report: Report = body(name, value)?;
                report.check()?;
                Self::Poll(report)
            }
            RequestKind::Deregistered => {
                let DeregisteredBody { destroyed_spki_sha256 } = body(name, value)?;
                Self::Deregistered { destroyed_spki_sha256 }
            }
        })
    }
}

impl RequestKind {
    /// Whether a request of this kind is refused for its timestamp. The exceptions do no harm late: an answer to `time`
    /// is bound to its nonce and is what a host with a wrong clock needs most; `deregistered` of a device whose only key
    /// is gone was signed before, and only says that a key named in it exists no more.
    #[must_use]
    pub const fn is_timely(self) -> bool {
        !matches!(self, Self::Time | Self::Deregistered)
    }
}

impl Report {
    /// At most 16 notices, and no text longer than [`MAX_TEXT`].
    fn check(&self) -> Result<(), MessageError> {
        let error = self.update.as_ref().and_then(|update| update.error.as_deref()).unwrap_or_default();
        let texts = [&self.reason, &self.firmware, &self.service].into_iter().map(String::as_str);
        let long =
            texts.chain(self.notices.iter().map(String::as_str)).chain([error]).any(|t| t.len() > MAX_TEXT);
        if long || self.notices.len() > 16 {
            return Err(MessageError::TooLong("a text of the report"));
        }
        Ok(())
    }
}

impl Request {
    /// The payload to sign.
    #[must_use]
    pub fn payload(&self) -> String {
        // A struct of strings, numbers and lists always serialises.
        let mut inner = serde_json::to_value(&self.body).unwrap_or_default();
        let inner = inner.get_mut("body").map(Value::take).unwrap_or_default();
        json!({
            "mgmt": VERSION,
            "kind": self.body.kind().as_str(),
            "id": self.id,
            "ts": Stamp(self.at),
            "serial": self.serial,
            "digitalId": self.digital_id,
            "body": inner,
        })
        .to_string()
    }

    /// Reads a payload. What it says is believed by nobody yet; [`crate::envelope`] checks the signature.
    ///
    /// # Errors
    /// When it is not a request of this version with a kind that exists, a body that fits, and nothing else.
    pub fn parse(payload: &[u8]) -> Result<Self, MessageError> {
        let members: Members =
            serde_json::from_slice(payload).map_err(|error| MessageError::Members(short(&error)))?;
        if members.mgmt != VERSION {
            return Err(MessageError::Version(members.mgmt));
        }
        if members.serial.len() > MAX_TEXT {
            return Err(MessageError::TooLong("the serial number"));
        }
        let kind = RequestKind::from_wire(&members.kind)
            .ok_or_else(|| MessageError::Kind(printable(&members.kind)))?;
        Ok(Self {
            id: members.id,
            at: members.ts.0,
            serial: members.serial,
            digital_id: members.digital_id,
            body: RequestBody::read(kind, members.body)?,
        })
    }
}
