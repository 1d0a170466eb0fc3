//! Devices on the buses: found by quirk files, left alone with a reason, named by hand, cloned, and woken with the host.
//! The kernel is played: what it would tell is handed to the fleet; the devices are virtual ones on pseudo-terminals.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use biosim_image::Subject;
use biosim_scanner::{CalibratedSubject, Factory, Kind, Maker, Scene, Spec, VirtualDevice, Workshop};
use biotrust_certs::TestPki;
use biotrust_driver_api::{
    Bus, DeviceError, DriverFactory, EventSink, Found, Node, Opened, Port, UsbIdentity,
};
use biotrust_model::time::{Clock, SystemClock};
use biotrust_model::{DeviceStatus, Level, Purpose};
use biotrust_pipe::hotplug::HotplugEvent;
use biotrust_pipe::pty;
use biotrust_pipe::record::{Op, Recording};
use biotrust_quirks::Book;
use biotrust_vendor_driver::host::{DriverConfig, Start};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

use super::sleep::tests::Sleeper;
use super::sources::hotplug::follow;
use super::workshop::{Camera, settings};
use super::{Encryption, FixedPort, Fleet, RecordError, SourceError, Sources, Trust};
use crate::catalog::{FtmSettings, drivers, host_ftm};
use crate::control::WaitFor;
use crate::store::Store;

const PATIENCE: Duration = Duration::from_secs(60);

static WORKSHOP: LazyLock<Workshop> = LazyLock::new(|| {
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
});

/// A host whose buses are played.
struct Host {
    fleet: Fleet,
    sleeper: Sleeper,
    home: TempDir,
}

impl Host {
    fn start(sources: Sources) -> Self {
        Self::try_start(sources).unwrap()
    }

