//! Virtual devices on pseudo-terminals: `biosim serve`, as the daemon's user, to whom such terminals then belong.

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use biotrust_tests::{instance, wait};
use rustix::process::Signal;

use crate::guest;
use crate::host::{self, Account};

const PLACE: &str = "/run/biosim";

/// Running devices. Dropping them unplugs them.
pub(crate) struct Devices(Child);

impl Devices {
    /// Starts them and waits for their certificates; they are enrolled at the daemon as soon as that runs.
    pub(crate) fn start(account: &Account, words: &[&str]) -> Self {
        let place = Path::new(PLACE);
        for directory in [place.to_owned(), place.join("links")] {
            fs::create_dir_all(&directory).expect("a directory");
            chown(&directory, Some(account.uid), Some(account.gid)).expect("an owner");
        }
        let log = File::create(guest::share().join("biosim.log")).expect("a log");
        let biosim = guest::programs().join("biosim").display().to_string();
        let mut command = account.command(&biosim);
        command.args(["serve", "--cache", "none", "--agent-control", host::CONTROL]).args(words);
        for (option, name) in [
            ("--links", "links"),
            ("--control", "biosim.sock"),
            ("--pki-out", "pki"),
            ("--ready-file", "ready.json"),
        ] {
            command.arg(option).arg(place.join(name));
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
        let mut devices = Self(command.spawn().expect("biosim starts"));
        let written = wait::until(host::PATIENCE, || {
            let ended = devices.0.try_wait().expect("a child");
            assert!(ended.is_none(), "biosim ended: {ended:?}\n{}", said());
            devices.pki().join("ida-certificate.pem").exists().then_some(())
        });
        written.unwrap_or_else(|| panic!("biosim writes no certificates\n{}", said()));
        devices
    }

    /// Where the anchors are.
    pub(crate) fn pki(&self) -> PathBuf {
        Path::new(PLACE).join("pki")
    }

    /// What the daemon is told of them.
    pub(crate) fn config(&self) -> String {
        format!(
            "[trust]\ndevice_anchors = [\"{PLACE}/pki/device-anchors.pem\"]\nftm_anchors = [\"{PLACE}/pki/ftm-anchors.pem\"]\n\
             [metadata]\nfile = \"{PLACE}/pki/model-metadata.jws\"\nanchors = [\"{PLACE}/pki/adopter-anchor.pem\"]\n\
             [encryption]\ncertificate = \"{PLACE}/pki/ida-certificate.pem\"\n\
             [serial]\nlinks = \"{PLACE}/links\"\n"
        )
    }
}

fn said() -> String {
    fs::read_to_string(guest::share().join("biosim.log")).unwrap_or_default()
}

impl Drop for Devices {
    fn drop(&mut self) {
        instance::signal(self.0.id(), Signal::TERM);
        if wait::until(host::PATIENCE, || self.0.try_wait().ok().flatten()).is_none() {
            let _ = self.0.kill();
        }
    }
}
