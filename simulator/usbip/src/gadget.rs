//! A virtual device that can be plugged in, pulled and plugged in again, and the thread that serves it while it is
//! plugged in.
//!
//! The thread blocks in `poll` only: on the connection, on the device's waker, and until the device's next event. It
//! stops reading while the host does not take what is there for it, so a host that never reads costs no memory.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::net::Shutdown;

use crate::{Descriptors, Engine, Statistics, UsbDevice, Waker};

/// What may wait to be sent before no more is read.
const BACKLOG: usize = 1 << 20;
/// Bytes read at once.
const PIECE: usize = 64 << 10;

/// A virtual device. Clones are handles on the same one.
pub struct Gadget<D: ?Sized> {
    inner: Arc<Inner<D>>,
}

impl<D: ?Sized> Clone for Gadget<D> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

struct Inner<D: ?Sized> {
    /// Readable when something has happened to the device, or its connection is to end.
    event: Arc<OwnedFd>,
    plugged: AtomicBool,
    /// Last, so that it may be unsized.
    device: Mutex<D>,
}

impl<D: UsbDevice + 'static> Gadget<D> {
    /// Puts a device into a gadget. It is not plugged in yet.
    ///
    /// # Errors
    /// When the system has no event descriptor left.
    pub fn new(mut device: D) -> io::Result<Self> {
        let event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        device.powered(&waker(&event));
        let inner = Inner { event, plugged: AtomicBool::new(false), device: Mutex::new(device) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The same device, its type forgotten.
    #[must_use]
    pub fn erase(&self) -> Gadget<dyn UsbDevice> {
        Gadget { inner: Arc::clone(&self.inner) as Arc<Inner<dyn UsbDevice>> }
    }
}

impl<D: UsbDevice + ?Sized + 'static> Gadget<D> {
    /// Does something with the device; what can be answered then is answered.
    pub fn with<T>(&self, work: impl FnOnce(&mut D) -> T) -> T {
        let done = work(&mut self.inner.device());
        wake(&self.inner.event);
        done
    }

    /// What tells the gadget that something has happened to the device, for those who have a hand on a part of it.
    #[must_use]
    pub fn waker(&self) -> Waker {
        waker(&self.inner.event)
    }

    /// Its descriptors.
    #[must_use]
    pub fn descriptors(&self) -> Descriptors {
        self.inner.device().descriptors().clone()
    }

    /// Whether it is plugged in.
    #[must_use]
    pub fn is_plugged(&self) -> bool {
        self.inner.plugged.load(Ordering::Acquire)
    }

    /// Serves the device on a stream socket that speaks USB/IP (after the import), on a thread of its own.
    ///
    /// # Errors
    /// `ResourceBusy` while it is plugged in somewhere; when the system has no thread left.
    pub fn connect(&self, stream: impl Into<OwnedFd>) -> io::Result<Connection> {
        if self.inner.plugged.swap(true, Ordering::AcqRel) {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "the device is plugged in already"));
        }
        let unplugged = Unplug(Arc::clone(&self.inner));
        let stream = File::from(stream.into());
        rustix::io::ioctl_fionbio(&stream, true)?;
        let line = Arc::new(Line {
            stream,
            event: Arc::clone(&self.inner.event),
            stop: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            statistics: Mutex::default(),
        });
        let served = Arc::clone(&line);
        let thread = std::thread::Builder::new().name("usb device".into()).spawn(move || {
            serve(&unplugged.0, &served);
            // Free to be plugged in again before anybody can see that this connection has ended.
            drop(unplugged);
            served.ended.store(true, Ordering::Release);
            let _ = rustix::net::shutdown(&served.stream, Shutdown::Both);
        })?;
        Ok(Connection { line, thread: Some(thread) })
    }
}

