//! Unix sockets: the way to a driver in a process of its own.

use std::os::unix::net::UnixStream;
use std::path::Path;

use biotrust_driver_api::{PipeError, PipeErrorKind};
use rustix::io::Errno;

use crate::fd::{FdPipe, pipe_by_fd};

/// A connection over a Unix socket.
pub struct UnixPipe(FdPipe);

pipe_by_fd!(UnixPipe);

impl UnixPipe {
    /// Connects to the socket at `path`. Does not wait: a socket whose queue is full is `InUse`.
    ///
    /// # Errors
    /// `Gone` when nobody listens there, `PermissionDenied`, `InUse`, `Os`.
    pub fn connect(path: &Path) -> Result<Self, PipeError> {
        let failed = |error: std::io::Error| {
            let kind = match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::NOENT | Errno::CONNREFUSED | Errno::NOTDIR) => PipeErrorKind::Gone,
                Some(Errno::ACCESS | Errno::PERM) => PipeErrorKind::PermissionDenied,
                Some(Errno::AGAIN) => PipeErrorKind::InUse,
                _ => PipeErrorKind::Os,
            };
            PipeError { kind, os: error.raw_os_error(), doing: format!("connecting to {}", path.display()) }
        };
        Self::from_stream(UnixStream::connect(path).map_err(failed)?, &path.display().to_string())
            .map_err(failed)
    }

    /// A connection that is already there; `name` is for messages.
    ///
    /// # Errors
    /// What the system says when it will not change the socket's mode.
    pub fn from_stream(stream: UnixStream, name: &str) -> std::io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self(FdPipe::new(stream, name)))
    }
}
