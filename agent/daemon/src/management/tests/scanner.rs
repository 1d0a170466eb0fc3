//! One plain scanner whose keys are real ones of this host, without the fleet around it.

use std::path::Path;
use std::sync::Mutex;

use biotrust_attest::Challenge;
use biotrust_attest::evidence::{self, Claims};
use biotrust_attest::signed::{self, Signer};
use biotrust_certs::{Certificate, sha256_hex};
use biotrust_driver_api::{DeviceClock, FirmwareState, Ftm, FtmError};
use biotrust_model::evidence::Proof;
use biotrust_model::time::{Clock as _, SystemClock};
use biotrust_model::{DeviceIdentity, DeviceStatus, DeviceSubType, Level, Modality, Purpose};
use biotrust_sbi::digital_id::DigitalId;
use bytes::Bytes;
use tokio::sync::watch;

use crate::catalog::{FtmSettings, host_ftm};
use crate::fleet::{ManageError, ManagedDevice, Presentation, Rotated};
use crate::management::hands::Hands;

pub(super) const SERIAL: &str = "SERIAL000001";
const KEY: &str = "BT0123456789";

pub(super) struct Scanner {
    ftm: Mutex<Box<dyn Ftm>>,
    identity: DeviceIdentity,
    chain: Mutex<Vec<Vec<u8>>>,
    held: Mutex<Option<String>>,
    plugged: watch::Sender<(bool, u64)>,
    changes: watch::Sender<u64>,
    /// Fails the next installation, as a full disk would.
    pub(super) fail_install: Mutex<bool>,
}

impl Scanner {
    pub(super) fn new(state: &Path, provider: &str) -> Self {
        let ftm = host_ftm(state, &FtmSettings::Software { seal: None }).unwrap();
        let chain = std::fs::read(state.join("chain.json")).ok();
        let chain = chain.map(|bytes| serde_json::from_slice(&bytes).unwrap()).unwrap_or_default();
        Self {
            ftm: Mutex::new(ftm),
            identity: DeviceIdentity {
                serial_no: SERIAL.into(),
                make: "M".into(),
                model: "X".into(),
                modality: Modality::Finger,
                device_sub_type: DeviceSubType::Single,
                device_provider: provider.into(),
                device_provider_id: "P".into(),
            },
            chain: Mutex::new(chain),
            held: Mutex::default(),
            plugged: watch::Sender::new((true, 1)),
            changes: watch::Sender::new(0),
            fail_install: Mutex::new(false),
        }
    }

    /// What survives a restart: the chain, beside the keys.
    pub(super) fn save(&self, state: &Path) {
        let chain = serde_json::to_vec(&*self.chain.lock().unwrap()).unwrap();
        std::fs::write(state.join("chain.json"), chain).unwrap();
    }

    pub(super) fn certificate(&self) -> Option<String> {
        self.chain.lock().unwrap().first().map(|der| sha256_hex(der))
    }

    pub(super) fn held(&self) -> Option<String> {
        self.held.lock().unwrap().clone()
    }

