//! `biosim hardware` as a user runs it: devices offered over USB/IP and on pseudo-terminals, controlled with `biosim ctl`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // what a test may, its helpers may

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use biosim_usbip::LocalPort;
use biosim_usbip::server::import_from;
use biotrust_driver_api::{PipeErrorKind, Recipient, RequestKind, Setup, UsbPort as _};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// A biosim with hardware; it ends with this value.
struct Biosim {
    child: Child,
    control: PathBuf,
    ready: Value,
}

impl Biosim {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let (control, file) = (folder.join("control.sock"), folder.join("ready.json"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_biosim"))
            .arg("hardware")
            .args(arguments)
            .arg("--control")
            .arg(&control)
            .arg("--ready-file")
            .arg(&file)
            .args(["--cache", "none"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !file.exists() {
            assert!(
                child.try_wait().unwrap().is_none() && Instant::now() < deadline,
                "it does not get ready"
            );
            std::thread::yield_now();
        }
        let ready = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        Self { child, control, ready }
    }

    fn ctl(&self, words: &[&str]) -> Result<Value, String> {
        let output = Command::new(env!("CARGO_BIN_EXE_biosim"))
            .arg("ctl")
            .arg("--control")
            .arg(&self.control)
            .arg("--json")
            .args(words)
            .output()
            .unwrap();
        if output.status.success() {
            Ok(serde_json::from_slice(&output.stdout).unwrap())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    fn device(&self, name: &str) -> Value {
        let list = self.ctl(&["list"]).unwrap();
        list["hardware"].as_array().unwrap().iter().find(|d| d["name"] == name).unwrap().clone()
    }

    /// The device as a USB port in this process.
    fn import(&self, name: &str) -> LocalPort {
        let address = self.ready["usbip"].as_str().unwrap().parse().unwrap();
        let device = self.device(name);
        let id = device["place"].as_str().unwrap().strip_prefix("usbip ").unwrap();
        import_from(address, id).unwrap()
    }
}

impl Drop for Biosim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Register 07 of a U.are.U: one byte.
const HWSTAT: Setup =
    Setup { kind: RequestKind::Vendor, recipient: Recipient::Device, request: 4, value: 7, index: 0 };

#[test]
fn usb_devices_are_offered_pulled_and_spoiled() {
    let folder = tempfile::tempdir().unwrap();
    let devices = ["--device", "left=uru4000", "--device", "right=uru4000:R1", "--attach", "tcp:127.0.0.1:0"];
    let biosim = Biosim::start(folder.path(), &devices);
    let left = biosim.import("left");
    let right = biosim.import("right");
    assert_eq!(left.control_in(HWSTAT, &mut [0], PATIENCE).unwrap(), 1);

    biosim.ctl(&["hw-fault", "left", "stall"]).unwrap();
    assert_eq!(left.control_in(HWSTAT, &mut [0], PATIENCE).unwrap_err().kind, PipeErrorKind::Stalled);
    assert_eq!(right.control_in(HWSTAT, &mut [0], PATIENCE).unwrap(), 1, "the other one is well");
    assert_eq!(biosim.device("left")["fault"], "stall");
    biosim.ctl(&["hw-fault", "left", "none"]).unwrap();
    assert_eq!(left.control_in(HWSTAT, &mut [0], PATIENCE).unwrap(), 1);
    let refusal = biosim.ctl(&["hw-fault", "left", "melt"]).unwrap_err();
    assert!(refusal.contains("slow:MILLISECONDS") && refusal.contains("mute"), "{refusal}");

    biosim.ctl(&["yank", "R1"]).unwrap();
    assert_eq!(right.control_in(HWSTAT, &mut [0], PATIENCE).unwrap_err().kind, PipeErrorKind::Gone);
    assert_eq!(biosim.device("right")["plugged"], false);
    biosim.ctl(&["replug", "right"]).unwrap();
    let again = biosim.import("right");
    assert_eq!(again.control_in(HWSTAT, &mut [0], PATIENCE).unwrap(), 1);
    assert!(biosim.ctl(&["yank", "middle"]).unwrap_err().contains("left, right"));
}

#[test]
fn a_module_on_a_pseudo_terminal_answers_and_is_pulled() {
    let folder = tempfile::tempdir().unwrap();
    let lines = folder.path().join("lines");
    std::fs::create_dir(&lines).unwrap();
    let place = format!("pty:{}", lines.display());
    let biosim = Biosim::start(folder.path(), &["--device", "r30x@pty", "--attach", &place]);
    let link = lines.join("r30x-pty.tty");
    assert_eq!(biosim.device("r30x-pty")["place"], link.to_str().unwrap());
    assert!(std::fs::metadata(&link).is_ok(), "the link leads to a terminal");
    biosim.ctl(&["unplug", "r30x-pty"]).unwrap();
    assert!(std::fs::symlink_metadata(&link).is_err());
    biosim.ctl(&["replug", "r30x-pty"]).unwrap();
    assert!(std::fs::metadata(&link).is_ok());
    assert_eq!(biosim.ctl(&["finger", "absent"]).unwrap()["present"], false);
}

#[test]
fn modules_that_are_trusted_and_cameras_have_their_places() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, pki) = (folder.path().join("camera.sock"), folder.path().join("pki"));
    let camera = format!("eye=camera@{}", socket.display());
    let place = format!("pty:{}", folder.path().display());
    let pki_out = pki.to_str().unwrap();
    let devices = ["--device", "ftm@hid", "--device", "ftm@pty", "--device", &camera];
    let places = ["--attach", "tcp:127.0.0.1:0", "--attach", &place, "--pki-out", pki_out, "--no-finger"];
    let biosim = Biosim::start(folder.path(), &[&devices[..], &places].concat());
    assert!(pki.join("ftm-anchors.pem").exists());
    let module = biosim.import("ftm-hid");
    assert_eq!(module.interfaces()[0].class, 3);
    assert!(folder.path().join("FTM00002.tty").exists());

    let frame = || {
        use std::io::Read as _;
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        u32::from_le_bytes(length)
    };
    let wall = frame();
    biosim.ctl(&["finger", "present", "--device", "eye"]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while frame() <= wall {
        assert!(Instant::now() < deadline, "a face has more to it than a wall");
    }
    biosim.ctl(&["yank", "eye"]).unwrap();
    assert!(std::os::unix::net::UnixStream::connect(&socket).is_err());
    biosim.ctl(&["power-cycle", "ftm-hid"]).unwrap();
    assert!(biosim.ctl(&["hw-fault", "ftm-pty", "nak"]).is_err(), "a line has no such fault");
    biosim.ctl(&["hw-fault", "ftm-hid", "reenumerate"]).unwrap();
    assert_eq!(biosim.import("ftm-hid").interfaces().len(), 1);
}

#[test]
fn what_cannot_be_plugged_in_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, why) in [
        (&["--device", "uru4000"][..], "--attach vhci"),
        (&["--device", "uru4000", "--attach", "pty:x"], "no device goes to a pseudo-terminal"),
        (&["--device", "uru9000", "--attach", "vhci"], "r30x@acm"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_biosim"))
            .arg("hardware")
            .args(arguments)
            .arg("--control")
            .arg(folder.path().join("control.sock"))
            .args(["--cache", "none"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(why), "{arguments:?}: {said}");
    }
}
