//! Whether a driver is well: nothing that was begun is far over its time.

use std::collections::HashMap;
use std::os::unix::net::UnixDatagram;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What was begun may be late by so much before it is taken for stuck.
const GRACE: Duration = Duration::from_secs(2);

/// What is being done, and by when it is to be done.
#[derive(Default)]
pub(super) struct Health {
    jobs: Mutex<(u64, HashMap<u64, Instant>)>,
}

impl Health {
    /// Does `job`, which is to be done within `within`.
    pub(super) fn during<T>(&self, within: Duration, job: impl FnOnce() -> T) -> T {
        let number = {
            let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            jobs.0 += 1;
            let number = jobs.0;
            jobs.1.insert(number, Instant::now() + within + GRACE);
            number
        };
        let done = job();
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&number);
        done
    }

    /// Whether nothing is stuck at `now`. Tells systemd's watchdog so, where there is one.
    pub(super) fn is_well(&self, now: Instant) -> bool {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let well = jobs.1.values().all(|deadline| now < *deadline);
        if well && let Some(socket) = std::env::var_os("NOTIFY_SOCKET") {
            let _ = UnixDatagram::unbound().and_then(|datagram| datagram.send_to(b"WATCHDOG=1", socket));
        }
        well
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_is_over_its_time_is_seen_and_one_that_is_done_is_not() {
        let health = Health::default();
        assert!(health.is_well(Instant::now()));
        health.during(Duration::from_secs(1), || {
            assert!(health.is_well(Instant::now()));
            assert!(!health.is_well(Instant::now() + Duration::from_secs(4)));
        });
        assert!(health.is_well(Instant::now() + Duration::from_secs(4)));
    }
}
