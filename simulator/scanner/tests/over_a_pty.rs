//! Virtual devices over a real pseudo-terminal, driven by the host's own link driver.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may panic, as tests may"
)]

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use biosim_image::Subject;
use biosim_scanner::{CalibratedSubject, Factory, Kind, Maker, Scene, Spec, VirtualDevice, Workshop};
use biotrust_certs::TestPki;
use biotrust_driver_api::{
    AuthCapture, Cancel, CaptureJob, CaptureOutcome, DeviceErrorKind, DeviceEvent, DigitalIdKey,
    DriverFactory, Found, Frame, L0Device, L1Device, Opened, Pipe, Port, SelfReport, StreamJob,
};
use biotrust_link::message::{self, Request, Response};
use biotrust_link::{HostRole, LinkFactory, Received};
use biotrust_model::time::{Clock, SystemClock};
use biotrust_model::{BioSubType, DeviceStatus, Env, Level, Modality, Purpose, SPEC_VERSION, Score, SubId};
use biotrust_pipe::SerialPipe;
use biotrust_sbi::{hash_chain, iso};

const PATIENCE: Duration = Duration::from_secs(5);

/// What all tests share: keys and grown fingers cost time.
fn workshop() -> Workshop {
    static SHARED: OnceLock<(Arc<CalibratedSubject>, Arc<TestPki>, Arc<Factory>)> = OnceLock::new();
    let (subject, pki, factory) = SHARED.get_or_init(|| {
        let subject = CalibratedSubject::new(Subject::new(7, None));
        let spec = Spec { kind: Kind::SlapFinger, level: Level::L0, purpose: Purpose::Registration };
        subject.prepare(spec, &|| false);
        let pki = TestPki::mint(TestPki::DEFAULT_SPEC, SystemClock.now()).unwrap();
        let pki = Arc::new(pki);
        let factory = Factory::new(Arc::clone(&pki), Arc::new(SystemClock));
        (Arc::new(subject), pki, Arc::new(factory))
    });
    Workshop {
        seed: 7,
        maker: Maker { provider: "Example Devices Ltd".into(), provider_id: "EXAMPLE".into() },
        subject: Arc::clone(subject),
        scene: Scene::default(),
        pki: Arc::clone(pki),
        clock: Arc::new(SystemClock),
        factory: Arc::clone(factory),
    }
}

