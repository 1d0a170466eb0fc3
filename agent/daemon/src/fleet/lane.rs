//! A thread of its own for blocking work on one device, fed through a bounded queue.
//!
//! A lane is never joined: its work may hang in a driver. Dropping the lane closes the queue, and the thread ends when
//! (if ever) its present job comes back. Whoever gives up on a lane makes a new one.

use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

type Job = Box<dyn FnOnce() + Send>;

/// A worker thread with a bounded queue.
#[derive(Debug)]
pub(super) struct Lane {
    queue: SyncSender<Job>,
}

/// The queue of a lane is full, or its thread could not be started: the device is not keeping up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the worker of this device is not keeping up")]
pub(super) struct LaneFull;

impl Lane {
    /// Starts a thread called `name` (the system shows 15 characters of it) with room for `depth` waiting jobs.
    #[must_use]
    pub(super) fn start(name: &str, depth: usize) -> Self {
        let (queue, jobs) = sync_channel::<Job>(depth);
        let spawned = std::thread::Builder::new()
            .name(name.chars().take(15).collect())
            .stack_size(512 * 1024)
            .spawn(move || {
                while let Ok(job) = jobs.recv() {
                    // a fault in a driver costs this job, not the device
                    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                        tracing::error!("a job on a device's worker panicked; the worker goes on");
                    }
                }
            });
        if let Err(error) = spawned {
            tracing::error!(name, %error, "no thread for this device: every job on it will be refused");
        }
        Self { queue }
    }

    /// Queues a job.
    ///
    /// # Errors
    /// When the queue is full or the thread is gone; the job is dropped.
    pub(super) fn submit(&self, job: impl FnOnce() + Send + 'static) -> Result<(), LaneFull> {
        self.queue.try_send(Box::new(job)).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => LaneFull,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn jobs_run_in_order_and_a_full_queue_refuses() {
        let lane = Lane::start("test", 1);
        let (release, gate) = mpsc::channel::<()>();
        let (started, running) = mpsc::channel();
        let (done, results) = mpsc::channel();
        lane.submit(move || {
            started.send(()).unwrap();
            gate.recv().unwrap();
        })
        .unwrap();
        running.recv().unwrap();
        lane.submit(move || done.send(1).unwrap()).unwrap();
        assert_eq!(lane.submit(|| {}), Err(LaneFull));
        release.send(()).unwrap();
        assert_eq!(results.recv(), Ok(1));
    }

    #[test]
    fn a_panic_costs_one_job() {
        let lane = Lane::start("test", 2);
        let (done, results) = mpsc::channel();
        lane.submit(|| panic!("of a driver")).unwrap();
        lane.submit(move || done.send(1).unwrap()).unwrap();
        assert_eq!(results.recv(), Ok(1));
    }
}
