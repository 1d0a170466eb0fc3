//! A reference device on USB: over bulk endpoints, through USB/IP, driven by the host's own link driver.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may panic, as tests may")]

mod bench;

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use biosim_hardware::link::LinkOnUsb;
use biosim_scanner::{Kind, Options, Spec, VirtualDevice};
use biosim_usbip::{Connection, Fault, Faulty, Gadget, Identity, LocalPort, Switch};
use biotrust_driver_api::{
    Bus, Cancel, CaptureJob, CaptureOutcome, DeviceError, DeviceErrorKind, DeviceEvent, DigitalIdKey,
    DriverFactory, Found, L1Device, Node, Opened, Port, Quirks, StreamJob,
};
use biotrust_link::{Framing, LinkFactory};
use biotrust_model::evidence::{Binding, KeySlot, Proof};
use biotrust_model::time::SystemClock;
use biotrust_model::{BioSubType, Env, Level, Purpose, SPEC_VERSION, Score, SubId};

use bench::{PATIENCE, workshop};

/// Where a device is plugged in: the host's port and the bus below it.
type Socket = Arc<Mutex<Option<(LocalPort, Connection)>>>;

/// A device and the socket that it hangs on.
struct Rig {
    device: VirtualDevice,
    cable: Gadget<Faulty<LinkOnUsb>>,
    socket: Socket,
    faults: Switch,
}

impl Rig {
    fn new() -> Self {
        let spec = Spec { kind: Kind::SingleFinger, level: Level::L1, purpose: Purpose::Registration };
        let device = VirtualDevice::build_with(spec, &Options::default(), workshop()).unwrap();
        let identity =
            Identity { vendor: 0x1209, product: 1, name: "biotrust FINGER-1".into(), ..Identity::default() };
        let (cable, faults) = Faulty::new(LinkOnUsb::bulk(&identity));
        Self { device, cable: Gadget::new(cable).unwrap(), socket: Socket::default(), faults }
    }

    /// Plugs it in, in this process; it comes back to the same socket when it starts anew.
    fn plug(&self) {
        self.device.unplug();
        let (cable, socket) = (self.cable.clone(), Arc::clone(&self.socket));
        let connect = move || {
            let mut socket = socket.lock().unwrap();
            // Off the bus first.
            *socket = None;
            let line = cable.with(|cable| cable.device().line());
            *socket = Some(LocalPort::plug(&cable)?);
            Ok(line)
        };
        self.device.attach_to(Framing::Usb, connect).unwrap();
    }

    /// The host's port on it.
    fn port(&self) -> LocalPort {
        self.socket.lock().unwrap().as_ref().map(|(port, _)| port.clone()).unwrap()
    }

    fn pull(&self) {
        *self.socket.lock().unwrap() = None;
    }
}

type Opening = Result<(Arc<dyn L1Device>, Receiver<DeviceEvent>), DeviceError>;

fn open(port: LocalPort) -> Opening {
    let node =
        Node { bus: Bus::Usb, place: "usb:1-1".into(), path: "/dev/test".into(), usb: None, driver: None };
    let (sender, events) = channel();
    let sink = Box::new(move |event| drop(sender.send(event)));
    let found = Found { node, quirks: Quirks::default() };
    match LinkFactory::new(Arc::new(SystemClock)).open(Port::Usb(Box::new(port)), &found, sink, PATIENCE)? {
        Opened::L1(host) => Ok((host, events)),
        Opened::L0(_) => panic!("not L1"),
    }
}

fn job() -> CaptureJob {
    CaptureJob {
        parts: vec![BioSubType::LeftThumb],
        exceptions: Vec::new(),
        sub_id: SubId(0),
        requested_score: Score::clamped(40.0),
        requested_score_text: "40".into(),
        finish_within: PATIENCE,
        purpose: Purpose::Registration,
        auth: None,
        transaction_id: "a1B2c3D4e5".into(),
        env: Env::Developer,
        spec_version: SPEC_VERSION.into(),
        service_version: "0.1.0".into(),
        previous_hash: [0; 32],
        append_chip_certificate: true,
        digital_id_key: DigitalIdKey::Chip,
    }
}

fn captures(host: &dyn L1Device) {
    let CaptureOutcome::Done { parts, .. } = host.capture(&job(), &Cancel::new()).unwrap() else {
        panic!("nothing was captured");
    };
    assert_eq!(parts.len(), 1);
}

#[test]
fn everything_that_a_device_of_level_1_does_goes_over_usb() {
    let rig = Rig::new();
    rig.plug();
    let (host, events) = open(rig.port()).unwrap();
    assert_eq!(host.description().identity.serial_no, rig.device.serial());
    let proof = host.prove(&Binding([5; 32]), Some(KeySlot::Current), PATIENCE).unwrap();
    assert!(matches!(proof, Proof::Spdm(proof) if proof.key_statement.is_some()));
    host.start_stream(StreamJob { sub_id: SubId(0), fps: 10 }, PATIENCE).unwrap();
    captures(host.as_ref());
    // A glitch of the bus costs nothing.
    rig.faults.set(Some(Fault::Stall(Some(2))));
    captures(host.as_ref());
    let frames = events.try_iter().filter(|event| matches!(event, DeviceEvent::Frame(_))).count();
    assert!(frames > 0, "the preview goes on beside them");
}

#[test]
fn a_device_that_is_pulled_during_a_capture_is_gone_at_once_and_clean_when_it_comes_back() {
    let rig = Rig::new();
    for _ in 0..3 {
        rig.plug();
        let (host, events) = open(rig.port()).unwrap();
        captures(host.as_ref());
        // A score that nobody reaches: the capture would go on.
        let endless = CaptureJob { requested_score: Score::clamped(100.0), ..job() };
        let capturing = Arc::clone(&host);
        let capture = std::thread::spawn(move || capturing.capture(&endless, &Cancel::new()).err());
        assert!(!Cancel::new().wait(Duration::from_millis(150)));
        let pulled = Instant::now();
        rig.pull();
        let error = capture.join().unwrap().unwrap();
        assert_eq!(error.kind, DeviceErrorKind::Gone, "{error}");
        assert!(pulled.elapsed() < Duration::from_millis(200), "{:?}", pulled.elapsed());
        let gone = |event: DeviceEvent| matches!(event, DeviceEvent::Gone(_));
        assert!(events.iter().any(gone), "and it is said");
    }
}

#[test]
fn a_device_that_starts_anew_is_gone_from_the_bus_and_comes_back() {
    let rig = Rig::new();
    rig.plug();
    let (host, events) = open(rig.port()).unwrap();
    rig.device.power_cycle().unwrap();
    let gone = |event: DeviceEvent| matches!(event, DeviceEvent::Gone(_));
    assert!(events.recv_timeout(PATIENCE).is_ok_and(gone), "the port of before is dead");
    assert_eq!(host.status(PATIENCE).unwrap_err().kind, DeviceErrorKind::Gone);
    let (host, _events) = open(rig.port()).unwrap();
    captures(host.as_ref());
}
