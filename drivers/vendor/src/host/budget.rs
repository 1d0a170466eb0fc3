//! How often a driver is started again: at once, then more slowly, then not for a while.

use std::collections::VecDeque;
use std::time::Duration;

/// What to do after a driver has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Start it again after this pause.
    RestartIn(Duration),
    /// It has used up its budget: leave it alone for this long, and tell somebody.
    RestIn(Duration),
}

/// Counts the ends of one driver. Pure: time is an argument.
#[derive(Debug, Default)]
pub struct Budget {
    ends: VecDeque<Duration>,
}

impl Budget {
    /// So many ends within [`Self::WINDOW`] use it up.
    pub const ENDS: usize = 5;
    /// See [`Self::ENDS`].
    pub const WINDOW: Duration = Duration::from_secs(60);
    /// The pause after the first end; it doubles with each further one.
    pub const SHORTEST: Duration = Duration::from_millis(100);
    /// The pause after the budget has been used up.
    pub const REST: Duration = Duration::from_secs(300);

    /// The driver has ended at `now` (monotonic).
    pub fn ended(&mut self, now: Duration) -> Next {
        while self.ends.front().is_some_and(|end| now.saturating_sub(*end) > Self::WINDOW) {
            self.ends.pop_front();
        }
        self.ends.push_back(now);
        if self.ends.len() >= Self::ENDS {
            self.ends.clear();
            return Next::RestIn(Self::REST);
        }
        Next::RestartIn(Self::SHORTEST * (1 << (self.ends.len() - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_until_the_budget_is_used_up() {
        let mut budget = Budget::default();
        let pauses: Vec<Next> = (0..5).map(|n| budget.ended(Duration::from_secs(n))).collect();
        let restart = |ms| Next::RestartIn(Duration::from_millis(ms));
        assert_eq!(
            pauses,
            [restart(100), restart(200), restart(400), restart(800), Next::RestIn(Budget::REST)]
        );
        assert_eq!(budget.ended(Duration::from_secs(306)), restart(100), "after the rest it begins anew");
    }

    #[test]
    fn an_end_now_and_then_costs_nothing() {
        let mut budget = Budget::default();
        for hour in 0..100 {
            assert_eq!(budget.ended(Duration::from_secs(hour * 61)), Next::RestartIn(Budget::SHORTEST));
        }
    }
}
