//! A device in its case: plugged in or not, and able to start anew by itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use biotrust_driver_api::Cancel;

use super::core::Core;
use super::line::{PlugError, Plugged, Socket};
use crate::controller::Controller;

/// How long a device goes on after it has promised to start anew, so that the promise reaches the host.
const GRACE: Duration = Duration::from_millis(100);

/// The case.
pub(super) struct Body {
    pub(super) core: Arc<Core>,
    plugged: Mutex<Option<(Plugged, Socket)>>,
}

impl Body {
    pub(super) fn new(core: Core) -> Arc<Self> {
        let body = Arc::new(Self { core: Arc::new(core), plugged: Mutex::new(None) });
        let this: Weak<Self> = Arc::downgrade(&body);
        body.core.on_restart(Box::new(move || {
            if let Some(body) = this.upgrade() {
                body.restart_soon();
            }
        }));
        body
    }

    /// Nothing happens when it is plugged in already.
    pub(super) fn plug(&self, socket: Socket) -> Result<(), PlugError> {
        let mut plugged = self.plugged();
        if plugged.is_none() {
            *plugged = Some((Plugged::insert(&self.core, &socket)?, socket));
        }
        Ok(())
    }

    /// Nothing happens when it is not plugged in.
    pub(super) fn unplug(&self) {
        let pulled = self.plugged().take();
        drop(pulled);
    }

    pub(super) fn is_plugged(&self) -> bool {
        self.plugged().is_some()
    }

    /// Starts the device anew: it is gone from the line meanwhile, and comes back where it was.
    pub(super) fn restart(&self) -> Result<(), PlugError> {
        let mut plugged = self.plugged();
        let socket = plugged.take().map(|(line, socket)| {
            drop(line);
            socket
        });
        if let Some(controller) = &self.core.controller {
            Controller::start(controller);
        }
        if let Some(socket) = socket {
            *plugged = Some((Plugged::insert(&self.core, &socket)?, socket));
        }
        Ok(())
    }

    /// The same after a moment, on a thread of its own: whoever asks for it stands on the line that will be gone. A
    /// device that cannot come back stays away.
    fn restart_soon(self: Arc<Self>) {
        let name = format!("restart {}", self.core.serial());
        let _ = std::thread::Builder::new().name(name).spawn(move || {
            let _ = Cancel::new().wait(GRACE);
            let _ = self.restart();
        });
    }

    fn plugged(&self) -> MutexGuard<'_, Option<(Plugged, Socket)>> {
        self.plugged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
