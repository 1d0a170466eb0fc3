//! What several test modules need: a trust module with a real key, and a line between both ends.

use std::cell::RefCell;
use std::sync::LazyLock;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use biotrust_model::evidence::{Binding, KeySlot};
use biotrust_model::time::UtcMillis;

use crate::chain::Chain;
use crate::command::{
    Answer, Clock, Command, Document, Firmware, HostKeys, KeyName, KeyOrder, Opcode, Pending, Refusal,
    RefusalKind, SigningKey,
};
use crate::measurement::{Block, DeviceMode, Kind, index};
use crate::{Job, Module, ModuleError, Outcome, Requester, Responder, SpdmError, Step};

pub(crate) const NONCE: [u8; 32] = [0x5A; 32];

static KEYS: LazyLock<[RsaKeyPair; 2]> =
    LazyLock::new(|| [(); 2].map(|()| RsaKeyPair::generate(KeySize::Rsa2048).unwrap()));

/// A chip with one of two keys.
pub(crate) struct Chip {
    pub(crate) key: &'static RsaKeyPair,
    pub(crate) chain: Chain,
    pub(crate) blocks: Vec<Block>,
    pub(crate) csr: Option<Vec<u8>>,
    pub(crate) fails: bool,
    pub(crate) short_signature: bool,
    /// Commands that came.
    pub(crate) seen: RefCell<Vec<Command>>,
}

/// Something with the shell of a certificate.
pub(crate) fn certificate(mark: u8, length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    [&[0x30, 0x82, high, low][..], &vec![mark; length.into()]].concat()
}

pub(crate) fn blocks() -> Vec<Block> {
    vec![
        Block::digest(index::ROM, Kind::Rom, [1; 32]),
        Block::digest(index::LOADER, Kind::Firmware, [2; 32]),
        Block::digest(index::FIRMWARE, Kind::Firmware, [3; 32]),
        Block::digest(index::POLICY, Kind::FirmwareConfiguration, [4; 32]),
        Block::svn(7),
        Block::version("1.2.3"),
        Block::device_mode(DeviceMode::normal()),
    ]
}

impl Chip {
    /// The chip number `which`, 0 or 1.
    pub(crate) fn new(which: usize) -> Self {
        let certificates = [certificate(1, 1200), certificate(2, 900), certificate(3, 800)];
        Self {
            key: &KEYS[which],
            chain: Chain::with_root(&certificates).unwrap(),
            blocks: blocks(),
            csr: Some(vec![0x30, 1, 2]),
            fails: false,
            short_signature: false,
            seen: RefCell::default(),
        }
    }

    pub(crate) fn spki(&self) -> Vec<u8> {
        self.key.public_key().as_der().unwrap().as_ref().to_vec()
    }
}

