//! The reading thread of a line.

use std::time::{Duration, Instant};

use biotrust_driver_api::{Pipe, PipeErrorKind};
use zeroize::Zeroizing;

use super::{from_pipe, line::Line};
use crate::host::Received;

/// How long the thread may go without looking whether it is to end.
const LOOK: Duration = Duration::from_millis(100);
/// Events a second that are taken from a device: four times the fastest preview, with room for changes of state.
const EVENTS_PER_SECOND: u32 = 150;

/// Reads until the line breaks or is stopped. `early` came while the line was opened.
pub(super) fn run(line: &Line, mut pipe: Box<dyn Pipe>, early: Vec<Received>) {
    let mut buffer = Zeroizing::new(vec![0; 64 * 1024]);
    let mut received = early;
    let mut pace = Pace { since: Instant::now(), events: 0 };
    loop {
        for received in received.drain(..) {
            if line.deliver(received) {
                pace.events += 1;
            }
        }
        // A device that sends more than it may is read no faster: it holds up itself and takes no more of the
        // processor than the others.
        if line.stop.wait(pace.pause(Instant::now())) {
            return;
        }
        let length = match pipe.read(&mut buffer, LOOK) {
            Ok(length) => length,
            Err(error) if error.kind == PipeErrorKind::TimedOut => continue,
            Err(error) => return line.close(from_pipe(error)),
        };
        if let Err(error) = line.receive(buffer.get(..length).unwrap_or_default(), &mut received) {
            for received in received {
                line.deliver(received);
            }
            return line.close(error.on(line.name()));
        }
    }
}

/// Counts events in seconds.
struct Pace {
    since: Instant,
    events: u32,
}

impl Pace {
    /// How long to wait before reading on.
    fn pause(&mut self, now: Instant) -> Duration {
        let second_over = self.since + Duration::from_secs(1);
        if now >= second_over {
            *self = Self { since: now, events: 0 };
        }
        if self.events <= EVENTS_PER_SECOND {
            return Duration::ZERO;
        }
        second_over.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_kept() {
        let start = Instant::now();
        let mut pace = Pace { since: start, events: EVENTS_PER_SECOND };
        assert_eq!(pace.pause(start), Duration::ZERO);
        pace.events += 1;
        assert_eq!(pace.pause(start + Duration::from_millis(300)), Duration::from_millis(700));
        assert_eq!(pace.pause(start + Duration::from_secs(1)), Duration::ZERO);
        assert_eq!(pace.events, 0);
    }
}