/// Tests that look at the clock run one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A device and the host's handle on it.
struct Bench {
    device: VirtualDevice,
    opened: Opened,
    events: Receiver<DeviceEvent>,
    links: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Bench {
    fn new(kind: Kind, level: Level, purpose: Purpose) -> Self {
        let alone = alone();
        let device = VirtualDevice::build(Spec { kind, level, purpose }, &workshop()).unwrap();
        let links = tempfile::tempdir().unwrap();
        device.plug(links.path()).unwrap();
        let (opened, events) = open(&link(links.path(), &device));
        Self { device, opened, events, links, _alone: alone }
    }

    fn l0(&self) -> &dyn L0Device {
        match &self.opened {
            Opened::L0(device) => &**device,
            Opened::L1(_) => panic!("L1"),
        }
    }

    fn l1(&self) -> &dyn L1Device {
        match &self.opened {
            Opened::L1(device) => &**device,
            Opened::L0(_) => panic!("L0"),
        }
    }

    fn frame(&self) -> Frame {
        loop {
            if let DeviceEvent::Frame(frame) = self.events.recv_timeout(PATIENCE).unwrap() {
                return frame;
            }
        }
    }
}

fn link(links: &Path, device: &VirtualDevice) -> std::path::PathBuf {
    links.join(format!("{}.tty", device.serial()))
}

fn open(path: &Path) -> (Opened, Receiver<DeviceEvent>) {
    let (sender, events) = channel();
    let pipe = SerialPipe::open(path).unwrap();
    let factory = LinkFactory::new(Arc::new(SystemClock));
    let sink = Box::new(move |event| drop(sender.send(event)));
    (factory.open(Port::Serial(Box::new(pipe)), &Found::line(path), sink, PATIENCE).unwrap(), events)
}

fn job(purpose: Purpose, sub_id: u8, parts: &[BioSubType], score: f32, within: Duration) -> CaptureJob {
    CaptureJob {
        parts: parts.to_vec(),
        exceptions: vec![],
        sub_id: SubId(sub_id),
        requested_score: Score::clamped(score),
        requested_score_text: Score::clamped(score).to_string(),
        finish_within: within,
        purpose,
        auth: (purpose == Purpose::Auth).then(|| AuthCapture { domain_uri: "https://a.example".into() }),
        transaction_id: "a1B2c3D4e5".into(),
        env: Env::Staging,
        spec_version: SPEC_VERSION.into(),
        service_version: "0.1.0".into(),
        previous_hash: hash_chain::EMPTY,
        append_chip_certificate: true,
        digital_id_key: DigitalIdKey::Chip,
    }
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn a_slap_is_captured_as_soon_as_it_is_good_enough() {
    let bench = Bench::new(Kind::SlapFinger, Level::L0, Purpose::Registration);
    let job = job(Purpose::Registration, 1, &BioSubType::LEFT_SLAP, 40.0, millis(10_000));
    let began = Instant::now();
    let outcome = bench.l0().capture(&job, &Cancel::new()).unwrap();
    let took = began.elapsed();
    let CaptureOutcome::Done { parts, reached } = outcome else { panic!("nothing") };
    assert!(reached && took < millis(4_000), "{took:?}");
    let parts_in_order: Vec<_> = parts.iter().map(|image| image.part.unwrap()).collect();
    assert_eq!(parts_in_order, BioSubType::LEFT_SLAP);
    for image in &parts {
        let details = iso::Details {
            captured_at: Some(image.captured_at),
            device: iso::CaptureDevice::default(),
            quality: vec![iso::Quality::estimated(image.score)],
        };
        let record = iso::FingerImage {
            purpose: Purpose::Registration,
            position: image.part.unwrap(),
            impression: iso::Impression::Plain,
            dpi: image.dpi,
            details,
            image: image.image.expose(),
        };
        let record = record.encode().unwrap();
        iso::validate(&record, Modality::Finger, Purpose::Registration).unwrap();
        assert!(image.width >= 150 && image.height >= 200, "{}x{}", image.width, image.height);
    }
    let average = parts.iter().map(|image| image.score.value()).sum::<f32>() / 4.0;
    assert!(average >= 40.0, "{average}");
}

#[test]
fn the_best_frame_comes_at_the_deadline() {
    let bench = Bench::new(Kind::SlapFinger, Level::L0, Purpose::Registration);
    let job = job(Purpose::Registration, 1, &BioSubType::LEFT_SLAP, 100.0, millis(3_000));
    let began = Instant::now();
    let CaptureOutcome::Done { parts, reached } = bench.l0().capture(&job, &Cancel::new()).unwrap() else {
        panic!("nothing")
    };
    let took = began.elapsed();
    assert!(!reached && parts.len() == 4);
    assert!((millis(2_700)..millis(3_050)).contains(&took), "{took:?}");
}

#[test]
fn what_is_not_there_is_not_captured() {
    let bench = Bench::new(Kind::SlapFinger, Level::L0, Purpose::Registration);
    let mut job = job(Purpose::Registration, 1, &BioSubType::LEFT_SLAP, 10.0, millis(600));
    let capture = |scene: Scene| {
        bench.device.set_scene(scene);
        let began = Instant::now();
        let outcome = bench.l0().capture(&job, &Cancel::new()).unwrap();
        (outcome, began.elapsed())
    };

    let (outcome, took) = capture(Scene { present: false, ..Scene::default() });
    assert!(matches!(outcome, CaptureOutcome::Nothing));
    assert!((millis(500)..millis(650)).contains(&took), "{took:?}");

    let missing = Scene { missing: [BioSubType::LeftRingFinger].into(), ..Scene::default() };
    assert!(matches!(capture(missing.clone()).0, CaptureOutcome::Nothing), "three of four are not four");

    job.parts.retain(|part| *part != BioSubType::LeftRingFinger);
    job.exceptions.push(BioSubType::LeftRingFinger);
    job.finish_within = millis(5_000);
    bench.device.set_scene(missing);
    let CaptureOutcome::Done { parts, .. } = bench.l0().capture(&job, &Cancel::new()).unwrap() else {
        panic!("nothing")
    };
    assert_eq!(parts.iter().map(|image| image.part.unwrap()).collect::<Vec<_>>(), job.parts);
}

#[test]
fn the_preview_goes_on_during_a_capture() {
    let bench = Bench::new(Kind::SlapFinger, Level::L0, Purpose::Registration);
    bench.l0().start_stream(StreamJob { sub_id: SubId(1), fps: 15 }, PATIENCE).unwrap();
    let first = bench.frame();
    assert!(first.jpeg.starts_with(&[0xff, 0xd8]) && first.jpeg.ends_with(&[0xff, 0xd9]));
    assert!(first.jpeg.len() < 100_000, "{} bytes", first.jpeg.len());

    let job = job(Purpose::Registration, 1, &BioSubType::LEFT_SLAP, 100.0, millis(2_500));
    let (before, outcome) = (bench.frame().sequence, bench.l0().capture(&job, &Cancel::new()).unwrap());
    assert!(matches!(outcome, CaptureOutcome::Done { .. }));
    let frames: Vec<Frame> = bench
        .events
        .try_iter()
        .filter_map(|event| match event {
            DeviceEvent::Frame(frame) => Some(frame),
            _ => None,
        })
        .collect();
    let fps = frames.len() as f64 / 2.5;
    assert!(fps >= 8.0, "{fps:.1} frames a second");
    assert!(frames.iter().all(|frame| frame.sequence > before));
    let scores: Vec<f32> = frames.iter().filter_map(|frame| frame.score.map(Score::value)).collect();
    assert!(scores.first().unwrap() < scores.last().unwrap(), "the mark rises: {scores:?}");

    bench.l0().stop_stream(PATIENCE).unwrap();
    bench.events.try_iter().for_each(drop);
    assert!(bench.events.recv_timeout(millis(300)).is_err(), "no frames without a stream");
}

#[test]
fn a_cancelled_capture_frees_the_sensor_at_once() {
    let bench = Bench::new(Kind::SlapFinger, Level::L0, Purpose::Registration);
    let mut job = job(Purpose::Registration, 1, &BioSubType::LEFT_SLAP, 100.0, millis(30_000));
    let cancel = Cancel::new();
    let device = bench.l0();
    let took = std::thread::scope(|scope| {
        let capture = scope.spawn(|| device.capture(&job, &cancel));
        assert!(!Cancel::new().wait(millis(500)));
        let called_off = Instant::now();
        cancel.cancel();
        assert_eq!(capture.join().unwrap().unwrap_err().kind, DeviceErrorKind::Cancelled);
        called_off.elapsed()
    });
    assert!(took < millis(100), "{took:?}");
    job.requested_score = Score::clamped(10.0);
    job.requested_score_text = "10".into();
    assert!(matches!(bench.l0().capture(&job, &Cancel::new()).unwrap(), CaptureOutcome::Done { .. }));
}

#[test]
fn states_are_reported_and_respected() {
    let bench = Bench::new(Kind::Face, Level::L0, Purpose::Registration);
    let job = job(Purpose::Registration, 0, &[], 10.0, millis(3_000));
    for (status, kind) in [
        (DeviceStatus::Busy, DeviceErrorKind::Busy),
        (DeviceStatus::NotReady, DeviceErrorKind::NotReady),
        (DeviceStatus::NotRegistered, DeviceErrorKind::NotRegistered),
    ] {
        let report = SelfReport { status, reason: "for a test".into() };
        bench.device.set_report(report.clone());
        let event = bench.events.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(event, DeviceEvent::Status(ref told) if *told == report), "{event:?}");
        assert_eq!(bench.l0().status(PATIENCE).unwrap(), report);
        assert_eq!(bench.l0().capture(&job, &Cancel::new()).unwrap_err().kind, kind);
    }
    bench.device.set_report(SelfReport { status: DeviceStatus::Ready, reason: String::new() });
    assert!(matches!(bench.l0().capture(&job, &Cancel::new()).unwrap(), CaptureOutcome::Done { .. }));
}

#[test]
fn pulling_the_plug_hangs_up_and_plugging_in_brings_it_back() {
    let bench = Bench::new(Kind::SingleIris, Level::L0, Purpose::Auth);
    let path = link(bench.links.path(), &bench.device);
    bench.device.unplug();
    assert!(std::fs::symlink_metadata(&path).is_err());
    let event = bench.events.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(event, DeviceEvent::Gone(_)), "{event:?}");
    assert_eq!(bench.l0().status(PATIENCE).unwrap_err().kind, DeviceErrorKind::Gone);