impl Module for Chip {
    fn chain(&self) -> Chain {
        self.chain.clone()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ModuleError> {
        if self.fails {
            return Err(ModuleError);
        }
        let mut signature = vec![0; 256];
        let random = aws_lc_rs::rand::SystemRandom::new();
        self.key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(|_| ModuleError)?;
        if self.short_signature {
            signature.pop();
        }
        Ok(signature)
    }

    fn measurements(&self) -> Vec<Block> {
        self.blocks.clone()
    }

    fn pending_csr(&self) -> Option<Vec<u8>> {
        self.csr.clone()
    }

    fn command(&self, command: Command) -> Result<Answer, Refusal> {
        let answer = match command.opcode() {
            Opcode::TimeSet => Err(Refusal::new(RefusalKind::Unsupported, "the token is of another device")),
            // An answer to another command.
            Opcode::KeyDestroy => Ok(Answer::Received(1)),
            opcode => Ok(answers().into_iter().find(|(of, _)| *of == opcode).unwrap().1),
        };
        self.seen.borrow_mut().push(command);
        answer
    }
}

pub(crate) fn commands() -> Vec<Command> {
    vec![
        Command::KeyGenerate { common_name: "SN1 \u{e8}".into(), organisation: "Provider".into() },
        Command::KeyAttest { slot: KeySlot::Current, binding: Binding([9; 32]) },
        Command::KeyAttest { slot: KeySlot::Next, binding: Binding([8; 32]) },
        Command::ChipSign { document: Document::Evidence, payload: "{\"canary\":1}".into() },
        Command::ChipSign { document: Document::Management, payload: "{}".into() },
        Command::KeyDestroy,
        Command::KeyInstall { chain: vec![vec![0x30; 900], vec![0x30; 1]] },
        Command::DigitalId { key: SigningKey::Chip },
        Command::DigitalId { key: SigningKey::Device },
        Command::TimeSet { token: "canary.canary.canary".into() },
        Command::TimeGet,
        Command::FirmwareBegin { manifest: "m.a.n".into() },
        Command::FirmwareBlock { offset: 1 << 40, bytes: vec![7; crate::command::MAX_BLOCK] },
        Command::FirmwareCommit,
        Command::FirmwareStatus,
        host_key(KeyOrder::Generate { common_name: "SN1".into(), organisation: "Provider".into() }),
        host_key(KeyOrder::Use),
        host_key(KeyOrder::Sign { slot: KeySlot::Next, digest: [4; 32] }),
        host_key(KeyOrder::Attest { slot: KeySlot::Current, binding: Binding([7; 32]) }),
        host_key(KeyOrder::Destroy),
        host_key(KeyOrder::Status),
    ]
}

pub(crate) fn host_key(order: KeyOrder) -> Command {
    Command::HostKey { name: KeyName::new("BT-0001").unwrap(), order }
}

pub(crate) fn firmware() -> Firmware {
    Firmware {
        version: "1.2.3".into(),
        svn: 7,
        svn_floor: 6,
        failed_attempts: 2,
        locked: false,
        pending: Some(Pending { version: "1.3.0".into(), size: 100_000, received: 16_384 }),
    }
}

pub(crate) fn answers() -> Vec<(Opcode, Answer)> {
    let clock = |now| Answer::Clock(Clock { nonce: [3; 32], now, boot_count: 12 });
    vec![
        (Opcode::KeyGenerate, Answer::Csr(vec![0x30, 0x82, 1])),
        (Opcode::KeyAttest, Answer::Jws("sta.te.ment".into())),
        (Opcode::ChipSign, Answer::Jws("canary.canary.canary".into())),
        (Opcode::KeyDestroy, Answer::Done),
        (Opcode::KeyInstall, Answer::Done),
        (Opcode::DigitalId, Answer::Jws("i.d.x".into())),
        (Opcode::TimeSet, Answer::Done),
        (Opcode::TimeGet, clock(Some(UtcMillis(1_700_000_000_123)))),
        (Opcode::TimeGet, clock(None)),
        (Opcode::FirmwareBegin, Answer::Firmware(firmware())),
        (Opcode::FirmwareBlock, Answer::Received(32_768)),
        (Opcode::FirmwareCommit, Answer::Done),
        (Opcode::FirmwareStatus, Answer::Firmware(Firmware { pending: None, ..firmware() })),
        (Opcode::HostKeyGenerate, Answer::Csr(vec![0x30, 0x82, 2])),
        (Opcode::HostKeyUse, Answer::Done),
        (Opcode::HostKeySign, Answer::Signature(vec![6; 256])),
        (Opcode::HostKeyAttest, Answer::Jws("sta.te.ment".into())),
        (Opcode::HostKeyDestroy, Answer::Done),
        (Opcode::HostKeyStatus, Answer::HostKeys(HostKeys { current: Some(vec![0x30; 294]), next: None })),
        (Opcode::HostKeyStatus, Answer::HostKeys(HostKeys { current: None, next: Some(vec![0x30; 294]) })),
        (Opcode::HostKeyStatus, Answer::HostKeys(HostKeys::default())),
    ]
}

/// A host and a device, and somebody in between who may change what the device says.
pub(crate) struct Line {
    pub(crate) requester: Requester,
    pub(crate) responder: Responder,
    pub(crate) chip: Chip,
    /// Answers given.
    pub(crate) answered: usize,
}

impl Line {
    pub(crate) fn new() -> Self {
        Self { requester: Requester::new(), responder: Responder::new(), chip: Chip::new(0), answered: 0 }
    }

    pub(crate) fn run(&mut self, job: Job) -> Result<Outcome, SpdmError> {
        self.run_with(job, |_, _| {})
    }

    /// `change` sees the number of each answer of this line, from 0, and the answer.
    pub(crate) fn run_with(
        &mut self,
        job: Job,
        mut change: impl FnMut(usize, &mut Vec<u8>),
    ) -> Result<Outcome, SpdmError> {
        let mut step = self.requester.start(job)?;
        loop {
            let message = match step {
                Step::Done(outcome) => return Ok(outcome),
                Step::Send(message) | Step::Wait { message, .. } => message,
            };
            let mut answer = self.responder.answer(&self.chip, &message);
            change(self.answered, &mut answer);
            self.answered += 1;
            step = self.requester.receive(&answer)?;
        }
    }

    /// Both halves of a proof.
    pub(crate) fn prove(&mut self) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        match self.run(Job::Prove { nonce: NONCE }).unwrap() {
            Outcome::Proof { authentication, measurements } => (authentication, measurements),
            other => panic!("{other:?}"),
        }
    }
}
