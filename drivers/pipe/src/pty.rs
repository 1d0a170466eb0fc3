//! Pseudo-terminals: a serial line without hardware, for the simulator and for tests.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use biotrust_driver_api::{PipeError, PipeErrorKind};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use crate::fd::{FdPipe, pipe_by_fd};

/// The device's end of a pseudo-terminal. The host opens [`PtyPipe::slave_path`].
///
/// It keeps the slave open too, so that a host that closes and comes back finds the line as it was: without that the
/// master would read EIO from the first close on. The line is hung up when the last clone is dropped.
pub struct PtyPipe(FdPipe, PathBuf);

pipe_by_fd!(PtyPipe);

impl PtyPipe {
    /// What the host opens, such as `/dev/pts/3`.
    #[must_use]
    pub fn slave_path(&self) -> &Path {
        &self.1
    }

    /// The speed in baud that the host has set. A pseudo-terminal keeps to none: a device that wants to must do so itself.
    ///
    /// # Errors
    /// `Os` when the system cannot tell.
    pub fn host_baud(&self) -> Result<u32, PipeError> {
        self.0.baud()
    }
}

struct Pty {
    master: OwnedFd,
    _slave: OwnedFd,
}

impl AsFd for Pty {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }
}

/// Opens a pseudo-terminal in raw mode.
///
/// # Errors
/// `Os` when the system has none left, or no `/dev/pts` is mounted.
pub fn open_pair() -> Result<PtyPipe, PipeError> {
    open().map_err(|errno| PipeError {
        kind: PipeErrorKind::Os,
        os: Some(errno.raw_os_error()),
        doing: "opening a pseudo-terminal (is /dev/pts mounted?)".into(),
    })
}

fn open() -> Result<PtyPipe, Errno> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let path = PathBuf::from(ptsname(&master, Vec::new())?.into_string().map_err(|_| Errno::ILSEQ)?);
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    let mut settings = tcgetattr(&slave)?;
    settings.make_raw();
    tcsetattr(&slave, OptionalActions::Now, &settings)?;
    fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
    let name = format!("master of {}", path.display());
    Ok(PtyPipe(FdPipe::new(Pty { master, _slave: slave }, &name), path))
}
