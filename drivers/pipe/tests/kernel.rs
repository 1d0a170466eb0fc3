//! Ports on the nodes of a real kernel: virtual USB and HID devices through its USB/IP host controller (module
//! `vhci-hcd`), and its own virtual camera (module `vivid`).
//!
//! These tests need root, the modules and nobody else on the devices: the rig runs them. Each waits for the node of its
//! device, so that they do not depend on each other and may run at once.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // what a test may, its helpers may

mod bench;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bench::{HidLoop, IN, Loopback, MODE, OUT, REPORT, REPORT_DESCRIPTOR, SILENCE, UNKNOWN};
use biosim_usbip::vhci::{self, Plugged};
use biosim_usbip::{Fault, Faulty, Gadget, Switch};
use biotrust_driver_api::{Bus, Cancel, FourCc, Node, PipeErrorKind, Port, UsbPort};
use biotrust_pipe::recover::{Resets, UsbRecovery};
use biotrust_pipe::{hid, ports, usb, video};

const SOON: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);
/// From pulling the plug to the end of a call that waits; with the slack that an emulated processor needs.
const PROMPTLY: Duration = Duration::from_secs(1);

/// Waits until `look` finds something.
fn wait_for<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < LONG, "{what} did not appear");
        let _ = Cancel::new().wait(Duration::from_millis(10));
    }
}

fn entries(directory: &str) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn attribute(directory: &Path, name: &str) -> Option<String> {
    Some(fs::read_to_string(directory.join(name)).ok()?.trim().to_owned())
}

/// Node of the USB device with this serial number.
fn usb_node(serial: &str) -> Option<PathBuf> {
    let device = entries("/sys/bus/usb/devices")
        .find(|device| attribute(device, "serial").as_deref() == Some(serial))?;
    let number = |name| attribute(&device, name)?.parse::<u16>().ok();
    let node = PathBuf::from(format!("/dev/bus/usb/{:03}/{:03}", number("busnum")?, number("devnum")?));
    node.exists().then_some(node)
}

fn hid_node(serial: &str) -> Option<PathBuf> {
    let wanted = format!("HID_UNIQ={serial}");
    let class = entries("/sys/class/hidraw").find(|class| {
        attribute(class, "device/uevent").is_some_and(|text| text.lines().any(|line| line == wanted))
    })?;
    let node = Path::new("/dev").join(class.file_name()?);
    node.exists().then_some(node)
}

struct Usb {
    gadget: Gadget<Faulty<Loopback>>,
    switch: Switch,
    plugged: Option<Plugged>,
    node: PathBuf,
}

impl Usb {
    fn plug(serial: &str) -> Self {
        let (device, switch) = Faulty::new(Loopback::named(serial));
        let gadget = Gadget::new(device).unwrap();
        let plugged = Some(vhci::attach(&gadget).unwrap());
        let node = wait_for(serial, || usb_node(serial));
        Self { gadget, switch, plugged, node }
    }

    fn open(&self) -> Box<dyn UsbPort> {
        let port = usb::open(&self.node, "usb under test").unwrap();
        port.claim(0).unwrap();
        port
    }
}

#[test]
#[ignore = "needs the rig"]
fn a_usb_device_carries_data_and_requests() {
    let device = Usb::plug("CARRY");
    let port = device.open();
    let interface = &port.interfaces()[0];
    assert_eq!((interface.class, interface.sub_class, interface.protocol), (0xff, 1, 2));
    assert_eq!(interface.endpoints.len(), 3);
    assert_eq!(port.interfaces(), device.gadget.descriptors().interfaces());

    let load: Vec<u8> = (0..100_000u32).map(|i| (i ^ (i >> 8)).to_le_bytes()[0]).collect();
    port.write(OUT, &load, LONG).unwrap();
    let mut back = Vec::new();
    while back.len() < load.len() {
        back.extend(port.read(IN, 16 * 1024, LONG).unwrap());
    }
    assert!(back == load);

    port.control_out(MODE, &[], LONG).unwrap();
    let mut mode = [0; 4];
    assert_eq!(port.control_in(MODE, &mut mode, LONG).unwrap(), 1);
    assert_eq!(mode, [0x5a, 0, 0, 0]);
    assert_eq!(port.control_in(UNKNOWN, &mut mode, LONG).unwrap_err().kind, PipeErrorKind::Stalled);
    assert_eq!(port.control_in(MODE, &mut mode, LONG).unwrap(), 1, "and works afterwards");
}

