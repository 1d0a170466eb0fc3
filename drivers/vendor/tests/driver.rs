//! The host side with real processes: the example in C, a driver in Rust, and programs that are no drivers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use biotrust_driver_api::{
    Cancel, CaptureJob, CaptureOutcome, CapturedImage, DeviceError, DeviceErrorKind, DeviceEvent,
    DigitalIdKey, DriverFactory, Found, Opened, Port,
};
use biotrust_model::time::SystemClock;
use biotrust_model::{BioSubType, Env, Modality, Purpose, Score, Secret, SubId};
use biotrust_pipe::UnixPipe;
use biotrust_vendor_driver::conformance::{self, Outcome};
use biotrust_vendor_driver::host::{
    DriverConfig, DriverState, Start, Supervisor, VendorEvent, VendorFactory,
};
use biotrust_vendor_driver::sdk::{
    Failure, OpenedDevice, Picture, Refusal, SensorInfo, Sight, Speech, VendorDriver, VendorSensor, Watch,
    serve_at,
};
use biotrust_vendor_driver::wire::{Frames, FromDriver, ToDriver, VERSION};

const LONG: Duration = Duration::from_secs(20);

/// The example in C, compiled with every warning as an error.
fn example() -> &'static Path {
    static EXAMPLE: OnceLock<PathBuf> = OnceLock::new();
    EXAMPLE.get_or_init(|| {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("synthetic-driver");
        let output = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()))
            .args(["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O1", "-pthread"])
            .args(["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-I"])
            .arg(here.join("include"))
            .arg(here.join("examples/c/synthetic.c"))
            .args(["-lm", "-o"])
            .arg(&program)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        program
    })
}

fn command(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn synthetic(args: &[&str]) -> Vec<String> {
    let program = example().to_str().unwrap();
    command(&[&[program][..], args].concat())
}

struct Watched {
    events: Receiver<VendorEvent>,
    supervisor: Option<Supervisor>,
    runtime: tempfile::TempDir,
}

impl Watched {
    fn start(argv: Vec<String>) -> Self {
        let runtime = tempfile::tempdir().unwrap();
        let (send, events) = channel();
        let start = Start::Command { argv, user: None, runtime: runtime.path().to_owned() };
        let config = DriverConfig { name: "test".into(), start };
        let supervisor = Supervisor::start(config, move |event| drop(send.send(event))).unwrap();
        Self { events, supervisor: Some(supervisor), runtime }
    }

    /// The next event that `wanted` makes something of.
    fn until<T>(&self, mut wanted: impl FnMut(VendorEvent) -> Option<T>) -> T {
        let end = Instant::now() + LONG;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left).expect("it happens");
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    }

    fn appeared(&self) -> Found {
        self.until(|event| match event {
            VendorEvent::Appeared(found) => Some(found),
            _ => None,
        })
    }
}

type Gone = Receiver<DeviceError>;

fn open(found: &Found) -> Result<(Opened, Gone), DeviceError> {
    let pipe = UnixPipe::connect(&found.node.path).unwrap();
    let (send, gone) = channel();
    let send = Mutex::new(send);
    let events = Box::new(move |event| {
        if let DeviceEvent::Gone(error) = event {
            let _ = send.lock().unwrap().send(error);
        }
    });
    let factory = VendorFactory::new(Arc::new(SystemClock));
    factory
        .open(Port::pipe(Box::new(pipe)), found, events, Duration::from_secs(5))
        .map(|opened| (opened, gone))
}

fn job(finish_within: Duration) -> CaptureJob {
    CaptureJob {
        parts: vec![BioSubType::Unknown],
        exceptions: Vec::new(),
        sub_id: SubId(0),
        // More than any image reaches: the capture goes on until its time is over.
        requested_score: Score::new(100.0).unwrap(),
        requested_score_text: "100".into(),
        finish_within,
        purpose: Purpose::Auth,
        auth: None,
        transaction_id: "t".into(),
        env: Env::Developer,
        spec_version: "0.9.5".into(),
        service_version: "0".into(),
        previous_hash: [0; 32],
        append_chip_certificate: false,
        digital_id_key: DigitalIdKey::Chip,
    }
}

fn capture(opened: &Opened, within: Duration) -> Result<CaptureOutcome<CapturedImage>, DeviceError> {
    let Opened::L0(device) = opened else { panic!("never more than L0") };
    device.capture(&job(within), &Cancel::new())
}

/// Captures until one fails: each has a look or more, and in the third look something happens.
fn fails(opened: &Opened, within: Duration) -> DeviceError {
    (0..10).find_map(|_| capture(opened, within).err()).expect("one fails")
}

#[test]
fn the_example_in_c_passes_every_check() {
    let runtime = tempfile::tempdir().unwrap();
    let mut seen = 0;
    let good = conformance::run(
        &synthetic(&[]),
        runtime.path(),
        |finding| {
            assert_eq!(finding.outcome, Outcome::Passed, "{}", finding.check);
            seen += 1;
        },
        drop,
    );
    assert!(good && seen == conformance::CHECKS.len());
}

