//! Opening a device node: what the system's refusals mean, and what to do about them.

use std::os::fd::OwnedFd;
use std::path::Path;

use biotrust_driver_api::{PipeError, PipeErrorKind};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Opens the node at `path` for reading and writing.
///
/// # Errors
/// `PermissionDenied` that names the check of the udev rules; `Gone` when nothing is there; `InUse`; `Os`.
pub(crate) fn open(path: &Path, flags: OFlags) -> Result<OwnedFd, PipeError> {
    rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY | flags, Mode::empty())
        .map_err(|errno| refused(path, errno))
}

/// What a refusal to open means.
pub(crate) fn refused(path: &Path, errno: Errno) -> PipeError {
    let (kind, advice) = match errno {
        Errno::ACCESS | Errno::PERM => (
            PipeErrorKind::PermissionDenied,
            "a udev rule gives such nodes to the group biotrust: run `biotrust udev check`, and see that the user of \
             this service is in that group",
        ),
        Errno::BUSY => (PipeErrorKind::InUse, "another program has it open; `fuser` names that program"),
        Errno::NOENT | Errno::NXIO | Errno::NODEV | Errno::IO | Errno::NOTDIR => {
            (PipeErrorKind::Gone, "nothing is there; is the device plugged in?")
        }
        _ => (PipeErrorKind::Os, "the system refuses"),
    };
    PipeError {
        kind,
        os: Some(errno.raw_os_error()),
        doing: format!("opening {} ({advice})", path.display()),
    }
}

/// Kind of a failure on a node that was open.
pub(crate) const fn kind_of(errno: Errno) -> PipeErrorKind {
    match errno {
        Errno::NODEV | Errno::NXIO | Errno::IO | Errno::SHUTDOWN | Errno::NOENT => PipeErrorKind::Gone,
        Errno::TIMEDOUT => PipeErrorKind::TimedOut,
        Errno::PIPE => PipeErrorKind::Stalled,
        Errno::BUSY => PipeErrorKind::InUse,
        _ => PipeErrorKind::Os,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permission_denied_names_the_check_of_the_udev_rules() {
        let error = refused(Path::new("/dev/hidraw0"), Errno::ACCESS);
        assert_eq!(error.kind, PipeErrorKind::PermissionDenied);
        assert!(error.to_string().contains("`biotrust udev check`"), "{error}");
    }

    #[test]
    fn a_missing_node_is_gone_and_says_which() {
        let error = open(Path::new("/dev/no-such-node"), OFlags::empty()).unwrap_err();
        assert_eq!(error.kind, PipeErrorKind::Gone);
        assert!(error.to_string().contains("/dev/no-such-node"), "{error}");
    }
}
