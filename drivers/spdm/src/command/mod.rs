//! Commands to a trust module, and its answers: what VENDOR_DEFINED carries.
//!
//! ```text
//! opcode | flags: 00, in an answer 01 = refused | CBOR map (RFC 8949), text keys
//! ```
//! Pure. Whatever is read is limited and checked; tokens and documents are in types that do not print them.

mod body;
mod codec;
mod host_key;

pub use host_key::{HostKeys, KeyName, KeyNameError, KeyOrder};

use biotrust_model::evidence::{Binding, KeySlot};
use biotrust_model::time::UtcMillis;

/// Longest block of a firmware image in bytes.
pub const MAX_BLOCK: usize = 16 * 1024;
/// Longest document that a chip signs in bytes: base64 and header must still fit an answer.
pub const MAX_DOCUMENT: usize = 40 * 1024;
/// Longest JWS in bytes.
pub const MAX_JWS: usize = 60 * 1024;
/// Longest certificate in bytes, and most in a chain.
pub const MAX_CERTIFICATE: usize = 7 * 1024;
/// Most certificates in a chain.
pub const MAX_CHAIN: usize = 8;
/// Longest name or version in bytes, and longest message of a refusal in characters.
pub const MAX_TEXT: usize = 200;

macro_rules! opcodes {
    ($($(#[$meta:meta])* $op:ident = $code:literal, $name:literal;)+) => {
        /// Number of a command.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Opcode { $($(#[$meta])* $op = $code),+ }

        impl Opcode {
            /// Every opcode.
            pub const ALL: &'static [Self] = &[$(Self::$op),+];

            /// The opcode with this number.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$op),)+ _ => None }
            }

            /// Name in the manual.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$op => $name),+ }
            }
        }
    };
}

opcodes! {
    /// Make the next device key.
    KeyGenerate = 0x10, "KEY_GEN";
    /// State about a device key that it was born here.
    KeyAttest = 0x11, "KEY_ATTEST";
    /// Sign a document with the chip key.
    ChipSign = 0x13, "CHIP_SIGN_JWS";
    /// Destroy the device keys.
    KeyDestroy = 0x14, "KEY_DESTROY";
    /// Take the certificate of the next key and switch to it.
    KeyInstall = 0x15, "KEY_INSTALL";
    /// A digital ID of this moment.
    DigitalId = 0x16, "DIGITAL_ID";
    /// Set the clock.
    TimeSet = 0x20, "TIME_SET";
    /// The clock.
    TimeGet = 0x21, "TIME_GET";
    /// Begin an update.
    FirmwareBegin = 0x30, "FW_BEGIN";
    /// A block of the image.
    FirmwareBlock = 0x31, "FW_BLOCK";
    /// The image is complete.
    FirmwareCommit = 0x32, "FW_COMMIT";
    /// The firmware.
    FirmwareStatus = 0x33, "FW_STATUS";
    /// Make the next key of a name.
    HostKeyGenerate = 0x40, "HOST_KEY_GEN";
    /// Switch to it.
    HostKeyUse = 0x41, "HOST_KEY_USE";
    /// Sign a digest.
    HostKeySign = 0x42, "HOST_KEY_SIGN";
    /// State about a key that it was born here.
    HostKeyAttest = 0x43, "HOST_KEY_ATTEST";
    /// Destroy the keys of a name.
    HostKeyDestroy = 0x44, "HOST_KEY_DESTROY";
    /// The keys of a name.
    HostKeyStatus = 0x45, "HOST_KEY_STATUS";
}

/// Which key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningKey {
    /// The permanent one.
    Chip,
    /// The one that rotates.
    Device,
}

/// What a chip signs beside digital IDs and statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// Evidence.
    Evidence,
    /// A message to the management server.
    Management,
}

impl Document {
    const ALL: [Self; 2] = [Self::Evidence, Self::Management];

    /// `typ` of its JWS.
    #[must_use]
    pub const fn typ(self) -> &'static str {
        match self {
            Self::Evidence => "eat+jwt",
            Self::Management => "mgmt+jwt",
        }
    }
}

