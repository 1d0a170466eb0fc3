//! The host's end: asks, and takes in answers, one message at a time.
//!
//! Pure: the caller carries the messages and keeps the time. [`Requester::start`] gives the first message of a job, each
//! answer goes to [`Requester::receive`], until [`Step::Done`]. It trusts nothing: each answer must be to the question
//! that is open, and of the profile; a device that offers less than before is refused. It does not judge signatures:
//! [`crate::transcript`] does, wherever the proof ends up.

use std::time::Duration;

use crate::MAX_MESSAGE;
use crate::chain::{Assembly, Chain};
use crate::command::{Answer, Command, Opcode};
use crate::error::SpdmError;
use crate::message::{Capabilities, ErrorCode, Failure, Offer, Request, Response, code, has_1_2};
use crate::signature::sha256;

/// Portion of the certificate blob that is asked for.
const PORTION: u16 = 4096;
/// How long a busy device is left alone.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// Longest wait that a device may ask for at once: two to this power microseconds, 2 s.
const MAX_WAIT_EXPONENT: u8 = 21;
/// How often one question may be put off. The caller's time limit ends it too.
const MAX_PUT_OFF: u32 = 100;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Who is it, and what runs in it? Always on a new connection.
    Prove {
        /// The binding to a challenge.
        nonce: [u8; 32],
    },
    /// Which certificates does its chip key have? Nothing is proven by that.
    Chain,
    /// The certificate request of an unfinished rotation.
    Csr,
    /// A command to the trust module.
    Command(Command),
}

/// What came of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Of [`Job::Prove`]: the messages of M1, and those of L1 after the connection's.
    Proof {
        /// For [`crate::transcript::Authentication`].
        authentication: Vec<Vec<u8>>,
        /// For [`crate::transcript::Measurements`].
        measurements: Vec<Vec<u8>>,
    },
    /// Of [`Job::Chain`].
    Chain(Chain),
    /// Of [`Job::Csr`]: PKCS#10 in DER.
    Csr(Vec<u8>),
    /// Of [`Job::Command`].
    Answer(Answer),
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this, and give the answer to [`Requester::receive`].
    Send(Vec<u8>),
    /// Wait for `pause`, then send `message`, as above.
    Wait {
        /// How long.
        pause: Duration,
        /// What.
        message: Vec<u8>,
    },
    /// The job is done.
    Done(Outcome),
}

/// The host's end of one device's SPDM.
#[derive(Debug, Default)]
pub struct Requester {
    /// Capabilities of the first connection: no later one may offer others.
    known: Option<Capabilities>,
    /// Whether the device is past ALGORITHMS, as far as this end knows.
    is_connected: bool,
    running: Option<Running>,
}

/// A job under way.
#[derive(Debug)]
struct Running {
    job: Job,
    stage: Stage,
    /// The question that is open, and its bytes.
    asked: (Request, Vec<u8>),
    /// Questions and answers so far, for the proof.
    exchange: Vec<Vec<u8>>,
    put_off: u32,
    /// Whether this job has already begun anew once.
    has_begun_anew: bool,
}

/// Which answer is waited for.
#[derive(Debug)]
enum Stage {
    Version,
    Capabilities,
    Algorithms,
    Digests,
    Certificate { digest: [u8; 32], assembly: Assembly },
    ChallengeAuth { digest: [u8; 32] },
    Measurements { authentication: Vec<Vec<u8>> },
    Csr,
    Command(Opcode),
}

impl Requester {
    /// Before the first connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a job; an unfinished one is given up, and its connection with it.
    ///
    /// # Errors
    /// [`SpdmError::TooLong`], [`SpdmError::Malformed`] for a command that no device would take.
    pub fn start(&mut self, job: Job) -> Result<Step, SpdmError> {
        if self.running.is_some() {
            self.abandon();
        }
        let (stage, request) = match &job {
            Job::Csr if self.is_connected => (Stage::Csr, Request::GetCsr),
            Job::Command(command) if self.is_connected => {
                (Stage::Command(command.opcode()), Request::Vendor(command.encode()?))
            }
            Job::Command(command) => {
                command.encode()?;
                (Stage::Version, Request::GetVersion)
            }
            Job::Chain if self.is_connected => (Stage::Digests, Request::GetDigests),
            Job::Csr | Job::Chain | Job::Prove { .. } => (Stage::Version, Request::GetVersion),
        };
        self.begin(job, stage, request, false)
    }

    /// The answer to the last message will not come, or nobody waits for it: the next job begins a new connection.
    pub fn abandon(&mut self) {
        self.running = None;
        self.is_connected = false;
    }

    /// Takes in the answer to the last message.
    ///
    /// # Errors
    /// The first thing that is wrong; the job is over then.
    pub fn receive(&mut self, message: &[u8]) -> Result<Step, SpdmError> {
        let running = self.running.take().ok_or(SpdmError::Unasked)?;
        let step = self.take_in(running, message);
        if let Err(error) = &step
            && !matches!(error, SpdmError::Command(_))
        {
            self.abandon();
        }
        step
    }

    fn take_in(&mut self, running: Running, message: &[u8]) -> Result<Step, SpdmError> {
        if message.len() > MAX_MESSAGE {
            return Err(SpdmError::TooLong { what: "message", limit: MAX_MESSAGE });
        }
        match Response::decode(message)? {
            Response::Error(failure) => self.put_off(running, failure),
            response => self.advance(running, response, message),
        }
    }

    fn begin(
        &mut self,
        job: Job,
        stage: Stage,
        request: Request,
        has_begun_anew: bool,
    ) -> Result<Step, SpdmError> {
        if request == Request::GetVersion {
            self.is_connected = false;
        }
        let bytes = request.encode()?;
        self.running = Some(Running {
            job,
            stage,
            asked: (request, bytes.clone()),
            exchange: Vec::new(),
            put_off: 0,
            has_begun_anew,
        });
        Ok(Step::Send(bytes))
    }

