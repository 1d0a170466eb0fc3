//! A chip whose key and counters are in the memory of this process: what the other kind is measured against.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Chip, ChipError, Counters};
use crate::ftm::FtmKey;

#[derive(Default, Clone, Copy)]
struct State {
    svn_floor: u64,
    failed_attempts: u32,
    boots: u64,
}

/// Counters that live as long as the device, whatever is done to its power and its flash.
#[derive(Default)]
pub(crate) struct SoftwareCounters(Mutex<State>);

/// The chip.
pub(crate) struct SoftwareChip {
    key: FtmKey,
    public: Vec<u8>,
    counters: SoftwareCounters,
}

impl SoftwareChip {
    /// First start of a chip: makes its key (50 to 150 ms of CPU).
    pub(crate) fn new() -> Result<Self, ChipError> {
        let key = FtmKey::generate().map_err(|error| ChipError::new("its first start", error))?;
        let public = key.spki_der();
        Ok(Self { key, public, counters: SoftwareCounters::default() })
    }
}

impl SoftwareCounters {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counters for SoftwareCounters {
    fn svn_floor(&self) -> Result<u64, ChipError> {
        Ok(self.state().svn_floor)
    }

    fn raise_svn_floor(&self, to: u64) -> Result<(), ChipError> {
        let mut state = self.state();
        state.svn_floor = state.svn_floor.max(to);
        Ok(())
    }

    fn failed_attempts(&self) -> Result<u32, ChipError> {
        Ok(self.state().failed_attempts)
    }

    fn count_failed_attempt(&self) -> Result<(), ChipError> {
        let mut state = self.state();
        state.failed_attempts = state.failed_attempts.saturating_add(1);
        Ok(())
    }

    fn clear_failed_attempts(&self) -> Result<(), ChipError> {
        self.state().failed_attempts = 0;
        Ok(())
    }

    fn count_boot(&self) -> Result<u64, ChipError> {
        let mut state = self.state();
        state.boots += 1;
        Ok(state.boots)
    }
}

impl Chip for SoftwareChip {
    fn public_key_der(&self) -> &[u8] {
        &self.public
    }

    fn sign_rs256(&self, message: &[u8]) -> Result<Vec<u8>, ChipError> {
        self.key.sign_rs256(message).map_err(|error| ChipError::new("signing", error))
    }

    fn counters(&self) -> &dyn Counters {
        &self.counters
    }
}
