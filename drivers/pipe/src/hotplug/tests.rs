//! The watcher over a tree of files that is laid out as sysfs is, and a socket that stands for the kernel's. The kernel
//! itself is in tests/hotplug.rs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use biotrust_driver_api::{Bus, Node};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};

use super::database::Record;
use super::netlink::Messages;
use super::sysfs::Host;
use super::{Hotplug, HotplugEvent};

const ALL: [Bus; 4] = [Bus::Serial, Bus::Usb, Bus::Hid, Bus::Video];
const CONTROLLER: &str = "devices/pci0000:00/0000:00:14.0";

/// What udevd has said of devices, by the last part of their paths; of others it has not said anything yet.
type Database = Arc<Mutex<BTreeMap<String, Record>>>;

/// A host made of files.
struct Fake {
    home: tempfile::TempDir,
    kernel: std::os::fd::OwnedFd,
    database: Database,
    _watcher: Option<Hotplug>,
    events: Receiver<HotplugEvent>,
}

impl Fake {
    /// Without udevd, watched once `prepare` has plugged what is there at the start.
    fn start(prepare: impl FnOnce(&Fake)) -> Self {
        Self::with(false, prepare)
    }

    fn with(udevd: bool, prepare: impl FnOnce(&Fake)) -> Self {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (kernel, socket) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let (sender, events) = channel();
        let database = Database::default();
        let mut fake = Self {
            home: tempfile::tempdir().unwrap(),
            kernel,
            database: database.clone(),
            _watcher: None,
            events,
        };
        for (bus, version) in [("usb1", " 2.00"), ("usb2", " 3.00")] {
            let hub = fake.sys(&format!("{CONTROLLER}/{bus}"));
            write(
                &hub,
                &[
                    ("idVendor", "1d6b"),
                    ("version", version),
                    ("bDeviceClass", "09"),
                    ("bNumInterfaces", "0"),
                ],
            );
            fake.link("bus/usb/devices", &hub);
        }
        prepare(&fake);
        let look_up = move |path: &Path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            let known = database.lock().unwrap().get(name).cloned();
            if udevd { known } else { Some(known.unwrap_or_default()) }
        };
        let host = Host { sys: fake.sys(""), dev: fake.home.path().join("dev"), database: Box::new(look_up) };
        let messages = Messages::on(socket, &ALL);
        fake._watcher = Some(Hotplug::with(host, &ALL, messages, move |e| drop(sender.send(e))).unwrap());
        fake
    }

    fn sys(&self, path: &str) -> PathBuf {
        self.home.path().join("sys").join(path)
    }

    fn link(&self, class: &str, device: &Path) {
        let directory = self.sys(class);
        fs::create_dir_all(&directory).unwrap();
        symlink(device, directory.join(device.file_name().unwrap())).unwrap();
    }

    /// Makes the node, as devtmpfs does.
    fn node(&self, name: &str) {
        let path = self.home.path().join("dev").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    /// A USB device with one interface of class ff; `at` is as `usb1/1-2`.
    fn usb(&self, at: &str, interfaces: usize) -> PathBuf {
        let device = self.sys(&format!("{CONTROLLER}/{at}"));
        let name = device.file_name().unwrap().to_str().unwrap().to_owned();
        write(
            &device,
            &[
                ("idVendor", "05ba"),
                ("idProduct", "000a"),
                ("bcdDevice", "0110"),
                ("bDeviceClass", "00"),
                ("manufacturer", "Acme"),
                ("product", "One\u{1b}[2J \n"),
                ("bNumInterfaces", " 1"),
                ("uevent", &format!("DEVTYPE=usb_device\nDEVNAME=bus/usb/{name}\n")),
            ],
        );
        for n in 0..interfaces {
            self.interface(&device, n);
        }
        self.node(&format!("bus/usb/{name}"));
        self.link("bus/usb/devices", &device);
        device
    }

    fn interface(&self, device: &Path, number: usize) -> PathBuf {
        let name = device.file_name().unwrap().to_str().unwrap();
        let interface = device.join(format!("{name}:1.{number}"));
        let numbers = [("bInterfaceClass", "ff"), ("bInterfaceSubClass", "01"), ("bInterfaceProtocol", "02")];
        write(&interface, &numbers);
        write(&interface, &[("bInterfaceNumber", &format!("{number:02x}"))]);
        self.link("bus/usb/devices", &interface);
        interface
    }

    /// A node of a class with this parent.
    fn child(&self, class: &str, parent: &Path, name: &str, attributes: &[(&str, &str)]) -> PathBuf {
        let device = parent.join(class).join(name);
        write(&device, attributes);
        write(&device, &[("uevent", &format!("DEVNAME={name}\n"))]);
        symlink(parent, device.join("device")).unwrap();
        self.node(name);
        self.link(&format!("class/{class}"), &device);
        device
    }

    fn unplug(&self, class: &str, device: &Path) {
        fs::remove_file(self.sys(class).join(device.file_name().unwrap())).unwrap();
        fs::remove_dir_all(device).unwrap();
    }

    /// A message of the kernel.
    fn tell(&self, subsystem: &str) {
        let message = format!("add@/devices/x\0ACTION=add\0SUBSYSTEM={subsystem}\0SEQNUM=1\0");
        send(&self.kernel, message.as_bytes(), SendFlags::empty()).unwrap();
    }

    fn next(&self) -> HotplugEvent {
        self.events.recv_timeout(Duration::from_secs(10)).unwrap()
    }

    fn appeared(&self) -> Node {
        match self.next() {
            HotplugEvent::Appeared(node) => node,
            other => panic!("{other:?}"),
        }
    }

    fn quiet(&self) {
        assert_eq!(self.events.recv_timeout(Duration::from_millis(100)).ok(), None);
    }
}

