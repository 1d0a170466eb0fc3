//! The preview thread: exists while a stream is on, sends the newest picture at the asked-for rate, never waits for a
//! capture's images.

use std::sync::Arc;
use std::time::{Duration, Instant};

use biotrust_driver_api::Frame;
use biotrust_link::message::Event;

use super::core::Core;
use crate::sensor::Sight;
use crate::studio::{Look, Picture, View};

/// Sends frames until there is no stream any more.
pub(super) fn run(core: &Core) {
    let mut last: Option<Picture> = None;
    let mut due = Instant::now();
    loop {
        let mut state = core.state();
        let Some(stream) = state.stream.clone() else {
            state.streaming = false;
            return;
        };
        let now = Instant::now();
        if now < due {
            drop(core.wait(state, due));
            continue;
        }
        // A late frame makes the next one come a little earlier, but not in a burst.
        let pause = Duration::from_secs(1) / u32::from(stream.job.fps.clamp(1, 30));
        due = (due + pause).max(now + pause / 2);

        // While a capture looks at the same part, show what it sees, with its mark.
        let capture = state.capture.as_ref().filter(|capture| capture.view.sub_id == stream.job.sub_id);
        let (view, gaze, wanted) = match capture {
            Some(capture) => (capture.view.clone(), capture.gaze, Some(capture.wanted)),
            None => (View::of_stream(core.spec.kind, stream.job.sub_id), stream.gaze, None),
        };
        let seen = state.see(gaze, now);
        drop(state);

        let picture = match seen.sight {
            Sight::Nobody => core.studio.empty(&view),
            Sight::Subject { quality, .. } => {
                let look = Look { view: &view, scene: &seen.scene, quality, take: seen.take, wanted };
                match last {
                    // The first frame must not wait until the subject is drawn.
                    None => core.studio.kept_picture(&look).or_else(|| core.studio.empty(&view)),
                    Some(_) => core.studio.picture_unless_busy(&look),
                }
            }
        };
        // What cannot be made now is made next time; until then the last picture is still true enough.
        let Some(picture) = picture.or_else(|| last.clone()) else { continue };
        let sequence = {
            let mut state = core.state();
            state.frames += 1;
            state.frames
        };
        let frame = Frame { sequence, jpeg: Arc::clone(&picture.jpeg), score: picture.score };
        last = Some(picture);
        if !stream.line.event(Event::Frame(frame)) {
            // Nobody reads: the host is gone or stuck, and will start a stream again when it is back.
            core.state().stream.take_if(|current| Arc::ptr_eq(&current.line, &stream.line));
        }
    }
}
