//! One guest: started, listened to, ended at its deadline, judged by what it reports.
//!
//! A guest has the host's files read-only with a layer of memory over them, so that programs that were built here run
//! there unchanged and can write anywhere. The one directory of the host that it writes to is its own, `share`. It is
//! trusted with nothing but that.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::kernel::Kernel;
use super::qemu::Qemu;
use super::tpm::{self, Tpm};
use crate::step::{Failure, print, span};

/// In the directory of a guest: its exit status, written last; and what its kernel said.
const STATUS: &str = "status";
const CONSOLE: &str = "console.log";
/// Lines of the console that are shown when a guest fails.
const TAIL: usize = 25;
/// A guest ends itself at its deadline and says what it was about; if it cannot, it is ended.
const GRACE: Duration = Duration::from_secs(15);

/// A kind of guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// Name of the scenario.
    pub(super) name: &'static str,
    /// What it shows, for the help text.
    pub(super) about: &'static str,
    /// Whether it has a TPM.
    pub(super) tpm: bool,
    /// Whether it has a USB controller, and a line to the emulator's monitor by which it plugs devices into it.
    pub(super) monitor: bool,
    /// How long it may take. Several times of what it takes, for machines that are busy.
    pub(super) limit: Duration,
}

/// What guests are made of.
pub(super) struct Parts {
    pub(super) qemu: Qemu,
    pub(super) kernel: Kernel,
    pub(super) initramfs: PathBuf,
    /// The program that is the first process of a guest, and its scenarios.
    pub(super) rig: PathBuf,
    /// Words for the scenario, as `name=value`.
    pub(super) words: Vec<String>,
}