#[test]
#[ignore = "needs the rig"]
fn a_silent_usb_device_costs_its_time_limit_and_no_data() {
    let device = Usb::plug("SILENT");
    let port = device.open();
    let timed = |kind: PipeErrorKind, start: Instant| {
        assert_eq!(kind, PipeErrorKind::TimedOut);
        assert!(start.elapsed() >= SOON && start.elapsed() < SOON + PROMPTLY, "{:?}", start.elapsed());
    };
    let start = Instant::now();
    timed(port.control_in(SILENCE, &mut [0; 4], SOON).unwrap_err().kind, start);
    let start = Instant::now();
    timed(port.read(IN, 64, SOON).unwrap_err().kind, start);
    assert_eq!(port.pending(IN), 1, "it stays under way");
    device.gadget.with(|d| d.device().stored.extend(b"late"));
    device.switch.set(None); // wakes it
    assert_eq!(port.complete(IN, LONG).unwrap(), b"late", "and nothing is lost");

    device.gadget.with(|d| d.device().capacity = 0);
    let start = Instant::now();
    timed(port.write(OUT, b"x", SOON).unwrap_err().kind, start);
    device.gadget.with(|d| d.device().capacity = 100);
    port.write(OUT, b"again", LONG).unwrap();
    assert_eq!(port.read(IN, 64, LONG).unwrap(), b"again");

    for _ in 0..3 {
        port.submit(IN, 64).unwrap();
    }
    port.cancel(IN);
    assert_eq!(port.pending(IN), 0);
    assert_eq!(port.complete(IN, SOON).unwrap_err().kind, PipeErrorKind::Os, "nothing is asked for");
}

#[test]
#[ignore = "needs the rig"]
fn a_halt_is_ended_and_a_reset_brings_a_new_device() {
    let device = Usb::plug("HALT");
    let port = device.open();
    device.switch.set(Some(Fault::Stall(Some(1))));
    assert_eq!(port.write(OUT, b"x", LONG).unwrap_err().kind, PipeErrorKind::Stalled);
    assert_eq!(port.write(OUT, b"x", LONG).unwrap_err().kind, PipeErrorKind::Stalled, "it lasts");
    port.clear_halt(OUT).unwrap();
    port.write(OUT, b"fine", LONG).unwrap();
    assert_eq!(port.read(IN, 64, LONG).unwrap(), b"fine");

    device.switch.set(Some(Fault::Stall(None)));
    let mut recovery = UsbRecovery::new(Resets::default(), "usb:test");
    let before = device.gadget.with(|d| d.device().resets);
    let given_up = loop {
        let error = port.write(OUT, b"x", LONG).unwrap_err();
        if let Err(end) = recovery.treat(&*port, OUT, &error, Instant::now()) {
            break end;
        }
    };
    assert_eq!(given_up.kind, PipeErrorKind::Gone, "{given_up}");
    assert!(given_up.to_string().contains("it was reset"), "{given_up}");
    assert!(device.gadget.with(|d| d.device().resets) > before);
    assert_eq!(port.write(OUT, b"x", SOON).unwrap_err().kind, PipeErrorKind::Gone);
    device.switch.set(None);
    drop(port);
    let node = wait_for("the device after its reset", || usb_node("HALT"));
    let port = usb::open(&node, "usb after the reset").unwrap();
    port.claim(0).unwrap();
    port.write(OUT, b"new", LONG).unwrap();
    assert_eq!(port.read(IN, 64, LONG).unwrap(), b"new");
}

