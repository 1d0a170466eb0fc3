//! Plugging virtual devices into this machine's kernel: one end of a socket pair is handed to `vhci_hcd`, as the tool
//! `usbip attach` does with a TCP connection.
//!
//! Needs root and the module: `modprobe vhci-hcd`. It writes to sysfs, which may block for the time of an attach.

use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::{Connection, Gadget, UsbDevice};

/// The first controller; it has as many ports as anybody here needs (8 or 15 of each speed).
const CONTROLLER: &str = "/sys/devices/platform/vhci_hcd.0";
/// `VDEV_ST_NULL`: nothing is in the port.
const FREE: &str = "004";
/// How long ports are looked for that somebody else does not take first, or that are still being given back.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a port that is wanted is waited for: the kernel gives it back some time after its device has gone.
const INSIST: Duration = Duration::from_secs(2);

/// A device cannot be plugged into the kernel.
#[derive(Debug, thiserror::Error)]
pub enum VhciError {
    /// The module is not there.
    #[error("{} is not there: load the module with `modprobe vhci-hcd`, as root", path.display())]
    NoController {
        /// What is not there.
        path: PathBuf,
    },
    /// All ports have devices.
    #[error("every port of the virtual host controller has a device: unplug one")]
    NoFreePort,
    /// The kernel refuses.
    #[error("{doing}: {source}")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// A device that is plugged into the kernel. It is unplugged when this is dropped.
pub struct Plugged {
    port: u32,
    /// Taken when it is unplugged.
    connection: Option<Connection>,
}

/// Plugs a device in. The kernel enumerates it afterwards, on its own time.
///
/// # Errors
/// When the kernel has no virtual host controller or no free port, or this program may not use it.
pub fn attach<D: UsbDevice + ?Sized + 'static>(gadget: &Gadget<D>) -> Result<Plugged, VhciError> {
    attach_at(gadget, None)
}

/// Plugs a device in at a port of the controller, so that it comes back where it was; elsewhere if that port does not
/// become free.
///
/// # Errors
/// As [`attach`].
pub fn attach_at<D: UsbDevice + ?Sized + 'static>(
    gadget: &Gadget<D>,
    wanted: Option<u32>,
) -> Result<Plugged, VhciError> {
    let controller = Path::new(CONTROLLER);
    let speed = gadget.descriptors().speed().number();
    let (device_end, kernel_end) =
        UnixStream::pair().map_err(|source| VhciError::Refused { doing: "making a socket pair", source })?;
    // Before the kernel has its end, for it asks at once.
    let connection = gadget
        .connect(device_end)
        .map_err(|source| VhciError::Refused { doing: "plugging in a virtual device", source })?;
    let give_up = Instant::now() + PATIENCE;
    let insist = Instant::now() + INSIST;
    loop {
        let wanted = wanted.filter(|_| Instant::now() < insist);
        let Some(port) = free_port(controller, wanted)? else {
            pause(give_up).map_err(|()| VhciError::NoFreePort)?;
            continue;
        };
        // Bus 1, any address: the kernel gives the device its own.
        let devid = (1 << 16) | (port + 1);
        let order = format!("{port} {} {devid} {speed}", kernel_end.as_raw_fd());
        match fs::write(controller.join("attach"), order) {
            Ok(()) => return Ok(Plugged { port, connection: Some(connection) }),
            // Somebody else was faster.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && pause(give_up).is_ok() => {}
            Err(source) => {
                return Err(VhciError::Refused { doing: "attaching a device to vhci_hcd", source });
            }
        }
    }
}

impl Plugged {
    /// Number of the controller's port.
    #[must_use]
    pub const fn port(&self) -> u32 {
        self.port
    }

    /// Whether the kernel still has it: it has not if the device has fallen off the bus, or somebody has detached it.
    #[must_use]
    pub fn is_plugged(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| !connection.ended())
    }

    /// What has happened so far.
    #[must_use]
    pub fn statistics(&self) -> crate::Statistics {
        self.connection.as_ref().map(Connection::statistics).unwrap_or_default()
    }

    /// Unplugs it as `usbip detach` does: the kernel is told, then the connection ends.
    ///
    /// # Errors
    /// When the kernel does not take the order. The connection has ended all the same.
    pub fn unplug(mut self) -> Result<(), VhciError> {
        self.detach()
    }

    /// The connection ends under the kernel, which finds out by itself: a plug that is pulled in the middle of whatever
    /// is under way.
    pub fn yank(mut self) {
        drop(self.connection.take());
    }

    fn detach(&mut self) -> Result<(), VhciError> {
        let Some(connection) = self.connection.take() else { return Ok(()) };
        if connection.ended() {
            return Ok(());
        }
        fs::write(Path::new(CONTROLLER).join("detach"), self.port.to_string())
            .map_err(|source| VhciError::Refused { doing: "detaching a device from vhci_hcd", source })
    }
}

impl Drop for Plugged {
    fn drop(&mut self) {
        // What the kernel does not let go is pulled.
        let _ = self.detach();
    }
}

/// Waits a moment, unless the time is over.
#[expect(clippy::disallowed_methods, reason = "the kernel has no event for a port that becomes free")]
fn pause(give_up: Instant) -> Result<(), ()> {
    if Instant::now() >= give_up {
        return Err(());
    }
    std::thread::sleep(Duration::from_millis(5));
    Ok(())
}

/// A port for devices of up to high speed in which there is nothing: that which is wanted, or the first.
fn free_port(controller: &Path, wanted: Option<u32>) -> Result<Option<u32>, VhciError> {
    let path = controller.join("status");
    match fs::read_to_string(&path) {
        Ok(status) => Ok(find_free(&status, wanted)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(VhciError::NoController { path }),
        Err(source) => Err(VhciError::Refused { doing: "reading the ports of vhci_hcd", source }),
    }
}

/// The table is `hub port sta spd dev sockfd local_busid`, with one line of these words.
fn find_free(status: &str, wanted: Option<u32>) -> Option<u32> {
    let mut free = status.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("hs"), Some(port), Some(FREE)) => port.parse::<u32>().ok(),
            _ => None,
        }
    });
    free.find(|port| wanted.is_none_or(|wanted| wanted == *port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_free_port_of_high_speed_is_taken() {
        let status = "\
hub port sta spd dev      sockfd local_busid
hs  0000 006 003 00010001 000003 1-1
hs  0001 004 000 00000000 000000 0-0
ss  0008 004 000 00000000 000000 0-0
";
        assert_eq!(find_free(status, None), Some(1));
        assert_eq!(find_free(status, Some(1)), Some(1));
        assert_eq!(find_free(status, Some(0)), None, "it has a device");
        assert_eq!(find_free(status, Some(8)), None, "it is for others");
        assert_eq!(find_free(&status.replace("0001 004", "0001 005"), None), None);
    }

    #[test]
    fn a_kernel_without_the_module_is_told() {
        let nowhere = tempfile::tempdir().unwrap();
        let error = free_port(&nowhere.path().join("vhci_hcd.0"), None).unwrap_err().to_string();
        assert!(error.contains("modprobe vhci-hcd"), "{error}");
    }
}
