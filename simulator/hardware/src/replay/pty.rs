//! The recorded device of a serial line on a pseudo-terminal.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use biotrust_driver_api::{Cancel, Pipe, PipeError, PipeErrorKind};
use biotrust_pipe::pty::{PtyPipe, open_pair};

use super::{Progress, SerialReplay};
use crate::serial::SerialDevice;

/// Between two looks at whether to stop.
const TICK: Duration = Duration::from_millis(20);

/// A replay that is plugged in. The line is hung up when the recording says so, and when this is dropped.
pub struct ReplayOnPty {
    replay: Arc<Mutex<SerialReplay>>,
    path: PathBuf,
    stop: Cancel,
    thread: Option<JoinHandle<()>>,
}

impl ReplayOnPty {
    /// Plugs it in.
    ///
    /// # Errors
    /// `Os` when the system has no pseudo-terminal or thread left.
    pub fn plug(replay: SerialReplay) -> Result<Self, PipeError> {
        let pipe = open_pair()?;
        let path = pipe.slave_path().to_owned();
        let (replay, stop) = (Arc::new(Mutex::new(replay)), Cancel::new());
        let thread = std::thread::Builder::new()
            .name("replay".into())
            .spawn({
                let (replay, stop) = (Arc::clone(&replay), stop.clone());
                move || serve(&replay, pipe, &stop)
            })
            .map_err(|error| PipeError {
                kind: PipeErrorKind::Os,
                os: error.raw_os_error(),
                doing: "starting a thread for a replay".into(),
            })?;
        Ok(Self { replay, path, stop, thread: Some(thread) })
    }

    /// What the host opens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        locked(&self.replay).progress()
    }
}

impl Drop for ReplayOnPty {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn locked(replay: &Mutex<SerialReplay>) -> MutexGuard<'_, SerialReplay> {
    replay.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(replay: &Mutex<SerialReplay>, mut pipe: PtyPipe, stop: &Cancel) {
    let mut buffer = [0; 1024];
    let mut wait = TICK;
    while !stop.is_cancelled() {
        let length = match pipe.read(&mut buffer, wait) {
            Ok(length) => length,
            Err(error) if error.kind == PipeErrorKind::TimedOut => 0,
            Err(_) => return,
        };
        let (bytes, next, gone) = {
            let mut replay = locked(replay);
            let now = Instant::now();
            let bytes = replay.step(buffer.get(..length).unwrap_or_default(), None, now);
            let next = replay.next_event().map(|at| at.saturating_duration_since(now));
            (bytes, next, replay.progress() == Progress::Gone)
        };
        wait = next.map_or(TICK, |next| next.clamp(Duration::from_millis(1), TICK));
        match pipe.write_all(&bytes, TICK) {
            Err(error) if error.kind != PipeErrorKind::TimedOut => return,
            _ if gone => return,
            _ => {}
        }
    }
}
