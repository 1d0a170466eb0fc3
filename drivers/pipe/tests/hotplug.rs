//! Hot-plug on a real kernel: virtual devices come and go through its USB/IP host controller. The rig runs these as root;
//! they pass with udevd and without.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bench;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use biosim_usbip::Gadget;
use biosim_usbip::vhci::{self, Plugged};
use biotrust_driver_api::{Bus, Node};
use biotrust_pipe::hotplug::{Hotplug, HotplugEvent};

use bench::{HidLoop, Loopback};

const BUSES: [Bus; 4] = [Bus::Serial, Bus::Usb, Bus::Hid, Bus::Video];
/// Emulated processors are slow, and shared.
const LIMIT: Duration = Duration::from_secs(20);

/// The tests see each other's devices: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

struct Watch {
    _alone: MutexGuard<'static, ()>,
    _watcher: Hotplug,
    events: Receiver<HotplugEvent>,
    /// The watcher's thread waits while this is set.
    held: Arc<(Mutex<bool>, Condvar)>,
}

impl Watch {
    /// Watches, and forgets what is there already.
    fn start() -> Self {
        let watch = Self::held(false);
        while watch.next() != HotplugEvent::Scanned {}
        watch
    }

    /// Watches; with `held`, the watcher's thread hangs on the first thing that it reports.
    fn held(held: bool) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (sender, events) = channel();
        let held = Arc::new((Mutex::new(held), Condvar::new()));
        let gate = held.clone();
        let watcher = Hotplug::start(&BUSES, move |event| {
            let (flag, change) = &*gate;
            drop(change.wait_while(flag.lock().unwrap(), |held| *held).unwrap());
            drop(sender.send(event));
        });
        Self { _alone: alone, _watcher: watcher.unwrap(), events, held }
    }

    /// The watcher's thread goes on.
    fn release(&self) {
        *self.held.0.lock().unwrap() = false;
        self.held.1.notify_all();
    }

    fn next(&self) -> HotplugEvent {
        self.events.recv_timeout(LIMIT).expect("an event")
    }

    fn appeared(&self, bus: Bus) -> Node {
        loop {
            match self.next() {
                HotplugEvent::Appeared(node) if node.bus == bus => return node,
                HotplugEvent::Appeared(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Waits until the place is gone.
    fn vanished(&self, place: &str) {
        while self.next() != (HotplugEvent::Vanished { place: place.into() }) {}
    }

    /// Nothing comes for a while.
    fn quiet(&self) {
        assert_eq!(self.events.recv_timeout(Duration::from_millis(500)), Err(RecvTimeoutError::Timeout));
    }
}

fn plug_hid() -> Plugged {
    vhci::attach(&Gadget::new(HidLoop::named("HOTPLUG-1")).unwrap()).unwrap()
}

#[test]
#[ignore = "needs root and vhci_hcd: the rig runs it"]
fn a_device_is_reported_on_each_of_its_buses_and_can_be_opened() {
    let watch = Watch::start();
    let started = Instant::now();
    let plugged = plug_hid();
    // In any order.
    let mut nodes = BTreeMap::new();
    while nodes.len() < 2 {
        match watch.next() {
            HotplugEvent::Appeared(node) => drop(nodes.insert(node.bus, node)),
            other => panic!("{other:?}"),
        }
    }
    let (usb, hid) = (&nodes[&Bus::Usb], &nodes[&Bus::Hid]);
    println!("plugged to reported: {:?}", started.elapsed());
    let said = usb.usb.clone().unwrap();
    assert_eq!((said.vendor, said.product, said.serial.as_str()), (0x1209, 2, "HOTPLUG-1"));
    assert_eq!((said.name.as_str(), said.interfaces.as_slice()), ("HID loopback", &[[3, 0, 0]][..]));
    assert_eq!(hid.usb.as_ref(), Some(&said));
    assert!(
        usb.place.starts_with("usb:vhci_hcd.0-") && hid.place == usb.place.replace("usb:", "hid:") + ":1.0"
    );
    drop(biotrust_pipe::ports::open(usb).unwrap());
    drop(biotrust_pipe::ports::open(hid).unwrap());
    let started = Instant::now();
    plugged.unplug().unwrap();
    watch.vanished(&hid.place);
    println!("unplugged to reported: {:?}", started.elapsed());
}

#[test]
#[ignore = "needs root and vhci_hcd: the rig runs it"]
fn every_replug_is_seen() {
    let watch = Watch::start();
    for round in 0..20 {
        let plugged = vhci::attach(&Gadget::new(Loopback::default()).unwrap()).unwrap();
        let node = watch.appeared(Bus::Usb);
        if round % 2 == 0 {
            plugged.yank()
        } else {
            plugged.unplug().unwrap()
        }
        watch.vanished(&node.place);
    }
    watch.quiet();
}

#[test]
#[ignore = "needs root and vhci_hcd: the rig runs it"]
#[allow(clippy::disallowed_methods)] // the kernel's work is waited for where nothing tells of its end
fn a_device_whose_messages_are_lost_is_found() {
    // Before it takes its first message.
    let watch = Watch::held(true);
    let before = lost_messages();
    let give_up = Instant::now() + LIMIT;
    while lost_messages() == before {
        // A message of the kernel about a device that is no concern of ours.
        fs::write("/sys/class/mem/null/uevent", "change").unwrap();
        assert!(Instant::now() < give_up, "the queue does not overflow");
    }
    let plugged = vhci::attach(&Gadget::new(Loopback::default()).unwrap()).unwrap();
    let give_up = Instant::now() + LIMIT;
    while !enumerated("LOOP-1") {
        assert!(Instant::now() < give_up, "the kernel does not enumerate");
        std::thread::sleep(Duration::from_millis(20));
    }
    watch.release();
    let found = std::iter::from_fn(|| Some(watch.next())).find_map(|event| match event {
        HotplugEvent::Appeared(node) if node.usb.as_ref().is_some_and(|usb| usb.serial == "LOOP-1") => {
            Some(node)
        }
        _ => None,
    });
    plugged.unplug().unwrap();
    watch.vanished(&found.unwrap().place);
}

/// Whether the kernel has a USB device with this serial number and all its interfaces.
fn enumerated(serial: &str) -> bool {
    let Ok(devices) = fs::read_dir("/sys/bus/usb/devices") else { return false };
    let says =
        |path: &Path, name: &str| fs::read_to_string(path.join(name)).unwrap_or_default().trim().to_owned();
    devices
        .flatten()
        .map(|entry| entry.path())
        .any(|device| says(&device, "serial") == serial && !says(&device, "bNumInterfaces").is_empty())
}

/// How many messages for this process the kernel has thrown away for want of room (protocol 15: device messages).
fn lost_messages() -> u64 {
    let table = fs::read_to_string("/proc/net/netlink").unwrap();
    let head: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    let column = |name: &str| head.iter().position(|have| *have == name).unwrap();
    let (protocol, owner, drops) = (column("Eth"), column("Pid"), column("Drops"));
    let process = std::process::id().to_string();
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = rows.filter(|row| row[protocol] == "15" && row[owner] == process);
    ours.map(|row| row[drops].parse::<u64>().unwrap()).sum()
}

#[test]
#[ignore = "needs root and vhci_hcd: the rig runs it"]
fn a_node_that_gets_another_group_is_announced_anew() {
    let watch = Watch::start();
    let plugged = vhci::attach(&Gadget::new(Loopback::default()).unwrap()).unwrap();
    let node = watch.appeared(Bus::Usb);
    let group = fs::metadata(&node.path).unwrap().gid();
    chown(&node.path, None, Some(group + 1)).unwrap();
    touch(&node.path);
    assert_eq!(watch.next(), HotplugEvent::Vanished { place: node.place.clone() });
    let again = watch.appeared(Bus::Usb);
    assert_eq!(again, node);
    plugged.unplug().unwrap();
    watch.vanished(&node.place);
}

/// Makes the kernel send a message about the device behind a node, as `udevadm trigger` does.
fn touch(node: &Path) {
    let device = fs::metadata(node).unwrap().rdev();
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    fs::write(format!("/sys/dev/char/{major}:{minor}/uevent"), "change").unwrap();
}
