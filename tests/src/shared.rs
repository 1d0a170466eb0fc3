//! One instance for many tests of a binary: started by the first that needs it, ended by the last that has it.
//!
//! Tests take turns, so that none meets another's capture; each leaves devices ready and the subject present.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use crate::Instance;
use crate::instance::Setup;

/// The turn to use a shared instance.
pub struct Turn {
    guard: Option<MutexGuard<'static, ()>>,
    instance: Arc<Shared>,
}

struct Shared {
    instance: Instance,
    turn: &'static Mutex<()>,
}

type Registry = Mutex<HashMap<String, Weak<Shared>>>;

static INSTANCES: LazyLock<Registry> = LazyLock::new(Registry::default);

/// Waits for the turn at the instance of this setup, starting it where nobody has it.
#[must_use]
pub fn instance(setup: &Setup<'_>) -> Turn {
    let instance = {
        let mut instances = INSTANCES.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = instances.entry(format!("{setup:?}")).or_default();
        entry.upgrade().unwrap_or_else(|| {
            let turn: &'static Mutex<()> = Box::leak(Box::default());
            let shared = Arc::new(Shared { instance: Instance::set_up(setup), turn });
            *entry = Arc::downgrade(&shared);
            shared
        })
    };
    let guard = instance.turn.lock().unwrap_or_else(PoisonError::into_inner);
    Turn { guard: Some(guard), instance }
}

impl Deref for Turn {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.instance.instance
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // After a failed test the devices may be in any state; put them right for the next one.
        if std::thread::panicking() {
            for device in &self.instance.instance.devices {
                let _ = self.instance.instance.try_ctl(&["replug", &device.id]);
                let _ = self.instance.instance.try_ctl(&["device", &device.id, "ready"]);
            }
            let _ = self.instance.instance.try_ctl(&["subject", "present"]);
            let _ = self.instance.instance.try_ctl(&["missing", "none"]);
        }
        self.guard.take();
    }
}
