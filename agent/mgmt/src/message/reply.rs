//! What a management server says.

use biotrust_attest::Challenge;
use biotrust_model::time::UtcMillis;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{MessageError, Presented, body, printable, short};
use crate::{Bytes, MessageId, Stamp, VERSION};

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The request that it answers.
    pub re: MessageId,
    /// When it was made.
    pub at: UtcMillis,
    /// The digital ID of the request, repeated.
    pub digital_id: Presented,
    /// What is answered.
    pub body: ReplyBody,
}

/// What can be answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "body")]
pub enum ReplyBody {
    /// To `challenge`.
    Challenge {
        /// The challenge; good once.
        challenge: Challenge,
    },
    /// To `register` and `rotate`.
    Certificate {
        /// The device certificate and what leads to its anchor, DER.
        chain: Vec<Bytes>,
    },
    /// To `confirm` and `deregistered`.
    Ack {},
    /// To `time`.
    Time {
        /// Time token, compact JWS.
        token: String,
    },
    /// To `poll`.
    Commands {
        /// What the host is to do, in this order.
        commands: Vec<Command>,
        /// When to poll again.
        next_poll_s: u32,
    },
    /// To anything.
    Refused(Refusal),
}

kinds! {
    /// Kinds of replies.
    ReplyKind {
        Challenge = "challenge", Certificate = "certificate", Ack = "ack", Time = "time", Commands = "commands",
        Refused = "refused",
    }
}

/// Why a server does not do it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// Name of the failed check, kebab-case.
    pub check: String,
    /// What is wrong, for people.
    pub text: String,
    /// What to do about it, for people.
    pub next: String,
    /// When it may be tried again; absent where that is in vain until somebody has done something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_s: Option<u32>,
}

/// Whether to try again after a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// After so many seconds, on its own.
    After(u32),
    /// When a person asks for it, or the device is plugged in again.
    ByHand,
}

impl Refusal {
    /// What the server says about another try.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.retry_s.map_or(Retry::ByHand, Retry::After)
    }
}

/// What a server can order. Nothing here, and nothing that could be added by the wire, starts a capture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "command", deny_unknown_fields)]
pub enum Command {
    /// Make a new device key and have it certified.
    Rotate {},
    /// Destroy the device keys.
    Deregister {},
    /// Report with notices.
    Report {},
    /// Install this firmware.
    Update {
        /// Manifest, compact JWS.
        manifest: String,
        /// Where the image is: a path on this server.
        image: String,
    },
}

kinds! {
    /// Kinds of commands.
    CommandKind { Rotate = "rotate", Deregister = "deregister", Report = "report", Update = "update" }
}

impl Command {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> CommandKind {
        match self {
            Self::Rotate {} => CommandKind::Rotate,
            Self::Deregister {} => CommandKind::Deregister,
            Self::Report {} => CommandKind::Report,
            Self::Update { .. } => CommandKind::Update,
        }
    }
}

/// The members of a reply, as read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Members {
    mgmt: u32,
    kind: String,
    re: MessageId,
    ts: Stamp,
    digital_id: Presented,
    body: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChallengeBody {
    challenge: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateBody {
    chain: Vec<Bytes>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TimeBody {
    token: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandsBody {
    commands: Vec<Command>,
    next_poll_s: u32,
}

impl ReplyBody {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> ReplyKind {
        match self {
            Self::Challenge { .. } => ReplyKind::Challenge,
            Self::Certificate { .. } => ReplyKind::Certificate,
            Self::Ack {} => ReplyKind::Ack,
            Self::Time { .. } => ReplyKind::Time,
            Self::Commands { .. } => ReplyKind::Commands,
            Self::Refused(_) => ReplyKind::Refused,
        }
    }

    fn read(kind: ReplyKind, value: Value) -> Result<Self, MessageError> {
        let name = kind.as_str();
        Ok(match kind {
            ReplyKind::Challenge => {
                let ChallengeBody { challenge } = body(name, value)?;
                let challenge = Challenge::from_json(&challenge.to_string())
                    .map_err(|error| MessageError::Body { kind: name, why: error.to_string() })?;
                Self::Challenge { challenge }
            }
            ReplyKind::Certificate => {
                let CertificateBody { chain } = body(name, value)?;
                Self::Certificate { chain }
            }
            ReplyKind::Ack => {
                let Nothing {} = body(name, value)?;
                Self::Ack {}
            }
            ReplyKind::Time => {
                let TimeBody { token } = body(name, value)?;
                Self::Time { token }
            }
            ReplyKind::Commands => {
                let CommandsBody { commands, next_poll_s } = body(name, value)?;
                Self::Commands { commands, next_poll_s }
            }
            ReplyKind::Refused => Self::Refused(body(name, value)?),
        })
    }
}

impl Reply {
    /// The payload to sign.
    #[must_use]
    pub fn payload(&self) -> String {
        let mut inner = serde_json::to_value(&self.body).unwrap_or_default();
        let inner = inner.get_mut("body").map(Value::take).unwrap_or_default();
        json!({
            "mgmt": VERSION,
            "kind": self.body.kind().as_str(),
            "re": self.re,
            "ts": Stamp(self.at),
            "digitalId": self.digital_id,
            "body": inner,
        })
        .to_string()
    }

    /// Reads a payload. What it says is believed by nobody yet; [`crate::envelope`] checks the signature.
    ///
    /// # Errors
    /// When it is not a reply of this version with a kind that exists, a body that fits, and nothing else.
    pub fn parse(payload: &[u8]) -> Result<Self, MessageError> {
        let members: Members =
            serde_json::from_slice(payload).map_err(|error| MessageError::Members(short(&error)))?;
        if members.mgmt != VERSION {
            return Err(MessageError::Version(members.mgmt));
        }
        let kind = ReplyKind::from_wire(&members.kind)
            .ok_or_else(|| MessageError::Kind(printable(&members.kind)))?;
        Ok(Self {
            re: members.re,
            at: members.ts.0,
            digital_id: members.digital_id,
            body: ReplyBody::read(kind, members.body)?,
        })
    }
}
