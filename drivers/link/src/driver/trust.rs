//! The trust module of an L1 device, reached by SPDM over its line.
//!
//! One job at a time, each within its time limit, beside whatever else goes over the line. Nothing that the module says
//! is judged here: proofs go to whoever asked for them as they came.

use std::time::{Duration, Instant};

use biotrust_driver_api::{
    ChipDocument, DeviceClock, DeviceError, DeviceErrorKind, DigitalIdKey, FirmwareState, PendingFirmware,
};
use biotrust_model::evidence::{Binding, KeySlot, Proof, SpdmProof};
use biotrust_spdm::command::{Answer, Clock, Command, Document, Firmware, Pending, RefusalKind, SigningKey};
use biotrust_spdm::message::ErrorCode;
use biotrust_spdm::{Job, Outcome, Requester, SpdmError, Step};

use super::{line::Line, turn::Turn};

/// The host's end of one trust module.
pub(super) struct Trust {
    requester: Turn<Requester>,
}

impl Default for Trust {
    fn default() -> Self {
        Self { requester: Turn::new(Requester::new()) }
    }
}

/// Takes the one variant of [`Answer`] that answers a command.
macro_rules! only {
    ($pattern:pat => $value:expr) => {
        |answer| match answer {
            $pattern => Some($value),
            _ => None,
        }
    };
}

impl Trust {
    pub(super) fn prove(
        &self,
        line: &Line,
        binding: &Binding,
        key: Option<KeySlot>,
        timeout: Duration,
    ) -> Result<Proof, DeviceError> {
        self.talk(line, timeout, |talk| {
            let (authentication, measurements) = match talk.run(Job::Prove { nonce: binding.0 })? {
                Outcome::Proof { authentication, measurements } => (authentication, measurements),
                _ => return Err(talk.out_of_place()),
            };
            let statement = |slot| {
                talk.command(Command::KeyAttest { slot, binding: *binding }, only!(Answer::Jws(jws) => jws))
            };
            let key_statement = key.map(statement).transpose()?;
            Ok(Proof::Spdm(SpdmProof { authentication, measurements, key_statement }))
        })
    }

    pub(super) fn sign_as_chip(
        &self,
        line: &Line,
        document: ChipDocument,
        payload: &str,
        timeout: Duration,
    ) -> Result<String, DeviceError> {
        let document = match document {
            ChipDocument::Evidence => Document::Evidence,
            ChipDocument::Management => Document::Management,
        };
        let command = Command::ChipSign { document, payload: payload.to_owned() };
        self.command(line, command, timeout, only!(Answer::Jws(jws) => jws))
    }

    pub(super) fn digital_id(
        &self,
        line: &Line,
        key: DigitalIdKey,
        timeout: Duration,
    ) -> Result<String, DeviceError> {
        let key = match key {
            DigitalIdKey::Chip => SigningKey::Chip,
            DigitalIdKey::Device => SigningKey::Device,
        };
        self.command(line, Command::DigitalId { key }, timeout, only!(Answer::Jws(jws) => jws))
    }

    pub(super) fn begin_rotation(
        &self,
        line: &Line,
        common_name: &str,
        organisation: &str,
        timeout: Duration,
    ) -> Result<Vec<u8>, DeviceError> {
        let command = Command::KeyGenerate {
            common_name: common_name.to_owned(),
            organisation: organisation.to_owned(),
        };
        self.command(line, command, timeout, only!(Answer::Csr(csr) => csr))
    }

    pub(super) fn finish_rotation(
        &self,
        line: &Line,
        chain: &[Vec<u8>],
        timeout: Duration,
    ) -> Result<(), DeviceError> {
        self.command(line, Command::KeyInstall { chain: chain.to_vec() }, timeout, only!(Answer::Done => ()))
    }

    pub(super) fn destroy_device_key(&self, line: &Line, timeout: Duration) -> Result<(), DeviceError> {
        self.command(line, Command::KeyDestroy, timeout, only!(Answer::Done => ()))
    }

    pub(super) fn clock(&self, line: &Line, timeout: Duration) -> Result<DeviceClock, DeviceError> {
        let Clock { nonce, now, boot_count } =
            self.command(line, Command::TimeGet, timeout, only!(Answer::Clock(clock) => clock))?;
        Ok(DeviceClock { nonce, now, boot_count })
    }

    pub(super) fn set_clock(&self, line: &Line, token: &str, timeout: Duration) -> Result<(), DeviceError> {
        self.command(line, Command::TimeSet { token: token.to_owned() }, timeout, only!(Answer::Done => ()))
    }

    pub(super) fn firmware(&self, line: &Line, timeout: Duration) -> Result<FirmwareState, DeviceError> {
        let take = only!(Answer::Firmware(firmware) => firmware);
        self.command(line, Command::FirmwareStatus, timeout, take).map(state)
    }

    pub(super) fn begin_update(
        &self,
        line: &Line,
        manifest: &str,
        timeout: Duration,
    ) -> Result<FirmwareState, DeviceError> {
        let command = Command::FirmwareBegin { manifest: manifest.to_owned() };
        self.command(line, command, timeout, only!(Answer::Firmware(firmware) => firmware)).map(state)
    }

