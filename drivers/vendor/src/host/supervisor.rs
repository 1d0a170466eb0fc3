//! Keeps one driver alive and tells of its devices.
//!
//! A thread per driver. It starts the driver (or connects to the socket at which systemd starts it), listens to what
//! devices come and go, and asks every second whether the driver is well. One that ends, breaks the protocol or does not
//! answer is taken for dead: its devices vanish at once, a process of ours is killed, and it is started again as its
//! [`Budget`] allows.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use biotrust_driver_api::{
    Bus, Cancel, DeviceError, DeviceErrorKind, Found, Node, PipeErrorKind, Quirks, Value,
};
use biotrust_pipe::UnixPipe;

use super::budget::{Budget, Next};
use super::connection::Connection;
use super::process::{Process, RunAs, SpawnError};
use super::{DEVICE, DRIVER};
use crate::wire::{FromDriver, ToDriver};

/// How long a driver may take from its start to its answer to HELLO.
const START: Duration = Duration::from_secs(5);
/// How often a driver is asked whether it is well.
const PING_EVERY: Duration = Duration::from_secs(1);
/// How long a healthy driver takes to answer that.
const PONG_WITHIN: Duration = Duration::from_secs(2);
/// Most devices of one driver.
const MOST: usize = 64;

/// How a driver is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// By systemd, when somebody connects to this socket.
    Socket(PathBuf),
    /// By the service.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
        /// As whom: a user of its own, or `None` for the service's own.
        user: Option<String>,
        /// Directory for its socket, which no other user may enter.
        runtime: PathBuf,
    },
}

/// A driver to keep alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverConfig {
    /// Its name: part of the place of its devices.
    pub name: String,
    /// How it is started.
    pub start: Start,
}

/// How a driver is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriverState {
    /// It runs, and this is who it says it is.
    Running {
        /// Name of its own.
        name: String,
        /// Version.
        release: String,
    },
    /// It has ended, or does not answer, and is started again soon.
    Restarting(String),
    /// It has ended too often and is left alone for a while.
    Resting(String),
}

/// What happens with a driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VendorEvent {
    /// A device is there: connect to `node.path` and give the connection to [`super::VendorFactory`].
    Appeared(Found),
    /// A device is gone.
    Vanished {
        /// Its place.
        place: String,
    },
    /// The devices that were there at the (re)start have been told.
    Listed,
    /// The driver itself has changed.
    State(DriverState),
    /// A line of its standard error.
    Said(String),
}

/// Keeps a driver alive until it is dropped; then the driver ends.
pub struct Supervisor {
    stop: Cancel,
    thread: Option<JoinHandle<()>>,
}

impl Supervisor {
    /// Starts to keep `config` alive. `sink` is called on threads of the supervisor and must not block.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(
        config: DriverConfig,
        sink: impl Fn(VendorEvent) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let stop = Cancel::new();
        let keeper = Keeper {
            config,
            sink: std::sync::Arc::new(sink),
            stop: stop.clone(),
            started: Instant::now(),
            devices: BTreeMap::new(),
        };
        let name = format!("driver {}", keeper.config.name);
        let thread = std::thread::Builder::new().name(name).spawn(move || keeper.keep())?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Keeper {
    config: DriverConfig,
    sink: std::sync::Arc<dyn Fn(VendorEvent) + Send + Sync>,
    stop: Cancel,
    started: Instant,
    /// Devices that are there: their names and places.
    devices: BTreeMap<String, String>,
}

impl Keeper {
    fn keep(mut self) {
        let mut budget = Budget::default();
        while !self.stop.is_cancelled() {
            let why = self.live();
            for place in std::mem::take(&mut self.devices).into_values() {
                (self.sink)(VendorEvent::Vanished { place });
            }
            if self.stop.is_cancelled() {
                return;
            }
            let (state, pause) = match budget.ended(self.started.elapsed()) {
                Next::RestartIn(pause) => (DriverState::Restarting(why), pause),
                Next::RestIn(pause) => (DriverState::Resting(why), pause),
            };
            (self.sink)(VendorEvent::State(state));
            let _ = self.stop.wait(pause);
        }
    }

    /// One life of the driver; answers how it ended.
    fn live(&mut self) -> String {
        let mut process = match self.spawn() {
            Ok(process) => process,
            Err(error) => return error.to_string(),
        };
        let ended = self.converse();
        // The connection may end a moment before the process does. Where it was us who ended it, it says nothing.
        let own = process.as_mut().filter(|_| ended.kind == DeviceErrorKind::Gone).and_then(|process| {
            let _ = self.stop.wait(Duration::from_millis(20));
            process.ended()
        });
        own.unwrap_or_else(|| ended.to_string())
    }

