//! Which messages are too old, too early, or known already.
//!
//! A message is worth something for five minutes to either side of its timestamp, and once. The memory need not reach
//! further back: what has been forgotten is too old by its timestamp, which the signature covers.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use biotrust_model::time::UtcMillis;

use crate::{MessageId, Stamp};

/// How far a timestamp may be from the reader's clock, to either side.
pub const SPAN: Duration = Duration::from_secs(300);

/// Why a message is not fresh.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    /// Its timestamp is too long ago.
    #[error("its timestamp {0} is more than five minutes ago; it was held back, or a clock is wrong")]
    Old(Stamp),
    /// Its timestamp is yet to come.
    #[error("its timestamp {0} is more than five minutes ahead; a clock is wrong")]
    Future(Stamp),
    /// It was here before.
    #[error("message {0} was received before")]
    Known(MessageId),
    /// More fresh messages than there is room for.
    #[error("more than {0} messages in ten minutes; send them later")]
    Full(usize),
}

/// Judges a timestamp alone.
///
/// # Errors
/// When it is further than [`SPAN`] from `now`.
pub fn judge(stamp: Stamp, now: UtcMillis) -> Result<(), Stale> {
    let span = i64::try_from(SPAN.as_millis()).unwrap_or(i64::MAX);
    match now.since(stamp.0) {
        age if age > span => Err(Stale::Old(stamp)),
        age if age < -span => Err(Stale::Future(stamp)),
        _ => Ok(()),
    }
}

/// When a message with this timestamp, accepted at `now`, may be forgotten.
#[must_use]
pub fn keep_until(stamp: Stamp, now: UtcMillis) -> UtcMillis {
    // Of a message whose timestamp is not judged, the moment of its arrival counts.
    let from = if judge(stamp, now).is_ok() { stamp.0 } else { now };
    from.plus(SPAN + Duration::from_millis(1))
}

/// The messages of the last minutes. What is needed for a decision and no more: no message is kept, only its id.
#[derive(Debug, Clone)]
pub struct Window {
    known: HashSet<MessageId>,
    by_end: BTreeSet<(UtcMillis, MessageId)>,
    capacity: usize,
}

impl Window {
    /// An empty memory for at most `capacity` messages; 40 bytes each, twice.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { known: HashSet::new(), by_end: BTreeSet::new(), capacity }
    }

    /// Accepts a message once: judges its timestamp where `judged` and remembers its id.
    ///
    /// # Errors
    /// Why it is not fresh. Nothing is remembered then.
    pub fn admit(&mut self, id: MessageId, stamp: Stamp, judged: bool, now: UtcMillis) -> Result<(), Stale> {
        while let Some(first) = self.by_end.first().copied().filter(|(end, _)| *end < now) {
            self.by_end.remove(&first);
            self.known.remove(&first.1);
        }
        if judged {
            judge(stamp, now)?;
        }
        if self.known.contains(&id) {
            return Err(Stale::Known(id));
        }
        if self.known.len() >= self.capacity {
            return Err(Stale::Full(self.capacity));
        }
        self.known.insert(id);
        self.by_end.insert((keep_until(stamp, now), id));
        Ok(())
    }

    /// How many messages are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: UtcMillis = UtcMillis(1_795_525_200_000);

    fn id(n: u8) -> MessageId {
        MessageId([n; 16])
    }

    #[test]
    fn five_minutes_to_either_side() {
        for (offset, fresh) in
            [(0, true), (-300_000, true), (300_000, true), (-300_001, false), (300_001, false)]
        {
            let stamp = Stamp(UtcMillis(NOW.0 + offset));
            assert_eq!(judge(stamp, NOW).is_ok(), fresh, "{offset}");
        }
        assert!(matches!(judge(Stamp(UtcMillis(i64::MIN)), NOW), Err(Stale::Old(_))));
        assert!(matches!(judge(Stamp(UtcMillis(i64::MAX)), NOW), Err(Stale::Future(_))));
    }

    #[test]
    fn a_message_counts_once_even_at_the_edge() {
        let mut window = Window::new(10);
        let early = Stamp(UtcMillis(NOW.0 + 300_000)); // from a clock that is ahead
        window.admit(id(1), early, true, NOW).unwrap();
        assert_eq!(window.admit(id(1), early, true, NOW), Err(Stale::Known(id(1))));
        // Ten minutes on its timestamp is still good to the millisecond, and so is our memory.
        let later = UtcMillis(NOW.0 + 600_000);
        assert_eq!(window.admit(id(1), early, true, later), Err(Stale::Known(id(1))));
        let after = UtcMillis(later.0 + 1);
        assert_eq!(window.admit(id(1), early, true, after), Err(Stale::Old(early)));
    }

    #[test]
    fn what_is_not_judged_is_still_remembered() {
        let mut window = Window::new(10);
        let epoch = Stamp(UtcMillis(0));
        assert!(window.admit(id(1), epoch, true, NOW).is_err());
        assert!(window.is_empty());
        window.admit(id(1), epoch, false, NOW).unwrap();
        assert_eq!(window.admit(id(1), epoch, false, NOW), Err(Stale::Known(id(1))));
    }

    #[test]
    fn a_full_memory_refuses_instead_of_forgetting() {
        let mut window = Window::new(2);
        for n in 0..2 {
            window.admit(id(n), Stamp(NOW), true, NOW).unwrap();
        }
        assert_eq!(window.admit(id(3), Stamp(NOW), true, NOW), Err(Stale::Full(2)));
        let later = UtcMillis(NOW.0 + 301_000);
        window.admit(id(3), Stamp(later), true, later).unwrap();
        assert_eq!(window.len(), 1, "what is too old was forgotten");
    }

    proptest! {
        /// Whatever comes in whatever order, with a clock that does not run backwards: nothing is accepted twice.
        #[test]
        fn nothing_is_accepted_twice(messages in prop::collection::vec((0u8..8, -400_000i64..400_000, 0i64..200_000), 1..60)) {
            let mut window = Window::new(1000);
            let mut accepted = std::collections::HashSet::new();
            let mut now = NOW;
            // A message is its id and its timestamp: the signature covers both.
            let mut stamps = std::collections::HashMap::new();
            for (n, offset, pause) in messages {
                now = UtcMillis(now.0 + pause);
                let stamp = *stamps.entry(n).or_insert(Stamp(UtcMillis(now.0 + offset)));
                if window.admit(id(n), stamp, true, now).is_ok() {
                    prop_assert!(accepted.insert(n), "message {n} twice");
                }
            }
        }
    }
}
