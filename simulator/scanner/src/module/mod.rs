//! A virtual trust module beside a sensor: it keeps keys of its host by name, answers SPDM and nothing else.
//!
//! What is in its chip survives being unplugged, for as long as the module lives. It has one thread while it is plugged
//! in, which reads, does what it is told, and answers: like a small chip it does one thing at a time.

mod keys;
mod spoken;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use biotrust_certs::TestPki;
use biotrust_driver_api::{DeviceErrorKind, Pipe, PipeError, PipeErrorKind};
use biotrust_link::{DeviceRole, Framing, Incoming};
use biotrust_model::time::Clock;
use biotrust_spdm::Responder;

use crate::chip::{self, Chip};
use crate::device::PlugError;
use crate::ftm::{FtmError, ftm_root};
use crate::options::ChipKind;
use crate::plug::Plug;
use keys::HostKeys;
use spoken::Spoken;

/// How long a host may leave a full line unread before what was to be sent is dropped.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// How often the thread looks whether the plug was pulled.
const TICK: Duration = Duration::from_millis(100);

/// A virtual trust module.
pub struct ModuleDevice {
    core: Arc<Core>,
    plugged: Mutex<Option<Plugged>>,
}

/// What stays in the module.
pub(crate) struct Core {
    serial: String,
    chip: Box<dyn Chip>,
    /// SHA-256 of the root that its certificate is under.
    root: [u8; 32],
    keys: Mutex<HostKeys>,
}

impl ModuleDevice {
    /// Makes a module with the serial number `serial`, which the FTM provider of `pki` certifies. Makes an RSA key.
    ///
    /// # Errors
    /// When a key or a certificate cannot be made.
    pub fn build(serial: impl Into<String>, pki: &TestPki, clock: &dyn Clock) -> Result<Self, FtmError> {
        let serial = serial.into();
        let chip = chip::make(ChipKind::Software, pki, &serial, clock.now())?;
        let core = Core { serial, chip, root: ftm_root(pki)?, keys: Mutex::default() };
        Ok(Self { core: Arc::new(core), plugged: Mutex::new(None) })
    }

    /// Its serial number: the common name of its chip certificate.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.core.serial
    }

    /// Names of the keys that it holds.
    #[must_use]
    pub fn key_names(&self) -> Vec<String> {
        self.core.keys().names()
    }

    /// Plugs it in as a serial line: a link `SERIAL.tty` appears in the folder `links`. Nothing happens when it is
    /// plugged in already.
    ///
    /// # Errors
    /// No pseudo-terminal, no thread, or the link cannot be made.
    pub fn plug(&self, links: &Path) -> Result<(), PlugError> {
        let mut plugged = self.plugged();
        if plugged.is_none() {
            let pty = biotrust_pipe::pty::open_pair()?;
            let path = pty.slave_path().to_owned();
            let mut line = Plugged::insert(&self.core, Box::new(pty), Framing::Serial)?;
            let plug = Plug::insert(links, &self.core.serial, &path)
                .map_err(|source| PlugError::Link { directory: links.to_owned(), source })?;
            line.plug = Some(plug);
            *plugged = Some(line);
        }
        Ok(())
    }

    /// Plugs it into `pipe`, which carries bytes in `framing`: each read brings one transfer (USB) or one report with its
    /// id (HID), each `write_all` is given one. The pipe is dropped when the plug is pulled. Nothing happens when it is
    /// plugged in already.
    ///
    /// # Errors
    /// No thread.
    pub fn attach(&self, pipe: Box<dyn Pipe>, framing: Framing) -> Result<(), PlugError> {
        let mut plugged = self.plugged();
        if plugged.is_none() {
            *plugged = Some(Plugged::insert(&self.core, pipe, framing)?);
        }
        Ok(())
    }

    /// Pulls the plug: what was under way ends, the keys stay.
    pub fn unplug(&self) {
        let pulled = self.plugged().take();
        drop(pulled);
    }

    /// Whether it is plugged in.
    #[must_use]
    pub fn is_plugged(&self) -> bool {
        self.plugged().is_some()
    }

    fn plugged(&self) -> MutexGuard<'_, Option<Plugged>> {
        self.plugged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Each change of the keys is one assignment.
    fn keys(&self) -> MutexGuard<'_, HostKeys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A module that is plugged in; dropping it pulls the plug.
struct Plugged {
    pulled: Arc<AtomicBool>,
    plug: Option<Plug>,
    reader: Option<JoinHandle<()>>,
}

impl Plugged {
    fn insert(core: &Arc<Core>, pipe: Box<dyn Pipe>, framing: Framing) -> Result<Self, PlugError> {
        let pulled = Arc::new(AtomicBool::new(false));
        let (end, module) = (Arc::clone(&pulled), Arc::clone(core));
        let reader = std::thread::Builder::new()
            .name(format!("module {}", core.serial))
            .spawn(move || serve(&module, pipe, framing, &end))
            .map_err(PlugError::Thread)?;
        Ok(Self { pulled, plug: None, reader: Some(reader) })
    }
}

impl Drop for Plugged {
    fn drop(&mut self) {
        self.plug = None;
        self.pulled.store(true, Ordering::Release);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// From power on to power off.
fn serve(core: &Core, mut pipe: Box<dyn Pipe>, framing: Framing, pulled: &AtomicBool) {
    // A chip that cannot count its starts is of no use.
    let Ok(boot_count) = core.chip.counters().count_boot() else { return };
    let (mut role, mut responder) = (DeviceRole::over(framing), Responder::new());
    let mut buffer = vec![0; 16 << 10];
    while !pulled.load(Ordering::Acquire) {
        let length = match pipe.read(&mut buffer, TICK) {
            Ok(length) => length,
            Err(error) if error.kind == PipeErrorKind::TimedOut => continue,
            Err(_) => break,
        };
        for incoming in role.receive(buffer.get(..length).unwrap_or_default()) {
            let bytes = match incoming {
                Incoming::Spdm { ticket, message } => {
                    let answer = responder.answer(&Spoken { core, boot_count }, &message);
                    role.respond_spdm(ticket, &answer)
                }
                Incoming::Request { ticket, .. } => {
                    let why = "this is a trust module, not a biometric device";
                    role.respond(ticket, Err((DeviceErrorKind::Unsupported, why.to_owned())))
                }
                Incoming::Reply(bytes) => bytes,
            };
            // What the host does not read is lost, and the framing recovers.
            let _ = send(pipe.as_mut(), framing, &bytes);
        }
    }
}

fn send(pipe: &mut dyn Pipe, framing: Framing, bytes: &[u8]) -> Result<(), PipeError> {
    framing.transfers(bytes).try_for_each(|transfer| pipe.write_all(&transfer, WRITE_PATIENCE))
}
