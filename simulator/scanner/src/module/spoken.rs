//! The module as SPDM sees it: certificates, signatures, measurements, and the commands of a module beside a sensor.

use biotrust_attest::evidence;
use biotrust_attest::key_statement::{self, ChipState, KeyStatement};
use biotrust_attest::signed::{self, Signer};
use biotrust_model::evidence::{Binding, KeySlot};
use biotrust_spdm::chain::Chain;
use biotrust_spdm::command::{
    Answer, Command, Document, Firmware, KeyName, KeyOrder, Refusal, RefusalKind, SigningKey,
};
use biotrust_spdm::measurement::{Block, DeviceMode, Kind, index};
use biotrust_spdm::{Module, ModuleError};
use serde::Deserialize;

use super::Core;
use super::keys::NoKey;
use crate::boot::sha256;
use crate::chip::ChipError;
use crate::kind::FIRMWARE;

/// Security version number of the module's firmware.
const SVN: u64 = 1;

/// The module for one message.
pub(super) struct Spoken<'a> {
    pub(super) core: &'a Core,
    pub(super) boot_count: u64,
}

/// Digest of a part of the module's firmware, which is no more than its name and version.
fn part(name: &str) -> [u8; 32] {
    sha256(format!("{name} of the trust module {FIRMWARE}").as_bytes())
}

impl Module for Spoken<'_> {
    fn chain(&self) -> Chain {
        Chain { root_hash: self.core.root, certificates: self.core.chip.chain().to_vec() }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ModuleError> {
        self.core.chip.sign_rs256(message).map_err(|_| ModuleError)
    }

    fn measurements(&self) -> Vec<Block> {
        vec![
            Block::digest(index::ROM, Kind::Rom, part("boot ROM")),
            Block::digest(index::LOADER, Kind::Firmware, part("loader")),
            Block::digest(index::FIRMWARE, Kind::Firmware, part("firmware")),
            Block::digest(index::POLICY, Kind::FirmwareConfiguration, part("policy")),
            Block::svn(SVN),
            Block::version(FIRMWARE),
            Block::device_mode(DeviceMode::normal()),
        ]
    }

    fn pending_csr(&self) -> Option<Vec<u8>> {
        None
    }

    fn command(&self, command: Command) -> Result<Answer, Refusal> {
        let unsupported = |why: &str| Err(Refusal::new(RefusalKind::Unsupported, why));
        match command {
            Command::HostKey { name, order } => self.obey(&name, order),
            Command::ChipSign { document: Document::Evidence, payload } => {
                self.is_evidence(&payload)?;
                self.document(Document::Evidence.typ(), &payload).map(Answer::Jws)
            }
            Command::FirmwareStatus => Ok(Answer::Firmware(Firmware {
                version: FIRMWARE.to_owned(),
                svn: SVN,
                svn_floor: SVN,
                failed_attempts: 0,
                locked: true,
                pending: None,
            })),
            Command::FirmwareBegin { .. } | Command::FirmwareBlock { .. } | Command::FirmwareCommit => {
                unsupported("the firmware of this module is fixed")
            }
            Command::DigitalId { key: SigningKey::Chip | SigningKey::Device } => {
                unsupported("a module beside a sensor has no digital ID")
            }
            Command::TimeSet { .. } | Command::TimeGet => unsupported("this module has no clock"),
            Command::ChipSign { document: Document::Management, .. }
            | Command::KeyGenerate { .. }
            | Command::KeyAttest { .. }
            | Command::KeyDestroy
            | Command::KeyInstall { .. } => {
                unsupported("this module has no key of its own beside the chip key; it keeps keys by name")
            }
        }
    }
}

impl Spoken<'_> {
    fn obey(&self, name: &KeyName, order: KeyOrder) -> Result<Answer, Refusal> {
        let core = self.core;
        match order {
            KeyOrder::Generate { common_name, organisation } => {
                core.keys().has_room(name).map_err(refused)?;
                let made = core.chip.make_key(&common_name, &organisation).map_err(failed)?;
                core.keys().begin(name, made).map(Answer::Csr).map_err(refused)
            }
            KeyOrder::Use => core.keys().switch(name).map(|()| Answer::Done).map_err(refused),
            KeyOrder::Sign { slot, digest } => {
                let (key, _) = core.keys().find(name, slot).map_err(refused)?;
                key.sign_digest(&digest).map(Answer::Signature).map_err(failed)
            }
            KeyOrder::Attest { slot, binding } => self.attest(name, slot, &binding),
            KeyOrder::Destroy => {
                core.keys().destroy(name);
                Ok(Answer::Done)
            }
            KeyOrder::Status => Ok(Answer::HostKeys(core.keys().shown(name))),
        }
    }

    fn attest(&self, name: &KeyName, slot: KeySlot, binding: &Binding) -> Result<Answer, Refusal> {
        let (key, rotation) = self.core.keys().find(name, slot).map_err(refused)?;
        let state = ChipState {
            ftm_serial: &self.core.serial,
            svn: SVN,
            firmware_sha256: part("firmware"),
            boot_count: self.boot_count,
            rotation,
            device_mode: "normal",
        };
        let statement = KeyStatement::generated(binding, key.public_key_der(), &state);
        self.document(key_statement::TYP, &statement.to_json()).map(Answer::Jws)
    }

    /// A document of the chip; its header is written here and nowhere else.
    fn document(&self, typ: &str, payload: &str) -> Result<String, Refusal> {
        let laying_out = |_| Refusal::new(RefusalKind::Internal, "the document cannot be laid out");
        let unsigned =
            signed::prepare(typ, &Signer::Chain(self.core.chip.chain()), payload).map_err(laying_out)?;
        let signature = self.core.chip.sign_rs256(unsigned.signing_input()).map_err(failed)?;
        Ok(unsigned.attach(&signature))
    }

    /// Whether it is evidence of this module, for a device that claims no more than L0.
    fn is_evidence(&self, payload: &str) -> Result<(), Refusal> {
        #[derive(Deserialize)]
        struct Evidence {
            eat_profile: String,
            mosip_cert_level: String,
            mosip_ftm_serial: String,
        }
        let refuse = |why| Err(Refusal::new(RefusalKind::Unsupported, why));
        let Ok(read) = serde_json::from_str::<Evidence>(payload) else {
            return refuse("it is no evidence: nothing was signed");
        };
        if read.eat_profile != evidence::PROFILE {
            return refuse("it is evidence of another profile: nothing was signed");
        }
        if read.mosip_ftm_serial != self.core.serial {
            return refuse("it is evidence about another chip: nothing was signed");
        }
        if read.mosip_cert_level != "L0" {
            return refuse("a device with a module beside it is L0: nothing was signed");
        }
        Ok(())
    }
}

fn refused(error: NoKey) -> Refusal {
    let kind = match error {
        NoKey::None => RefusalKind::NotRegistered,
        NoKey::Full => RefusalKind::Unsupported,
    };
    Refusal::new(kind, error.to_string())
}

fn failed(error: ChipError) -> Refusal {
    Refusal::new(RefusalKind::Internal, error.to_string())
}
