//! Every device that is supported, on every bus, found and driven by the installed daemon.

use std::fs;

use biotrust_tests::wait;
use serde_json::{Value, json};

use crate::guest::{self, shown};
use crate::hardware::Hardware;
use crate::host::{self, Account, Daemon};
use crate::judge::Judge;
use crate::provider::Provider;
use crate::scenario::storm;

/// What is plugged in, with the driver and the bus that it is found on.
const DEVICES: [(&str, &str, &str); 4] = [
    ("reader=uru4000", "uru4000", "usb"),
    ("module=r30x@ftdi", "r30x", "serial"),
    ("chip=link@usb:L1,IrisSingle,auth", "link", "usb"),
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
        let refused =
            |line: &Value| line["driver"] == driver && line["bus"] == bus && line["problem"].is_object();
        let line = host::until(device, refused);
        assert!(
            line["problem"]["text"].as_str().is_some_and(|text| text.contains("biotrust udev check")),
            "{line}"
        );
    }
    shown("without the rules none of them can be opened, and each problem says how to mend that");

    rules();
    for (device, driver, bus) in DEVICES {
        let line = host::until(device, |line| {
            line["driver"] == driver && line["bus"] == bus && line["serial"].is_string()
        });
        if line["level"] == "L0" {
            provider.enrol(line["serial"].as_str().unwrap_or_default());
        }
    }
    let lines = all_ready();
    shown("with them each is found by its driver; certified, all are ready");

    let judge = Judge::of(&hardware.pki(), &provider.pem);
    for line in &lines {
        let verdict = judge.any(daemon.port, &host::device(line));
        let sizes: Vec<String> =
            verdict.segments().iter().map(|one| format!("{}x{}", one.width, one.height)).collect();
        shown(format_args!(
            "{} on {}: a capture is accepted, its ISO records verified ({})",
            line["driver"],
            line["bus"],
            sizes.join(", ")
        ));
    }
    storm::run(&hardware, &daemon, &lines);
    daemon.stop();
}

/// Waits until every device is ready, or busy with a client, and nothing else is there.
pub(super) fn all_ready() -> Vec<Value> {
    let ready = |lines: &Vec<Value>| {
        lines.len() == DEVICES.len()
            && lines.iter().all(|line| line["status"] == "Ready" || line["capturing"] == true)
    };
    let found = wait::until(host::PATIENCE, || Some(host::devices()).filter(ready));
    found.unwrap_or_else(|| panic!("not all are ready: {:#}\n{}", json!(host::devices()), host::log_end()))
}

fn rules() {
    let made = host::cli(&["udev", "generate", "rules"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::create_dir_all("/etc/udev/rules.d").expect("/etc can be written");
    fs::write(RULES, &made.stdout).expect("/etc can be written");
    guest::run("udevadm", &["control", "--reload"]);
    guest::run("udevadm", &["trigger", "--settle", "--action=change"]);
}