    /// ERROR: ask again later, begin anew, or give up.
    fn put_off(&mut self, mut running: Running, failure: Failure) -> Result<Step, SpdmError> {
        let asked = running.asked.0.name();
        running.put_off += 1;
        if running.put_off > MAX_PUT_OFF {
            return Err(SpdmError::PutOff { asked });
        }
        let (pause, message) = match failure {
            Failure::NotReady { exponent, request, token, .. } => {
                if request != running.asked.0.code() {
                    return Err(SpdmError::Mismatch { what: "ERROR", field: "RequestCode" });
                }
                let pause = Duration::from_micros(1 << exponent.min(MAX_WAIT_EXPONENT));
                (pause, Request::RespondIfReady { request, token }.encode()?)
            }
            Failure::Plain { code: ErrorCode::BUSY, .. } => (BUSY_PAUSE, running.asked.1.clone()),
            Failure::Plain { code, .. } => {
                // The device may have been started anew since this connection began.
                let is_stale = matches!(running.stage, Stage::Command(_) | Stage::Csr | Stage::Digests)
                    && code == ErrorCode::UNEXPECTED_REQUEST;
                let must_begin_anew = is_stale || code == ErrorCode::REQUEST_RESYNCH;
                if must_begin_anew && !running.has_begun_anew {
                    return self.begin(running.job, Stage::Version, Request::GetVersion, true);
                }
                return Err(SpdmError::Refused { asked, code });
            }
        };
        self.running = Some(running);
        Ok(Step::Wait { pause, message })
    }

    /// The next question after `response`, or the outcome.
    fn advance(
        &mut self,
        mut running: Running,
        response: Response,
        message: &[u8],
    ) -> Result<Step, SpdmError> {
        let (asked, question) = running.asked;
        running.exchange.extend([question, message.to_vec()]);
        let (stage, request) = match (running.stage, response) {
            (Stage::Version, Response::Version(versions)) => {
                if !has_1_2(&versions) {
                    return Err(SpdmError::Downgrade("it does not speak SPDM 1.2"));
                }
                (Stage::Capabilities, Request::GetCapabilities(Capabilities::REQUESTER))
            }
            (Stage::Capabilities, Response::Capabilities(capabilities)) => {
                capabilities.check()?;
                if *self.known.get_or_insert(capabilities) != capabilities {
                    return Err(SpdmError::Downgrade("it offers other capabilities than before"));
                }
                (Stage::Algorithms, Request::NegotiateAlgorithms(Offer::SUITE))
            }
            (Stage::Algorithms, Response::Algorithms(selection)) => {
                selection.check()?;
                self.is_connected = true;
                match &running.job {
                    Job::Prove { .. } | Job::Chain => (Stage::Digests, Request::GetDigests),
                    Job::Csr => (Stage::Csr, Request::GetCsr),
                    Job::Command(command) => {
                        (Stage::Command(command.opcode()), Request::Vendor(command.encode()?))
                    }
                }
            }
            (Stage::Digests, Response::Digests(digest)) => {
                let stage = Stage::Certificate { digest, assembly: Assembly::default() };
                (stage, Request::GetCertificate { offset: 0, length: PORTION })
            }
            (Stage::Certificate { digest, mut assembly }, Response::Certificate { portion, remainder }) => {
                if portion.len() > PORTION.into() {
                    return Err(SpdmError::Mismatch { what: "CERTIFICATE", field: "PortionLength" });
                }
                if assembly.push(&portion, remainder)? {
                    let blob = assembly.into_blob();
                    let chain = Chain::decode(&blob)?;
                    if sha256(&[&blob]) != digest {
                        return Err(SpdmError::Mismatch { what: "DIGESTS", field: "Digest" });
                    }
                    match running.job {
                        Job::Prove { nonce } => {
                            (Stage::ChallengeAuth { digest }, Request::Challenge { nonce })
                        }
                        Job::Chain => return Ok(Step::Done(Outcome::Chain(chain))),
                        Job::Csr | Job::Command(_) => return Err(SpdmError::Unasked),
                    }
                } else {
                    let offset = assembly.offset();
                    (
                        Stage::Certificate { digest, assembly },
                        Request::GetCertificate { offset, length: PORTION },
                    )
                }
            }
            (Stage::ChallengeAuth { digest }, Response::ChallengeAuth(auth)) => {
                if auth.chain_hash != digest {
                    return Err(SpdmError::Mismatch { what: "CHALLENGE_AUTH", field: "CertChainHash" });
                }
                let Job::Prove { nonce } = running.job else { return Err(SpdmError::Unasked) };
                let authentication = std::mem::take(&mut running.exchange);
                (Stage::Measurements { authentication }, Request::GetMeasurements { nonce })
            }
            (Stage::Measurements { authentication }, Response::Measurements(_)) => {
                return Ok(Step::Done(Outcome::Proof { authentication, measurements: running.exchange }));
            }
            (Stage::Csr, Response::Csr(csr)) => return Ok(Step::Done(Outcome::Csr(csr))),
            (Stage::Command(opcode), Response::Vendor(payload)) => {
                return Answer::decode(opcode, &payload).map(|answer| Step::Done(Outcome::Answer(answer)));
            }
            (_, response) => {
                return Err(SpdmError::WrongAnswer {
                    asked: code::name(asked.code()),
                    answered: response.code(),
                });
            }
        };
        let bytes = request.encode()?;
        self.running = Some(Running { stage, asked: (request, bytes.clone()), put_off: 0, ..running });
        Ok(Step::Send(bytes))
    }
}

#[cfg(test)]
mod tests;
