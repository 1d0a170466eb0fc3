//! System packages: what is needed, for what, how it is seen to be missing, and how to get it.
//!
//! To need something new, add a row to [`NEEDS`]. A row is judged by what it is for (does the compiler compile?), not by
//! asking the package manager: a tool may have come another way.

use std::ffi::OsString;
use std::io::{BufRead, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::Task;
use crate::step::{self, Failure, say};

/// One row of the table.
struct Need {
    /// What it is.
    what: &'static str,
    /// What breaks without it.
    why: &'static str,
    /// Debian and Ubuntu packages that bring it.
    packages: &'static [&'static str],
    /// Tasks that need it.
    tasks: &'static [Task],
    /// Whether it is there.
    present: fn() -> bool,
}

const NEEDS: &[Need] = &[
    Need {
        what: "a C compiler with headers, archiver and linker",
        why: "the cryptographic library (aws-lc) and SQLite are compiled from C",
        packages: &["gcc", "libc6-dev", "binutils"],
        tasks: &[Task::Demo, Task::Test, Task::Bench, Task::Check, Task::Fuzz, Task::Rig],
        present: c_toolchain,
    },
    Need {
        what: "tpm2-tss, with headers",
        why: "the service reaches a TPM through it",
        packages: &["libtss2-dev", "pkg-config"],
        tasks: &[Task::Demo, Task::Test, Task::Bench, Task::Check, Task::Rig],
        present: tss,
    },
    Need {
        what: "libudev, with headers",
        why: "devices are seen coming and going through it",
        packages: &["libudev-dev", "pkg-config"],
        tasks: &[Task::Demo, Task::Test, Task::Bench, Task::Check, Task::Rig],
        present: udev,
    },
    Need {
        what: "swtpm with its tools",
        why: "it is the chip of a virtual device, and the TPM of tests",
        packages: &["swtpm", "swtpm-tools"],
        tasks: &[Task::Demo, Task::Test, Task::Bench, Task::Rig],
        present: swtpm,
    },
    Need {
        what: "SoftHSM",
        why: "tests of the management server keep its issuing key in one",
        packages: &["softhsm2"],
        tasks: &[Task::Test],
        present: softhsm,
    },
    Need {
        what: "the programs of a PostgreSQL server",
        why: "tests of the management server start one of their own",
        packages: &["postgresql"],
        tasks: &[Task::Test],
        present: postgresql,
    },
    Need {
        what: "busybox, static",
        why: "it mounts the root of a virtual machine",
        packages: &["busybox-static"],
        tasks: &[Task::Rig],
        present: busybox,
    },
    Need {
        what: "kmod and xz",
        why: "a kernel is unpacked, and its modules are loaded in virtual machines",
        packages: &["kmod", "xz-utils"],
        tasks: &[Task::Rig],
        present: kernel_tools,
    },
    Need {
        what: "systemd with udev and D-Bus",
        why: "virtual machines run those of this host",
        packages: &["systemd", "udev", "dbus"],
        tasks: &[Task::Rig],
        present: systemd,
    },
];

/// Makes sure that everything `task` needs is there, installing what is missing.
pub(crate) fn provide(task: Task, yes: bool) -> Result<(), Failure> {
    let missing = missing(NEEDS, task);
    if missing.is_empty() {
        return Ok(());
    }
    for need in &missing {
        say(format_args!("missing: {} (packages {}): {}", need.what, need.packages.join(", "), need.why));
    }
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages).copied().collect();
    install(&packages, yes)?;
    match missing.iter().find(|need| !(need.present)()) {
        None => Ok(()),
        Some(need) => Err(Failure::new(format!(
            "{} is still missing, although the packages {} are installed; check PATH, and variables such as CC and AR",
            need.what,
            need.packages.join(", ")
        ))),
    }
}

fn missing(needs: &[Need], task: Task) -> Vec<&Need> {
    needs.iter().filter(|need| need.tasks.contains(&task) && !(need.present)()).collect()
}

/// How to install on this machine.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    /// Run apt-get.
    Apt,
    /// Run apt-get through sudo.
    Sudo,
    /// Ask first, then as [`Self::Sudo`].
    AskThenSudo,
    /// Somebody else has to; says why.
    ByHand(&'static str),
}

/// What is known of the machine and of who runs us.
#[derive(Clone, Copy)]
struct Host {
    apt: bool,
    root: bool,
    sudo: bool,
    /// Somebody is there to answer a question.
    person: bool,
}

