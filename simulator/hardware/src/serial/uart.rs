//! A wire: bytes take their time on it, 10 bits each.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bits of a byte on the wire: start, eight, stop.
const BITS: u32 = 10;

/// One direction of a wire.
#[derive(Debug, Default)]
pub(super) struct Wire {
    bytes: VecDeque<u8>,
    /// When the first of `bytes` began to be sent.
    began: Option<Instant>,
}

impl Wire {
    /// Bytes that are on it still.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Sends.
    pub(super) fn push(&mut self, bytes: &[u8], now: Instant) {
        if bytes.is_empty() {
            return;
        }
        self.began.get_or_insert(now);
        self.bytes.extend(bytes);
    }

    /// Takes what has arrived by now.
    pub(super) fn pop(&mut self, baud: u32, now: Instant) -> Vec<u8> {
        let arrived = self.arrived(baud, now);
        let bytes = self.bytes.drain(..arrived).collect();
        self.began = match self.began {
            Some(began) if !self.bytes.is_empty() => Some(began + time(baud, arrived)),
            _ => None,
        };
        bytes
    }

    /// How many bytes have arrived by now.
    fn arrived(&self, baud: u32, now: Instant) -> usize {
        let elapsed = self.began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
        let bytes = elapsed.as_nanos() * u128::from(baud) / (u128::from(BITS) * 1_000_000_000);
        usize::try_from(bytes).unwrap_or(usize::MAX).min(self.bytes.len())
    }

    /// When `count` bytes, or all of them, will have arrived; nothing when there are none.
    pub(super) fn arrival(&self, baud: u32, count: usize) -> Option<Instant> {
        // A nanosecond more, so that rounding never makes it a byte too few.
        self.began.map(|began| began + time(baud, count.min(self.bytes.len())) + Duration::from_nanos(1))
    }
}

/// Time that `count` bytes take.
fn time(baud: u32, count: usize) -> Duration {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    Duration::from_secs(u64::from(BITS)) * count / baud.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_at_the_speed_of_the_wire() {
        let start = Instant::now();
        let mut wire = Wire::default();
        wire.push(&[7; 100], start);
        assert_eq!(wire.pop(9600, start), [0u8; 0]);
        // 9600 baud is 960 bytes a second.
        assert_eq!(wire.pop(9600, start + Duration::from_millis(50)).len(), 48);
        let all = wire.arrival(9600, 100).unwrap();
        assert!(all <= start + Duration::from_millis(105));
        assert_eq!(wire.pop(9600, all).len(), 52);
        assert_eq!((wire.len(), wire.arrival(9600, 1)), (0, None));
        // Time that has passed while nothing was on it does not count.
        wire.push(&[7; 10], start + Duration::from_secs(9));
        assert_eq!(wire.pop(9600, start + Duration::from_secs(9)), [0u8; 0]);
    }
}
