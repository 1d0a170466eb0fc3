//! The TPM of a guest: swtpm on the host, which the emulator shows as a chip.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::step::{self, Failure};

/// Of the socket, in the directory of the guest: short, whatever the directory is called.
const SOCKET: &str = "tpm.sock";
const STARTS_WITHIN: Duration = Duration::from_secs(20);

/// What the emulator is told.
pub(super) const OPTIONS: [&str; 6] = [
    "-chardev",
    "socket,id=tpm,path=tpm.sock",
    "-tpmdev",
    "emulator,id=chip,chardev=tpm",
    "-device",
    "tpm-crb,tpmdev=chip",
];

/// A running TPM. Power is cut when it is dropped.
pub(super) struct Tpm(Child);

impl Tpm {
    /// Has `rig` manufacture one in `share`/tpm, with its certificate and the authority's, and starts it.
    pub(super) fn start(rig: &Path, share: &Path) -> Result<Self, Failure> {
        step::run("TPM", Command::new(rig).arg("manufacture").arg(share.join("tpm")))?;
        let mut swtpm = Command::new("swtpm");
        swtpm.current_dir(share).args(["socket", "--tpm2", "--terminate", "--tpmstate", "dir=tpm/state"]);
        swtpm.args(["--ctrl", &format!("type=unixio,path={SOCKET}")]);
        swtpm.stdin(Stdio::null()).stdout(Stdio::null());
        let child = swtpm.spawn().map_err(|e| Failure::new(format!("cannot run swtpm: {e}")))?;
        let mut tpm = Self(child);
        let deadline = Instant::now() + STARTS_WITHIN;
        while !share.join(SOCKET).exists() {
            if let Ok(Some(status)) = tpm.0.try_wait() {
                return Err(Failure::new(format!("swtpm ended at once ({status})")));
            }
            if Instant::now() > deadline {
                return Err(Failure::new("swtpm does not listen"));
            }
            super::pause();
        }
        Ok(tpm)
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
