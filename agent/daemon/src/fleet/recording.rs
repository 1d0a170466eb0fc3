//! A recording of what goes between a driver and its device, while it happens: one at a time, in memory, and fetched by
//! whoever ordered it. What is fetched has been through the driver's scrubber.
//!
//! The device is opened anew when a recording begins, so that the recording begins where a replay has to. It belongs to the
//! place: a device that is pulled and plugged in again meanwhile is recorded on.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use biotrust_driver_api::{Found, PipeError, Port};
use biotrust_pipe::record::{Recorder, Summary};

use super::unit::Unit;
use super::{Fleet, Inner, locked, opening};
use crate::catalog;

/// The longest recording, in bytes of its file.
const LONGEST: u64 = 16 << 20;
/// Most bytes of one answer.
const PIECE: usize = 256 << 10;
/// A recording that nobody has asked about for so long has ended: whoever ordered it is gone.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// Why nothing is recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Nothing is plugged in there.
    #[error("nothing with the serial number, device id or place \"{0}\" is plugged in")]
    NoDevice(String),
    /// Several are.
    #[error("several devices are called \"{0}\": name the place of one of them")]
    Ambiguous(String),
    /// Another one is under way.
    #[error("the device at {0} is being recorded: one recording at a time")]
    Busy(String),
    /// It ended.
    #[error("there is no such recording: it has ended, or nobody has asked for {} s", FORGOTTEN.as_secs())]
    Unknown,
    /// It could not be written.
    #[error("the recording has failed: {0}")]
    Failed(#[from] io::Error),
}

/// A recording that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// To ask for it by.
    pub number: u64,
    /// Place of the device.
    pub place: String,
    /// Its driver.
    pub driver: String,
    /// Whether the driver brings a scrubber; else nothing is recorded but lengths and times.
    pub with_contents: bool,
}

/// The recording that is under way, where there is one.
#[derive(Default)]
pub(super) struct Recordings(Mutex<Option<Recording>>);

struct Recording {
    number: u64,
    place: String,
    driver: String,
    recorder: Recorder,
    tape: Tape,
    /// How it ended, once it has.
    ended: Option<Summary>,
    /// When somebody last asked for it; monotonic.
    asked: Duration,
}

/// What has been recorded so far.
#[derive(Clone, Default)]
struct Tape(Arc<Mutex<Vec<u8>>>);

impl Write for Tape {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        locked(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Recordings {
    /// The port, recorded where that is ordered.
    pub(super) fn wrap(&self, driver: &str, found: &Found, port: Port) -> Result<Port, PipeError> {
        let recorder = locked(&self.0)
            .as_ref()
            .filter(|recording| recording.place == found.node.place && recording.driver == driver)
            .map(|recording| recording.recorder.clone());
        match recorder {
            Some(recorder) => recorder.wrap(driver, found, port),
            None => Ok(port),
        }
    }

    /// Ends what nobody asks for any more.
    pub(super) fn tick(&self, now: Duration) {
        let mut recording = locked(&self.0);
        let forgotten = recording.take_if(|recording| now.saturating_sub(recording.asked) > FORGOTTEN);
        drop(recording);
        if let Some(recording) = forgotten {
            tracing::warn!(place = recording.place, "a recording that nobody has fetched is thrown away");
            let _ = recording.recorder.finish();
        }
    }

    fn with<T>(
        &self,
        number: u64,
        now: Duration,
        work: impl FnOnce(&mut Recording) -> Result<T, RecordError>,
    ) -> Result<T, RecordError> {
        let mut recording = locked(&self.0);
        let recording = recording.as_mut().filter(|recording| recording.number == number);
        let recording = recording.ok_or(RecordError::Unknown)?;
        recording.asked = now;
        work(recording)
    }
}

impl Fleet {
    /// Begins to record the device of this serial number, id or place, and has it opened anew.
    ///
    /// # Errors
    /// No such device, or another recording is under way.
    pub fn record(&self, device: &str) -> Result<Begun, RecordError> {
        let inner = &self.0;
        let unit = named(inner, device)?;
        let (place, driver) = (unit.place().to_owned(), opening::driver(inner, &unit));
        let (scrub, with_contents) = catalog::scrubber(&driver);
        let mut slot = locked(&inner.recordings.0);
        if let Some(other) = slot.as_ref().filter(|other| other.ended.is_none()) {
            return Err(RecordError::Busy(other.place.clone()));
        }
        let number = inner.next_number();
        let tape = Tape::default();
        let recorder = Recorder::new(Box::new(tape.clone()), scrub, LONGEST);
        *slot = Some(Recording {
            number,
            place: place.clone(),
            driver: driver.clone(),
            recorder,
            tape,
            ended: None,
            asked: inner.now(),
        });
        drop(slot);
        tracing::warn!(place, driver, "the device is recorded: what goes between it and its driver");
        opening::reopen(inner, &unit, "it is opened anew to be recorded");
        Ok(Begun { number, place, driver, with_contents })
    }

    /// A piece of the recording from `offset` on; empty when there is no more yet.
    ///
    /// # Errors
    /// No such recording.
    pub fn recorded(&self, number: u64, offset: usize) -> Result<Vec<u8>, RecordError> {
        self.0.recordings.with(number, self.0.now(), |recording| {
            let tape = locked(&recording.tape.0);
            let rest = tape.get(offset..).unwrap_or_default();
            Ok(rest.get(..PIECE).unwrap_or(rest).to_vec())
        })
    }

    /// Ends the recording; what is left of it can still be fetched.
    ///
    /// # Errors
    /// No such recording, or it could not be written.
    pub fn end_recording(&self, number: u64) -> Result<Summary, RecordError> {
        self.0.recordings.with(number, self.0.now(), |recording| {
            if let Some(summary) = &recording.ended {
                return Ok(summary.clone());
            }
            let summary = recording.recorder.finish()?;
            tracing::info!(place = recording.place, entries = summary.entries, "the recording has ended");
            recording.ended = Some(summary.clone());
            Ok(summary)
        })
    }
}

/// The one unit of this serial number, device id or place.
fn named(inner: &Inner, name: &str) -> Result<Arc<Unit>, RecordError> {
    let units = inner.units();
    if let Some(unit) = units.iter().find(|unit| unit.place() == name) {
        return Ok(Arc::clone(unit));
    }
    let is_called = |unit: &&Arc<Unit>| {
        unit.session().is_some_and(|s| s.id.as_str() == name || s.description.identity.serial_no == name)
    };
    let mut called = units.iter().filter(is_called);
    match (called.next(), called.next()) {
        (Some(unit), None) => Ok(Arc::clone(unit)),
        (Some(_), Some(_)) => Err(RecordError::Ambiguous(name.to_owned())),
        (None, _) => Err(RecordError::NoDevice(name.to_owned())),
    }
}
