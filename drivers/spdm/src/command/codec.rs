//! Commands and answers to bytes and back.

use biotrust_model::evidence::Binding;
use serde::{Serialize, de::DeserializeOwned};
use serde_bytes::{ByteArray, ByteBuf};

use super::{
    Answer, Command, Document, Firmware, HostKeys, KeyName, KeyOrder, MAX_BLOCK, MAX_CERTIFICATE, MAX_CHAIN,
    MAX_DOCUMENT, MAX_JWS, MAX_TEXT, Opcode, Refusal, RefusalKind, body,
};
use crate::error::{SpdmError, Why};
use crate::message::{MAX_PAYLOAD, SIGNATURE};

/// Flag of an answer: it is a refusal.
const REFUSED: u8 = 1;
/// Longest certificate request in bytes.
const MAX_CSR: usize = 8 * 1024;
/// Longest public key in bytes; that of RSA-2048 has 294.
const MAX_SPKI: usize = 1024;

fn write(code: u8, flags: u8, body: &impl Serialize) -> Result<Vec<u8>, SpdmError> {
    let mut payload = vec![code, flags];
    let what = Opcode::from_code(code).map_or("command", Opcode::name);
    ciborium::into_writer(body, &mut payload).map_err(|_| SpdmError::Malformed { what, why: Why::Body })?;
    if payload.len() > MAX_PAYLOAD {
        return Err(SpdmError::TooLong { what, limit: MAX_PAYLOAD });
    }
    Ok(payload)
}

fn read<T: DeserializeOwned>(opcode: Opcode, bytes: &[u8]) -> Result<T, SpdmError> {
    let malformed = |why| SpdmError::Malformed { what: opcode.name(), why };
    let mut rest = bytes;
    let body = ciborium::from_reader(&mut rest).map_err(|_| malformed(Why::Body))?;
    if rest.is_empty() { Ok(body) } else { Err(malformed(Why::Trailing)) }
}

/// `length` must be 1 to `limit`.
fn within(opcode: Opcode, field: &'static str, length: usize, limit: usize) -> Result<(), SpdmError> {
    match length {
        0 => Err(SpdmError::Malformed { what: opcode.name(), why: Why::Value(field) }),
        length if length > limit => Err(SpdmError::TooLong { what: field, limit }),
        _ => Ok(()),
    }
}

