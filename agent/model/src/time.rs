//! Time as an argument: the clock trait, its one real implementation, and the timestamp of the wire.

use std::time::Duration;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcMillis(pub i64);

impl UtcMillis {
    /// `yyyy-MM-ddTHH:mm:ssZ`, the only form that every client and back end accepts (20 ASCII characters).
    ///
    /// Instants outside the years 0000 to 9999 are shown as the epoch: no clock of a working host is there.
    #[must_use]
    pub fn to_wire(self) -> String {
        jiff::Timestamp::from_second(self.0.div_euclid(1000))
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string()
    }

    /// Reads exactly the form that [`Self::to_wire`] writes.
    #[must_use]
    pub fn from_wire(text: &str) -> Option<Self> {
        if text.len() != 20 || !text.ends_with('Z') || text.as_bytes().get(10) != Some(&b'T') {
            return None;
        }
        let stamp: jiff::Timestamp = text.parse().ok()?;
        Some(Self(stamp.as_millisecond())).filter(|t| t.to_wire() == text)
    }

    /// This instant, `span` later.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Signed distance `self - earlier` in milliseconds.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Where the time comes from. Pass it in; nothing else may ask the system.
pub trait Clock: Send + Sync {
    /// Wall clock.
    fn now(&self) -> UtcMillis;
}

/// The clock of the host: the one home of `SystemTime::now`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one home
    fn now(&self) -> UtcMillis {
        let millis = match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |m| -m),
        };
        UtcMillis(millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_form_has_seconds_and_a_z() {
        let t = UtcMillis(1_715_938_887_123);
        assert_eq!(t.to_wire(), "2024-05-17T09:41:27Z");
        assert_eq!(UtcMillis::from_wire("2024-05-17T09:41:27Z"), Some(UtcMillis(1_715_938_887_000)));
        for bad in [
            "2024-05-17T09:41:27.123Z",
            "2024-05-17T09:41:27",
            "2024-05-17 09:41:27Z",
            "2024-13-17T09:41:27Z",
            "",
        ] {
            assert_eq!(UtcMillis::from_wire(bad), None, "{bad:?}");
        }
    }
}
