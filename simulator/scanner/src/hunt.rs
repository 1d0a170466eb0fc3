//! Capture as a hunt for the best frame until a deadline. Sans-I/O: sights and times in, steps out.
//!
//! The answer goes out as soon as a frame reaches the wanted score. Otherwise the best frame is prepared (encoded) as
//! soon as it is clear that no better one is coming, or when there is just enough time left for it, so that the
//! answer is ready at the deadline and not some time after it. Of two frames that are equally good the newer one
//! wins, and the hunter looks again from time to time: back ends refuse captures that are a minute old.

use std::time::{Duration, Instant};

use biotrust_model::Score;

use crate::sensor::Sight;

/// What the capture has to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make a frame of this quality and offer it.
    Look {
        /// For the image.
        quality: u8,
    },
    /// Prepare the answer from the best frame, now.
    Prepare,
    /// Nothing to do until then, unless the scene changes.
    Wait {
        /// When to ask again.
        until: Instant,
    },
    /// Answer, now.
    Finish,
}

/// A look is worth repeating after this time, even if nothing has changed.
const STALE: Duration = Duration::from_secs(5);

/// How long the kinds of work take, by experience.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Making and scoring a frame.
    pub look: Duration,
    /// Encoding the images of a frame.
    pub prepare: Duration,
    /// Signing and sending the best frame.
    pub deliver: Duration,
}

/// One capture that is under way.
#[derive(Debug)]
pub struct Hunt<F> {
    wanted: Score,
    deadline: Instant,
    best: Option<(Score, F)>,
    prepared: bool,
    looked: Option<Look>,
}

/// The last look: the same again would give the same frame.
#[derive(Debug, Clone, Copy)]
struct Look {
    scene: u64,
    quality: u8,
    at: Instant,
}

impl<F> Hunt<F> {
    /// A hunt for a frame of the score `wanted` until `deadline`.
    #[must_use]
    pub const fn new(wanted: Score, deadline: Instant) -> Self {
        Self { wanted, deadline, best: None, prepared: false, looked: None }
    }

    /// What to do at `now`, seeing `sight` of the scene number `scene`.
    #[must_use]
    pub fn step(&self, scene: u64, sight: Sight, now: Instant, pace: Pace) -> Step {
        let unprepared = self.best.is_some() && !self.prepared;
        if self.reached() {
            return if unprepared { Step::Prepare } else { Step::Finish };
        }
        // An empty answer takes no time to deliver.
        let deliver = if self.best.is_some() { pace.deliver } else { Duration::ZERO };
        let finish_at = self.deadline.checked_sub(deliver).unwrap_or(now);
        if now >= finish_at {
            return if unprepared { Step::Prepare } else { Step::Finish };
        }
        let prepare_at = finish_at.checked_sub(pace.prepare).unwrap_or(now);
        let mut until = finish_at;
        let mut settled = false;
        if let Sight::Subject { quality, better_at } = sight {
            let in_time = self.best.is_none() || now + pace.look <= prepare_at;
            let same = self.looked.filter(|look| (look.scene, look.quality) == (scene, quality));
            let again_at = same.map(|look| look.at + STALE);
            if again_at.is_none_or(|at| now >= at) && in_time {
                return Step::Look { quality };
            }
            settled = better_at.is_none();
            until =
                [better_at, again_at.filter(|at| *at > now)].into_iter().flatten().fold(until, Instant::min);
        }
        if unprepared {
            if settled || now >= prepare_at {
                return Step::Prepare;
            }
            until = until.min(prepare_at);
        }
        // A rung that is passed over for want of time must not become a busy loop.
        Step::Wait { until: if until <= now { finish_at } else { until } }
    }

    /// A look that began at `at` is over: `frame` with the average score of its parts, or `None` where not all parts
    /// could be found.
    pub fn offer(&mut self, scene: u64, quality: u8, at: Instant, frame: Option<(Score, F)>) {
        self.looked = Some(Look { scene, quality, at });
        if let Some((score, frame)) = frame
            && self.best.as_ref().is_none_or(|(best, _)| score >= *best)
        {
            self.best = Some((score, frame));
            self.prepared = false;
        }
    }

    /// The best frame so far.
    #[must_use]
    pub fn best(&self) -> Option<&F> {
        self.best.as_ref().map(|(_, frame)| frame)
    }

    /// The best frame has been prepared.
    pub const fn prepared(&mut self) {
        self.prepared = true;
    }