/// Names of the checks that a driver fails.
fn failures(argv: &[String]) -> Vec<&'static str> {
    let runtime = tempfile::tempdir().unwrap();
    let mut failed = Vec::new();
    let told = |finding: &conformance::Finding| {
        if matches!(finding.outcome, Outcome::Failed(_)) {
            failed.push(finding.check);
        }
    };
    let good = conformance::run(argv, runtime.path(), told, drop);
    assert_eq!(good, failed.is_empty());
    failed
}

#[test]
fn the_checks_see_what_is_wrong() {
    assert!(failures(&synthetic(&["--crash"])).contains(&"comes back from a look in time"));
    assert!(failures(&synthetic(&["--hang"])).contains(&"comes back from a look in time"));
    // Ends with exit status 0 and speaks with nobody.
    let failed = failures(&command(&["true"]));
    assert!(
        failed.starts_with(&["refuses a standard input that is no socket", "starts and says who it is"]),
        "{failed:?}"
    );
    assert!(failures(&command(&["/no/such/driver"])).contains(&"starts and says who it is"));
}

#[test]
fn a_crash_in_a_capture_costs_the_device_about_a_second() {
    let watched = Watched::start(synthetic(&["--crash"]));
    let found = watched.appeared();
    assert_eq!(found.node.place, "vendor:test/SYN-0001");
    let (opened, gone) = open(&found).unwrap();
    assert_eq!(opened.device().description().identity.serial_no, "SYN-0001");

    let started = Instant::now();
    let error = fails(&opened, LONG);
    assert_eq!(error.kind, DeviceErrorKind::Gone, "{error}");
    assert!(started.elapsed() < LONG / 2, "nobody waits for a driver that has crashed");
    assert_eq!(gone.recv_timeout(LONG).unwrap().kind, DeviceErrorKind::Gone);

    watched.until(|event| (event == VendorEvent::Vanished { place: found.node.place.clone() }).then_some(()));
    let why = watched.until(|event| match event {
        VendorEvent::State(DriverState::Restarting(why)) => Some(why),
        _ => None,
    });
    assert!(why.contains("signal 6"), "{why}");
    let vanished = Instant::now();
    let again = watched.appeared();
    assert_eq!(again, found);
    assert!(vanished.elapsed() < Duration::from_secs(5), "{:?}", vanished.elapsed());
    drop(opened);
    open(&again).unwrap();
}

#[test]
fn a_driver_that_hangs_is_ended_and_started_again() {
    let watched = Watched::start(synthetic(&["--hang"]));
    let found = watched.appeared();
    let (opened, _gone) = open(&found).unwrap();
    let started = Instant::now();
    let error = fails(&opened, Duration::from_secs(1));
    assert!(started.elapsed() < Duration::from_secs(8), "{error}: {:?}", started.elapsed());
    let why = watched.until(|event| match event {
        VendorEvent::State(DriverState::Restarting(why)) => Some(why),
        _ => None,
    });
    assert!(why.contains("stuck"), "{why}");
    assert_eq!(watched.appeared(), found);
}