/// A compact JWS is ASCII: base64url and dots.
fn is_compact(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn is_printable(text: &str) -> bool {
    !text.chars().any(is_control)
}

/// A control character, or one that ends a line or turns the text after it around.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A token must be a compact JWS of at most `limit` bytes.
fn token(opcode: Opcode, field: &'static str, text: &str, limit: usize) -> Result<(), SpdmError> {
    within(opcode, field, text.len(), limit)?;
    if is_compact(text) {
        Ok(())
    } else {
        Err(SpdmError::Malformed { what: opcode.name(), why: Why::Value(field) })
    }
}

fn label(opcode: Opcode, field: &'static str, text: &str) -> Result<(), SpdmError> {
    within(opcode, field, text.len(), MAX_TEXT)?;
    if is_printable(text) {
        Ok(())
    } else {
        Err(SpdmError::Malformed { what: opcode.name(), why: Why::Value(field) })
    }
}

impl Command {
    /// Its payload.
    ///
    /// # Errors
    /// [`SpdmError::TooLong`], [`SpdmError::Malformed`]: what [`Self::decode`] would refuse.
    pub fn encode(&self) -> Result<Vec<u8>, SpdmError> {
        self.check()?;
        let code = self.opcode() as u8;
        match self {
            Self::KeyGenerate { common_name, organisation } => {
                let subject =
                    body::Subject { common_name: common_name.clone(), organisation: organisation.clone() };
                write(code, 0, &subject)
            }
            Self::KeyAttest { slot, binding } => {
                write(code, 0, &body::Attest { slot: (*slot).into(), binding: ByteArray::new(binding.0) })
            }
            Self::ChipSign { document, payload } => {
                write(code, 0, &body::Sign { typ: document.typ().to_owned(), payload: payload.clone() })
            }
            Self::KeyInstall { chain } => {
                let chain = chain.iter().map(|der| ByteBuf::from(der.as_slice())).collect();
                write(code, 0, &body::Chain { chain })
            }
            Self::DigitalId { key } => write(code, 0, &body::DigitalId { key: *key }),
            Self::TimeSet { token } => write(code, 0, &body::Token { token: token.clone() }),
            Self::FirmwareBegin { manifest } => {
                write(code, 0, &body::Manifest { manifest: manifest.clone() })
            }
            Self::FirmwareBlock { offset, bytes } => {
                let bytes = ByteBuf::from(bytes.as_slice());
                write(code, 0, &body::Block { offset: *offset, bytes })
            }
            Self::KeyDestroy | Self::TimeGet | Self::FirmwareCommit | Self::FirmwareStatus => {
                write(code, 0, &body::Nothing {})
            }
            Self::HostKey { name, order } => order.write(code, name.as_str().to_owned()),
        }
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// A refusal to answer with: `Unsupported` for an unknown opcode, `Protocol` for a body that cannot be read.
    pub fn decode(payload: &[u8]) -> Result<Self, Refusal> {
        let protocol = |why: String| Refusal::new(RefusalKind::Protocol, why);
        let Some((&[code, flags], rest)) = payload.split_first_chunk() else {
            return Err(protocol("a command has an opcode and flags".into()));
        };
        let Some(opcode) = Opcode::from_code(code) else {
            return Err(Refusal::new(RefusalKind::Unsupported, format!("command {code:#04x} is not known")));
        };
        if flags != 0 {
            return Err(protocol(format!("{}: flags must be zero", opcode.name())));
        }
        let command = Self::read(opcode, rest).map_err(|error| protocol(error.to_string()))?;
        command.check().map_err(|error| protocol(error.to_string()))?;
        Ok(command)
    }

    fn read(opcode: Opcode, rest: &[u8]) -> Result<Self, SpdmError> {
        let nothing = |command| read(opcode, rest).map(|body::Nothing {}| command);
        match opcode {
            Opcode::KeyGenerate => {
                let body::Subject { common_name, organisation } = read(opcode, rest)?;
                Ok(Self::KeyGenerate { common_name, organisation })
            }
            Opcode::KeyAttest => {
                let body::Attest { slot, binding } = read(opcode, rest)?;
                Ok(Self::KeyAttest { slot: slot.into(), binding: Binding(binding.into_array()) })
            }
            Opcode::ChipSign => {
                let body::Sign { typ, payload } = read(opcode, rest)?;
                let document = Document::ALL.into_iter().find(|document| document.typ() == typ);
                let why = Why::Value("typ");
                let document = document.ok_or(SpdmError::Malformed { what: opcode.name(), why })?;
                Ok(Self::ChipSign { document, payload })
            }
            Opcode::KeyDestroy => nothing(Self::KeyDestroy),
            Opcode::KeyInstall => {
                let body::Chain { chain } = read(opcode, rest)?;
                Ok(Self::KeyInstall { chain: chain.into_iter().map(ByteBuf::into_vec).collect() })
            }
            Opcode::DigitalId => read(opcode, rest).map(|body::DigitalId { key }| Self::DigitalId { key }),
            Opcode::TimeSet => read(opcode, rest).map(|body::Token { token }| Self::TimeSet { token }),
            Opcode::TimeGet => nothing(Self::TimeGet),
            Opcode::FirmwareBegin => {
                read(opcode, rest).map(|body::Manifest { manifest }| Self::FirmwareBegin { manifest })
            }
            Opcode::FirmwareBlock => {
                let body::Block { offset, bytes } = read(opcode, rest)?;
                Ok(Self::FirmwareBlock { offset, bytes: bytes.into_vec() })
            }
            Opcode::FirmwareCommit => nothing(Self::FirmwareCommit),
            Opcode::FirmwareStatus => nothing(Self::FirmwareStatus),
            Opcode::HostKeyGenerate
            | Opcode::HostKeyUse
            | Opcode::HostKeySign
            | Opcode::HostKeyAttest
            | Opcode::HostKeyDestroy
            | Opcode::HostKeyStatus => {
                let (name, order) = KeyOrder::read(opcode, rest)?;
                let why = Why::Value("name");
                let name =
                    KeyName::new(name).map_err(|_| SpdmError::Malformed { what: opcode.name(), why })?;
                Ok(Self::HostKey { name, order })
            }
        }
    }

    /// Limits, for both directions.
    fn check(&self) -> Result<(), SpdmError> {
        let op = self.opcode();
        match self {
            Self::KeyGenerate { common_name, organisation }
            | Self::HostKey { order: KeyOrder::Generate { common_name, organisation }, .. } => {
                label(op, "commonName", common_name)?;
                label(op, "organisation", organisation)
            }
            Self::ChipSign { payload, .. } => within(op, "payload", payload.len(), MAX_DOCUMENT),
            Self::KeyInstall { chain } => {
                within(op, "chain", chain.len(), MAX_CHAIN)?;
                chain.iter().try_for_each(|der| within(op, "certificate", der.len(), MAX_CERTIFICATE))
            }
            Self::TimeSet { token: text } => token(op, "token", text, MAX_JWS),
            Self::FirmwareBegin { manifest } => token(op, "manifest", manifest, MAX_JWS),
            Self::FirmwareBlock { bytes, .. } => within(op, "bytes", bytes.len(), MAX_BLOCK),
            Self::KeyAttest { .. }
            | Self::KeyDestroy
            | Self::DigitalId { .. }
            | Self::TimeGet
            | Self::FirmwareCommit
            | Self::FirmwareStatus
            | Self::HostKey { .. } => Ok(()),
        }
    }
}

impl KeyOrder {
    fn write(&self, code: u8, name: String) -> Result<Vec<u8>, SpdmError> {
        match self {
            Self::Generate { common_name, organisation } => {
                let (common_name, organisation) = (common_name.clone(), organisation.clone());
                write(code, 0, &body::NamedSubject { name, common_name, organisation })
            }
            Self::Sign { slot, digest } => {
                let digest = ByteArray::new(*digest);
                write(code, 0, &body::NamedDigest { name, slot: (*slot).into(), digest })
            }
            Self::Attest { slot, binding } => {
                let binding = ByteArray::new(binding.0);
                write(code, 0, &body::NamedAttest { name, slot: (*slot).into(), binding })
            }
            Self::Use | Self::Destroy | Self::Status => write(code, 0, &body::Named { name }),
        }
    }

    fn read(opcode: Opcode, rest: &[u8]) -> Result<(String, Self), SpdmError> {
        let plain = |order| read(opcode, rest).map(|body::Named { name }| (name, order));
        match opcode {
            Opcode::HostKeyGenerate => {
                let body::NamedSubject { name, common_name, organisation } = read(opcode, rest)?;
                Ok((name, Self::Generate { common_name, organisation }))
            }
            Opcode::HostKeySign => {
                let body::NamedDigest { name, slot, digest } = read(opcode, rest)?;
                Ok((name, Self::Sign { slot: slot.into(), digest: digest.into_array() }))
            }
            Opcode::HostKeyAttest => {
                let body::NamedAttest { name, slot, binding } = read(opcode, rest)?;
                Ok((name, Self::Attest { slot: slot.into(), binding: Binding(binding.into_array()) }))
            }
            Opcode::HostKeyUse => plain(Self::Use),
            Opcode::HostKeyDestroy => plain(Self::Destroy),
            // Of the others none is an order about such a key.
            _ => plain(Self::Status),
        }
    }
}

impl Answer {
    /// The payload of the answer to a command `opcode`.
    ///
    /// # Errors
    /// [`SpdmError::Malformed`] for an answer to another command; what [`Self::decode`] would refuse.
    pub fn encode(&self, opcode: Opcode) -> Result<Vec<u8>, SpdmError> {
        self.check(opcode)?;
        let code = opcode as u8;
        match (opcode, self) {
            (Opcode::KeyGenerate | Opcode::HostKeyGenerate, Self::Csr(csr)) => {
                write(code, 0, &body::Csr { csr: ByteBuf::from(csr.as_slice()) })
            }
            (Opcode::KeyAttest | Opcode::HostKeyAttest, Self::Jws(jws)) => {
                write(code, 0, &body::Statement { statement: jws.clone() })
            }
            (Opcode::ChipSign | Opcode::DigitalId, Self::Jws(jws)) => {
                write(code, 0, &body::Jws { jws: jws.clone() })
            }
            (Opcode::TimeGet, Self::Clock(clock)) => write(code, 0, &body::ClockBody::from(*clock)),
            (Opcode::FirmwareBegin | Opcode::FirmwareStatus, Self::Firmware(firmware)) => {
                write(code, 0, &body::FirmwareBody(firmware.clone()))
            }
            (Opcode::FirmwareBlock, Self::Received(received)) => {
                write(code, 0, &body::Received { received: *received })
            }
            (Opcode::HostKeySign, Self::Signature(signature)) => {
                write(code, 0, &body::Signature { signature: ByteBuf::from(signature.as_slice()) })
            }
            (Opcode::HostKeyStatus, Self::HostKeys(HostKeys { current, next })) => {
                let [current, next] = [current, next].map(|spki| spki.clone().map(ByteBuf::from));
                write(code, 0, &body::Keys { current, next })
            }
            (
                Opcode::KeyDestroy
                | Opcode::KeyInstall
                | Opcode::TimeSet
                | Opcode::FirmwareCommit
                | Opcode::HostKeyUse
                | Opcode::HostKeyDestroy,
                Self::Done,
            ) => write(code, 0, &body::Nothing {}),
            _ => Err(SpdmError::Malformed { what: opcode.name(), why: Why::Value("answer") }),
        }
    }

    /// Reads the payload of the answer to a command `opcode`.
    ///
    /// # Errors
    /// [`SpdmError::Command`] for a refusal; [`SpdmError::Malformed`], [`SpdmError::TooLong`].
    pub fn decode(opcode: Opcode, payload: &[u8]) -> Result<Self, SpdmError> {
        let malformed = |why| SpdmError::Malformed { what: opcode.name(), why };
        let Some((&[code, flags], rest)) = payload.split_first_chunk() else {
            return Err(malformed(Why::Short));
        };
        if code != opcode as u8 {
            return Err(malformed(Why::Value("opcode")));
        }
        match flags {
            0 => {}
            REFUSED => {
                let body::Refused { kind, message } = read(opcode, rest)?;
                return Err(Refusal { kind, message: printable(&message) }.into());
            }
            _ => return Err(malformed(Why::Value("flags"))),
        }
        let answer = match opcode {
            Opcode::KeyGenerate | Opcode::HostKeyGenerate => {
                read(opcode, rest).map(|body::Csr { csr }| Self::Csr(csr.into_vec()))?
            }
            Opcode::KeyAttest | Opcode::HostKeyAttest => {
                read(opcode, rest).map(|body::Statement { statement }| Self::Jws(statement))?
            }
            Opcode::ChipSign | Opcode::DigitalId => {
                read(opcode, rest).map(|body::Jws { jws }| Self::Jws(jws))?
            }
            Opcode::TimeGet => Self::Clock(read::<body::ClockBody>(opcode, rest)?.into()),
            Opcode::FirmwareBegin | Opcode::FirmwareStatus => {
                read(opcode, rest).map(|body::FirmwareBody(firmware)| Self::Firmware(firmware))?
            }
            Opcode::FirmwareBlock => {
                read(opcode, rest).map(|body::Received { received }| Self::Received(received))?
            }
            Opcode::HostKeySign => read(opcode, rest)
                .map(|body::Signature { signature }| Self::Signature(signature.into_vec()))?,
            Opcode::HostKeyStatus => {
                let body::Keys { current, next } = read(opcode, rest)?;
                let [current, next] = [current, next].map(|spki| spki.map(ByteBuf::into_vec));
                Self::HostKeys(HostKeys { current, next })
            }
            Opcode::KeyDestroy
            | Opcode::KeyInstall
            | Opcode::TimeSet
            | Opcode::FirmwareCommit
            | Opcode::HostKeyUse
            | Opcode::HostKeyDestroy => read(opcode, rest).map(|body::Nothing {}| Self::Done)?,
        };
        answer.check(opcode)?;
        Ok(answer)
    }

    /// Limits, for both directions.
    fn check(&self, opcode: Opcode) -> Result<(), SpdmError> {
        match self {
            Self::Csr(csr) => within(opcode, "csr", csr.len(), MAX_CSR),
            Self::Jws(jws) => token(opcode, "jws", jws, MAX_JWS),
            Self::Firmware(Firmware { version, pending, .. }) => {
                label(opcode, "version", version)?;
                let Some(pending) = pending else { return Ok(()) };
                label(opcode, "pending.version", &pending.version)?;
                if pending.received <= pending.size {
                    return Ok(());
                }
                let why = Why::Value("pending.received");
                Err(SpdmError::Malformed { what: opcode.name(), why })
            }
            Self::Signature(signature) if signature.len() == SIGNATURE => Ok(()),
            Self::Signature(_) => {
                Err(SpdmError::Malformed { what: opcode.name(), why: Why::Value("signature") })
            }
            Self::HostKeys(HostKeys { current, next }) => {
                let mut keys = current.iter().chain(next);
                keys.try_for_each(|spki| within(opcode, "key", spki.len(), MAX_SPKI))
            }
            Self::Clock(_) | Self::Received(_) | Self::Done => Ok(()),
        }
    }
}

impl Refusal {
    /// The payload of an answer to the command with the number `code`.
    pub(crate) fn encode(&self, code: u8) -> Result<Vec<u8>, SpdmError> {
        write(code, REFUSED, &body::Refused { kind: self.kind, message: printable(&self.message) })
    }
}

/// The printable part of `text`, cut.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !is_control(*c)).take(MAX_TEXT).collect()
}
