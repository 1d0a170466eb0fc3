//! Virtual hardware on the kernel's virtual host controller: `biosim hardware`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use biotrust_tests::{instance, wait};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{guest, host};

const PLACE: &str = "/run/hardware";
/// Of the kernel, for everything that is plugged in.
const MODULES: [&str; 5] = ["vhci-hcd", "usbhid", "hid-generic", "cdc-acm", "ftdi_sio"];

/// How long the kernel may take over a plug, and how often one is tried.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(15);
const PLUGS: u32 = 3;

/// Plugged devices. Dropping this unplugs them.
pub(crate) struct Hardware(Child);

impl Hardware {
    /// Plugs these devices in, given as `biosim hardware --device` takes them.
    pub(crate) fn plug(devices: &[&str]) -> Self {
        guest::load(&MODULES);
        let place = Path::new(PLACE);
        fs::create_dir_all(place).expect("a directory");
        let log = File::create(guest::share().join("biosim.log")).expect("a log");
        let mut command = Command::new(guest::programs().join("biosim"));
        command.args(["hardware", "--cache", "none", "--attach", "vhci"]);
        command.args(devices.iter().flat_map(|device| ["--device", device]));
        for (option, name) in [("--control", "sock"), ("--pki-out", "pki"), ("--ready-file", "ready.json")] {
            command.arg(option).arg(place.join(name));
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
        let mut hardware = Self(command.spawn().expect("biosim starts"));
        let plugged = wait::until(host::PATIENCE, || {
            let ended = hardware.0.try_wait().expect("a child");
            assert!(ended.is_none(), "biosim ended: {ended:?}\n{}", said());
            place.join("ready.json").exists().then_some(())
        });
        plugged.unwrap_or_else(|| panic!("nothing is plugged in\n{}", said()));
        hardware
    }

    /// Where the certificates of reference devices lead to.
    pub(crate) fn pki(&self) -> PathBuf {
        Path::new(PLACE).join("pki")
    }

    /// Gives an order about a device; answers whether it was carried out.
    pub(crate) fn order(&self, op: &str, name: &str, more: &Value) -> Value {
        let mut order = json!({"op": op, "id": name});
        let object = order.as_object_mut().expect("an object");
        object.extend(more.as_object().cloned().unwrap_or_default());
        done(&order)
    }

    /// Names of the devices.
    pub(crate) fn names(&self) -> Vec<String> {
        let all = done(&json!({"op": "list"}))["hardware"].as_array().cloned().unwrap_or_default();
        all.iter().filter_map(|one| one["name"].as_str().map(str::to_owned)).collect()
    }

    /// Has the kernel drop a device and take it up again, as an administrator may: without a plug being pulled.
    pub(crate) fn reset(&self, name: &str) {
        // It may be unplugged, or be gone before we write.
        let Some(device) = self.in_sysfs(name) else { return };
        let _ = fs::write(device.join("authorized"), "0");
        let _ = fs::write(device.join("authorized"), "1");
    }

    /// Pulls a device and plugs it in, again if the kernel does not take it up: a hub that has just seen many plugs, or a
    /// device that was faulty while it was looked at, is given up by the kernel, and no program can change that. Answers how
    /// many more plugs it took.
    pub(crate) fn plug_anew(&self, name: &str) -> u32 {
        for more in 0..PLUGS {
            self.order("power-cycle", name, &json!({}));
            if wait::until(TAKEN_UP_WITHIN, || self.is_taken_up(name).then_some(())).is_some() {
                return more;
            }
        }
        panic!("the kernel does not take {name} up: {}", done(&json!({"op": "list"})));
    }

    /// Whether the kernel has configured a device and bound its drivers to it, where it has some.
    fn is_taken_up(&self, name: &str) -> bool {
        let Some(device) = self.in_sysfs(name) else { return false };
        let configured = fs::read_to_string(device.join("bConfigurationValue"))
            .is_ok_and(|value| !value.trim().is_empty());
        let interface = format!("{}:1.0", device.file_name().unwrap_or_default().to_string_lossy());
        let interface = device.join(interface);
        let class = fs::read_to_string(interface.join("bInterfaceClass")).unwrap_or_default();
        let node = |start: &str| {
            let entries = fs::read_dir(&interface).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().starts_with(start))
        };
        configured
            && match (name, class.trim()) {
                (_, "") => false,
                // An HID device is named by its bus, 3 for USB.
                (_, "03") => node("0003:"),
                ("module", _) => node("ttyUSB"),
                _ => true,
            }
    }

    /// Lays a finger on all readers, or lifts it.
    pub(crate) fn finger(&self, present: bool) {
        done(&json!({"op": "finger", "present": present}));
    }

    /// What the kernel has for a device that is plugged in.
    fn in_sysfs(&self, name: &str) -> Option<PathBuf> {
        let all = done(&json!({"op": "list"}))["hardware"].as_array().cloned().unwrap_or_default();
        let place = all.iter().find(|one| one["name"] == name)?["place"].as_str()?.to_owned();
        let port: u32 = place.strip_prefix("vhci port ")?.parse().ok()?;
        Some(Path::new("/sys/bus/usb/devices").join(format!("1-{}", port + 1)))
    }
}

fn done(order: &Value) -> Value {
    let answer = instance::control(&Path::new(PLACE).join("sock"), order);
    assert_eq!(answer["ok"], true, "{order}: {answer}");
    answer["result"].clone()
}

fn said() -> String {
    fs::read_to_string(guest::share().join("biosim.log")).unwrap_or_default()
}

impl Drop for Hardware {
    fn drop(&mut self) {
        instance::signal(self.0.id(), Signal::TERM);
        if wait::until(host::PATIENCE, || self.0.try_wait().ok().flatten()).is_none() {
            let _ = self.0.kill();
        }
    }
}
