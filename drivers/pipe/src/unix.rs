//! Unix sockets: the way to a driver in a process of its own.

use std::os::unix::net::UnixStream;
use std::path::Path;

use biotrust_driver_api::{PipeError, PipeErrorKind};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

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
        Self::from_stream(connected(path).map_err(failed)?, &path.display().to_string()).map_err(failed)
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

/// The connect of the standard library waits while the queue of the one who listens is full.
fn connected(path: &Path) -> std::io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_full_queue_is_told_at_once_and_so_is_nobody() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("socket");
        let kind = || UnixPipe::connect(&path).map(drop).map_err(|error| error.kind);
        assert_eq!(kind(), Err(PipeErrorKind::Gone));
        let listener = UnixListener::bind(&path).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        let mut waiting = Vec::new();
        let refused = (0..10).find_map(|_| match UnixPipe::connect(&path) {
            Ok(pipe) => {
                waiting.push(pipe);
                None
            }
            Err(error) => Some(error.kind),
        });
        assert_eq!(refused, Some(PipeErrorKind::InUse));
    }
}
