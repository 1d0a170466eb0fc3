//! Preview frames of what a sensor sees, and of that it sees nothing.
//!
//! A camera's own JPEG goes out untouched; of everything else a JPEG is made, with quality and advice drawn in. Called on
//! the sensor's thread; a few milliseconds of computation.

use std::sync::Arc;
use std::time::{Duration, Instant};

use biotrust_driver_api::{DeviceEvent, EventSink, Frame};
use biotrust_imaging::preview::{self, Marks, Settings};
use biotrust_imaging::{Gray, quality};
use biotrust_model::{Modality, Score};

use crate::Seen;

/// How often it is said that nothing is seen: often enough for a viewer that has just come.
const IDLE: Duration = Duration::from_secs(1);
/// The picture of a finger sensor that nothing lies on.
const BLANK: (u32, u32, u8) = (256, 288, 235);

/// The preview of one device.
pub(crate) struct Frames {
    /// What to do where nothing is seen.
    invitation: &'static str,
    sequence: u64,
    /// When the last frame went out, and whether it showed nothing.
    last: Option<(Instant, bool)>,
}

impl Frames {
    pub(crate) const fn new(modality: Modality) -> Self {
        let invitation = match modality {
            Modality::Finger => "PLACE FINGER",
            Modality::Iris | Modality::Face => "LOOK HERE",
        };
        Self { invitation, sequence: 0, last: None }
    }

    /// Nobody watches any more: who comes next gets a frame at once.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }

    /// How long until the next frame is wanted.
    pub(crate) fn pause(&self, fps: u8, now: Instant) -> Duration {
        let period = Duration::from_secs(1) / u32::from(fps.max(1));
        self.last.map_or(Duration::ZERO, |(at, _)| (at + period).saturating_duration_since(now))
    }

    /// Shows what was seen.
    pub(crate) fn show(
        &mut self,
        seen: &Seen,
        score: Option<Score>,
        wanted: Option<Score>,
        now: Instant,
        events: &EventSink,
    ) {
        let marks = Marks { quality: score, wanted, ..Marks::default() };
        let settings = Settings::default();
        let jpeg = match seen {
            Seen::Finger { image, .. } | Seen::Iris { image, .. } => preview::jpeg(image, &marks, settings),
            Seen::Face { jpeg: Some(jpeg), .. } => Ok(jpeg.clone()),
            Seen::Face { image, jpeg: None } => preview::jpeg(image, &marks, settings),
            Seen::Unusable { advice } => return self.blank(advice, now, events),
        };
        self.send(jpeg.ok(), score, false, now, events);
    }

    /// Shows that nothing is seen, now and then.
    pub(crate) fn nothing(&mut self, now: Instant, events: &EventSink) {
        if self.last.is_none_or(|(at, nothing)| !nothing || now >= at + IDLE) {
            self.blank(self.invitation, now, events);
        }
    }

    fn blank(&mut self, message: &str, now: Instant, events: &EventSink) {
        let (width, height, grey) = BLANK;
        let marks = Marks { message, ..Marks::default() };
        let jpeg = Gray::filled(width, height, grey)
            .ok()
            .and_then(|image| preview::jpeg(&image, &marks, Settings::default()).ok());
        self.send(jpeg, None, true, now, events);
    }

    fn send(
        &mut self,
        jpeg: Option<Vec<u8>>,
        score: Option<Score>,
        nothing: bool,
        now: Instant,
        events: &EventSink,
    ) {
        // an encoder that fails costs this frame
        let Some(jpeg) = jpeg else { return };
        self.sequence += 1;
        self.last = Some((now, nothing));
        events(DeviceEvent::Frame(Frame { sequence: self.sequence, jpeg: Arc::from(jpeg), score }));
    }
}

/// The quality of what was seen; `None` where it is no image of the kind that is wanted.
pub(crate) fn score(seen: &Seen) -> Option<Score> {
    match seen {
        Seen::Finger { image, density } => Some(quality::finger(image, *density)),
        Seen::Face { image, .. } => Some(quality::face(image)),
        Seen::Iris { image, geometry } => geometry.as_ref().map(|geometry| quality::iris(image, geometry)),
        Seen::Unusable { .. } => None,
    }
}
