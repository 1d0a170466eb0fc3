//! How fast a device may talk.
//!
//! Whatever a device sends costs this host a part of a core, and what is an event goes further. A device that sends more
//! than any real one has to say is read no faster: the line fills up, and the device holds up itself. Answers that were
//! asked for are not counted as messages, so that asking a lot costs nothing. Pure: the caller keeps the time.

use std::time::{Duration, Instant};

/// Messages a second that nobody asked for: four times the fastest preview, with room for changes of state.
const MESSAGES: u32 = 150;
/// Bytes a second: the fastest preview with frames of 256 KiB, and the longest answer beside it. To take in so many
/// costs a few hundredths of a core.
const BYTES: usize = 16 * 1024 * 1024;
/// What one read costs in any case, in bytes: a device must not save by sending them one by one.
const READ: usize = 512;

const WINDOW: Duration = Duration::from_secs(1);

/// Counts what comes in a second.
pub(super) struct Pace {
    since: Instant,
    messages: u32,
    bytes: usize,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, messages: 0, bytes: 0 }
    }

    /// A read brought `bytes`, and with them so many messages that nobody asked for.
    pub(super) fn count(&mut self, bytes: usize, messages: u32) {
        self.bytes = self.bytes.saturating_add(bytes.max(READ));
        self.messages = self.messages.saturating_add(messages);
    }

    /// How long to wait before reading on.
    pub(super) fn pause(&mut self, now: Instant) -> Duration {
        let over = self.since + WINDOW;
        if now >= over {
            *self = Self::new(now);
        }
        if self.messages <= MESSAGES && self.bytes <= BYTES {
            return Duration::ZERO;
        }
        over.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    #[test]
    fn the_pace_is_kept() {
        let start = Instant::now();
        let most: [fn(&mut Pace); 3] = [
            |pace| pace.count(0, MESSAGES),
            |pace| pace.count(BYTES, 0),
            |pace| (0..BYTES / READ).for_each(|_| pace.count(1, 0)),
        ];
        let more: [fn(&mut Pace); 3] = [|p| p.count(0, 1), |p| p.count(1, 0), |p| p.count(1, 0)];
        for (most, more) in most.into_iter().zip(more) {
            let mut pace = Pace::new(start);
            most(&mut pace);
            assert_eq!(pace.pause(start), Duration::ZERO);
            more(&mut pace);
            assert_eq!(pace.pause(start + Duration::from_millis(300)), Duration::from_millis(700));
            assert_eq!(pace.pause(start + WINDOW), Duration::ZERO);
            most(&mut pace);
            assert_eq!(pace.pause(start + WINDOW), Duration::ZERO, "a new second");
        }
    }

    #[test]
    fn no_real_device_is_ever_held_up() {
        // Bytes of a frame, frames a second, bytes of a capture each second, bytes of a read.
        for (frame, fps, capture, read) in [
            (60 * KIB, 15, 800 * KIB, 4 * KIB),
            (200 * KIB, 30, 800 * KIB, 4 * KIB),
            (250 * KIB, 30, 8 * KIB * KIB, 4 * KIB),
            // USB at full speed hands over 64 bytes at a time, a UART a few.
            (30 * KIB, 30, 200 * KIB, 64),
            (KIB / 3, 30, KIB, 8),
        ] {
            let start = Instant::now();
            let mut pace = Pace::new(start);
            for tick in 0..20 * fps {
                let now = start + WINDOW * tick / fps;
                let capture = if tick % fps == 0 { capture } else { 0 };
                for _ in 0..(frame + capture).div_ceil(read) {
                    pace.count(read, 0);
                    assert_eq!(pace.pause(now), Duration::ZERO, "{fps} fps of {frame} bytes");
                }
                pace.count(0, 1);
            }
        }
    }
}
