//! The camera as a sensor: its stream, the newest frame, and what is done when frames do not come or are none.
//!
//! The camera streams while somebody looks, and only then: its light tells the truth. Frames that are dropped on the way
//! are no matter, the newest one counts. A stream that stops or brings nothing but rubbish is begun anew once; then the
//! camera is given up.

use std::time::{Duration, Instant};

use biotrust_driver_api::{
    Cancel, DeviceError, DeviceErrorKind, PipeError, PipeErrorKind, SelfReport, VideoFormat, VideoPort,
};
use biotrust_imaging::iris;
use biotrust_model::DeviceStatus;
use biotrust_sensor::{Seen, Sensor};

use crate::format::Sees;
use crate::frame::{self, FrameError};
use crate::{cut, too_small};

/// Longest wait without a look at [`Cancel`].
const SLICE: Duration = Duration::from_millis(20);
/// What reading a frame takes on a host of which nothing is known yet, and the most that is allowed for it.
const READING: (Duration, Duration) = (Duration::from_millis(40), Duration::from_millis(300));
/// A stream without a frame for so long has stopped. A camera takes up to a second for the first one.
const SILENCE: Duration = Duration::from_secs(2);
/// So many frames in a row that are none, and the stream is begun anew.
const RUBBISH: u32 = 15;
/// Frames a second: enough for a preview, and little enough for a camera that has to share its bus.
const FPS: u8 = 15;

/// The sensor.
pub(crate) struct Camera {
    port: Box<dyn VideoPort>,
    wanted: VideoFormat,
    sees: Sees,
    fewest_rows: u32,
    stream: Option<Stream>,
    /// What reading a frame takes on this host: with less than twice as much time left none is begun.
    reading: Duration,
    /// Trouble since the last good frame has led to a new start already.
    restarted: bool,
}

/// What is known while it streams.
struct Stream {
    format: VideoFormat,
    /// When the last frame came, or the stream began.
    last: Instant,
    /// Frames in a row that were none.
    rubbish: u32,
}

impl Camera {
    pub(crate) fn new(port: Box<dyn VideoPort>, wanted: VideoFormat, sees: Sees, fewest_rows: u32) -> Self {
        Self { port, wanted, sees, fewest_rows, stream: None, reading: READING.0, restarted: false }
    }

    /// The format of the stream, which is begun where there is none.
    fn begin(&mut self) -> Result<VideoFormat, DeviceError> {
        if let Some(stream) = &self.stream {
            return Ok(stream.format);
        }
        let format = self.port.start(self.wanted, FPS).map_err(failed)?;
        if format.height < self.fewest_rows {
            let why = too_small(self.port.name(), self.sees, self.fewest_rows, &[format]);
            let _ = self.port.stop();
            return Err(DeviceError::new(DeviceErrorKind::NotReady, why));
        }
        self.stream = Some(Stream { format, last: Instant::now(), rubbish: 0 });
        Ok(format)
    }

    /// One frame, should one come within `wait`.
    fn frame(&mut self, wait: Duration) -> Result<Option<Seen>, DeviceError> {
        let format = self.begin()?;
        let error = match self.port.next(wait) {
            Ok(frame) => {
                if let Some(stream) = &mut self.stream {
                    stream.last = Instant::now();
                }
                let begun = Instant::now();
                let seen = self.look_at(frame.bytes.expose(), &format);
                // The slowest counts, and is forgotten slowly: a busy host stays busy.
                self.reading = begun.elapsed().max(self.reading * 7 / 8).min(READING.1);
                match seen {
                    Ok(seen) => {
                        self.restarted = false;
                        if let Some(stream) = &mut self.stream {
                            stream.rubbish = 0;
                        }
                        return Ok(Some(seen));
                    }
                    Err(error) => error.to_string(),
                }
            }
            Err(error) if error.kind == PipeErrorKind::TimedOut => {
                let silent = self.stream.as_ref().is_some_and(|stream| stream.last.elapsed() >= SILENCE);
                return if silent { self.restart(&failed(error)).map(|()| None) } else { Ok(None) };
            }
            Err(error) if error.kind == PipeErrorKind::Os => error.to_string(),
            Err(error) => return Err(failed(error)),
        };
        let rubbish = self.stream.as_mut().map_or(0, |stream| {
            stream.rubbish += 1;
            stream.rubbish
        });
        if rubbish >= RUBBISH {
            let why = format!("{}: {RUBBISH} frames in a row were none; the last: {error}", self.port.name());
            self.restart(&DeviceError::new(DeviceErrorKind::Protocol, why))?;
        }
        Ok(None)
    }

