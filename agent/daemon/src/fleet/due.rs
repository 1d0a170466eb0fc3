//! When the answer to a capture is due: a pure decision, in time that is handed in.

use std::time::Duration;

/// How a capture ended, as far as it matters for the moment of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The requested score was reached.
    Reached,
    /// The best that there was, or nothing, when the device had to be done.
    OutOfTime,
    /// It failed: the device is gone, refused, broken.
    Failed,
}

/// The times of one capture, as distances from its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    /// When the device must be done, so that transfer, records and signatures never make the answer late.
    pub(super) device: Duration,
    /// When the answer must leave at the latest, and when it leaves if the score was not reached.
    pub(super) answer: Duration,
}

impl Due {
    /// `timeout` of the request, cut to `ceiling`, answered `early` before its end; the device gets `margin` less, but
    /// never less than half.
    pub(super) fn new(
        timeout: Duration,
        ceiling: Option<Duration>,
        early: Duration,
        margin: Duration,
    ) -> Self {
        let answer = ceiling.map_or(timeout, |ceiling| timeout.min(ceiling));
        let answer = answer.saturating_sub(early.min(answer / 2));
        Self { device: answer - margin.min(answer / 2), answer }
    }

    /// How long the answer may wait for a device that has not delivered when it is due: the rest of the 50 ms that a client
    /// may be kept waiting.
    pub(super) const GRACE: Duration = Duration::from_millis(40);

    /// When the answer of a capture leaves that ended `at` (from its request).
    pub(super) fn leaves(&self, end: End, at: Duration) -> Duration {
        match end {
            End::Reached | End::Failed => at,
            End::OutOfTime => at.max(self.answer),
        }
    }
}

/// How long this device takes to deliver and this host to finish, once time is up: learnt, because a line may be slow and
/// a host busy. Grows at once, and shrinks slowly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cost(Duration);

impl Cost {
    /// Takes what the last capture took beyond the time that the device had.
    pub(super) fn learn(&mut self, took: Duration) {
        self.0 = took.max(self.0 * 4 / 5);
    }

    /// The margin to keep: the configured one, or what has been learnt and half as much again.
    pub(super) fn margin(self, configured: Duration) -> Duration {
        configured.max(self.0 * 3 / 2)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn the_device_gets_less_than_the_client() {
        let due = Due::new(MS(10_000), None, MS(0), MS(400));
        assert_eq!((due.device, due.answer), (MS(9_600), MS(10_000)));
        assert_eq!(Due::new(MS(500), None, MS(0), MS(400)).device, MS(250), "half of a short time");
        assert_eq!(Due::new(MS(40_000), Some(MS(9_000)), MS(0), MS(400)).answer, MS(9_000));
        assert_eq!(Due::new(MS(10_000), None, MS(500), MS(400)).answer, MS(9_500));
        assert_eq!(Due::new(MS(100), None, MS(2_000), MS(400)).answer, MS(50), "never no time at all");
    }

    #[test]
    fn a_margin_grows_at_once_and_shrinks_slowly() {
        let mut cost = Cost::default();
        assert_eq!(cost.margin(MS(400)), MS(400));
        cost.learn(MS(600));
        assert_eq!(cost.margin(MS(400)), MS(900));
        cost.learn(MS(10));
        assert!(cost.margin(MS(400)) > MS(700) && cost.margin(MS(400)) < MS(900));
        for _ in 0..20 {
            cost.learn(MS(10));
        }
        assert_eq!(cost.margin(MS(400)), MS(400));
    }

    proptest! {
        /// In virtual time: a score that is reached or a failure is told at once, anything else exactly when it is due,
        /// and a device that keeps its time never makes an answer late.
        #[test]
        fn never_early_never_late(
            timeout in 1u64..300_000, ceiling in prop::option::of(1_000u64..600_000), early in 0u64..2_000,
            margin in 50u64..5_000, work in 0.0f64..1.0, reached: bool,
        ) {
            let due = Due::new(MS(timeout), ceiling.map(MS), MS(early), MS(margin));
            prop_assert!(due.device <= due.answer && due.answer <= MS(timeout));
            // the device is done in its time, and the host's part takes some of the margin
            let at = due.device + (due.answer - due.device).mul_f64(work);
            if reached {
                prop_assert_eq!(due.leaves(End::Reached, at), at);
            } else {
                prop_assert_eq!(due.leaves(End::OutOfTime, at), due.answer);
                prop_assert_eq!(due.leaves(End::OutOfTime, Duration::ZERO), due.answer, "nothing is told early");
            }
            prop_assert_eq!(due.leaves(End::Failed, at), at);
        }
    }
}
