//! The host side of USB/IP: starts transfers, waits for them, calls them off.
//!
//! A thread reads what the device sends until the connection ends; everything else happens on the callers' threads,
//! each within its own time limit. The device is not trusted: an answer that nobody asked for, or that is longer than
//! asked for, ends the connection.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::Shutdown;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::wire::{self, Answer, Command, HEADER, Submit, WireError};

/// Within this time the other end takes what is sent to it, or it is given up.
const SEND_WITHIN: Duration = Duration::from_secs(5);

/// Nothing can be had from the device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClientError {
    /// The connection has ended.
    #[error("the device is gone: {0}")]
    Gone(String),
    /// Not in time; the transfer is still under way.
    #[error("no answer in time")]
    TimedOut,
    /// There is no transfer with this number.
    #[error("no such transfer is under way")]
    Unknown,
}

/// How a transfer has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// 0, or an `errno` of Linux, negated.
    pub(crate) status: i32,
    pub(crate) data: Vec<u8>,
}

/// A connection to a device.
pub(crate) struct Client {
    shared: Arc<Shared>,
    /// Locked while a message is written.
    writer: Mutex<File>,
    devid: u32,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    last: u32,
    transfers: BTreeMap<u32, Transfer>,
    /// Commands that call off a transfer, and which.
    unlinks: BTreeMap<u32, u32>,
    gone: Option<String>,
}

struct Transfer {
    to_host: bool,
    length: usize,
    outcome: Option<Outcome>,
    /// Somebody still wants to know.
    wanted: bool,
}

impl Client {
    /// Speaks to the device at the other end of a stream socket.
    pub(crate) fn new(stream: impl Into<OwnedFd>, devid: u32) -> io::Result<Self> {
        let writer = File::from(stream.into());
        set_socket_timeout(&writer, Timeout::Send, Some(SEND_WITHIN))?;
        let reader = writer.try_clone()?;
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let told = Arc::clone(&shared);
        std::thread::Builder::new().name("usbip client".into()).spawn(move || {
            let why = listen(&reader, &told);
            told.lose(&why);
        })?;
        Ok(Self { shared, writer: Mutex::new(writer), devid })
    }

    /// Starts a transfer; gives its number.
    pub(crate) fn start(
        &self,
        endpoint: u8,
        to_host: bool,
        length: usize,
        setup: [u8; 8],
        data: &[u8],
    ) -> Result<u32, ClientError> {
        let sequence = {
            let mut state = self.shared.state();
            state.alive()?;
            let sequence = state.number();
            state.transfers.insert(sequence, Transfer { to_host, length, outcome: None, wanted: true });
            sequence
        };
        let mut message = Vec::with_capacity(HEADER + data.len());
        let submit = Submit { sequence, endpoint, to_host, length, setup };
        wire::push_command(&mut message, self.devid, Command::Submit(submit));
        message.extend_from_slice(data);
        self.send(&message)?;
        Ok(sequence)
    }

    /// Waits for a transfer. What came before the connection ended is still given.
    pub(crate) fn finish(&self, sequence: u32, timeout: Duration) -> Result<Outcome, ClientError> {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.state();
        loop {
            let transfer = state.transfers.get_mut(&sequence).ok_or(ClientError::Unknown)?;
            if let Some(outcome) = transfer.outcome.take() {
                state.transfers.remove(&sequence);
                return Ok(outcome);
            }
            state.alive()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ClientError::TimedOut);
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Calls a transfer off; what it has brought is lost.
    pub(crate) fn abandon(&self, victim: u32) {
        let sequence = {
            let mut state = self.shared.state();
            let Some(transfer) = state.transfers.get_mut(&victim) else { return };
            transfer.wanted = false;
            if transfer.outcome.is_some() {
                state.transfers.remove(&victim);
                return;
            }
            let sequence = state.number();
            state.unlinks.insert(sequence, victim);
            sequence
        };
        let mut message = Vec::with_capacity(HEADER);
        wire::push_command(&mut message, self.devid, Command::Unlink { sequence, victim });
        // Where it cannot be sent the connection has ended, and with it the transfer.
        let _ = self.send(&message);
    }

    /// Ends the connection.
    pub(crate) fn close(&self, why: &str) {
        self.shared.lose(why);
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = rustix::net::shutdown(&*writer, Shutdown::Both);
    }

    /// Whether the connection has ended, and why.
    pub(crate) fn alive(&self) -> Result<(), ClientError> {
        self.shared.state().alive()
    }

    fn send(&self, message: &[u8]) -> Result<(), ClientError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write_all(message).map_err(|error| {
            // Half a message may be out: the connection is of no use any more.
            let _ = rustix::net::shutdown(&*writer, Shutdown::Both);
            self.shared.lose(&error.to_string());
            ClientError::Gone(error.to_string())
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.close("closed");
    }
}

impl State {
    fn alive(&self) -> Result<(), ClientError> {
        self.gone.clone().map_or(Ok(()), |why| Err(ClientError::Gone(why)))
    }

    /// A sequence number that is not in use.
    fn number(&mut self) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1);
            if !self.transfers.contains_key(&self.last) && !self.unlinks.contains_key(&self.last) {
                return self.last;
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lose(&self, why: &str) {
        let mut state = self.state();
        state.gone.get_or_insert_with(|| why.to_owned());
        state.transfers.retain(|_, transfer| transfer.wanted);
        self.changed.notify_all();
    }

    /// Bytes that follow an answer.
    fn payload(&self, sequence: u32, length: usize) -> Result<usize, WireError> {
        let state = self.state();
        let transfer = state.transfers.get(&sequence).filter(|t| t.outcome.is_none() && length <= t.length);
        let transfer = transfer.ok_or(WireError::Answer(sequence))?;
        Ok(if transfer.to_host { length } else { 0 })
    }

    fn answered(&self, sequence: u32, outcome: Outcome) {
        let mut state = self.state();
        if let Some(transfer) = state.transfers.get_mut(&sequence) {
            if transfer.wanted {
                transfer.outcome = Some(outcome);
            } else {
                state.transfers.remove(&sequence);
            }
        }
        self.changed.notify_all();
    }

    fn unlinked(&self, sequence: u32) -> Result<(), WireError> {
        let mut state = self.state();
        let victim = state.unlinks.remove(&sequence).ok_or(WireError::Answer(sequence))?;
        state.transfers.remove(&victim);
        Ok(())
    }
}

/// Reads answers until the connection ends; tells why it did.
fn listen(mut stream: &File, shared: &Shared) -> String {
    let mut header = [0; HEADER];
    loop {
        if let Err(error) = stream.read_exact(&mut header) {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof => "unplugged".to_owned(),
                _ => error.to_string(),
            };
        }
        let handled = match wire::answer(&header) {
            Ok(Answer::Submit { sequence, status, length }) => match shared.payload(sequence, length) {
                Ok(payload) => {
                    let mut data = vec![0; payload];
                    if let Err(error) = stream.read_exact(&mut data) {
                        return format!("unplugged in the middle of a transfer ({error})");
                    }
                    shared.answered(sequence, Outcome { status, data });
                    Ok(())
                }
                Err(error) => Err(error),
            },
            Ok(Answer::Unlink { sequence, .. }) => shared.unlinked(sequence),
            Err(error) => Err(error),
        };
        if let Err(error) = handled {
            let _ = rustix::net::shutdown(stream, Shutdown::Both);
            return error.to_string();
        }
    }
}
