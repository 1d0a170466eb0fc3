//! Every device that is supported, on every bus, found and driven by the installed daemon.

use std::fs;

use biotrust_tests::requests;
use serde_json::{Value, json};

use crate::guest::{self, shown};
use crate::hardware::Hardware;
use crate::host::{self, Account, Daemon};
use crate::judge::Judge;
use crate::provider::Provider;

/// What is plugged in, with the driver and the bus that it is found on.
const DEVICES: [(&str, &str, &str); 4] = [
    ("reader=uru4000", "uru4000", "usb"),
    ("module=r30x@ftdi", "r30x", "serial"),
    ("camera=link@usb:L1,IrisDouble", "link", "usb"),
    ("finger=link@hid:L0,FingerSingle", "link", "hid"),
];
const RULES: &str = "/etc/udev/rules.d/72-biotrust.rules";
const CONFIG: &str = "
[sbi]
finish_margin_ms = 5000
allow_l0_auth = true
[trust]
device_anchors = [\"/etc/biotrust/anchors/provider.pem\", \"/etc/biotrust/anchors/device.pem\"]
ftm_anchors = [\"/etc/biotrust/anchors/ftm.pem\"]
[encryption]
certificate = \"/etc/biotrust/anchors/ida.pem\"
[quirks]
enable = [\"r30x-ftdi\"]
";

/// Everything about buses.
pub(crate) fn run() {
    host::install();
    // The control comes first: devices that nothing gives to the daemon.
    fs::remove_file(RULES.replace("/etc", "/usr/lib")).expect("the shipped rules are installed");
    guest::run("udevadm", &["control", "--reload"]);
    let hardware = Hardware::plug(&DEVICES.map(|(device, ..)| device));
    shown(format_args!("plugged in: {}", DEVICES.map(|(device, ..)| device).join(", ")));
    let provider = Provider::new();
    let own = guest::share().join("provider.pem");
    fs::write(&own, &provider.pem).expect("a certificate");
    host::anchor(&own, "provider.pem");
    for (from, name) in [("device-anchors", "device"), ("ftm-anchors", "ftm"), ("ida-certificate", "ida")] {
        host::anchor(&hardware.pki().join(from).with_extension("pem"), &format!("{name}.pem"));
    }
    host::configure(CONFIG);
    let biotrust = Account::named("biotrust");

    let daemon = Daemon::start(&biotrust);
    for (device, driver, bus) in DEVICES {
        let line = host::until(device, |line| line["bus"] == bus && line["problem"].is_object());
        println!("{driver} {line}");
    }
    shown("without the rules none of them can be opened, and each problem says how to mend that");

    rules();
    for (_, driver, bus) in DEVICES {
        let line = host::until(driver, |line| {
            line["driver"] == driver && line["bus"] == bus && line["serial"].is_string()
        });
        println!("{}", line);
    }
    daemon.stop();
    let _ = (Judge::of(&hardware.pki()), requests::registration_of);
}

fn rules() {
    let made = host::cli(&["udev", "generate", "rules"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::create_dir_all("/etc/udev/rules.d").expect("/etc can be written");
    fs::write(RULES, &made.stdout).expect("/etc can be written");
    guest::run("udevadm", &["control", "--reload"]);
    guest::run("udevadm", &["trigger", "--settle", "--action=change"]);
}

#[allow(unused)]
fn x(_: Value) {}
