//! System packages: what is needed, for what, how it is seen to be missing, and how to get it.
//!
//! To need something new, add a row to [`NEEDS`]. A row is judged by what it is for (does the compiler compile?), not by
//! asking the package manager: a tool may have come another way.

use std::io::{BufRead, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::process::Command;

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

const NEEDS: &[Need] = &[Need {
    what: "a C compiler with headers, archiver and linker",
    why: "the cryptographic library (aws-lc) and SQLite are compiled from C",
    packages: &["gcc", "libc6-dev", "binutils"],
    tasks: &[Task::Demo, Task::Test, Task::Bench, Task::Check],
    present: c_toolchain,
}];

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
    let apt = || {
        let mut command = Command::new(if sudo { "sudo" } else { "env" });
        command.args(if sudo {
            &["env", "DEBIAN_FRONTEND=noninteractive"][..]
        } else {
            &["DEBIAN_FRONTEND=noninteractive"]
        });
        command.args(["apt-get", "--yes", "--quiet"]);
        command
    };
    // Without a network the lists of yesterday may still do.
    if let Err(failure) = step::run("package lists", apt().arg("update")) {
        say(failure);
    }
    step::run("packages", apt().args(["install", "--no-install-recommends"]).args(packages))
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
    let variable = |name, default: &str| std::env::var_os(name).unwrap_or_else(|| default.into());
    let Ok(tools) = crate::build::tools() else { return false };
    // Several of us may run at once.
    let dir = tools.join(format!("probe-{}", std::process::id()));
    let compiles = std::fs::create_dir_all(&dir).is_ok()
        && std::fs::write(dir.join("probe.c"), "#include <stdlib.h>\nint main(void) { return abs(0); }\n")
            .is_ok()
        && step::works(
            Command::new(variable("CC", "cc")).current_dir(&dir).args(["-c", "probe.c", "-o", "probe.o"]),
        )
        && step::works(Command::new(variable("AR", "ar")).current_dir(&dir).args([
            "crs",
            "libprobe.a",
            "probe.o",
        ]))
        && step::works(Command::new(variable("CC", "cc")).current_dir(&dir).args(["probe.o", "-o", "probe"]))
        && step::works(&mut Command::new(dir.join("probe")));
    let _ = std::fs::remove_dir_all(&dir);
    compiles
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
    fn the_compiler_that_built_this_test_is_found() {
        assert!(c_toolchain());
    }
}