/// What a trust module is told to do.
#[derive(Clone, PartialEq, Eq)]
pub enum Command {
    /// [`Opcode::KeyGenerate`]; answered by [`Answer::Csr`].
    KeyGenerate {
        /// For the subject of the request.
        common_name: String,
        /// For the subject of the request.
        organisation: String,
    },
    /// [`Opcode::KeyAttest`]; answered by [`Answer::Jws`].
    KeyAttest {
        /// Which key.
        slot: KeySlot,
        /// To be in the statement.
        binding: Binding,
    },
    /// [`Opcode::ChipSign`]; answered by [`Answer::Jws`].
    ChipSign {
        /// What it is.
        document: Document,
        /// JSON.
        payload: String,
    },
    /// [`Opcode::KeyDestroy`]; answered by [`Answer::Done`].
    KeyDestroy,
    /// [`Opcode::KeyInstall`]; answered by [`Answer::Done`].
    KeyInstall {
        /// The key's own first; DER.
        chain: Vec<Vec<u8>>,
    },
    /// [`Opcode::DigitalId`]; answered by [`Answer::Jws`].
    DigitalId {
        /// Who signs it.
        key: SigningKey,
    },
    /// [`Opcode::TimeSet`]; answered by [`Answer::Done`].
    TimeSet {
        /// Compact JWS.
        token: String,
    },
    /// [`Opcode::TimeGet`]; answered by [`Answer::Clock`].
    TimeGet,
    /// [`Opcode::FirmwareBegin`]; answered by [`Answer::Firmware`].
    FirmwareBegin {
        /// Compact JWS.
        manifest: String,
    },
    /// [`Opcode::FirmwareBlock`]; answered by [`Answer::Received`].
    FirmwareBlock {
        /// First byte.
        offset: u64,
        /// At most [`MAX_BLOCK`].
        bytes: Vec<u8>,
    },
    /// [`Opcode::FirmwareCommit`]; answered by [`Answer::Done`].
    FirmwareCommit,
    /// [`Opcode::FirmwareStatus`]; answered by [`Answer::Firmware`].
    FirmwareStatus,
    /// To a module beside a sensor, which keeps keys of its host by name: opcodes 40h to 45h.
    HostKey {
        /// Whose key: the id of a device.
        name: KeyName,
        /// What to do with it.
        order: KeyOrder,
    },
}

impl Command {
    /// Its number.
    #[must_use]
    pub const fn opcode(&self) -> Opcode {
        match self {
            Self::KeyGenerate { .. } => Opcode::KeyGenerate,
            Self::KeyAttest { .. } => Opcode::KeyAttest,
            Self::ChipSign { .. } => Opcode::ChipSign,
            Self::KeyDestroy => Opcode::KeyDestroy,
            Self::KeyInstall { .. } => Opcode::KeyInstall,
            Self::DigitalId { .. } => Opcode::DigitalId,
            Self::TimeSet { .. } => Opcode::TimeSet,
            Self::TimeGet => Opcode::TimeGet,
            Self::FirmwareBegin { .. } => Opcode::FirmwareBegin,
            Self::FirmwareBlock { .. } => Opcode::FirmwareBlock,
            Self::FirmwareCommit => Opcode::FirmwareCommit,
            Self::FirmwareStatus => Opcode::FirmwareStatus,
            Self::HostKey { order, .. } => order.opcode(),
        }
    }
}

/// The name only: documents and tokens do not belong in logs.
impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.opcode().name())
    }
}

/// The clock of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// To be in the next token.
    pub nonce: [u8; 32],
    /// What it takes for the time, once it has been told since its last start.
    pub now: Option<UtcMillis>,
    /// Starts so far.
    pub boot_count: u64,
}

/// Firmware of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firmware {
    /// Version that runs.
    pub version: String,
    /// Its security version number.
    pub svn: u64,
    /// Images below this are refused.
    pub svn_floor: u64,
    /// Failed updates since the last success.
    pub failed_attempts: u32,
    /// Whether updates are locked.
    pub locked: bool,
    /// The update under way.
    pub pending: Option<Pending>,
}

/// An update under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Version that it brings.
    pub version: String,
    /// Bytes of the image.
    pub size: u64,
    /// Bytes that the device holds.
    pub received: u64,
}

/// What a trust module answers.
#[derive(Clone, PartialEq, Eq)]
pub enum Answer {
    /// PKCS#10 in DER.
    Csr(Vec<u8>),
    /// Compact JWS.
    Jws(String),
    /// Clock.
    Clock(Clock),
    /// Firmware.
    Firmware(Firmware),
    /// Bytes of the image that it holds now.
    Received(u64),
    /// RSASSA (PKCS#1 v1.5) of an RSA-2048 key: 256 bytes.
    Signature(Vec<u8>),
    /// The keys of a name.
    HostKeys(HostKeys),
    /// Done.
    Done,
}

/// No contents: tokens do not belong in logs.
impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Csr(csr) => write!(f, "Csr({} bytes)", csr.len()),
            Self::Jws(jws) => write!(f, "Jws({} bytes)", jws.len()),
            Self::Clock(clock) => clock.fmt(f),
            Self::Firmware(firmware) => firmware.fmt(f),
            Self::Received(received) => write!(f, "Received({received})"),
            Self::Signature(signature) => write!(f, "Signature({} bytes)", signature.len()),
            Self::HostKeys(keys) => keys.fmt(f),
            Self::Done => f.write_str("Done"),
        }
    }
}

/// Why a trust module refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// It does something else now.
    Busy,
    /// It cannot work now.
    NotReady,
    /// It has no such key, or no certificate for it.
    NotRegistered,
    /// It has noticed tampering.
    Tampered,
    /// It does not have, or will not do, what is asked for.
    Unsupported,
    /// The command could not be read, or comes out of order.
    Protocol,
    /// Anything else.
    Internal,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the trust module refuses: {message}")]
pub struct Refusal {
    /// Why.
    pub kind: RefusalKind,
    /// For a technician: printable, at most [`MAX_TEXT`] characters.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    #[must_use]
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

#[cfg(test)]
mod tests;