    bench.device.plug(bench.links.path()).unwrap();
    let (Opened::L0(again), _events) = open(&path) else { panic!("L1") };
    assert_eq!(again.description(), bench.l0().description());
    let job = job(Purpose::Auth, 0, &[BioSubType::Unknown], 10.0, millis(3_000));
    assert!(matches!(again.capture(&job, &Cancel::new()).unwrap(), CaptureOutcome::Done { .. }));
}

#[test]
fn a_second_host_takes_over_with_hello() {
    let bench = Bench::new(Kind::SingleFinger, Level::L0, Purpose::Auth);
    bench.l0().start_stream(StreamJob { sub_id: SubId(0), fps: 15 }, PATIENCE).unwrap();
    let _ = bench.frame();
    let Bench { device, opened, events, links, _alone } = bench;
    // The first host is killed: it says nothing, its end of the line just closes.
    drop((opened, events));
    let (Opened::L0(second), events) = open(&link(links.path(), &device)) else { panic!("L1") };
    let job = job(Purpose::Auth, 0, &[BioSubType::Unknown], 10.0, millis(3_000));
    assert!(matches!(second.capture(&job, &Cancel::new()).unwrap(), CaptureOutcome::Done { .. }));
    assert!(events.try_iter().all(|event| !matches!(event, DeviceEvent::Frame(_))));
}

