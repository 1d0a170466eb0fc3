//! What goes into the machine and what comes out.

use biotrust_attest::Challenge;
use biotrust_certs::{Certificate, CertificateError};
use biotrust_model::Level;
use biotrust_model::time::UtcMillis;
use serde::{Deserialize, Serialize};

use crate::message::{ReplyBody, RequestBody, UpdateOutcome};
use crate::{Bytes, Sha256};

/// What the machine knows of the certificate that a device has in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// SHA-256 of the certificate.
    pub sha256: Sha256,
    /// SHA-256 of its key's SubjectPublicKeyInfo.
    pub spki: Sha256,
    /// First moment, UTC ms.
    pub not_before: i64,
    /// Last moment, UTC ms.
    pub not_after: i64,
}

impl Held {
    /// Reads a device certificate.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(der: &[u8]) -> Result<Self, CertificateError> {
        let certificate = Certificate::parse(der)?;
        Ok(Self {
            sha256: Sha256::of(der),
            spki: Sha256::of(certificate.spki_der()),
            not_before: certificate.not_before().0,
            not_after: certificate.not_after().0,
        })
    }
}

/// What the host finds at a device when it is plugged in, or when the host has started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Where its keys live.
    pub level: Level,
    /// The certificate in use, where there is one.
    pub certificate: Option<Held>,
}

/// What a person may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Have a new key certified now.
    Rotate,
    /// Try again what was refused.
    Retry,
    /// Destroy the device keys, as if the server had ordered it.
    Deregister,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The device is there; also once for every device after a start of the host.
    Plugged(Facts),
    /// It is gone. What was under way will not be answered.
    Unplugged,
    /// The moment of an [`Effect::Wake`] has come. Harmless at any time.
    Tick,
    /// Somebody wants something.
    Wished(Wish),
    /// A job is done.
    Done {
        /// The ticket that the job came with.
        ticket: u64,
        /// How it went.
        result: Result<Answer, Failure>,
    },
}

/// What the host does for the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Take a nonce (the device's, where it has a clock), send `time`, verify the token, set the clock.
    /// Answered by [`Answer::TimeSet`].
    SyncTime,
    /// Begin a rotation: the next key and a request for its certificate. Answered by [`Answer::KeyMade`].
    MakeKey,
    /// Send this, signed by the chip key at L1, at L0 by the key in use, or where there is none, by the next one.
    /// Answered by [`Answer::Replied`].
    Send(RequestBody),
    /// Make evidence for this challenge that speaks for the next key. Answered by [`Answer::Proven`].
    Prove(Challenge),
    /// Give the device the certificate of its next key and finish the rotation: what was begun with the old pair ends
    /// with it, then the old key is destroyed. Answered by [`Answer::Installed`].
    Install {
        /// Leaf first, DER.
        chain: Vec<Bytes>,
    },
    /// Send `poll` with a report. Answered by [`Answer::Replied`].
    Poll {
        /// With notices.
        full: bool,
        /// To be in the report.
        update: Option<UpdateOutcome>,
    },
    /// Sign this as [`Self::Send`] would, and do not send it. Answered by [`Answer::Signed`].
    Sign(RequestBody),
    /// Destroy all device keys. No error where there are none. Answered by [`Answer::Destroyed`].
    DestroyKeys,
    /// Post what was signed before. Answered by [`Answer::Replied`].
    Post(String),
    /// Verify this manifest, fetch the image, hand it to the device. Answered by [`Answer::Updated`] once the new
    /// firmware runs.
    Update {
        /// Compact JWS.
        manifest: String,
        /// Path of the image on the management server.
        image: String,
    },
}

/// How a job went well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The clock is set.
    TimeSet,
    /// There is a next key.
    KeyMade {
        /// PKCS#10 request.
        csr: Bytes,
        /// SHA-256 of its SubjectPublicKeyInfo.
        spki: Sha256,
    },
    /// A verified reply of the right server.
    Replied(ReplyBody),
    /// Evidence, compact JWS.
    Proven(String),
    /// The new pair is in use, the old key is gone.
    Installed,
    /// A signed request, compact JWS.
    Signed(String),
    /// No device key is left.
    Destroyed,
    /// The new firmware runs.
    Updated,
}

/// How a job went wrong. The text is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection, or no answer in time.
    #[error("the management server cannot be reached: {0}")]
    Unreachable(String),
    /// It is not the right server, or its answer is not believed.
    #[error("the answer of the management server is not believed: {0}")]
    Distrusted(String),
    /// The device or the trust module did not do it.
    #[error("the device did not do it: {0}")]
    Device(String),
}

/// What to do now, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Carry this out and answer with the ticket.
    Do {
        /// To be in the answer.
        ticket: u64,
        /// What to do.
        job: Box<Job>,
    },
    /// Call with [`Event::Tick`] at this moment, unless something else happens before; replaces an earlier wish.
    Wake(UtcMillis),
    /// For the log and the audit trail, one sentence.
    Tell(String),
}
