//! The device's end of the cable: a pseudo-terminal or a pipe of somebody else's, the link's device role, and the thread
//! that reads.
//!
//! Requests that are answered at once are answered on the reading thread; SPDM, which may make keys, has a thread beside
//! it; a capture gets a thread of its own, and so does the preview. Nothing that a host sends is trusted; what it does not read is dropped after a while.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use biotrust_driver_api::{DeviceErrorKind, Pipe, PipeError, PipeErrorKind};
use biotrust_link::message::{Event, Response};
use biotrust_link::{DeviceRole, Framing, Incoming, SpdmTicket, Ticket};
use biotrust_spdm::Responder;
use zeroize::Zeroizing;

use super::core::Core;
use crate::controller::Controller;
use crate::plug::Plug;

/// How long a host may leave a full line unread before what was to be sent is dropped.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// How often the reading thread looks whether the plug was pulled.
const TICK: Duration = Duration::from_millis(100);

/// Why a device could not be plugged in.
#[derive(Debug, thiserror::Error)]
pub enum PlugError {
    /// No pseudo-terminal, or no pipe.
    #[error(transparent)]
    Pty(#[from] PipeError),
    /// No link in the folder of links.
    #[error("cannot plug the device into {directory}: {source}")]
    Link {
        /// The folder.
        directory: std::path::PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// No thread.
    #[error("cannot start a thread for the device: {0}")]
    Thread(#[source] io::Error),
}

/// Where a device is plugged in. It is plugged in there again after it has started anew.
#[derive(Clone)]
pub(super) enum Socket {
    /// A pseudo-terminal with a link in this folder.
    Links(PathBuf),
    /// What the function connects to: the device's end of a line with this framing. All its clones are dropped when the
    /// plug is pulled.
    Bus(Framing, Arc<Connect>),
}

/// Plugs in: gives the device's end of a line.
pub(super) type Connect = dyn Fn() -> Result<Box<dyn Pipe>, PipeError> + Send + Sync;

/// What all threads of a plugged-in device send through.
pub(super) struct Line {
    framing: Framing,
    role: Mutex<DeviceRole>,
    /// Gone once the plug is pulled, so that the line is hung up at once.
    out: Mutex<Option<Box<dyn Pipe>>>,
    pulled: AtomicBool,
}

impl Line {
    /// Answers a request.
    pub(super) fn respond(&self, ticket: Ticket, result: Result<Response, (DeviceErrorKind, String)>) {
        let bytes = lock(&self.role).respond(ticket, result);
        let _ = self.send(&bytes);
    }

    /// Says something unasked; tells whether it went out.
    pub(super) fn event(&self, event: Event) -> bool {
        let bytes = lock(&self.role).event(event);
        self.send(&bytes).is_ok()
    }

    /// A message goes out whole; if the host does not read, the rest of it is lost and the framing recovers.
    fn send(&self, bytes: &[u8]) -> Result<(), PipeError> {
        if bytes.is_empty() {
            return Ok(());
        }
        match lock(&self.out).as_mut() {
            Some(pipe) => {
                let mut transfers = self.framing.transfers(bytes);
                transfers.try_for_each(|transfer| pipe.write_all(&transfer, WRITE_PATIENCE))
            }
            None => Ok(()),
        }
    }

    fn pull(&self) {
        self.pulled.store(true, Ordering::Release);
        *lock(&self.out) = None;
    }
}

/// A device that is plugged in; dropping it pulls the plug.
pub(super) struct Plugged {
    line: Arc<Line>,
    core: Arc<Core>,
    plug: Option<Plug>,
    reader: Option<JoinHandle<()>>,
}

impl Plugged {
    /// Connects, starts reading, and then shows the line where there is a folder for that.
    pub(super) fn insert(core: &Arc<Core>, socket: &Socket) -> Result<Self, PlugError> {
        match socket {
            Socket::Bus(framing, connect) => Self::read_from(core, *framing, connect()?),
            Socket::Links(links) => {
                let pty = biotrust_pipe::pty::open_pair()?;
                let path = pty.slave_path().to_owned();
                let mut plugged = Self::read_from(core, Framing::Serial, Box::new(pty))?;
                let plug = Plug::insert(links, core.serial(), &path)
                    .map_err(|source| PlugError::Link { directory: links.clone(), source })?;
                plugged.plug = Some(plug);
                Ok(plugged)
            }
        }
    }

    fn read_from(core: &Arc<Core>, framing: Framing, pipe: Box<dyn Pipe>) -> Result<Self, PlugError> {
        let line = Arc::new(Line {
            framing,
            role: Mutex::new(DeviceRole::over(framing)),
            out: Mutex::new(Some(pipe.try_clone()?)),
            pulled: AtomicBool::new(false),
        });
        let (reading, reader_core) = (Arc::clone(&line), Arc::clone(core));
        let reader = std::thread::Builder::new()
            .name(format!("line {}", core.serial()))
            .spawn(move || read(&reader_core, &reading, pipe))
            .map_err(PlugError::Thread)?;
        core.attach(Arc::clone(&line));
        Ok(Self { line, core: Arc::clone(core), plug: None, reader: Some(reader) })
    }
}

impl Drop for Plugged {
    fn drop(&mut self) {
        self.plug = None;
        self.core.detach();
        self.line.pull();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// An SPDM message with the right to answer it.
type Question = (SpdmTicket, Zeroizing<Vec<u8>>);
/// Questions that may wait: one, and those that a HELLO has made void.
const QUESTIONS: usize = 4;

/// Reads until the plug is pulled.
fn read(core: &Arc<Core>, line: &Arc<Line>, mut pipe: Box<dyn Pipe>) {
    std::thread::scope(|scope| {
        let answering = core.controller.as_ref().and_then(|controller| {
            let (ask, questions) = sync_channel(QUESTIONS);
            let thread = std::thread::Builder::new().name(format!("spdm {}", core.serial()));
            let spawned = thread.spawn_scoped(scope, move || converse(core, controller, line, &questions));
            spawned.ok().map(|_| ask)
        });
        let mut buffer = vec![0; 16 << 10];
        while !line.pulled.load(Ordering::Acquire) {
            let length = match pipe.read(&mut buffer, TICK) {
                Ok(length) => length,
                Err(error) if error.kind == PipeErrorKind::TimedOut => continue,
                Err(_) => break,
            };
            let incoming = lock(&line.role).receive(buffer.get(..length).unwrap_or_default());
            for message in incoming {
                match message {
                    Incoming::Request { ticket, request } => core.handle(line, ticket, request),
                    Incoming::Spdm { ticket, message } => {
                        pass_on(answering.as_ref(), line, (ticket, message))
                    }
                    Incoming::Reply(bytes) => {
                        let _ = line.send(&bytes);
                    }
                }
            }
        }
    });
}

/// To the thread that answers; a device without a trust module has none.
fn pass_on(answering: Option<&SyncSender<Question>>, line: &Line, question: Question) {
    let ticket = match answering {
        None => question.0,
        Some(ask) => match ask.try_send(question) {
            Ok(()) => return,
            Err(TrySendError::Full((ticket, _)) | TrySendError::Disconnected((ticket, _))) => ticket,
        },
    };
    let refusal = lock(&line.role).refuse_spdm(ticket);
    let _ = line.send(&refusal);
}

/// Answers for the trust module until the reading thread ends. When there is nothing to answer, it makes the next key.
fn converse(core: &Core, controller: &Controller, line: &Line, questions: &Receiver<Question>) {
    let mut responder = Responder::new();
    while let Ok((ticket, message)) = questions.recv() {
        let before = core.report();
        let (answer, effects) = controller.answer(&mut responder, &message);
        let bytes = lock(&line.role).respond_spdm(ticket, &answer);
        let _ = line.send(&bytes);
        if effects.keys_changed {
            core.keys_changed();
        }
        core.tell_change(&before);
        if effects.restart {
            core.restart();
        }
        if effects.keys_changed {
            controller.idle();
        }
    }
}

/// A role or a pipe is out of step at worst after a panic; the framing recovers.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
