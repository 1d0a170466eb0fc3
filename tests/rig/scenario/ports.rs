//! The layer that opens, watches and recovers devices, by its own tests: USB and HID devices on the kernel's virtual host
//! controller, its virtual camera, and hot-plug as udev tells it.

use std::process::Command;

use crate::guest::{self, shown};

/// Everything about ports.
pub(crate) fn run() {
    guest::load(&["vhci-hcd", "usbhid", "hid-generic", "vivid"]);
    for program in ["kernel", "hotplug"] {
        let file = guest::word(&format!("test_{program}")).expect("the test was built");
        // One at a time: the second one also counts what the kernel tells of everybody's devices.
        let output = Command::new(file)
            .args(["--ignored", "--nocapture", "--test-threads", "1"])
            .output()
            .expect("the test starts");
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {said}\n{complained}");
        let passed = said.lines().find_map(|line| line.strip_prefix("test result: ok. "));
        let passed = passed.and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok()).unwrap_or(0);
        assert!(passed > 0, "{program}: no test was run: {said}");
        let figure = |line: &str| {
            let at = ["pulled (", "pulled: "].iter().find_map(|word| line.find(word))?;
            line.get(at..).map(str::to_owned)
        };
        said.lines().filter_map(figure).for_each(shown);
        shown(format_args!("{passed} tests of {program} passed"));
    }
}
