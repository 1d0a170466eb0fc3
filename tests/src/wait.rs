//! Waiting for a condition with a deadline: the one place of the harness that sleeps.

use std::time::{Duration, Instant};

/// Looks every few milliseconds until `found` answers something or `within` has passed.
pub fn until<T>(within: Duration, mut found: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = found() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        pause(Duration::from_millis(5));
    }
}

/// Lets time pass where the passing of time is what a test is about (never to wait for an effect).
#[allow(clippy::disallowed_methods)] // the one home
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