impl<D: ?Sized> Inner<D> {
    fn device(&self) -> MutexGuard<'_, D> {
        // A device that has panicked is as good as any other faulty one.
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the device free again.
struct Unplug<D: ?Sized>(Arc<Inner<D>>);

impl<D: ?Sized> Drop for Unplug<D> {
    fn drop(&mut self) {
        self.0.plugged.store(false, Ordering::Release);
    }
}

fn waker(event: &Arc<OwnedFd>) -> Waker {
    let event = Arc::clone(event);
    Waker::new(move || wake(&event))
}

fn wake(event: &OwnedFd) {
    // Fails only where it would count beyond 2^64: it is readable then.
    let _ = rustix::io::write(event, &1u64.to_ne_bytes());
}

struct Line {
    stream: File,
    event: Arc<OwnedFd>,
    stop: AtomicBool,
    ended: AtomicBool,
    statistics: Mutex<Statistics>,
}

/// A device that is plugged in somewhere. It is pulled when this is dropped.
pub struct Connection {
    line: Arc<Line>,
    thread: Option<JoinHandle<()>>,
}

impl Connection {
    /// Pulls the plug: the connection is closed at once, whatever is under way. Afterwards the device can be plugged in
    /// again.
    pub fn yank(mut self) {
        self.close();
    }

    /// Whether the connection has ended: the host has closed it, or the device has fallen off the bus.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.line.ended.load(Ordering::Acquire)
    }

    /// What has happened so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        *self.line.statistics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&mut self) {
        self.line.stop.store(true, Ordering::Release);
        let _ = rustix::net::shutdown(&self.line.stream, Shutdown::Both);
        wake(&self.line.event);
        if let Some(thread) = self.thread.take().filter(|t| t.thread().id() != std::thread::current().id()) {
            let _ = thread.join();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

/// Serves until the connection ends.
fn serve<D: UsbDevice + ?Sized>(inner: &Inner<D>, line: &Line) {
    let mut output: Vec<u8> = Vec::new();
    let mut piece = vec![0; PIECE];
    let mut engine = Engine::new(&mut *inner.device(), Instant::now());
    while !line.stop.load(Ordering::Acquire) {
        let next = inner.device().next_event();
        let Ok(readable) = wait(line, &output, next) else { return };
        let received =
            if readable { (&line.stream).read(&mut piece) } else { Err(io::ErrorKind::WouldBlock.into()) };
        let bytes = match received {
            Ok(0) => return,
            Ok(length) => piece.get(..length).unwrap_or_default(),
            Err(error) if transient(&error) => &[],
            Err(_) => return,
        };
        if engine.receive(bytes, &mut *inner.device(), Instant::now()).is_err() {
            return;
        }
        output.append(&mut engine.take_output());
        *line.statistics.lock().unwrap_or_else(PoisonError::into_inner) = engine.statistics();
        if send(line, &mut output).is_err() || engine.disconnected() {
            return;
        }
    }
}

/// Waits until there is something to do; tells whether the host has sent something.
fn wait(line: &Line, output: &[u8], next: Option<Instant>) -> io::Result<bool> {
    let mut wanted = PollFlags::empty();
    wanted.set(PollFlags::IN, output.len() < BACKLOG);
    wanted.set(PollFlags::OUT, !output.is_empty());
    // At least a millisecond, so that a device which forgets its own deadline does not spin.
    let left = next.map(|at| at.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)));
    let timeout = left.and_then(|left| Timespec::try_from(left).ok());
    let mut waited = [PollFd::new(&line.stream, wanted), PollFd::new(&*line.event, PollFlags::IN)];
    match poll(&mut waited, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let [stream, event] = waited.map(|w| w.revents());
    if event.contains(PollFlags::IN) {
        let _ = rustix::io::read(&*line.event, &mut [0; 8]);
    }
    Ok(stream.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR))
}

/// Sends what the host takes now.
fn send(line: &Line, output: &mut Vec<u8>) -> io::Result<()> {
    let mut sent = 0;
    while let Some(rest) = output.get(sent..).filter(|rest| !rest.is_empty()) {
        match (&line.stream).write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => sent += length,
            Err(error) if transient(&error) => break,
            Err(error) => return Err(error),
        }
    }
    output.drain(..sent);
    Ok(())
}

fn transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
