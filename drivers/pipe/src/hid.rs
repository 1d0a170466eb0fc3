//! HID devices, by way of hidraw and `hidapi`.
//!
//! Reports are read on the caller's thread. Writes, and feature reports both ways, are made on a thread of the port's own,
//! because the kernel waits up to five seconds for a device that takes none: a caller whose time is over is let go, and the
//! port is wedged from then on. The report descriptor comes from the kernel; nothing that the device says is trusted.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use biotrust_driver_api::{HidPort, PipeError, PipeErrorKind};
use hidapi::{HidApi, HidDevice, HidError};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use crate::node;

/// Longest report descriptor that the kernel takes (HID_MAX_DESCRIPTOR_SIZE).
const DESCRIPTOR: usize = 4096;

/// Opens the hidraw node `path`.
///
/// # Errors
/// `PermissionDenied` that says what to do; `Gone`; `InUse` when another port has it; `Os` when it is no HID device.
pub fn open(path: &Path) -> Result<Box<dyn HidPort>, PipeError> {
    HidrawPort::open(path).map(|port| Box::new(port) as Box<dyn HidPort>)
}

/// An open hidraw node. Clones share it.
#[derive(Clone)]
pub struct HidrawPort {
    name: Arc<str>,
    reader: Arc<Mutex<HidDevice>>,
    writer: Arc<Writer>,
    /// Holds the lock that keeps a second port out: hidraw itself has any number of users.
    _lock: Arc<OwnedFd>,
}

impl HidrawPort {
    /// As [`open`].
    ///
    /// # Errors
    /// As [`open`].
    pub fn open(path: &Path) -> Result<Self, PipeError> {
        let name = path.display().to_string();
        let error = |kind, why: &str| PipeError { kind, os: None, doing: format!("opening {name} ({why})") };
        // Before hidapi, which tells a refusal in words only.
        let held = node::open(path, OFlags::NONBLOCK)?;
        flock(&held, FlockOperation::NonBlockingLockExclusive).map_err(|errno| match errno {
            Errno::WOULDBLOCK => node::refused(path, Errno::BUSY),
            errno => node::refused(path, errno),
        })?;
        let text = path.to_str().ok_or_else(|| error(PipeErrorKind::Os, "the path is not UTF-8"))?;
        let text = CString::new(text).map_err(|_| error(PipeErrorKind::Os, "the path holds a zero"))?;
        let api = HidApi::new().map_err(|e| error(PipeErrorKind::Os, &e.to_string()))?;
        let device = || api.open_path(&text).map_err(|e| error(PipeErrorKind::Os, &e.to_string()));
        // Two handles: each has a queue of its own in the kernel, and neither waits for the other.
        let (reader, writer) = (device()?, device()?);
        let name: Arc<str> = name.into();
        let writer = Writer::start(writer, name.clone())?;
        Ok(Self {
            name,
            reader: Arc::new(Mutex::new(reader)),
            writer: Arc::new(writer),
            _lock: Arc::new(held),
        })
    }

    fn error(&self, kind: PipeErrorKind, doing: &str) -> PipeError {
        PipeError { kind, os: None, doing: format!("{doing} {}", self.name) }
    }

    /// One thread reads, so that nobody waits here; a poisoned lock is as good as any.
    fn reader(&self) -> MutexGuard<'_, HidDevice> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HidPort for HidrawPort {
    fn name(&self) -> &str {
        &self.name
    }

    fn read_report(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, PipeError> {
        const DOING: &str = "reading from";
        let start = Instant::now();
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            let millis = i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
            match self.reader().read_timeout(buffer, millis) {
                Ok(0) if start.elapsed() >= timeout => return Err(self.error(PipeErrorKind::TimedOut, DOING)),
                Ok(0) => {}
                Ok(length) => return Ok(length),
                Err(HidError::IoError { error }) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // Beside the errors of read, hidapi only tells that the node is hung up.
                Err(HidError::HidApiError { .. }) => return Err(self.error(PipeErrorKind::Gone, DOING)),
                Err(error) => return Err(translate(&error, &self.name, DOING)),
            }
        }
    }

    fn write_report(&mut self, report: &[u8], timeout: Duration) -> Result<(), PipeError> {
        self.writer.run(Job::Write(report.to_vec()), timeout).map(drop)
    }

    fn feature(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, PipeError> {
        let report = self.writer.run(Job::Feature(buffer.to_vec()), timeout)?;
        for (to, from) in buffer.iter_mut().zip(&report) {
            *to = *from;
        }
        Ok(report.len().min(buffer.len()))
    }

    fn set_feature(&mut self, report: &[u8], timeout: Duration) -> Result<(), PipeError> {
        self.writer.run(Job::SetFeature(report.to_vec()), timeout).map(drop)
    }

    fn descriptor(&mut self) -> Result<Vec<u8>, PipeError> {
        let mut buffer = vec![0; DESCRIPTOR];
        let length = self
            .reader()
            .get_report_descriptor(&mut buffer)
            .map_err(|error| translate(&error, &self.name, "reading the descriptor of"))?;
        buffer.truncate(length);
        Ok(buffer)
    }

    fn try_clone(&self) -> Result<Box<dyn HidPort>, PipeError> {
        Ok(Box::new(self.clone()))
    }
}

enum Job {
    Write(Vec<u8>),
    Feature(Vec<u8>),
    SetFeature(Vec<u8>),
}

impl Job {
    const fn doing(&self) -> &'static str {
        match self {
            Self::Write(_) => "writing to",
            Self::Feature(_) => "reading a feature of",
            Self::SetFeature(_) => "setting a feature of",
        }
    }
}

