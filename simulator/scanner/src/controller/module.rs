//! The trust module as SPDM sees it: certificates, signatures, measurements, commands.

use std::cell::Cell;

use biotrust_driver_api::{ChipDocument, DeviceErrorKind, DigitalIdKey, FirmwareState};
use biotrust_spdm::chain::Chain;
use biotrust_spdm::command::{Answer, Clock, Command, Document, Firmware, Pending, Refusal as Refused};
use biotrust_spdm::command::{RefusalKind, SigningKey};
use biotrust_spdm::measurement::Block;
use biotrust_spdm::message::ErrorCode;
use biotrust_spdm::{Module, ModuleError, Responder};

use super::{Controller, Refusal};
use crate::boot::Running;
use crate::ftm::FtmError;

/// What a message has led to, beside its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Effects {
    /// The host must read the certificates again.
    pub(crate) keys_changed: bool,
    /// A new image waits for its first start.
    pub(crate) restart: bool,
}

impl Controller {
    /// Answers an SPDM message.
    pub(crate) fn answer(&self, responder: &mut Responder, message: &[u8]) -> (Vec<u8>, Effects) {
        let none = Effects::default();
        if self.faults().no_attestation {
            return (Responder::error(ErrorCode::UNSUPPORTED_REQUEST), none);
        }
        // A halted device says why to those who ask for its state, and nothing else.
        let Ok(running) = self.running() else {
            return (Responder::error(ErrorCode::RESET_REQUIRED), none);
        };
        let module = Spoken { controller: self, running, effects: Cell::default() };
        let answer = responder.answer(&module, message);
        (answer, module.effects.get())
    }
}

/// The module for one message.
struct Spoken<'a> {
    controller: &'a Controller,
    running: Running,
    effects: Cell<Effects>,
}

impl Module for Spoken<'_> {
    fn chain(&self) -> Chain {
        let ftm = &self.controller.ftm;
        Chain { root_hash: *ftm.chip_root(), certificates: ftm.chip_chain().to_vec() }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ModuleError> {
        self.controller.ftm.chip().sign_rs256(message).map_err(|_| ModuleError)
    }

    fn measurements(&self) -> Vec<Block> {
        self.controller.blocks(&self.running)
    }

    fn pending_csr(&self) -> Option<Vec<u8>> {
        self.controller.ftm.pending_csr()
    }

    fn command(&self, command: Command) -> Result<Answer, Refused> {
        self.obey(command).map_err(|(kind, why)| Refused::new(refusal_kind(kind), why))
    }
}

impl Spoken<'_> {
    fn obey(&self, command: Command) -> Result<Answer, Refusal> {
        let (controller, ftm) = (self.controller, &self.controller.ftm);
        match command {
            Command::KeyGenerate { common_name, organisation } => {
                ftm.begin_rotation(&common_name, &organisation).map(Answer::Csr).map_err(told)
            }
            Command::KeyAttest { slot, binding } => {
                let state = controller.statement(&self.running);
                ftm.state_key(slot, &binding, state).map(Answer::Jws).map_err(told)
            }
            Command::ChipSign { document, payload } => {
                let document = match document {
                    Document::Evidence => ChipDocument::Evidence,
                    Document::Management => ChipDocument::Management,
                };
                ftm.sign_document(document, &payload).map(Answer::Jws).map_err(told)
            }
            Command::KeyInstall { chain } => {
                ftm.finish_rotation(&chain).map_err(told)?;
                Ok(self.keys_changed())
            }
            Command::KeyDestroy => {
                ftm.destroy_keys();
                Ok(self.keys_changed())
            }
            Command::DigitalId { key } => {
                let key = match key {
                    SigningKey::Chip => DigitalIdKey::Chip,
                    SigningKey::Device => DigitalIdKey::Device,
                };
                ftm.digital_id(key).map(Answer::Jws).map_err(told)
            }
            Command::TimeSet { token } => ftm.set_time(&token).map(|()| Answer::Done).map_err(told),
            Command::TimeGet => {
                let clock = ftm.time().shown().map_err(told)?;
                let (nonce, now, boot_count) = (clock.nonce, clock.now, clock.boot_count);
                Ok(Answer::Clock(Clock { nonce, now, boot_count }))
            }
            Command::FirmwareBegin { manifest } => controller.begin_update(&manifest).map(firmware),
            Command::FirmwareBlock { offset, bytes } => {
                controller.update_block(offset, &bytes).map(Answer::Received)
            }
            Command::FirmwareCommit => {
                controller.commit_update()?;
                self.effects.set(Effects { restart: true, ..self.effects.get() });
                Ok(Answer::Done)
            }
            Command::FirmwareStatus => controller.firmware().map(firmware),
            Command::HostKey { .. } => {
                Err((DeviceErrorKind::Unsupported, "this device keeps no keys for its host".to_owned()))
            }
        }
    }

    fn keys_changed(&self) -> Answer {
        self.effects.set(Effects { keys_changed: true, ..self.effects.get() });
        Answer::Done
    }
}

fn firmware(state: FirmwareState) -> Answer {
    let pending = state.pending.map(|pending| Pending {
        version: pending.version,
        size: pending.size,
        received: pending.received,
    });
    Answer::Firmware(Firmware {
        version: state.version,
        svn: state.svn,
        svn_floor: state.svn_floor,
        failed_attempts: state.failed_attempts,
        locked: state.locked,
        pending,
    })
}

fn told(error: FtmError) -> Refusal {
    (error.kind(), error.to_string())
}

const fn refusal_kind(kind: DeviceErrorKind) -> RefusalKind {
    match kind {
        DeviceErrorKind::Busy => RefusalKind::Busy,
        DeviceErrorKind::NotReady => RefusalKind::NotReady,
        DeviceErrorKind::NotRegistered => RefusalKind::NotRegistered,
        DeviceErrorKind::Unsupported => RefusalKind::Unsupported,
        DeviceErrorKind::Protocol => RefusalKind::Protocol,
        _ => RefusalKind::Internal,
    }
}
