//! TPMS_ATTEST: what a TPM says about itself, before the signature.

use super::SHA256;
use super::reader::{Reader, TpmError};

/// `FF "TCG"`: a restricted key never signs anything else that begins like this.
pub const MAGIC: u32 = 0xFF54_4347;

/// TPM_ST_ATTEST_CERTIFY, TPM_ST_ATTEST_QUOTE, TPM_ST_ATTEST_TIME.
pub(super) const CERTIFY: u16 = 0x8017;
pub(super) const QUOTE: u16 = 0x8018;
pub(super) const TIME: u16 = 0x8019;

/// Most banks in a selection, and most bytes of its bit map.
const MAX_BANKS: u32 = 16;
const MAX_MAP: usize = 32;

/// TPMS_CLOCK_INFO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Milliseconds that the TPM has had power since it was cleared.
    pub clock: u64,
    /// Restarts since it was cleared.
    pub reset_count: u32,
    /// Resumptions since the last restart.
    pub restart_count: u32,
    /// Whether no earlier value can have been greater: it is not after an unorderly loss of power.
    pub safe: bool,
}

/// Selected PCRs of the SHA-256 bank, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrSelection(
    /// Their numbers.
    pub Vec<u8>,
);

/// What is attested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// TPM2_Certify: a key is loaded.
    Certify {
        /// Its name.
        name: Vec<u8>,
        /// Its qualified name.
        qualified_name: Vec<u8>,
    },
    /// TPM2_Quote: PCRs have values.
    Quote {
        /// Which.
        pcrs: PcrSelection,
        /// SHA-256 of their values in ascending order.
        digest: Vec<u8>,
    },
    /// TPM2_GetTime.
    Time {
        /// Milliseconds since the last start.
        time: u64,
    },
}

/// A parsed TPMS_ATTEST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attest {
    /// Qualified name of the key that signs.
    pub qualified_signer: Vec<u8>,
    /// What the caller gave: the binding.
    pub extra_data: Vec<u8>,
    /// The TPM's clock.
    pub clock: Clock,
    /// Its firmware.
    pub firmware_version: u64,
    /// What is attested.
    pub content: Content,
}

impl Attest {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong, and with other magic than a TPM's above all.
    pub fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        let mut reader = Reader::new("TPMS_ATTEST", bytes);
        let magic = reader.u32()?;
        if magic != MAGIC {
            return Err(reader.wrong(format!("magic is {magic:08X}; no TPM made this")));
        }
        let kind = reader.u16()?;
        let qualified_signer = reader.sized()?.to_vec();
        let extra_data = reader.sized()?.to_vec();
        let clock = clock(&mut reader)?;
        let firmware_version = reader.u64()?;
        let content = match kind {
            CERTIFY => {
                Content::Certify { name: reader.sized()?.to_vec(), qualified_name: reader.sized()?.to_vec() }
            }
            QUOTE => Content::Quote { pcrs: selection(&mut reader)?, digest: reader.sized()?.to_vec() },
            TIME => {
                let time = reader.u64()?;
                let (inner, version) = (self::clock(&mut reader)?, reader.u64()?);
                if inner.reset_count != clock.reset_count || version != firmware_version {
                    return Err(reader.wrong("it says two different things about the TPM"));
                }
                Content::Time { time }
            }
            other => return Err(reader.wrong(format!("type {other:04X} has no place in evidence"))),
        };
        reader.end()?;
        Ok(Self { qualified_signer, extra_data, clock, firmware_version, content })
    }
}

fn clock(reader: &mut Reader<'_>) -> Result<Clock, TpmError> {
    let (clock, reset_count, restart_count) = (reader.u64()?, reader.u32()?, reader.u32()?);
    let safe = match reader.u8()? {
        0 => false,
        1 => true,
        other => return Err(reader.wrong(format!("safe is {other}; yes and no are 1 and 0"))),
    };
    Ok(Clock { clock, reset_count, restart_count, safe })
}

fn selection(reader: &mut Reader<'_>) -> Result<PcrSelection, TpmError> {
    let banks = reader.u32()?;
    if banks > MAX_BANKS {
        return Err(reader.wrong(format!("{banks} banks are selected")));
    }
    let mut pcrs = Vec::new();
    for _ in 0..banks {
        let bank = reader.u16()?;
        let size = reader.u8()?;
        let map = reader.take(size.into())?;
        if map.len() > MAX_MAP {
            return Err(reader.wrong("the selection of PCRs is too long"));
        }
        let selected =
            (0u8..=u8::MAX).zip(map.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1)));
        let selected: Vec<u8> = selected.filter(|(_, bit)| *bit == 1).map(|(index, _)| index).collect();
        if !selected.is_empty() && (bank != SHA256 || !pcrs.is_empty()) {
            return Err(reader.wrong(format!("PCRs of bank {bank:04X}; one selection of SHA-256 is allowed")));
        }
        pcrs.extend(selected);
    }
    Ok(PcrSelection(pcrs))
}
