//! Live previews: one driver stream per device, shared by the connections that watch it.
//!
//! Each connection sees the newest frame only; a slow reader skips frames and never makes anybody wait. A frame is
//! repeated when the device is slower than ten a second, so that pictures keep moving through proxies and a peer that
//! has gone is noticed.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use biotrust_driver_api::{Frame, StreamJob};
use biotrust_model::{DeviceStatus, Problem, ProblemKind, Purpose, SubId};
use biotrust_sbi::request::StreamRequest;
use futures_util::Stream;
use tokio::time::{Instant, timeout_at};

use super::unit::Unit;
use super::{Fleet, Inner, locked};

/// Frames until the preview ends; dropping it ends the preview.
pub type FrameStream = Pin<Box<dyn Stream<Item = Frame> + Send>>;

/// Frames a second asked of the device.
const FPS: u8 = 15;
/// The longest that a connection goes without a frame.
const REPEAT: Duration = Duration::from_millis(100);
/// A device that is silent for so long has no preview any more.
const SILENT: Duration = Duration::from_secs(5);
/// The longest that a device may take to start or stop.
const CALL: Duration = Duration::from_secs(2);

/// Who watches a device, and what its driver was last told.
#[derive(Debug, Default)]
pub(super) struct Previews {
    pub(super) open: usize,
    /// What is to be shown; the last connection that came decides.
    wanted: Option<SubId>,
    /// What the driver shows.
    running: Option<SubId>,
}

impl Previews {
    /// A new driver shows nothing yet.
    pub(super) fn reset(&mut self) {
        self.running = None;
    }
}

impl Fleet {
    /// Opens a live preview.
    ///
    /// # Errors
    /// The problem to tell the client: no such device, not a registration device, not ready, too many previews.
    pub fn stream(&self, request: &StreamRequest) -> Result<FrameStream, Problem> {
        let inner = &self.0;
        let unit = inner.find(&request.device_id)?;
        let session = unit.session().ok_or(ProblemKind::DeviceNotFound)?;
        if session.description.purpose != Purpose::Registration {
            return Err(ProblemKind::WrongPurpose.into());
        }
        // a capture on the device does not stand in the way of its preview (R25)
        if let Some(problem) = unit.problem()
            && unit.status() != DeviceStatus::Busy
        {
            return Err(problem);
        }
        if !session.description.sub_ids.contains(&request.sub_id) {
            return Err(Problem::about(ProblemKind::AttributeInvalid, "deviceSubId"));
        }
        let watcher = Watcher::start(inner, &unit, request.sub_id)?;
        let stop = inner.stop.clone();
        let frames = unit.frames.subscribe();
        let state = State { frames, watcher, last: None, silent_since: Instant::now() };
        Ok(Box::pin(futures_util::stream::unfold(state, move |mut state| {
            let stop = stop.clone();
            async move {
                tokio::select! {
                    () = stop.cancelled() => None,
                    frame = state.next() => frame.map(|frame| (frame, state)),
                }
            }
        })))
    }
}

struct State {
    frames: tokio::sync::watch::Receiver<Option<Frame>>,
    watcher: Watcher,
    last: Option<Frame>,
    silent_since: Instant,
}

impl State {
    /// The next frame to send: a newer one, or the last one again; `None` when the device is gone or silent.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            let changed = timeout_at(Instant::now() + REPEAT, self.frames.changed()).await;
            match changed {
                Ok(Ok(())) => {
                    let frame = self.frames.borrow_and_update().clone();
                    match frame {
                        Some(frame) => {
                            self.silent_since = Instant::now();
                            self.last = Some(frame.clone());
                            return Some(frame);
                        }
                        // the slot was emptied: the device is gone
                        None if self.last.is_some() => return None,
                        None => {}
                    }
                }
                Ok(Err(_)) => return None,
                Err(_) if self.silent_since.elapsed() > SILENT => return None,
                Err(_) => {
                    self.watcher.unit.session()?;
                    if let Some(last) = &self.last {
                        return Some(last.clone());
                    }
                }
            }
        }
    }
}

/// One connection that watches; the last to go stops the device's stream.
struct Watcher {
    inner: Arc<Inner>,
    unit: Arc<Unit>,
}

impl Watcher {
    fn start(inner: &Arc<Inner>, unit: &Arc<Unit>, sub_id: SubId) -> Result<Self, Problem> {
        let mut previews = locked(&unit.previews);
        if previews.open >= inner.settings.streams_per_device {
            return Err(ProblemKind::TooManyStreams.into());
        }
        previews.open += 1;
        previews.wanted = Some(sub_id);
        drop(previews);
        let watcher = Self { inner: Arc::clone(inner), unit: Arc::clone(unit) };
        settle_soon(unit)?;
        inner.publish();
        Ok(watcher)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut previews = locked(&self.unit.previews);
        previews.open = previews.open.saturating_sub(1);
        if previews.open == 0 {
            previews.wanted = None;
        }
        drop(previews);
        let _ = settle_soon(&self.unit);
        self.inner.publish();
    }
}

/// Has the driver told what is wanted, on the service lane.
fn settle_soon(unit: &Arc<Unit>) -> Result<(), Problem> {
    let job_unit = Arc::clone(unit);
    let queued = unit.lanes().service.submit(move || settle(&job_unit));
    queued.map_err(|_| Problem::about(ProblemKind::NotReady, "it is not keeping up"))
}

/// Brings the driver to what is wanted now, whatever was wanted when this was queued: a preview that ends and one that
/// begins may come in any order.
pub(super) fn settle(unit: &Unit) {
    let Some(session) = unit.session() else {
        locked(&unit.previews).running = None;
        return;
    };
    let Some(opened) = session.opened() else { return };
    let (wanted, running) = {
        let previews = locked(&unit.previews);
        (previews.wanted, previews.running)
    };
    if wanted == running {
        return;
    }
    let told = match wanted {
        Some(sub_id) => opened.device().start_stream(StreamJob { sub_id, fps: FPS }, CALL),
        None => opened.device().stop_stream(CALL),
    };
    let mut previews = locked(&unit.previews);
    previews.running = match told {
        Ok(()) => wanted,
        Err(error) => {
            tracing::warn!(device = %session.id, %error, "preview");
            None
        }
    };
    if previews.wanted.is_none() {
        // nobody must see an old picture first when the next preview starts
        unit.frames.send_if_modified(|slot| slot.take().is_some());
    }
}