type Answer = Result<Vec<u8>, PipeError>;
type Order = (Job, SyncSender<Answer>);

/// The thread that makes the calls that block in the kernel. It ends with the port, or when the kernel lets it go.
struct Writer {
    orders: Sender<Order>,
    /// A call has overstayed: nothing is sent any more.
    wedged: AtomicBool,
    name: Arc<str>,
}

impl Writer {
    fn start(device: HidDevice, name: Arc<str>) -> Result<Self, PipeError> {
        let (orders, queue) = channel::<Order>();
        let for_messages = name.clone();
        std::thread::Builder::new()
            .name("hid-writer".into())
            .spawn(move || serve(&device, &queue, &for_messages))
            .map_err(|error| PipeError {
                kind: PipeErrorKind::Os,
                os: error.raw_os_error(),
                doing: format!("starting a thread for {name}"),
            })?;
        Ok(Self { orders, wedged: AtomicBool::new(false), name })
    }

    fn run(&self, job: Job, timeout: Duration) -> Answer {
        let doing = job.doing();
        let error = |kind| PipeError { kind, os: None, doing: format!("{doing} {}", self.name) };
        if self.wedged.load(Ordering::Acquire) {
            return Err(error(PipeErrorKind::TimedOut));
        }
        let (done, answer) = sync_channel(1);
        self.orders.send((job, done)).map_err(|_| error(PipeErrorKind::Gone))?;
        match answer.recv_timeout(timeout) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => {
                self.wedged.store(true, Ordering::Release);
                Err(error(PipeErrorKind::TimedOut))
            }
            Err(RecvTimeoutError::Disconnected) => Err(error(PipeErrorKind::Gone)),
        }
    }
}

fn serve(device: &HidDevice, orders: &Receiver<Order>, name: &str) {
    while let Ok((job, done)) = orders.recv() {
        let doing = job.doing();
        let result = match job {
            Job::Write(report) => device.write(&report).map(|_| Vec::new()),
            Job::SetFeature(report) => device.send_feature_report(&report).map(|()| Vec::new()),
            Job::Feature(mut buffer) => device.get_feature_report(&mut buffer).map(|length| {
                buffer.truncate(length);
                buffer
            }),
        };
        // A device that is pulled fails in many ways; the hang-up of its node tells. What this handle would read is
        // also read by the other one.
        let answer = result.map_err(|error| match device.read_timeout(&mut [0; 1], 0) {
            Err(_) => PipeError { kind: PipeErrorKind::Gone, os: None, doing: format!("{doing} {name}") },
            Ok(_) => translate(&error, name, doing),
        });
        // Whoever waited may have been let go.
        let _ = done.send(answer);
    }
}

fn translate(error: &HidError, name: &str, doing: &str) -> PipeError {
    let errno = match error {
        HidError::IoError { error } => error.raw_os_error().map(Errno::from_raw_os_error),
        // For feature reports hidapi has the code's name in a text.
        HidError::HidApiError { message } => [
            ("EPIPE", Errno::PIPE),
            ("ETIMEDOUT", Errno::TIMEDOUT),
            ("ENODEV", Errno::NODEV),
            ("ESHUTDOWN", Errno::SHUTDOWN),
            ("EIO", Errno::IO),
        ]
        .into_iter()
        .find_map(|(word, errno)| message.contains(word).then_some(errno)),
        _ => None,
    };
    PipeError {
        kind: errno.map_or(PipeErrorKind::Os, node::kind_of),
        os: errno.map(Errno::raw_os_error),
        doing: format!("{doing} {name} ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_hid_device_is_refused_with_the_reason() {
        let error = open(Path::new("/dev/null")).err().unwrap();
        assert_eq!(error.kind, PipeErrorKind::Os);
        assert!(error.to_string().contains("/dev/null"), "{error}");
    }

    #[test]
    fn words_of_hidapi_become_kinds() {
        let told = |message: &str| {
            translate(&HidError::HidApiError { message: message.into() }, "/dev/hidraw0", "asking").kind
        };
        assert_eq!(told("ioctl (GFEATURE): EPIPE: Broken pipe"), PipeErrorKind::Stalled);
        assert_eq!(told("ioctl (GFEATURE): ENODEV: No such device"), PipeErrorKind::Gone);
        assert_eq!(told("ioctl (GFEATURE): EINVAL: Invalid argument"), PipeErrorKind::Os);
        let io = HidError::IoError { error: Errno::TIMEDOUT.into() };
        assert_eq!(translate(&io, "/dev/hidraw0", "writing to").kind, PipeErrorKind::TimedOut);
    }
}
