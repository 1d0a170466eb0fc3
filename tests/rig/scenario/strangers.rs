//! Devices that nobody here wrote: a serial adapter, a keyboard and a card reader of the emulator, a camera of the kernel.
//!
//! They are left alone until the owner of the host wants one of them; what he then lacks is said.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use biotrust_tests::wait;
use serde_json::{Value, json};

use crate::guest::{self, shown};
use crate::host::{self, Account, Daemon};
use crate::monitor::Monitor;

const ADAPTER: &str = "/dev/ttyUSB0";
/// Bus, USB id and whether a quirk file knows it, of what is plugged in.
const STRANGERS: [(&str, &str, bool); 3] =
    [("serial", "0403:6001", true), ("hid", "0627:0001", false), ("usb", "08e6:4433", false)];

/// Everything about strangers.
pub(crate) fn run() {
    host::install();
    guest::load(&["xhci-pci", "usbhid", "hid-generic", "ftdi_sio"]);
    host::configure("");
    let biotrust = Account::named("biotrust");
    let daemon = Daemon::start(&biotrust);
    let mut monitor = Monitor::open();
    plug_all(&mut monitor);
    // Some were there before the daemon looked, some come now.
    guest::load(&["vivid"]);
    for (bus, usb, known) in STRANGERS {
        let one = left_alone(usb, |one| one["bus"] == bus);
        assert_eq!(one["known"], known, "{one}");
    }
    left_alone("the kernel's camera", |one| one["bus"] == "video" && one["usb"].is_null());
    assert_eq!(host::devices(), Vec::<Value>::new());
    assert_eq!(opened(&daemon), Vec::<String>::new());
    assert_ne!(group(ADAPTER), biotrust.gid);
    shown("adapter, keyboard, card reader and camera are seen, and left alone");

    monitor.pull("keyboard");
    gone("0627:0001");
    shown("a keyboard that is pulled is forgotten");
    daemon.stop();

    wanted(&biotrust);
}

/// The owner says that a module is behind the adapter.
fn wanted(biotrust: &Account) {
    host::configure("[quirks]\nenable = [\"r30x-ftdi\"]\n");
    let daemon = Daemon::start(biotrust);
    let line = host::until("the adapter cannot be opened", |line| !line["problem"].is_null());
    let told = line["problem"].to_string();
    assert!(told.contains("biotrust udev check"), "{line:#}");
    assert_eq!(opened(&daemon), Vec::<String>::new());
    let check = || host::cli(&["udev", "check"]);
    assert!(!check().status.success(), "the rules are not those of this configuration");
    shown(
        "an adapter that the owner enables, without its udev rule: the problem names the command that finds it",
    );

    for (what, file) in [("rules", "rules.d/72-biotrust.rules"), ("hwdb", "hwdb.d/60-biotrust.hwdb")] {
        let made = host::cli(&["udev", "generate", what]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let place = Path::new("/etc/udev").join(file);
        fs::create_dir_all(place.parent().expect("a directory")).expect("/etc can be written");
        fs::write(place, &made.stdout).expect("/etc can be written");
    }
    guest::run("systemd-hwdb", &["update"]);
    guest::run("udevadm", &["control", "--reload"]);
    guest::run("udevadm", &["trigger", "--settle", "--subsystem-match=tty"]);
    let output = check();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(group(ADAPTER), biotrust.gid);
    let line = host::until("no module answers", |line| {
        let problem = line["problem"].to_string();
        line["problem"].is_object() && problem != told && !problem.contains("being opened")
    });
    assert!(!line["problem"].to_string().contains("udev"), "{line:#}");
    shown(format_args!(
        "with the rule it is opened at once, and nothing answers: {}",
        line["problem"]["text"]
    ));
    daemon.stop();
}

fn plug_all(monitor: &mut Monitor) {
    monitor.nowhere("nowhere");
    monitor.plug(
        "usb-serial",
        "adapter",
        &json!({"chardev": "nowhere", "serial": "QS1", "always-plugged": true}),
    );
    monitor.plug("usb-kbd", "keyboard", &json!({}));
    monitor.plug("usb-ccid", "reader", &json!({}));
}

fn all_left_alone() -> Vec<Value> {
    host::control(&json!({"op": "status"}))["result"]["left_alone"].as_array().cloned().unwrap_or_default()
}

/// Waits until the daemon tells of something with this USB id, or as `wanted`, that it leaves alone.
fn left_alone(what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let of_id = |one: &Value| one["usb"].is_null() || one["usb"] == what;
    let found =
        wait::until(host::PATIENCE, || all_left_alone().into_iter().find(|one| of_id(one) && wanted(one)));
    found.unwrap_or_else(|| panic!("{what} is not seen: {:#}\n{}", json!(all_left_alone()), host::log_end()))
}

fn gone(usb: &str) {
    let gone =
        wait::until(host::PATIENCE, || all_left_alone().iter().all(|one| one["usb"] != usb).then_some(()));
    gone.unwrap_or_else(|| panic!("{usb} is still told of: {:#}", json!(all_left_alone())));
}

/// Nodes of devices that the daemon has open.
fn opened(daemon: &Daemon) -> Vec<String> {
    let files = fs::read_dir(format!("/proc/{}/fd", daemon.pid)).expect("the daemon runs");
    let targets = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
    let nodes = targets.map(|target| target.display().to_string());
    nodes
        .filter(|node| {
            ["/dev/tty", "/dev/hid", "/dev/video", "/dev/bus"].iter().any(|of| node.starts_with(of))
        })
        .collect()
}

fn group(path: &str) -> u32 {
    fs::metadata(Path::new(path)).unwrap_or_else(|e| panic!("{path}: {e}")).gid()
}
