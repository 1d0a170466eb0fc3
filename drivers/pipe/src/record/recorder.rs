//! The tape: entries in the order in which they happened, scrubbed, written, and never more than its limit.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use biotrust_driver_api::{Found, PipeError, Port};
use serde::Serialize;

use super::format::{Entry, Failed, Header, Op};
use super::ports;
use super::scrub::Scrub;

/// Records a device, however often its port is opened, until [`Recorder::finish`]. Clones write to the same tape.
#[derive(Clone)]
pub struct Recorder(Arc<Mutex<Option<Tape>>>);

/// What a recording came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Lines after the header.
    pub entries: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Whether it was cut at its limit.
    pub cut: bool,
    /// Whether the device has been opened at all.
    pub opened: bool,
}

struct Tape {
    out: Box<dyn Write + Send>,
    scrub: Box<dyn Scrub>,
    start: Instant,
    limit: u64,
    summary: Summary,
    failed: Option<io::Error>,
}

impl Recorder {
    /// Records to `out`, through `scrub`, `limit` bytes at most (and the line that says so).
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>, scrub: Box<dyn Scrub>, limit: u64) -> Self {
        let summary = Summary { entries: 0, bytes: 0, cut: false, opened: false };
        let start = Instant::now();
        Self(Arc::new(Mutex::new(Some(Tape { out, scrub, start, limit, summary, failed: None }))))
    }

    /// A port that does what `port` does, and is recorded.
    ///
    /// # Errors
    /// When a HID device does not tell its report descriptor.
    pub fn wrap(&self, driver: &str, found: &Found, mut port: Port) -> Result<Port, PipeError> {
        let mut header = Header::new(driver, port.bus(), found);
        match &mut port {
            Port::Usb(usb) => header.interfaces = usb.interfaces().iter().map(Into::into).collect(),
            Port::Hid(hid) => header.report_descriptor = Some(super::Bytes(hid.descriptor()?)),
            Port::Serial(_) | Port::Video(_) => {}
        }
        if let Some(tape) = self.tape().as_mut() {
            tape.open(&header);
        }
        Ok(ports::wrap(self, port))
    }

    /// Ends the recording. Ports that are still open work on and are not recorded any more.
    ///
    /// # Errors
    /// What the first write said that failed.
    pub fn finish(&self) -> io::Result<Summary> {
        let Some(mut tape) = self.tape().take() else {
            return Err(io::Error::other("the recording has ended before"));
        };
        for entry in tape.scrub.finish() {
            tape.write(&entry);
        }
        match tape.failed {
            Some(error) => Err(error),
            None => tape.out.flush().map(|()| tape.summary),
        }
    }

    /// Notes that `op` was done, and how it ended.
    pub(super) fn note<T>(&self, op: Op, result: &Result<T, PipeError>) {
        if let Some(tape) = self.tape().as_mut() {
            tape.note(op, result.as_ref().err().map(Failed::from));
        }
    }

    /// A poisoned lock is as good as any: at worst an entry is missing.
    fn tape(&self) -> MutexGuard<'_, Option<Tape>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tape {
    fn open(&mut self, header: &Header) {
        if std::mem::replace(&mut self.summary.opened, true) {
            self.note(Op::Opened, None);
        } else {
            self.line(header);
        }
    }

    fn note(&mut self, op: Op, failed: Option<Failed>) {
        if self.summary.cut {
            return;
        }
        let us = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        for entry in self.scrub.clean(Entry { us, op, failed, mark: None }) {
            if self.summary.bytes >= self.limit {
                self.summary.cut = true;
                let reason = format!("it has reached its limit of {} bytes", self.limit);
                self.write(&Entry { us, op: Op::End { reason }, failed: None, mark: None });
                return;
            }
            self.write(&entry);
        }
    }

    fn write(&mut self, entry: &Entry) {
        self.line(entry);
        self.summary.entries += 1;
    }

    fn line(&mut self, value: &impl Serialize) {
        let written = serde_json::to_vec(value).map_err(io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            self.out.write_all(&line).map(|()| line.len() as u64)
        });
        match written {
            Ok(length) => self.summary.bytes += length,
            Err(error) => {
                self.failed.get_or_insert(error);
            }
        }
    }
}