#[test]
#[ignore = "needs the rig"]
fn a_usb_device_that_is_pulled_ends_what_waits_for_it() {
    for yank in [false, true] {
        let mut device = Usb::plug(if yank { "YANK" } else { "UNPLUG" });
        let port = device.open();
        let plugged = device.plugged.take().unwrap();
        let reader = {
            let port = port.share();
            std::thread::spawn(move || (port.read(IN, 64, LONG).unwrap_err().kind, Instant::now()))
        };
        let control = {
            let port = port.share();
            std::thread::spawn(move || {
                (port.control_in(SILENCE, &mut [0; 4], LONG).unwrap_err().kind, Instant::now())
            })
        };
        let _ = Cancel::new().wait(Duration::from_millis(100));
        let pulled = Instant::now();
        if yank {
            plugged.yank()
        } else {
            plugged.unplug().unwrap()
        }
        for waiter in [reader, control] {
            let (kind, at) = waiter.join().unwrap();
            println!("pulled (yank: {yank}): the call that waited ended after {:?}", at - pulled);
            assert_eq!(kind, PipeErrorKind::Gone);
            assert!(at - pulled < PROMPTLY);
        }
        let start = Instant::now();
        assert_eq!(port.write(OUT, b"x", LONG).unwrap_err().kind, PipeErrorKind::Gone);
        assert_eq!(port.control_in(MODE, &mut [0; 4], LONG).unwrap_err().kind, PipeErrorKind::Gone);
        assert_eq!(port.clear_halt(IN).unwrap_err().kind, PipeErrorKind::Gone);
        assert!(start.elapsed() < PROMPTLY);
    }
}

#[test]
#[ignore = "needs the rig"]
fn an_interface_has_one_user() {
    let device = Usb::plug("ONE");
    let port = device.open();
    let other = usb::open(&device.node, "the second").unwrap();
    assert_eq!(other.claim(0).unwrap_err().kind, PipeErrorKind::InUse);
    assert_eq!(other.claim(9).unwrap_err().kind, PipeErrorKind::Os, "there is none");
    assert_eq!(other.read(IN, 64, SOON).unwrap_err().kind, PipeErrorKind::Os, "not claimed");
    drop(port);
    other.claim(0).unwrap();
}

#[test]
#[ignore = "needs the rig"]
fn a_device_that_was_left_unconfigured_is_configured() {
    let device = Usb::plug("CONFIGURE");
    let directory = entries("/sys/bus/usb/devices")
        .find(|device| attribute(device, "serial").as_deref() == Some("CONFIGURE"))
        .unwrap();
    // What is left of a device that fails while the kernel configures it.
    fs::write(directory.join("bConfigurationValue"), "0").unwrap();
    assert_eq!(attribute(&directory, "bConfigurationValue").as_deref(), Some(""));
    let port = device.open();
    port.write(OUT, b"there", LONG).unwrap();
    assert_eq!(port.read(IN, 512, LONG).unwrap(), b"there");
    assert_eq!(attribute(&directory, "bConfigurationValue").as_deref(), Some("1"));
}

fn hid_device(serial: &str) -> (Gadget<HidLoop>, Plugged, PathBuf) {
    let gadget = Gadget::new(HidLoop::named(serial)).unwrap();
    let plugged = vhci::attach(&gadget).unwrap();
    let node = wait_for(serial, || hid_node(serial));
    (gadget, plugged, node)
}

#[test]
#[ignore = "needs the rig"]
fn a_hid_device_carries_reports() {
    let (_gadget, _plugged, node) = hid_device("REPORTS");
    let mut port = hid::open(&node).unwrap();
    assert_eq!(hid::open(&node).err().unwrap().kind, PipeErrorKind::InUse);
    assert_eq!(port.descriptor().unwrap(), REPORT_DESCRIPTOR);
    let mut buffer = [0; 64];
    assert_eq!(port.read_report(&mut buffer, SOON).unwrap_err().kind, PipeErrorKind::TimedOut);
    for round in 0..20 {
        port.write_report(&[&[0][..], &[round; REPORT]].concat(), LONG).unwrap();
        assert_eq!(port.read_report(&mut buffer, LONG).unwrap(), REPORT);
        assert_eq!(buffer[..REPORT], [round; REPORT]);
    }
    port.set_feature(&[&[0][..], &[0xfe; REPORT]].concat(), LONG).unwrap();
    let mut feature = [0; REPORT + 1];
    assert_eq!(port.feature(&mut feature, LONG).unwrap(), REPORT + 1);
    assert_eq!(feature[1..], [0xfe; REPORT]);

    let other = port.try_clone().unwrap();
    drop(port);
    assert_eq!(hid::open(&node).err().unwrap().kind, PipeErrorKind::InUse, "a clone still holds it");
    drop(other);
    hid::open(&node).unwrap();
}

