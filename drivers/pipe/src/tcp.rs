//! TCP, for people who try a device's firmware on a desk. Nothing is encrypted and nobody is authenticated: never
//! across a network.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use biotrust_driver_api::{PipeError, PipeErrorKind};

use crate::fd::{FdPipe, pipe_by_fd};

/// A TCP connection to a device.
pub struct TcpPipe(FdPipe);

pipe_by_fd!(TcpPipe);

impl TcpPipe {
    /// Connects to `address` within `timeout`.
    ///
    /// # Errors
    /// `TimedOut`; `Gone` when nobody listens there; `Os`.
    pub fn connect(address: SocketAddr, timeout: Duration) -> Result<Self, PipeError> {
        let name = format!("tcp:{address}");
        let failed = |error: std::io::Error| PipeError {
            kind: match error.kind() {
                std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => PipeErrorKind::TimedOut,
                std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::HostUnreachable => {
                    PipeErrorKind::Gone
                }
                _ => PipeErrorKind::Os,
            },
            os: error.raw_os_error(),
            doing: format!("connecting to {name}"),
        };
        let stream = TcpStream::connect_timeout(&address, timeout).map_err(failed)?;
        Self::from_stream(stream).map_err(failed)
    }

    /// A connection that is already there, such as one that was accepted.
    ///
    /// # Errors
    /// What the system says when it will not change the socket's mode.
    pub fn from_stream(stream: TcpStream) -> std::io::Result<Self> {
        let name = format!("tcp:{}", stream.peer_addr()?);
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self(FdPipe::new(stream, &name)))
    }
}
