//! Flash memory: bytes that survive power cuts, also one in the middle of a write.
//!
//! Tests cut the power after any number of written bytes: what was written before stays, nothing after it is written
//! until the power is back.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A part of the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// The loader, as the factory wrote it.
    Loader,
    /// Firmware.
    Slot(Slot),
    /// One of the two copies of the boot record.
    Record(bool),
}

/// One of the two places for firmware: one runs, an update is written to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// The power went during a write, or is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the power went")]
pub(crate) struct PowerLost;

/// What an erased byte reads as.
const ERASED: u8 = 0xFF;

#[derive(Default)]
struct Memory {
    parts: BTreeMap<Part, Vec<u8>>,
    /// Bytes that may still be written before the power goes.
    power: Option<usize>,
    written: usize,
}

impl Memory {
    /// How many of `wanted` bytes are written before the power goes.
    fn spend(&mut self, wanted: usize) -> usize {
        let now = self.power.map_or(wanted, |left| left.min(wanted));
        self.power = self.power.map(|left| left - now);
        self.written += now;
        now
    }
}

/// The memory.
#[derive(Default)]
pub(crate) struct Flash(Mutex<Memory>);

impl Flash {
    /// What stands in `part`; empty where nothing was ever written.
    pub(crate) fn read(&self, part: Part) -> Vec<u8> {
        self.memory().parts.get(&part).cloned().unwrap_or_default()
    }

    /// Writes `bytes` at `offset`, one after the other.
    pub(crate) fn write(&self, part: Part, offset: usize, bytes: &[u8]) -> Result<(), PowerLost> {
        let mut memory = self.memory();
        let now = memory.spend(bytes.len());
        let place = memory.parts.entry(part).or_default();
        let end = offset.saturating_add(now);
        if place.len() < end {
            place.resize(end, ERASED);
        }
        for (cell, byte) in place.iter_mut().skip(offset).zip(bytes.iter().take(now)) {
            *cell = *byte;
        }
        if now == bytes.len() { Ok(()) } else { Err(PowerLost) }
    }

    /// Empties `part`. A power cut in between leaves half of it.
    pub(crate) fn erase(&self, part: Part) -> Result<(), PowerLost> {
        let mut memory = self.memory();
        let whole = memory.spend(1) == 1;
        let place = memory.parts.entry(part).or_default();
        place.truncate(if whole { 0 } else { place.len() / 2 });
        if whole { Ok(()) } else { Err(PowerLost) }
    }

    /// Turns one bit around, as a worn cell or an attacker would; tells whether there is such a bit.
    pub(crate) fn flip_bit(&self, part: Part, bit: usize) -> bool {
        let mut memory = self.memory();
        let Some(byte) = memory.parts.get_mut(&part).and_then(|bytes| bytes.get_mut(bit / 8)) else {
            return false;
        };
        *byte ^= 1 << (bit % 8);
        true
    }

    /// The power goes when so many more bytes have been written.
    #[cfg(test)]
    pub(crate) fn cut_power_after(&self, bytes: usize) {
        self.memory().power = Some(bytes);
    }

    /// Another memory with the same bytes.
    #[cfg(test)]
    pub(crate) fn duplicate(&self) -> Self {
        let parts = self.memory().parts.clone();
        Self(Mutex::new(Memory { parts, ..Memory::default() }))
    }

    /// Bytes that were written so far.
    #[cfg(test)]
    pub(crate) fn written(&self) -> usize {
        self.memory().written
    }

    /// The power is back.
    pub(crate) fn power_on(&self) {
        self.memory().power = None;
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // A write that was not finished is what this memory is about.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_before_a_cut_stays_and_nothing_comes_after_it() {
        let flash = Flash::default();
        flash.write(Part::Loader, 0, b"abcdef").unwrap();
        flash.cut_power_after(2);
        assert_eq!(flash.write(Part::Loader, 1, b"XYZ"), Err(PowerLost));
        assert_eq!(flash.write(Part::Loader, 0, b"Q"), Err(PowerLost));
        assert_eq!(flash.erase(Part::Loader), Err(PowerLost));
        flash.power_on();
        assert_eq!(flash.read(Part::Loader), b"aXY", "half of it is erased");
        flash.erase(Part::Loader).unwrap();
        flash.write(Part::Loader, 2, b"!").unwrap();
        assert_eq!(flash.read(Part::Loader), [0xFF, 0xFF, b'!']);
    }

    #[test]
    fn a_bit_is_flipped_where_there_is_one() {
        let flash = Flash::default();
        flash.write(Part::Slot(Slot::A), 0, &[0, 0]).unwrap();
        assert!(flash.flip_bit(Part::Slot(Slot::A), 9));
        assert_eq!(flash.read(Part::Slot(Slot::A)), [0, 2]);
        assert!(!flash.flip_bit(Part::Slot(Slot::A), 16) && !flash.flip_bit(Part::Slot(Slot::B), 0));
    }
}
