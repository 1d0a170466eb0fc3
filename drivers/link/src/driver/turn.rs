//! A mutex whose waiters have a time limit.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// One thing that several threads use in turn, each waiting no longer than it can afford.
pub(super) struct Turn<T> {
    /// Empty while somebody has it.
    place: Mutex<Option<T>>,
    put_back: Condvar,
}

impl<T> Turn<T> {
    pub(super) fn new(thing: T) -> Self {
        Self { place: Mutex::new(Some(thing)), put_back: Condvar::new() }
    }

    /// Lets `work` have the thing; `None` when its turn did not come before `deadline`. `work` must not panic: the
    /// thing would be lost.
    pub(super) fn with<R>(&self, deadline: Instant, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut thing = self.take(deadline)?;
        let result = work(&mut thing);
        *self.lock() = Some(thing);
        self.put_back.notify_one();
        Some(result)
    }

    fn take(&self, deadline: Instant) -> Option<T> {
        let mut place = self.lock();
        loop {
            if let Some(thing) = place.take() {
                return Some(thing);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            place = self.put_back.wait_timeout(place, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn a_turn_that_does_not_come_is_given_up() {
        let turn = Turn::new(1);
        let soon = Instant::now() + Duration::from_millis(20);
        let inner = turn.with(soon, |_| turn.with(soon, |_| ()));
        assert_eq!(inner, Some(None));
        assert_eq!(turn.with(Instant::now(), |thing| *thing), Some(1), "it was put back");
    }

    #[test]
    fn nobody_is_forgotten() {
        let turn = Arc::new(Turn::new(0));
        let late = Instant::now() + Duration::from_secs(20);
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let turn = Arc::clone(&turn);
                std::thread::spawn(move || (0..1000).for_each(|_| turn.with(late, |n| *n += 1).unwrap()))
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(turn.with(late, |n| *n), Some(8000));
    }
}
