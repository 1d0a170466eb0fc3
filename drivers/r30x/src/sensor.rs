//! The module as a sensor that looks.
//!
//! A look is: take an image until there is a finger, have the module judge it (that takes a fraction of a second, and the
//! transfer more than three), and only then get it. An image that cannot arrive in time is not asked for.

use std::time::{Duration, Instant};

use biotrust_driver_api::{Cancel, DeviceError, SelfReport};
use biotrust_imaging::Dpi;
use biotrust_model::DeviceStatus;
use biotrust_sensor::{Seen, Sensor};

use crate::line::Failure;
use crate::module::{Module, Taken};

/// Between two images of a sensor that nothing lies on.
const POLL: Duration = Duration::from_millis(50);

/// A module; dropping it puts its settings back.
pub(crate) struct R30x(Module);

impl R30x {
    pub(crate) const fn new(module: Module) -> Self {
        Self(module)
    }

    fn try_look(&mut self, wait: Duration, until: Instant, cancel: &Cancel) -> Result<Option<Seen>, Failure> {
        let patient = until.min(Instant::now() + wait);
        loop {
            match self.0.take(cancel)? {
                Taken::Finger => break,
                Taken::Failed => return Ok(Some(Seen::Unusable { advice: "PRESS AGAIN" })),
                Taken::Nothing => {}
            }
            let left = patient.saturating_duration_since(Instant::now());
            if left.is_zero() || cancel.wait(POLL.min(left)) {
                return Ok(None);
            }
        }
        if let Some(advice) = self.0.judge(cancel)? {
            return Ok(Some(Seen::Unusable { advice }));
        }
        if Instant::now() + self.0.transfer() > until {
            // it would come too late; the module is asked no faster than it would be without a finger
            let _ = cancel.wait(POLL);
            return Ok(None);
        }
        Ok(self.0.image(cancel)?.map(|image| Seen::Finger { image, density: Dpi::FINGER }))
    }
}

impl Sensor for R30x {
    fn look(&mut self, wait: Duration, until: Instant, cancel: &Cancel) -> Result<Option<Seen>, DeviceError> {
        self.0.set_limit(Some(until));
        match self.try_look(wait, until, cancel) {
            Err(Failure::Cancelled) => Ok(None),
            looked => looked.map_err(|failure| failure.on(self.0.name())),
        }
    }

    fn is_clear(&mut self, until: Instant, cancel: &Cancel) -> Result<bool, DeviceError> {
        self.0.set_limit(Some(until));
        let clear = match self.0.take(cancel) {
            Ok(taken) => matches!(taken, Taken::Nothing),
            Err(Failure::Cancelled) => false,
            Err(failure) => return Err(failure.on(self.0.name())),
        };
        if !clear {
            let _ = cancel.wait(POLL.min(until.saturating_duration_since(Instant::now())));
        }
        Ok(clear)
    }

    fn status(&mut self) -> Result<SelfReport, DeviceError> {
        self.0.set_limit(None);
        self.0.check().map_err(|failure| failure.on(self.0.name()))?;
        Ok(SelfReport { status: DeviceStatus::Ready, reason: String::new() })
    }
}

impl Drop for R30x {
    fn drop(&mut self) {
        self.0.set_limit(None);
        self.0.restore();
    }
}
