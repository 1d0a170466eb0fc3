//! Serial lines: UARTs, USB adapters and pseudo-terminals.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use biotrust_driver_api::{PipeError, PipeErrorKind, SerialPort};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{QueueSelector, ioctl_tiocnxcl, tcflush};
use serialport::TTYPort;

use crate::fd::{FdPipe, pipe_by_fd};

/// A serial line: raw, 8N1, ours alone.
pub struct SerialPipe(FdPipe);

pipe_by_fd!(SerialPipe);

/// Bytes go over a descriptor of our own, because writes of `serialport` block for as long as the other end does not
/// read; `port` holds the line: its settings and the lock that keeps others out.
struct Line {
    data: OwnedFd,
    _port: TTYPort,
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.data.as_fd()
    }
}

impl SerialPort for SerialPipe {
    fn set_baud(&mut self, baud: u32) -> Result<(), PipeError> {
        self.0.set_baud(baud)
    }

    fn try_clone_serial(&self) -> Result<Box<dyn SerialPort>, PipeError> {
        Ok(Box::new(Self(self.0.clone())))
    }
}

impl SerialPipe {
    /// Speed of a line where nothing else is said. USB devices and pseudo-terminals ignore it.
    pub const DEFAULT_BAUD: u32 = 115_200;

    /// Opens the tty at `path`, or what it links to, at [`Self::DEFAULT_BAUD`].
    ///
    /// # Errors
    /// As [`Self::open_at`].
    pub fn open(path: &Path) -> Result<Self, PipeError> {
        Self::open_at(path, Self::DEFAULT_BAUD)
    }

    /// Opens the tty at `path` and forgets what is waiting in it.
    ///
    /// # Errors
    /// `PermissionDenied`, naming the group to join; `InUse`; `Gone` when there is no such tty; `Os`.
    pub fn open_at(path: &Path, baud: u32) -> Result<Self, PipeError> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let data = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| refused(path, errno))?;
        if !rustix::termios::isatty(&data) {
            return Err(error(path, PipeErrorKind::Os, Some(Errno::NOTTY), "it is not a tty"));
        }
        let port =
            TTYPort::open(&serialport::new(path.to_string_lossy(), baud)).map_err(|e| match e.kind() {
                // `serialport` says NoDevice for a lock that somebody else holds, and for EBUSY.
                serialport::ErrorKind::NoDevice => in_use(path),
                _ => error(path, PipeErrorKind::Os, None, &e.description),
            })?;
        if is_pseudo(&data) {
            // The exclusive flag of a pseudo-terminal outlives a host that is killed, as long as the device lives, and
            // would keep the next host out. The lock that `serialport` also takes does not.
            ioctl_tiocnxcl(&data).map_err(|errno| refused(path, errno))?;
        }
        tcflush(&data, QueueSelector::IOFlush).map_err(|errno| refused(path, errno))?;
        Ok(Self(FdPipe::new(Line { data, _port: port }, &path.to_string_lossy())))
    }
}

/// Whether this is the slave of a Unix98 pseudo-terminal: majors 136 to 143 (Linux, admin-guide/devices.txt).
fn is_pseudo(tty: &OwnedFd) -> bool {
    rustix::fs::fstat(tty).is_ok_and(|stat| (136..=143).contains(&rustix::fs::major(stat.st_rdev)))
}

fn refused(path: &Path, errno: Errno) -> PipeError {
    match errno {
        Errno::ACCESS | Errno::PERM => {
            let advice = match group_of(path) {
                Some(group) => format!("add the user of this service to the group {group}"),
                None => "add the user of this service to the group that owns it".into(),
            };
            error(path, PipeErrorKind::PermissionDenied, Some(errno), &advice)
        }
        Errno::BUSY => in_use(path),
        Errno::NOENT | Errno::NXIO | Errno::NODEV | Errno::IO | Errno::NOTDIR => {
            error(path, PipeErrorKind::Gone, Some(errno), "there is no such tty; is the device plugged in?")
        }
        _ => error(path, PipeErrorKind::Os, Some(errno), "the system refuses"),
    }
}

fn in_use(path: &Path) -> PipeError {
    let advice = "another program has it open; `fuser` names that program";
    error(path, PipeErrorKind::InUse, None, advice)
}

fn error(path: &Path, kind: PipeErrorKind, errno: Option<Errno>, advice: &str) -> PipeError {
    let os = errno.map(Errno::raw_os_error);
    PipeError { kind, os, doing: format!("opening {} ({advice})", path.display()) }
}

/// Name of the group that owns `path`, by /etc/group.
fn group_of(path: &Path) -> Option<String> {
    let gid = std::fs::metadata(path).ok()?.gid().to_string();
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == gid).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permission_denied_names_the_group_to_join() {
        // /etc/passwd belongs to root everywhere; a tty would do as well, but not every machine has one.
        let error = refused(Path::new("/etc/passwd"), Errno::ACCESS);
        assert_eq!(error.kind, PipeErrorKind::PermissionDenied);
        assert!(error.doing.contains("to the group root"), "{error}");
    }
}
