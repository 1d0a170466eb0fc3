//! A virtual reader in this process, and the driver on it.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use biosim_hardware::uru4000::{Fault, Uru4000};
use biosim_image::Subject;
use biosim_usbip::{Connection, Faulty, Gadget, LocalPort, Switch};
use biotrust_driver_api::{
    Cancel, CaptureJob, CaptureOutcome, CapturedImage, DeviceError, DeviceEvent, DriverFactory, Found,
    L0Device, Opened, Port, Value,
};
use biotrust_imaging::Gray;
use biotrust_model::time::SystemClock;
use biotrust_model::{BioSubType, Env, Purpose, Score, SubId};
use biotrust_uru4000::Uru4000Factory;

/// A driver's time to open.
pub(crate) const OPEN: Duration = Duration::from_secs(10);

/// The print that is laid on readers, 500 dpi, upright; poor ones score below 100.
pub(crate) fn print(quality: f32) -> Gray {
    static SUBJECT: OnceLock<Subject> = OnceLock::new();
    let subject = SUBJECT.get_or_init(|| Subject::new(11, None));
    subject.finger(BioSubType::LeftThumb, 1, quality).unwrap()
}

/// A reader that can be plugged in.
pub(crate) struct Rig {
    pub(crate) gadget: Gadget<Faulty<Uru4000>>,
    pub(crate) switch: Switch,
    pub(crate) factory: Uru4000Factory,
}

/// The driver on it.
pub(crate) struct Plugged {
    pub(crate) device: Arc<dyn L0Device>,
    pub(crate) gone: Arc<Mutex<Vec<DeviceError>>>,
    pub(crate) connection: Connection,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let (faulty, switch) = Faulty::new(Uru4000::new(""));
        let factory = Uru4000Factory::new(Arc::new(SystemClock));
        Self { gadget: Gadget::new(faulty).unwrap(), switch, factory }
    }

    /// As it stands in the quirk file.
    pub(crate) fn found() -> Found {
        let mut found = Found::line("usb:1-1");
        found.quirks.name = "uru4500".into();
        found.quirks.settings.insert("dpi".into(), Value::Number(512));
        found.quirks.settings.insert("turned".into(), Value::Flag(true));
        found
    }

    pub(crate) fn try_plug(&self, found: &Found) -> Result<Plugged, DeviceError> {
        let (port, connection) = LocalPort::plug(&self.gadget).unwrap();
        let gone: Arc<Mutex<Vec<DeviceError>>> = Arc::default();
        let lost = Arc::clone(&gone);
        let sink = Box::new(move |event| {
            if let DeviceEvent::Gone(error) = event {
                lost.lock().unwrap().push(error);
            }
        });
        match self.factory.open(Port::Usb(Box::new(port)), found, sink, OPEN)? {
            Opened::L0(device) => Ok(Plugged { device, gone, connection }),
            Opened::L1(_) => panic!("a plain reader is never L1"),
        }
    }

    pub(crate) fn plug(&self) -> Plugged {
        self.try_plug(&Self::found()).unwrap()
    }

    pub(crate) fn press(&self) {
        self.gadget.with(|reader| reader.device().press(print(1.0)));
    }

    pub(crate) fn press_poorly(&self) {
        self.gadget.with(|reader| reader.device().press(print(0.6)));
    }

    pub(crate) fn lift(&self) {
        self.gadget.with(|reader| reader.device().lift());
    }

    pub(crate) fn fault(&self, fault: Option<Fault>) {
        self.gadget.with(|reader| reader.device().set_fault(fault));
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.gadget.with(|reader| reader.device().is_idle())
    }

    pub(crate) fn images(&self) -> u64 {
        self.gadget.with(|reader| reader.device().images())
    }

    /// Waits until the driver has the reader wait for a finger.
    pub(crate) fn await_waiting(&self) {
        eventually(|| self.gadget.with(|reader| reader.device().awaits_finger()));
    }
}

/// Waits until it is so.
pub(crate) fn eventually(mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !so() {
        assert!(Instant::now() < end, "it does not become so");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A capture of one finger.
pub(crate) fn job(within: Duration, score: f32) -> CaptureJob {
    CaptureJob {
        parts: vec![BioSubType::LeftThumb],
        exceptions: Vec::new(),
        sub_id: SubId(0),
        requested_score: Score::clamped(score),
        requested_score_text: score.to_string(),
        finish_within: within,
        purpose: Purpose::Auth,
        auth: None,
        transaction_id: "t".into(),
        env: Env::Developer,
        spec_version: "0.9.5".into(),
        service_version: "0".into(),
        previous_hash: [0; 32],
        append_chip_certificate: false,
        digital_id_key: Default::default(),
    }
}

impl Plugged {
    pub(crate) fn capture(&self, within: Duration) -> Result<CaptureOutcome<CapturedImage>, DeviceError> {
        self.device.capture(&job(within, 40.0), &Cancel::new())
    }

    /// The one image of a capture that must succeed.
    pub(crate) fn image(&self, within: Duration) -> CapturedImage {
        match self.capture(within) {
            Ok(CaptureOutcome::Done { mut parts, .. }) => parts.remove(0),
            other => panic!("no image: {other:?}"),
        }
    }
}
