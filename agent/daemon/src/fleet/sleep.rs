//! Notices that the host has slept.
//!
//! `CLOCK_MONOTONIC` stands still while a host is suspended and `CLOCK_BOOTTIME` does not: when the distance of the two has
//! grown, it slept meanwhile. No power daemon is asked, so that this works in every sandbox and on every system.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How much the distance must have grown to count as sleep. The two clocks are read one after the other, and a thread may be
/// kept waiting in between.
const SLEEP: Duration = Duration::from_millis(500);

/// Tells how long a host has slept since it was started.
pub(super) trait Slept: Send {
    /// In all.
    fn slept(&self) -> Duration;
}

/// This host.
pub(super) struct ThisHost;

impl Slept for ThisHost {
    fn slept(&self) -> Duration {
        // in this order: a pause between the two readings makes the distance smaller, never larger
        let boot = read(ClockId::Boottime);
        boot.saturating_sub(read(ClockId::Monotonic))
    }
}

fn read(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// Compares with the last time.
pub(super) struct Watch<S> {
    host: S,
    before: Duration,
}

impl<S: Slept> Watch<S> {
    pub(super) fn new(host: S) -> Self {
        Self { before: host.slept(), host }
    }

    /// How long the host has slept since the last call, where it has.
    pub(super) fn woken(&mut self) -> Option<Duration> {
        let slept = self.host.slept();
        let more = slept.saturating_sub(self.before);
        // a reading that came out too small must not make the next one look like sleep
        self.before = self.before.max(slept);
        (more >= SLEEP).then_some(more)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A host that sleeps when it is told to; in milliseconds.
    #[derive(Clone, Default)]
    pub(in super::super) struct Sleeper(pub(in super::super) Arc<AtomicU64>);

    impl Slept for Sleeper {
        fn slept(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::SeqCst))
        }
    }

    #[test]
    fn each_sleep_is_noticed_once() {
        let host = Sleeper::default();
        host.0.store(86_400_000, Ordering::SeqCst);
        let mut watch = Watch::new(host.clone());
        assert_eq!(watch.woken(), None, "sleep before the start is nobody's business");
        host.0.fetch_add(30_000, Ordering::SeqCst);
        assert_eq!(watch.woken(), Some(Duration::from_secs(30)));
        assert_eq!(watch.woken(), None);
    }

    #[test]
    fn a_reading_that_wavers_is_no_sleep() {
        let host = Sleeper::default();
        host.0.store(10_000, Ordering::SeqCst);
        let mut watch = Watch::new(host.clone());
        for now in [9_000, 10_000, 10_400, 9_600, 10_400] {
            host.0.store(now, Ordering::SeqCst);
            assert_eq!(watch.woken(), None, "{now}");
        }
    }

    #[test]
    fn this_host_is_awake() {
        let mut watch = Watch::new(ThisHost);
        assert_eq!(watch.woken(), None);
    }
}
