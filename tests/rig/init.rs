//! The first process of a guest: mounts what is missing, loads nothing by itself, runs the scenario, reports, powers off.
//!
//! With systemd as the first process, only the second half is ours ([`report`], as a service).

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_bind};
use rustix::process::{Pid, Signal, WaitOptions, kill_process_group};
use rustix::system::RebootCommand;
use rustix::termios::{OptionalActions, tcdrain, tcgetattr, tcsetattr};

use crate::guest;

/// The serial line that the host listens to; the first is the kernel's.
const LINE: &str = "/dev/ttyS1";
const UDEVD: &str = "/lib/systemd/systemd-udevd";

/// Runs the scenario of this guest as its first process. Does not return: the guest is powered off.
pub(crate) fn first_process() -> ExitCode {
    set_up().unwrap_or_else(|error| panic!("setting the guest up: {error}"));
    report()
}

/// What an init system does before anything else.
fn set_up() -> std::io::Result<()> {
    fs::create_dir_all("/dev/pts")?;
    fs::create_dir_all("/dev/shm")?;
    attach("devpts", "/dev/pts", "devpts", "mode=620,ptmxmode=666")?;
    attach("tmpfs", "/dev/shm", "tmpfs", "mode=1777")?;
    attach("cgroup2", "/sys/fs/cgroup", "cgroup2", "")?;
    for (name, target) in [("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        std::os::unix::fs::symlink(format!("/proc/self/{target}"), format!("/dev/{name}"))?;
    }
    modules_of_this_kernel()?;
    successful(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    // As the host's udevd left it.
    let _ = fs::remove_dir_all("/run/udev");
    successful(Command::new(UDEVD).arg("--daemon"))
}

/// Puts the modules of the kernel that runs where they are looked for.
pub(crate) fn modules_of_this_kernel() -> std::io::Result<()> {
    let from = guest::word("modules").unwrap_or_default();
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let to = Path::new("/lib/modules").join(release);
    fs::create_dir_all(&to)?;
    mount_bind(from.as_str(), &to)?;
    Ok(())
}

fn attach(source: &str, target: &str, kind: &str, options: &str) -> std::io::Result<()> {
    let options = CString::new(options)?;
    match mount(source, target, kind, MountFlags::empty(), options.as_c_str()) {
        Err(Errno::BUSY) | Ok(()) => Ok(()),
        Err(error) => Err(std::io::Error::other(format!("{target}: {error}"))),
    }
}

fn successful(command: &mut Command) -> std::io::Result<()> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(std::io::Error::other(format!("{command:?}: {status}"))) }
}

/// Runs the scenario, sends its lines to the host, leaves its status there and powers off.
pub(crate) fn report() -> ExitCode {
    let status = match supervise() {
        Ok(status) => status,
        Err(error) => {
            eprintln!("rig: {error}");
            70
        }
    };
    if let Ok(said) = Command::new("dmesg").output() {
        let _ = fs::write(guest::share().join("kernel.log"), said.stdout);
    }
    let _ = fs::write(guest::share().join("status"), format!("{status}\n"));
    rustix::fs::sync();
    let _ = rustix::system::reboot(RebootCommand::PowerOff);
    // Not reached, except by somebody who may not power off.
    ExitCode::FAILURE
}

fn supervise() -> std::io::Result<i32> {
    let mut line = File::options().write(true).open(LINE)?;
    let mut raw = tcgetattr(&line)?;
    raw.make_raw();
    tcsetattr(&line, OptionalActions::Now, &raw)?;
    // A pipe, so that a panicking scenario's words come along and nothing believes to be on a terminal.
    let (output, input) = std::io::pipe()?;
    let own = std::env::current_exe()?;
    let mut scenario = Command::new(own);
    scenario.arg("scenario").stdin(Stdio::null()).stdout(input.try_clone()?).stderr(input);
    std::os::unix::process::CommandExt::process_group(&mut scenario, 0);
    let child = scenario.spawn()?;
    drop(scenario);
    let limit = guest::limit();
    let group = Pid::from_child(&child);
    let timer = std::thread::spawn(move || {
        std::thread::park_timeout(limit);
        // Ends the scenario and whatever it started in its group; after the end of a scenario there is nobody.
        let _ = kill_process_group(group, Signal::KILL);
    });
    let relay = std::thread::spawn(move || {
        for text in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let _ = line.write_all(&[&text[..], b"\n"].concat());
        }
        let _ = tcdrain(line.as_fd());
    });
    let status = reap_until_end(&child)?;
    timer.thread().unpark();
    let _ = timer.join();
    let _ = relay.join();
    Ok(status)
}

/// Waits for the scenario; the first process inherits orphans and buries them.
fn reap_until_end(child: &Child) -> std::io::Result<i32> {
    let wanted = Pid::from_child(child);
    loop {
        match rustix::process::wait(WaitOptions::empty())? {
            Some((pid, status)) if pid == wanted => {
                return Ok(match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => code,
                    (None, signal) => 128 + signal.unwrap_or(0),
                });
            }
            _ => {}
        }
    }
}
