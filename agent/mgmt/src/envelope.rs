//! Signed requests and replies: made around a signer that sits elsewhere, and opened with every check on them.
//!
//! A message is a compact JWS, so that its time and the digital ID in it are under the signature. A request is signed by
//! the chip key at L1 and by the device key at L0; before an L0 device has a certificate, by the key that it wants
//! certified. A reply is signed by a management signer of the device's own provider: one that is trusted, is a
//! management signer by its certificate, and belongs to somebody else, is refused.

use biotrust_attest::signed::{self, ParsedSigner, SignedError, Signer, Unsigned};
use biotrust_certs::{Certificate, SignerPurpose, TrustDomain, TrustStore};
use biotrust_model::DeviceIdentity;
use biotrust_model::time::UtcMillis;

use crate::message::{
    MessageError, Presented, PresentedError, Reply, ReplyBody, ReplyKind, Request, RequestKind,
};
use crate::replay::{self, Stale};
use crate::{MAX_MESSAGE, MessageId, Stamp};

/// `typ` of a request.
pub const REQUEST_TYPE: &str = "mgmt+jwt";
/// `typ` of a reply.
pub const REPLY_TYPE: &str = "mgmt-reply+jwt";

/// Why a message is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not a JWS of this type, or not by who should have signed it.
    #[error(transparent)]
    Signed(#[from] SignedError),
    /// Not a message.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// Its digital ID does not belong to it.
    #[error(transparent)]
    DigitalId(#[from] PresentedError),
    /// Too old, too early, or known.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// A reply to something else.
    #[error("the reply is to message {found}, not to {expected}")]
    OtherRequest {
        /// What it says.
        found: MessageId,
        /// What was asked.
        expected: MessageId,
    },
    /// A reply about another device.
    #[error("the reply repeats another digital ID than the request's")]
    OtherDevice,
    /// A reply that does not fit its request.
    #[error("{reply:?} is no answer to {request:?}")]
    OutOfPlace {
        /// What was asked.
        request: &'static str,
        /// What came.
        reply: &'static str,
    },
    /// There is no trusted time to judge it by.
    #[error("without a trusted time only the answer to a question for the time is believed")]
    NoTime,
}

/// Who signed a request: proven to hold this key, and nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sender {
    /// Somebody with a certificate, yet to be judged.
    Certified(Box<Certificate>),
    /// A key without a certificate: SubjectPublicKeyInfo, DER.
    Bare(Vec<u8>),
}

impl Sender {
    /// The key: SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        match self {
            Self::Certified(certificate) => certificate.spki_der(),
            Self::Bare(spki) => spki,
        }
    }
}

/// A request whose signature and digital ID fit together. Whether its sender may ask that is for the server to say.
#[derive(Debug, Clone)]
pub struct Received {
    /// What is asked.
    pub request: Request,
    /// Who the device says it is; signed by the sender where it has a certificate.
    pub identity: DeviceIdentity,
    /// Who signed.
    pub sender: Sender,
}

/// Lays out a request for its signer.
///
/// # Errors
/// When the signer's chain or key is not one.
pub fn prepare_request(request: &Request, signer: &Signer<'_>) -> Result<Unsigned, SignedError> {
    signed::prepare(REQUEST_TYPE, signer, &request.payload())
}

/// Lays out a reply for the management signer with this certificate chain.
///
/// # Errors
/// When the chain is not one.
pub fn prepare_reply(reply: &Reply, chain: &[Vec<u8>]) -> Result<Unsigned, SignedError> {
    signed::prepare(REPLY_TYPE, &Signer::Chain(chain), &reply.payload())
}

/// Opens a request: size, form, signature, digital ID. Its time is judged by [`judge_time`], its id by whoever remembers
/// the others.
///
/// # Errors
/// The first check that fails.
pub fn open_request(compact: &str) -> Result<Received, EnvelopeError> {
    let parsed = signed::parse(REQUEST_TYPE, compact, MAX_MESSAGE)?;
    parsed.verify()?;
    let request = Request::parse(&parsed.payload)?;
    let identity = request.digital_id.verify(&request.serial, &parsed)?;
    let sender = match (parsed.leaf(), &parsed.signer) {
        (Some(leaf), _) => Sender::Certified(Box::new(leaf.clone())),
        (None, ParsedSigner::Key(spki)) => Sender::Bare(spki.clone()),
        (None, ParsedSigner::Chain(chain)) => return Err(SignedError::Certificates(chain.len()).into()),
    };
    Ok(Received { request, identity, sender })
}

/// Judges the timestamp of a request, where its kind is judged at all ([`RequestKind::is_timely`]).
///
/// # Errors
/// When it is too old or yet to come.
pub fn judge_time(request: &Request, now: UtcMillis) -> Result<(), Stale> {
    if request.body.kind().is_timely() { replay::judge(Stamp(request.at), now) } else { Ok(()) }
}

/// What was asked, to check the reply against.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Name of the request.
    pub id: MessageId,
    /// Its kind.
    pub kind: RequestKind,
    /// Its digital ID.
    pub digital_id: Presented,
}

impl Asked {
    /// What to remember of `request`.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        Self { id: request.id, kind: request.body.kind(), digital_id: request.digital_id.clone() }
    }
}

/// Whose replies are believed.
#[derive(Debug)]
pub struct Server<'a, D: TrustDomain> {
    /// Anchors of management signers: the configured, pinned ones.
    pub store: &'a TrustStore<D>,
    /// The device's provider: organisation of the signer's certificate.
    pub organisation: &'a str,
}

/// Opens the reply to `asked`. `now` is the trusted time; without one, only an answer to `time` is believed, and its
/// signer is judged at the time that it tells itself.
///
/// # Errors
/// The first check that fails.
pub fn open_reply<D: TrustDomain>(
    compact: &str,
    asked: &Asked,
    server: &Server<'_, D>,
    now: Option<UtcMillis>,
) -> Result<ReplyBody, EnvelopeError> {
    let parsed = signed::parse(REPLY_TYPE, compact, MAX_MESSAGE)?;
    parsed.verify()?; // before anything in it is used, even its time
    let reply = Reply::parse(&parsed.payload)?;
    let judged_at = match now {
        Some(now) => now,
        None if asked.kind == RequestKind::Time => reply.at,
        None => return Err(EnvelopeError::NoTime),
    };
    let organisation = Some(server.organisation);
    signed::verify_by_purpose(&parsed, server.store, SignerPurpose::Management, organisation, judged_at)?;
    replay::judge(Stamp(reply.at), judged_at)?;
    if reply.re != asked.id {
        return Err(EnvelopeError::OtherRequest { found: reply.re, expected: asked.id });
    }
    if reply.digital_id != asked.digital_id {
        return Err(EnvelopeError::OtherDevice);
    }
    let kind = reply.body.kind();
    if kind != ReplyKind::Refused && kind != answer_to(asked.kind) {
        return Err(EnvelopeError::OutOfPlace { request: asked.kind.as_str(), reply: kind.as_str() });
    }
    Ok(reply.body)
}

/// The kind of reply that a request gets, unless it is refused.
#[must_use]
pub const fn answer_to(kind: RequestKind) -> ReplyKind {
    match kind {
        RequestKind::Challenge => ReplyKind::Challenge,
        RequestKind::Register | RequestKind::Rotate => ReplyKind::Certificate,
        RequestKind::Confirm | RequestKind::Deregistered => ReplyKind::Ack,
        RequestKind::Time => ReplyKind::Time,
        RequestKind::Poll => ReplyKind::Commands,
    }
}

#[cfg(test)]
mod tests;
