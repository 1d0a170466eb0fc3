//! What a driver in Rust is built with: implement [`VendorDriver`], call [`serve`] from `main`.
//!
//! The driver is started with a listening Unix socket as its standard input, by the service or by systemd
//! (`StandardInput=socket`), and ends when the service goes. Each device has two threads, one that reads what the service
//! wants and one that works; whatever blocks in the vendor's SDK blocks the second only. While one is stuck, pings are not
//! answered, and the service ends the process.

mod health;
mod session;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use biotrust_driver_api::Cancel;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;

use crate::wire::FromDriver;
pub use crate::wire::{Eye, Failure, Picture, SensorInfo, Sight, Speech};
use health::Health;

/// Why a driver cannot do it, for a technician.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub Failure, pub String);

/// Where a driver tells what devices are there.
#[derive(Clone)]
pub struct Watch {
    line: Arc<session::Line>,
    ended: Cancel,
}

impl Watch {
    /// A device is there. `name` is to be the same whenever the same device is there: its serial number is best.
    pub fn present(&self, name: &str, speech: Speech) {
        self.line.say(&FromDriver::Present { name: name.to_owned(), speech });
    }

    /// It is gone.
    pub fn absent(&self, name: &str) {
        self.line.say(&FromDriver::Absent { name: name.to_owned() });
    }

    /// All devices that were there at the start have been told.
    pub fn listed(&self) {
        self.line.say(&FromDriver::Listed);
    }

    /// Sleeps until the service has gone (`true`: return then) or `time` is over.
    #[must_use]
    pub fn wait(&self, time: Duration) -> bool {
        self.ended.wait(time)
    }
}

/// A driver for one make of devices.
pub trait VendorDriver: Send + Sync {
    /// Its name.
    fn name(&self) -> &str;

    /// Its version.
    fn release(&self) -> &str;

    /// Tells what devices are there, then what comes and goes, until [`Watch::wait`] says that the service has gone.
    fn watch(&self, watch: &Watch);

    /// Opens a device that is there.
    ///
    /// # Errors
    /// Why it cannot.
    fn open(&self, name: &str) -> Result<OpenedDevice, Refusal>;
}

/// A device that has been opened; dropping it closes it.
pub enum OpenedDevice {
    /// A plain sensor.
    Sensor(SensorInfo, Box<dyn VendorSensor>),
    /// A device that speaks the link protocol: this is called on a thread of its own, carries bytes both ways between the
    /// socket and the device, and returns when either has gone.
    Link(Box<dyn FnOnce(UnixStream) + Send>),
}

/// A plain sensor.
pub trait VendorSensor: Send {
    /// Looks once: answers what was presented within `within`, as soon as something is; at once when `cancel` is set.
    ///
    /// # Errors
    /// Why it cannot.
    fn look(&mut self, within: Duration, cancel: &Cancel) -> Result<Sight, Refusal>;

    /// How it is: an error of kind `NotReady` with the reason while it cannot work.
    ///
    /// # Errors
    /// Why it cannot.
    fn status(&mut self) -> Result<(), Refusal> {
        Ok(())
    }

    /// Nobody will look for a while: lights off.
    fn rest(&mut self) {}
}

/// Serves at the socket that is the standard input, until the service goes.
///
/// # Errors
/// When the standard input is no listening socket.
pub fn serve(driver: impl VendorDriver) -> io::Result<()> {
    let fd = io::stdin().as_fd().try_clone_to_owned()?;
    if rustix::net::sockopt::socket_acceptconn(&fd) != Ok(true) {
        let why = "the standard input must be the listening socket that the service or systemd makes; \
                   try `biotrust driver check -- THIS_PROGRAM`";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    serve_at(&UnixListener::from(fd), &driver)
}

/// Serves at `listener`, until the connection that watches is closed.
///
/// # Errors
/// When the socket fails.
pub fn serve_at(listener: &UnixListener, driver: &dyn VendorDriver) -> io::Result<()> {
    let health = Health::default();
    let over = eventfd(0, EventfdFlags::CLOEXEC)?;
    listener.set_nonblocking(true)?;
    std::thread::scope(|scope| {
        while !is_over(listener, &over)? {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) =>
                {
                    continue;
                }
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(false)?;
            let (health, over) = (&health, &over);
            std::thread::Builder::new().name("connection".into()).spawn_scoped(scope, move || {
                if session::serve(&stream, driver, health) == session::End::Watched {
                    // Writing 1 to an eventfd that holds 0 does not block or fail.
                    let _ = rustix::io::write(over, &1u64.to_ne_bytes());
                }
            })?;
        }
        Ok(())
    })
}

/// Sleeps until somebody connects (`false`) or the one who watched has gone (`true`).
fn is_over(listener: &UnixListener, over: &OwnedFd) -> io::Result<bool> {
    let mut set = [PollFd::new(over, PollFlags::IN), PollFd::new(listener, PollFlags::IN)];
    match poll(&mut set, None) {
        Ok(_) => Ok(set.first().is_some_and(|over| !over.revents().is_empty())),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