#[test]
fn a_host_that_is_killed_leaves_no_preview_behind() {
    let _alone = alone();
    let spec = Spec { kind: Kind::SingleFinger, level: Level::L0, purpose: Purpose::Auth };
    let device = VirtualDevice::build(spec, &workshop()).unwrap();
    let links = tempfile::tempdir().unwrap();
    device.plug(links.path()).unwrap();
    let path = link(links.path(), &device);

    // It says HELLO, starts a preview, and is gone without a word.
    let mut pipe = SerialPipe::open(&path).unwrap();
    let mut role = HostRole::new(1);
    let (_, hello) = role.request(Request::Hello(message::VERSION)).unwrap();
    pipe.write_all(&hello, PATIENCE).unwrap();
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    while !received.iter().any(|r| matches!(r, Received::Event(_))) {
        if received.iter().any(|r| matches!(r, Received::Response { result: Ok(Response::Hello(_)), .. })) {
            let job = StreamJob { sub_id: SubId(0), fps: 30 };
            pipe.write_all(&role.request(Request::StreamStart(job)).unwrap().1, PATIENCE).unwrap();
            received.clear();
        }
        let length = pipe.read(&mut buffer, PATIENCE).unwrap();
        role.receive(&buffer[..length], &mut received).unwrap();
    }
    drop(pipe);

    let (Opened::L0(second), events) = open(&path) else { panic!("L1") };
    let job = job(Purpose::Auth, 0, &[BioSubType::Unknown], 10.0, millis(3_000));
    assert!(matches!(second.capture(&job, &Cancel::new()).unwrap(), CaptureOutcome::Done { .. }));
    assert!(events.try_iter().all(|event| !matches!(event, DeviceEvent::Frame(_))));
}

