//! A made-up trust module that speaks SPDM, through the real responder and the real requester.

use biotrust_model::Level;
use biotrust_model::evidence::{Binding, Proof, SpdmProof};
use biotrust_model::time::UtcMillis;
use biotrust_spdm::chain::Chain;
use biotrust_spdm::command::{Answer, Command, Refusal, RefusalKind};
use biotrust_spdm::measurement::{Block, DeviceMode, Kind, index};
use biotrust_spdm::message::SIGNATURE;
use biotrust_spdm::signature::Context;
use biotrust_spdm::transcript::VCA;
use biotrust_spdm::{Job, Module, ModuleError, Outcome, Requester, Responder, Step};

use super::{FTM_SERIAL, Key, World};
use crate::Challenge;
use crate::evidence::{self, Claims};
use crate::key_statement::{self, ChipState, KeyStatement};
use crate::signed::Signer;

/// A good device with a trust module of its own; every field may be changed.
#[derive(Clone)]
pub struct SpdmForge<'w> {
    /// The challenge that it answers.
    pub challenge: Challenge,
    /// The nonce of its proofs.
    pub binding: Binding,
    /// What it claims; `None`: what fits the proof.
    pub claims: Option<Claims>,
    /// Who it is.
    pub identity: biotrust_model::DeviceIdentity,
    /// Firmware version that it claims.
    pub firmware: String,
    /// When.
    pub issued_at: UtcMillis,
    /// Key that signs evidence and statement, and the chain beside it.
    pub chip: (&'w Key, Vec<Vec<u8>>),
    /// Key that signs the transcripts, and the chain in them.
    pub module: (&'w Key, Vec<Vec<u8>>),
    /// What runs.
    pub blocks: Vec<Block>,
    /// What the chip states about the device key.
    pub statement: Option<KeyStatement>,
    /// Key that signs the statement, where it is not the chip's.
    pub statement_key: Option<&'w Key>,
}

/// The blocks of firmware 1.2.3 with security version `svn`.
#[must_use]
pub(super) fn blocks(svn: u64, mode: DeviceMode) -> Vec<Block> {
    let digest = |at: u8, kind| Block::digest(at, kind, [at; 32]);
    vec![
        digest(index::ROM, Kind::Rom),
        digest(index::LOADER, Kind::Firmware),
        digest(index::FIRMWARE, Kind::Firmware),
        digest(index::POLICY, Kind::FirmwareConfiguration),
        Block::svn(svn),
        Block::version("1.2.3"),
        Block::device_mode(mode),
    ]
}

impl<'w> SpdmForge<'w> {
    /// A good one for `challenge`.
    #[must_use]
    pub fn new(world: &'w World, challenge: &Challenge) -> Self {
        let chip = (&world.chip, world.chip_chain.clone());
        let state = ChipState {
            ftm_serial: FTM_SERIAL,
            svn: 3,
            firmware_sha256: [index::FIRMWARE; 32],
            boot_count: 12,
            rotation: 1,
            device_mode: "normal",
        };
        Self {
            challenge: challenge.clone(),
            binding: challenge.binding(),
            claims: None,
            identity: world.identity(),
            firmware: "1.2.3".to_owned(),
            issued_at: world.now,
            module: chip.clone(),
            chip,
            blocks: blocks(3, DeviceMode::normal()),
            statement: Some(KeyStatement::generated(&challenge.binding(), world.device.spki(), &state)),
            statement_key: None,
        }
    }

    /// The same with other firmware inside and in its own statement: security version `svn`, in `mode`.
    #[must_use]
    pub fn running(mut self, svn: u64, mode: DeviceMode) -> Self {
        self.blocks = blocks(svn, mode);
        if let Some(statement) = &mut self.statement {
            statement.svn = svn;
        }
        self
    }

    /// The proof, from a real exchange.
    #[must_use]
    pub fn proof(&self) -> SpdmProof {
        let (mut requester, mut responder) = (Requester::new(), Responder::new());
        let mut step = requester.start(Job::Prove { nonce: self.binding.0 }).unwrap();
        let (authentication, measurements) = loop {
            match step {
                Step::Send(message) => {
                    step = requester.receive(&responder.answer(self, &message)).unwrap();
                }
                Step::Done(Outcome::Proof { authentication, measurements }) => {
                    break (authentication, measurements);
                }
                other => unreachable!("{other:?}"),
            }
        };
        let key_statement = self.statement.as_ref().map(|statement| {
            let key = self.statement_key.unwrap_or(self.chip.0);
            key.document(key_statement::TYP, &Signer::Chain(&self.chip.1), &statement.to_json())
        });
        SpdmProof { authentication, measurements, key_statement }
    }

    /// The evidence around `proof`.
    #[must_use]
    pub fn evidence_with(&self, proof: SpdmProof) -> String {
        let proof = Proof::Spdm(proof);
        let chip = self.chip.1.first().map(Vec::as_slice);
        let claims = self
            .claims
            .clone()
            .unwrap_or_else(|| Claims::beside(&self.identity, Level::L1, &self.firmware, chip, &proof));
        let payload = evidence::payload(&self.challenge, &claims, &proof, self.issued_at);
        self.chip.0.document(evidence::TYP, &Signer::Chain(&self.chip.1), &payload)
    }

    /// The evidence.
    #[must_use]
    pub fn evidence(&self) -> String {
        self.evidence_with(self.proof())
    }

    /// Signs both transcripts of a changed `proof` anew, as a chip would that really said so.
    pub fn sign_again(&self, proof: &mut SpdmProof) {
        let vca = proof.authentication.get(..VCA).unwrap_or_default().to_vec();
        let key = self.module.0;
        sign_last(key, Context::ChallengeAuth, &[], &mut proof.authentication);
        sign_last(key, Context::Measurements, &vca, &mut proof.measurements);
    }
}

fn sign_last(key: &Key, context: Context, before: &[Vec<u8>], messages: &mut [Vec<u8>]) {
    let Some(last) = messages.last_mut() else { return };
    last.truncate(last.len().saturating_sub(SIGNATURE));
    let parts: Vec<&[u8]> = before.iter().chain(messages.iter()).map(Vec::as_slice).collect();
    let signature = key.sign(&context.input(&parts));
    if let Some(last) = messages.last_mut() {
        last.extend(signature);
    }
}

impl Module for SpdmForge<'_> {
    fn chain(&self) -> Chain {
        Chain::with_root(&self.module.1).unwrap()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ModuleError> {
        Ok(self.module.0.sign(message))
    }

    fn measurements(&self) -> Vec<Block> {
        self.blocks.clone()
    }

    fn pending_csr(&self) -> Option<Vec<u8>> {
        None
    }

    fn command(&self, _: Command) -> Result<Answer, Refusal> {
        Err(Refusal::new(RefusalKind::Internal, "a forge takes no commands".to_owned()))
    }
}