/// The service does not wait long for a look that it has called off: the next orders come while that one goes on.
#[test]
fn a_look_that_was_called_off_stays_called_off_and_no_order_is_lost() {
    let watched = Watched::start(synthetic(&["--slow"]));
    let found = watched.appeared();
    let mut stream = UnixStream::connect(&found.node.path).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let orders = [
        ToDriver::Hello { version: VERSION },
        ToDriver::Open { name: "SYN-0001".into() },
        ToDriver::Look { id: 1, within_ms: 15_000 },
        ToDriver::Cancel { id: 1 },
        ToDriver::Rest,
        ToDriver::Look { id: 2, within_ms: 15_000 },
        ToDriver::Status { id: 3 },
        ToDriver::Cancel { id: 2 },
        ToDriver::Look { id: 4, within_ms: 300 },
    ];
    let started = Instant::now();
    for order in orders {
        stream.write_all(&order.encode()).unwrap();
    }
    let mut frames = Frames::default();
    let mut next = || loop {
        if let Some(frame) = frames.take().unwrap() {
            return FromDriver::decode(&frame).unwrap();
        }
        let mut room = [0; 4096];
        let length = stream.read(&mut room).unwrap();
        assert!(length > 0, "the driver has hung up");
        frames.push(&room[..length]);
    };
    assert!(matches!(next(), FromDriver::Hello { .. }));
    assert!(matches!(next(), FromDriver::OpenedSensor(_)));
    assert!(matches!(next(), FromDriver::Seen { id: 1, sight: Sight::Nothing }));
    assert!(matches!(next(), FromDriver::Seen { id: 2, sight: Sight::Nothing }));
    assert!(matches!(next(), FromDriver::Status { id: 3, ready: true, .. }));
    assert!(matches!(next(), FromDriver::Seen { id: 4, sight: Sight::Nothing }));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn a_driver_that_is_none_uses_up_its_budget_and_is_left_alone() {
    let watched = Watched::start(command(&["false"]));
    let mut restarts = 0;
    let why = watched.until(|event| match event {
        VendorEvent::State(DriverState::Restarting(_)) => {
            restarts += 1;
            None
        }
        VendorEvent::State(DriverState::Resting(why)) => Some(why),
        _ => None,
    });
    assert_eq!(restarts, 4);
    assert!(why.contains("exit status 1"), "{why}");
    assert!(watched.events.recv_timeout(Duration::from_millis(300)).is_err(), "it is left alone");
}

#[test]
fn the_driver_ends_with_the_service_and_leaves_nothing() {
    let mut watched = Watched::start(synthetic(&[]));
    let found = watched.appeared();
    let socket = found.node.path.clone();
    assert!(socket.exists());
    let (opened, gone) = open(&found).unwrap();
    drop(watched.supervisor.take());
    assert!(!socket.exists());
    assert_eq!(fails(&opened, LONG).kind, DeviceErrorKind::Gone);
    assert_eq!(gone.recv_timeout(LONG).unwrap().kind, DeviceErrorKind::Gone);
    assert_eq!(std::fs::read_dir(watched.runtime.path()).unwrap().count(), 0);
}

/// A driver in Rust with a finger sensor that sees what the test puts there.
struct Plain;

struct Finger;

impl VendorDriver for Plain {
    fn name(&self) -> &str {
        "plain"
    }

    fn release(&self) -> &str {
        "2.1"
    }

    fn watch(&self, watch: &Watch) {
        watch.present("A", Speech::Sensor);
        watch.listed();
        while !watch.wait(LONG) {}
    }

    fn open(&self, name: &str) -> Result<OpenedDevice, Refusal> {
        if name != "A" {
            return Err(Refusal(Failure::Gone, format!("there is no {name}")));
        }
        let text = |text: &str| text.to_owned();
        let info = SensorInfo {
            modality: Modality::Finger,
            purpose: Purpose::Auth,
            make: text("Make"),
            model: text("Model"),
            serial: text("A"),
            provider: text("Provider"),
            provider_id: text("1"),
            firmware: text("1"),
        };
        Ok(OpenedDevice::Sensor(info, Box::new(Finger)))
    }
}

impl VendorSensor for Finger {
    fn look(&mut self, _: Duration, cancel: &Cancel) -> Result<Sight, Refusal> {
        // Slower than a capture that is called off may take.
        if cancel.wait(Duration::from_millis(50)) {
            return Ok(Sight::Nothing);
        }
        let ridge = |x: usize, y: usize| if (x + y / 3) % 9 < 4 { 40 } else { 220 };
        let pixels = (0..300).flat_map(|y| (0..300).map(move |x| ridge(x, y))).collect();
        Ok(Sight::Finger(Picture { width: 300, height: 300, pixels: Secret::new(pixels) }, 500))
    }
}

#[test]
fn a_driver_in_rust_serves_captures_and_refuses_strangers() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("plain.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let serving = std::thread::spawn(move || serve_at(&listener, &Plain));
    let (send, events) = channel();
    let config = DriverConfig { name: "plain".into(), start: Start::Socket(socket) };
    let supervisor = Supervisor::start(config, move |event| drop(send.send(event))).unwrap();
    let state = events.recv_timeout(LONG).unwrap();
    let running = DriverState::Running { name: "plain".into(), release: "2.1".into() };
    assert_eq!(state, VendorEvent::State(running));
    let VendorEvent::Appeared(found) = events.recv_timeout(LONG).unwrap() else { panic!() };
    assert_eq!(events.recv_timeout(LONG).unwrap(), VendorEvent::Listed);

    let (opened, _gone) = open(&found).unwrap();
    let Ok(CaptureOutcome::Done { parts, reached: false }) = capture(&opened, Duration::from_millis(600))
    else {
        panic!("an image, and not the best")
    };
    assert_eq!((parts.len(), parts[0].width, parts[0].dpi), (1, 300, 500));

    let Opened::L0(device) = &opened else { panic!() };
    let cancel = Cancel::new();
    let canceller = cancel.clone();
    let later = std::thread::spawn(move || {
        let _ = Cancel::new().wait(Duration::from_millis(200));
        canceller.cancel();
        Instant::now()
    });
    let error = device.capture(&job(LONG), &cancel).unwrap_err();
    let late = later.join().unwrap().elapsed();
    assert_eq!(error.kind, DeviceErrorKind::Cancelled);
    assert!(late < Duration::from_secs(2), "{late:?}");
    assert!(capture(&opened, Duration::from_secs(3)).is_ok(), "it goes on after that");

    let mut stranger = found.clone();
    stranger.quirks.settings.insert("device".into(), biotrust_driver_api::Value::Text("B".into()));
    let error = open(&stranger).err().unwrap();
    assert!(error.kind == DeviceErrorKind::Gone && error.message.contains("there is no B"), "{error}");

    drop(opened);
    drop(supervisor);
    serving.join().unwrap().unwrap();
}