    /// Ends the stream, so that the next look begins it anew; an error when that was done already and has not helped.
    fn restart(&mut self, error: &DeviceError) -> Result<(), DeviceError> {
        if std::mem::replace(&mut self.restarted, true) {
            let why =
                format!("{}; a new start has not helped: unplug it and plug it in again", error.message);
            return Err(DeviceError::new(error.kind, why));
        }
        self.end()
    }

    fn end(&mut self) -> Result<(), DeviceError> {
        match self.stream.take() {
            Some(_) => self.port.stop().map_err(failed),
            None => Ok(()),
        }
    }

    fn look_at(&self, bytes: &[u8], format: &VideoFormat) -> Result<Seen, FrameError> {
        match self.sees {
            Sees::Face => {
                let image = cut::portrait(&frame::colour(bytes, format)?)?;
                let own = format.pixels == biotrust_driver_api::FourCc::MJPG;
                let jpeg = own.then(|| frame::jpeg(bytes).map(<[u8]>::to_vec)).transpose()?;
                Ok(Seen::Face { image, jpeg })
            }
            Sees::Iris => {
                let whole = frame::grey(bytes, format)?;
                let found = iris::locate(&whole).and_then(|geometry| cut::iris(&whole, &geometry));
                Ok(match found {
                    Some((image, geometry)) => Seen::Iris { image, geometry: Some(geometry) },
                    None => Seen::Iris { image: whole, geometry: None },
                })
            }
        }
    }
}

impl Sensor for Camera {
    fn look(&mut self, wait: Duration, until: Instant, cancel: &Cancel) -> Result<Option<Seen>, DeviceError> {
        let last = until.checked_sub(2 * self.reading).unwrap_or(until);
        let end = Instant::now().checked_add(wait).map_or(last, |end| end.min(last));
        loop {
            if Instant::now() > last {
                let _ = cancel.wait(until_then(until));
                return Ok(None);
            }
            if cancel.is_cancelled() {
                return Ok(None);
            }
            let left = until_then(end);
            if let Some(seen) = self.frame(left.min(SLICE))? {
                return Ok(Some(seen));
            }
            if left.is_zero() {
                return Ok(None);
            }
        }
    }

    /// Of faces there is one part only. Of two eyes the first has to go before the second counts.
    fn is_clear(&mut self, until: Instant, cancel: &Cancel) -> Result<bool, DeviceError> {
        let seen = self.look(SILENCE, until, cancel)?;
        Ok(matches!(seen, Some(Seen::Iris { geometry: None, .. })))
    }

    fn status(&mut self) -> Result<SelfReport, DeviceError> {
        // A camera that is gone does not answer.
        self.port.formats().map_err(failed)?;
        Ok(SelfReport { status: DeviceStatus::Ready, reason: String::new() })
    }

    fn rest(&mut self) -> Result<(), DeviceError> {
        self.restarted = false;
        self.end()
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        // The port ends its stream when it is closed, whatever comes of this.
        let _ = self.end();
    }
}

/// Time from now until `end`.
fn until_then(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
}

/// The error of a port as one of a device.
pub(crate) fn failed(error: PipeError) -> DeviceError {
    let kind = match error.kind {
        PipeErrorKind::Gone => DeviceErrorKind::Gone,
        PipeErrorKind::TimedOut => DeviceErrorKind::TimedOut,
        PipeErrorKind::PermissionDenied => DeviceErrorKind::PermissionDenied,
        PipeErrorKind::InUse => DeviceErrorKind::InUse,
        PipeErrorKind::Stalled | PipeErrorKind::Os => DeviceErrorKind::Protocol,
    };
    DeviceError::new(kind, error.to_string())
}
