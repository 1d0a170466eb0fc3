//! A time limit for system calls that have none of their own.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// Runs `call` on a thread of its own and waits `limit` for it; `None` when that was not enough. The thread ends when
/// the kernel lets the call go.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    call: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, answer) = sync_channel(1);
    let spawned = std::thread::Builder::new().name("device-call".into()).spawn(move || {
        // Nobody listens any more when the limit is over.
        let _ = done.send(call());
    });
    spawned.ok()?;
    answer.recv_timeout(limit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_call_that_overstays_is_left_behind() {
        assert_eq!(within(Duration::from_secs(20), || 7), Some(7));
        let (release, held) = channel::<()>();
        assert_eq!(within(Duration::from_millis(20), move || held.recv()), None);
        drop(release);
    }
}
