//! Devices that are pulled at any moment, a thousand times: nobody waits beyond a deadline, nobody else notices, and nothing
//! is left behind. A program of its own, and one test at a time, because threads and descriptors of the whole process are
//! counted.

// helpers of tests stand outside of test functions
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use biosim_image::Subject;
use biosim_scanner::{CalibratedSubject, Factory, Kind, Maker, Scene, Spec, VirtualDevice, Workshop};
use biotrust_certs::TestPki;
use biotrust_daemon::catalog::{FtmSettings, drivers, host_ftm};
use biotrust_daemon::control::WaitFor;
use biotrust_daemon::fleet::{Attestation, Encryption, Fleet, Settings, Sources, Trust};
use biotrust_daemon::store::Store;
use biotrust_driver_api::{
    Cancel, CaptureJob, CaptureOutcome, CapturedImage, Description, Device, DeviceError, DeviceErrorKind,
    DeviceEvent, DriverFactory, EventSink, Found, L0Device, Opened, PipeErrorKind, Port, SelfReport,
    StreamJob,
};
use biotrust_model::time::{Clock, SystemClock};
use biotrust_model::{
    DeviceIdentity, DeviceStatus, DeviceSubType, Env, Language, Level, Modality, Purpose, SubId,
};
use biotrust_pipe::pty;
use biotrust_sbi::request::{CaptureRequest, ReadOptions, parse_capture};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer than anything takes, also on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a client may be kept waiting beyond its own timeout (the daemon's promise is 50 ms), and half a second for a machine
/// that runs other tests beside this one.
const LATE: Duration = Duration::from_millis(550);
/// How soon a capture must end when its device is pulled, with the same half second.
const AT_ONCE: Duration = Duration::from_millis(700);

/// One test at a time: they count what the process holds.
static ALONE: Mutex<()> = Mutex::new(());

/// A number from the environment.
fn count(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// What this process holds: threads by name, and descriptors by what they lead to.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    threads: BTreeMap<String, usize>,
    descriptors: BTreeMap<String, usize>,
}

impl Held {
    fn now() -> Self {
        let mut threads = BTreeMap::new();
        for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
            // one may end while it is looked at
            let Ok(name) = std::fs::read_to_string(task.path().join("comm")) else { continue };
            *threads.entry(name.trim().to_owned()).or_default() += 1;
        }
        // the runtime starts and ends these as it likes
        threads.retain(|name: &String, _| name != "tokio-rt-worker" && name != "tokio-runtime-w");
        let mut descriptors = BTreeMap::new();
        for descriptor in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
            let Ok(target) = std::fs::read_link(descriptor.path()) else { continue };
            let target = target.display().to_string();
            // an inode's number says nothing, and the directory that is being read is there once each time
            let kind = target.split(":[").next().unwrap_or_default().to_owned();
            *descriptors.entry(kind).or_default() += 1;
        }
        Self { threads, descriptors }
    }

    /// What it holds once nothing changes any more: threads that end take a moment.
    async fn settled() -> Self {
        let (mut held, mut since) = (Self::now(), Instant::now());
        while since.elapsed() < Duration::from_millis(500) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let now = Self::now();
            if now != held {
                (held, since) = (now, Instant::now());
            }
        }
        held
    }

    /// Waits until the process holds the same as then.
    async fn again(&self) {
        let deadline = Instant::now() + PATIENCE;
        while Self::now() != *self {
            assert!(Instant::now() < deadline, "leaked:\nbefore {self:#?}\nafter {:#?}", Self::now());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

struct Host {
    fleet: Fleet,
    pki: Arc<TestPki>,
    links: TempDir,
    _state: TempDir,
}

impl Host {
    fn start(pki: Arc<TestPki>, factories: Vec<Box<dyn DriverFactory>>) -> Self {
        let trust = Trust {
            device: pki.store().unwrap(),
            ftm: pki.store().unwrap(),
            encryption: Encryption::default(),
            models: None,
        };
        let settings = Settings {
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
            streams_per_device: 2,
            callback_id: "http://127.0.0.1:4501/".into(),
            attestation: Attestation::default(),
            require_time: false,
        };
        let (state, links) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let store = Store::open(state.path()).unwrap();
        let ftm = host_ftm(state.path(), &FtmSettings::Software { seal: None }).unwrap();
        let fleet = Fleet::new(settings, trust, store, ftm, factories, Arc::new(SystemClock)).unwrap();
        fleet.watch(Sources { links: Some(links.path().to_owned()), ..Sources::default() }).unwrap();
        Self { fleet, pki, links, _state: state }
    }

    async fn until(&self, serial: &str, present: bool, status: Option<DeviceStatus>) {
        let wanted =
            WaitFor { serial: serial.to_owned(), present: Some(present), status, certificate_sha256: None };
        let waited = self.fleet.wait(&wanted, PATIENCE).await;
        assert!(waited.is_ok(), "{waited:?}: {:#}", self.fleet.status());
    }

    /// Gives the device a certificate.
    async fn register(&self, serial: &str) {
        self.until(serial, true, Some(DeviceStatus::NotRegistered)).await;
        let request = self.fleet.begin_rotation(serial).await.unwrap();
        let day = Duration::from_secs(86_400);
        let chain = self.pki.issue_device_certificate(&request, SystemClock.now(), day).unwrap();
        self.fleet.finish_rotation(serial, chain).await.unwrap();
        self.until(serial, true, Some(DeviceStatus::Ready)).await;
    }

    fn discovered(&self) -> Vec<String> {
        let answer: Value = serde_json::from_slice(&self.fleet.discovery(None, false)).unwrap();
        let entries = answer.as_array().unwrap().iter();
        entries.map(|entry| entry["deviceId"].as_str().unwrap().to_owned()).collect()
    }
}

fn rcapture(serial: &str, timeout: Duration, score: u8) -> CaptureRequest {
    let body = json!({
        "env": "Developer", "purpose": "Registration", "specVersion": "0.9.5", "timeout": timeout.as_millis() as u64,
        "captureTime": "2026-11-24T08:26:41Z", "transactionId": "pulled-at-any-moment",
        "bio": [{"type": "Face", "count": 1, "bioSubType": [], "exception": [], "requestedScore": score,
            "deviceId": serial, "deviceSubId": 0, "previousHash": ""}]
    });
    parse_capture(Purpose::Registration, body.to_string().as_bytes(), &ReadOptions::default()).unwrap()
}

fn pki() -> Arc<TestPki> {
    Arc::new(TestPki::mint(TestPki::DEFAULT_SPEC, SystemClock.now()).unwrap())
}

/// Cameras of hosts with these seeds: their serial numbers differ.
fn cameras(pki: &Arc<TestPki>, seeds: std::ops::Range<u64>) -> Vec<Arc<VirtualDevice>> {
    let subject = Arc::new(CalibratedSubject::new(Subject::new(7, None)));
    let factory = Arc::new(Factory::new(Arc::clone(pki), Arc::new(SystemClock)));
    let spec = Spec { kind: Kind::Face, level: Level::L0, purpose: Purpose::Registration };
    subject.prepare(spec, &|| false);
    let build = |seed| {
        let workshop = Workshop {
            seed,
            maker: Maker { provider: "Example Devices Ltd".into(), provider_id: "EXAMPLE".into() },
            subject: Arc::clone(&subject),
            scene: Scene::default(),
            pki: Arc::clone(pki),
            clock: Arc::new(SystemClock),
            factory: Arc::clone(&factory),
        };
        Arc::new(VirtualDevice::build(spec, &workshop).unwrap())
    };
    seeds.map(build).collect()
}

/// A generator that any seed will do for.
struct Dice(u64);

impl Dice {
    fn up_to(&mut self, limit: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        limit.mul_f64((self.0 >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

/// What was seen of captures whose device was pulled.
#[derive(Default)]
struct Figures {
    asked: AtomicUsize,
    cut: AtomicUsize,
    late: Mutex<Duration>,
    slowest_end: Mutex<Duration>,
}

fn keep_greatest(slot: &Mutex<Duration>, value: Duration) {
    let mut slot = slot.lock().unwrap();
    *slot = slot.max(value);
}

/// Plugs `camera` in, asks for captures, and pulls it at a random moment from then on.
async fn pull(host: Arc<Host>, camera: Arc<VirtualDevice>, after: Duration, figures: Arc<Figures>) {
    const TIMEOUT: Duration = Duration::from_millis(600);
    let serial = camera.serial().to_owned();
    let pulled = Arc::new(Mutex::new(None::<Instant>));
    let client = {
        let (host, serial, pulled, figures) =
            (Arc::clone(&host), serial.clone(), Arc::clone(&pulled), Arc::clone(&figures));
        tokio::spawn(async move {
            // what a client does: it asks until it is served, and once more
            while pulled.lock().unwrap().is_none() {
                let asked = Instant::now();
                // never reached: the capture lasts as long as it may
                let answer = host.fleet.capture(rcapture(&serial, TIMEOUT, 100)).await;
                let took = asked.elapsed();
                figures.asked.fetch_add(1, Ordering::Relaxed);
                keep_greatest(&figures.late, took.saturating_sub(TIMEOUT));
                assert!(took <= TIMEOUT + LATE, "{serial} kept its client waiting for {took:?}: {answer:?}");
                let at = *pulled.lock().unwrap();
                if let (Some(at), Err(problem)) = (at.filter(|at| *at > asked), &answer) {
                    figures.cut.fetch_add(1, Ordering::Relaxed);
                    keep_greatest(&figures.slowest_end, at.elapsed());
                    assert!(
                        at.elapsed() <= AT_ONCE,
                        "{serial}: {problem} only {:?} after it was pulled",
                        at.elapsed()
                    );
                }
                if answer.is_err() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        })
    };
    let plugged = Arc::clone(&camera);
    let links = host.links.path().to_owned();
    tokio::task::spawn_blocking(move || plugged.plug(&links).unwrap()).await.unwrap();
    tokio::time::sleep(after).await;
    *pulled.lock().unwrap() = Some(Instant::now());
    tokio::task::spawn_blocking(move || camera.unplug()).await.unwrap();
    client.await.unwrap();
    host.until(&serial, false, None).await;
}

/// 120 pulls, or as many as `BIOTRUST_PULLS` says: a thousand take two to three minutes on two cores.
#[test]
fn a_device_that_is_pulled_at_any_moment_keeps_no_client_waiting_and_hurts_no_other() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let pulls = count("BIOTRUST_PULLS", 120);
    let seed = u64::try_from(SystemClock.now().0).unwrap() | 1;
    println!("seed {seed}");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let pki = pki();
        let mut cameras = cameras(&pki, 0..4);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let host = Arc::new(Host::start(Arc::clone(&pki), drivers(&clock)));
        for camera in &cameras {
            camera.plug(host.links.path()).unwrap();
            host.register(camera.serial()).await;
        }
        let steady = cameras.pop().unwrap();
        for camera in &cameras {
            camera.unplug();
            host.until(camera.serial(), false, None).await;
        }
        let before = Held::settled().await;

        // another device, at work all the time
        let over = Arc::new(AtomicBool::new(false));
        let at_work = {
            let (host, over, serial) = (Arc::clone(&host), Arc::clone(&over), steady.serial().to_owned());
            tokio::spawn(async move {
                let mut served = 0;
                while !over.load(Ordering::Relaxed) {
                    let answer = host.fleet.capture(rcapture(&serial, Duration::from_secs(20), 40)).await;
                    let answer: Value = serde_json::from_slice(&answer.expect("nobody pulled this one")).unwrap();
                    assert_eq!(answer["biometrics"][0]["error"]["errorCode"], "0", "{answer}");
                    served += 1;
                    // a machine of two cores has encoders of four cameras to run
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                served
            })
        };
        let figures = Arc::new(Figures::default());
        let mut dice = Dice(seed);
        for round in 0..pulls.div_ceil(cameras.len()) {
            let left = pulls - round * cameras.len();
            let pulled: Vec<_> = cameras
                .iter()
                .take(left)
                .map(|camera| {
                    let after = dice.up_to(Duration::from_millis(900));
                    tokio::spawn(pull(Arc::clone(&host), Arc::clone(camera), after, Arc::clone(&figures)))
                })
                .collect();
            for one in pulled {
                one.await.unwrap();
            }
        }
        over.store(true, Ordering::Relaxed);
        let served = at_work.await.unwrap();
        let id = host.fleet.status()[0]["id"].as_str().unwrap().to_owned();
        assert_eq!(host.discovered(), [id], "only the device that nobody pulled is left");
        let cut = figures.cut.load(Ordering::Relaxed);
        println!(
            "{pulls} pulls: {} captures asked for, {cut} cut by the pull, the slowest of them after {:?}; none more than \
             {:?} late; {served} of the other device",
            figures.asked.load(Ordering::Relaxed),
            figures.slowest_end.lock().unwrap(),
            figures.late.lock().unwrap(),
        );
        assert!(cut * 10 >= pulls && served > 0, "the test has hardly pulled anything: {cut} of {pulls}");
        before.again().await;
    });
}

/// A device that is as quick as a device can be, with a thread that reads its line, as every driver has.
struct Quick {
    description: Description,
    hangs: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Quick {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.reader.take().unwrap().join();
    }
}

impl Device for Quick {
    fn description(&self) -> &Description {
        &self.description
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

impl L0Device for Quick {
    /// Waits for a face that is never there; or hangs, whoever calls it off.
    fn capture(
        &self,
        job: &CaptureJob,
        cancel: &Cancel,
    ) -> Result<CaptureOutcome<CapturedImage>, DeviceError> {
        while self.hangs.load(Ordering::Relaxed) {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        if cancel.wait(job.finish_within) {
            return Err(DeviceError::new(DeviceErrorKind::Cancelled, "called off"));
        }
        Ok(CaptureOutcome::Nothing)
    }
}

/// Opens quick devices, whose captures hang as long as this is set.
#[derive(Default)]
struct QuickFactory {
    hangs: Arc<AtomicBool>,
}

impl DriverFactory for QuickFactory {
    fn name(&self) -> &'static str {
        "quick"
    }

    fn tries_unknown_lines(&self) -> bool {
        true
    }

    fn open(&self, port: Port, found: &Found, events: EventSink, _: Duration) -> Result<Opened, DeviceError> {
        let Port::Serial(mut line) = port else { panic!("{port:?}") };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while !stopped.load(Ordering::Relaxed) {
                match line.read(&mut buffer, Duration::from_millis(20)) {
                    Err(error) if error.kind != PipeErrorKind::TimedOut => {
                        let gone = DeviceError::caused(DeviceErrorKind::Gone, error.to_string(), error);
                        return events(DeviceEvent::Gone(gone));
                    }
                    _ => {}
                }
            }
        });
        let description = Description {
            identity: DeviceIdentity {
                serial_no: found.node.place.clone(),
                make: "Example".into(),
                model: "Quick".into(),
                modality: Modality::Face,
                device_sub_type: DeviceSubType::FullFace,
                device_provider: "Example Devices Ltd".into(),
                device_provider_id: "EXAMPLE".into(),
            },
            level: Level::L0,
            purpose: Purpose::Registration,
            firmware: "1.0.0".into(),
            sub_ids: vec![SubId(0)],
        };
        let hangs = Arc::clone(&self.hangs);
        Ok(Opened::L0(Arc::new(Quick { description, hangs, stop, reader: Some(reader) })))
    }
}

/// A line that is plugged in until it is dropped.
struct Plugged {
    link: std::path::PathBuf,
    _line: pty::PtyPipe,
}

impl Plugged {
    fn into(links: &Path, name: &str) -> Self {
        let line = pty::open_pair().unwrap();
        let (made, link) = (links.join(format!("{name}.new")), links.join(format!("{name}.tty")));
        std::os::unix::fs::symlink(line.slave_path(), &made).unwrap();
        std::fs::rename(made, &link).unwrap();
        Self { link, _line: line }
    }
}

impl Drop for Plugged {
    fn drop(&mut self) {
        std::fs::remove_file(&self.link).unwrap();
    }
}

/// 1,000 replugs of one line, each opened, appraised and every third with a capture on it: what the process held before, it
/// holds afterwards.
#[test]
fn a_thousand_replugs_leave_no_thread_and_no_descriptor_behind() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let replugs = count("BIOTRUST_REPLUGS", 1_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let host = Arc::new(Host::start(pki(), vec![Box::new(QuickFactory::default())]));
        let first = Plugged::into(host.links.path(), "quick");
        host.register("quick").await;
        drop(first);
        host.until("quick", false, None).await;
        let before = Held::settled().await;
        let (mut slowest, started) = (Duration::ZERO, Instant::now());
        for replug in 0..replugs {
            let plugged = Instant::now();
            let line = Plugged::into(host.links.path(), "quick");
            if replug % 10 == 9 {
                // pulled before anybody can have opened it
                drop(line);
                host.until("quick", false, None).await;
                continue;
            }
            host.until("quick", true, Some(DeviceStatus::Ready)).await;
            slowest = slowest.max(plugged.elapsed());
            let capture = (replug % 3 == 0).then(|| {
                let host = Arc::clone(&host);
                tokio::spawn(async move { host.fleet.capture(rcapture("quick", PATIENCE, 100)).await })
            });
            if capture.is_some() {
                host.until("quick", true, Some(DeviceStatus::Busy)).await;
            }
            drop(line);
            if let Some(capture) = capture {
                let problem = capture.await.unwrap().expect_err("there was nothing to capture");
                assert!(problem.to_string().contains("lost"), "{problem}");
            }
            host.until("quick", false, None).await;
            assert!(host.discovered().is_empty());
        }
        println!("{replugs} replugs in {:?}, the slowest Ready after {slowest:?}", started.elapsed());
        before.again().await;
    });
}

/// A driver that hangs in a capture costs that capture: not the client's time, not the next plug, not the next capture.
#[test]
fn a_driver_that_hangs_in_a_capture_is_left_behind() {
    const TIMEOUT: Duration = Duration::from_millis(600);
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let hangs = Arc::new(AtomicBool::new(false));
        let factory = QuickFactory { hangs: Arc::clone(&hangs) };
        let host = Arc::new(Host::start(pki(), vec![Box::new(factory)]));
        let line = Plugged::into(host.links.path(), "quick");
        host.register("quick").await;
        let before = Held::settled().await;

        // pulled while it hangs: the client knows at once
        hangs.store(true, Ordering::Relaxed);
        let capture = {
            let host = Arc::clone(&host);
            tokio::spawn(async move { host.fleet.capture(rcapture("quick", PATIENCE, 100)).await })
        };
        host.until("quick", true, Some(DeviceStatus::Busy)).await;
        let pulled = Instant::now();
        drop(line);
        let problem = capture.await.unwrap().expect_err("it hangs");
        assert!(problem.to_string().contains("lost"), "{problem}");
        assert!(pulled.elapsed() < AT_ONCE, "the client was told only after {:?}", pulled.elapsed());
        assert!(host.discovered().is_empty());

        // the next plug is clean, with the old driver still hanging: each client is told in time
        let _line = Plugged::into(host.links.path(), "quick");
        host.until("quick", true, Some(DeviceStatus::Ready)).await;
        let asked = Instant::now();
        host.fleet.capture(rcapture("quick", TIMEOUT, 100)).await.expect_err("it hangs again");
        assert!(asked.elapsed() <= TIMEOUT + LATE, "{:?}", asked.elapsed());

        // the worker that does not come back is given up, the device set aside, and opened anew as soon as it can be
        for reason in ["set aside", "its driver hangs and does not let go of it"] {
            let deadline = Instant::now() + PATIENCE;
            while !host.fleet.status().to_string().contains(reason) {
                assert!(Instant::now() < deadline, "{reason}: {:#}", host.fleet.status());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        hangs.store(false, Ordering::Relaxed);
        host.until("quick", true, Some(DeviceStatus::Ready)).await;
        let asked = Instant::now();
        let problem = host.fleet.capture(rcapture("quick", TIMEOUT, 100)).await.expect_err("nobody is there");
        assert_eq!(problem.code(), 101, "it works again, and waits for a face: {problem}");
        assert!(asked.elapsed() >= TIMEOUT, "not before its time");
        before.again().await;
    });
}