#[test]
fn l1_devices_deliver_sealed_blocks() {
    let workshop = workshop();
    for (kind, purpose, sub_id, parts) in [
        (Kind::DoubleIris, Purpose::Registration, 3, &BioSubType::EYES[..]),
        (Kind::SingleFinger, Purpose::Auth, 0, &[BioSubType::Unknown, BioSubType::LeftThumb]),
        (Kind::Face, Purpose::Auth, 0, &[]),
    ] {
        let bench = Bench::new(kind, Level::L1, purpose);
        let job = job(purpose, sub_id, parts, 20.0, millis(5_000));
        if purpose == Purpose::Auth {
            let refused = bench.l1().capture(&job, &Cancel::new()).unwrap_err();
            assert_eq!(refused.kind, DeviceErrorKind::NoEncryptionKey, "{refused}");
            let chain = vec![workshop.pki.ida_certificate().der().to_vec()];
            bench.l1().install_encryption_certificate("", &chain, PATIENCE).unwrap();
        }
        let CaptureOutcome::Done { parts: blocks, reached } =
            bench.l1().capture(&job, &Cancel::new()).unwrap()
        else {
            panic!("nothing")
        };
        assert!(reached);
        assert_eq!(blocks.len(), parts.len().max(1));
        assert!(blocks.iter().all(|block| block.session_key.is_some() == (purpose == Purpose::Auth)));

        let before = bench.l1().keys(PATIENCE).unwrap();
        let rotated = bench.device.rotate_key(&workshop.pki).unwrap().unwrap();
        assert!(matches!(bench.events.recv_timeout(PATIENCE).unwrap(), DeviceEvent::KeysChanged));
        let after = bench.l1().keys(PATIENCE).unwrap();
        assert_eq!(after.device_chain[0], rotated.der());
        assert_ne!(before.device_chain[0], after.device_chain[0]);
        assert_eq!(before.chip_chain, after.chip_chain);
    }
}

#[test]
fn a_rotation_during_a_capture_leaves_the_capture_its_pair() {
    let pki = workshop().pki;
    let bench = Bench::new(Kind::DoubleIris, Level::L1, Purpose::Registration);
    let host = bench.l1();
    let serial = host.description().identity.serial_no.clone();
    let signer = |within: u64| {
        let job = job(Purpose::Registration, 3, &BioSubType::EYES, 100.0, millis(within));
        let CaptureOutcome::Done { parts, .. } = host.capture(&job, &Cancel::new()).unwrap() else {
            panic!("nothing")
        };
        let signers = parts.iter().map(|block| {
            let jws = biotrust_sbi::jws::parse(std::str::from_utf8(block.data.expose()).unwrap()).unwrap();
            jws.verify().unwrap();
            jws.x5c[0].clone()
        });
        let signers: std::collections::BTreeSet<_> = signers.collect();
        assert_eq!(signers.len(), 1, "all blocks by one pair");
        signers.into_iter().next().unwrap()
    };
    let old = host.keys(PATIENCE).unwrap().device_chain;
    let (during, new) = std::thread::scope(|scope| {
        let capture = scope.spawn(|| signer(3_000));
        assert!(!Cancel::new().wait(millis(500)));
        let csr = host.begin_rotation(&serial, "Example Devices Ltd", PATIENCE).unwrap();
        let new = pki.issue_device_certificate(&csr, SystemClock.now(), millis(3_600_000)).unwrap();
        host.finish_rotation(&new, PATIENCE).unwrap();
        assert_eq!(host.keys(PATIENCE).unwrap().device_chain, new);
        assert!(!capture.is_finished(), "control: it was under way");
        (capture.join().unwrap(), new)
    });
    assert_eq!((during, signer(1_000)), (old[0].clone(), new[0].clone()));
}
