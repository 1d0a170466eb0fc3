//! The device's end: questions in, answers out.
//!
//! Pure, but for what the [`Module`] does. It trusts nothing that it is asked: what is malformed, unknown or out of order
//! is answered with ERROR and changes nothing. The order of the profile is the only one.

use crate::MAX_MESSAGE;
use crate::chain::Chain;
use crate::command::{Answer, Command, Refusal, RefusalKind};
use crate::error::{SpdmError, Why};
use crate::measurement::{self, Block};
use crate::message::{
    Capabilities, ChallengeAuth, ENTRY_1_2, ErrorCode, Failure, Measured, Request, Response, SIGNATURE, SUITE,
};
use crate::signature::{Context, sha256};
use crate::transcript::signed_part;

/// The trust module behind a responder.
pub trait Module {
    /// Certificates of the chip key.
    fn chain(&self) -> Chain;

    /// RSASSA with SHA-256 (PKCS#1 v1.5) over `message` by the chip key, which has 2048 bits.
    ///
    /// # Errors
    /// Answered as "it failed inside".
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ModuleError>;

    /// What runs now, in which mode; indices ascend.
    fn measurements(&self) -> Vec<Block>;

    /// The certificate request of an unfinished rotation.
    fn pending_csr(&self) -> Option<Vec<u8>>;

    /// Does what is asked.
    ///
    /// # Errors
    /// A refusal, which the host gets to see.
    fn command(&self, command: Command) -> Result<Answer, Refusal>;
}

/// A trust module failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the trust module failed")]
pub struct ModuleError;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Nothing has been said.
    Start,
    Version,
    Capabilities,
    Connected,
}

/// How far the identification within a connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Identity {
    /// Not begun.
    None,
    /// After DIGESTS: the blob that was announced, and how much of it was handed out.
    Handing { blob: Vec<u8>, handed: usize },
}

/// The device's end of SPDM. One answer to each question, at once.
#[derive(Debug)]
pub struct Responder {
    stage: Stage,
    /// GET_VERSION to ALGORITHMS.
    connection: Vec<Vec<u8>>,
    /// GET_DIGESTS to the last CERTIFICATE.
    certificates: Vec<Vec<u8>>,
    identity: Identity,
}

impl Default for Responder {
    fn default() -> Self {
        Self::new()
    }
}

/// What goes wrong while answering.
enum Fault {
    Error(ErrorCode),
    Failed,
}

impl From<SpdmError> for Fault {
    fn from(_: SpdmError) -> Self {
        Self::Failed
    }
}

impl From<ModuleError> for Fault {
    fn from(_: ModuleError) -> Self {
        Self::Failed
    }
}

