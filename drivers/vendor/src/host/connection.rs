//! One connection to a driver: frames out, frames in, each within a time limit.

use std::time::{Duration, Instant};

use biotrust_driver_api::{DeviceError, DeviceErrorKind, Pipe, PipeErrorKind};

use crate::wire::{Frames, FromDriver, ToDriver, VERSION, WireError};

/// Bytes that are read at once.
const ROOM: usize = 64 * 1024;

/// A connection that has been greeted.
pub(crate) struct Connection {
    pipe: Box<dyn Pipe>,
    frames: Frames,
    room: zeroize::Zeroizing<Vec<u8>>,
}

/// Who is at the other end.
pub(crate) struct Greeted {
    pub(crate) name: String,
    pub(crate) release: String,
}

impl Connection {
    /// Says HELLO and hears who answers.
    pub(crate) fn greet(pipe: Box<dyn Pipe>, deadline: Instant) -> Result<(Self, Greeted), DeviceError> {
        let room = zeroize::Zeroizing::new(vec![0; ROOM]);
        let mut connection = Self { pipe, frames: Frames::default(), room };
        connection.send(&ToDriver::Hello { version: VERSION }, deadline)?;
        match connection.next(deadline)? {
            FromDriver::Hello { version: VERSION, name, release } => {
                Ok((connection, Greeted { name, release }))
            }
            FromDriver::Hello { version, name, .. } => {
                let why = format!(
                    "{}: the driver {name} speaks version {version} of the protocol, this service speaks {VERSION}",
                    connection.pipe.name()
                );
                Err(DeviceError::new(DeviceErrorKind::Unsupported, why))
            }
            _ => Err(connection.out_of_place("HELLO")),
        }
    }

    pub(crate) fn send(&mut self, order: &ToDriver, deadline: Instant) -> Result<(), DeviceError> {
        self.pipe.write_all(&order.encode(), left(deadline)).map_err(|error| self.broken(error))
    }

    /// The next frame.
    pub(crate) fn next(&mut self, deadline: Instant) -> Result<FromDriver, DeviceError> {
        loop {
            if let Some(message) = self.next_within(left(deadline))? {
                return Ok(message);
            }
            if left(deadline).is_zero() {
                let why = format!("{}: the driver does not answer", self.pipe.name());
                return Err(DeviceError::new(DeviceErrorKind::TimedOut, why));
            }
        }
    }

    /// The next frame, or `None` when there is none within `time`, however many bytes come.
    pub(crate) fn next_within(&mut self, time: Duration) -> Result<Option<FromDriver>, DeviceError> {
        let deadline = Instant::now() + time;
        let mut over = false;
        loop {
            if let Some(frame) = self.frames.take().map_err(|error| self.wrong(&error))? {
                return FromDriver::decode(&frame).map(Some).map_err(|error| self.wrong(&error));
            }
            if over {
                return Ok(None);
            }
            over = left(deadline).is_zero();
            match self.pipe.read(&mut self.room, left(deadline)) {
                Ok(length) => self.frames.push(self.room.get(..length).unwrap_or_default()),
                Err(error) if error.kind == PipeErrorKind::TimedOut => return Ok(None),
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    /// The pipe, for another protocol. Nothing of it may have come yet: the service speaks first.
    pub(crate) fn into_pipe(self) -> Result<Box<dyn Pipe>, DeviceError> {
        if self.frames.into_rest().is_empty() {
            return Ok(self.pipe);
        }
        let why = format!("{}: the device speaks before it is asked", self.pipe.name());
        Err(DeviceError::new(DeviceErrorKind::Protocol, why))
    }

    /// A frame that does not answer what was asked.
    pub(crate) fn out_of_place(&self, asked: &str) -> DeviceError {
        let why = format!("{}: the driver answers {asked} with something else", self.pipe.name());
        DeviceError::new(DeviceErrorKind::Protocol, why)
    }

    fn wrong(&self, error: &WireError) -> DeviceError {
        let why = format!("{}: the driver breaks the protocol: {error}", self.pipe.name());
        DeviceError::new(DeviceErrorKind::Protocol, why)
    }

    fn broken(&self, error: biotrust_driver_api::PipeError) -> DeviceError {
        let (kind, why) = match error.kind {
            PipeErrorKind::TimedOut => {
                (DeviceErrorKind::TimedOut, "the driver does not read what it is told")
            }
            _ => (DeviceErrorKind::Gone, "the driver has ended"),
        };
        DeviceError::caused(kind, format!("{}: {why}", self.pipe.name()), error)
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

#[cfg(test)]
mod tests {
    use biotrust_driver_api::{Cancel, PipeError};

    use super::*;

    /// A driver that sends a frame of 48 MB, a byte each millisecond, and is gone before it is whole.
    struct Drip(std::vec::IntoIter<u8>);

    impl Pipe for Drip {
        fn read(&mut self, buffer: &mut [u8], _: Duration) -> Result<usize, PipeError> {
            let _ = Cancel::new().wait(Duration::from_millis(1));
            let gone = || PipeError { kind: PipeErrorKind::Gone, os: None, doing: "reading".into() };
            *buffer.first_mut().unwrap() = self.0.next().ok_or_else(gone)?;
            Ok(1)
        }

        fn write_all(&mut self, _: &[u8], _: Duration) -> Result<(), PipeError> {
            Ok(())
        }

        fn try_clone(&self) -> Result<Box<dyn Pipe>, PipeError> {
            Ok(Box::new(Self(self.0.clone())))
        }

        fn name(&self) -> &str {
            "a test"
        }
    }

    #[test]
    fn a_driver_that_never_stops_sending_does_not_outlast_a_time_limit() {
        let bytes = [&48_000_000u32.to_le_bytes()[..], &[0; 2000]].concat();
        let room = zeroize::Zeroizing::new(vec![0; ROOM]);
        let pipe = Box::new(Drip(bytes.into_iter()));
        let mut connection = Connection { pipe, frames: Frames::default(), room };
        assert!(connection.next_within(Duration::from_millis(50)).unwrap().is_none());
    }
}
