//! `rig`: the first process of a virtual machine of `cargo xtask rig`, and what is tried in it.
//!
//! A guest is a real kernel with the files of this host: programs of this workspace run in it as they were built, installed
//! as a package would install them. Everything here looks at them from outside: HTTP, the control socket, the command
//! line, /dev, /proc and /sys. A scenario that meets something else than it expects panics; the guest then ends with a
//! status that is not 0, and the run of the rig fails.

mod guest;
mod hardware;
mod host;
mod init;
mod judge;
mod monitor;
mod provider;
mod ptys;
mod scenario;
mod systemd;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        // On the host, before the guest starts.
        ["manufacture", directory] => match biosim_swtpm::Swtpm::manufacture(Path::new(directory)) {
            Ok(_) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("rig: {error:#}");
                ExitCode::FAILURE
            }
        },
        ["init"] if guest::word("guest").as_deref() == Some(scenario::UNDER_SYSTEMD) => systemd::become_it(),
        ["init"] => init::first_process(),
        ["report"] => init::report(),
        ["scenario"] => scenario::run(),
        _ => {
            eprintln!("rig: this is started by `cargo xtask rig`, which see");
            ExitCode::from(64)
        }
    }
}