    fn try_start(sources: Sources) -> Result<Self, SourceError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Self::with_drivers(sources, drivers(&clock))
    }

    fn with_drivers(sources: Sources, drivers: Vec<Box<dyn DriverFactory>>) -> Result<Self, SourceError> {
        let pki = &WORKSHOP.pki;
        let trust = Trust {
            device: pki.store().unwrap(),
            ftm: pki.store().unwrap(),
            encryption: Encryption::default(),
            models: None,
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let home = TempDir::new().unwrap();
        let store = Store::open(home.path()).unwrap();
        let ftm = host_ftm(home.path(), &FtmSettings::Software { seal: None }).unwrap();
        let fleet = Fleet::new(settings(), trust, store, ftm, drivers, clock).unwrap();
        let sleeper = Sleeper::default();
        fleet.watch_on(sources, sleeper.clone())?;
        Ok(Self { fleet, sleeper, home })
    }

    /// What is built in, and an entry of a vendor's that is off.
    fn with_quirks() -> Self {
        let directory = TempDir::new().unwrap();
        let off = "driver = \"link\"\n[[device]]\nname = \"any-acme\"\nabout = \"whatever ACME makes\"\n\
                   bus = \"serial\"\nmanufacturer = \"ACME\"\nenabled = false\n";
        std::fs::write(directory.path().join("acme.toml"), off).unwrap();
        std::fs::write(directory.path().join("broken.toml"), "driver = 5\n").unwrap();
        let quirks = Some(Book::load(&[directory.path()]));
        Self::start(Sources { quirks, ..Sources::default() })
    }

    fn plugged(&self, node: &Node) {
        follow(&self.fleet.0, HotplugEvent::Appeared(node.clone()));
    }

    fn pulled(&self, node: &Node) {
        follow(&self.fleet.0, HotplugEvent::Vanished { place: node.place.clone() });
    }

    async fn until(&self, serial: &str, status: DeviceStatus) {
        let wanted = WaitFor {
            serial: serial.to_owned(),
            present: Some(true),
            status: Some(status),
            certificate_sha256: None,
        };
        let waited = self.fleet.wait(&wanted, PATIENCE).await;
        assert!(waited.is_ok(), "{waited:?}: {:#}", self.fleet.status());
    }

    /// What status says of the device at this place, once it fits.
    async fn at(&self, place: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.fleet.status();
            let shown = status.as_array().unwrap().iter().find(|shown| shown["place"] == place).cloned();
            let shown = shown.unwrap_or_default();
            if fits(&shown) {
                return shown;
            }
            assert!(Instant::now() < deadline, "{place}: {status:#}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Why what is at this place was left alone.
    fn left_alone(&self, place: &str) -> Option<String> {
        let all = self.fleet.left_alone();
        let left = all.iter().find(|left| left["place"] == place)?;
        Some(left["why"].as_str().unwrap().to_owned())
    }

    /// What has been recorded, once the device was opened so often and has answered each time.
    async fn recorded(&self, number: u64, times: usize) -> Recording {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut tape = Vec::new();
            while let piece = self.fleet.recorded(number, tape.len()).unwrap()
                && !piece.is_empty()
            {
                tape.extend(piece);
            }
            if let Ok(recording) = Recording::read(tape.as_slice()) {
                let entries = || recording.entries.iter();
                let again = entries().filter(|entry| entry.op == Op::Opened).count();
                let answers = entries().filter(|entry| matches!(entry.op, Op::In { .. })).count();
                if again + 1 >= times && answers >= times {
                    return recording;
                }
            }
            assert!(Instant::now() < deadline, "{:#}", self.fleet.status());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A line on which a camera is; each call gives a line of its own.
    fn line(&self, name: &str) -> (VirtualDevice, PathBuf) {
        let spec = Spec { kind: Kind::Face, level: Level::L0, purpose: Purpose::Registration };
        let device = VirtualDevice::build(spec, &WORKSHOP).unwrap();
        let lines = self.home.path().join(name);
        std::fs::create_dir(&lines).unwrap();
        device.plug(&lines).unwrap();
        let line = lines.join(format!("{}.tty", device.serial()));
        (device, line)
    }
}

fn serial(place: &str, path: &Path, manufacturer: &str, product: &str) -> Node {
    Node {
        bus: Bus::Serial,
        place: place.into(),
        path: path.to_owned(),
        usb: Some(UsbIdentity {
            vendor: 0x1209,
            product: 0xb107,
            manufacturer: manufacturer.into(),
            name: product.into(),
            ..UsbIdentity::default()
        }),
        driver: None,
    }
}

const PLACE: &str = "serial:1-1.2:1.0";

#[tokio::test(flavor = "multi_thread")]
async fn a_device_on_a_bus_is_opened_by_the_driver_that_its_quirk_file_names() {
    let host = Host::with_quirks();
    let (device, line) = host.line("a");
    let node = serial(PLACE, &line, "Example", "biotrust face camera");
    host.plugged(&node);
    host.until(device.serial(), DeviceStatus::NotRegistered).await;
    let shown = host.at(PLACE, |shown| shown["opened_after_ms"].is_f64()).await;
    assert_eq!(
        (&shown["driver"], &shown["bus"], &shown["quirks"]),
        (&"link".into(), &"serial".into(), &"link-serial".into())
    );
    let id = shown["id"].clone();
    host.pulled(&node);
    assert_eq!(host.fleet.status(), Value::Array(Vec::new()), "gone at once");
    assert_eq!(&host.fleet.discovery(None, true)[..], b"[]");

    // elsewhere, it is the same device
    let moved = Node { place: "serial:2-4:1.0".into(), ..node };
    host.plugged(&moved);
    host.until(device.serial(), DeviceStatus::NotRegistered).await;
    assert_eq!(host.at(&moved.place, |shown| shown["id"].is_string()).await["id"], id);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_left_alone_and_the_status_says_why() {
    let host = Host::with_quirks();
    let (_device, line) = host.line("a");
    let unknown = serial("serial:1-1:1.0", &line, "Modems Inc", "56k");
    let off = serial("serial:1-2:1.0", &line, "ACME", "thing");
    let module = serial("serial:1-4:1.0", &line, "Example", "biotrust FTM");
    let of_another_version = Node { driver: Some("x9000".into()), ..serial("serial:1-3:1.0", &line, "", "") };
    for node in [&unknown, &off, &of_another_version, &module] {
        host.plugged(node);
    }
    assert_eq!(host.fleet.status(), Value::Array(Vec::new()), "nothing was opened");
    assert_eq!(host.left_alone(&unknown.place).unwrap(), "no quirk file knows it");
    assert!(host.left_alone(&off.place).unwrap().contains("[quirks] enable = [\"any-acme\"]"));
    assert!(
        host.left_alone(&of_another_version.place).unwrap().contains("\"x9000\" is not part of this version")
    );
    let notices = host.fleet.notices();
    assert!(
        notices.iter().any(|notice| notice.contains("broken.toml") && notice.contains("left out")),
        "{notices:?}"
    );
    host.pulled(&off);
    assert_eq!(host.left_alone(&off.place), None);

    // the owner's word goes before the quirk files
    let named = Node { driver: Some("link".into()), ..unknown };
    host.pulled(&named);
    host.plugged(&named);
    host.at(&named.place, |shown| shown["driver"] == "link" && shown["serial"].is_string()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_identity_twice_is_a_clone_which_both_are_told_and_the_first_goes_on() {
    let host = Host::with_quirks();
    let ((device, first), (_clone, second)) = (host.line("a"), host.line("b"));
    let first = serial("serial:1-1:1.0", &first, "Example", "biotrust face camera");
    let second = serial("serial:1-2:1.0", &second, "Example", "biotrust face camera");
    host.plugged(&first);
    host.until(device.serial(), DeviceStatus::NotRegistered).await;
    assert!(host.at(&first.place, |shown| shown["id"].is_string()).await["clone"].is_null());
    assert!(!host.fleet.notices().iter().any(|notice| notice.contains("clone")));
    host.plugged(&second);
    let refused = host.at(&second.place, |shown| shown["clone"].is_string()).await;
    assert_eq!(
        (&refused["in_discovery"], &refused["problem"]["code"]),
        (&false.into(), &"508".into()),
        "{refused:#}"
    );
    assert!(refused["reason"].as_str().unwrap().contains(&first.place));
    let served = host.at(&first.place, |shown| shown["clone"].is_string()).await;
    assert_eq!(served["in_discovery"], true, "the first one goes on");
    assert!(served["clone"].as_str().unwrap().contains(&second.place));
    let notices = host.fleet.notices();
    let about = |notice: &&String| notice.contains(&first.place) && notice.contains(&second.place);
    assert_eq!(notices.iter().filter(about).count(), 1, "{notices:?}");

    // the other one is served as soon as it is the only one
    host.pulled(&first);
    let alone = host.at(&second.place, |shown| shown["in_discovery"] == true).await;
    assert!(alone["clone"].is_null(), "{alone:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_sleep_every_device_is_opened_again() {
    let host = Host::with_quirks();
    let (device, line) = host.line("a");
    let node = serial(PLACE, &line, "Example", "biotrust face camera");
    host.plugged(&node);
    host.until(device.serial(), DeviceStatus::NotRegistered).await;
    let session = |host: &Host| host.fleet.0.open_units().first().map(|(_, session)| session.order);
    let before = session(&host).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(session(&host), Some(before), "a host that is awake leaves its devices alone");
    host.sleeper.0.store(3_600_000, Ordering::SeqCst);
    let deadline = Instant::now() + PATIENCE;
    while session(&host).is_none_or(|order| order == before) {
        assert!(Instant::now() < deadline, "{:#}", host.fleet.status());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    host.until(device.serial(), DeviceStatus::NotRegistered).await;
}

/// Opens cameras; the first time it hangs until it is let go, with the line in its hands.
struct Hanging {
    begun: std::sync::mpsc::Sender<()>,
    release: Mutex<Option<std::sync::mpsc::Receiver<()>>>,
}

impl DriverFactory for Hanging {
    fn name(&self) -> &'static str {
        "hanging"
    }

    fn open(&self, port: Port, _: &Found, _: EventSink, _: Duration) -> Result<Opened, DeviceError> {
        let release = self.release.lock().unwrap().take();
        if let Some(release) = release {
            self.begun.send(()).unwrap();
            let _ = release.recv();
        }
        drop(port);
        Ok(Opened::L0(Arc::new(Camera::new(&WORKSHOP.pki, "HUNG"))))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_of_an_opening_that_was_given_up_counts_for_nothing() {
    let home = TempDir::new().unwrap();
    let line = pty::open_pair().unwrap();
    let path = home.path().join("line");
    std::os::unix::fs::symlink(line.slave_path(), &path).unwrap();
    let ((begun, has_begun), (let_go, release)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
    let hanging = Hanging { begun, release: Mutex::new(Some(release)) };
    let ports = vec![FixedPort { path: path.clone(), driver: Some("hanging".into()) }];
    let sources = Sources { ports, ..Sources::default() };
    let host = Host::with_drivers(sources, vec![Box::new(hanging)]).unwrap();
    tokio::task::spawn_blocking(move || has_begun.recv_timeout(PATIENCE).unwrap()).await.unwrap();
    // the host sleeps while the driver hangs: others open the device, and find that it still has the line
    host.sleeper.0.store(3_600_000, Ordering::SeqCst);
    let place = path.display().to_string();
    host.at(&place, |shown| shown["reason"].as_str().is_some_and(|why| why.contains("has it open"))).await;
    drop(let_go);
    // not the device of the driver that hung, and no state of which nothing leads on
    host.until("HUNG", DeviceStatus::NotRegistered).await;
    assert_eq!(host.fleet.0.open_units().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_the_configuration_names_is_its_own_and_is_opened_as_soon_as_it_is_plugged_in() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("scanner");
    let ports = vec![FixedPort { path: path.clone(), driver: Some("link".into()) }];
    let host = Host::start(Sources { ports, quirks: Some(Book::load::<&Path>(&[])), ..Sources::default() });
    let place = path.display().to_string();
    host.at(&place, |shown| shown["reason"].as_str().is_some_and(|why| why.contains("scanner"))).await;
    let (device, line) = host.line("a");
    std::os::unix::fs::symlink(std::fs::canonicalize(&line).unwrap(), &path).unwrap();
    let node = serial(PLACE, &line, "Example", "biotrust face camera");
    host.plugged(&node);
    host.until(device.serial(), DeviceStatus::NotRegistered).await;
    assert!(host.left_alone(PLACE).unwrap().contains(&place), "it is not opened twice");
    assert_eq!(host.fleet.status().as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_recorded_from_its_opening_on_and_through_a_replug() {
    let host = Host::with_quirks();
    let (device, line) = host.line("a");
    let node = serial(PLACE, &line, "Example", "biotrust face camera");
    assert!(matches!(host.fleet.record(PLACE), Err(RecordError::NoDevice(_))));
    host.plugged(&node);
    host.until(device.serial(), DeviceStatus::NotRegistered).await;
    let begun = host.fleet.record(device.serial()).unwrap();
    assert_eq!((begun.place.as_str(), begun.driver.as_str()), (PLACE, "link"));
    assert!(matches!(host.fleet.record(PLACE), Err(RecordError::Busy(_))), "one at a time");
    assert_eq!(host.recorded(begun.number, 1).await.header.driver, "link");
    host.until(device.serial(), DeviceStatus::NotRegistered).await;
    host.pulled(&node);
    host.plugged(&node);
    host.recorded(begun.number, 2).await;
    let summary = host.fleet.end_recording(begun.number).unwrap();
    assert!(summary.opened && !summary.cut && summary.entries > 2, "{summary:?}");
    host.until(device.serial(), DeviceStatus::NotRegistered).await;
    assert!(matches!(host.fleet.recorded(begun.number + 1, 0), Err(RecordError::Unknown)));
    assert!(host.fleet.record(PLACE).is_ok(), "the next one may begin");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fixed_line_with_a_driver_that_is_not_there_is_refused() {
    let ports = vec![FixedPort { path: "/dev/ttyS9".into(), driver: Some("x9000".into()) }];
    let Err(error) = Host::try_start(Sources { ports, ..Sources::default() }) else { panic!("it started") };
    let error = error.to_string();
    assert!(error.contains("/dev/ttyS9") && error.contains("x9000") && error.contains("link"), "{error}");
}

/// The vendor's driver of the manual, in C.
fn vendors_driver(directory: &Path) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../drivers/vendor");
    let program = directory.join("driver");
    let compiled = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()))
        .args(["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-pthread", "-I"])
        .arg(sources.join("include"))
        .arg(sources.join("examples/c/synthetic.c"))
        .args(["-lm", "-o"])
        .arg(&program)
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    program
}

/// The process that runs `program`.
fn process(program: &Path) -> Option<Pid> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut found = processes
        .filter(|entry| std::fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == program));
    found.next()?.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendors_driver_that_is_killed_costs_its_own_device_a_moment_and_nothing_else() {
    let home = TempDir::new().unwrap();
    let program = vendors_driver(home.path());
    let start = Start::Command {
        argv: vec![program.display().to_string()],
        user: None,
        runtime: home.path().to_owned(),
    };
    let vendors = vec![DriverConfig { name: "acme".into(), start }];
    let host = Host::start(Sources { vendors, quirks: Some(Book::load::<&Path>(&[])), ..Sources::default() });
    let (device, line) = host.line("a");
    host.plugged(&serial(PLACE, &line, "Example", "biotrust face camera"));
    host.until(device.serial(), DeviceStatus::NotRegistered).await;
    host.until("SYN-0001", DeviceStatus::NotRegistered).await;
    let session = |serial: &str| {
        let open = host.fleet.0.open_units();
        open.iter().find(|(_, s)| s.description.identity.serial_no == serial).map(|(_, s)| s.order)
    };
    let (other, before) = (session(device.serial()), session("SYN-0001"));
    assert_eq!(host.fleet.vendor_drivers()[0]["state"], "running");

    let killed = Instant::now();
    rustix::process::kill_process(process(&program).unwrap(), Signal::KILL).unwrap();
    while session("SYN-0001").is_none_or(|order| Some(order) == before) {
        assert!(killed.elapsed() < PATIENCE, "{:#}", host.fleet.status());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("killed, and open again after {:?}", killed.elapsed());
    host.until("SYN-0001", DeviceStatus::NotRegistered).await;
    assert_eq!(session(device.serial()), other, "the other device went on");
    let shown = host.fleet.status();
    let shown = shown.as_array().unwrap().iter().find(|shown| shown["serial"] == "SYN-0001").unwrap();
    assert_eq!((&shown["bus"], &shown["driver"]), (&"vendor".into(), &"vendor".into()));

    host.fleet.stop();
    host.fleet.closed(PATIENCE).await;
    assert_eq!(process(&program), None, "the driver ends with the service");
}