impl Host {
    fn here() -> Self {
        Self {
            apt: step::works(Command::new("apt-get").arg("--version")),
            // Our own effective user owns /proc/self.
            root: std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0),
            sudo: step::works(Command::new("sudo").arg("--version")),
            person: std::io::stdin().is_terminal(),
        }
    }

    /// Root needs no question: whoever builds as root on a machine of its own (a container, CI) wants it set up.
    const fn way(self, yes: bool) -> Way {
        match self {
            Self { apt: false, .. } => Way::ByHand("this is no Debian or Ubuntu (there is no apt-get)"),
            Self { root: true, .. } => Way::Apt,
            Self { sudo: false, .. } => Way::ByHand("you are not root and there is no sudo"),
            _ if yes => Way::Sudo,
            Self { person: true, .. } => Way::AskThenSudo,
            _ => Way::ByHand("nobody is there to be asked; `--yes` installs without asking"),
        }
    }
}

/// Has apt read the lists of packages anew.
pub(crate) fn update_lists() -> Result<(), Failure> {
    let host = Host::here();
    step::run("package lists", apt(!host.root && host.sudo).arg("update"))
}

/// apt-get that asks nothing.
fn apt(sudo: bool) -> Command {
    let mut command = Command::new(if sudo { "sudo" } else { "env" });
    command.args(if sudo {
        &["env", "DEBIAN_FRONTEND=noninteractive"][..]
    } else {
        &["DEBIAN_FRONTEND=noninteractive"]
    });
    command.args(["apt-get", "--yes", "--quiet"]);
    command
}

fn install(packages: &[&str], yes: bool) -> Result<(), Failure> {
    let sudo = match Host::here().way(yes) {
        Way::Apt => false,
        Way::Sudo => true,
        Way::AskThenSudo if asked(packages) => true,
        Way::AskThenSudo => return Err(Failure::new("nothing was installed, as you said")),
        Way::ByHand(why) => {
            return Err(Failure::new(format!(
                "cannot install {} here: {why}. Install what is missing by hand (other systems have other names for it), then try again",
                packages.join(", ")
            )));
        }
    };
    // Without a network the lists of yesterday may still do.
    if let Err(failure) = step::run("package lists", apt(sudo).arg("update")) {
        say(failure);
    }
    step::run(
        "packages",
        apt(sudo).args(["install", "--no-install-recommends", "--no-remove"]).args(packages),
    )
}

/// Asks whether to install; only a yes counts.
fn asked(packages: &[&str]) -> bool {
    let _ = write!(std::io::stderr(), "xtask: install {} with sudo apt-get? [y/N] ", packages.join(", "));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).is_ok()
        && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Compiles, archives and links a program that uses the C library, as build scripts do.
fn c_toolchain() -> bool {
    in_a_directory(|dir| {
        let archived = || {
            step::works(Command::new(variable("AR", "ar")).current_dir(dir).args([
                "crs",
                "libprobe.a",
                "probe.o",
            ]))
        };
        runs(dir, "#include <stdlib.h>\nint main(void) { return abs(0); }\n", &[]) && archived()
    })
}

/// Compiles and links a program that uses tpm2-tss, with what pkg-config says, as the build script does.
fn tss() -> bool {
    let libraries = ["tss2-sys", "tss2-esys", "tss2-tctildr", "tss2-mu"];
    let Ok(told) = Command::new(variable("PKG_CONFIG", "pkg-config"))
        .args(["--cflags", "--libs"])
        .args(libraries)
        .stderr(Stdio::null())
        .output()
    else {
        return false;
    };
    let flags = String::from_utf8_lossy(&told.stdout);
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let source = "#include <tss2/tss2_esys.h>\nint main(void) { return Esys_Initialize == 0; }\n";
    told.status.success() && in_a_directory(|dir| runs(dir, source, &flags))
}

/// Compiles and links a program that uses libudev.
fn udev() -> bool {
    let source = "#include <libudev.h>\nint main(void) { return udev_new() == 0; }\n";
    in_a_directory(|dir| runs(dir, source, &["-ludev"]))
}

/// The program that goes into the first root of a guest: it must need nothing beside it.
fn busybox() -> bool {
    in_a_directory(|dir| {
        let copy = dir.join("busybox");
        std::fs::copy("/bin/busybox", &copy).is_ok()
            && std::fs::read(&copy).is_ok_and(|program| !program.windows(8).any(|found| found == b"/ld-linu"))
            && step::works(Command::new(&copy).arg("true"))
    })
}

fn kernel_tools() -> bool {
    step::works(Command::new("xz").arg("--version"))
        && ["/sbin/modprobe", "/sbin/depmod"]
            .iter()
            .all(|tool| step::works(Command::new(tool).arg("--version")))
}

fn systemd() -> bool {
    step::works(Command::new("/lib/systemd/systemd").arg("--version"))
        && step::works(Command::new("/lib/systemd/systemd-udevd").arg("--version"))
        && Path::new("/lib/systemd/system/dbus.socket").is_file()
}

/// The TPM, and the tools that manufacture one with a certificate.
fn swtpm() -> bool {
    step::works(Command::new("swtpm").args(["socket", "--tpm2", "--print-capabilities"]))
        && step::works(Command::new("swtpm_setup").args(["--tpm2", "--print-capabilities"]))
        && step::works(Command::new("swtpm_localca").arg("--help"))
}

