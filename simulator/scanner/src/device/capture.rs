//! The capture thread: plays the hunt for the best frame in real time and answers the request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use biotrust_driver_api::{CaptureJob, DeviceErrorKind};
use biotrust_link::Ticket;
use biotrust_link::message::{Captured, Image, Response};
use biotrust_model::Secret;

use super::core::{Capture, Core};
use super::line::Line;
use crate::ftm::Shot;
use crate::hunt::{Hunt, Pace, Step};
use crate::studio::{Frame, StudioError};

/// Time that is kept for the way to the host, whatever is sent.
const ON_THE_WAY: Duration = Duration::from_millis(10);
/// Longest time that a capture may be asked to last.
const LONGEST: Duration = Duration::from_secs(3600);

type Refusal = (DeviceErrorKind, String);

/// Makes the capture and answers `ticket`; whatever happens, the sensor is free afterwards.
pub(super) fn run(
    core: &Arc<Core>,
    line: &Arc<Line>,
    ticket: Ticket,
    job: &CaptureJob,
    capture: &Capture,
    started: Instant,
) {
    let caught = hunt(core, job, capture, started);
    let (began, bytes) = (Instant::now(), caught.as_ref().map_or(0, Caught::size));
    let answer = caught.and_then(|caught| match caught {
        Caught::Nothing => Ok(Captured::Nothing),
        Caught::Best { frame, at, reached } => deliver(core, job, capture, &frame, at, reached),
    });
    core.release(capture);
    line.respond(ticket, answer.map(Response::Capture));
    core.delivery.learn(bytes, began.elapsed());
}

/// How a hunt ended.
enum Caught {
    /// Not everything was there.
    Nothing,
    /// With a frame.
    Best {
        frame: Arc<Frame>,
        /// When it was made, or last seen to be as good.
        at: Instant,
        reached: bool,
    },
}

impl Caught {
    /// Bytes to deliver.
    fn size(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Best { frame, .. } => frame.size(),
        }
    }
}

fn hunt(core: &Core, job: &CaptureJob, capture: &Capture, started: Instant) -> Result<Caught, Refusal> {
    let parts = u32::try_from(job.parts.len().max(1)).unwrap_or(u32::MAX);
    let deadline = started + job.finish_within.saturating_sub(ON_THE_WAY).min(LONGEST);
    let mut hunt = Hunt::<(Arc<Frame>, Instant)>::new(job.requested_score, deadline);
    let mut pace = Pace {
        look: Duration::from_millis(40).saturating_mul(parts),
        prepare: Duration::from_millis(60).saturating_mul(parts),
        deliver: Duration::ZERO,
    };
    loop {
        pace.deliver = hunt.best().map_or(Duration::ZERO, |(frame, _)| core.delivery.takes(frame.size()));
        let state = core.state();
        if !state.is_current(capture) {
            return Err((DeviceErrorKind::Cancelled, "the capture was called off".to_owned()));
        }
        let now = Instant::now();
        let seen = state.see(capture.gaze, now);
        match hunt.step(seen.scene_no, seen.sight, now, pace) {
            Step::Wait { until } => drop(core.wait(state, until)),
            Step::Look { quality } => {
                drop(state);
                let (late, has_best) = (|| Instant::now() >= deadline, hunt.best().is_some());
                let give_up = || (has_best && late()) || core.is_off(capture);
                let made = core.studio.frame(&capture.look(&seen, quality), &give_up);
                let Some(frame) = made.map_err(internal)? else { continue };
                pace.look = now.elapsed();
                let offer = frame.average().map(|score| (score, (Arc::clone(&frame), now)));
                hunt.offer(seen.scene_no, quality, now, offer);
            }
            Step::Prepare => {
                drop(state);
                if let Some((frame, _)) = hunt.best() {
                    frame.encode().map_err(internal)?;
                }
                pace.prepare = now.elapsed();
                hunt.prepared();
            }
            Step::Finish => {
                let reached = hunt.reached();
                return Ok(hunt.best().map_or(Caught::Nothing, |(frame, at)| Caught::Best {
                    frame: Arc::clone(frame),
                    at: *at,
                    reached,
                }));
            }
        }
    }
}

/// Images as they are, or sealed by the FTM.
fn deliver(
    core: &Core,
    job: &CaptureJob,
    capture: &Capture,
    frame: &Frame,
    at: Instant,
    reached: bool,
) -> Result<Captured, Refusal> {
    let age = at.elapsed();
    if let Some(pair) = &capture.pair {
        let shots: Result<Vec<Shot<'_>>, StudioError> = frame
            .pieces()
            .iter()
            .map(|piece| Ok(Shot { part: piece.part, jp2: piece.jp2()?, dpi: piece.dpi, score: piece.score }))
            .collect();
        let blocks = core.ftm()?.seal(job, pair, &shots.map_err(internal)?, age);
        let blocks = blocks.map_err(|error| (error.kind(), error.to_string()))?;
        return Ok(Captured::Blocks { blocks, reached });
    }
    let age_ms = u32::try_from(age.as_millis()).unwrap_or(u32::MAX);
    let images = frame
        .pieces()
        .iter()
        .map(|piece| {
            Ok(Image {
                part: piece.part,
                image: Secret::new(piece.jp2()?.to_vec()),
                codec: core.studio.codec(),
                width: piece.width,
                height: piece.height,
                dpi: piece.dpi,
                score: piece.score,
                age_ms,
                iris_geometry: piece.iris_geometry,
            })
        })
        .collect::<Result<_, StudioError>>();
    Ok(Captured::Images { images: images.map_err(internal)?, reached })
}

fn internal(error: StudioError) -> Refusal {
    (DeviceErrorKind::Internal, error.to_string())
}
