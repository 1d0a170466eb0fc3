//! Tests only: a fleet over a state directory, with plain scanners that are plugged in without a line.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use biotrust_certs::{Device, Ftm, TestPki};
use biotrust_driver_api::{
    Cancel, CaptureJob, CaptureOutcome, CapturedImage, Description, DeviceError, Found, ImageCodec, L0Device,
    Opened, SelfReport, StreamJob,
};
use biotrust_imaging::Rgb;
use biotrust_imaging::jp2::{Codec, encode_rgb};
use biotrust_model::time::{Clock as _, SystemClock};
use biotrust_model::{
    DeviceIdentity, DeviceStatus, DeviceSubType, Env, Language, Level, Modality, Purpose, Score, Secret,
    SubId,
};

use super::roster::{Origin, Spot};
use super::unit::{Session, Unit};
use super::{Attestation, Encryption, Fleet, Settings, Trust, keys, opening};
use crate::catalog::{FtmSettings, host_ftm};
use crate::store::Store;

/// Policy of the tests: nothing is served twice, so that every answer is signed for itself.
pub(super) fn settings() -> Settings {
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

/// A daemon without devices over what `state` holds; dropping it is the crash.
pub(super) fn started(state: &Path, pki: &TestPki) -> Fleet {
    let trust = Trust {
        device: pki.store::<Device>().unwrap(),
        ftm: pki.store::<Ftm>().unwrap(),
        encryption: Encryption::default(),
        models: None,
    };
    let ftm = host_ftm(state, &FtmSettings::Software { seal: None }).unwrap();
    let store = Store::open(state).unwrap();
    Fleet::new(settings(), trust, store, ftm, Vec::new(), Arc::new(SystemClock)).unwrap()
}

/// A request of the FTM for the key `name`, and a certificate for it.
pub(super) fn certified(fleet: &Fleet, name: &str, pki: &TestPki) -> Vec<Vec<u8>> {
    let request = fleet.0.ftm.begin_rotation(name, "S", "P").blocking_recv().unwrap().unwrap();
    issued(pki, &request)
}

/// What the provider's server answers to a request.
pub(super) fn issued(pki: &TestPki, request: &[u8]) -> Vec<Vec<u8>> {
    pki.issue_device_certificate(request, SystemClock.now(), Duration::from_secs(86_400)).unwrap()
}

/// A camera whose pictures are all the same.
pub(super) struct Camera(Description);

impl Camera {
    pub(super) fn new(pki: &TestPki, serial: &str) -> Self {
        Self(Description {
            identity: DeviceIdentity {
                serial_no: serial.into(),
                make: "Example".into(),
                model: "Plain Camera".into(),
                modality: Modality::Face,
                device_sub_type: DeviceSubType::FullFace,
                device_provider: pki.organisation(biotrust_certs::Domain::Device).into(),
                device_provider_id: "example".into(),
            },
            level: Level::L0,
            purpose: Purpose::Registration,
            firmware: "1.0.0".into(),
            sub_ids: vec![SubId(0)],
        })
    }
}

impl biotrust_driver_api::Device for Camera {
    fn description(&self) -> &Description {
        &self.0
    }
    fn status(&self, _: Duration) -> Result<SelfReport, DeviceError> {
        Ok(SelfReport { status: DeviceStatus::Ready, reason: String::new() })
    }
    fn start_stream(&self, _: StreamJob, _: Duration) -> Result<(), DeviceError> {
        Ok(())
    }
    fn stop_stream(&self, _: Duration) -> Result<(), DeviceError> {
        Ok(())
    }
}

impl L0Device for Camera {
    fn capture(&self, _: &CaptureJob, _: &Cancel) -> Result<CaptureOutcome<CapturedImage>, DeviceError> {
        static PICTURE: LazyLock<Vec<u8>> =
            LazyLock::new(|| encode_rgb(&Rgb::filled(24, 32, 200).unwrap(), Codec::Lossless, None).unwrap());
        let picture = CapturedImage {
            part: None,
            image: Secret::new(PICTURE.clone()),
            codec: ImageCodec::Jpeg2000Lossless,
            width: 24,
            height: 32,
            dpi: 0,
            score: Score::clamped(90.0),
            captured_at: SystemClock.now(),
            iris_geometry: None,
        };
        Ok(CaptureOutcome::Done { parts: vec![picture], reached: true })
    }
}

/// Plugs a camera in. It has no certificate yet.
pub(super) fn plugged(fleet: &Fleet, pki: &TestPki, serial: &str) -> Arc<Unit> {
    let inner = &fleet.0;
    let camera = Camera::new(pki, serial);
    let id = opening::device_id(&camera.0.identity);
    let report = SelfReport { status: DeviceStatus::Ready, reason: String::new() };
    let found = Found::line(serial);
    let unit = Arc::new(Unit::new(Spot { found, driver: None, origin: Origin::Fixed }));
    let opened = Opened::L0(Arc::new(camera));
    unit.open(
        unit.begins_attempt(),
        Arc::new(Session::new(opened, "test", id, inner.next_number(), &inner.open_sessions)),
        report,
    );
    let mut units = Vec::clone(&inner.units());
    units.push(Arc::clone(&unit));
    inner.units.store(Arc::new(units));
    keys::appraise(inner, &unit);
    unit
}