    pub(super) fn plug(&self, plugged: bool) {
        self.plugged.send_modify(|now| *now = (plugged, now.1 + u64::from(plugged)));
        self.changed();
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn sign_as(&self, typ: &str, payload: &str) -> Result<String, ManageError> {
        let mut ftm = self.ftm.lock().unwrap();
        let chain = self.chain.lock().unwrap().clone();
        if chain.is_empty() {
            let spki = ftm.next_public_key(KEY)?.ok_or(ManageError::NotRegistered("no key"))?;
            let unsigned = signed::prepare(typ, &Signer::Key(&spki), payload).unwrap();
            let signature = ftm.sign_next_rs256(KEY, unsigned.signing_input())?;
            return Ok(unsigned.attach(&signature));
        }
        let unsigned = signed::prepare(typ, &Signer::Chain(&chain), payload).unwrap();
        let signature = ftm.load(KEY)?.sign_rs256(unsigned.signing_input())?;
        Ok(unsigned.attach(&signature))
    }
}

impl Hands for Scanner {
    fn devices(&self) -> Vec<ManagedDevice> {
        let (plugged, session) = *self.plugged.borrow();
        let certificate = self.chain.lock().unwrap().first().map(|der| Certificate::parse(der).unwrap());
        let device = ManagedDevice {
            identity: self.identity.clone(),
            keys_at: Level::L0,
            level: Level::L0,
            purpose: Purpose::Registration,
            firmware: "1.0".into(),
            status: if certificate.is_some() { DeviceStatus::Ready } else { DeviceStatus::NotRegistered },
            problem: None,
            certificate,
            session,
        };
        if plugged { vec![device] } else { Vec::new() }
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn set_held(&self, _: &str, why: Option<&str>) {
        *self.held.lock().unwrap() = why.map(str::to_owned);
    }

    fn notices(&self) -> Vec<String> {
        vec!["a notice".into()]
    }

    async fn begin_rotation(&self, serial: &str) -> Result<Vec<u8>, ManageError> {
        Ok(self.ftm.lock().unwrap().begin_rotation(KEY, serial, &self.identity.device_provider)?)
    }

    async fn prove_next_key(&self, _: &str, challenge: Challenge) -> Result<String, ManageError> {
        let claims = Claims {
            identity: self.identity.clone(),
            level: Level::L0,
            ftm_serial: String::new(),
            firmware: "1.0".into(),
            svn: None,
            boot_count: None,
            debug: None,
        };
        let payload = evidence::payload(&challenge, &claims, &Proof::Software, SystemClock.now());
        let mut ftm = self.ftm.lock().unwrap();
        let spki = ftm.next_public_key(KEY)?.ok_or(ManageError::NotRegistered("no key"))?;
        let unsigned = signed::prepare(evidence::TYP, &Signer::Key(&spki), &payload).unwrap();
        let signature = ftm.sign_next_rs256(KEY, unsigned.signing_input())?;
        Ok(unsigned.attach(&signature))
    }

    async fn sign(&self, _: &str, payload: String) -> Result<String, ManageError> {
        self.sign_as("mgmt+jwt", &payload)
    }

    async fn digital_id(&self, _: &str) -> Result<Presentation, ManageError> {
        let digital_id = DigitalId::at(self.identity.clone(), SystemClock.now());
        let chain = self.chain.lock().unwrap().clone();
        if chain.is_empty() {
            return Ok(Presentation::Plain(digital_id.to_json()));
        }
        let unsigned = digital_id.prepare(&chain);
        let signature = self.ftm.lock().unwrap().load(KEY)?.sign_rs256(unsigned.signing_input())?;
        Ok(Presentation::Signed(unsigned.attach(&signature)))
    }

    async fn finish_rotation(&self, _: &str, chain: Vec<Vec<u8>>) -> Result<Rotated, ManageError> {
        if std::mem::take(&mut *self.fail_install.lock().unwrap()) {
            return Err(ManageError::Internal("the disk is full".into()));
        }
        let next = self.ftm.lock().unwrap().next_public_key(KEY)?;
        let leaf = Certificate::parse(&chain[0]).unwrap();
        if next.as_deref() != Some(leaf.spki_der()) {
            return Err(ManageError::Certificate("it is for another key".into()));
        }
        self.ftm.lock().unwrap().finish_rotation(KEY)?;
        let before = std::mem::replace(&mut *self.chain.lock().unwrap(), chain);
        self.changed();
        let before = before.first().map(|der| Certificate::parse(der).unwrap());
        let destroyed = before.map(|before| sha256_hex(before.spki_der()));
        Ok(Rotated { certificate_sha256: leaf.sha256(), destroyed_spki_sha256: destroyed })
    }

    async fn destroy_key(&self, _: &str) -> Result<Option<String>, ManageError> {
        match self.ftm.lock().unwrap().destroy(KEY) {
            Ok(()) | Err(FtmError::NoKey(_)) => {}
            Err(error) => return Err(error.into()),
        }
        self.chain.lock().unwrap().clear();
        self.changed();
        Ok(None)
    }

    async fn clock(&self, _: &str) -> Result<Option<DeviceClock>, ManageError> {
        Ok(None)
    }

    async fn set_clock(&self, _: &str, _: String) -> Result<(), ManageError> {
        Err(ManageError::Unsupported("it has no clock"))
    }

    async fn firmware(&self, _: &str) -> Result<Option<FirmwareState>, ManageError> {
        Ok(None)
    }

    async fn check_update(&self, _: &str, _: String) -> Result<String, ManageError> {
        Err(ManageError::Unsupported("it has no firmware"))
    }

    async fn update(&self, _: &str, _: String, _: Bytes) -> Result<(), ManageError> {
        Err(ManageError::Unsupported("it has no firmware"))
    }
}
