//! A chip that is a TPM 2.0: swtpm, in a process and a temporary directory of its own, provisioned by the FTM provider.
//!
//! The chip key is the TPM's identity key, the counters are the TPM's, device keys are born in it. It has power whenever
//! the device has; a start of the device is a reset of the TPM.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use biosim_swtpm::Swtpm;
use biotrust_certs::{TestPki, certificates};
use biotrust_driver_api::{Ftm as _, FtmError, KeyHandle};
use biotrust_ftm_tpm::{Options, TpmFtm};
use biotrust_model::time::UtcMillis;

use super::provision::provision;
use super::{Chip, ChipError, Counters, DeviceKey, Made};

/// TPMs are made one after the other. The TSS opens its connections so that programs which are started meanwhile inherit
/// them; a TPM serves one connection at a time, and would wait for the end of one that nobody uses.
static MAKING: Mutex<()> = Mutex::new(());

/// The TPM. The order of the members is that of their end: connection, process, files.
struct Tpm {
    ftm: TpmFtm,
    process: Swtpm,
    /// Whether the device has been started with it.
    started: bool,
    /// Numbers the device keys.
    keys: u64,
    _files: tempfile::TempDir,
}

/// The chip.
pub(crate) struct SwtpmChip {
    /// Lives as long as a key in it.
    tpm: Arc<Mutex<Tpm>>,
    public: Vec<u8>,
    chain: Vec<Vec<u8>>,
}

impl SwtpmChip {
    /// Makes a TPM and provisions it: two to four seconds.
    pub(crate) fn new(pki: &TestPki, ftm_serial: &str, from: UtcMillis) -> Result<Self, ChipError> {
        const DOING: &str = "its manufacture";
        let _alone = lock(&MAKING);
        let failed = |why: &dyn std::fmt::Display| ChipError::new(DOING, why);
        let files =
            tempfile::Builder::new().prefix("biosim-tpm-").tempdir().map_err(|error| failed(&error))?;
        let process =
            Swtpm::manufacture(&files.path().join("tpm")).map_err(|error| failed(&format!("{error:#}")))?;
        let maker = process.ek_ca_pem().map_err(|error| failed(&format!("{error:#}")))?;
        let maker = certificates(maker.as_bytes()).map_err(|(_, problem)| failed(&problem))?;
        let maker =
            maker.first().ok_or_else(|| failed(&"the TPM's maker has no certificate"))?.der().to_vec();
        let options = Options { ek_anchors: vec![maker.clone()], ..Options::new(process.tcti()) };
        let mut ftm = TpmFtm::open(options, &files.path().join("keys")).map_err(|error| failed(&error))?;
        let chain = provision(&mut ftm, &maker, pki, ftm_serial, from)?;
        let public = ftm.identity_public_key().map_err(|error| failed(&error))?;
        let tpm = Tpm { ftm, process, started: false, keys: 0, _files: files };
        Ok(Self { tpm: Arc::new(Mutex::new(tpm)), public, chain })
    }

    /// Does something with the TPM.
    fn with<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&mut TpmFtm) -> Result<T, FtmError>,
    ) -> Result<T, ChipError> {
        work(&mut lock(&self.tpm).ftm).map_err(|error| ChipError::new(doing, error))
    }
}

impl Counters for SwtpmChip {
    fn svn_floor(&self) -> Result<u64, ChipError> {
        self.with("reading the floor of versions", TpmFtm::svn_floor)
    }

    fn raise_svn_floor(&self, to: u64) -> Result<(), ChipError> {
        self.with("raising the floor of versions", |tpm| tpm.raise_svn_floor(to))
    }

    fn failed_attempts(&self) -> Result<u32, ChipError> {
        let count = self.with("reading the count of attempts", TpmFtm::failures)?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    fn count_failed_attempt(&self) -> Result<(), ChipError> {
        self.with("counting an attempt", TpmFtm::count_failure).map(drop)
    }

    fn clear_failed_attempts(&self) -> Result<(), ChipError> {
        self.with("clearing the count of attempts", TpmFtm::clear_failures)
    }

    fn count_boot(&self) -> Result<u64, ChipError> {
        const DOING: &str = "its start";
        let mut tpm = lock(&self.tpm);
        // The connection is made anew by itself.
        if std::mem::replace(&mut tpm.started, true) {
            tpm.process.power_cycle().map_err(|error| ChipError::new(DOING, format!("{error:#}")))?;
        }
        let clock = tpm.ftm.clock().map_err(|error| ChipError::new(DOING, error))?;
        Ok(clock.resets.into())
    }
}

impl Chip for SwtpmChip {
    fn public_key_der(&self) -> &[u8] {
        &self.public
    }

    fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    fn sign_rs256(&self, message: &[u8]) -> Result<Vec<u8>, ChipError> {
        self.with("signing", |tpm| tpm.sign_identity_rs256(message))
    }

    fn make_key(&self, common_name: &str, organisation: &str) -> Result<Made, ChipError> {
        let mut tpm = lock(&self.tpm);
        // Each key has a name of its own, so that the one before can go on while somebody holds it.
        tpm.keys += 1;
        let name = format!("device-{}", tpm.keys);
        let made = make(&mut tpm.ftm, &name, common_name, organisation);
        let (csr, handle) = made.map_err(|error| ChipError::new("making a key", error))?;
        let public = handle.public_key_der().to_vec();
        let key = TpmKey { name, public, handle: Mutex::new(handle), tpm: Arc::clone(&self.tpm) };
        Ok(Made { key: Arc::new(key), csr })
    }

    fn make_ahead(&self) -> Result<(), ChipError> {
        self.with("making a key", |tpm| tpm.idle()).map(drop)
    }

    fn counters(&self) -> &dyn Counters {
        self
    }
}

/// A new device key under `name`, and the request for its certificate.
fn make(
    ftm: &mut TpmFtm,
    name: &str,
    common_name: &str,
    organisation: &str,
) -> Result<(Vec<u8>, Box<dyn KeyHandle>), FtmError> {
    let csr = ftm.begin_rotation(name, common_name, organisation)?;
    ftm.finish_rotation(name)?;
    Ok((csr, ftm.load(name)?))
}

/// A device key in the TPM.
struct TpmKey {
    name: String,
    public: Vec<u8>,
    /// Ends before the connection that it shares.
    handle: Mutex<Box<dyn KeyHandle>>,
    tpm: Arc<Mutex<Tpm>>,
}

impl DeviceKey for TpmKey {
    fn public_key_der(&self) -> &[u8] {
        &self.public
    }

    fn sign_rs256(&self, message: &[u8]) -> Result<Vec<u8>, ChipError> {
        lock(&self.handle).sign_rs256(message).map_err(|error| ChipError::new("signing", error))
    }
}

impl Drop for TpmKey {
    /// Nobody can load it again. If that fails, it ends with the directory of the chip.
    fn drop(&mut self) {
        let _ = lock(&self.tpm).ftm.destroy(&self.name);
    }
}

/// The TPM makes whole steps or none.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
