//! The kernel that guests run: the distribution's own, unpacked and never installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{apt, bzimage};
use crate::step::{self, Failure};

/// Depends on the newest kernel of the release.
const META_PACKAGE: &str = "linux-image-amd64";
const PREFIX: &str = "linux-image-";

/// A kernel that can be booted.
#[derive(Debug, Clone)]
pub(super) struct Kernel {
    /// What `uname -r` says in the guest.
    pub(super) release: String,
    /// Has `vmlinux` and `lib/modules/RELEASE` in it.
    pub(super) root: PathBuf,
}

impl Kernel {
    /// The newest one of the release, or the package that is asked for.
    pub(super) fn provide(package: Option<&str>) -> Result<Self, Failure> {
        let package = match package {
            Some(package) => package.to_owned(),
            None => apt::with_lists(newest)?,
        };
        let release = package
            .strip_prefix(PREFIX)
            .ok_or_else(|| Failure::usage(format!("{package:?} is no package of a kernel ({PREFIX}...)")))?
            .to_owned();
        let root = apt::cached(&package, |root| {
            apt::with_lists(|| apt::unpack(std::slice::from_ref(&package), root))?;
            prepare(&release, root)
        })?;
        Ok(Self { release, root })
    }

    /// The kernel as ELF.
    pub(super) fn image(&self) -> PathBuf {
        self.root.join("vmlinux")
    }

    /// Files of these modules and of all that they need, in the order in which they are loaded.
    pub(super) fn modules(&self, names: &[&str]) -> Result<Vec<PathBuf>, Failure> {
        let mut files: Vec<PathBuf> = Vec::new();
        for name in names {
            let mut modprobe = administrators("modprobe");
            modprobe.arg("--dirname").arg(&self.root).arg("--set-version").arg(&self.release);
            let said = apt::output(modprobe.args(["--show-depends", name]))?;
            for file in said.lines().filter_map(|line| line.strip_prefix("insmod ")) {
                let file = PathBuf::from(file.trim());
                if !files.contains(&file) {
                    files.push(file);
                }
            }
        }
        Ok(files)
    }
}

/// The package that the meta package stands for today.
fn newest() -> Result<String, Failure> {
    let said = apt::output(Command::new("apt-cache").args(["depends", META_PACKAGE]))?;
    said.split_whitespace()
        .find(|word| word.starts_with(PREFIX) && *word != META_PACKAGE)
        .map(str::to_owned)
        .ok_or_else(|| {
            Failure::new(format!(
                "apt knows no package {META_PACKAGE}; the rig runs Debian's kernel for amd64"
            ))
        })
}

/// Turns the unpacked package into what guests want, and leaves out what they do not.
fn prepare(release: &str, root: &Path) -> Result<(), Failure> {
    bzimage::unpack(&root.join(format!("boot/vmlinuz-{release}")), &root.join("vmlinux"))?;
    let mut depmod = administrators("depmod");
    step::run("modules", depmod.arg("--basedir").arg(root).arg(release))?;
    let _ = std::fs::remove_dir_all(root.join("boot"));
    let _ = std::fs::remove_dir_all(root.join("usr"));
    Ok(())
}

/// A program that is not in every user's PATH.
fn administrators(program: &str) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}
