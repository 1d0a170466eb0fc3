//! The fleet with virtual L1 devices on real lines: what they must prove, what becomes of those that do not, and what a
//! management client can do with them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    missing_docs,
    unreachable_pub,
    reason = "tests may panic"
)]

mod attestation;
mod host;
mod management;
mod memory;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use biosim_image::Subject;
use biosim_scanner::{
    CalibratedSubject, Factory, Kind, Maker, Options, Release, Scene, Spec, VirtualDevice, Workshop,
};
use biotrust_attest::metadata::{self, Document, Metadata};
use biotrust_attest::signed::{self, Signer};
use biotrust_certs::{SignerPurpose, TestPki};
use biotrust_daemon::catalog::{FtmSettings, drivers, host_ftm};
use biotrust_daemon::control::WaitFor;
use biotrust_daemon::fleet::{Attestation, Encryption, Fleet, Settings, Sources, Trust};
use biotrust_daemon::store::Store;
use biotrust_model::time::{Clock, SystemClock};
use biotrust_model::{DeviceStatus, Env, Language, Level, Purpose};
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything takes, also on a machine that has other things to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What all tests share: keys cost time.
pub fn workshop() -> &'static Workshop {
    static SHARED: OnceLock<Workshop> = OnceLock::new();
    SHARED.get_or_init(|| {
        let pki = Arc::new(TestPki::mint(TestPki::DEFAULT_SPEC, SystemClock.now()).unwrap());
        Workshop {
            seed: 7,
            maker: Maker { provider: "Example Devices Ltd".into(), provider_id: "EXAMPLE".into() },
            subject: Arc::new(CalibratedSubject::new(Subject::new(7, None))),
            scene: Scene::default(),
            pki: Arc::clone(&pki),
            clock: Arc::new(SystemClock),
            factory: Arc::new(Factory::new(pki, Arc::new(SystemClock))),
        }
    })
}

/// A device, not plugged in.
pub fn built(purpose: Purpose, options: &Options) -> VirtualDevice {
    let kind = if purpose == Purpose::Auth { Kind::SingleFinger } else { Kind::Face };
    VirtualDevice::build_with(Spec { kind, level: Level::L1, purpose }, options, workshop()).unwrap()
}

/// What the adopter says: these releases of the face camera, at this level.
pub fn models(level: Level) -> Metadata {
    let (now, pki) = (SystemClock.now(), &workshop().pki);
    let releases = [Release::outdated(), Release::current(), Release::next()];
    let identity = built(Purpose::Registration, &Options::default()).description().identity;
    let mut model = workshop().factory.model(&identity, &releases, 1).unwrap();
    model.level = level;
    let document = Document {
        number: 1,
        issued_at: now,
        next_update: now.plus(Duration::from_secs(86_400)),
        models: vec![model],
    };
    let signer = pki.signer(SignerPurpose::Metadata, now).unwrap();
    let unsigned =
        signed::prepare(metadata::TYP, &Signer::Chain(&signer.chain), &document.to_json()).unwrap();
    let signature = signer.sign_rs256(unsigned.signing_input());
    Metadata::verify(&unsigned.attach(&signature), &pki.adopter_store().unwrap(), now, 0).unwrap()
}

/// A fleet over directories of its own.
pub struct Host {
    pub fleet: Fleet,
    pub links: TempDir,
    pub state: TempDir,
}

pub fn settings() -> Settings {
    Settings {
        purpose: None,
        env: Env::Developer,
        language: Language::En,
        allow_l0_auth: false,
        digital_id_key: Default::default(),
        append_chip_certificate: true,
        finish_margin: Duration::from_millis(400),
        answer_early: Duration::ZERO,
        info_reuse: Duration::ZERO,
        hard_ceiling: None,
        streams_per_device: 1,
        callback_id: "http://127.0.0.1:4501/".into(),
        attestation: Attestation::default(),
        require_time: false,
    }
}

impl Host {
    pub fn start(models: Option<Metadata>) -> Self {
        Self::start_with(settings(), models, TempDir::new().unwrap())
    }

    pub fn start_with(settings: Settings, models: Option<Metadata>, state: TempDir) -> Self {
        Self::start_on(&FtmSettings::Software { seal: None }, settings, models, state)
    }

    pub fn start_on(ftm: &FtmSettings, settings: Settings, models: Option<Metadata>, state: TempDir) -> Self {
        let pki = &workshop().pki;
        let trust = Trust {
            device: pki.store().unwrap(),
            ftm: pki.store().unwrap(),
            encryption: Encryption::default(),
            models,
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = Store::open(state.path()).unwrap();
        let ftm = host_ftm(state.path(), ftm).unwrap();
        let fleet = Fleet::new(settings, trust, store, ftm, drivers(&clock), clock).unwrap();
        let links = TempDir::new().unwrap();
        fleet.watch(Sources { links: Some(links.path().to_owned()), ..Sources::default() }).unwrap();
        Self { fleet, links, state }
    }

    /// Ends it; the state stays.
    pub async fn stop(self) -> TempDir {
        self.fleet.stop();
        self.fleet.closed(PATIENCE).await;
        self.state
    }

    pub fn plug(&self, device: &VirtualDevice) {
        device.plug(self.links.path()).unwrap();
    }

    pub async fn until(&self, serial: &str, status: DeviceStatus) {
        let wanted = WaitFor {
            serial: serial.to_owned(),
            present: Some(true),
            status: Some(status),
            certificate_sha256: None,
        };
        let waited = self.fleet.wait(&wanted, PATIENCE).await;
        assert!(waited.is_ok(), "{waited:?}: {:#}", self.fleet.status());
    }

    /// Waits until it is decided about the device; what status says of it then.
    pub async fn decided(&self, serial: &str) -> Value {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let device = self.shown(serial);
            let reason = device["reason"].as_str().unwrap_or_default().to_owned();
            let open = ["being opened", "being checked"].iter().any(|word| reason.contains(word));
            if device.is_object() && !open {
                return device;
            }
            assert!(std::time::Instant::now() < deadline, "undecided: {device:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What status says of a device.
    pub fn shown(&self, serial: &str) -> Value {
        let status = self.fleet.status();
        let devices = status.as_array().cloned().unwrap_or_default();
        devices.into_iter().find(|device| device["serial"] == serial).unwrap_or_default()
    }

    /// Its signed device info and the digital ID in it, each with the certificate that signed it.
    pub async fn info(&self, serial: &str) -> Option<[(Vec<u8>, Value); 2]> {
        let body = self.fleet.info(false).await;
        let answer: Value = serde_json::from_slice(&body).unwrap();
        let signed = answer.as_array()?.iter().filter_map(|entry| entry["deviceInfo"].as_str());
        signed.filter(|jws| jws.contains('.')).find_map(|jws| {
            let info = signer(jws);
            let id = signer(info.1["digitalId"].as_str()?);
            (id.1["serialNo"] == serial).then_some([info, id])
        })
    }
}

/// The certificate that signed `compact`, which must be good, and the payload.
pub fn signer(compact: &str) -> (Vec<u8>, Value) {
    let parsed = biotrust_sbi::jws::parse(compact).unwrap();
    parsed.verify().unwrap();
    (parsed.x5c[0].clone(), serde_json::from_slice(&parsed.payload).unwrap())
}
