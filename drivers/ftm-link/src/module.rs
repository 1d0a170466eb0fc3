//! The line to the module, the SPDM connection on it, and what is done when either is lost.

use std::time::{Duration, Instant};

use biotrust_driver_api::{Cancel, DeviceError, DeviceErrorKind, Found, FtmError, PipeErrorKind};
use biotrust_link::module::ModuleLine;
use biotrust_spdm::command::{Answer, Command, Opcode, RefusalKind};
use biotrust_spdm::message::ErrorCode;
use biotrust_spdm::{Job, Outcome, Requester, SpdmError, Step};

use crate::{Connect, failed};

/// Time for a job that only signs or reads.
const LIMIT: Duration = Duration::from_secs(5);
/// Time for one that makes a key, which takes a chip some seconds.
const MAKE_KEY: Duration = Duration::from_secs(30);

/// A module and its line.
pub(crate) struct Module {
    connect: Connect,
    found: Found,
    line: Option<Open>,
}

/// A line that is open.
struct Open {
    line: ModuleLine,
    requester: Requester,
    /// Certificates of its chip key; they do not change while it is plugged in.
    chain: Option<Vec<Vec<u8>>>,
}

/// Why a job was not done.
enum Why {
    Line(DeviceError),
    Spdm(SpdmError),
}

impl Module {
    pub(crate) const fn new(connect: Connect, found: Found) -> Self {
        Self { connect, found, line: None }
    }

    /// Certificates of the chip key, its own first.
    pub(crate) fn identify(&mut self) -> Result<Vec<Vec<u8>>, FtmError> {
        if let Some(chain) = self.line.as_ref().and_then(|open| open.chain.as_ref()) {
            return Ok(chain.clone());
        }
        match self.run(Job::Chain)? {
            Outcome::Chain(chain) => {
                if let Some(open) = &mut self.line {
                    open.chain = Some(chain.certificates.clone());
                }
                Ok(chain.certificates)
            }
            _ => Err(failed("asking who the trust module is", "it answered something else")),
        }
    }

    /// Has a command done.
    pub(crate) fn command(&mut self, command: Command) -> Result<Answer, FtmError> {
        match self.run(Job::Command(command))? {
            Outcome::Answer(answer) => Ok(answer),
            _ => Err(failed("asking the trust module", "it answered something else")),
        }
    }

    /// Has a job done. On a line that turns out to be dead it is tried once more on a new one, unless it changes keys:
    /// nobody knows whether that was done.
    pub(crate) fn run(&mut self, job: Job) -> Result<Outcome, FtmError> {
        let was_open = self.line.is_some();
        match self.attempt(job.clone()) {
            Err(Why::Line(error))
                if was_open && error.kind == DeviceErrorKind::Gone && is_repeatable(&job) =>
            {
                self.attempt(job.clone()).map_err(|why| self.told(&job, why))
            }
            other => other.map_err(|why| self.told(&job, why)),
        }
    }

    fn attempt(&mut self, job: Job) -> Result<Outcome, Why> {
        let deadline = Instant::now() + limit(&job);
        if self.line.is_none() {
            let port = (self.connect)().map_err(|error| {
                let kind = match error.kind {
                    PipeErrorKind::PermissionDenied => DeviceErrorKind::PermissionDenied,
                    PipeErrorKind::InUse => DeviceErrorKind::InUse,
                    _ => DeviceErrorKind::Gone,
                };
                Why::Line(DeviceError::caused(kind, error.to_string(), error))
            })?;
            let line = ModuleLine::open(port, &self.found).map_err(Why::Line)?;
            self.line = Some(Open { line, requester: Requester::new(), chain: None });
        }
        let Some(open) = &mut self.line else { return Err(Why::Spdm(SpdmError::Unasked)) };
        let done = open.run(job, deadline);
        if let Err(Why::Line(error)) = &done
            && error.kind != DeviceErrorKind::TimedOut
        {
            self.line = None;
        }
        done
    }