fn write(directory: &Path, attributes: &[(&str, &str)]) {
    fs::create_dir_all(directory).unwrap();
    for (name, text) in attributes {
        fs::write(directory.join(name), format!("{text}\n")).unwrap();
    }
}

fn vanished(place: &str) -> HotplugEvent {
    HotplugEvent::Vanished { place: place.into() }
}

#[test]
fn what_is_there_at_the_start_is_reported_once_per_bus_by_ports() {
    let fake = Fake::start(|fake| {
        let device = fake.usb("usb1/1-2/1-2.3", 1);
        let interface = device.join("1-2.3:1.0");
        fake.child("tty", &interface, "ttyACM0", &[]);
        fake.child("hidraw", &interface.join("0003:05BA:000A.0001"), "hidraw0", &[]);
        fake.child("video4linux", &interface, "video0", &[("index", "0")]);
        fake.child("video4linux", &interface, "video1", &[("index", "1")]);
        fake.child("video4linux", &interface, "radio0", &[("index", "2")]);
    });
    let nodes: Vec<Node> = (0..5).map(|_| fake.appeared()).collect();
    assert_eq!(fake.next(), HotplugEvent::Scanned);
    let places: Vec<&str> = nodes.iter().map(|node| node.place.as_str()).collect();
    let at = "0000:00:14.0-2.3";
    let expected = ["hid:@:1.0", "serial:@:1.0", "usb:@", "video:@:1.0", "video:@:1.0#1"]
        .map(|place| place.replace('@', at));
    assert_eq!(places, expected);
    for node in &nodes {
        let usb = node.usb.as_ref().unwrap();
        assert_eq!((usb.vendor, usb.product, usb.release), (0x05ba, 0x000a, 0x0110));
        assert_eq!((usb.manufacturer.as_str(), usb.name.as_str()), ("Acme", "One?[2J"), "made fit to show");
        assert_eq!((usb.serial.as_str(), usb.interfaces.as_slice()), ("", &[[255, 1, 2]][..]));
        assert!(node.path.exists());
    }
}

#[test]
fn a_node_that_was_given_to_another_device_is_noticed() {
    let plug = |fake: &Fake, at: &str| {
        let device = fake.usb(at, 1);
        let interface = device.join(format!("{}:1.0", device.file_name().unwrap().to_str().unwrap()));
        (device, fake.child("hidraw", &interface.join("0003:05BA:000A.0001"), "hidraw0", &[]))
    };
    let fake = Fake::start(|fake| drop(plug(fake, "usb1/1-2")));
    let reported = fake.appeared();
    assert_eq!((reported.bus, reported.place.as_str()), (Bus::Hid, "hid:0000:00:14.0-2:1.0"));
    let known = Arc::new(Mutex::new(true));
    let database = {
        let known = known.clone();
        move |_: &Path| known.lock().unwrap().then(Record::default)
    };
    let dev = fake.home.path().join("dev");
    let host = Host { sys: fake.sys(""), dev, database: Box::new(database) };
    assert!(!host.is_another(&reported), "it is still there");
    let twin = Node { place: format!("{}+hidraw0", reported.place), ..reported.clone() };
    assert!(!host.is_another(&twin), "as the second of two at one place");

    *known.lock().unwrap() = false;
    assert!(host.is_another(&reported), "udevd has not seen this one");
    *known.lock().unwrap() = true;
    let model = fake.sys(&format!("{CONTROLLER}/usb1/1-2/product"));
    fs::write(&model, "Two\n").unwrap();
    assert!(host.is_another(&reported), "another model at the same port");

    let hid = fake.sys(&format!("{CONTROLLER}/usb1/1-2/1-2:1.0/0003:05BA:000A.0001/hidraw/hidraw0"));
    fake.unplug("class/hidraw", &hid);
    assert!(!host.is_another(&reported), "nothing is there, which opening it tells");
    plug(&fake, "usb1/1-3");
    assert!(host.is_another(&reported), "the same model at another port");
}

