//! A TPM 2.0 in software, as a child process: swtpm, manufactured with an EK certificate of a test CA of its own.
//!
//! For tests and the simulator. Everything lies in one directory of the caller: the CA (`ca/`), the TPM's state
//! (`state/`) and a log. It listens on the loopback address only. The process ends when [`Swtpm`] is dropped, also by
//! a panic, and when its parent is killed (a watchdog sees to that).
//!
//! Trust: whoever may read the directory owns the TPM. Blocks: manufacturing takes about a second, starting some
//! 20 ms; each wait has a deadline.

mod isolated;
mod manufacture;
mod owner;
mod process;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use process::Process;

pub use manufacture::Model;

/// A TPM that is plugged in, or was.
#[derive(Debug)]
pub struct Swtpm {
    directory: PathBuf,
    port: u16,
    /// `None` while it has no power.
    process: Option<Process>,
}

impl Swtpm {
    /// Manufactures a TPM with an EK certificate in `directory`, which is made where it is not there, and starts it.
    ///
    /// # Errors
    /// When swtpm is not installed (with the names of the packages), when the directory holds a TPM already, or when
    /// a tool fails (with its log).
    pub fn manufacture(directory: &Path) -> anyhow::Result<Self> {
        Self::manufacture_model(directory, Model::Certified)
    }

    /// As [`Self::manufacture`], of a chosen model.
    ///
    /// # Errors
    /// As there.
    pub fn manufacture_model(directory: &Path, model: Model) -> anyhow::Result<Self> {
        manufacture::manufacture(directory, model)?;
        Self::open(directory)
    }

    /// Starts a TPM that was manufactured in `directory` before.
    ///
    /// # Errors
    /// When there is none, or it does not start.
    pub fn open(directory: &Path) -> anyhow::Result<Self> {
        let (process, port) = Process::start_somewhere(directory)?;
        Ok(Self { directory: directory.to_owned(), port, process: Some(process) })
    }

    /// How to reach it: `swtpm:host=127.0.0.1,port=N`. Stays the same for as long as this lives.
    #[must_use]
    pub fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// Certificate (PEM) of the CA that issued its EK certificate.
    ///
    /// # Errors
    /// When it has none ([`Model::Uncertified`]) or the file cannot be read.
    pub fn ek_ca_pem(&self) -> anyhow::Result<String> {
        fs::read_to_string(manufacture::ca_certificate(&self.directory))
            .context("reading the certificate of the EK's issuer")
    }

    /// Process id of the running TPM; `None` while it has no power.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Takes its power away: what was not written to its non-volatile memory is lost.
    pub fn cut_power(&mut self) {
        self.process = None;
    }

    /// Gives it power again, with the same state and at the same address. Does nothing where it has power.
    ///
    /// # Errors
    /// When it does not start.
    pub fn power_on(&mut self) -> anyhow::Result<()> {
        if self.process.is_none() {
            self.process = Some(Process::start(&self.directory, self.port)?);
        }
        Ok(())
    }

    /// [`Self::cut_power`] and [`Self::power_on`].
    ///
    /// # Errors
    /// When it does not start.
    pub fn power_cycle(&mut self) -> anyhow::Result<()> {
        self.cut_power();
        self.power_on()
    }

    /// Clears it, as the owner of a host does: its device keys and what was installed in it are gone. Nobody else may be
    /// connected.
    ///
    /// # Errors
    /// When it has no power, somebody else is connected, or it refuses.
    pub fn clear(&self) -> anyhow::Result<()> {
        owner::clear(self.port)
    }

    /// Puts it into lockout as wrong passwords do, or ends that. Nobody else may be connected.
    ///
    /// # Errors
    /// As [`Self::clear`].
    pub fn set_lockout(&self, locked: bool) -> anyhow::Result<()> {
        owner::set_lockout(self.port, locked)
    }
}
