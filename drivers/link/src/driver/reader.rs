//! The reading thread of a line.

use std::time::{Duration, Instant};

use biotrust_driver_api::{Pipe, PipeErrorKind};
use zeroize::Zeroizing;

use super::{READ_ROOM, from_pipe, line::Line, pace::Pace};
use crate::host::Received;

/// How long the thread may go without looking whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// Reads until the line breaks or is stopped. `early` came while the line was opened.
pub(super) fn run(line: &Line, mut pipe: Box<dyn Pipe>, early: Vec<Received>) {
    let mut buffer = Zeroizing::new([0; READ_ROOM]);
    let mut received = early;
    let mut pace = Pace::new(Instant::now());
    loop {
        received.drain(..).for_each(|received| line.deliver(received));
        if line.stop.wait(pace.pause(Instant::now())) {
            return;
        }
        let length = match pipe.read(buffer.as_mut(), LOOK) {
            Ok(length) => length,
            Err(error) if error.kind == PipeErrorKind::TimedOut => continue,
            Err(error) => return line.close(from_pipe(error)),
        };
        match line.receive(buffer.get(..length).unwrap_or_default(), &mut received) {
            Ok(unasked) => pace.count(length, unasked),
            Err(error) => {
                received.into_iter().for_each(|received| line.deliver(received));
                return line.close(error.on(line.name()));
            }
        }
    }
}
