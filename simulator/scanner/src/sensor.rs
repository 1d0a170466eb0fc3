//! How well a sensor sees its subject as time goes by. Sans-I/O: the time is an argument.
//!
//! A finger that has just been laid down, an eye that has just been found, gives a poor image; it settles within
//! [`RISE`] to what the subject's quality allows. The curve is climbed in few steps (rungs), so that an image needs
//! to be made only when something has changed and can be kept for as long as it has not.

use std::time::{Duration, Instant};

use crate::scene::Scene;

/// From the first sight of the subject to its best image.
pub const RISE: Duration = Duration::from_millis(1200);
/// Quality of the first image.
const START: f32 = 20.0;
/// Steps between the first image and the best.
const RUNGS: u32 = 6;

/// Somebody looking through the sensor: a preview or a capture, since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gaze {
    /// When it began to look at the part that it looks at.
    pub since: Instant,
}

/// What a gaze sees at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Nobody is there. Changes only when the scene does.
    Nobody,
    /// The subject.
    Subject {
        /// Quality to make the image with, 0..=100.
        quality: u8,
        /// When it gets better next; `None` once it has settled.
        better_at: Option<Instant>,
    },
}

/// A sensor and the scene in front of it.
#[derive(Debug, Clone)]
pub struct Sensor {
    scene: Scene,
    present_since: Instant,
}

impl Sensor {
    /// A sensor in front of `scene`.
    #[must_use]
    pub const fn new(scene: Scene, now: Instant) -> Self {
        Self { scene, present_since: now }
    }

    /// The scene.
    #[must_use]
    pub const fn scene(&self) -> &Scene {
        &self.scene
    }

    /// The scene changes. A subject that comes (back) starts at the bottom of the curve.
    pub fn change(&mut self, scene: Scene, now: Instant) {
        if scene.present && !self.scene.present {
            self.present_since = now;
        }
        self.scene = scene;
    }

    /// What `gaze` sees at `now`.
    #[must_use]
    pub fn sight(&self, gaze: Gaze, now: Instant) -> Sight {
        if !self.scene.present {
            return Sight::Nobody;
        }
        let since = gaze.since.max(self.present_since);
        let step = RISE / RUNGS;
        let rung = now.saturating_duration_since(since).as_millis() / step.as_millis();
        let rung = u32::try_from(rung).unwrap_or(RUNGS).min(RUNGS);
        Sight::Subject {
            quality: self.quality(rung),
            better_at: (rung < RUNGS).then(|| since + step * (rung + 1)),
        }
    }

    /// Rises fast at first, then slower, and ends exactly at the ceiling.
    fn quality(&self, rung: u32) -> u8 {
        let ceiling = f32::from(self.scene.ceiling.min(100));
        let start = START.min(ceiling);
        let to_go = 1.0 - rung as f32 / RUNGS as f32;
        (start + (ceiling - start) * (1.0 - to_go * to_go)).round() as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quality(sight: Sight) -> u8 {
        match sight {
            Sight::Subject { quality, .. } => quality,
            Sight::Nobody => panic!("somebody is there"),
        }
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn quality_rises_to_the_ceiling_and_stays() {
        let t0 = Instant::now();
        let sensor = Sensor::new(Scene::default(), t0);
        let gaze = Gaze { since: t0 + at(5_000) };
        let curve: Vec<u8> = (0..30).map(|i| quality(sensor.sight(gaze, gaze.since + at(i * 100)))).collect();
        assert_eq!(curve[0], 20);
        assert!(curve.windows(2).all(|w| w[0] <= w[1]), "{curve:?}");
        assert!(curve[11] < 80, "not settled before {RISE:?}: {curve:?}");
        assert_eq!(curve[12], 80);
        assert_eq!(curve[29], 80, "requested score 100 is never reached");
    }

    #[test]
    fn every_step_is_announced() {
        let t0 = Instant::now();
        let sensor = Sensor::new(Scene::default(), t0);
        let gaze = Gaze { since: t0 };
        let (mut now, mut seen) = (t0, vec![]);
        loop {
            match sensor.sight(gaze, now) {
                Sight::Subject { quality, better_at } => {
                    seen.push(quality);
                    let Some(next) = better_at else { break };
                    assert!(next > now);
                    assert_eq!(
                        sensor.sight(gaze, next - at(1)),
                        sensor.sight(gaze, now),
                        "constant until then"
                    );
                    now = next;
                }
                Sight::Nobody => panic!("somebody is there"),
            }
        }
        assert_eq!(now, t0 + RISE);
        assert!(seen.windows(2).all(|w| w[0] < w[1]), "{seen:?}");
    }

    #[test]
    fn a_subject_that_comes_late_starts_at_the_bottom() {
        let t0 = Instant::now();
        let absent = Scene { present: false, ..Scene::default() };
        let mut sensor = Sensor::new(absent, t0);
        let gaze = Gaze { since: t0 };
        assert_eq!(sensor.sight(gaze, t0 + at(9_000)), Sight::Nobody);
        sensor.change(Scene::default(), t0 + at(9_000));
        assert_eq!(quality(sensor.sight(gaze, t0 + at(9_000))), 20);
        assert_eq!(quality(sensor.sight(gaze, t0 + at(10_200))), 80);
    }

    #[test]
    fn the_ceiling_acts_at_once_and_may_lie_below_the_start() {
        let t0 = Instant::now();
        let mut sensor = Sensor::new(Scene::default(), t0);
        let gaze = Gaze { since: t0 };
        for ceiling in [100, 35, 5, 0] {
            sensor.change(Scene { ceiling, ..Scene::default() }, t0 + at(2_000));
            assert_eq!(quality(sensor.sight(gaze, t0 + at(2_000))), ceiling);
            assert!(quality(sensor.sight(gaze, t0)) <= 20);
        }
    }
}
