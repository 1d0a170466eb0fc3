//! A pipe over any descriptor that `poll` understands; the pipes of this crate are this one with different openings.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use biotrust_driver_api::{Pipe, PipeError, PipeErrorKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, QueueSelector, tcdrain, tcflush, tcgetattr, tcsetattr};

use crate::limit::within;

/// For a line to send what was written: 256 bytes at 9600 baud take 0.3 s.
const DRAIN: Duration = Duration::from_secs(2);

/// A pipe over a descriptor that does not block. Clones share it, and it is closed with the last of them.
#[derive(Clone)]
pub(crate) struct FdPipe {
    fd: Arc<dyn AsFd + Send + Sync>,
    name: Arc<str>,
}

impl FdPipe {
    /// `fd` must be in non-blocking mode: a write to a blocking terminal lasts until the other end has read it all.
    pub(crate) fn new(fd: impl AsFd + Send + Sync + 'static, name: &str) -> Self {
        Self { fd: Arc::new(fd), name: name.into() }
    }

    /// Sets the speed of a tty once all that was written has gone out, and forgets what it has received.
    pub(crate) fn set_baud(&self, baud: u32) -> Result<(), PipeError> {
        const DOING: &str = "setting the speed of";
        let tty = self.fd.clone();
        match within(DRAIN, move || tcdrain(&*tty)) {
            Some(drained) => drained.map_err(|errno| self.failed(errno, DOING))?,
            None => {
                // This also lets the thread go that waits.
                let _ = tcflush(&*self.fd, QueueSelector::OFlush);
                return Err(self.error(PipeErrorKind::TimedOut, None, "draining"));
            }
        }
        let set = || {
            let mut settings = tcgetattr(&*self.fd)?;
            settings.set_speed(baud)?;
            tcsetattr(&*self.fd, OptionalActions::Now, &settings)?;
            tcflush(&*self.fd, QueueSelector::IFlush)
        };
        set().map_err(|errno| self.failed(errno, DOING))
    }

    /// The speed of a tty in baud; of a pseudo-terminal's master, the one that the host has set.
    pub(crate) fn baud(&self) -> Result<u32, PipeError> {
        tcgetattr(&*self.fd)
            .map(|settings| settings.output_speed())
            .map_err(|errno| self.failed(errno, "asking for the speed of"))
    }

    /// Waits until `wanted` is possible.
    fn wait(&self, wanted: PollFlags, deadline: Instant, doing: &str) -> Result<(), PipeError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok();
            let mut set = [PollFd::from_borrowed_fd(self.fd.as_fd(), wanted)];
            match poll(&mut set, timeout.as_ref()) {
                Ok(0) => return Err(self.error(PipeErrorKind::TimedOut, None, doing)),
                // Hung up or failed: the read or write that follows says how.
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed(errno, doing)),
            }
        }
    }

    fn failed(&self, errno: Errno, doing: &str) -> PipeError {
        let kind = match errno {
            Errno::IO | Errno::NXIO | Errno::NODEV | Errno::PIPE | Errno::CONNRESET | Errno::CONNABORTED => {
                PipeErrorKind::Gone
            }
            _ => PipeErrorKind::Os,
        };
        self.error(kind, Some(errno.raw_os_error()), doing)
    }

    fn error(&self, kind: PipeErrorKind, os: Option<i32>, doing: &str) -> PipeError {
        PipeError { kind, os, doing: format!("{doing} {}", self.name) }
    }
}

impl Pipe for FdPipe {
    fn read(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, PipeError> {
        const DOING: &str = "reading from";
        let deadline = after(timeout);
        loop {
            self.wait(PollFlags::IN, deadline, DOING)?;
            match rustix::io::read(&*self.fd, &mut *buffer) {
                Ok(0) if !buffer.is_empty() => return Err(self.error(PipeErrorKind::Gone, None, DOING)),
                Ok(length) => return Ok(length),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(errno) => return Err(self.failed(errno, DOING)),
            }
        }
    }

    fn write_all(&mut self, mut bytes: &[u8], timeout: Duration) -> Result<(), PipeError> {
        const DOING: &str = "writing to";
        let deadline = after(timeout);
        while !bytes.is_empty() {
            self.wait(PollFlags::OUT, deadline, DOING)?;
            match rustix::io::write(&*self.fd, bytes) {
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(errno) => return Err(self.failed(errno, DOING)),
            }
        }
        Ok(())
    }

    fn try_clone(&self) -> Result<Box<dyn Pipe>, PipeError> {
        Ok(Box::new(self.clone()))
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// The moment `timeout` from now; a year stands for spans that the clock cannot hold.
pub(crate) fn after(timeout: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    Instant::now() + timeout.min(YEAR)
}

/// Gives `$pipe`, a newtype around [`FdPipe`], the trait.
macro_rules! pipe_by_fd {
    ($pipe:ty) => {
        impl biotrust_driver_api::Pipe for $pipe {
            fn read(
                &mut self,
                buffer: &mut [u8],
                timeout: std::time::Duration,
            ) -> Result<usize, biotrust_driver_api::PipeError> {
                self.0.read(buffer, timeout)
            }

            fn write_all(
                &mut self,
                bytes: &[u8],
                timeout: std::time::Duration,
            ) -> Result<(), biotrust_driver_api::PipeError> {
                self.0.write_all(bytes, timeout)
            }

            fn try_clone(
                &self,
            ) -> Result<Box<dyn biotrust_driver_api::Pipe>, biotrust_driver_api::PipeError> {
                self.0.try_clone()
            }

            fn name(&self) -> &str {
                self.0.name()
            }
        }
    };
}
pub(crate) use pipe_by_fd;
