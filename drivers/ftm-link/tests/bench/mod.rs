//! What the tests share: a provider, a module on its line, reports in memory, and checks of signatures and requests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // helpers of tests fail like tests

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use biosim_hardware::link::LinkOnUsb;
use biosim_image::Subject;
use biosim_scanner::{CalibratedSubject, Factory, Maker, ModuleDevice, Scene, Workshop};
use biosim_usbip::{Connection, Gadget, Identity, LocalPort};
use biotrust_certs::{Csr, TestPki};
pub(crate) use biotrust_driver_api::conformance::Verifier;
use biotrust_driver_api::{
    Bus, Found, FtmError, HidPort, Node, Pipe, PipeError, PipeErrorKind, Port, Quirks,
};
use biotrust_ftm_link::{Connect, FtmLink};
use biotrust_link::{Framing, hid};
use biotrust_model::time::{Clock as _, SystemClock};
use biotrust_pipe::SerialPipe;

pub(crate) struct AwsLc;

impl Verifier for AwsLc {
    fn verifies(&self, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, spki).verify(message, signature).is_ok()
    }

    fn csr_key(&self, csr: &[u8]) -> Option<Vec<u8>> {
        Csr::verify(csr).ok().map(|csr| csr.spki_der().to_vec())
    }
}

pub(crate) fn pki() -> &'static TestPki {
    &workshop().pki
}

pub(crate) fn maker() -> Maker {
    Maker { provider: "Example Devices Ltd".into(), provider_id: "EXAMPLE".into() }
}

/// What all tests share: keys cost time.
pub(crate) fn workshop() -> &'static Workshop {
    static SHARED: OnceLock<Workshop> = OnceLock::new();
    SHARED.get_or_init(|| {
        let pki = Arc::new(TestPki::mint(TestPki::DEFAULT_SPEC, SystemClock.now()).unwrap());
        Workshop {
            seed: 7,
            maker: maker(),
            subject: Arc::new(CalibratedSubject::new(Subject::new(7, None))),
            scene: Scene::default(),
            pki: Arc::clone(&pki),
            clock: Arc::new(SystemClock),
            factory: Arc::new(Factory::new(pki, Arc::new(SystemClock))),
        }
    })
}

/// A module on a pseudo-terminal.
pub(crate) struct Bench {
    pub(crate) module: ModuleDevice,
    pub(crate) links: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new(serial: &str) -> Self {
        let module = ModuleDevice::build(serial, pki(), &SystemClock).unwrap();
        let bench = Self { module, links: tempfile::tempdir().unwrap() };
        bench.plug();
        bench
    }

    pub(crate) fn plug(&self) {
        self.module.plug(self.links.path()).unwrap();
    }

    pub(crate) fn open(&self) -> Result<FtmLink, FtmError> {
        let place = self.links.path().join(format!("{}.tty", self.module.serial()));
        FtmLink::open(serial_connect(&place), serial_found(&place))
    }
}

pub(crate) fn serial_found(place: &Path) -> Found {
    Found::line(place)
}

/// Opens the line at `place` each time.
pub(crate) fn serial_connect(place: &Path) -> Connect {
    let place: PathBuf = place.to_owned();
    Box::new(move || SerialPipe::open(&place).map(|line| Port::Serial(Box::new(line))))
}

// --- USB ---------------------------------------------------------------------------------------------------------

pub(crate) fn usb_found() -> Found {
    let node =
        Node { bus: Bus::Usb, place: "usb:1-1".into(), path: "/dev/test".into(), usb: None, driver: None };
    Found { node, quirks: Quirks::default() }
}

/// Plugs the module into a virtual USB port, for as long as the connection lives.
pub(crate) fn usb_connect(module: &ModuleDevice) -> (Connect, Connection) {
    let cable = Gadget::new(LinkOnUsb::bulk(&Identity::default())).unwrap();
    module.attach(cable.with(LinkOnUsb::line), Framing::Usb).unwrap();
    let (port, connection) = LocalPort::plug(&cable).unwrap();
    (Box::new(move || Ok(Port::Usb(Box::new(port.clone())))), connection)
}

// --- reports in memory ------------------------------------------------------------------------------------------

pub(crate) fn hid_found() -> Found {
    let node =
        Node { bus: Bus::Hid, place: "hid:1-1".into(), path: "/dev/hidraw9".into(), usb: None, driver: None };
    Found { node, quirks: Quirks::default() }
}

/// Plugs the module into reports each time.
pub(crate) fn hid_connect(module: &ModuleDevice) -> Connect {
    let ((to_module, at_module), (to_host, at_host)) = (channel(), channel());
    module
        .attach(Box::new(Reports { to: to_host, from: Arc::new(Mutex::new(at_module)) }), Framing::Hid)
        .unwrap();
    let host = Reports { to: to_module, from: Arc::new(Mutex::new(at_host)) };
    Box::new(move || Ok(Port::Hid(Box::new(host.clone()))))
}

/// One end of a HID cable.
#[derive(Clone)]
struct Reports {
    to: Sender<Vec<u8>>,
    from: Arc<Mutex<Receiver<Vec<u8>>>>,
}

fn error(kind: PipeErrorKind) -> PipeError {
    PipeError { kind, os: None, doing: "using reports".into() }
}

impl Reports {
    fn receive(&self, buffer: &mut [u8], timeout: Duration) -> Result<usize, PipeError> {
        let report = self.from.lock().unwrap().recv_timeout(timeout).map_err(|why| match why {
            RecvTimeoutError::Timeout => error(PipeErrorKind::TimedOut),
            RecvTimeoutError::Disconnected => error(PipeErrorKind::Gone),
        })?;
        buffer[..report.len()].copy_from_slice(&report);
        Ok(report.len())
    }

    fn send(&self, report: &[u8]) -> Result<(), PipeError> {
        assert_eq!((report.len(), report[0]), (hid::REPORT, hid::REPORT_ID));
        self.to.send(report.to_vec()).map_err(|_| error(PipeErrorKind::Gone))
    }
}

impl Pipe for Reports {
    fn read(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, PipeError> {
        self.receive(buffer, timeout)
    }

    fn write_all(&mut self, bytes: &[u8], _: Duration) -> Result<(), PipeError> {
        self.send(bytes)
    }

    fn try_clone(&self) -> Result<Box<dyn Pipe>, PipeError> {
        Ok(Box::new(self.clone()))
    }

    fn name(&self) -> &str {
        "hid"
    }
}

impl HidPort for Reports {
    fn name(&self) -> &str {
        "hid"
    }

    fn read_report(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, PipeError> {
        self.receive(buffer, timeout)
    }

    fn write_report(&mut self, report: &[u8], _: Duration) -> Result<(), PipeError> {
        self.send(report)
    }

    fn feature(&mut self, _: &mut [u8], _: Duration) -> Result<usize, PipeError> {
        Err(error(PipeErrorKind::Stalled))
    }

    fn set_feature(&mut self, _: &[u8], _: Duration) -> Result<(), PipeError> {
        Err(error(PipeErrorKind::Stalled))
    }

    fn descriptor(&mut self) -> Result<Vec<u8>, PipeError> {
        Ok(hid::descriptor(hid::USAGE_MODULE))
    }

    fn try_clone(&self) -> Result<Box<dyn HidPort>, PipeError> {
        Ok(Box::new(self.clone()))
    }
}