    fn told(&self, job: &Job, why: Why) -> FtmError {
        let doing = doing(job);
        match why {
            Why::Line(error) => self.state_of(&error),
            Why::Spdm(SpdmError::Command(refusal)) => match refusal.kind {
                RefusalKind::NotRegistered => FtmError::NoKey(name_of(job)),
                RefusalKind::Unsupported => FtmError::Unusable { name: name_of(job), why: refusal.message },
                _ => FtmError::Failed { doing, why: refusal.to_string() },
            },
            Why::Spdm(SpdmError::Refused { code: ErrorCode::UNSUPPORTED_REQUEST, .. }) => FtmError::State {
                state: format!("what is at {} is no trust module", self.found.node.path.display()),
                next: "set `[ftm] port` to the port of the module".into(),
            },
            Why::Spdm(error) => FtmError::Failed { doing, why: error.to_string() },
        }
    }

    /// What people can do about a line.
    fn state_of(&self, error: &DeviceError) -> FtmError {
        let next = match error.kind {
            DeviceErrorKind::PermissionDenied => {
                "install the udev rules (`biotrust udev check` says what is missing) and plug the module in again"
            }
            DeviceErrorKind::InUse => "end the other program that has the port of the module open",
            DeviceErrorKind::Unsupported => "set `[ftm] port` to the port of the module",
            DeviceErrorKind::TimedOut => {
                "check that `[ftm] port` is the port of the module; unplug it and plug it in again"
            }
            _ => "plug the module in, or set `[ftm] port` to where it is",
        };
        FtmError::State {
            state: format!("the trust module of this host: {}", error.message),
            next: next.into(),
        }
    }
}

impl Open {
    fn run(&mut self, job: Job, deadline: Instant) -> Result<Outcome, Why> {
        let mut step = self.requester.start(job).map_err(Why::Spdm)?;
        loop {
            let message = match step {
                Step::Done(outcome) => return Ok(outcome),
                Step::Send(message) => message,
                Step::Wait { pause, message } => {
                    if pause > deadline.saturating_duration_since(Instant::now()) {
                        self.requester.abandon();
                        return Err(Why::Spdm(SpdmError::PutOff { asked: "a question" }));
                    }
                    // Of a flag that nobody sets: the deadline ends the job.
                    let _ = Cancel::new().wait(pause);
                    message
                }
            };
            let answer = self.line.ask(&message, deadline).map_err(|error| {
                // The answer may still come, to a question that is no longer open.
                self.requester.abandon();
                Why::Line(error)
            })?;
            step = self.requester.receive(&answer).map_err(Why::Spdm)?;
        }
    }
}

/// Whether it does no harm to do it twice.
fn is_repeatable(job: &Job) -> bool {
    match job {
        Job::Command(command) => !matches!(command.opcode(), Opcode::HostKeyUse | Opcode::HostKeyGenerate),
        Job::Prove { .. } | Job::Chain | Job::Csr => true,
    }
}

fn limit(job: &Job) -> Duration {
    match job {
        Job::Command(command) if command.opcode() == Opcode::HostKeyGenerate => MAKE_KEY,
        _ => LIMIT,
    }
}

fn doing(job: &Job) -> &'static str {
    match job {
        Job::Prove { .. } => "having the trust module prove itself",
        Job::Chain | Job::Csr => "asking who the trust module is",
        Job::Command(command) => match command.opcode() {
            Opcode::HostKeyGenerate => "making a key in the trust module",
            Opcode::HostKeyUse => "switching to a new key in the trust module",
            Opcode::HostKeySign => "signing in the trust module",
            Opcode::HostKeyAttest => "having the trust module vouch for a key",
            Opcode::HostKeyDestroy => "destroying keys in the trust module",
            Opcode::HostKeyStatus => "looking for a key in the trust module",
            _ => "asking the trust module",
        },
    }
}

/// Of the key that a job is about; a job about none is about the chip key.
fn name_of(job: &Job) -> String {
    match job {
        Job::Command(Command::HostKey { name, .. }) => name.as_str().to_owned(),
        _ => "of the chip".to_owned(),
    }
}
