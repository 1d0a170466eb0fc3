//! systemd as the first process of a guest: the host's own, with nothing of the host's services.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::init;

const SYSTEMD: &str = "/lib/systemd/systemd";
/// Where an administrator's units are; they come before those of packages.
const UNITS: &str = "/etc/systemd/system";
/// They would walk through all files of the host, or write down what is not of this machine.
const MASKED: [&str; 6] = [
    "systemd-tmpfiles-setup.service",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-binfmt.service",
    "systemd-update-utmp.service",
    "systemd-machine-id-commit.service",
    "systemd-random-seed.service",
];
const TARGET: &str = "[Unit]
Requires=sysinit.target
After=sysinit.target
Wants=rig.service
AllowIsolate=yes
";

/// Replaces this process by systemd, which then starts us again as a service.
pub(crate) fn become_it() -> ExitCode {
    prepare().unwrap_or_else(|error| panic!("preparing for systemd: {error}"));
    let error =
        Command::new(SYSTEMD).args(["--unit=rig.target", "--log-level=warning", "--show-status=no"]).exec();
    panic!("{SYSTEMD}: {error}");
}

fn prepare() -> std::io::Result<()> {
    init::modules_of_this_kernel()?;
    // No disks, no identity, and none of the services that are enabled on the host.
    fs::write("/etc/fstab", "")?;
    fs::write("/etc/machine-id", "")?;
    for entry in fs::read_dir(UNITS)?.flatten() {
        if entry.file_name().to_string_lossy().ends_with(".wants") {
            fs::remove_dir_all(entry.path())?;
        }
    }
    for unit in MASKED {
        let place = Path::new(UNITS).join(unit);
        let _ = fs::remove_file(&place);
        std::os::unix::fs::symlink("/dev/null", place)?;
    }
    fs::write(Path::new(UNITS).join("rig.target"), TARGET)?;
    fs::write(Path::new(UNITS).join("rig.service"), service()?)
}

/// Our second start. The words of this guest are in our environment, which a service does not inherit.
fn service() -> std::io::Result<String> {
    let words: String = std::env::vars()
        .filter(|(name, _)| name.starts_with("rig_"))
        .map(|(name, value)| format!("Environment=\"{name}={value}\"\n"))
        .collect();
    let program = std::env::current_exe()?;
    Ok(format!(
        "[Unit]\nDefaultDependencies=no\nAfter=sysinit.target\n\
         [Service]\nType=oneshot\nTimeoutStartSec=infinity\nExecStart={} report\n{words}",
        program.display()
    ))
}