#[test]
fn ports_of_the_fast_half_of_a_controller_are_others() {
    let fake = Fake::start(|fake| {
        fake.usb("usb1/1-1", 1);
        fake.usb("usb2/2-1", 1);
    });
    let places = [fake.appeared().place, fake.appeared().place];
    assert_eq!(places, ["usb:0000:00:14.0-1", "usb:0000:00:14.0-ss1"]);
}

#[test]
fn a_device_comes_and_goes() {
    let fake = Fake::start(|_| ());
    assert_eq!(fake.next(), HotplugEvent::Scanned, "hubs are not reported");
    let device = fake.usb("usb1/1-1", 1);
    fake.tell("usb");
    assert_eq!(fake.appeared().place, "usb:0000:00:14.0-1");
    fake.tell("usb");
    fake.quiet();
    fs::remove_file(fake.sys("bus/usb/devices/1-1:1.0")).unwrap();
    fake.unplug("bus/usb/devices", &device);
    fake.tell("usb");
    assert_eq!(fake.next(), vanished("usb:0000:00:14.0-1"));
}

#[test]
fn messages_of_other_subsystems_wake_nobody() {
    let fake = Fake::start(|_| ());
    assert_eq!(fake.next(), HotplugEvent::Scanned);
    fake.usb("usb1/1-1", 1);
    fake.tell("block");
    fake.quiet();
    // One that cannot be understood does.
    send(&fake.kernel, b"?", SendFlags::empty()).unwrap();
    fake.appeared();
}

#[test]
fn a_device_without_all_its_interfaces_waits() {
    let fake = Fake::start(|fake| drop(fake.usb("usb1/1-1", 0)));
    assert_eq!(fake.next(), HotplugEvent::Scanned);
    fake.interface(&fake.sys(&format!("{CONTROLLER}/usb1/1-1")), 0);
    fake.tell("usb");
    fake.appeared();
}

#[test]
fn another_thing_at_the_same_place_is_vanished_and_appeared() {
    let fake = Fake::start(|fake| drop(fake.usb("usb1/1-1", 1)));
    fake.appeared();
    assert_eq!(fake.next(), HotplugEvent::Scanned);
    // Unplugged and plugged between two looks: a new directory. The old one is kept, so that its inode is not used again.
    let device = fake.sys(&format!("{CONTROLLER}/usb1/1-1"));
    fs::rename(&device, fake.sys("old")).unwrap();
    for link in ["1-1", "1-1:1.0"] {
        fs::remove_file(fake.sys("bus/usb/devices").join(link)).unwrap();
    }
    fake.usb("usb1/1-1", 1);
    fake.tell("usb");
    assert_eq!(fake.next(), vanished("usb:0000:00:14.0-1"));
    fake.appeared();
    // The same device says something else of itself.
    fs::write(device.join("product"), "Two\n").unwrap();
    fake.tell("usb");
    assert_eq!(fake.next(), vanished("usb:0000:00:14.0-1"));
    assert_eq!(fake.appeared().usb.unwrap().name, "Two");
}

#[test]
fn other_permissions_are_a_reason_to_try_again() {
    let fake = Fake::start(|fake| drop(fake.usb("usb1/1-1", 1)));
    let node = fake.appeared();
    assert_eq!(fake.next(), HotplugEvent::Scanned);
    fs::set_permissions(&node.path, fs::Permissions::from_mode(0o600)).unwrap();
    fake.tell("usb");
    assert_eq!(fake.next(), vanished(&node.place));
    assert_eq!(fake.appeared(), node);
}

#[test]
fn where_udevd_runs_a_device_counts_when_it_is_done_with_it() {
    let record =
        |since, driver: Option<&str>| Record { since, driver: driver.map(Into::into), capabilities: None };
    let fake = Fake::with(true, |fake| drop(fake.usb("usb1/1-1", 1)));
    assert_eq!(fake.next(), HotplugEvent::Scanned);
    fake.tell("usb");
    fake.quiet();
    let say = |what| drop(fake.database.lock().unwrap().insert("1-1".into(), what));
    say(record(1, Some("r30x")));
    fake.tell("usb");
    let node = fake.appeared();
    assert_eq!(node.driver.as_deref(), Some("r30x"));
    // The record of a device that was there before is not that of this one.
    say(record(2, Some("r30x")));
    fake.tell("usb");
    assert_eq!((fake.next(), fake.appeared()), (vanished(&node.place), node));
}

