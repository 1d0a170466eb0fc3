//! The emulator: the one that is installed, or Debian's, unpacked beside the kernel.
//!
//! It is not installed for the rig, since that can remove what somebody installed on purpose: qemu-utils from backports
//! and the qemu-system of the release exclude each other.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::apt;
use crate::step::{self, Failure};

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";
/// Where Debian keeps libraries, below the root.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];
/// Starts a kernel in no time, and leaves the tables of the TPM alone, which SeaBIOS with an ELF kernel does not.
const FIRMWARE: &str = "usr/share/qemu/qboot.rom";

/// An emulator that runs here.
#[derive(Debug, Clone)]
pub(super) struct Qemu {
    /// Below it lie program and firmware.
    root: PathBuf,
}

impl Qemu {
    pub(super) fn provide() -> Result<Self, Failure> {
        let installed = Self { root: "/".into() };
        if installed.works() {
            return Ok(installed);
        }
        let root = apt::cached("qemu", |root| apt::with_lists(|| apt::unpack(&with_what_it_needs()?, root)))?;
        let unpacked = Self { root };
        if unpacked.works() {
            return Ok(unpacked);
        }
        Err(Failure::new(format!(
            "{} does not run; remove that directory and try again, or install {PACKAGE}",
            unpacked.root.join("usr/bin").join(PROGRAM).display()
        )))
    }

    /// One below `root`.
    #[cfg(test)]
    pub(super) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn works(&self) -> bool {
        self.firmware().is_file() && step::works(self.command().arg("-version"))
    }

    pub(super) fn firmware(&self) -> PathBuf {
        self.root.join(FIRMWARE)
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(self.root.join("usr/bin").join(PROGRAM));
        if self.root != Path::new("/") {
            let libraries = LIBRARIES.map(|directory| self.root.join(directory).display().to_string());
            command.env("LD_LIBRARY_PATH", libraries.join(":"));
            command.env("QEMU_MODULE_DIR", self.root.join("usr/lib/x86_64-linux-gnu/qemu"));
            command.arg("-L").arg(self.root.join("usr/share/qemu"));
        }
        command
    }
}

/// The package and those that it needs and that are not installed: what apt would download for it.
fn with_what_it_needs() -> Result<Vec<String>, Failure> {
    let mut ask = Command::new("apt-get");
    let said = apt::output(ask.args([
        "install",
        "--print-uris",
        "--quiet=2",
        "--yes",
        "--no-install-recommends",
        PACKAGE,
    ]))?;
    let packages = named(&said);
    if packages.is_empty() {
        return Err(Failure::new(format!("{PACKAGE} is installed, but {PROGRAM} does not run")));
    }
    Ok(packages)
}

/// Names in lines such as `'http://…/libaio1_0.3_amd64.deb' libaio1_0.3_amd64.deb 13412 SHA256:…`.
fn named(uris: &str) -> Vec<String> {
    let files =
        uris.lines().filter(|line| line.starts_with('\'')).filter_map(|line| line.split_whitespace().nth(1));
    files.filter_map(|file| Some(file.split_once('_')?.0.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_named_by_their_files() {
        let said = "'http://deb/a/libfdt1_1.6.1-4_amd64.deb' libfdt1_1.6.1-4_amd64.deb 20864 SHA256:1\n\
            'http://deb/q/qemu-system-x86_7.2%2bdfsg_amd64.deb' qemu-system-x86_1%3a7.2+dfsg_amd64.deb 6 SHA256:2\n";
        assert_eq!(named(said), ["libfdt1", "qemu-system-x86"]);
        assert!(named("Reading package lists...\n").is_empty());
    }

    #[test]
    fn an_emulator_that_is_not_there_does_not_work() {
        assert!(!Qemu { root: "/nonexistent".into() }.works());
    }
}