    /// Whether the best frame has the wanted score.
    #[must_use]
    pub fn reached(&self) -> bool {
        self.best.as_ref().is_some_and(|(score, _)| *score >= self.wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::Scene;
    use crate::sensor::{Gaze, Sensor};

    const PACE: Pace = Pace {
        look: Duration::from_millis(40),
        prepare: Duration::from_millis(100),
        deliver: Duration::from_millis(50),
    };

    /// Plays a capture with virtual time: looking, preparing and delivering take their time, a frame's score is its
    /// quality. Gives the answer (score of the best frame), when it arrived, and how many frames were made.
    fn play(
        scene_at: impl Fn(Duration) -> Scene,
        wanted: f32,
        timeout: Duration,
    ) -> (Option<f32>, Duration, u32) {
        let t0 = Instant::now();
        let mut sensor = Sensor::new(scene_at(Duration::ZERO), t0);
        let gaze = Gaze { since: t0 };
        let mut hunt = Hunt::new(Score::clamped(wanted), t0 + timeout);
        let (mut now, mut number, mut looks) = (t0, 0, 0);
        for _ in 0..10_000 {
            let scene = scene_at(now - t0);
            if scene != *sensor.scene() {
                sensor.change(scene, now);
                number += 1;
            }
            match hunt.step(number, sensor.sight(gaze, now), now, PACE) {
                Step::Look { quality } => {
                    looks += 1;
                    let score = Score::clamped(f32::from(quality));
                    hunt.offer(number, quality, now, Some((score, (quality, now))));
                    now += PACE.look;
                }
                Step::Prepare => {
                    now += PACE.prepare;
                    hunt.prepared();
                }
                Step::Wait { until } => {
                    assert!(until > now, "a wait must be one");
                    now = until.min(now + Duration::from_millis(50));
                }
                Step::Finish => {
                    let best = hunt.best().copied();
                    assert!(best.is_none_or(
                        |(_, at)| !sensor.scene().present || now - at <= STALE + PACE.prepare * 2
                    ));
                    if best.is_some() {
                        now += PACE.deliver;
                    }
                    return (best.map(|(quality, _)| f32::from(quality)), now - t0, looks);
                }
            }
        }
        panic!("the capture never ends");
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn answers_as_soon_as_the_score_is_reached() {
        let (score, at, _) = play(|_| Scene::default(), 60.0, ms(10_000));
        assert!(score.unwrap() >= 60.0);
        assert!(at < ms(1_000), "{at:?}");
    }

    #[test]
    fn gives_the_best_frame_at_the_deadline_neither_before_nor_after() {
        let (score, at, looks) = play(|_| Scene::default(), 100.0, ms(10_000));
        assert_eq!((score, at), (Some(80.0), ms(10_000)));
        assert!(looks <= 8, "one frame for each step of the curve and one repeat, not {looks}");
    }

    #[test]
    fn a_long_wait_ends_with_a_fresh_frame() {
        let (score, at, looks) = play(|_| Scene::default(), 100.0, ms(120_000));
        assert_eq!((score, at), (Some(80.0), ms(120_000)));
        assert!((20..40).contains(&looks), "{looks}");
    }

    #[test]
    fn nobody_there_means_nothing_at_the_deadline() {
        let absent = Scene { present: false, ..Scene::default() };
        assert_eq!(play(|_| absent.clone(), 40.0, ms(500)), (None, ms(500), 0));
    }

    #[test]
    fn a_short_deadline_is_kept_with_what_there_is() {
        let (score, at, _) = play(|_| Scene::default(), 100.0, ms(500));
        assert!((20.0..80.0).contains(&score.unwrap()));
        assert!(at <= ms(500), "{at:?}");
    }

    #[test]
    fn a_subject_that_leaves_again_is_still_answered_with_the_best_frame() {
        let scene = |t: Duration| Scene { present: (ms(1_000)..ms(3_000)).contains(&t), ..Scene::default() };
        assert_eq!(play(scene, 100.0, ms(6_000)), (Some(80.0), ms(6_000), 7));
    }

    #[test]
    fn a_frame_with_a_part_missing_never_counts() {
        let t0 = Instant::now();
        let mut hunt = Hunt::<()>::new(Score::MIN, t0 + ms(500));
        let sight = Sight::Subject { quality: 80, better_at: None };
        assert_eq!(hunt.step(0, sight, t0, PACE), Step::Look { quality: 80 });
        hunt.offer(0, 80, t0, None);
        assert_eq!(hunt.step(0, sight, t0, PACE), Step::Wait { until: t0 + ms(500) });
        assert_eq!(
            hunt.step(1, sight, t0, PACE),
            Step::Look { quality: 80 },
            "another scene is worth a look"
        );
        assert_eq!(hunt.step(0, sight, t0 + ms(500), PACE), Step::Finish);
        assert!(hunt.best().is_none());
    }
}
