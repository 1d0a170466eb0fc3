//! Messages of the kernel and of udevd that something on a bus has changed.
//!
//! They are hints and nothing else: of each, only its subsystem is looked at. Only root can send any.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use biotrust_driver_api::Bus;
use memchr::memmem;
use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

/// Multicast groups: what the kernel says, and what udevd says when it is done.
const KERNEL_AND_UDEV: u32 = 1 | 2;

/// A socket on which messages come.
pub(super) struct Messages {
    socket: OwnedFd,
    /// `SUBSYSTEM=…`, with the zero byte that ends it.
    wanted: Vec<Vec<u8>>,
}

impl Messages {
    pub(super) fn open(buses: &[Bus]) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(KOBJECT_UEVENT))?;
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL_AND_UDEV))?;
        Ok(Self::on(socket, buses))
    }

    pub(super) fn on(socket: OwnedFd, buses: &[Bus]) -> Self {
        let wanted = buses.iter().filter_map(|bus| super::sysfs::subsystem(*bus));
        Self { socket, wanted: wanted.map(|name| format!("SUBSYSTEM={name}\0").into_bytes()).collect() }
    }

    /// Takes all messages off the queue; answers whether one of them may be about a bus that is watched.
    ///
    /// # Errors
    /// When the socket is broken.
    pub(super) fn drain(&self) -> io::Result<bool> {
        let mut buffer = vec![0; 16 * 1024];
        let mut hint = false;
        loop {
            match recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((length, _)) => hint |= self.concerns(buffer.get(..length).unwrap_or_default()),
                // Messages were lost: any of them may have been about our buses.
                Err(Errno::NOBUFS) => hint = true,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(hint),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// A message that names no subsystem counts: what cannot be understood is looked into.
    fn concerns(&self, message: &[u8]) -> bool {
        self.wanted.iter().any(|wanted| memmem::find(message, wanted).is_some())
            || memmem::find(message, b"SUBSYSTEM=").is_none()
    }
}

impl AsFd for Messages {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