impl Responder {
    /// Before the first connection.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            stage: Stage::Start,
            connection: Vec::new(),
            certificates: Vec::new(),
            identity: Identity::None,
        }
    }

    /// The bytes of an ERROR, for whoever must refuse a message without a responder.
    #[must_use]
    pub fn error(code: ErrorCode) -> Vec<u8> {
        Response::Error(Failure::new(code)).encode().unwrap_or_default()
    }

    /// Answers `message`. Takes as long as `module` does.
    #[must_use]
    pub fn answer(&mut self, module: &dyn Module, message: &[u8]) -> Vec<u8> {
        match self.respond(module, message) {
            Ok(response) => response,
            Err(Fault::Error(code)) => Self::error(code),
            Err(Fault::Failed) => Self::error(ErrorCode::UNSPECIFIED),
        }
    }

    fn respond(&mut self, module: &dyn Module, message: &[u8]) -> Result<Vec<u8>, Fault> {
        if message.len() > MAX_MESSAGE {
            return Err(Fault::Error(ErrorCode::REQUEST_TOO_LARGE));
        }
        let request = Request::decode(message).map_err(|error| {
            Fault::Error(match error {
                SpdmError::Malformed { why: Why::Code, .. } => ErrorCode::UNSUPPORTED_REQUEST,
                SpdmError::Malformed { why: Why::Version, .. } => ErrorCode::VERSION_MISMATCH,
                _ => ErrorCode::INVALID_REQUEST,
            })
        })?;
        self.admit(&request)?;
        match request {
            Request::GetVersion => {
                *self = Self::new();
                let response = Response::Version(vec![ENTRY_1_2]).encode()?;
                Ok(self.connect(Stage::Version, message, response))
            }
            Request::GetCapabilities(_) => {
                let response = Response::Capabilities(Capabilities::RESPONDER).encode()?;
                Ok(self.connect(Stage::Capabilities, message, response))
            }
            Request::NegotiateAlgorithms(offer) => {
                if !offer.has_suite() {
                    return Err(Fault::Error(ErrorCode::INVALID_REQUEST));
                }
                let response = Response::Algorithms(SUITE).encode()?;
                Ok(self.connect(Stage::Connected, message, response))
            }
            Request::GetDigests => {
                let blob = module.chain().encode()?;
                let response = Response::Digests(sha256(&[&blob])).encode()?;
                self.certificates = vec![message.to_vec(), response.clone()];
                self.identity = Identity::Handing { blob, handed: 0 };
                Ok(response)
            }
            Request::GetCertificate { offset, length } => self.certificate(message, offset, length),
            Request::Challenge { .. } => self.challenge(module, message),
            Request::GetMeasurements { .. } => self.measurements(module, message),
            Request::GetCsr => {
                let csr = module.pending_csr().ok_or(Fault::Error(ErrorCode::UNEXPECTED_REQUEST))?;
                Ok(Response::Csr(csr).encode()?)
            }
            Request::Vendor(payload) => Ok(Response::Vendor(command(module, &payload)?).encode()?),
            // This responder is always ready.
            Request::RespondIfReady { .. } => Err(Fault::Error(ErrorCode::UNEXPECTED_REQUEST)),
        }
    }

    /// Whether it is the turn of `request`.
    fn admit(&self, request: &Request) -> Result<(), Fault> {
        let in_turn = match request {
            Request::GetVersion => true,
            Request::GetCapabilities(_) => self.stage == Stage::Version,
            Request::NegotiateAlgorithms(_) => self.stage == Stage::Capabilities,
            Request::GetCertificate { .. } => self.identity != Identity::None,
            Request::Challenge { .. } => {
                matches!(&self.identity, Identity::Handing { blob, handed } if *handed == blob.len())
            }
            _ => self.stage == Stage::Connected,
        };
        if in_turn { Ok(()) } else { Err(Fault::Error(ErrorCode::UNEXPECTED_REQUEST)) }
    }

    fn connect(&mut self, stage: Stage, request: &[u8], response: Vec<u8>) -> Vec<u8> {
        self.stage = stage;
        self.connection.extend([request.to_vec(), response.clone()]);
        response
    }

    /// Portions go out in order, so that the transcript has each byte once.
    fn certificate(&mut self, message: &[u8], offset: u16, length: u16) -> Result<Vec<u8>, Fault> {
        let Identity::Handing { blob, handed } = &mut self.identity else {
            return Err(Fault::Error(ErrorCode::UNEXPECTED_REQUEST));
        };
        let rest = blob.get(*handed..).unwrap_or_default();
        if usize::from(offset) != *handed || rest.is_empty() {
            return Err(Fault::Error(ErrorCode::INVALID_REQUEST));
        }
        let (portion, after) = rest.split_at(rest.len().min(length.into()));
        let remainder = u16::try_from(after.len()).map_err(|_| Fault::Failed)?;
        *handed += portion.len();
        let response = Response::Certificate { portion: portion.to_vec(), remainder }.encode()?;
        self.certificates.extend([message.to_vec(), response.clone()]);
        Ok(response)
    }

    fn challenge(&mut self, module: &dyn Module, message: &[u8]) -> Result<Vec<u8>, Fault> {
        // Whatever comes of it: each challenge needs an identification of its own.
        let certificates = std::mem::take(&mut self.certificates);
        let Identity::Handing { blob, .. } = std::mem::replace(&mut self.identity, Identity::None) else {
            return Err(Fault::Error(ErrorCode::UNEXPECTED_REQUEST));
        };
        let record = measurement::encode(&module.measurements())?;
        let unsigned = ChallengeAuth {
            chain_hash: sha256(&[&blob]),
            nonce: random()?,
            summary: sha256(&[&record]),
            signature: [0; SIGNATURE],
        };
        let response = Response::ChallengeAuth(Box::new(unsigned)).encode()?;
        let last = [message.to_vec(), response];
        let input = signed_part(Context::ChallengeAuth, &[&self.connection, &certificates, &last]);
        let [_, response] = last;
        signed(module, response, &input)
    }

    fn measurements(&self, module: &dyn Module, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let unsigned =
            Measured { blocks: module.measurements(), nonce: random()?, signature: [0; SIGNATURE] };
        let response = Response::Measurements(Box::new(unsigned)).encode()?;
        let last = [message.to_vec(), response];
        let input = signed_part(Context::Measurements, &[&self.connection, &last]);
        let [_, response] = last;
        signed(module, response, &input)
    }
}

/// `response` with the signature over `input` in the place of its last bytes.
fn signed(module: &dyn Module, mut response: Vec<u8>, input: &[u8]) -> Result<Vec<u8>, Fault> {
    let signature = module.sign(input)?;
    if signature.len() != SIGNATURE || response.len() < SIGNATURE {
        return Err(Fault::Failed);
    }
    response.truncate(response.len() - SIGNATURE);
    response.extend_from_slice(&signature);
    Ok(response)
}

/// The payload that answers the command in `payload`.
fn command(module: &dyn Module, payload: &[u8]) -> Result<Vec<u8>, SpdmError> {
    let code = payload.first().copied().unwrap_or_default();
    let answer = Command::decode(payload).and_then(|command| {
        let opcode = command.opcode();
        let answer = module.command(command)?;
        answer.encode(opcode).map_err(|error| Refusal::new(RefusalKind::Internal, error.to_string()))
    });
    answer.or_else(|refusal| refusal.encode(code))
}

fn random() -> Result<[u8; 32], Fault> {
    let mut nonce = [0; 32];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| Fault::Failed)?;
    Ok(nonce)
}

#[cfg(test)]
mod tests;