/// Makes a token.
fn softhsm() -> bool {
    in_a_directory(|dir| {
        let conf = dir.join("softhsm2.conf");
        std::fs::write(&conf, format!("directories.tokendir = {}\n", dir.display())).is_ok()
            && step::works(Command::new("softhsm2-util").env("SOFTHSM2_CONF", conf).args([
                "--init-token",
                "--free",
                "--label",
                "probe",
                "--pin",
                "0000",
                "--so-pin",
                "0000",
            ]))
    })
}

/// Distributions keep the server's programs out of PATH, one directory per version.
fn postgresql() -> bool {
    let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") else { return false };
    versions
        .flatten()
        .any(|version| step::works(Command::new(version.path().join("bin").join("initdb")).arg("--version")))
}

/// A program that the environment may name.
fn variable(name: &str, default: &str) -> OsString {
    std::env::var_os(name).unwrap_or_else(|| default.into())
}

/// Compiles `source` to probe.o, links it with `flags` and runs it.
fn runs(dir: &Path, source: &str, flags: &[&str]) -> bool {
    let compiler = || {
        let mut command = Command::new(variable("CC", "cc"));
        command.current_dir(dir);
        command
    };
    std::fs::write(dir.join("probe.c"), source).is_ok()
        && step::works(compiler().args(["-c", "probe.c", "-o", "probe.o"]).args(flags))
        && step::works(compiler().args(["probe.o", "-o", "probe"]).args(flags))
        && step::works(&mut Command::new(dir.join("probe")))
}

/// Probes in a directory that goes afterwards.
fn in_a_directory(probe: impl FnOnce(&Path) -> bool) -> bool {
    static PROBES: AtomicUsize = AtomicUsize::new(0);
    let Ok(tools) = crate::build::tools() else { return false };
    // Several of us may run at once, and several probes in one of us.
    let number = PROBES.fetch_add(1, Ordering::Relaxed);
    let dir = tools.join(format!("probe-{}-{number}", std::process::id()));
    let found = std::fs::create_dir_all(&dir).is_ok() && probe(&dir);
    let _ = std::fs::remove_dir_all(&dir);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN_USER: Host = Host { apt: true, root: false, sudo: true, person: true };

    #[test]
    fn root_installs_and_others_are_asked() {
        assert_eq!(Host { root: true, ..DEBIAN_USER }.way(false), Way::Apt);
        assert_eq!(Host { root: true, person: false, ..DEBIAN_USER }.way(false), Way::Apt);
        assert_eq!(DEBIAN_USER.way(false), Way::AskThenSudo);
        assert_eq!(DEBIAN_USER.way(true), Way::Sudo);
        assert_eq!(Host { person: false, ..DEBIAN_USER }.way(true), Way::Sudo);
    }

    #[test]
    fn what_cannot_be_installed_is_told_with_the_reason() {
        for (host, word) in [
            (Host { apt: false, root: true, ..DEBIAN_USER }, "Debian"),
            (Host { sudo: false, ..DEBIAN_USER }, "sudo"),
            (Host { person: false, ..DEBIAN_USER }, "--yes"),
        ] {
            match host.way(false) {
                Way::ByHand(why) => assert!(why.contains(word), "{why}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn only_what_is_absent_and_needed_is_missing() {
        let row = |tasks, present| Need { what: "x", why: "y", packages: &["z"], tasks, present };
        let table = [row(&[Task::Demo], || true), row(&[Task::Demo], || false), row(&[Task::Test], || false)];
        assert_eq!(missing(&table, Task::Demo).len(), 1);
        assert_eq!(missing(&table, Task::Check).len(), 0);
    }

    #[test]
    fn what_built_this_workspace_and_what_its_tests_need_is_found() {
        for need in NEEDS.iter().filter(|need| need.tasks.contains(&Task::Test)) {
            assert!((need.present)(), "{}", need.what);
        }
    }

    #[test]
    fn a_program_that_does_not_compile_link_or_run_well_is_seen() {
        let good = "int main(void) { return 0; }\n";
        assert!(in_a_directory(|dir| runs(dir, good, &[])));
        assert!(!in_a_directory(|dir| runs(dir, "#include <no/such/header.h>\n", &[])));
        assert!(!in_a_directory(|dir| runs(dir, good, &["-lno-such-library"])));
        assert!(!in_a_directory(|dir| runs(dir, "int main(void) { return 1; }\n", &[])));
    }

    #[test]
    fn every_row_says_what_to_install_for_which_task() {
        for need in NEEDS {
            assert!(
                !need.packages.is_empty() && !need.tasks.is_empty() && !need.why.is_empty(),
                "{}",
                need.what
            );
            let plain =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | '+');
            assert!(need.packages.iter().all(|package| package.chars().all(plain)), "{}", need.what);
        }
    }
}
