//! Which looks become the parts of a capture. Pure: time is handed in.
//!
//! A plain sensor captures one part at a time, so several parts are captured one after the other, and between two of
//! them the sensor must have been clear: nothing else tells a second finger from the first one that stayed.

use std::time::{Duration, Instant};

use biotrust_model::{BioSubType, Score};

/// A part that is captured; `None` is a face.
pub(crate) type Part = Option<BioSubType>;

/// Collects the parts of one capture.
pub(crate) struct Gathering<T> {
    requested: Score,
    deadline: Instant,
    /// What is still to be captured, in order; the first is being captured.
    parts: std::collections::VecDeque<Part>,
    taken: Vec<(Part, Score, T)>,
    best: Option<(Score, T)>,
    /// When the best of the present part is good enough, whatever was requested.
    share_ends: Instant,
    /// Something lies there that belongs to the part before.
    occupied: bool,
}

/// What was gathered, in the order of the parts.
pub(crate) struct Gathered<T> {
    pub(crate) parts: Vec<(Part, Score, T)>,
    pub(crate) reached: bool,
}

impl<T> Gathering<T> {
    /// To capture `parts` by `deadline`; no parts mean a face.
    pub(crate) fn new(parts: &[BioSubType], requested: Score, now: Instant, deadline: Instant) -> Self {
        let parts = if parts.is_empty() { [None].into() } else { parts.iter().copied().map(Some).collect() };
        let mut gathering = Self {
            requested,
            deadline,
            parts,
            taken: Vec::new(),
            best: None,
            share_ends: deadline,
            occupied: false,
        };
        gathering.share(now);
        gathering
    }

    /// The present part may take its share of the time that is left.
    fn share(&mut self, now: Instant) {
        let left = self.deadline.saturating_duration_since(now);
        let parts = u32::try_from(self.parts.len()).unwrap_or(u32::MAX).max(1);
        self.share_ends = now + left / parts;
    }

    /// Whether nothing more is to be looked for.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.parts.is_empty() || now >= self.deadline
    }

    /// Whether the sensor must be clear before the next look counts.
    pub(crate) const fn must_clear(&self) -> bool {
        self.occupied
    }

    /// The sensor was clear.
    pub(crate) fn cleared(&mut self) {
        self.occupied = false;
    }

    /// How long the next look may wait for something to be presented.
    pub(crate) fn patience(&self, now: Instant) -> Duration {
        let end = if self.best.is_some() { self.share_ends.max(now) } else { self.deadline };
        end.saturating_duration_since(now)
    }

    /// The best score of the present part.
    pub(crate) fn best(&self) -> Option<Score> {
        self.best.as_ref().map(|(score, _)| *score)
    }

    /// Takes what a look has brought.
    pub(crate) fn offer(&mut self, score: Score, image: T, now: Instant) {
        if self.occupied || self.parts.is_empty() || score <= Score::MIN {
            return;
        }
        if self.best.as_ref().is_none_or(|(best, _)| score > *best) {
            self.best = Some((score, image));
        }
        self.settle(now);
    }

    /// Goes on to the next part where the present one is good enough or its time is over.
    pub(crate) fn settle(&mut self, now: Instant) {
        let enough = now >= self.share_ends || self.best().is_some_and(|best| best >= self.requested);
        if enough
            && let Some((score, image)) = self.best.take()
            && let Some(part) = self.parts.pop_front()
        {
            self.taken.push((part, score, image));
            self.occupied = true;
            self.share(now);
        }
    }

    /// All parts, or `None` where one is missing.
    pub(crate) fn finish(mut self) -> Option<Gathered<T>> {
        self.settle(self.deadline);
        if !self.parts.is_empty() {
            return None;
        }
        let sum: f32 = self.taken.iter().map(|(_, score, _)| score.value()).sum();
        let reached = sum / self.taken.len().max(1) as f32 >= self.requested.value();
        Some(Gathered { parts: self.taken, reached })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn score(value: f32) -> Score {
        Score::new(value).unwrap()
    }

    fn gathering(parts: &[BioSubType]) -> (Gathering<u32>, Instant) {
        let start = Instant::now();
        (Gathering::new(parts, score(60.0), start, start + S(10)), start)
    }

    #[test]
    fn the_first_that_is_good_enough_ends_it() {
        let (mut one, start) = gathering(&[BioSubType::LeftThumb]);
        one.offer(score(59.0), 1, start + S(1));
        assert!(!one.is_over(start + S(1)));
        one.offer(score(60.0), 2, start + S(2));
        assert!(one.is_over(start + S(2)));
        let got = one.finish().unwrap();
        assert!(got.reached);
        assert_eq!(got.parts, [(Some(BioSubType::LeftThumb), score(60.0), 2)]);
    }

    #[test]
    fn the_best_is_kept_until_time_is_over() {
        let (mut one, start) = gathering(&[]);
        for (at, value) in [(1, 20.0), (2, 50.0), (3, 40.0), (9, 0.0)] {
            one.offer(score(value), at as u32, start + S(at));
        }
        assert!(!one.is_over(start + S(9)) && one.is_over(start + S(10)));
        let got = one.finish().unwrap();
        assert!(!got.reached);
        assert_eq!(got.parts, [(None, score(50.0), 2)]);
    }

    #[test]
    fn nothing_usable_is_nothing() {
        let (mut one, start) = gathering(&[BioSubType::Unknown]);
        one.offer(Score::MIN, 1, start);
        assert!(one.finish().is_none());
    }

    #[test]
    fn a_second_part_needs_a_clear_sensor_in_between() {
        let (mut two, start) = gathering(&[BioSubType::Unknown, BioSubType::Unknown]);
        two.offer(score(70.0), 1, start + S(1));
        assert!(two.must_clear());
        two.offer(score(90.0), 2, start + S(2));
        assert!(!two.is_over(start + S(2)), "the same finger still lies there");
        two.cleared();
        two.offer(score(80.0), 3, start + S(3));
        assert!(two.is_over(start + S(3)));
        let got = two.finish().unwrap();
        assert_eq!(got.parts.iter().map(|(_, _, image)| *image).collect::<Vec<_>>(), [1, 3]);

        let (mut missing, start) = gathering(&BioSubType::THUMBS);
        missing.offer(score(70.0), 1, start);
        assert!(missing.finish().is_none(), "not everything was presented");
    }

    #[test]
    fn each_part_has_its_share_of_the_time() {
        let (mut two, start) = gathering(&BioSubType::THUMBS);
        two.offer(score(30.0), 1, start + S(1));
        assert_eq!(two.patience(start + S(1)), S(4));
        two.settle(start + S(4));
        assert!(!two.must_clear(), "its time is not over");
        two.settle(start + S(5));
        assert!(two.must_clear());
        two.cleared();
        assert_eq!(two.patience(start + S(6)), S(4), "the last has all that is left");
        two.offer(score(100.0), 2, start + S(7));
        let got = two.finish().unwrap();
        assert!(got.reached, "30 and 100 are 65 on average");
    }
}
