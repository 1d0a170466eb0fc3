//! When: renewal, retries, polls, the countdown of a host that is offline. All of it from arguments.

use std::time::Duration;

use biotrust_model::time::UtcMillis;
use serde::{Deserialize, Serialize};

use super::Held;

const DAY: i64 = 86_400_000;

/// What the operator of the host decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Per cent of a certificate's life after which its successor is asked for; up to 5 less by chance, so that a fleet
    /// that was registered in one hour is not renewed in one hour.
    pub renew_at_percent: u8,
    /// Days that a device works without word from its server.
    pub offline_days: u32,
    /// Longest time between two polls; the server may want more of them.
    pub poll_every: Duration,
    /// How often the time is asked for again.
    pub time_every: Duration,
    /// First pause after a failure; doubles up to `retry_most`.
    pub retry_first: Duration,
    /// Longest pause after a failure.
    pub retry_most: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            renew_at_percent: 80,
            offline_days: 30,
            poll_every: Duration::from_secs(3600),
            time_every: Duration::from_secs(6 * 3600),
            retry_first: Duration::from_secs(10),
            retry_most: Duration::from_secs(3600),
        }
    }
}

/// A random number of the host's, fresh for every step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chance(pub u64);

impl Chance {
    /// That part of `whole` that the number stands for.
    fn of(self, whole: i64) -> i64 {
        let part = u128::try_from(whole).unwrap_or(0).saturating_mul(u128::from(self.0)) >> 64;
        i64::try_from(part).unwrap_or(0)
    }
}

/// The circumstances of a step.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// The time: the trusted one where there is one, else the host's.
    pub now: UtcMillis,
    /// Whether it is trusted (for a device with a clock of its own: whether that clock is set too).
    pub trusted: bool,
    /// Randomness.
    pub chance: Chance,
    /// The operator's decisions.
    pub policy: &'a Policy,
}

/// When the successor of `held` is asked for.
pub(super) fn renewal(held: &Held, at: &Moment<'_>) -> UtcMillis {
    let life = held.not_after.saturating_sub(held.not_before).max(0);
    let hundredth = life / 100;
    let percent = i64::from(at.policy.renew_at_percent.clamp(10, 95));
    let early = at.chance.of(hundredth.saturating_mul(5));
    UtcMillis(held.not_before.saturating_add(hundredth.saturating_mul(percent)).saturating_sub(early))
}

/// Tries that failed, and when the next one may be made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tries {
    failed: u32,
    not_before: Option<i64>,
}

impl Tries {
    /// One more failure: twice the pause, half of it by chance.
    pub(super) fn failed(&mut self, at: &Moment<'_>) {
        let doubled = 1u32.checked_shl(self.failed.min(16)).unwrap_or(u32::MAX);
        let most = at.policy.retry_most;
        let pause = at.policy.retry_first.saturating_mul(doubled).min(most);
        let half = i64::try_from(pause.as_millis() / 2).unwrap_or(i64::MAX);
        self.failed = self.failed.saturating_add(1);
        self.not_before = Some(at.now.0.saturating_add(half).saturating_add(at.chance.of(half)));
    }

    /// The server said when.
    pub(super) fn wait(&mut self, seconds: u32, at: &Moment<'_>) {
        self.failed = self.failed.saturating_add(1);
        let seconds = i64::from(seconds.clamp(1, 86_400));
        self.not_before = Some(at.now.0.saturating_add(seconds.saturating_mul(1000)));
    }

    /// It worked, or somebody wants it now.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// When the next try may be made, where that is not now. A clock that was set back makes no pause longer than it was.
    pub(super) fn pause(&self, at: &Moment<'_>) -> Option<UtcMillis> {
        let until = self.not_before.filter(|until| *until > at.now.0)?;
        (until.saturating_sub(at.now.0) <= DAY).then_some(UtcMillis(until))
    }
}

/// How long the server has not answered, by a clock that somebody may turn: added up from one look to the next, so that a
/// clock that is turned back stops the count for a moment and never undoes it, whatever is restarted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Silence {
    millis: i64,
    /// The last look.
    seen: Option<i64>,
}

impl Silence {
    /// A look. Less than a minute is left for the next one, so that not every step changes the state.
    pub(super) fn goes_on(&mut self, now: UtcMillis) {
        let passed = self.seen.map_or(0, |seen| now.0.saturating_sub(seen));
        if self.seen.is_none() || !(0..60_000).contains(&passed) {
            self.millis = self.millis.saturating_add(passed.max(0));
            self.seen = Some(now.0);
        }
    }

    /// The right server has answered.
    pub(super) fn ends(&mut self, now: UtcMillis) {
        *self = Self { millis: 0, seen: Some(now.0) };
    }

    /// Whole days of it.
    pub(super) fn days(&self, now: UtcMillis) -> i64 {
        let since = self.seen.map_or(0, |seen| now.0.saturating_sub(seen).max(0));
        self.millis.saturating_add(since) / DAY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sha256;

    const NOW: UtcMillis = UtcMillis(1_795_525_200_000);

    fn at(policy: &Policy, chance: u64) -> Moment<'_> {
        Moment { now: NOW, trusted: true, chance: Chance(chance), policy }
    }

    #[test]
    fn renewal_lies_between_75_and_80_per_cent() {
        let policy = Policy::default();
        let held = Held {
            sha256: Sha256([0; 32]),
            spki: Sha256([0; 32]),
            not_before: NOW.0,
            not_after: NOW.0 + 30 * DAY,
        };
        let day = |chance| (renewal(&held, &at(&policy, chance)).0 - NOW.0) as f64 / DAY as f64;
        assert_eq!(day(0), 24.0);
        assert!((day(u64::MAX) - 22.5).abs() < 0.001);
        assert!((day(u64::MAX / 2) - 23.25).abs() < 0.001);
        let strange = Held { not_after: i64::MIN, not_before: i64::MAX, ..held };
        let _ = renewal(&strange, &at(&policy, u64::MAX));
    }

    #[test]
    fn pauses_double_up_to_the_cap() {
        let policy = Policy::default();
        let mut tries = Tries::default();
        let mut pauses = Vec::new();
        for _ in 0..40 {
            tries.failed(&at(&policy, u64::MAX));
            pauses.push((tries.pause(&at(&policy, 0)).unwrap().0 - NOW.0 + 1) / 1000);
        }
        assert_eq!(pauses[..5], [10, 20, 40, 80, 160]);
        assert_eq!(pauses[39], 3600);
        let mut early = Tries::default();
        early.failed(&at(&policy, 0));
        assert_eq!(early.pause(&at(&policy, 0)), Some(UtcMillis(NOW.0 + 5000)), "half of it is chance");
    }

    #[test]
    fn a_clock_that_was_wrong_makes_no_endless_pause() {
        let policy = Policy::default();
        let mut tries = Tries::default();
        tries.failed(&Moment { now: UtcMillis(NOW.0 + 400 * DAY), ..at(&policy, 0) });
        assert_eq!(tries.pause(&at(&policy, 0)), None);
    }
}