#[test]
#[ignore = "needs the rig"]
fn a_hid_device_that_takes_nothing_costs_the_time_limit() {
    let (gadget, _plugged, node) = hid_device("DEAF");
    let mut port = hid::open(&node).unwrap();
    gadget.with(|device| device.deaf = true);
    let start = Instant::now();
    let error = port.write_report(&[0; REPORT + 1], SOON).unwrap_err();
    assert_eq!(error.kind, PipeErrorKind::TimedOut, "{error}");
    assert!(start.elapsed() < SOON + PROMPTLY, "{:?}", start.elapsed());
    let start = Instant::now();
    assert_eq!(port.write_report(&[0; REPORT + 1], LONG).unwrap_err().kind, PipeErrorKind::TimedOut);
    assert!(start.elapsed() < SOON, "a wedged port says so at once");
}

#[test]
#[ignore = "needs the rig"]
fn a_hid_device_that_is_pulled_ends_what_waits_for_it() {
    let (_gadget, plugged, node) = hid_device("PULLED");
    let mut port = hid::open(&node).unwrap();
    let mut reading = port.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        (reading.read_report(&mut [0; 64], LONG).unwrap_err().kind, Instant::now())
    });
    let _ = Cancel::new().wait(Duration::from_millis(100));
    let pulled = Instant::now();
    plugged.unplug().unwrap();
    let (kind, at) = reader.join().unwrap();
    println!("pulled: the read that waited ended after {:?}", at - pulled);
    assert_eq!(kind, PipeErrorKind::Gone);
    assert!(at - pulled < PROMPTLY);
    assert_eq!(port.write_report(&[0; REPORT + 1], LONG).unwrap_err().kind, PipeErrorKind::Gone);
    assert_eq!(port.feature(&mut [0; REPORT + 1], LONG).unwrap_err().kind, PipeErrorKind::Gone);
}

/// The first node of the kernel's virtual camera that captures.
fn camera_node() -> Option<PathBuf> {
    let mut nodes: Vec<_> = entries("/sys/class/video4linux")
        .filter(|class| attribute(class, "name").is_some_and(|name| name.contains("vid-cap")))
        .filter_map(|class| Some(Path::new("/dev").join(class.file_name()?)))
        .filter(|node| node.exists())
        .collect();
    nodes.sort();
    nodes.into_iter().next()
}

#[test]
#[ignore = "needs the rig"]
fn a_camera_streams_the_newest_frame() {
    let path = wait_for("the virtual camera", camera_node);
    let node =
        Node { bus: Bus::Video, place: "video:vivid".into(), path: path.clone(), usb: None, driver: None };
    let Port::Video(mut camera) = ports::open(&node).unwrap() else { panic!("it is no camera") };
    let formats = camera.formats().unwrap();
    let yuyv = formats.iter().copied().rfind(|format| format.pixels == FourCc::YUYV);
    let wanted = yuyv.unwrap_or_else(|| panic!("no YUYV among {formats:?}"));
    assert_eq!(camera.next(SOON).err().unwrap().kind, PipeErrorKind::Os, "it has not been started");
    let format = camera.start(wanted, 15).unwrap();
    assert_eq!((format.pixels, format.width, format.height), (wanted.pixels, wanted.width, wanted.height));
    assert!(format.stride >= 2 * format.width);

    let whole = usize::try_from(format.stride * format.height).unwrap();
    let first = camera.next(LONG).unwrap();
    assert_eq!(first.bytes.len(), whole);
    assert!(first.bytes.expose().iter().any(|byte| *byte != first.bytes.expose()[0]), "a picture");
    // Whoever looks away for a second gets what is new, with a gap in the count.
    let _ = Cancel::new().wait(Duration::from_secs(1));
    let later = camera.next(LONG).unwrap();
    assert!(later.sequence >= first.sequence + 2, "{} after {}", later.sequence, first.sequence);

    let mut second = video::open(&path).unwrap();
    assert_eq!(second.start(wanted, 15).err().unwrap().kind, PipeErrorKind::InUse);
    assert!(camera.next(LONG).unwrap().sequence > later.sequence, "the first is not disturbed");
    camera.stop().unwrap();
    second.start(wanted, 15).unwrap();
    second.next(LONG).unwrap();
}
