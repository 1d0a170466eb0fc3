//! What the tests over a pseudo-terminal share: a provider, a device on its line, and the host's handle on it.

#![allow(dead_code, reason = "each test crate takes what it needs")]

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use biosim_image::Subject;
use biosim_scanner::{
    CalibratedSubject, Factory, Kind, Maker, Options, Scene, Spec, VirtualDevice, Workshop,
};
use biotrust_certs::TestPki;
use biotrust_driver_api::{Cancel, DeviceEvent, DriverFactory, Found, L1Device, Opened, Port};
use biotrust_link::LinkFactory;
use biotrust_model::time::{Clock, SystemClock};
use biotrust_model::{DeviceIdentity, Level, Purpose};
use biotrust_pipe::SerialPipe;

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What all tests share: keys cost time.
pub(crate) fn workshop() -> &'static Workshop {
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

pub(crate) fn identity(kind: Kind) -> DeviceIdentity {
    let spec = Spec { kind, level: Level::L1, purpose: Purpose::Registration };
    spec.description(7, &workshop().maker).identity
}

/// An L1 device and the host's handle on it.
pub(crate) struct Bench {
    pub(crate) device: VirtualDevice,
    pub(crate) host: Arc<dyn L1Device>,
    pub(crate) events: Receiver<DeviceEvent>,
    links: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new(kind: Kind, options: &Options) -> Self {
        let spec = Spec { kind, level: Level::L1, purpose: Purpose::Registration };
        let device = VirtualDevice::build_with(spec, options, workshop()).unwrap();
        let links = tempfile::tempdir().unwrap();
        device.plug(links.path()).unwrap();
        let (host, events) = open(&link(links.path(), &device));
        Self { device, host, events, links }
    }

    /// Opens the device again after it was gone.
    pub(crate) fn reopen(&mut self) {
        let path = link(self.links.path(), &self.device);
        let deadline = Instant::now() + PATIENCE;
        while !self.device.is_plugged() || std::fs::symlink_metadata(&path).is_err() {
            assert!(Instant::now() < deadline, "it does not come back");
            let _ = Cancel::new().wait(Duration::from_millis(10));
        }
        (self.host, self.events) = open(&path);
    }

    pub(crate) fn power_cycle(&mut self) {
        self.device.power_cycle().unwrap();
        self.reopen();
    }
}

fn link(links: &Path, device: &VirtualDevice) -> PathBuf {
    links.join(format!("{}.tty", device.serial()))
}

fn open(path: &Path) -> (Arc<dyn L1Device>, Receiver<DeviceEvent>) {
    let (sender, events) = channel();
    let pipe = SerialPipe::open(path).unwrap();
    let factory = LinkFactory::new(Arc::new(SystemClock));
    let sink = Box::new(move |event| drop(sender.send(event)));
    match factory.open(Port::Serial(Box::new(pipe)), &Found::line(path), sink, PATIENCE).unwrap() {
        Opened::L1(host) => (host, events),
        Opened::L0(_) => panic!("L0"),
    }
}