    pub(super) fn update_block(
        &self,
        line: &Line,
        offset: u64,
        block: &[u8],
        timeout: Duration,
    ) -> Result<u64, DeviceError> {
        let command = Command::FirmwareBlock { offset, bytes: block.to_vec() };
        self.command(line, command, timeout, only!(Answer::Received(received) => received))
    }

    pub(super) fn finish_update(&self, line: &Line, timeout: Duration) -> Result<(), DeviceError> {
        self.command(line, Command::FirmwareCommit, timeout, only!(Answer::Done => ()))
    }

    fn command<T>(
        &self,
        line: &Line,
        command: Command,
        timeout: Duration,
        take: fn(Answer) -> Option<T>,
    ) -> Result<T, DeviceError> {
        self.talk(line, timeout, |talk| talk.command(command, take))
    }

    /// Lets `work` have the requester, with `timeout` for the wait and the work.
    fn talk<T>(
        &self,
        line: &Line,
        timeout: Duration,
        work: impl FnOnce(&mut Talk<'_>) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        let deadline = Instant::now() + timeout;
        let done = self.requester.with(deadline, |requester| work(&mut Talk { line, requester, deadline }));
        done.unwrap_or_else(|| {
            let why = format!("{}: its trust module was busy with another job for too long", line.name());
            Err(DeviceError::new(DeviceErrorKind::TimedOut, why))
        })
    }
}

/// A job, or several without another in between.
struct Talk<'t> {
    line: &'t Line,
    requester: &'t mut Requester,
    deadline: Instant,
}

impl Talk<'_> {
    fn command<T>(&mut self, command: Command, take: fn(Answer) -> Option<T>) -> Result<T, DeviceError> {
        match self.run(Job::Command(command))? {
            Outcome::Answer(answer) => take(answer).ok_or_else(|| self.out_of_place()),
            _ => Err(self.out_of_place()),
        }
    }

    fn run(&mut self, job: Job) -> Result<Outcome, DeviceError> {
        let mut step = self.requester.start(job).map_err(|error| self.failed(error))?;
        loop {
            let message = match step {
                Step::Done(outcome) => return Ok(outcome),
                Step::Send(message) => message,
                Step::Wait { pause, message } => {
                    self.wait(pause)?;
                    message
                }
            };
            let answer = match self.line.spdm(&message, self.deadline) {
                Ok(answer) => answer,
                Err(error) => {
                    // The answer may still come, to a question that is no longer open.
                    self.requester.abandon();
                    return Err(error);
                }
            };
            step = self.requester.receive(&answer).map_err(|error| self.failed(error))?;
        }
    }

    /// As the device asks, but not beyond the deadline or the end of the line.
    fn wait(&mut self, pause: Duration) -> Result<(), DeviceError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if pause <= left && !self.line.stop.wait(pause) {
            return Ok(());
        }
        self.requester.abandon();
        let why = format!("{}: its trust module is not ready in time", self.line.name());
        Err(DeviceError::new(DeviceErrorKind::TimedOut, why))
    }

    fn failed(&self, error: SpdmError) -> DeviceError {
        let kind = match &error {
            SpdmError::Command(refusal) => refused(refusal.kind),
            SpdmError::PutOff { .. } => DeviceErrorKind::Busy,
            SpdmError::Refused { code: ErrorCode::UNSUPPORTED_REQUEST, .. } | SpdmError::TooLong { .. } => {
                DeviceErrorKind::Unsupported
            }
            SpdmError::Refused { code: ErrorCode::UNSPECIFIED, .. } => DeviceErrorKind::Internal,
            _ => DeviceErrorKind::Protocol,
        };
        DeviceError::caused(kind, format!("{}: {error}", self.line.name()), error)
    }

    /// An outcome or answer of another job: the requester lets none pass.
    fn out_of_place(&self) -> DeviceError {
        let why = format!("{}: unexpected answer of its trust module", self.line.name());
        DeviceError::new(DeviceErrorKind::Protocol, why)
    }
}

const fn refused(kind: RefusalKind) -> DeviceErrorKind {
    match kind {
        RefusalKind::Busy => DeviceErrorKind::Busy,
        RefusalKind::NotReady => DeviceErrorKind::NotReady,
        RefusalKind::NotRegistered => DeviceErrorKind::NotRegistered,
        RefusalKind::Tampered => DeviceErrorKind::Tampered,
        RefusalKind::Unsupported => DeviceErrorKind::Unsupported,
        RefusalKind::Protocol => DeviceErrorKind::Protocol,
        RefusalKind::Internal => DeviceErrorKind::Internal,
    }
}

fn state(firmware: Firmware) -> FirmwareState {
    let Firmware { version, svn, svn_floor, failed_attempts, locked, pending } = firmware;
    let pending =
        pending.map(|Pending { version, size, received }| PendingFirmware { version, size, received });
    FirmwareState { version, svn, svn_floor, failed_attempts, locked, pending }
}
