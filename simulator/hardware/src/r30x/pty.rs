//! A module on a pseudo-terminal: the host opens its path as it would a USB adapter with a module behind it.
//!
//! A pseudo-terminal keeps to no speed, so the module does: bytes take their time, and a host that has set another speed
//! gets garbage. A thread of its own serves the line until this is dropped; the line is hung up then.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use biotrust_driver_api::{Cancel, Pipe, PipeError, PipeErrorKind};
use biotrust_pipe::pty::{PtyPipe, open_pair};

use super::R30x;

/// The longest that a change at the module (a finger, a fault) waits to be noticed.
const TICK: Duration = Duration::from_millis(10);

/// Bytes that trickle are not handed over one by one.
const GRAIN: Duration = Duration::from_millis(4);
/// A pseudo-terminal holds four kilobytes, and a busy machine lets more come at once.
const PATIENCE: Duration = Duration::from_secs(1);

/// A module that is plugged in.
pub struct OnPty {
    module: Arc<Mutex<R30x>>,
    path: PathBuf,
    stop: Cancel,
    thread: Option<JoinHandle<()>>,
}

impl OnPty {
    /// Plugs it in. It keeps its settings from one time to the next: they are in its flash.
    ///
    /// # Errors
    /// `Os` when the system has no pseudo-terminal or thread left.
    pub fn plug(module: Arc<Mutex<R30x>>) -> Result<Self, PipeError> {
        let pipe = open_pair()?;
        let path = pipe.slave_path().to_owned();
        let stop = Cancel::new();
        locked(&module).power_up(Instant::now());
        let thread = std::thread::Builder::new()
            .name("r30x".into())
            .spawn({
                let (module, stop) = (Arc::clone(&module), stop.clone());
                move || serve(&module, pipe, &stop)
            })
            .map_err(|error| PipeError {
                kind: PipeErrorKind::Os,
                os: error.raw_os_error(),
                doing: "starting a thread for a virtual module".into(),
            })?;
        Ok(Self { module, path, stop, thread: Some(thread) })
    }

    /// What the host opens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The module.
    pub fn module(&self) -> MutexGuard<'_, R30x> {
        locked(&self.module)
    }
}

impl Drop for OnPty {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn locked(module: &Mutex<R30x>) -> MutexGuard<'_, R30x> {
    module.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(module: &Mutex<R30x>, mut pipe: PtyPipe, stop: &Cancel) {
    let mut buffer = [0; 1024];
    let mut wait = TICK;
    while !stop.is_cancelled() {
        let length = match pipe.read(&mut buffer, wait) {
            Ok(length) => length,
            Err(error) if error.kind == PipeErrorKind::TimedOut => 0,
            Err(_) => return,
        };
        let Ok(baud) = pipe.host_baud() else { return };
        let (bytes, next) = {
            let mut module = locked(module);
            let now = Instant::now();
            let bytes = module.step(buffer.get(..length).unwrap_or_default(), Some(baud), now);
            (bytes, module.next_event().map(|at| at.saturating_duration_since(now)))
        };
        wait = next.map_or(TICK, |next| next.clamp(GRAIN, TICK));
        // a host that does not read loses what comes, as a UART does; one that is slow for a moment does not
        match pipe.write_all(&bytes, PATIENCE) {
            Err(error) if error.kind != PipeErrorKind::TimedOut => return,
            _ => {}
        }
    }
}
