//! A deadline for anything that may block.

use std::sync::mpsc;
use std::time::Duration;

/// Runs `work` on a thread of its own; `None` when it takes longer than `limit`. The thread is then left behind and
/// ends with the program, which has a line to print and nothing else to do.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        // Nobody waits any longer: the result is of no use.
        let _ = sender.send(work());
    });
    receiver.recv_timeout(limit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_work_is_returned_and_endless_work_is_left() {
        assert_eq!(within(Duration::from_secs(10), || 7), Some(7));
        let (_keep, never) = mpsc::channel::<()>();
        assert_eq!(within(Duration::from_millis(20), move || never.recv()), None);
    }
}