    fn spawn(&self) -> Result<Option<Process>, SpawnError> {
        let Start::Command { argv, user, .. } = &self.config.start else { return Ok(None) };
        let run_as = user.clone().map_or(RunAs::Same, RunAs::User);
        let sink = std::sync::Arc::clone(&self.sink);
        Process::start(argv, &run_as, &self.socket(), move |line| sink(VendorEvent::Said(line))).map(Some)
    }

    fn socket(&self) -> PathBuf {
        match &self.config.start {
            Start::Socket(path) => path.clone(),
            Start::Command { runtime, .. } => runtime.join(format!("driver-{}.sock", self.config.name)),
        }
    }

    /// Listens to the driver until it is dead or we are to stop.
    fn converse(&mut self) -> DeviceError {
        match self.listen() {
            Ok(()) => DeviceError::new(DeviceErrorKind::Cancelled, "the service ends"),
            Err(error) => error,
        }
    }

    fn listen(&mut self) -> Result<(), DeviceError> {
        let socket = self.socket();
        let deadline = Instant::now() + START;
        let pipe = UnixPipe::connect(&socket).map_err(|error| {
            let kind = match error.kind {
                PipeErrorKind::PermissionDenied => DeviceErrorKind::PermissionDenied,
                _ => DeviceErrorKind::Gone,
            };
            DeviceError::caused(kind, error.to_string(), error)
        })?;
        let (mut connection, greeted) = Connection::greet(Box::new(pipe), deadline)?;
        connection.send(&ToDriver::Watch, deadline)?;
        (self.sink)(VendorEvent::State(DriverState::Running {
            name: greeted.name,
            release: greeted.release,
        }));
        let mut ping = Ping::new(Instant::now());
        while !self.stop.is_cancelled() {
            let now = Instant::now();
            if let Some(nonce) = ping.due(now)? {
                connection.send(&ToDriver::Ping(nonce), now + PONG_WITHIN)?;
            }
            match connection.next_within(Duration::from_millis(100))? {
                None => {}
                Some(FromDriver::Present { name, .. }) => self.present(name, &socket)?,
                Some(FromDriver::Absent { name }) => {
                    if let Some(place) = self.devices.remove(&name) {
                        (self.sink)(VendorEvent::Vanished { place });
                    }
                }
                Some(FromDriver::Listed) => (self.sink)(VendorEvent::Listed),
                Some(FromDriver::Pong(nonce)) => ping.answered(nonce),
                Some(_) => return Err(connection.out_of_place("WATCH")),
            }
        }
        Ok(())
    }

    /// A device that was there already has come back meanwhile.
    fn present(&mut self, name: String, socket: &std::path::Path) -> Result<(), DeviceError> {
        let place = format!("vendor:{}/{name}", self.config.name);
        if self.devices.insert(name.clone(), place.clone()).is_some() {
            (self.sink)(VendorEvent::Vanished { place: place.clone() });
        }
        if self.devices.len() > MOST {
            let why = format!("the driver tells of more than {MOST} devices");
            return Err(DeviceError::new(DeviceErrorKind::Protocol, why));
        }
        let node =
            Node { bus: Bus::Vendor, place, path: socket.to_owned(), usb: None, driver: Some(DRIVER.into()) };
        let settings = BTreeMap::from([(DEVICE.to_owned(), Value::Text(name))]);
        let quirks = Quirks { name: format!("driver {}", self.config.name), settings };
        (self.sink)(VendorEvent::Appeared(Found { node, quirks }));
        Ok(())
    }
}

/// When to ask whether a driver is well, and whether it has answered.
struct Ping {
    nonce: u32,
    /// When the next one is due; or when the answer to the last one is.
    at: Instant,
    open: bool,
}

impl Ping {
    fn new(now: Instant) -> Self {
        Self { nonce: 0, at: now + PING_EVERY, open: false }
    }

    /// The nonce to ask with, where it is time.
    fn due(&mut self, now: Instant) -> Result<Option<u32>, DeviceError> {
        if now < self.at {
            return Ok(None);
        }
        if self.open {
            let why = "it has not answered for two seconds; it is taken for stuck";
            return Err(DeviceError::new(DeviceErrorKind::TimedOut, why));
        }
        self.nonce = self.nonce.wrapping_add(1);
        (self.open, self.at) = (true, now + PONG_WITHIN);
        Ok(Some(self.nonce))
    }

    fn answered(&mut self, nonce: u32) {
        if self.open && nonce == self.nonce {
            (self.open, self.at) = (false, Instant::now() + PING_EVERY);
        }
    }
}
