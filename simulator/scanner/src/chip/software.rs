//! A chip whose key and counters are in the memory of this process: what the other kind is measured against.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use biotrust_certs::TestPki;
use biotrust_model::time::UtcMillis;

use super::{CHIP_LIFETIME, Chip, ChipError, Counters, DeviceKey as _, Made, SoftwareKey};

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
    key: SoftwareKey,
    chain: Vec<Vec<u8>>,
    ahead: Mutex<Option<SoftwareKey>>,
    counters: SoftwareCounters,
}

impl SoftwareChip {
    /// First start of a chip: makes its key (50 to 150 ms of CPU), which the FTM provider certifies.
    pub(crate) fn new(pki: &TestPki, ftm_serial: &str, from: UtcMillis) -> Result<Self, ChipError> {
        let key = SoftwareKey::generate()?;
        let chain = pki
            .issue_chip_certificate(key.public_key_der(), ftm_serial, from, CHIP_LIFETIME)
            .map_err(|error| ChipError::new("its provisioning", error))?;
        Ok(Self { key, chain, ahead: Mutex::default(), counters: SoftwareCounters::default() })
    }

    fn ahead(&self) -> MutexGuard<'_, Option<SoftwareKey>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.key.public_key_der()
    }

    fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    fn sign_rs256(&self, message: &[u8]) -> Result<Vec<u8>, ChipError> {
        self.key.sign_rs256(message)
    }

    fn make_key(&self, common_name: &str, organisation: &str) -> Result<Made, ChipError> {
        // The lock is not held while a key is made.
        let ahead = self.ahead().take();
        let key = ahead.map_or_else(SoftwareKey::generate, Ok)?;
        let csr = key.csr(common_name, organisation)?;
        Ok(Made { key: Arc::new(key), csr })
    }

    fn make_ahead(&self) -> Result<(), ChipError> {
        if self.ahead().is_none() {
            let key = SoftwareKey::generate()?;
            self.ahead().get_or_insert(key);
        }
        Ok(())
    }

    fn counters(&self) -> &dyn Counters {
        &self.counters
    }
}