/// Runs the guest of `plan`, whose directory is `share`.
pub(super) fn run(plan: &Plan, parts: &Parts, share: &Path) -> Result<(), Failure> {
    let start = Instant::now();
    let fail = |what: String| Failure::new(format!("guest {}: {what}", plan.name));
    let _ = std::fs::remove_dir_all(share);
    std::fs::create_dir_all(share).map_err(|e| fail(format!("cannot make {}: {e}", share.display())))?;
    let _tpm = if plan.tpm { Some(Tpm::start(&parts.rig, share)?) } else { None };

    let mut qemu = parts.qemu.command();
    qemu.current_dir(share).args(machine(plan, parts, share));
    let ended = watch(plan.name, &mut qemu, plan.limit + GRACE).map_err(&fail)?;
    let took = span(start.elapsed());
    let console = || {
        let text = std::fs::read(share.join(CONSOLE)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        format!(
            "; its console ended with\n{}",
            lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default().join("\n")
        )
    };
    match std::fs::read_to_string(share.join(STATUS)).map(|text| text.trim().to_owned()) {
        Ok(status) if status == "0" => {
            print(&format!("guest {}: passed in {took}\n", plan.name));
            Ok(())
        }
        Ok(status) => Err(fail(format!("failed with status {status} after {took}"))),
        Err(_) if ended == Ended::Killed => {
            Err(fail(format!("hung and was ended after {took}{}", console())))
        }
        Err(_) => Err(fail(format!("did not start, or broke down, after {took}{}", console()))),
    }
}

/// The machine as the emulator is told of it.
fn machine(plan: &Plan, parts: &Parts, share: &Path) -> Vec<OsString> {
    let share_path = share.display();
    let mut words: Vec<OsString> = Vec::new();
    let mut add = |more: &[&str]| words.extend(more.iter().map(OsString::from));
    // Hardware virtualisation is not tried even where it seems to be there: under some hypervisors it hangs. One processor,
    // so that two guests share two.
    add(&["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1", "-m", "1024"]);
    add(&["-nodefaults", "-display", "none", "-no-reboot"]);
    add(&["-bios", &parts.qemu.firmware().display().to_string()]);
    add(&["-kernel", &parts.kernel.image().display().to_string()]);
    add(&["-initrd", &parts.initramfs.display().to_string()]);
    add(&["-append", &command_line(plan, parts)]);
    add(&["-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"]);
    add(&["-virtfs", &format!("local,path={share_path},mount_tag=share,security_model=none")]);
    add(&["-serial", &format!("file:{CONSOLE}"), "-serial", "stdio"]);
    if plan.tpm {
        add(&tpm::OPTIONS);
    }
    if plan.monitor {
        // The emulator is its own client: its third serial line is the monitor.
        add(&[
            "-chardev",
            "socket,id=monitor,path=monitor.sock,server=on,wait=off",
            "-mon",
            "chardev=monitor,mode=control",
        ]);
        add(&["-serial", "unix:monitor.sock", "-device", "qemu-xhci,id=usb"]);
    }
    words
}

/// What the kernel is told. It hands `rig_…` on to the first process as its environment.
fn command_line(plan: &Plan, parts: &Parts) -> String {
    let modules = parts.kernel.root.join("lib/modules").join(&parts.kernel.release);
    let mut line = "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable no_timer_check cryptomgr.notests selinux=0 \
        apparmor=0 audit=0 random.trust_cpu=on"
        .to_owned();
    let limit = plan.limit.as_secs().to_string();
    for (name, value) in [
        ("guest", plan.name),
        ("seconds", &limit),
        ("program", &parts.rig.display().to_string()),
        ("modules", &modules.display().to_string()),
    ] {
        line.push_str(&format!(" rig_{name}={value}"));
    }
    for word in &parts.words {
        line.push_str(&format!(" rig_{word}"));
    }
    line
}

#[derive(Debug, PartialEq, Eq)]
enum Ended {
    ByItself,
    Killed,
}

/// Runs the emulator to its end or to the limit, and shows the lines that come out of it.
fn watch(name: &'static str, command: &mut Command, limit: Duration) -> Result<Ended, String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|e| format!("cannot run {}: {e}", command.get_program().to_string_lossy()))?;
    let output = child.stdout.take();
    std::thread::scope(|threads| {
        threads.spawn(move || {
            for line in output
                .into_iter()
                .flat_map(|output| BufReader::new(output).split(b'\n'))
                .map_while(Result::ok)
            {
                print(&format!("guest {name}: {}\n", String::from_utf8_lossy(&line).trim_end()));
            }
        });
        wait(&mut child, limit)
    })
}

fn wait(child: &mut Child, limit: Duration) -> Result<Ended, String> {
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(_)) => return Ok(Ended::ByItself),
            Ok(None) if Instant::now() < deadline => super::pause(),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Ok(Ended::Killed);
            }
            Err(error) => return Err(format!("cannot watch the emulator: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan =
        Plan { name: "x", about: "", tpm: false, monitor: false, limit: Duration::from_secs(30) };

    /// Runs a guest whose emulator is a script.
    fn run_script(test: &str, script: &str, limit: Duration) -> Result<(), Failure> {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = std::env::temp_dir().join(format!("guest-{}-{test}", std::process::id()));
        let bin = dir.join("usr/bin");
        std::fs::create_dir_all(&bin).unwrap();
        let program = bin.join("qemu-system-x86_64");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let parts = Parts {
            qemu: Qemu::at(&dir),
            kernel: Kernel { release: "6".into(), root: dir.clone() },
            initramfs: "i".into(),
            rig: "/rig".into(),
            words: vec!["cycles=3".into()],
        };
        let result = run(&Plan { limit, ..PLAN }, &parts, &dir.join("share"));
        let _ = std::fs::remove_dir_all(&dir);
        result
    }

    #[test]
    fn only_a_guest_that_reports_success_has_passed() {
        let limit = Duration::from_secs(30);
        assert!(run_script("good", "echo 0 > status", limit).is_ok());
        let why = |test, script| run_script(test, script, limit).unwrap_err().to_string();
        assert!(why("bad", "echo 7 > status").contains("status 7"));
        assert!(why("silent", "echo 'Kernel panic' > console.log").contains("Kernel panic"));
        assert!(why("absent", "exit 1").contains("did not start"));
    }

    #[test]
    fn a_guest_that_hangs_is_ended() {
        let start = Instant::now();
        let child = Command::new("sleep").arg("600").spawn();
        assert_eq!(wait(&mut child.unwrap(), Duration::from_millis(100)), Ok(Ended::Killed));
        assert!(start.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn the_first_process_is_told_who_it_is() {
        let parts = Parts {
            qemu: Qemu::at(Path::new("/")),
            kernel: Kernel { release: "6.1".into(), root: "/k".into() },
            initramfs: "i".into(),
            rig: "/t/rig".into(),
            words: vec!["cycles=3".into()],
        };
        let line = command_line(&PLAN, &parts);
        for word in ["rig_guest=x", "rig_program=/t/rig", "rig_modules=/k/lib/modules/6.1", "rig_cycles=3"] {
            assert!(line.split(' ').any(|found| found == word), "{line}");
        }
    }
}
