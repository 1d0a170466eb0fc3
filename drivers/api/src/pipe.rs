//! A byte pipe to a device, and the one kind of error of everything that carries bytes to one.

use std::time::Duration;

/// Kind of a pipe error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PipeErrorKind {
    /// The other end is gone; this pipe is dead.
    Gone,
    /// Nothing could be read or written in time.
    TimedOut,
    /// Not allowed to open it.
    PermissionDenied,
    /// Another program holds it.
    InUse,
    /// USB: the endpoint has halted, or the device does not know the request.
    Stalled,
    /// Anything else the system says.
    Os,
}

/// A pipe error: kind, the system's code where there is one, and what was being done.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{doing}: {kind:?}{}", os.map(|c| format!(" (os error {c})")).unwrap_or_default())]
pub struct PipeError {
    /// Stable kind.
    pub kind: PipeErrorKind,
    /// `errno`, where there is one.
    pub os: Option<i32>,
    /// What was being done, with the pipe's name.
    pub doing: String,
}

/// A byte pipe. Blocking; each call has its own time limit.
pub trait Pipe: Send {
    /// Reads what is there, at least one byte, at most `buffer.len()`.
    ///
    /// # Errors
    /// `TimedOut` when nothing came within `timeout`; `Gone` when the other end has closed.
    fn read(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, PipeError>;

    /// Writes everything.
    ///
    /// # Errors
    /// `TimedOut` when not all could be written within `timeout`: the pipe is then out of step and must be closed.
    fn write_all(&mut self, bytes: &[u8], timeout: Duration) -> Result<(), PipeError>;

    /// A second handle on the same pipe, so that one thread reads while another writes.
    ///
    /// # Errors
    /// When the system refuses.
    fn try_clone(&self) -> Result<Box<dyn Pipe>, PipeError>;

    /// Name for messages, such as the path of the tty.
    fn name(&self) -> &str;
}