#[test]
fn video_nodes_that_cannot_capture_are_left_out() {
    let fake = Fake::start(|fake| {
        let parent = fake.sys("devices/platform/vivid.0");
        fake.child("video4linux", &parent, "video0", &[("index", "0")]);
        fake.child("video4linux", &parent, "video1", &[("index", "1")]);
        let capabilities = |text: &str| Record { capabilities: Some(text.into()), ..Record::default() };
        let mut database = fake.database.lock().unwrap();
        database.insert("video0".into(), capabilities(":"));
        database.insert("video1".into(), capabilities(":capture:"));
    });
    assert_eq!(fake.appeared().place, "video:vivid.0#1");
    assert_eq!(fake.next(), HotplugEvent::Scanned);
}

#[test]
fn lines_and_readers_that_are_not_on_usb() {
    let fake = Fake::start(|fake| {
        let uart = fake.sys("devices/platform/serial8250");
        fake.child("tty", &uart, "ttyS0", &[("type", "4")]);
        fake.child("tty", &uart, "ttyS1", &[("type", "0")]);
        let console = fake.sys("devices/virtual/tty/tty1");
        write(&console, &[("uevent", "DEVNAME=tty1")]);
        fake.node("tty1");
        fake.link("class/tty", &console);
        let reader = fake.sys("devices/virtual/misc/uhid/0003:05BA:000A.0007");
        write(&reader, &[("uevent", "HID_NAME=x\nHID_PHYS=\nHID_UNIQ=A1")]);
        fake.child("hidraw", &reader, "hidraw3", &[]);
        let twin = fake.sys("devices/virtual/misc/uhid/0003:05BA:000A.0008");
        write(&twin, &[("uevent", "HID_NAME=x\nHID_PHYS=\nHID_UNIQ=A1")]);
        fake.child("hidraw", &twin, "hidraw4", &[]);
    });
    let nodes: Vec<Node> = (0..3).map(|_| fake.appeared()).collect();
    assert_eq!(fake.next(), HotplugEvent::Scanned);
    // An on-board line has the same place as one that the configuration names.
    assert_eq!(nodes[0], Node::line(fake.home.path().join("dev/ttyS0")));
    assert_eq!([&nodes[1].place, &nodes[2].place], ["hid:A1", "hid:A1+hidraw4"]);
}

#[test]
fn a_broken_socket_is_the_end_and_takes_the_devices_along() {
    let mut fake = Fake::start(|fake| drop(fake.usb("usb1/1-1", 1)));
    fake.appeared();
    assert_eq!(fake.next(), HotplugEvent::Scanned);
    let (other, _) = socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).unwrap();
    fake.kernel = other;
    assert_eq!(fake.next(), vanished("usb:0000:00:14.0-1"));
    assert!(matches!(fake.next(), HotplugEvent::Lost(_)));
    assert!(
        fake.events.recv_timeout(Duration::from_secs(10)).is_err(),
        "nothing follows: the sink is dropped"
    );
}

#[test]
fn many_changes_at_once_add_up() {
    let fake = Fake::start(|_| ());
    assert_eq!(fake.next(), HotplugEvent::Scanned);
    let mut there = std::collections::BTreeSet::new();
    for round in 0..30 {
        for port in 1..6 {
            let device = fake.usb(&format!("usb1/1-{port}"), 1);
            fake.tell("usb");
            if round < 29 || port % 2 == 0 {
                fs::remove_file(fake.sys(&format!("bus/usb/devices/1-{port}:1.0"))).unwrap();
                fake.unplug("bus/usb/devices", &device);
                fake.tell("usb");
            }
        }
    }
    // The marker tells that the watcher has seen everything before it.
    fake.usb("usb1/1-9", 1);
    fake.tell("usb");
    loop {
        match fake.next() {
            HotplugEvent::Appeared(node) if node.place.ends_with("-9") => break,
            HotplugEvent::Appeared(node) => assert!(there.insert(node.place), "appeared twice"),
            HotplugEvent::Vanished { place } => assert!(there.remove(&place), "vanished twice"),
            other => panic!("{other:?}"),
        }
    }
    let expected = [1, 3, 5].map(|port| format!("usb:0000:00:14.0-{port}"));
    assert_eq!(there, expected.into());
}

#[test]
fn the_real_socket_can_be_opened_and_closed_by_anybody() {
    let (sender, events) = channel();
    let watcher = Hotplug::start(&ALL, move |event| drop(sender.send(event))).unwrap();
    let first = std::iter::from_fn(|| events.recv_timeout(Duration::from_secs(10)).ok());
    assert!(first.into_iter().any(|event| event == HotplugEvent::Scanned));
    drop(watcher);
    assert!(events.recv_timeout(Duration::from_secs(10)).is_err());
}
